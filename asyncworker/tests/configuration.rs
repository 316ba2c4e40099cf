//! What is put together wrongly is told by `start`, before anything is consumed, with the route and the fix.

#![cfg(feature = "memory")]
#![allow(clippy::expect_used, missing_docs)]

use asyncworker::prelude::*;
use asyncworker::{Error, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

async fn bulk(_: Batch<Message>) {}
async fn single(_: Message) {}

fn route(queue: &str) -> Route {
    Route::amqp([queue]).handler(bulk)
}

/// The error of starting this app, which must be one of configuration.
async fn refused(app: App) -> String {
    let error: Error = app.start().await.map(|_| ()).expect_err("the app starts");
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    error.to_string()
}

/// The error of starting an app with this route on one memory broker.
async fn refused_route(route: Route) -> String {
    refused(App::new().connect(Memory::new()).route(route)).await
}

#[tokio::test]
async fn defect_04_a_bulk_or_a_prefetch_of_nothing_is_refused() {
    let error = refused_route(route("orders").name("index").options(RouteOptions::new().bulk_size(0))).await;
    assert!(error.contains("`index`") && error.contains("bulk_size"), "{error}");
    let error = refused_route(route("orders").options(RouteOptions::new().prefetch(0))).await;
    assert!(error.contains("`orders`") && error.contains("prefetch"), "{error}");
    let error = refused(App::new().connect(Memory::new().prefetch(0)).route(route("orders"))).await;
    assert!(error.contains("prefetch"), "{error}");
    #[cfg(feature = "amqp")]
    {
        let error = refused(App::new().connect(Amqp::new("127.0.0.1").prefetch(0)).route(route("orders"))).await;
        assert!(error.contains("prefetch"), "{error}");
    }
}

#[tokio::test]
async fn options_of_nothing_are_refused() {
    let error = refused_route(route("orders").options(RouteOptions::new().concurrency(0))).await;
    assert!(error.contains("concurrency"), "{error}");
    let error = refused_route(route("orders").options(RouteOptions::new().timeout(Duration::ZERO))).await;
    assert!(error.contains("timeout"), "{error}");
}

#[tokio::test]
async fn queues_that_amqp_cannot_name_are_refused() {
    let none: [&str; 0] = [];
    assert!(refused_route(Route::amqp(none).handler(bulk)).await.contains("no queue"));
    assert!(refused_route(route("")).await.contains("empty"));
    assert!(refused_route(route(&"x".repeat(256))).await.contains("255"));
    assert!(refused_route(Route::amqp(["a", "a"]).handler(bulk)).await.contains("twice"));
}

#[tokio::test]
async fn a_route_without_a_handler_is_refused() {
    assert!(refused_route(Route::amqp(["orders"])).await.contains("no handler"));
}

#[tokio::test]
async fn a_single_message_handler_takes_no_bulk() {
    let options = RouteOptions::new().bulk_size(10);
    let error = refused_route(Route::amqp(["orders"]).options(options).handler(single)).await;
    assert!(error.contains("`orders`") && error.contains("Batch<Message<T>>"), "{error}");
}

#[tokio::test]
async fn a_state_that_the_app_does_not_have_is_refused_by_type_and_route() {
    async fn index(_: State<Arc<AtomicUsize>>, _: Message) {}
    let error = refused_route(Route::amqp(["orders"]).name("index").handler(index)).await;
    assert!(error.contains("`index`") && error.contains("AtomicUsize") && error.contains(".state("), "{error}");
}

#[tokio::test]
async fn a_state_given_twice_is_refused() {
    let error = refused(App::new().connect(Memory::new()).state(1u8).state(2u8)).await;
    assert!(error.contains("u8") && error.contains("twice"), "{error}");
}

#[tokio::test]
async fn a_route_must_find_its_connection() {
    let error = refused(App::new().route(route("orders"))).await;
    assert!(error.contains("no connection") && error.contains("`orders`"), "{error}");

    let error = refused_route(route("orders").connection("there")).await;
    assert!(error.contains("`there`"), "{error}");

    let two = || App::new().connect(Memory::new().name("here")).connect(Memory::new().name("there"));
    let error = refused(two().route(route("orders"))).await;
    assert!(error.contains("`here`, `there`"), "{error}");
    assert!(refused(two().declare(Queue::new("orders"))).await.contains("queue `orders`"));

    let error = refused(App::new().connect(Memory::new()).connect(Memory::new().name("there"))).await;
    assert!(error.contains("no name"), "{error}");
    let error = refused(App::new().connect(Memory::new().name("here")).connect(Memory::new().name("here"))).await;
    assert!(error.contains("`here`"), "{error}");
}

#[tokio::test]
async fn two_routes_of_one_name_are_refused() {
    let error =
        refused(App::new().connect(Memory::new()).mount([route("a").name("index"), route("b").name("index")])).await;
    assert!(error.contains("`index`"), "{error}");
}

#[tokio::test]
async fn a_refused_app_runs_no_hook() {
    let ran = Arc::new(AtomicBool::new(false));
    let (on_startup, on_shutdown) = (Arc::clone(&ran), Arc::clone(&ran));
    refused(
        App::new()
            .on_startup(|_| async move {
                on_startup.store(true, Ordering::SeqCst);
                Ok(())
            })
            .on_shutdown(|_| async move {
                on_shutdown.store(true, Ordering::SeqCst);
                Ok(())
            })
            .route(route("orders")),
    )
    .await;
    assert!(!ran.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_startup_hook_that_fails_or_panics_is_the_error_of_the_start() {
    let app = || App::new().connect(Memory::new()).route(route("orders"));
    let error = app().on_startup(|_| async { Err(Failure::new("no database")) }).start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Startup);
    assert!(format!("{error:?}").contains("no database"), "{error:?}");
    let error = app().on_startup(|_| async { panic!("oh") }).start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Startup);
}

#[tokio::test]
async fn a_declaration_that_does_not_fit_is_the_error_of_the_start_and_names_the_argument() {
    let broker = Memory::new();
    broker.declare(Queue::new("orders")).unwrap();
    let cleaned = Arc::new(AtomicBool::new(false));
    let clean = Arc::clone(&cleaned);
    let error = App::new()
        .connect(broker)
        .declare(Queue::new("orders").argument("x-max-length", 10))
        .on_shutdown(|_| async move {
            clean.store(true, Ordering::SeqCst);
            Ok(())
        })
        .start()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Topology);
    assert!(error.to_string().contains("x-max-length"), "{error}");
    assert!(cleaned.load(Ordering::SeqCst), "the startup hooks had run, so the shutdown hooks do");
}

#[tokio::test]
async fn queues_may_dead_letter_to_each_other() {
    let broker = Memory::new();
    let app = App::new()
        .connect(broker.clone())
        .declare(Queue::new("work").dead_letter("retry"))
        .declare(Queue::new("retry").dead_letter("work").argument("x-message-ttl", 1000));
    app.start().await.unwrap().shutdown().await.unwrap();
}
