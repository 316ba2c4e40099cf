//! Websockets without a network, as a test of a worker's author opens them. On real sockets they are in `tests/`.

#![cfg(all(feature = "http", feature = "memory"))]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use asyncworker::http::ws::{CheckedOrigin, CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use asyncworker::http::{Bytes, Endpoint, Http, Path, Response, StatusCode};
use asyncworker::prelude::*;
use asyncworker::{Rooms, Running};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::mpsc;

async fn start(endpoint: Endpoint) -> Running {
    let settings = Http::unbound().body_limit(200_000);
    App::new().state("the state").state(Rooms::new()).http(settings).endpoint(endpoint).start().await.unwrap()
}

/// Says where it is and sends back what comes.
async fn echo(mut socket: WebSocket, Path(room): Path<String>, State(state): State<&'static str>) {
    socket.send(Message::text(json!({ "room": room, "state": state }).to_string())).await.unwrap();
    while let Some(Ok(message)) = socket.recv().await {
        match message {
            Message::Text(text) if text.as_str() == "bye" => return,
            Message::Text(_) | Message::Binary(_) => socket.send(message).await.unwrap(),
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_reaches_the_handler_and_what_it_sends_comes_until_its_close() {
    let running = start(Endpoint::ws("/rooms/{room}", echo)).await;
    let mut socket = running.http_client().get("/rooms/blue").upgrade().await.unwrap();
    assert_eq!(socket.json::<Value>().await, json!({ "room": "blue", "state": "the state" }));
    // More than either end holds.
    let long = "a".repeat(150_000);
    for message in [Message::text("hello"), Message::Binary(Bytes::from_static(&[0, 255])), Message::text(long)] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.recv().await, Some(message));
    }
    socket.send("bye").await.unwrap();
    assert_eq!(socket.closed().await, close_code::NORMAL);
    assert_eq!(socket.recv().await, None);
    assert!(socket.send("too late").await.is_err());
    running.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_close_reaches_the_handler_with_its_code_and_is_answered() {
    let (received, mut receives) = mpsc::unbounded_channel();
    let handler = move |mut socket: WebSocket| {
        let received = received.clone();
        async move {
            while let Some(message) = socket.recv().await {
                received.send(message.map_err(|error| error.to_string())).unwrap();
            }
        }
    };
    let running = start(Endpoint::ws("/", handler)).await;
    let mut closes = running.http_client().get("/").upgrade().await.unwrap();
    let close = Message::Close(Some(CloseFrame { code: 3000, reason: "enough".into() }));
    closes.send(close.clone()).await.unwrap();
    assert_eq!(receives.recv().await.unwrap(), Ok(close.clone()));
    assert_eq!(closes.recv().await, Some(close));
    assert_eq!(closes.recv().await, None);
    // One that goes without a close is an error there.
    drop(running.http_client().get("/").upgrade().await.unwrap());
    assert!(receives.recv().await.unwrap().is_err());
    running.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_message_over_the_limit_and_a_shutdown_close_with_their_codes() {
    let running = start(Endpoint::ws("/rooms/{room}", echo)).await;
    let mut large = running.http_client().get("/rooms/blue").upgrade().await.unwrap();
    let mut open = running.http_client().get("/rooms/red").upgrade().await.unwrap();
    assert_eq!(large.json::<Value>().await["room"], "blue");
    assert_eq!(open.json::<Value>().await["room"], "red");
    // The server stops reading it halfway, and so it may fail.
    let _ = large.send(vec![0; 300_000]).await;
    assert_eq!(large.closed().await, close_code::SIZE);
    let (stopped, code) = tokio::join!(running.shutdown(), open.closed());
    stopped.unwrap();
    assert_eq!(code, close_code::AWAY);
}

#[tokio::test(start_paused = true)]
async fn a_refused_upgrade_is_the_answer_that_refuses_it() {
    let running = start(Endpoint::ws("/feed", async |_: WebSocket, _: CheckedOrigin| {})).await;
    let client = running.http_client();
    let ask = |origin: &str| client.get("/feed").header("host", "desk.example.com").header("origin", origin);
    let refused = ask("https://elsewhere.example.com").upgrade().await.unwrap_err();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert_eq!(ask("https://desk.example.com").upgrade().await.unwrap().closed().await, close_code::NORMAL);
    let refused = client.get("/feed").header("sec-websocket-version", "8").upgrade().await.unwrap_err();
    assert!(refused.status().is_client_error() && !refused.text().is_empty(), "{refused:?}");
    assert_eq!(client.get("/livez").upgrade().await.unwrap_err().json::<Value>()["live"], true);
    assert_eq!(client.get("/nothing").upgrade().await.unwrap_err().status(), StatusCode::NOT_FOUND);
    running.shutdown().await.unwrap();
    let without_http = App::new().start().await.unwrap();
    let refused = without_http.http_client().get("/feed").upgrade().await.unwrap_err();
    assert_eq!(refused.status(), StatusCode::NOT_FOUND);
    without_http.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_subprotocol_is_the_one_that_the_handler_has_chosen() {
    let handler = async |upgrade: WebSocketUpgrade| -> Response {
        upgrade.protocols(["feed.v2", "feed.v1"]).on_upgrade(async |_: WebSocket| {})
    };
    let running = start(Endpoint::get("/", handler)).await;
    let offers = running.http_client().get("/").header("sec-websocket-protocol", "feed.v1, feed.v0");
    assert_eq!(offers.upgrade().await.unwrap().protocol(), Some("feed.v1"));
    assert_eq!(running.http_client().get("/").upgrade().await.unwrap().protocol(), None);
    running.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_asked_answers_pings_for_hours_and_one_that_is_not_is_taken_for_gone() {
    async fn chat(socket: WebSocket, Path(user): Path<String>, rooms: State<Rooms>) {
        let me = rooms.enter(user);
        me.join("lobby");
        let mut socket = me.attach(socket);
        while socket.recv().await.is_some() {}
    }
    let rooms = Rooms::new();
    let app = App::new().http(Http::unbound()).state(rooms.clone()).endpoint(Endpoint::ws("/{user}", chat));
    let running = app.start().await.unwrap();
    let mut asked = running.http_client().get("/ann").upgrade().await.unwrap();
    assert_eq!(asked.json::<Value>().await["type"], "joined");
    let mut silent = running.http_client().get("/bob").upgrade().await.unwrap();
    assert_eq!(asked.json::<Value>().await["user"], "bob");
    // Whose pings nobody answers.
    assert_eq!(
        asked.json::<Value>().await,
        json!({ "type": "left", "room": "lobby", "user": "bob", "sockets": 0, "members": 1 })
    );
    assert_eq!(silent.json::<Value>().await["type"], "joined");
    assert_eq!(silent.closed().await, 3008);
    let (heard, ()) = tokio::join!(asked.json::<Value>(), async {
        tokio::time::sleep(Duration::from_secs(3 * 3600)).await;
        rooms.broadcast("lobby", "hello");
    });
    assert_eq!(heard["body"], "hello");
    running.shutdown().await.unwrap();
}
