//! An app on the broker in memory.

use super::Memory;
use crate::app::App;
use crate::handler::Failure;
use crate::message::{Batch, Message};
use crate::publish::Publish;
use crate::route::{Action, Route, RouteOptions};
use crate::topology::Queue;
use std::time::Duration;

async fn orders(orders: Batch<Message>) -> Result<(), Failure> {
    for order in &orders {
        let _ = order.body();
    }
    Ok(())
}

fn route() -> Route {
    let options = RouteOptions::new().bulk_size(100).bulk_flush_interval(Duration::from_millis(10));
    Route::amqp(["orders"]).options(options).handler(orders)
}

#[tokio::test(start_paused = true)]
async fn broken_json_is_rejected_alone() {
    let broker = Memory::new();
    let app = App::new().connect(broker.clone()).route(route()).start().await.unwrap();
    broker.push("orders", &b"{"[..]);
    broker.push("orders", &br#"{"id": 7}"#[..]);
    assert_eq!(broker.settled("orders", 2).await, [Action::Reject, Action::Ack]);
    app.shutdown().await.unwrap();
    assert!(broker.channel_errors().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_app_survives_disconnects_and_another_one_continues() {
    let broker = Memory::new();
    for round in 0..2 {
        let app = App::new().connect(broker.clone()).route(route()).start().await.unwrap();
        for chunk in 0..5 {
            for _ in 0..1000 {
                broker.push("orders", "{}");
            }
            if chunk == 2 {
                broker.disconnect();
            }
            tokio::task::yield_now().await;
        }
        assert!(broker.empty("orders").await);
        assert_eq!(broker.settled("orders", 5000 * (round + 1)).await, vec![Action::Ack; 5000 * (round + 1)]);
        app.shutdown().await.unwrap();
    }
    assert!(broker.channel_errors().is_empty());
    assert!(broker.frames() < 1000, "{} frames", broker.frames());
}

#[tokio::test(start_paused = true)]
async fn a_handlers_output_is_published_and_a_declaration_that_differs_fails_the_start() {
    async fn receipt(order: Message) -> Publish {
        Publish::raw(order.raw().clone()).to("receipts")
    }
    let broker = Memory::new();
    broker.push("orders", "{}");
    let app = || App::new().connect(broker.clone()).route(Route::amqp(["orders"]).handler(receipt));
    let running = app().declare(Queue::new("receipts")).start().await.unwrap();
    assert!(broker.empty("orders").await);
    assert_eq!(broker.ready("receipts"), 1);
    running.shutdown().await.unwrap();
    let error = app().declare(Queue::new("receipts").quorum()).start().await.unwrap_err();
    assert!(error.to_string().contains("inequivalent arg 'x-queue-type'"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_settled_goes_back_at_shutdown() {
    let broker = Memory::new();
    let slow = |_: Batch<Message>| std::future::pending::<()>();
    let app = App::new().connect(broker.clone()).route(Route::amqp(["orders"]).handler(slow)).start().await.unwrap();
    broker.push("orders", "{}");
    assert!(!broker.empty("orders").await, "the handler never ends");
    app.shutdown().await.unwrap_err();
    assert_eq!((broker.ready("orders"), broker.unsettled("orders")), (1, 0));
    assert!(broker.channel_errors().is_empty());
}
