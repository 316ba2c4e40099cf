//! Middleware: something around the handler of each bulk. Layers of the app go around those of a route, and the
//! first one added is the outermost.
use asyncworker as app;
use asyncworker::prelude::*;
use asyncworker::{Bulk, Next, Outcome};
use std::time::{Duration, Instant};

/// Logs what takes long. Its time is that of everything inside it.
struct Slow(Duration);

#[app::async_trait]
impl Layer for Slow {
    async fn call(&self, bulk: Bulk, next: Next) -> Result<Outcome, Failure> {
        let start = Instant::now();
        let outcome = next.run(bulk.clone()).await;
        let took = start.elapsed();
        if took > self.0 {
            tracing::warn!(route = bulk.route(), messages = bulk.len(), ?took, failed = outcome.is_err(), "slow");
        }
        outcome
    }
}

/// Refuses what was redelivered too often, before the handler sees any of the bulk.
struct AtMost(u64);

#[app::async_trait]
impl Layer for AtMost {
    async fn call(&self, bulk: Bulk, next: Next) -> Result<Outcome, Failure> {
        for message in bulk.messages::<serde_json::Value>() {
            if message.delivery_count().is_some_and(|count| count > self.0) {
                message.reject();
            }
        }
        next.run(bulk).await
    }
}

async fn index(orders: Batch<Message>) {
    println!("{} orders", orders.iter().filter(|order| order.marked().is_none()).count());
}

#[tokio::main]
async fn main() -> Result<(), app::Error> {
    let orders = Route::amqp(["orders"]).options(RouteOptions::new().bulk_size(100)).layer(AtMost(5)).handler(index);
    App::new()
        .connect(Amqp::from_uri("amqp://guest:guest@127.0.0.1:5672")?)
        .layer(Slow(Duration::from_millis(500)))
        .route(orders)
        .run()
        .await
}
