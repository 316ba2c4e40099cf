//! A worker as a process of its own: `worker SCENARIO URL QUEUE`. Tests start it, disturb it and read what
//! it prints.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use asyncworker::http::ws::{self, WebSocket};
use asyncworker::prelude::*;
use asyncworker::{RoomBridge, RoomEvent, Rooms, Service, ServiceContext, Supervised};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);

#[tokio::main]
async fn main() -> Result<(), asyncworker::Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [scenario, url, queue] = &arguments[..] else { panic!("worker SCENARIO URL QUEUE") };
    let amqp = Amqp::from_uri(url)?.backoff(Duration::from_millis(100), Duration::from_secs(1));
    let app = App::new().name("worker");
    let route = Route::amqp([queue]).name("route-of-worker");
    let bulks = RouteOptions::new().bulk_size(500).prefetch(1000).concurrency(1).bulk_flush_interval(LONG);
    let app = match scenario.as_str() {
        // Ends when it is told to, by a line.
        "slow" => app.connect(amqp).route(route.options(bulks).handler(async |batch: Batch<Message>| {
            println!("start {}", batch.len());
            let line = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
            line.await.expect("a thread").expect("a line");
            println!("end {}", batch.len());
        })),
        // As quick as it can be.
        "quick" => app.connect(amqp).route(route.options(bulks).handler(async |batch: Batch<Message>| {
            println!("handled {}", batch.len());
        })),
        // What the environment says, and nothing else.
        "defaults" => app.connect(amqp).route(route.options(RouteOptions::new().bulk_size(500)).handler(
            async |batch: Batch<Message>| {
                println!("handled {}", batch.len());
            },
        )),
        // A websocket that says hello and then waits.
        "serves" => app.connect(amqp).http(Http::bind("127.0.0.1:0")).endpoint(Endpoint::ws(
            "/feed",
            async |mut socket: WebSocket| {
                socket.send(ws::Message::text("hello")).await?;
                let next = socket.recv().await;
                println!("received {next:?}");
                next.transpose().map(drop)
            },
        )),
        // As many in flight as the settings say, each bulk held for a while.
        "bodies" => app.connect(amqp).route(route.handler(async |message: Message| {
            tokio::time::sleep(Duration::from_millis(5)).await;
            println!("handled {}", message.raw().len());
        })),
        "declares" => app.connect(amqp).declare(Queue::new(queue)),
        "never" => {
            app.shutdown_timeout(Duration::from_secs(2)).connect(amqp).route(route.handler(async |message: Message| {
                println!("start {}", message.raw().len());
                std::future::pending::<()>().await;
            }))
        }
        "blocks" => {
            app.shutdown_timeout(Duration::from_secs(1)).connect(amqp).route(route.handler(async |_: Message| {
                println!("start");
                std::thread::sleep(LONG);
            }))
        }
        "hook-fails" => hooks(app.connect(amqp), async || Err(Failure::new("it fails on purpose"))),
        "hook-panics" => hooks(app.connect(amqp), async || panic!("a panic on purpose")),
        "hook-hangs" => hooks(app.connect(amqp), async || std::future::pending().await),
        "leak" => {
            let amqp = amqp.name("leaky").on_connection_failure(|error, failures| {
                println!("failure {failures}: {error} {error:?}");
            });
            println!("{amqp:?}");
            let app = app.connect(amqp).route(route.handler(async |_: Message| ()));
            println!("{app:?} {:#?}", asyncworker::Connection::from(Amqp::from_uri(url)?));
            let _ = std::panic::catch_unwind(|| panic!("{:?}", Amqp::from_uri(url)));
            println!("{:?}", Amqp::from_uri(&format!("{url}/?nothing=1")).map(|_| ()));
            app
        }
        "silence" => {
            let amqp = amqp
                .connect_timeout(Duration::from_millis(200))
                .backoff(Duration::from_millis(1), Duration::from_millis(1));
            let amqp = amqp.on_connection_failure(|error, failures| println!("failure {failures}: {error:?}"));
            app.connect(amqp).route(route.handler(async |_: Message| ()))
        }
        // A member of a room that says again what others say there.
        "echoes" => {
            let rooms = Rooms::new();
            let me = rooms.enter("echo");
            me.join("lobby");
            tokio::spawn(async move {
                while let Some(event) = me.next().await {
                    if let RoomEvent::Message { from, body, .. } = event
                        && from.as_deref() != Some(me.user())
                    {
                        me.broadcast("lobby", serde_json::json!({ "echo": body }));
                    }
                }
            });
            let bridge = RoomBridge::new(queue).lease(Duration::from_secs(3));
            app.connect(amqp).state(rooms).bridge_rooms(bridge)
        }
        // No broker: a service that breaks, beside one that does not.
        "service" => {
            let pause = Duration::from_millis(1);
            app.service(Supervised::new(Lasting).name("lasting"))
                .service(Supervised::new(Breaking).name("breaking").backoff(pause, pause).intensity(2, LONG))
                .on_shutdown(|_| async {
                    println!("shutdown hook");
                    Ok(())
                })
        }
        "service-lasting" => app.service(Lasting),
        // As a test does.
        "starts" => {
            let lasting = tests::Worker::start(std::env::current_exe().unwrap(), ["service-lasting", url, queue], &[]);
            lasting.until_printed("service ready").await;
            println!("{} is started", lasting.pid());
            std::future::pending().await
        }
        unknown => panic!("no scenario {unknown}"),
    };
    app.on_startup(|_| async {
        println!("started");
        Ok(())
    })
    .run()
    .await
}

/// Runs until it is told to stop.
struct Lasting;

#[asyncworker::async_trait]
impl Service for Lasting {
    async fn run(&self, context: ServiceContext) -> Result<(), Failure> {
        context.ready();
        println!("service ready");
        context.told_to_stop().await;
        println!("lasting ends");
        Ok(())
    }
}

/// Is ready, and breaks a moment later.
struct Breaking;

#[asyncworker::async_trait]
impl Service for Breaking {
    async fn run(&self, context: ServiceContext) -> Result<(), Failure> {
        println!("breaking runs");
        context.ready();
        tokio::time::sleep(Duration::from_millis(100)).await;
        panic!("a panic on purpose");
    }
}

/// Three hooks, of which the one in the middle makes trouble.
fn hooks<Fut>(app: App, trouble: impl FnOnce() -> Fut + Send + 'static) -> App
where
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let says = |what: &'static str| {
        move |_| async move {
            println!("{what}");
            Ok(())
        }
    };
    app.shutdown_timeout(Duration::from_secs(2))
        .on_shutdown(says("first hook"))
        .on_shutdown(|_| trouble())
        .on_shutdown(says("last hook"))
}
