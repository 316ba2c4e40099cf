//! 300,000 orders through a worker in bulks of 500, and then a look at whether the numbers add up.
//!
//!     cargo run --example quickstart              on the broker within the process: nothing to install
//!     cargo run --example quickstart -- 50000     as many orders as you like
//!     AMQP_URL=amqp://guest:guest@127.0.0.1:5672 cargo run --example quickstart
mod audit;

use asyncworker as app;
use asyncworker::Connection;
use asyncworker::prelude::*;
use audit::Audit;
use serde::Deserialize;
use std::error::Error;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

#[derive(Deserialize)]
struct Order {
    id: u64,
    total: i64,
}

/// What was earned: a value of the app, which handlers ask for by its type.
#[derive(Default)]
struct Till(AtomicU64);

/// The worker: this function, kept running. Each message is settled as it was marked, once the function has ended.
#[app::route(
    [QUEUE.as_str()],
    bulk_size = 500,
    bulk_flush_interval = "100ms",
    prefetch = 2000,
    on_decode_error = Reject,
)]
async fn settle(State(till): State<Arc<Till>>, orders: Batch<Message<Order>>) {
    for message in &orders {
        match message.body() {
            Ok(order) if order.total < 0 => message.reject(),
            Ok(order) if order.id.is_multiple_of(500) && !message.redelivered() => message.requeue(),
            Ok(order) => {
                till.0.fetch_add(order.total.unsigned_abs(), Relaxed);
                message.accept();
            }
            Err(_) => {} // Not marked, so it takes `on_decode_error`; no other message of the bulk does.
        }
    }
}

/// Every 1,000th body breaks off, and every 300th order has a negative total.
fn publish(id: u64) -> Publish {
    let body = match id {
        _ if id.is_multiple_of(1000) => format!(r#"{{"id": {id}, "total":"#),
        _ if id.is_multiple_of(300) => format!(r#"{{"id": {id}, "total": -1}}"#),
        _ => format!(r#"{{"id": {id}, "total": 3}}"#),
    };
    Publish::raw(body).to(QUEUE.as_str()).message_id(id.to_string())
}

/// A queue of this run's own. RabbitMQ deletes it, and the one for dead letters, ten minutes after the last use.
static QUEUE: LazyLock<String> = LazyLock::new(|| {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("quickstart.{}", now.as_millis())
});

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let orders = std::env::args().nth(1).unwrap_or("300000".into());
    let orders = orders.parse::<NonZeroU64>().map_err(|_| "the argument is the number of orders")?.get();
    let audit = Audit::new(orders)?;
    let memory = Memory::new();
    let dead = format!("{}.dead", *QUEUE);
    let till = Arc::new(Till::default());

    let running = App::new()
        .connect(broker(&memory, &audit)?)
        .declare(Queue::new(&dead).argument("x-expires", 600_000))
        .declare(Queue::new(QUEUE.as_str()).dead_letter(&dead).argument("x-expires", 600_000))
        .state(till.clone())
        .layer(audit.clone())
        .mount(routes![settle])
        .start()
        .await?;

    let start = Instant::now();
    let ids: Vec<u64> = (1..=orders).collect();
    for chunk in ids.chunks(1000) {
        running.publisher().publish_all(chunk.iter().copied().map(publish)).await?;
    }
    audit.complete().await;
    let time = start.elapsed();
    running.shutdown().await?;

    let left = audit::drain(broker(&memory, &audit)?, &QUEUE).await?;
    let dead_letters = audit::drain(broker(&memory, &audit)?, &dead).await?;
    audit.report(time, till.0.load(Relaxed), left, dead_letters)
}

/// RabbitMQ where `AMQP_URL` says so, else the broker within the process.
fn broker(memory: &Memory, audit: &Audit) -> Result<Connection, app::Error> {
    match std::env::var("AMQP_URL") {
        Ok(uri) => Ok(Amqp::from_uri(&uri)?.on_connection_failure(audit.on_connection_failure()).into()),
        Err(_) => Ok(memory.clone().into()),
    }
}
