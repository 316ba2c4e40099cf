//! HTTP on real sockets: where it is bound, what its limits hold against, and how it ends.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use asyncworker::http::{Bytes, ConnectInfo, Endpoint, Http as Settings};
use asyncworker::prelude::*;
use asyncworker::{Context, ErrorKind, Running, Service, ServiceContext, Supervised};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tests::{Http, LIMIT, own_host, until_async};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

const SOON: Duration = Duration::from_millis(200);

async fn hello() -> &'static str {
    "hello"
}

async fn read(body: Bytes) -> String {
    body.len().to_string()
}

/// Takes a permit, or waits for one, and says so.
async fn waits(State(gate): State<Gate>) -> &'static str {
    gate.entered.add_permits(1);
    let _ = gate.open.acquire().await;
    "done"
}

/// What a request waits at.
#[derive(Clone)]
struct Gate {
    entered: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Gate {
    fn closed() -> Self {
        Self { entered: Arc::new(Semaphore::new(0)), open: Arc::new(Semaphore::new(0)) }
    }

    async fn entered(&self) {
        tokio::time::timeout(LIMIT, self.entered.acquire()).await.expect("a request in time").unwrap().forget();
    }
}

fn settings() -> Settings {
    Settings::bind("127.0.0.1:0")
}

fn app(settings: Settings, gate: &Gate) -> App {
    App::new().http(settings).state(gate.clone()).mount([
        Endpoint::get("/", hello),
        Endpoint::post("/read", read),
        Endpoint::get("/waits", waits),
    ])
}

async fn start(settings: Settings) -> (Running, SocketAddr) {
    let running = app(settings, &Gate::closed()).start().await.unwrap();
    let address = running.http_address().expect("it is bound");
    (running, address)
}

#[tokio::test]
async fn requests_on_one_connection_are_answered_and_know_where_they_come_from() {
    let peer = async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string();
    let app = App::new().http(settings()).endpoint(Endpoint::get("/peer", peer));
    let running = app.start().await.unwrap();
    let mut client = Http::connect(running.http_address().unwrap()).await;
    for _ in 0..3 {
        assert_eq!(client.get("/peer").await.body, client.stream.local_addr().unwrap().to_string());
    }
    running.shutdown().await.unwrap();
    client.until_closed().await;
}

#[tokio::test]
async fn an_address_in_use_is_the_error_of_the_start_before_anything_runs() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let broker = Memory::new();
    broker.push("orders", "{}");
    let route = Route::amqp(["orders"]).handler(async |_: Message| {});
    let app = App::new().connect(broker.clone()).http(Settings::bind(&address)).route(route);
    let hook = |when: &'static str| async move |_: Context| panic!("a {when} hook ran");
    let app = app.on_startup(hook("startup")).on_shutdown(hook("shutdown"));
    let error = app.start().await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Startup);
    assert!(error.to_string().contains(&address), "{error}");
    assert!(format!("{error:?}").contains("in use"), "{error:?}");
    assert_eq!(broker.ready("orders"), 1);
}

/// A service that is ready when its gate is opened.
struct Slow(Gate);

#[asyncworker::async_trait]
impl Service for Slow {
    async fn run(&self, context: ServiceContext) -> Result<(), Failure> {
        let _ = self.0.open.acquire().await;
        context.ready();
        context.told_to_stop().await;
        Ok(())
    }
}

#[tokio::test]
async fn probes_and_metrics_are_served_while_services_start_and_endpoints_ask_to_come_again() {
    let gate = Gate::closed();
    // Nobody has it any more, and the app can be asked for its own only when it has started.
    let address = TcpListener::bind((own_host(), 0)).await.unwrap().local_addr().unwrap();
    let service = Supervised::new(Slow(gate.clone())).name("slow");
    let app = app(Settings::bind(address.to_string()), &gate).service(service);
    let starting = tokio::spawn(app.start());
    let bound = || async { tokio::net::TcpStream::connect(address).await.is_ok() };
    until_async("it is bound", LIMIT, bound).await;
    let mut client = Http::connect(address).await;
    for path in ["/livez", "/metrics"] {
        assert_eq!(client.get(path).await.status, 200, "{path}");
    }
    let ready = client.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains(r#""starting":true"#) && ready.body.contains(r#""waiting_for":["slow"]"#), "{ready:?}");
    for path in ["/", "/nowhere"] {
        let answer = client.get(path).await;
        assert_eq!(answer.status, 503, "{path}");
        assert!(answer.head.contains("retry-after: 1"), "{answer:?}");
    }
    gate.open.add_permits(1);
    let running = starting.await.unwrap().unwrap();
    assert_eq!(client.get("/").await.body, "hello");
    for (path, status) in [("/nowhere", 404), ("/readyz", 200)] {
        assert_eq!(client.get(path).await.status, status, "{path}");
    }
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_client_that_is_slow_with_its_head_is_cut_off_and_so_is_one_that_says_nothing_more() {
    let (running, address) = start(settings().header_read_timeout(5 * SOON)).await;
    let mut slow = Http::connect(address).await;
    slow.send("GET / HTTP/1.1\r\nhost: te").await;
    let mut quiet = Http::connect(address).await;
    assert_eq!(quiet.get("/").await.status, 200);
    slow.until_closed().await;
    quiet.until_closed().await;
    assert_eq!(Http::connect(address).await.get("/").await.body, "hello");
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_client_that_stops_in_the_middle_of_its_body_is_cut_off() {
    let (running, address) = start(settings().body_read_timeout(SOON)).await;
    let mut client = Http::connect(address).await;
    client.send("POST /read HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\n12345").await;
    assert_eq!(client.answer().await.status, 400);
    client.until_closed().await;
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn ten_megabytes_are_turned_away_and_the_client_that_sends_them_all_first_learns_why() {
    let (running, address) = start(settings()).await;
    let body = vec![b'x'; 10_000_000];
    let mut by_length = Http::connect(address).await;
    by_length.send(format!("POST /read HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n", body.len())).await;
    by_length.send(&body).await;
    assert_eq!(by_length.answer().await.status, 413);
    by_length.until_closed().await;

    let mut by_chunks = Http::connect(address).await;
    by_chunks.send("POST /read HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for chunk in body.chunks(100_000) {
        by_chunks.send(format!("{:x}\r\n", chunk.len())).await;
        by_chunks.send(chunk).await;
        by_chunks.send("\r\n").await;
    }
    by_chunks.send("0\r\n\r\n").await;
    assert_eq!(by_chunks.answer().await.status, 413);
    by_chunks.until_closed().await;

    let mut within = Http::connect(address).await;
    within.send("POST /read HTTP/1.1\r\nhost: test\r\ncontent-length: 1000000\r\n\r\n").await;
    within.send(&body[..1_000_000]).await;
    assert_eq!(within.answer().await.body, "1000000");
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_connection_over_the_limit_waits_for_one_of_the_others_to_end() {
    let (running, address) = start(settings().max_connections(2)).await;
    let mut first = Http::connect(address).await;
    let mut second = Http::connect(address).await;
    for client in [&mut first, &mut second] {
        assert_eq!(client.get("/").await.status, 200);
    }
    let mut third = Http::connect(address).await;
    third.request("GET", "/").await;
    assert!(tokio::time::timeout(SOON, third.answer()).await.is_err(), "it is answered");
    drop(first);
    assert_eq!(third.answer().await.status, 200);
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_is_no_http_is_answered_by_400_and_closed() {
    let (running, address) = start(settings()).await;
    let mut client = Http::connect(address).await;
    client.send("EHLO example.com\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 400);
    client.until_closed().await;
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_request_under_way_ends_before_the_app_does() {
    let gate = Gate::closed();
    let running = app(settings(), &gate).start().await.unwrap();
    let address = running.http_address().unwrap();
    let mut client = Http::connect(address).await;
    client.request("GET", "/waits").await;
    gate.entered().await;
    let stopping = tokio::spawn(running.shutdown());
    let refused = || async { tokio::net::TcpStream::connect(address).await.is_err() };
    until_async("nothing more is accepted", LIMIT, refused).await;
    gate.open.add_permits(1);
    let answer = client.answer().await;
    assert_eq!(answer.body, "done");
    assert!(answer.head.contains("connection: close"), "{answer:?}");
    client.until_closed().await;
    stopping.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_in_the_middle_of_its_head_or_slow_to_take_an_answer_does_as_it_should_at_a_stop() {
    const LARGE: usize = 20_000_000;
    let app = App::new().http(settings()).endpoint(Endpoint::get("/large", async || vec![b'x'; LARGE]));
    let running = app.start().await.unwrap();
    let address = running.http_address().unwrap();
    let mut halfway = Http::connect(address).await;
    halfway.send("GET / HTTP/1.1\r\nhost: te").await;
    let mut slow = Http::connect(address).await;
    slow.request("GET", "/large").await;
    // Its answer has begun to arrive, and no more of it fits.
    slow.stream.readable().await.unwrap();
    let stopping = tokio::spawn(running.shutdown());
    halfway.until_closed().await;
    assert_eq!(slow.answer().await.body.len(), LARGE);
    stopping.await.unwrap().unwrap();
}

#[tokio::test]
async fn new_connections_are_served_while_routes_drain_and_are_told_that_the_app_is_not_ready() {
    let broker = Memory::new();
    let gate = Gate::closed();
    let handler = async |State(gate): State<Gate>, _: Message| {
        waits(State(gate)).await;
    };
    let app = app(settings(), &gate).connect(broker.clone()).route(Route::amqp(["orders"]).handler(handler));
    let running = app.start().await.unwrap();
    let address = running.http_address().unwrap();
    until_async("ready", LIMIT, async || Http::connect(address).await.get("/readyz").await.status == 200).await;
    let mut kept = Http::connect(address).await;
    assert_eq!(kept.get("/livez").await.status, 200);
    broker.push("orders", "{}");
    gate.entered().await;
    let stopping = tokio::spawn(running.shutdown());
    until_async("not ready", LIMIT, async || Http::connect(address).await.get("/readyz").await.status == 503).await;
    let answer = Http::connect(address).await.get("/").await;
    assert_eq!(answer.body, "hello");
    assert!(answer.head.contains("connection: close"), "{answer:?}");
    assert_eq!(kept.get("/livez").await.status, 200);
    kept.until_closed().await;
    gate.open.add_permits(1);
    stopping.await.unwrap().unwrap();
    assert_eq!(broker.settled("orders", 1).await, [Action::Ack]);
}

#[tokio::test]
async fn a_request_that_does_not_end_is_given_up_at_the_deadline_and_told_of() {
    let gate = Gate::closed();
    let running = app(settings(), &gate).shutdown_timeout(SOON).start().await.unwrap();
    let mut client = Http::connect(running.http_address().unwrap()).await;
    client.request("GET", "/waits").await;
    gate.entered().await;
    let error = running.shutdown().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shutdown);
    assert!(error.to_string().contains("1 HTTP connections"), "{error}");
    client.until_closed().await;
}

#[tokio::test]
async fn an_app_that_is_dropped_serves_nothing_more() {
    let (running, address) = start(settings()).await;
    let mut client = Http::connect(address).await;
    assert_eq!(client.get("/").await.status, 200);
    drop(running);
    client.until_closed().await;
    let refused = || async { tokio::net::TcpStream::connect(address).await.is_err() };
    until_async("nothing more is accepted", LIMIT, refused).await;
}
