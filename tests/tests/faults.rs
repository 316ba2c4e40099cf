//! Faults that disturb every connection of the node, one by one; `chaos.rs` has them all. The tests here run one after the other, and cargo runs
//! no other test binary beside this one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use asyncworker::PublishErrorKind;
use asyncworker::prelude::*;
use futures_util::future::join_all;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tests::{Client, LIMIT, Seen, Worker, amqp_url, control, ctl, holds, unique, until, until_async};
use tokio::sync::{Mutex, MutexGuard};

/// Held by the test that runs.
async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    let guard = ALONE.lock().await;
    // The one before may have failed with the node down, or short of disk.
    control("start").await;
    ctl(&["set_disk_free_limit", DISK_FREE]).await;
    guard
}

/// The limit of the nodes that xtask starts, and RabbitMQ's own default.
const DISK_FREE: &str = "50MB";

/// What a node that was killed may take to listen again, and its worker to be back.
const RECOVERY: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_published_ok_while_connections_were_closed_is_there() {
    let _alone = alone().await;
    const MESSAGES: usize = 6_000;
    let queue = unique("faults.publish");
    let client = Client::connect().await;
    client.declare(&queue, &[]).await;
    client.close().await;
    let amqp = Amqp::from_uri(&amqp_url()).unwrap().backoff(Duration::from_millis(50), Duration::from_millis(500));
    let app = App::new().name("faults").connect(amqp).start().await.unwrap();
    let publisher = app.publisher();
    let queue_of_publisher = queue.clone();
    let publishing = tokio::spawn(async move {
        let mut confirmed = BTreeSet::new();
        for hundred in 0..MESSAGES / 100 {
            let publishes = (0..100).map(|number| {
                let number = hundred * 100 + number;
                let publish = publisher.publish(Publish::raw(number.to_string()).to(&queue_of_publisher));
                async move { (number, publish.await) }
            });
            for (number, published) in join_all(publishes).await {
                published.unwrap_or_else(|error| panic!("message {number}: {error}"));
                confirmed.insert(number);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        confirmed
    });
    for _ in 0..3 {
        ctl(&["close_all_connections", "fault test"]).await;
    }
    let confirmed = publishing.await.unwrap();
    app.shutdown().await.unwrap();
    let client = Client::connect().await;
    let found: Vec<usize> = client.take(&queue).await.into_iter().map(|taken| taken.body.parse().unwrap()).collect();
    let distinct: BTreeSet<usize> = found.iter().copied().collect();
    println!(
        "faults: {} published and confirmed over 3 closed connections, {} sent twice",
        confirmed.len(),
        found.len() - distinct.len()
    );
    assert_eq!((confirmed.len(), confirmed.difference(&distinct).count()), (MESSAGES, 0));
    client.delete(&queue).await;
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_falls_silent_is_noticed_within_three_heartbeats() {
    let _alone = alone().await;
    const HEARTBEAT: u64 = 2;
    let queue = unique("faults.silence");
    let client = Client::connect().await;
    client.declare(&queue, &[]).await;
    client.publish(&queue, ["1"]).await;
    let environment =
        [("ASYNCWORKER_AMQP_DEFAULT_HEARTBEAT", &*HEARTBEAT.to_string()), ("ASYNCWORKER_FLUSH_TIMEOUT", "0.1")];
    let mut worker = Worker::start(env!("CARGO_BIN_EXE_worker"), ["defaults", &amqp_url(), &queue], &environment);
    worker.until_printed("handled 1").await;
    control("pause").await;
    let paused = Instant::now();
    until("the loss is noticed", LIMIT, || worker.printed().contains("the connection was lost")).await;
    let noticed = paused.elapsed();
    control("resume").await;
    println!(
        "faults: a silent broker was noticed after {:.1} s with a heartbeat of {HEARTBEAT} s",
        noticed.as_secs_f64()
    );
    assert!(noticed < Duration::from_secs(3 * HEARTBEAT + 2), "{noticed:?}");
    let client_after = Client::connect().await;
    client_after.publish(&queue, ["2"]).await;
    until_async("it consumes again", RECOVERY, || async { worker.printed().matches("handled 1").count() == 2 }).await;
    worker.signal("TERM").await;
    assert_eq!(worker.end(LIMIT).await.code(), Some(0));
    client_after.delete(&queue).await;
    client_after.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_disk_is_full_acks_flow_and_a_publish_waits_until_its_deadline() {
    let _alone = alone().await;
    let (queue, out) = (unique("faults.disk"), unique("faults.disk.out"));
    let client = Client::connect().await;
    client.declare(&queue, &[]).await;
    client.declare(&out, &[]).await;
    client.publish(&queue, (0..100).map(|number| number.to_string())).await;
    client.close().await;
    ctl(&["set_disk_free_limit", "100000GB"]).await;

    let seen = Seen::default();
    let route = Route::amqp([&queue]).options(RouteOptions::new().prefetch(10));
    let route = route.handler(async |State(seen): State<Seen>, message: Message| seen.message(&message));
    let app = App::new().connect(Amqp::from_uri(&amqp_url()).unwrap()).state(seen.clone()).route(route);
    let app = app.start().await.unwrap();
    let error = app.publisher().publish(Publish::raw("1").to(&out).deadline(Duration::from_secs(2))).await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::Deadline);
    // Ten at a time: each ten must be acked for the next to come.
    seen.wait(100).await;
    let client = Client::connect().await;
    until_async("all are acked", LIMIT, || async { client.ready(&queue).await == 0 }).await;

    let (publisher, to) = (app.publisher(), out.clone());
    let publish = tokio::spawn(async move { publisher.publish(Publish::raw("2").to(to)).await });
    holds("it waits", Duration::from_millis(300), || !publish.is_finished()).await;
    ctl(&["set_disk_free_limit", DISK_FREE]).await;
    publish.await.unwrap().unwrap();
    app.shutdown().await.unwrap();
    // The first may have arrived all the same, as its error says.
    let arrived: Vec<String> = client.take(&out).await.into_iter().map(|taken| taken.body).collect();
    assert!(arrived == ["1", "2"] || arrived == ["2"], "{arrived:?}");
    assert_eq!((client.ready(&queue).await, seen.len()), (0, 100));
    client.delete(&queue).await;
    client.delete(&out).await;
    client.close().await;
}
