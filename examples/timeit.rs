//! How long a handler and its parts take, reported to a callback: to a log, a histogram, a database.
use asyncworker as app;
use asyncworker::prelude::*;
use std::time::Duration;

#[derive(serde::Deserialize)]
struct Order {
    id: u64,
}

async fn report(report: TimeitReport) {
    match report.outcome {
        TimeitOutcome::Completed => println!("{}: {:?}", report.name, report.transactions),
        outcome => println!("{}: {:?}, after {:?}", report.name, outcome, report.transactions),
    }
}

// The whole handler, by an attribute.
#[app::route("orders", bulk_size = 100, timeout = "30s")]
#[app::timeit("orders", callback = report)]
async fn index(orders: Batch<Message<Order>>) -> Result<(), Failure> {
    // Parts of something, by hand: one report of three transactions, the inner ones first.
    let timeit = Timeit::new("import", report);
    timeit
        .try_run(async {
            let ids: Vec<u64> = timeit.child("decode").run(decode(&orders)).await;
            timeit.child("store").try_run(store(&ids)).await
        })
        .await
}

async fn decode(orders: &[Message<Order>]) -> Vec<u64> {
    orders.iter().filter_map(|order| Some(order.body().ok()?.id)).collect()
}

async fn store(ids: &[u64]) -> Result<(), Failure> {
    tokio::time::sleep(Duration::from_millis(5)).await;
    if ids.is_empty() { Err(Failure::reject("nothing to store")) } else { Ok(()) }
}

#[tokio::main]
async fn main() -> Result<(), app::Error> {
    App::new().connect(Amqp::from_uri("amqp://guest:guest@127.0.0.1:5672")?).mount(routes![index]).run().await
}
