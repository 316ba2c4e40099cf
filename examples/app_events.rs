//! Events inside the app: who places an order knows nothing of bills and mails.
use asyncworker as app;
use asyncworker::QueueService;
use asyncworker::prelude::*;
use std::sync::Arc;

#[derive(Clone)]
struct OrderPlaced {
    id: u64,
}

#[app::route("orders", on_exception = Reject)]
async fn place(Body(id): Body<u64>, emitter: Emitter) -> Result<(), Failure> {
    emitter.emit(OrderPlaced { id }).await?; // until `bill` and `confirm` have ended; an Err says which of them failed
    println!("order {id} is placed");
    Ok(())
}

async fn bill(order: OrderPlaced) -> Result<(), Failure> {
    if order.id == 13 {
        return Err(Failure::new("nobody pays for order 13")); // `confirm` and `count` are told all the same
    }
    println!("a bill for order {}", order.id);
    Ok(())
}

// Tells a service, of which `place` knows nothing.
async fn confirm(order: OrderPlaced, mails: State<Arc<QueueService<String>>>) -> Result<(), Failure> {
    Ok(mails.put(format!("we have your order {}", order.id)).await?)
}

async fn send(mail: String) {
    println!("a mail: {mail}");
}

// Nobody waits for it but the shutdown.
async fn count(order: OrderPlaced) {
    println!("counted: order {}", order.id);
}

#[tokio::main]
async fn main() -> Result<(), app::Error> {
    let broker = Memory::new(); // or Amqp::from_uri("amqp://..")?
    broker.push("orders", "7");
    broker.push("orders", "13");
    App::new()
        .connect(broker)
        .service(QueueService::new(100, send)) // 100 mails can wait
        .on(bill)
        .on(confirm)
        .on_detached(count)
        .mount(routes![place])
        .run()
        .await
}
