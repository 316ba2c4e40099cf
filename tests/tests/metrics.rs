//! What an app counts of its connections to a real RabbitMQ.
#![allow(clippy::unwrap_used, missing_docs)]

use asyncworker::Metrics;
use asyncworker::prelude::*;
use std::time::Duration;
use tests::{Client, Http, LIMIT, amqp_url, close_connections_of, unique, until_async};

/// The value of a sample, written as it stands on the page.
fn value(page: &str, sample: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(sample)?.trim().parse().ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_their_loss_and_what_comes_by_them_are_counted() {
    let queue = unique("metrics");
    let name = unique("metrics-app");
    let client = Client::connect().await;
    client.declare(&queue, &[]).await;
    let amqp = Amqp::from_uri(&amqp_url()).unwrap().backoff(Duration::from_millis(50), Duration::from_millis(500));
    let app = App::new()
        .name(&name)
        .connect(amqp)
        .metrics(Metrics::bind("127.0.0.1:0"))
        .route(Route::amqp([queue.as_str()]).name("count").handler(async |_: Message| ()))
        .start()
        .await
        .unwrap();
    let address = app.metrics_address().unwrap();
    let active = "asyncworker_amqp_active_connections{connection=\"default\"}";
    let reconnects = "asyncworker_amqp_reconnects{connection=\"default\"}";
    let consumers = format!("asyncworker_amqp_active_consumers{{queue_name=\"{queue}\"}}");
    let acked = format!("asyncworker_amqp_processed_messages{{queue_name=\"{queue}\",action=\"ack\"}}");
    let confirmed = "asyncworker_amqp_publish_ms_count{connection=\"default\",outcome=\"confirmed\"}";
    let is = async |sample: &str, expected: f64| {
        until_async(&format!("{sample} is {expected}"), LIMIT, || async {
            let page = Http::connect(address).await.get("/metrics").await;
            assert_eq!(page.status, 200);
            value(&page.body, sample) == Some(expected)
        })
        .await;
    };

    is(&consumers, 1.0).await;
    is(active, 1.0).await;
    app.publisher().publish(Publish::raw("1").to(&queue)).await.unwrap();
    is(&acked, 1.0).await;
    // One consumes, the other publishes.
    is(active, 2.0).await;
    is(confirmed, 1.0).await;
    is(reconnects, 0.0).await;

    close_connections_of(&name).await;
    is(reconnects, 2.0).await;
    is(active, 2.0).await;
    app.publisher().publish(Publish::raw("2").to(&queue)).await.unwrap();
    is(&acked, 2.0).await;
    is(&consumers, 1.0).await;

    // The probes are beside it.
    assert_eq!(Http::connect(address).await.get("/readyz").await.status, 200);
    app.shutdown().await.unwrap();
    client.delete(&queue).await;
    client.close().await;
}
