//! What a running app says of itself.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used)]

use asyncworker::prelude::*;
use asyncworker::{Running, Status};
use std::time::Duration;
use tokio::time::sleep;

const LIMIT: Duration = Duration::from_secs(600);
const STALLED: Duration = Duration::from_secs(60);

/// Waits, in virtual time, until the status is such.
async fn until(app: &Running, such: impl Fn(&Status) -> bool) -> Status {
    let waiting = async {
        while !such(&app.status()) {
            sleep(Duration::from_millis(10)).await;
        }
        app.status()
    };
    tokio::time::timeout(LIMIT, waiting).await.unwrap_or_else(|_| panic!("it stays {:?}", app.status()))
}

async fn hang_on_null(order: Message) {
    if order.body().is_ok_and(serde_json::Value::is_null) {
        std::future::pending::<()>().await;
    }
}

async fn start(broker: &Memory) -> Running {
    let options = RouteOptions::new().prefetch(2);
    let route = Route::amqp(["orders", "orders.late"]).name("index").options(options).handler(hang_on_null);
    App::new().connect(broker.clone()).shutdown_timeout(Duration::from_secs(4)).route(route).start().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_app_is_ready_while_each_queue_of_each_route_is_consumed() {
    let broker = Memory::new();
    let app = start(&broker).await;
    let status = until(&app, Status::is_ready).await;
    let queues: Vec<_> = status.routes[0].queues.iter().map(|queue| (queue.queue.as_str(), queue.consuming)).collect();
    assert_eq!((status.routes[0].name.as_str(), queues), ("index", vec![("orders", true), ("orders.late", true)]));

    assert!(broker.delete_queue("orders.late"));
    let status = until(&app, |status| !status.is_ready()).await;
    let consuming: Vec<_> = status.routes[0].queues.iter().map(|queue| queue.consuming).collect();
    assert_eq!(consuming, [true, false]);

    broker.declare(Queue::new("orders.late")).unwrap();
    until(&app, Status::is_ready).await;
    app.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_settled_is_counted_and_a_quiet_route_is_live() {
    let broker = Memory::new();
    let app = start(&broker).await;
    assert_eq!(app.status().routes[0].last_settled, None);
    broker.push("orders", "1");
    broker.push("orders", "{");
    until(&app, |status| status.routes[0].settled == 2).await;
    sleep(10 * STALLED).await;
    let status = app.status();
    let route = &status.routes[0];
    assert_eq!((route.unsettled, route.oldest_unsettled, route.stalled_for()), (0, None, None));
    assert!(route.last_settled.is_some_and(|ago| ago >= 10 * STALLED), "{route:?}");
    assert!(status.is_live(STALLED));
    app.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_route_is_stalled_when_it_has_messages_and_settles_none() {
    let broker = Memory::new();
    let app = start(&broker).await;
    broker.push("orders", "null");
    until(&app, |status| status.routes[0].unsettled == 1).await;
    // One handler hangs, the others get on: its message grows old, and the route is live.
    for _ in 0..10 {
        sleep(STALLED / 2).await;
        broker.push("orders", "1");
        until(&app, |status| status.routes[0].last_settled.is_some_and(|ago| ago < STALLED / 4)).await;
    }
    let status = app.status();
    assert!(status.routes[0].oldest_unsettled.is_some_and(|age| age >= 5 * STALLED), "{status:?}");
    assert!(status.is_live(STALLED) && status.is_ready());

    broker.push("orders", "null");
    sleep(STALLED).await;
    let status = app.status();
    assert_eq!(status.routes[0].unsettled, 2);
    assert!(!status.is_live(STALLED) && status.is_live(2 * STALLED), "{status:?}");
    assert!(app.shutdown().await.is_err(), "two handlers never end");
}

#[tokio::test(start_paused = true)]
async fn a_handler_takes_the_status_which_is_there_before_its_first_run() {
    let broker = Memory::new();
    type Seen = tokio::sync::watch::Sender<Option<Status>>;
    async fn look(seen: State<Seen>, status: Status, _: Message) {
        seen.send_replace(Some(status));
    }
    let seen = Seen::new(None);
    broker.push("orders", "1");
    let route = Route::amqp(["orders"]).name("look").handler(look);
    let app = App::new().connect(broker.clone()).state(seen.clone()).route(route).start().await.unwrap();
    let status = seen.subscribe().wait_for(Option::is_some).await.unwrap().clone().unwrap();
    assert_eq!((status.routes[0].name.as_str(), status.routes[0].unsettled), ("look", 1));
    assert_eq!(broker.settled("orders", 1).await, [Action::Ack]);
    app.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_status_as_json_has_its_times_as_seconds() {
    let broker = Memory::new();
    let app = start(&broker).await;
    broker.push("orders", "1");
    until(&app, |status| status.is_ready() && status.routes[0].settled == 1).await;
    let route = |app: &Running| serde_json::to_value(app.status()).unwrap()["routes"][0].take();
    let settled = route(&app);
    assert!(settled["last_settled"].as_f64().is_some_and(|seconds| seconds < 1.0), "{settled}");
    let expected = serde_json::json!({
        "name": "index",
        "queues": [{ "queue": "orders", "consuming": true }, { "queue": "orders.late", "consuming": true }],
        "unsettled": 0,
        "oldest_unsettled": null,
        "settled": 1,
        "last_settled": settled["last_settled"],
    });
    assert_eq!(settled, expected);

    broker.push("orders", "null");
    until(&app, |status| status.routes[0].unsettled == 1).await;
    sleep(Duration::from_millis(2500)).await;
    let hangs = route(&app);
    assert!(hangs["oldest_unsettled"].as_f64().is_some_and(|seconds| (2.5..3.0).contains(&seconds)), "{hangs}");
    assert!(app.shutdown().await.is_err(), "a handler never ends");
}

#[cfg(feature = "http")]
#[tokio::test(start_paused = true)]
async fn an_endpoint_takes_the_status() {
    let look = Endpoint::get("/routes", async |status: Status| status.routes.len().to_string());
    let app = App::new().connect(Memory::new()).http(Http::unbound()).endpoint(look);
    let app = app.route(Route::amqp(["orders"]).handler(hang_on_null)).start().await.unwrap();
    assert_eq!(app.http_client().get("/routes").send().await.text(), "1");
    app.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_wants_to_know_is_told_once_the_app_has_started() {
    let told = std::sync::Arc::new(std::sync::OnceLock::new());
    let tell = std::sync::Arc::clone(&told);
    let app = App::new().connect(Memory::new()).route(Route::amqp(["orders"]).handler(hang_on_null));
    let app = app.on_startup(async |_| Ok(())).on_started(move |running| tell.set(running.status()).unwrap());
    let app = app.start().await.unwrap();
    assert_eq!(told.get().unwrap().routes.len(), 1);
    app.shutdown().await.unwrap();
}
