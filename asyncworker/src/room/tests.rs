//! Rooms without a network, in virtual time.

use super::*;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(10);

/// What a participant has heard and not taken yet, as a client gets it.
async fn heard(participant: &Participant) -> Vec<Value> {
    let mut heard = Vec::new();
    while participant.waiting() > 0 {
        let event = timeout(LIMIT, participant.next()).await.expect("in time").expect("it is connected");
        heard.push(serde_json::to_value(event).unwrap());
    }
    heard
}

/// What was said to it, without who came and left.
async fn said(participant: &Participant) -> Vec<Value> {
    heard(participant)
        .await
        .into_iter()
        .filter(|event| event["type"] == "message")
        .map(|mut e| e["body"].take())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn all_in_a_room_hear_what_is_said_there_and_nobody_else_does() {
    let rooms = Rooms::new();
    let [ann, bob, eve] = ["ann", "bob", "eve"].map(|user| rooms.enter(user));
    assert!(ann.join("lobby") && bob.join("lobby") && eve.join("cellar"));
    assert!(!ann.join("lobby"), "it is there already");
    assert_eq!(ann.broadcast("lobby", "to all"), 2);
    assert_eq!(ann.broadcast_to_others("lobby", "to others"), 1);
    assert_eq!(rooms.broadcast("lobby", json!({ "from": "the app" })), 2);
    assert_eq!(rooms.broadcast("nowhere", "to nobody"), 0);
    assert_eq!(said(&ann).await, [json!("to all"), json!({ "from": "the app" })]);
    assert_eq!(said(&bob).await, [json!("to all"), json!("to others"), json!({ "from": "the app" })]);
    assert_eq!(said(&eve).await, [json!(null); 0]);
}

#[tokio::test(start_paused = true)]
async fn a_message_names_its_room_and_who_said_it() {
    let rooms = Rooms::new();
    let ann = rooms.enter("ann");
    ann.broadcast("lobby", "before it has come");
    ann.join("lobby");
    ann.broadcast("lobby", "hello");
    rooms.broadcast("lobby", "welcome");
    ann.tell("ann", "a note");
    let expected = [
        json!({ "type": "joined", "room": "lobby", "user": "ann", "sockets": 1, "members": 1 }),
        json!({ "type": "message", "room": "lobby", "from": "ann", "body": "hello" }),
        json!({ "type": "message", "room": "lobby", "from": null, "body": "welcome" }),
        json!({ "type": "message", "room": null, "from": "ann", "body": "a note" }),
    ];
    assert_eq!(heard(&ann).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_private_message_reaches_every_socket_of_the_user_and_nobody_else() {
    let rooms = Rooms::new();
    let [tab, phone, bob] = ["ann", "ann", "bob"].map(|user| rooms.enter(user));
    assert!(bob.join("lobby") && tab.join("lobby"), "the phone is in no room");
    assert_eq!(bob.tell("ann", "psst"), 2);
    assert_eq!(bob.tell("nobody", "psst"), 0);
    assert_eq!(said(&tab).await, [json!("psst")]);
    assert_eq!(said(&phone).await, [json!("psst")]);
    assert_eq!(said(&bob).await, [json!(null); 0]);
    assert_eq!((rooms.sockets("ann"), rooms.sockets("nobody")), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn who_asks_hears_who_is_there_between_those_who_came_and_those_who_come() {
    let rooms = Rooms::new();
    let [ann, tab, bob, eve] = ["ann", "ann", "bob", "eve"].map(|user| rooms.enter(user));
    assert!(ann.join("lobby") && tab.join("lobby") && bob.join("lobby"));
    bob.hear_members("lobby");
    bob.hear_members("cellar");
    eve.join("lobby");
    let expected = [
        json!({ "type": "joined", "room": "lobby", "user": "bob", "sockets": 1, "members": 3 }),
        json!({ "type": "members", "room": "lobby", "members": { "ann": 2, "bob": 1 } }),
        json!({ "type": "members", "room": "cellar", "members": {} }),
        json!({ "type": "joined", "room": "lobby", "user": "eve", "sockets": 1, "members": 4 }),
    ];
    assert_eq!(heard(&bob).await, expected);
}

#[tokio::test(start_paused = true)]
async fn who_comes_and_goes_is_told_with_what_is_left_of_them() {
    let rooms = Rooms::new();
    let bob = rooms.enter("bob");
    bob.join("lobby");
    let (tab, phone) = (rooms.enter("ann"), rooms.enter("ann"));
    tab.join("lobby");
    phone.join("lobby");
    assert_eq!(rooms.members("lobby"), BTreeMap::from([("ann".to_owned(), 2), ("bob".to_owned(), 1)]));
    drop(tab);
    assert!(phone.leave("lobby"));
    assert!(!phone.leave("lobby"), "it has left already");
    let presence = |of: &str, user: &str, sockets: u32, members: u32| json!({ "type": of, "room": "lobby", "user": user, "sockets": sockets, "members": members });
    let expected = [
        presence("joined", "bob", 1, 1),
        presence("joined", "ann", 1, 2),
        presence("joined", "ann", 2, 3),
        presence("left", "ann", 1, 2),
        presence("left", "ann", 0, 1),
    ];
    assert_eq!(heard(&bob).await, expected);
    assert_eq!(rooms.sockets("ann"), 1, "the phone is there, in no room");
}

#[tokio::test(start_paused = true)]
async fn a_participant_that_is_dropped_leaves_every_room_and_nothing_of_it_stays() {
    let rooms = Rooms::new();
    let ann = rooms.enter("ann");
    ann.join("lobby");
    ann.join("cellar");
    assert_eq!(rooms.rooms(), BTreeSet::from(["cellar".to_owned(), "lobby".to_owned()]));
    drop(ann);
    assert_eq!(rooms.rooms(), BTreeSet::new());
    assert_eq!(rooms.sockets("ann"), 0);
    assert!(rooms.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_does_not_keep_up_is_disconnected_and_holds_nothing_any_more() {
    let rooms = Rooms::with_queue(3, Overflow::Disconnect);
    let (slow, quick) = (rooms.enter("slow"), rooms.enter("quick"));
    slow.join("lobby");
    assert_eq!(heard(&slow).await.len(), 1);
    quick.join("lobby");
    heard(&quick).await;
    for number in 0..10 {
        rooms.broadcast("lobby", json!(number));
        assert_eq!(said(&quick).await, [json!(number)]);
    }
    assert_eq!(timeout(LIMIT, slow.next()).await.expect("in time"), None);
    assert_eq!((slow.waiting(), slow.dropped()), (0, 4));
    drop(slow);
    assert_eq!(heard(&quick).await[0]["type"], "left");
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_told_of_a_disconnection() {
    let rooms = Rooms::with_queue(1, Overflow::Disconnect);
    let slow = rooms.enter("slow");
    let told = timeout(LIMIT, async {
        tokio::join!(slow.next(), async {
            rooms.tell("slow", "1");
            rooms.tell("slow", "2");
        })
    });
    assert_eq!(told.await.expect("in time").0, None);
}

#[tokio::test(start_paused = true)]
async fn the_oldest_are_dropped_where_that_was_asked_for() {
    let rooms = Rooms::with_queue(3, Overflow::DropOldest);
    let slow = rooms.enter("slow");
    for number in 0..10 {
        rooms.tell("slow", json!(number));
    }
    assert_eq!(said(&slow).await, [json!(7), json!(8), json!(9)]);
    assert_eq!(slow.dropped(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_later_message_with_the_same_key_takes_the_place_of_the_earlier() {
    let rooms = Rooms::with_queue(3, Overflow::Coalesce);
    let slow = rooms.enter("slow");
    let price = |of: &str, price: u32| RoomMessage::from(json!([of, price])).key(of);
    for number in 0..1_000 {
        rooms.tell("slow", price("a", number));
        rooms.tell("slow", price("b", number));
    }
    rooms.tell("slow", "no key");
    assert_eq!(said(&slow).await, [json!(["a", 999]), json!(["b", 999]), json!("no key")]);
    for number in 0..5 {
        rooms.tell("slow", json!(number));
    }
    assert_eq!(said(&slow).await, [json!(2), json!(3), json!(4)], "without keys the oldest go");
}

#[tokio::test(start_paused = true)]
async fn what_is_said_to_many_is_in_memory_once() {
    let rooms = Rooms::new();
    let all: Vec<_> = (0..10).map(|number| rooms.enter(format!("user {number}"))).collect();
    assert!(all.iter().all(|participant| participant.join("lobby")));
    for participant in &all {
        heard(participant).await;
    }
    rooms.broadcast("lobby", "hello");
    let mut heard = Vec::new();
    for participant in &all {
        heard.push(participant.outbox().next().await.unwrap());
    }
    assert!(heard.iter().all(|sent| Arc::ptr_eq(sent, &heard[0]) && sent.json().as_ptr() == heard[0].json().as_ptr()));
}
