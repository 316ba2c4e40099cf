//! Two apps on one broker in the process, in virtual time.
#![cfg(feature = "memory")]

use super::*;
use crate::handler::{Failure, Layer, Next};
use crate::{App, Bulk, Memory, Outcome, Participant, Publish, Running};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::time::{Instant, sleep, timeout};

const LEASE: Duration = Duration::from_secs(15);
const LIMIT: Duration = Duration::from_secs(120);

/// A process, as far as rooms are concerned.
async fn start(broker: &Memory, rooms: &Rooms) -> Running {
    start_with(broker, rooms, RoomBridge::new("chat")).await
}

async fn start_with(broker: &Memory, rooms: &Rooms, bridge: RoomBridge) -> Running {
    App::new().connect(broker.clone()).state(rooms.clone()).bridge_rooms(bridge).start().await.unwrap()
}

/// Two of them that know each other.
async fn two() -> (Memory, [Rooms; 2], [Running; 2]) {
    let (broker, rooms) = (Memory::new(), [Rooms::new(), Rooms::new()]);
    let running = [start(&broker, &rooms[0]).await, start(&broker, &rooms[1]).await];
    let met: Vec<_> = rooms.iter().enumerate().map(|(place, rooms)| rooms.enter(format!("probe {place}"))).collect();
    until("they know each other", || rooms[0].sockets("probe 1") + rooms[1].sockets("probe 0") == 2).await;
    drop(met);
    until("the probes have left", || rooms[0].sockets("probe 1") + rooms[1].sockets("probe 0") == 0).await;
    (broker, rooms, running)
}

async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let reached = timeout(LIMIT, async {
        while !is() {
            sleep(Duration::from_millis(1)).await;
        }
    });
    reached.await.unwrap_or_else(|_| panic!("not reached: {what}"));
}

async fn hears(participant: &Participant) -> Value {
    let event = timeout(LIMIT, participant.next()).await.expect("in time").expect("it is connected");
    serde_json::to_value(event).unwrap()
}

async fn body(participant: &Participant) -> Value {
    loop {
        let mut event = hears(participant).await;
        if event["type"] == "message" {
            return event["body"].take();
        }
    }
}

fn queue_of_app(running: &Running) -> String {
    running.status().routes[0].queues[0].queue.clone()
}

fn of(members: &[(&str, usize)]) -> BTreeMap<String, usize> {
    members.iter().map(|(user, sockets)| ((*user).to_owned(), *sockets)).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_said_in_one_process_is_heard_once_in_each_and_in_its_order() {
    let (_, [here, there], running) = two().await;
    let (ann, bob) = (here.enter("ann"), there.enter("bob"));
    assert!(ann.join("lobby") && bob.join("lobby"));
    until("all are there", || here.members("lobby").len() + there.members("lobby").len() == 4).await;
    for number in 0..500 {
        assert_eq!(ann.broadcast("lobby", json!(number)), 2, "those in other processes count");
        if number % 50 == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        if number % 100 == 99 {
            for expected in number - 99..=number {
                assert_eq!(body(&ann).await, json!(expected));
                assert_eq!(body(&bob).await, json!(expected));
            }
        }
    }
    ann.broadcast_to_others("lobby", "but for me");
    here.broadcast("lobby", "welcome");
    assert_eq!(body(&ann).await, json!("welcome"));
    assert_eq!(body(&bob).await, json!("but for me"));
    let last = hears(&bob).await;
    assert_eq!(last, json!({ "type": "message", "room": "lobby", "from": null, "body": "welcome" }));
    assert_eq!((ann.waiting(), bob.waiting()), (0, 0));
    for running in running {
        running.shutdown().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_private_message_reaches_the_sockets_of_the_user_in_every_process() {
    let (_, [here, there], _running) = two().await;
    let (tab, phone, eve) = (here.enter("ann"), there.enter("ann"), there.enter("eve"));
    until("both are known", || here.sockets("ann") == 2).await;
    assert_eq!(here.tell("ann", "psst"), 2);
    assert_eq!(here.tell("nobody", "psst"), 0);
    assert_eq!((body(&tab).await, body(&phone).await), (json!("psst"), json!("psst")));
    sleep(LEASE).await;
    assert_eq!((tab.waiting(), phone.waiting(), eve.waiting()), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_comes_and_goes_is_told_in_every_process() {
    let (_, [here, there], _running) = two().await;
    let bob = there.enter("bob");
    bob.join("lobby");
    until("he is known", || here.members("lobby") == of(&[("bob", 1)])).await;
    let (tab, phone) = (here.enter("ann"), here.enter("ann"));
    tab.join("lobby");
    phone.join("lobby");
    drop(tab);
    phone.leave("lobby");
    let presence = |of: &str, user: &str, sockets: u32, members: u32| json!({ "type": of, "room": "lobby", "user": user, "sockets": sockets, "members": members });
    let expected = [
        presence("joined", "bob", 1, 1),
        presence("joined", "ann", 1, 2),
        presence("joined", "ann", 2, 3),
        presence("left", "ann", 1, 2),
        presence("left", "ann", 0, 1),
    ];
    for event in expected {
        assert_eq!(hears(&bob).await, event);
    }
    assert_eq!((there.members("lobby"), there.sockets("ann")), (of(&[("bob", 1)]), 1));
}

#[tokio::test(start_paused = true)]
async fn a_new_process_learns_who_is_there_and_is_known_with_all_that_it_has() {
    let (broker, [here, there]) = (Memory::new(), [Rooms::new(), Rooms::new()]);
    let ann = here.enter("ann");
    ann.join("lobby");
    let _first = start(&broker, &here).await;
    let bob = there.enter("bob");
    bob.join("lobby");
    let began = Instant::now();
    let _second = start(&broker, &there).await;
    let both = of(&[("ann", 1), ("bob", 1)]);
    until("they know each other", || here.members("lobby") == both && there.members("lobby") == both).await;
    assert!(began.elapsed() < LEASE / 3, "it has asked, and not waited for a heartbeat");
}

#[tokio::test(start_paused = true)]
async fn a_process_is_known_when_it_hears_what_is_said_and_not_before() {
    let (broker, [here, there]) = (Memory::new(), [Rooms::new(), Rooms::new()]);
    let _first = start(&broker, &here).await;
    let bob = there.enter("bob");
    bob.join("lobby");
    // The broker is slow: the queue is there, and is not bound yet.
    let Parts { declarations: [exchange, queue, binding], route, service } =
        RoomBridge::new("chat").parts(&there).unwrap();
    let app = App::new().connect(broker.clone()).state(there.clone()).declare(exchange).declare(queue);
    let _second = app.route(route).service(service).start().await.unwrap();
    sleep(LEASE).await;
    assert_eq!(here.members("lobby"), of(&[]));
    broker.declare(binding).unwrap();
    until("he is known", || here.members("lobby") == of(&[("bob", 1)])).await;
    here.broadcast("lobby", "hello");
    assert_eq!(body(&bob).await, json!("hello"));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_without_a_word_leaves_with_its_lease() {
    let (_, [here, there], [_first, second]) = two().await;
    let (ann, bob) = (here.enter("ann"), there.enter("bob"));
    assert!(ann.join("lobby") && bob.join("lobby"));
    until("all are there", || here.members("lobby").len() == 2).await;
    let died = Instant::now();
    drop(second);
    until("its members have left", || here.members("lobby") == of(&[("ann", 1)])).await;
    let after = died.elapsed();
    assert!(after > LEASE / 3 * 2 - Duration::from_secs(1), "{after:?}");
    assert!(after < LEASE / 3 * 4 + Duration::from_secs(1), "{after:?}");
    assert_eq!(here.sockets("bob"), 0);
    assert_eq!(there.members("lobby"), of(&[("bob", 1)]), "those there are among themselves");
    bob.broadcast("lobby", "hello?");
    assert_eq!(body(&bob).await, json!("hello?"));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_shut_down_leaves_at_once() {
    let (broker, [here, there], [_first, second]) = two().await;
    let (ann, bob) = (here.enter("ann"), there.enter("bob"));
    assert!(ann.join("lobby") && bob.join("lobby"));
    until("all are there", || here.members("lobby").len() == 2).await;
    bob.broadcast("lobby", "goodbye");
    let began = Instant::now();
    second.shutdown().await.unwrap();
    until("its members have left", || here.members("lobby").len() == 1).await;
    assert!(began.elapsed() < LEASE / 3);
    assert_eq!(body(&ann).await, json!("goodbye"), "what was said before is sent");
    // With the same rooms, those in which he still is.
    let _again = start(&broker, &there).await;
    until("they are back", || here.members("lobby").len() == 2 && there.members("lobby").len() == 2).await;
}

#[tokio::test(start_paused = true)]
async fn changes_that_were_missed_are_asked_for() {
    let (broker, [here, there], [_first, second]) = two().await;
    let (ann, bob) = (here.enter("ann"), there.enter("bob"));
    assert!(ann.join("lobby") && bob.join("lobby"));
    until("all are there", || there.members("lobby").len() == 2).await;
    broker.disconnect();
    let carl = here.enter("carl");
    carl.join("lobby");
    carl.broadcast("lobby", "who hears me?");
    drop(ann);
    // It is in the queue of the second, which does not consume yet, and then it is gone.
    sleep(Duration::from_millis(10)).await;
    broker.purge(&queue_of_app(&second));
    assert_eq!(there.members("lobby"), of(&[("ann", 1), ("bob", 1)]));
    until("it was asked for", || there.members("lobby") == of(&[("bob", 1), ("carl", 1)])).await;
    while hears(&bob).await["user"] != "carl" {}
    carl.broadcast("lobby", "and now?");
    assert_eq!(body(&bob).await, json!("and now?"), "what was said is not said again");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_rejected_alone() {
    let (broker, [here, there], running) = two().await;
    let bob = there.enter("bob");
    bob.join("lobby");
    let queue = queue_of_app(&running[1]);
    for body in [&b"{"[..], b"[]", br#"{"process": 1, "number": 1, "version": 0, "items": [{"said": {"room": 7}}]}"#] {
        broker.publish(Publish::raw(body).exchange("chat")).unwrap();
    }
    here.broadcast("lobby", "hello");
    assert_eq!(body(&bob).await, json!("hello"));
    assert!(broker.empty(&queue).await);
    let settled = broker.settled(&queue, 0).await;
    assert_eq!(settled.iter().filter(|action| **action == Action::Reject).count(), 3);
}

#[tokio::test(start_paused = true)]
async fn where_the_queue_is_full_the_oldest_are_dropped_and_counted_and_changes_are_asked_for() {
    let broker = Memory::new();
    let [here, there] = [Rooms::new(), Rooms::with_queue(1_000, crate::Overflow::Disconnect)];
    let _running = [
        start_with(&broker, &here, RoomBridge::new("chat").queue(2)).await,
        start_with(&broker, &there, RoomBridge::new("chat")).await,
    ];
    let bob = there.enter("bob");
    bob.join("lobby");
    until("he is known", || here.members("lobby").len() == 1).await;
    // Nothing is sent before the next `await`.
    (0..100).for_each(|number| assert_eq!(here.broadcast("lobby", json!(number)), 1));
    assert_eq!(here.bridge_dropped(), 98);
    assert_eq!((body(&bob).await, body(&bob).await), (json!(98), json!(99)));
    let users: Vec<_> = (0..100).map(|number| here.enter(format!("user {number}"))).collect();
    users.iter().for_each(|user| assert!(user.join("lobby")));
    until("all are known", || there.members("lobby").len() == 101).await;
}

#[tokio::test(start_paused = true)]
async fn many_that_leave_at_once_disconnect_nobody() {
    let (_, [here, there], [_first, second]) = two().await;
    let ann = here.enter("ann");
    ann.join("lobby");
    let many: Vec<_> = (0..1_000).map(|number| there.enter(format!("user {number}"))).collect();
    let heard = tokio::spawn(async move {
        let (mut joined, mut left) = (0, 0);
        while left < 1_000 {
            match hears(&ann).await["type"].as_str() {
                Some("joined") => joined += 1,
                Some("left") => left += 1,
                other => panic!("{other:?}"),
            }
        }
        (joined, ann.dropped())
    });
    for user in &many {
        user.join("lobby");
        sleep(Duration::from_millis(1)).await;
    }
    until("all are there", || here.members("lobby").len() == 1_001).await;
    drop(second);
    assert_eq!(timeout(LIMIT, heard).await.expect("in time").unwrap(), (1_001, 0));
}

/// Lets nothing pass.
struct Refusing;

#[async_trait::async_trait]
impl Layer for Refusing {
    async fn call(&self, _: Bulk, _: Next) -> Result<Outcome, Failure> {
        Err(Failure::new("it refuses everything"))
    }
}

#[tokio::test(start_paused = true)]
async fn the_layers_of_the_app_are_not_around_the_bridge() {
    let (broker, [here, there]) = (Memory::new(), [Rooms::new(), Rooms::new()]);
    let app = App::new().layer(Refusing).connect(broker.clone()).state(there.clone()).bridge_rooms("chat");
    let _running = [start(&broker, &here).await, app.start().await.unwrap()];
    let bob = there.enter("bob");
    bob.join("lobby");
    until("he is known", || here.members("lobby").len() == 1).await;
    here.broadcast("lobby", "hello");
    assert_eq!(body(&bob).await, json!("hello"));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_bridged_is_refused_at_start() {
    let (broker, rooms) = (Memory::new(), Rooms::new());
    let app = |bridge: RoomBridge| App::new().connect(broker.clone()).state(rooms.clone()).bridge_rooms(bridge);
    let refused = |app: App| async { app.start().await.map(drop).unwrap_err().to_string() };
    let cases = [
        (App::new().connect(broker.clone()).bridge_rooms("chat"), "it has none; add them by `.state(Rooms::new())`"),
        (App::new().state(rooms.clone()).bridge_rooms("chat"), "the app has no connection for queues"),
        (app("chat".into()).bridge_rooms("chat"), "bridged twice"),
        (app("".into()), "its exchange has no name"),
        (app("x".repeat(250).into()), "too long"),
        (app(RoomBridge::new("chat").lease(Duration::from_millis(29))), "its lease is below 30 ms"),
        (app(RoomBridge::new("chat").connection("other")), "no connection named `other`"),
    ];
    for (app, expected) in cases {
        let error = refused(app).await;
        assert!(error.contains(expected), "{error}");
    }
    let _running = app("chat".into()).start().await.unwrap();
    let error = refused(app("other".into())).await;
    assert!(error.contains("bridged by another app already"), "{error}");
}
