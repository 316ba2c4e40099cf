//! Publishing: confirmed, and before the input is settled.
use asyncworker as app;
use asyncworker::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Order {
    id: u64,
}

// What a handler returns is published and confirmed first; only then is the input acked.
#[app::route("orders")]
async fn receipt(Body(order): Body<Order>) -> Result<Publish, Failure> {
    Ok(Publish::json(&order)?.to("receipts").header("x-kind", "receipt"))
}

// Or by hand, with the publisher as an argument.
#[app::route("orders.bulk", bulk_size = 50)]
async fn forward(publisher: Publisher, orders: Batch<Message<Order>>) -> Result<(), Failure> {
    for order in &orders {
        publisher
            .publish(Publish::raw(order.raw().clone()).exchange("archive").routing_key("orders").persistent())
            .await?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), app::Error> {
    App::new()
        .connect(Amqp::from_uri("amqp://guest:guest@127.0.0.1:5672")?)
        .mount(routes![receipt, forward])
        .run()
        .await
}
