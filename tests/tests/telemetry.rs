//! What a worker logs: JSON by one setting, spans for connection, route and consumer, one cause once.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use asyncworker::prelude::*;
use serde_json::Value;
use tests::{Client, Events, LIMIT, Worker, amqp_url, unique};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_is_an_object_a_line_with_the_spans_and_fields_of_what_happened() {
    let (client, queue) = (Client::connect().await, unique("telemetry"));
    client.declare(&queue, &[]).await;
    let environment = [("ASYNCWORKER_LOGFORMAT", "json"), ("ASYNCWORKER_FLUSH_TIMEOUT", "0.1")];
    let mut worker = Worker::start(env!("CARGO_BIN_EXE_worker"), ["defaults", &amqp_url(), &queue], &environment);
    worker.until_printed("consuming").await;
    client.publish(&queue, ["1"]).await;
    worker.until_printed("handled 1").await;
    worker.signal("TERM").await;
    assert_eq!(worker.end(LIMIT).await.code(), Some(0), "{}", worker.printed());
    client.delete(&queue).await;

    // What the worker itself prints goes to standard output; everything else is the log.
    let printed = worker.printed();
    let lines = printed.lines().filter(|line| *line != "started" && *line != "handled 1");
    let log: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let find = |message: &str| {
        log.iter().find(|line| line["fields"]["message"] == message).unwrap_or_else(|| panic!("{message}: {printed}"))
    };
    let connected = find("connected");
    assert_eq!(connected["span"]["name"], "connection");
    assert!(connected["fields"]["broker"].as_str().unwrap().starts_with("amqp://127.0.0.1:"), "{connected}");
    let consuming = find("consuming");
    assert_eq!(consuming["spans"][0]["route"], "route-of-worker", "{consuming}");
    assert_eq!(consuming["span"]["queue"], queue.as_str());
    assert_eq!(find("stopping")["fields"]["signal"], "SIGTERM");
    find("stopped");
}

#[tokio::test(start_paused = true)]
async fn a_delivery_limit_that_loses_messages_is_warned_of_at_the_start() {
    let events = Events::listen();
    let app = App::new().connect(Memory::new());
    let app = app.declare(Queue::new("kept").quorum().delivery_limit(3).dead_letter("kept.dead"));
    let app = app.declare(Queue::new("lost").quorum().delivery_limit(3));
    app.start().await.unwrap().shutdown().await.unwrap();
    let warnings = events.lines(&["WARN", "for want of a dead-letter exchange"]);
    assert!(
        matches!(&warnings[..], [one] if one.contains("its delivery limit of 3") && one.contains("lost")),
        "{warnings:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_messages_that_fail_alike_is_warned_of_now_and_then() {
    async fn decode(order: Message) -> Result<(), Failure> {
        order.body()?;
        Err(Failure::reject("no store"))
    }

    let (events, broker) = (Events::listen(), Memory::new());
    let app = App::new().connect(broker.clone()).route(Route::amqp(["flood"]).name("flood").handler(decode));
    let app = app.start().await.unwrap();
    for _ in 0..1_000 {
        broker.push("flood", "{");
        broker.push("flood", "{}");
    }
    broker.settled("flood", 2_000).await;
    app.shutdown().await.unwrap();
    for line in [["flood", "does not decode"], ["flood", "the handler failed"]] {
        assert_eq!(events.lines(&line).len(), 1_000, "{line:?}");
        let warnings = events.lines(&["WARN", line[0], line[1]]).len();
        assert!((10..500).contains(&warnings), "{line:?}: {warnings}");
    }
}
