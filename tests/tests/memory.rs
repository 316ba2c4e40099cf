//! What large bodies cost: the worker's memory, and twice what may be in flight.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::time::Duration;
use tests::raw::Raw;
use tests::{Client, Worker, amqp_url, unique, until};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// Large bodies take their time in a broker and a worker that were built to be debugged.
const LIMIT: Duration = Duration::from_secs(180);

/// The peak of a worker that handles so many bodies of a size which wait in its queue, in kibibytes.
async fn peak(prefetch: usize, messages: usize, octets: usize) -> usize {
    let queue = unique("memory");
    let client = Client::connect().await;
    client.declare(&queue, &[]).await;
    let mut raw = Raw::connect().await;
    raw.confirm_select().await;
    let body = vec![b'x'; octets];
    for _ in 0..messages {
        raw.publish_confirmed(&queue, 0, &[], &body).await;
    }
    let environment = [("ASYNCWORKER_AMQP_DEFAULT_PREFETCH_COUNT", &*prefetch.to_string())];
    let mut worker = Worker::start(WORKER, ["bodies", &amqp_url(), &queue], &environment);
    let handled = format!("handled {octets}\n");
    until("they are handled", LIMIT, || worker.printed().matches(&handled).count() == messages).await;
    let (_, peak) = worker.memory();
    worker.signal("TERM").await;
    assert_eq!(worker.end(LIMIT).await.code(), Some(0), "{}", worker.printed());
    client.delete(&queue).await;
    client.close().await;
    peak
}

/// The memory of a worker that handles small bodies, and twice what is in flight of the large ones.
async fn is_within_its_bound(prefetch: usize, messages: usize, octets: usize) {
    let base = peak(prefetch, 2_000, 5).await;
    let peak = peak(prefetch, messages, octets).await;
    let bound = base + 2 * prefetch * octets / 1024;
    println!(
        "memory: {messages} bodies of {octets} octets, prefetch {prefetch}: {peak} KiB, bound {bound} KiB with a base of {base} KiB"
    );
    assert!(peak <= bound, "{peak} KiB are more than {bound} KiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_128_mib_cost_no_more_than_twice_what_is_in_flight() {
    is_within_its_bound(1, 3, 128 << 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_bodies_of_100_kb_cost_no_more_than_twice_what_is_in_flight() {
    is_within_its_bound(128, 2_000, 100_000).await;
}
