//! Routes of events, fed by the broker in the process: what the engine does with them, whatever server they come from.

#![cfg(all(feature = "memory", feature = "macros"))]
#![allow(clippy::expect_used, missing_docs)]

use asyncworker as app;
use asyncworker::prelude::*;
use asyncworker::{Bytes, Error, ErrorKind, Event, PublishErrorKind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What handlers saw, a line each.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn push(&self, line: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[app::sse(["/v2/events", "/audit"], bulk_size = 2, bulk_flush_interval = "2s")]
async fn on_event(State(seen): State<Seen>, events: Batch<Event>) {
    for event in &events {
        let body = event.body().map_or_else(|_| "no JSON".into(), ToString::to_string);
        seen.push(format!("{} {} {body} of {}", event.path(), event.name(), events.len()));
    }
}

#[tokio::test(start_paused = true)]
async fn events_come_in_bulks_with_their_names_by_size_and_by_time() {
    let (server, seen) = (Memory::new(), Seen::default());
    let app = App::new().connect(server.clone()).state(seen.clone()).mount(routes![on_event]);
    let running = app.start().await.expect("starts");
    server.push_event("/v2/events", "deployment_info", r#"{"id":1}"#);
    server.push("/audit", "{");
    assert_eq!(server.settled("/v2/events", 1).await, [Action::Ack]);
    assert_eq!(server.settled("/audit", 1).await, [Action::Reject]);
    server.push_event("/v2/events", "late", "3");
    assert_eq!(server.settled("/v2/events", 2).await, [Action::Ack; 2]);
    running.shutdown().await.expect("stops");
    let first = seen.all();
    assert_eq!(first.len(), 3);
    assert!(first.contains(&r#"/v2/events deployment_info {"id":1} of 2"#.to_owned()), "{first:?}");
    assert!(first.contains(&"/audit message no JSON of 2".to_owned()), "{first:?}");
    assert_eq!(first[2], "/v2/events late 3 of 1");
}

#[tokio::test(start_paused = true)]
async fn events_are_handled_one_bulk_at_a_time_and_in_order_unless_told_otherwise() {
    async fn slow(State(seen): State<Seen>, event: Event<u32>) -> Result<(), Failure> {
        let number = *event.body()?;
        seen.push(format!("start {number}"));
        tokio::time::sleep(Duration::from_millis(10 / u64::from(number))).await;
        seen.push(format!("end {number}"));
        Ok(())
    }
    let (server, seen) = (Memory::new(), Seen::default());
    let route = Route::sse(["/numbers"]).handler(slow);
    let running = App::new().connect(server.clone()).state(seen.clone()).route(route).start().await.expect("starts");
    for number in 1..=3 {
        server.push_event("/numbers", "number", number.to_string());
    }
    server.settled("/numbers", 3).await;
    running.shutdown().await.expect("stops");
    assert_eq!(seen.all(), ["start 1", "end 1", "start 2", "end 2", "start 3", "end 3"]);
}

#[tokio::test(start_paused = true)]
async fn marks_of_events_count_and_a_requeued_one_says_so() {
    async fn mark(State(seen): State<Seen>, event: Event) -> Result<(), Failure> {
        assert_eq!(event.marked(), None);
        seen.push(format!("{} {}", event.name(), event.redelivered()));
        match event.name() {
            "again" if !event.redelivered() => event.requeue(),
            "refused" => event.reject(),
            _ => event.accept(),
        }
        Err(Failure::reject("a mark holds"))
    }
    let (server, seen) = (Memory::new(), Seen::default());
    let route = Route::sse(["/events"]).handler(mark);
    let running = App::new().connect(server.clone()).state(seen.clone()).route(route).start().await.expect("starts");
    for name in ["again", "refused", "done"] {
        server.push_event("/events", name, "{}");
    }
    let settled = server.settled("/events", 4).await;
    assert_eq!(settled.iter().filter(|action| **action == Action::Ack).count(), 2, "{settled:?}");
    running.shutdown().await.expect("stops");
    let seen = seen.all();
    assert_eq!(seen.iter().filter(|line| line.starts_with("again")).collect::<Vec<_>>(), ["again false", "again true"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_of_events_returns_is_published() {
    async fn forward(body: Bytes) -> Publish {
        Publish::raw(body).to("events")
    }
    let server = Memory::new();
    server.declare(Queue::new("events")).expect("a new queue");
    let route = Route::sse(["/v2/events"]).handler(forward);
    let running = App::new().connect(server.clone()).route(route).start().await.expect("starts");
    server.push_event("/v2/events", "created", "7");
    assert_eq!(server.settled("/v2/events", 1).await, [Action::Ack]);
    assert_eq!(server.ready("events"), 1);
    running.shutdown().await.expect("stops");
}

/// The error of starting an app with this route, which must be one of configuration.
async fn refused(route: Route) -> String {
    let started = App::new().connect(Memory::new()).state(Seen::default()).route(route).start().await;
    let error: Error = started.map(|_| ()).expect_err("the app starts");
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    error.to_string()
}

#[tokio::test]
async fn what_means_nothing_to_a_route_of_events_is_refused_at_start() {
    let route = |path: &str| Route::sse([path]).name("on_event").handler(on_event);
    let none: [&str; 0] = [];
    assert!(refused(Route::sse(none).handler(on_event)).await.contains("names no path"));
    assert!(refused(route("")).await.contains("the name of a path is empty"));
    assert!(refused(Route::sse(["/a", "/a"]).handler(on_event)).await.contains("the path \"/a\" is named twice"));
    let error = refused(route("/events").vhost("/")).await;
    assert!(error.contains("`on_event`") && error.contains("virtual host"), "{error}");
    let error = refused(route("/events").options(RouteOptions::new().prefetch(0))).await;
    assert!(error.contains("prefetch") && !error.contains("RabbitMQ"), "{error}");
    let single = async |_: Event| ();
    let options = RouteOptions::new().bulk_size(2);
    let error = refused(Route::sse(["/events"]).options(options).handler(single)).await;
    assert!(error.contains("Batch<Event<T>>"), "{error}");
}

#[tokio::test]
async fn an_argument_of_the_other_kind_of_route_is_refused_by_route_and_type() {
    let events = |route: Route| route.name("on_event");
    let route = || Route::sse(["/events"]);
    let error = refused(events(route().handler(async |_: Batch<Message>| ()))).await;
    assert!(error.contains("`on_event`") && error.contains("`Batch<Message<T>>`"), "{error}");
    assert!(refused(route().handler(async |_: Message| ())).await.contains("`Message<T>`"));
    assert!(refused(route().handler(async |_: Headers| ())).await.contains("`Headers`"));
    assert!(refused(route().handler(async |_: Properties| ())).await.contains("`Properties`"));
    let error = refused(Route::amqp(["orders"]).name("index").handler(async |_: Batch<Event>| ())).await;
    assert!(error.contains("`index`") && error.contains("`Batch<Event<T>>`"), "{error}");
    assert!(refused(Route::amqp(["orders"]).handler(async |_: Event| ())).await.contains("`Event<T>`"));
}

#[tokio::test]
async fn a_message_over_an_unknown_connection_is_not_published() {
    let running = App::new().connect(Memory::new()).start().await.expect("starts");
    let error = running.publisher().publish(Publish::raw("x").to("q").connection("there")).await.expect_err("no such");
    assert_eq!(error.kind(), PublishErrorKind::Invalid);
    running.shutdown().await.expect("stops");
    let running = App::new().start().await.expect("starts");
    let error = running.publisher().publish(Publish::raw("x").to("q")).await.expect_err("no connection");
    assert!(error.to_string().contains("no connection to publish over"), "{error}");
    running.shutdown().await.expect("stops");
}
