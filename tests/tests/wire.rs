//! Deliveries read below lapin, from a real RabbitMQ: whole, in order, and with the connection alive.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use asyncworker::prelude::*;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tests::{Client, Events, LIMIT, amqp_url, unique, until, until_async};

/// What a handler saw of a message.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    body: Vec<u8>,
    properties: Properties,
    routing_key: String,
}

#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<Seen>>>);

async fn note(State(log): State<Log>, batch: Batch<Message>) {
    log.0.lock().unwrap().extend(batch.iter().map(|message| Seen {
        body: message.raw().to_vec(),
        properties: message.properties().clone(),
        routing_key: message.routing_key().to_owned(),
    }));
}

impl Log {
    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

async fn start(queue: &str, log: &Log, heartbeat: u16) -> asyncworker::Running {
    let amqp = Amqp::from_uri(&amqp_url()).unwrap().heartbeat(heartbeat);
    App::new().connect(amqp).state(log.clone()).route(Route::amqp([queue]).handler(note)).start().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_all_sizes_and_headers_of_all_kinds_arrive_as_they_were_sent() {
    let (client, queue, log) = (Client::connect().await, unique("reader-bodies"), Log::default());
    client.declare(&queue, &[]).await;
    let inner = FieldTable::from(BTreeMap::from([("deep".into(), AMQPValue::Boolean(true))]));
    let headers = BTreeMap::from([
        ("int".into(), AMQPValue::LongInt(-7)),
        ("text".into(), AMQPValue::LongString("ü".into())),
        ("table".into(), AMQPValue::FieldTable(inner)),
        ("list".into(), AMQPValue::FieldArray(vec![AMQPValue::Void, AMQPValue::Double(0.5)].into())),
    ]);
    let properties = BasicProperties::default()
        .with_content_type("application/octet-stream".into())
        .with_headers(FieldTable::from(headers))
        .with_message_id("m-1".into())
        .with_priority(3);
    let bodies: Vec<Vec<u8>> = [0, 1, 120, 1_024, 10_000, 131_064, 131_065, 5_000_000]
        .map(|length| (0..length).map(|place| (place % 251) as u8).collect())
        .into();
    client.publish_with(&queue, properties, bodies.clone()).await;
    let app = start(&queue, &log, 10).await;
    until("all are seen", LIMIT, || log.len() == bodies.len()).await;
    let mut deep = Headers::new();
    deep.insert("deep".into(), true.into());
    let expected = Headers::from([
        ("int".into(), (-7).into()),
        ("text".into(), "ü".into()),
        ("table".into(), deep.into()),
        ("list".into(), vec![asyncworker::HeaderValue::Null, 0.5.into()].into()),
    ]);
    // One handler a message runs at a time each: they may end in another order.
    let mut seen = log.0.lock().unwrap().clone();
    seen.sort_by_key(|seen| seen.body.len());
    for (seen, body) in seen.iter().zip(&bodies) {
        assert!(seen.body == *body, "a body of {} octets", body.len());
        assert_eq!(seen.properties.headers, expected);
        assert_eq!(seen.properties.message_id.as_deref(), Some("m-1"));
        assert_eq!((seen.properties.priority, &seen.routing_key), (Some(3), &queue));
    }
    app.shutdown().await.unwrap();
    client.delete(&queue).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_messages_come_out_exactly() {
    let (client, queue, log) = (Client::connect().await, unique("reader-thousands"), Log::default());
    client.declare(&queue, &[]).await;
    client.publish(&queue, (0..20_000).map(|number: u32| number.to_string())).await;
    let app = start(&queue, &log, 10).await;
    until("all are seen", LIMIT, || log.len() >= 20_000).await;
    app.shutdown().await.unwrap();
    let mut numbers: Vec<u32> = log
        .0
        .lock()
        .unwrap()
        .iter()
        .map(|seen| String::from_utf8(seen.body.clone()).unwrap().parse().unwrap())
        .collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..20_000));
    assert_eq!(client.ready(&queue).await, 0);
    client.delete(&queue).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_steady_flow_and_silence_both_keep_the_connection() {
    let events = Events::listen();
    let (client, queue, log) = (Client::connect().await, unique("reader-heartbeat"), Log::default());
    client.declare(&queue, &[]).await;
    let app = start(&queue, &log, 1).await;
    until_async("it is consumed", LIMIT, || async { client.consumers(&queue).await == 1 }).await;
    let flow = Instant::now();
    let mut sent = 0;
    while flow.elapsed() < Duration::from_secs(6) {
        client.publish(&queue, (0..20).map(|number: u32| number.to_string())).await;
        sent += 20;
    }
    until("all are seen", LIMIT, || log.len() == sent).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    client.publish(&queue, ["after the silence"]).await;
    until("it is seen", LIMIT, || log.len() == sent + 1).await;
    assert_eq!(events.lines(&["the connection was lost"]), Vec::<String>::new());
    app.shutdown().await.unwrap();
    client.delete(&queue).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_the_broker_cancels_consumes_again() {
    let (client, queue, log) = (Client::connect().await, unique("reader-cancel"), Log::default());
    client.declare(&queue, &[]).await;
    let app = start(&queue, &log, 10).await;
    client.publish(&queue, ["before"]).await;
    until("the first is seen", LIMIT, || log.len() == 1).await;
    client.delete(&queue).await;
    client.declare(&queue, &[]).await;
    client.publish(&queue, ["after"]).await;
    until("the second is seen", LIMIT, || log.len() == 2).await;
    app.shutdown().await.unwrap();
    client.delete(&queue).await;
}

/// What lapin cannot parse, published by somebody who writes octets by hand, is dead-lettered alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_cannot_be_read_is_dead_lettered_and_its_neighbours_are_handled() {
    let events = Events::listen();
    let (client, queue, log) = (Client::connect().await, unique("reader-broken"), Log::default());
    let dead = format!("{queue}-dead");
    client.declare(&dead, &[]).await;
    client.declare(&queue, &[("x-dead-letter-exchange", ""), ("x-dead-letter-routing-key", &dead)]).await;
    let deep = (0..40).fold(FieldTable::default(), |inner, _| {
        FieldTable::from(BTreeMap::from([("n".into(), AMQPValue::FieldTable(inner))]))
    });
    client.publish(&queue, ["before"]).await;
    client.publish_with(&queue, BasicProperties::default().with_headers(deep), ["deep"]).await;
    client.publish(&queue, ["after"]).await;
    let app = start(&queue, &log, 10).await;
    until("its neighbours are seen", LIMIT, || log.len() == 2).await;
    until_async("it is dead-lettered", LIMIT, || async { client.ready(&dead).await == 1 }).await;
    assert!(log.0.lock().unwrap().iter().all(|seen| seen.body != b"deep"));
    assert_eq!(events.lines(&["a message is rejected unread", &queue]).len(), 1);
    assert_eq!(events.lines(&["the connection was lost"]), Vec::<String>::new());
    app.shutdown().await.unwrap();
    client.delete(&queue).await;
    client.delete(&dead).await;
}

/// The only thread of the runtime is blocked for three times as long as it takes a broker to give up a client
/// that sends no heartbeats, and lapin to give up a broker that it does not hear.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn handlers_that_block_every_thread_do_not_cost_the_connection() {
    async fn block(State(log): State<Log>, batch: Batch<Message>) {
        if batch.iter().any(|message| message.raw() == "blocks") {
            std::thread::sleep(Duration::from_secs(6));
        }
        note(State(log), batch).await;
    }
    let (client, queue, log) = (Client::connect().await, unique("wire-blocked"), Log::default());
    client.declare(&queue, &[]).await;
    client.publish(&queue, ["blocks"]).await;
    let failures = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&failures);
    let amqp = Amqp::from_uri(&amqp_url()).unwrap().heartbeat(1);
    let amqp = amqp.on_connection_failure(move |error, _| noted.lock().unwrap().push(error.to_string()));
    let route = Route::amqp([&*queue]).handler(block);
    let app = App::new().connect(amqp).state(log.clone()).route(route).start().await.unwrap();
    until("it is seen", LIMIT, || log.len() == 1).await;
    client.publish(&queue, ["goes on"]).await;
    until("the next is seen", LIMIT, || log.len() == 2).await;
    app.shutdown().await.unwrap();
    assert_eq!(*failures.lock().unwrap(), Vec::<String>::new());
    assert_eq!((log.len(), client.ready(&queue).await), (2, 0));
    client.delete(&queue).await;
}
