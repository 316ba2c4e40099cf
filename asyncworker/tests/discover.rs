//! `App::discover` finds every attributed function of the program, `routes![]` those it names.

#![cfg(all(feature = "macros", feature = "memory"))]
#![allow(missing_docs)]

use asyncworker as app;
use asyncworker::prelude::*;

#[app::route("orders", on_success = Reject)]
async fn orders(_: Message) {}

mod billing {
    use asyncworker::prelude::*;

    #[asyncworker::route("invoices")]
    #[asyncworker::route("reminders", on_success = Requeue, name = "remind")]
    pub(super) async fn receipt(message: Message) -> Action {
        if message.queue() == "reminders" { Action::Reject } else { Action::Ack }
    }
}

#[tokio::test(start_paused = true)]
async fn every_attributed_function_is_found() {
    let broker = Memory::new();
    let app = App::discover().connect(broker.clone()).start().await.unwrap();
    for queue in ["orders", "invoices", "reminders"] {
        broker.push(queue, "{}");
    }
    assert_eq!(broker.settled("orders", 1).await, [Action::Reject]);
    assert_eq!(broker.settled("invoices", 1).await, [Action::Ack]);
    assert_eq!(broker.settled("reminders", 1).await, [Action::Reject]);
    app.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn defect_13_a_function_with_two_routes_keeps_both() {
    let broker = Memory::new();
    let app = App::new().connect(broker.clone()).mount(routes![billing::receipt]).start().await.unwrap();
    broker.push("invoices", "{}");
    broker.push("reminders", "{}");
    assert_eq!(broker.settled("invoices", 1).await, [Action::Ack]);
    assert_eq!(broker.settled("reminders", 1).await, [Action::Reject]);
    app.shutdown().await.unwrap();
}
