//! What runs by the clock: at an interval, and as a cron expression says. The broker is within the process here, and any
//! other would do; an app of schedules alone needs none.
use asyncworker as app;
use asyncworker::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[derive(Default)]
struct Counts {
    ticks: AtomicU64,
    reported: AtomicU64,
}

// At once, and then each second from the start. While a run takes longer than that, ticks are skipped.
#[app::run_every("1s", max_concurrency = 1)]
async fn tick(State(counts): State<Arc<Counts>>) {
    counts.ticks.fetch_add(1, Relaxed);
}

// Not all replicas at the same moment; and one that hangs is dropped, has failed, and the next one comes.
#[app::run_every("5s", jitter = "500ms", timeout = "2s")]
async fn report(State(counts): State<Arc<Counts>>) -> Result<Publish, Failure> {
    // Published and confirmed, as what any handler returns.
    Ok(Publish::json(&counts.ticks.load(Relaxed))?.to("ticks"))
}

// 3 o'clock in Berlin from Monday to Friday, also on the nights when the clocks change.
#[app::cron("0 3 * * 1-5", timezone = "Europe/Berlin")]
async fn forget(State(counts): State<Arc<Counts>>) {
    counts.reported.store(0, Relaxed);
}

#[app::route("ticks")]
async fn print(State(counts): State<Arc<Counts>>, Body(ticks): Body<u64>) {
    println!("{ticks} ticks in report {}", counts.reported.fetch_add(1, Relaxed) + 1);
}

#[tokio::main]
async fn main() -> Result<(), app::Error> {
    App::new()
        .connect(Memory::new())
        .declare(Queue::new("ticks"))
        .state(Arc::new(Counts::default()))
        .mount(routes![tick, report, forget, print])
        .run()
        .await
}
