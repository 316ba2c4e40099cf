//! Queues, exchanges and bindings: consumed as they are, unless the app is asked to declare them.
//!
//! What is declared is declared before anything is consumed, and again after each reconnect. What exists already and
//! differs stops the start, with an error that names the argument.
use asyncworker as app;
use asyncworker::prelude::*;

#[app::route("orders", bulk_size = 50)]
async fn index(orders: Batch<Message>) {
    println!("{} orders", orders.len());
}

#[app::route("orders.refused")]
async fn refused(order: Message) {
    println!("refused: {:?}", order.raw());
}

#[tokio::main]
async fn main() -> Result<(), app::Error> {
    App::new()
        .connect(Amqp::from_uri("amqp://guest:guest@127.0.0.1:5672")?)
        .declare(Exchange::topic("shop"))
        // Replicated. What is rejected, or comes back for the eleventh time, goes to `orders.refused`, which is
        // declared along with it.
        .declare(Queue::new("orders").quorum().delivery_limit(10).dead_letter("orders.refused"))
        .declare(Binding::new("shop", "order.#", "orders"))
        .mount(routes![index, refused])
        .run()
        .await
}
