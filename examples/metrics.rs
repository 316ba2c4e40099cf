//! What a worker counts, and what it counts by itself, for Prometheus.
//!
//!     cargo run --example metrics         and then `curl http://127.0.0.1:8080/metrics`
//!
//! A Prometheus and a Grafana that look at it are in `observability`.
use asyncworker as app;
use asyncworker::http::Path;
use asyncworker::prelude::*;
use serde::Deserialize;
use std::time::Duration;

#[derive(Deserialize)]
struct Order {
    total: f64,
}

#[app::route("orders", bulk_size = 20, bulk_flush_interval = "500ms")]
async fn settle(orders: Batch<Message<Order>>) {
    for message in &orders {
        match message.body() {
            Ok(order) if order.total < 0.0 => message.reject(),
            // On the same page, under this name.
            Ok(order) => metrics::histogram!("shop_order_amount").record(order.total),
            Err(_) => {}
        }
    }
    tokio::time::sleep(Duration::from_millis(30)).await; // as long as a database would take
}

/// `curl -X POST http://127.0.0.1:8080/orders/9.5` orders something.
#[app::post("/orders/{total}")]
async fn order(Path(total): Path<f64>, publisher: Publisher) -> Result<(), Failure> {
    let order = Publish::json(&serde_json::json!({ "total": total }))?;
    Ok(publisher.publish(order.to("orders")).await?)
}

/// What is counted nowhere is looked at by the clock.
#[app::run_every("5s")]
async fn look(State(broker): State<Memory>) {
    metrics::gauge!("shop_orders_waiting").set(broker.ready("orders") as f64);
}

/// Also what the dashboard in `observability` is compared with.
pub fn app(broker: &Memory) -> App {
    let app = App::new().connect(broker.clone()).state(broker.clone()).declare(Queue::new("orders"));
    app.mount(routes![settle, order, look])
}

#[tokio::main]
#[allow(dead_code, reason = "the comparison has a main of its own")]
async fn main() -> Result<(), app::Error> {
    let broker = Memory::new();
    let app = app(&broker).on_startup(async |_| {
        metrics::describe_histogram!("shop_order_amount", "What orders were about");
        Ok(())
    });
    // Orders to look at. Now and then one has a negative total, and one breaks off.
    tokio::spawn(async move {
        for number in 0_i64.. {
            let total = number % 200 - 1;
            let body = if number % 300 == 0 { "{".to_owned() } else { format!(r#"{{"total": {total}}}"#) };
            broker.push("orders", body);
            tokio::time::sleep(Duration::from_millis(number.unsigned_abs() % 7)).await;
        }
    });
    app.run().await
}
