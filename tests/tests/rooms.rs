//! Rooms on real sockets: what clients hear, who is let in, and what a client that does not read costs the others.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use asyncworker::http::ws::{AllowedOrigins, CheckedOrigin};
use asyncworker::http::{Http as Settings, Path, WebSocket};
use asyncworker::prelude::*;
use asyncworker::{Overflow, RoomBridge, RoomOptions, Rooms, Running};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tests::{Client, Http, LIMIT, RawSocket, Relay, Socket, Worker, amqp_url, unique, until};

/// The most that waited for a participant whenever its client said something, and at its end.
type Waiting = Arc<AtomicUsize>;

async fn chat(
    socket: WebSocket,
    Path((room, user)): Path<(String, String)>,
    State(rooms): State<Rooms>,
    State(options): State<RoomOptions>,
    _: CheckedOrigin,
) {
    let me = rooms.enter(user);
    me.join(&room);
    let mut socket = me.attach_with(socket, options);
    while let Some(text) = socket.recv().await {
        match text.strip_prefix('@').and_then(|text| text.split_once(' ')) {
            Some((user, text)) => me.tell(user, text),
            None => me.broadcast(&room, text),
        };
    }
}

async fn start(rooms: &Rooms, options: RoomOptions) -> (Running, SocketAddr) {
    let origins = AllowedOrigins::new(["https://desk.example.com"]);
    let app = App::new().http(Settings::bind("127.0.0.1:0")).state(rooms.clone()).state(options).state(origins);
    let running = app.endpoint(Endpoint::ws("/rooms/{room}/{user}", chat)).start().await.unwrap();
    let address = running.http_address().expect("it is bound");
    (running, address)
}

#[tokio::test]
async fn two_people_in_three_tabs_talk_and_a_closed_tab_leaves() {
    let rooms = Rooms::new();
    let (running, address) = start(&rooms, RoomOptions::new()).await;
    let mut ann = Socket::connect(address, "/rooms/lobby/ann").await;
    let mut phone = Socket::connect(address, "/rooms/lobby/ann").await;
    let mut bob = Socket::connect(address, "/rooms/lobby/bob").await;
    until("all are there", LIMIT, || rooms.members("lobby").values().sum::<usize>() == 3).await;

    let text = "<img src=x onerror=alert(1)>";
    bob.send(text).await;
    for client in [&mut ann, &mut phone, &mut bob] {
        assert_eq!(client.hears().await, (json!("bob"), json!(text)));
    }
    bob.send("@ann psst").await;
    bob.send("after it").await;
    for client in [&mut ann, &mut phone] {
        assert_eq!(client.hears().await, (json!("bob"), json!("psst")));
    }
    assert_eq!(bob.hears().await, (json!("bob"), json!("after it")), "what he told her is not his to hear");
    drop(phone);
    until("the tab has left", LIMIT, || rooms.members("lobby").get("ann") == Some(&1)).await;

    let stopped = tokio::spawn(running.shutdown());
    assert_eq!(ann.closed_at_last_with().await, 1001);
    drop((ann, bob));
    stopped.await.unwrap().unwrap();
    assert!(rooms.rooms().is_empty());
}

#[tokio::test]
async fn pages_of_other_sites_are_refused_before_they_are_let_in() {
    let rooms = Rooms::new();
    let (running, address) = start(&rooms, RoomOptions::new()).await;
    let own = format!("http://{address}");
    let cases = [
        (Some(own.as_str()), 101),
        (Some("https://desk.example.com"), 101),
        (None, 101),
        (Some("https://evil.example"), 403),
        (Some("null"), 403),
    ];
    for (origin, status) in cases {
        let origin = origin.map(|origin| format!("origin: {origin}\r\n")).unwrap_or_default();
        let mut client = Http::connect(address).await;
        let head = format!(
            "GET /rooms/lobby/ann HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{origin}\r\n"
        );
        client.send(head).await;
        assert_eq!(client.answer().await.status, status, "{origin}");
    }
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_taken_for_gone_and_one_that_does_stays() {
    let rooms = Rooms::new();
    // On a busy machine a pong comes late.
    let options = RoomOptions::new().heartbeat(Duration::from_millis(50)).idle_timeout(Duration::from_secs(3));
    let (running, address) = start(&rooms, options).await;
    // Answers are written as it reads.
    let mut alive = Socket::connect(address, "/rooms/lobby/alive").await;
    let reading = tokio::spawn(async move { while alive.next().await.is_some() {} });
    // Its machine was switched off, say: nothing is read and nothing is closed.
    let mut gone = RawSocket::connect(address, "/rooms/lobby/gone").await;
    until("both are there", LIMIT, || rooms.members("lobby").len() == 2).await;
    until("one has gone", LIMIT, || rooms.members("lobby").len() == 1).await;
    assert_eq!(rooms.members("lobby").get("alive"), Some(&1));
    assert_eq!(gone.closed_with().await, (3008, "the client answers no ping".to_owned()));
    running.shutdown().await.unwrap();
    reading.await.unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected_when_its_queue_is_full() {
    let rooms = Rooms::with_queue(16, Overflow::Disconnect);
    let (running, address) = start(&rooms, RoomOptions::new()).await;
    let _slow = Socket::connect(address, "/rooms/lobby/slow").await;
    until("it is there", LIMIT, || rooms.members("lobby").len() == 1).await;
    let text = "x".repeat(64 * 1024);
    // Until the buffers of both systems are full, and then the queue.
    until("it is disconnected", LIMIT, || rooms.broadcast("lobby", text.as_str()) == 0).await;
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_keep_up_or_says_too_much_is_told_so() {
    let rooms = Rooms::with_queue(16, Overflow::Disconnect);
    let (running, address) = start(&rooms, RoomOptions::new()).await;
    let mut slow = RawSocket::connect(address, "/rooms/lobby/slow").await;
    until("it is there", LIMIT, || rooms.members("lobby").len() == 1).await;
    // Faster than anybody could read: nothing is sent before the next `await`.
    for _ in 0..17 {
        rooms.broadcast("lobby", "hello");
    }
    assert_eq!(slow.closed_with().await, (1008, "the client does not keep up".to_owned()));

    let mut loud = Socket::connect(address, "/rooms/lobby/loud").await;
    loud.send(&"x".repeat(3 * 1024 * 1024)).await;
    assert_eq!(loud.closed_at_last_with().await, 1009);
    running.shutdown().await.unwrap();
}

/// An app whose rooms are bridged over a relay, and another process of the scenario `echoes`.
struct Bridged {
    rooms: Rooms,
    running: Running,
    address: SocketAddr,
    relay: Relay,
    exchange: String,
    other: Worker,
}

impl Bridged {
    async fn start(test: &str) -> Self {
        let (rooms, relay, exchange) = (Rooms::new(), Relay::start().await, unique(test));
        let amqp = Amqp::from_uri(&relay.url()).unwrap();
        let amqp = amqp.backoff(Duration::from_millis(100), Duration::from_secs(1));
        let app = App::new().connect(amqp).state(rooms.clone()).state(RoomOptions::new());
        let app = app.http(Settings::bind("127.0.0.1:0")).endpoint(Endpoint::ws("/rooms/{room}/{user}", chat));
        let bridge = RoomBridge::new(&exchange).lease(Duration::from_secs(3));
        let running = app.bridge_rooms(bridge).start().await.unwrap();
        let address = running.http_address().unwrap();
        let arguments = ["echoes", &amqp_url(), &exchange];
        let other = Worker::start(env!("CARGO_BIN_EXE_worker"), arguments, &[]);
        let bridged = Self { rooms, running, address, relay, exchange, other };
        bridged.until_echo_is(true).await;
        bridged
    }

    /// Waits until the member in the other process is known, or not any more.
    async fn until_echo_is(&self, there: bool) {
        until("the other process", LIMIT, || self.rooms.members("lobby").contains_key("echo") == there).await;
    }

    async fn end(self) {
        self.running.shutdown().await.unwrap();
        Client::connect().await.delete_exchange(&self.exchange).await;
    }
}

/// What a client hears is said again in the other process.
async fn is_echoed(client: &mut Socket, text: &str) {
    client.send(text).await;
    assert_eq!(client.hears().await, (json!("ann"), json!(text)));
    assert_eq!(client.hears().await, (json!("echo"), json!({ "echo": text })));
}

#[tokio::test]
async fn rooms_span_processes_and_those_of_one_that_is_killed_leave() {
    let mut bridged = Bridged::start("rooms-kill").await;
    let mut ann = Socket::connect(bridged.address, "/rooms/lobby/ann").await;
    is_echoed(&mut ann, "hello").await;
    is_echoed(&mut ann, "hello again").await;
    bridged.other.signal("KILL").await;
    bridged.other.end(LIMIT).await;
    bridged.until_echo_is(false).await;
    loop {
        let event = ann.json().await;
        if event["type"] == "left" {
            assert_eq!((&event["user"], &event["members"]), (&json!("echo"), &json!(1)));
            break;
        }
    }
    bridged.end().await;
}

#[tokio::test]
async fn those_of_a_process_that_is_stopped_leave() {
    let mut bridged = Bridged::start("rooms-stop").await;
    bridged.other.signal("TERM").await;
    assert_eq!(bridged.other.end(LIMIT).await.code(), Some(0), "{}", bridged.other.printed());
    bridged.until_echo_is(false).await;
    bridged.end().await;
}

#[tokio::test]
async fn without_the_broker_those_in_a_process_hear_each_other_and_then_all_are_back() {
    let bridged = Bridged::start("rooms-cut").await;
    let mut ann = Socket::connect(bridged.address, "/rooms/lobby/ann").await;
    is_echoed(&mut ann, "before").await;
    bridged.relay.refuse(true);
    bridged.relay.cut();
    bridged.until_echo_is(false).await;
    let mut bob = Socket::connect(bridged.address, "/rooms/lobby/bob").await;
    bob.send("among ourselves").await;
    for client in [&mut ann, &mut bob] {
        assert_eq!(client.hears().await, (json!("bob"), json!("among ourselves")));
    }
    drop(bob);
    bridged.relay.refuse(false);
    bridged.until_echo_is(true).await;
    // It has been asked for its members, so what is sent arrives. What was said meanwhile may be heard before.
    ann.send("after").await;
    while ann.hears().await != (json!("echo"), json!({ "echo": "after" })) {}
    bridged.end().await;
}

const MESSAGES: usize = 50_000;

/// What the process has of memory, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}

fn p99(latencies: &[Duration]) -> Duration {
    let mut sorted = latencies.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() * 99 / 100]
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_reads_costs_the_others_nothing_over_50_000_messages() {
    /// What waits for the one that never reads.
    async fn sits(socket: WebSocket, State(rooms): State<Rooms>, State(waiting): State<Waiting>) {
        let me = rooms.enter("slow");
        me.join("feed");
        let mut socket = me.attach(socket);
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        loop {
            tokio::select! {
                text = socket.recv() => if text.is_none() { return },
                _ = tick.tick() => {}
            }
            waiting.fetch_max(me.waiting(), Ordering::Relaxed);
        }
    }
    const READERS: usize = 4;
    const BULK: usize = 50;
    let rooms = Rooms::with_queue(256, Overflow::DropOldest);
    let waiting = Waiting::default();
    let app = App::new().http(Settings::bind("127.0.0.1:0")).state(rooms.clone()).state(waiting.clone());
    let app =
        app.state(RoomOptions::new()).mount([Endpoint::ws("/slow", sits), Endpoint::ws("/rooms/{room}/{user}", chat)]);
    let running = app.start().await.unwrap();
    let address = running.http_address().unwrap();

    let slow = Socket::connect(address, "/slow").await;
    let begun = Instant::now();
    let read = Arc::new(AtomicUsize::new(0));
    let mut readers = Vec::new();
    for number in 0..READERS {
        let mut client = Socket::connect(address, &format!("/rooms/feed/reader {number}").replace(' ', "%20")).await;
        let read = Arc::clone(&read);
        readers.push(tokio::spawn(async move {
            let mut latencies = Vec::with_capacity(MESSAGES);
            for expected in 0..MESSAGES {
                let (_, body) = client.hears().await;
                assert_eq!(body["number"], expected, "nothing is missing");
                let sent = Duration::from_nanos(body["at"].as_u64().expect("a time"));
                latencies.push(begun.elapsed().saturating_sub(sent));
                read.fetch_add(1, Ordering::Release);
            }
            latencies
        }));
    }
    until("all are there", LIMIT, || rooms.members("feed").len() == READERS + 1).await;

    let filling = "x".repeat(2 * 1024);
    let mut memory = Vec::new();
    for bulk in 0..MESSAGES / BULK {
        for number in bulk * BULK..(bulk + 1) * BULK {
            let at = u64::try_from(begun.elapsed().as_nanos()).expect("less than centuries");
            rooms.broadcast("feed", json!({ "number": number, "at": at, "filling": filling }));
        }
        until("the readers have it", LIMIT, || read.load(Ordering::Acquire) == READERS * (bulk + 1) * BULK).await;
        if (bulk + 1) % (MESSAGES / BULK / 10) == 0 {
            memory.push(resident());
        }
    }
    let mut early = Vec::new();
    let mut late = Vec::new();
    for reader in readers {
        let latencies = reader.await.expect("it has read everything");
        early.extend_from_slice(&latencies[..MESSAGES / 5]);
        late.extend_from_slice(&latencies[MESSAGES - MESSAGES / 5..]);
    }
    let most = waiting.load(Ordering::Relaxed);
    eprintln!("p99 of the first fifth {:?}, of the last {:?}; at most {most} waited", p99(&early), p99(&late));
    eprintln!("resident KiB after each tenth: {memory:?}");
    assert_eq!(most, 256, "the queue of the one that does not read is full, and no fuller");
    assert_eq!(rooms.members("feed").get("slow"), Some(&1), "it is still there");
    // Kept for it, four fifths of the messages would be 80 MiB.
    let grown = memory[9].saturating_sub(memory[1]);
    assert!(grown < 20 * 1024, "grown by {grown} KiB");
    drop(slow);
    running.shutdown().await.unwrap();
}
