//! Websockets on real sockets, from open to close.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use asyncworker::http::ws::{self, WebSocket, WebSocketUpgrade};
use asyncworker::http::{Endpoint, Http as Settings, Path, Response};
use asyncworker::prelude::*;
use asyncworker::{ErrorKind, Running};
use futures_util::SinkExt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tests::{Http, LIMIT, RawSocket, Socket, Worker, amqp_url};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::Message;

async fn start(endpoint: Endpoint) -> (Running, SocketAddr) {
    let settings = Settings::bind("127.0.0.1:0").body_limit(1000);
    let running = App::new().state("the state").http(settings).endpoint(endpoint).start().await.unwrap();
    let address = running.http_address().expect("it is bound");
    (running, address)
}

async fn echo(mut socket: WebSocket, Path(room): Path<String>, State(state): State<&'static str>) {
    socket.send(ws::Message::text(format!("{room} {state}"))).await.unwrap();
    while let Some(Ok(message)) = socket.recv().await {
        match message {
            ws::Message::Text(text) if text.as_str() == "bye" => return,
            ws::Message::Text(text) => socket.send(ws::Message::Text(text)).await.unwrap(),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_websocket_has_its_extractors_and_is_closed_normally_when_its_handler_ends() {
    let (running, address) = start(Endpoint::ws("/rooms/{room}", echo)).await;
    let mut client = Socket::connect(address, "/rooms/blue").await;
    assert_eq!(client.text().await, "blue the state");
    client.send("hello").await;
    assert_eq!(client.text().await, "hello");
    client.0.send(Message::Ping("7".into())).await.unwrap();
    assert_eq!(client.next().await, Some(Message::Pong("7".into())));
    client.send("bye").await;
    assert_eq!(client.closed_with().await, 1000);
    assert_eq!(client.next().await, None);
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_client_that_closes_is_answered_and_one_that_goes_ends_its_handler() {
    let (ended, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let handler = move |mut socket: WebSocket| {
        let ended = ended.clone();
        async move {
            while let Some(Ok(_)) = socket.recv().await {}
            ended.send(()).unwrap();
        }
    };
    let (running, address) = start(Endpoint::ws("/", handler)).await;
    let mut closes = Socket::connect(address, "/").await;
    closes.0.close(None).await.unwrap();
    assert!(matches!(closes.next().await, Some(Message::Close(_))));
    assert_eq!(closes.next().await, None);
    ends.recv().await.unwrap();
    drop(Socket::connect(address, "/").await);
    tokio::time::timeout(LIMIT, ends.recv()).await.expect("the end of the handler").unwrap();
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_handler_that_fails_or_panics_closes_with_an_internal_error_and_concerns_no_other() {
    let fails = async |mut socket: WebSocket| match socket.recv().await {
        Some(Ok(ws::Message::Text(text))) if text.as_str() == "panic" => panic!("oh"),
        Some(Ok(ws::Message::Text(text))) if text.as_str() == "fail" => Err(Failure::new("it fails")),
        _ => Ok(()),
    };
    let (running, address) = start(Endpoint::ws("/", fails)).await;
    for (word, code) in [("panic", 1011), ("fail", 1011), ("end", 1000)] {
        let mut client = Socket::connect(address, "/").await;
        client.send(word).await;
        assert_eq!(client.closed_with().await, code, "{word}");
    }
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_shutdown_closes_with_going_away_and_ends_what_is_received() {
    let received = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&received);
    let handler = move |mut socket: WebSocket| {
        let log = Arc::clone(&log);
        async move {
            while let Some(message) = socket.recv().await {
                log.lock().unwrap().push(message.unwrap().into_text().unwrap().to_string());
            }
            log.lock().unwrap().push("the end".into());
            assert!(socket.send(ws::Message::text("too late")).await.is_err());
            assert!(socket.recv().await.is_none());
        }
    };
    let (running, address) = start(Endpoint::ws("/", handler)).await;
    let mut client = Socket::connect(address, "/").await;
    client.send("one").await;
    tests::until("it is received", LIMIT, || !received.lock().unwrap().is_empty()).await;
    let (stopped, code) = tokio::join!(running.shutdown(), async {
        let code = client.closed_with().await;
        assert_eq!(client.next().await, None);
        code
    });
    stopped.unwrap();
    assert_eq!(code, 1001);
    assert_eq!(*received.lock().unwrap(), ["one", "the end"]);
}

#[tokio::test]
async fn a_shutdown_closes_at_once_when_the_handler_is_at_something_else_and_waits_for_it() {
    let gate = Arc::new(Semaphore::new(0));
    let opens = Arc::clone(&gate);
    let handler = move |mut socket: WebSocket| {
        let gate = Arc::clone(&gate);
        async move {
            socket.send(ws::Message::text("waiting")).await.unwrap();
            let _ = gate.acquire().await;
        }
    };
    let (running, address) = start(Endpoint::ws("/", handler)).await;
    let mut client = Socket::connect(address, "/").await;
    assert_eq!(client.text().await, "waiting");
    let mut stopping = tokio::spawn(running.shutdown());
    assert_eq!(client.closed_with().await, 1001);
    assert_eq!(client.next().await, None);
    let early = tokio::time::timeout(Duration::from_millis(100), &mut stopping).await;
    assert!(early.is_err(), "it did not wait for the handler: {early:?}");
    opens.add_permits(1);
    stopping.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_shutdown_closes_with_going_away_also_where_the_handler_fails_over_it_first() {
    let handler = async |mut socket: WebSocket| -> Result<(), ws::Error> {
        loop {
            socket.send(ws::Message::text("and on")).await?;
            tokio::task::yield_now().await;
        }
    };
    let (running, address) = start(Endpoint::ws("/", handler)).await;
    let clients = (0..64).map(async |_| {
        let mut client = Socket::connect(address, "/").await;
        assert_eq!(client.text().await, "and on");
        client
    });
    let clients = futures_util::future::join_all(clients).await;
    let closed = clients.into_iter().map(async |mut client| client.closed_at_last_with().await);
    let (stopped, codes) = tokio::join!(running.shutdown(), futures_util::future::join_all(closed));
    stopped.unwrap();
    assert_eq!(codes, [1001; 64]);
}

#[tokio::test]
async fn a_handler_that_does_not_end_is_given_up_at_the_deadline_and_told_of() {
    let handler = async |_: WebSocket| std::future::pending::<()>().await;
    let settings = Settings::bind("127.0.0.1:0");
    let app = App::new().http(settings).endpoint(Endpoint::ws("/", handler));
    let running = app.shutdown_timeout(Duration::from_millis(200)).start().await.unwrap();
    let mut client = Socket::connect(running.http_address().unwrap(), "/").await;
    let (stopped, code) = tokio::join!(running.shutdown(), client.closed_with());
    assert_eq!(code, 1001);
    let error = stopped.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shutdown);
    assert!(error.to_string().contains("1 websockets"), "{error}");
}

#[tokio::test]
async fn a_message_over_the_limit_ends_the_websocket_as_too_big() {
    let handler = async |mut socket: WebSocket| {
        while let Some(message) = socket.recv().await {
            let length = message?.into_data().len();
            socket.send(ws::Message::text(length.to_string())).await?;
        }
        Ok::<_, ws::Error>(())
    };
    let (running, address) = start(Endpoint::ws("/", handler)).await;
    let mut client = Socket::connect(address, "/").await;
    client.send(&"x".repeat(1000)).await;
    assert_eq!(client.text().await, "1000");
    client.send(&"x".repeat(1001)).await;
    assert_eq!(client.closed_with().await, 1009);
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn who_sends_what_cannot_be_read_is_told_so_whatever_the_handler_makes_of_it() {
    let fails = async |mut socket: WebSocket| {
        while let Some(message) = socket.recv().await {
            message?;
        }
        Ok::<_, ws::Error>(())
    };
    let ends = async |mut socket: WebSocket| while socket.recv().await.is_some_and(|message| message.is_ok()) {};
    let mask = [0_u8; 4];
    let text = |head: &[u8], payload: &[u8]| [head, &mask, payload].concat();
    // The larger part of it comes when the close has long been sent, and more than any buffer holds.
    let far_over = text(&[&[0x81, 0xff][..], &(1_u64 << 40).to_be_bytes()].concat(), &vec![b'x'; 16 * 1024 * 1024]);
    let cases = [
        (far_over, 1009, "the message is over the limit"),
        (text(&[0x81, 0x82], &[0xff, 0xff]), 1007, "a text is not UTF-8"),
        (text(&[0xf1, 0x80], &[]), 1002, "the protocol was broken"),
        (vec![0x81, 0x01, b'x'], 1002, "the protocol was broken"),
    ];
    for endpoint in [Endpoint::ws("/", fails), Endpoint::ws("/", ends)] {
        let (running, address) = start(endpoint).await;
        for (octets, code, reason) in &cases {
            let mut client = RawSocket::connect(address, "/").await;
            client.0.send(octets).await;
            assert_eq!(client.closed_with().await, (*code, (*reason).to_owned()));
        }
        running.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_handler_of_the_upgrade_chooses_the_subprotocol() {
    let handler = async |upgrade: WebSocketUpgrade| -> Response {
        upgrade.protocols(["feed.v2", "feed.v1"]).on_upgrade(async |mut socket: WebSocket| {
            let chosen = socket.protocol().unwrap_or("none").to_owned();
            socket.send(ws::Message::text(chosen)).await
        })
    };
    let (running, address) = start(Endpoint::get("/", handler)).await;
    let mut request = format!("ws://{address}/").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "feed.v1".parse().unwrap());
    let stream = TcpStream::connect(address).await.unwrap();
    let (socket, answer) = client_async(request, stream).await.unwrap();
    assert_eq!(answer.headers()["sec-websocket-protocol"], "feed.v1");
    let mut client = Socket(socket);
    assert_eq!(client.text().await, "feed.v1");
    assert_eq!(client.closed_with().await, 1000);
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_request_that_asks_for_no_upgrade_is_refused() {
    let (running, address) = start(Endpoint::ws("/rooms/{room}", echo)).await;
    let mut client = Http::connect(address).await;
    assert_eq!(client.get("/rooms/blue").await.status, 400);
    assert_eq!(running.http_client().get("/rooms/blue").send().await.status(), 400);
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_websocket_that_is_open_at_sigterm_is_closed_with_going_away() {
    let mut worker = Worker::start(env!("CARGO_BIN_EXE_worker"), ["serves", &amqp_url(), "nothing"], &[]);
    worker.until_printed("serving HTTP").await;
    let printed = worker.printed();
    let address = printed.lines().find_map(|line| line.split_once("serving HTTP address=")?.1.trim().parse().ok());
    let mut client = Socket::connect(address.expect("an address in the log"), "/feed").await;
    assert_eq!(client.text().await, "hello");
    worker.signal("TERM").await;
    assert_eq!(client.closed_with().await, 1001);
    assert_eq!(client.next().await, None);
    assert_eq!(worker.end(LIMIT).await.code(), Some(0), "{}", worker.printed());
    assert!(worker.printed().contains("received None"), "{}", worker.printed());
}
