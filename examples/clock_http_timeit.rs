//! run_every, HTTP, Timeit: the rest of async-worker's surface.
use asyncworker as app;
use asyncworker::http::{Json, Path};
use asyncworker::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[app::run_every("1s", max_concurrency = 1)]
async fn tick(State(count): State<Arc<AtomicU64>>) {
    count.fetch_add(1, Relaxed);
}

#[app::get("/count/{base}")]
async fn count(Path(base): Path<u64>, State(count): State<Arc<AtomicU64>>) -> Json<u64> {
    Json(base + count.load(Relaxed))
}

async fn log_report(report: TimeitReport) {
    println!("{:?} {:?}", report.transactions, report.outcome);
}

#[app::route("xablau-queue")]
#[app::timeit("xablau-access-time", callback = log_report)]
async fn drain(messages: Batch<Message<serde_json::Value>>) -> Result<(), Failure> {
    let timeit = Timeit::new("a", log_report);
    timeit
        .run(async {
            timeit.child("b").run(async { messages.len() }).await;
        })
        .await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), app::Error> {
    App::new()
        .connect(Amqp::from_uri("amqp://guest:guest@127.0.0.1:5672")?)
        .http(Http::bind("127.0.0.1:8080"))
        .state(Arc::new(AtomicU64::new(0)))
        .mount(routes![tick, count, drain])
        .run()
        .await
}
