//! One broken message among a thousand: it alone is dead-lettered, on the one connection that there is.
//!
//! RabbitMQ lets most of it through. What it would not, a relay forges on the way to the worker.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use asyncworker::prelude::*;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions};
use lapin::types::FieldTable;
use tests::raw::{CONTENT_TYPE, HEADERS, Raw, long, short};
use tests::{Broker, LIMIT, Log, unique, until};

const GOOD: u64 = 1_000;

/// Takes numbers; what is none is rejected.
async fn note(State(seen): State<Log<u64>>, batch: Batch<Message<u64>>) {
    batch.iter().filter_map(|message| message.body().ok()).for_each(|number| seen.push(*number));
}

/// A thousand numbers with something in the middle of them.
struct Among {
    broker: Broker,
    queue: String,
    dead: String,
}

impl Among {
    async fn start(test: &str) -> (Self, Raw) {
        let broker = Broker::rabbitmq(test).await;
        let (queue, dead) = broker.dead_lettering("q").await;
        broker.push(&queue, 0..GOOD / 2).await;
        let mut raw = Raw::connect().await;
        raw.confirm_select().await;
        (Self { broker, queue, dead }, raw)
    }

    /// The rest of the numbers; then a worker. Each number is handled once, the broken message is dead-lettered, and no
    /// second connection is made.
    async fn dies_alone(self) {
        let Self { broker, queue, dead } = self;
        broker.push(&queue, GOOD / 2..GOOD).await;
        let seen = Log::<u64>::default();
        let options = RouteOptions::new().bulk_size(50).bulk_flush_interval(std::time::Duration::from_millis(50));
        let route = Route::amqp([&queue]).options(options).handler(note);
        let app = broker.app().state(seen.clone()).route(route).start().await.unwrap();
        until("all good messages are handled", LIMIT, || seen.len() as u64 >= GOOD).await;
        broker.until_ready(&dead, 1).await;
        app.shutdown().await.unwrap();
        let mut numbers = seen.all();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..GOOD));
        assert_eq!((broker.ready(&queue).await, broker.relay().accepted()), (0, 1));
        broker.clean().await;
    }
}

/// A property list of headers with this table.
fn headers(entries: &[u8]) -> (u16, Vec<u8>) {
    (HEADERS, long(entries))
}

async fn one_with(test: &str, (flags, properties): (u16, Vec<u8>), body: &[u8]) {
    let (among, mut raw) = Among::start(test).await;
    raw.publish_confirmed(&among.queue, flags, &properties, body).await;
    among.dies_alone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_not_json_is_dead_lettered_alone() {
    one_with("not-json", (0, Vec::new()), b"{").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_another_content_type_is_dead_lettered_alone() {
    one_with("png", (CONTENT_TYPE, short(b"image/png")), b"\x89PNG\r\n\x1a\n").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_nested_deeper_than_the_limit_are_dead_lettered_alone() {
    let deep = (0..40).fold(Vec::new(), |inner, _| [short(b"n"), b"F".to_vec(), long(&inner)].concat());
    one_with("deep", headers(&deep), b"7").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arrays_nested_deeper_than_the_limit_are_dead_lettered_alone() {
    let deep = (0..40).fold(Vec::new(), |inner, _| [b"A".to_vec(), long(&inner)].concat());
    one_with("deep-array", headers(&[short(b"n"), deep].concat()), b"7").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_content_type_that_is_not_utf_8_is_dead_lettered_alone() {
    one_with("type", (CONTENT_TYPE, short(b"\xff\xfe")), b"7").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_name_that_is_not_utf_8_is_dead_lettered_alone() {
    one_with("name", headers(&[short(b"\xff\xfe"), b"S".to_vec(), long(b"x")].concat()), b"7").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_routing_key_that_is_not_utf_8_is_dead_lettered_alone() {
    let (among, mut raw) = Among::start("key").await;
    let exchange = unique("broken");
    let channel = among.broker.client().channel().await;
    // It goes with the queue.
    let options = ExchangeDeclareOptions { auto_delete: true, ..ExchangeDeclareOptions::default() };
    let none = FieldTable::default();
    let (name, queue) = (exchange.as_str(), among.queue.as_str());
    channel.exchange_declare(name.into(), lapin::ExchangeKind::Fanout, options, none.clone()).await.unwrap();
    channel.queue_bind(queue.into(), name.into(), "".into(), QueueBindOptions::default(), none).await.unwrap();
    raw.publish_to(&exchange, b"\xc3\x28", 0, &[], b"7").await;
    raw.confirmed().await;
    among.dies_alone().await;
}

/// A header of one field, which the relay forges.
fn honest() -> (u16, Vec<u8>) {
    headers(&[short(b"honest"), b"I".to_vec(), vec![0, 0, 0, 7]].concat())
}

async fn one_forged(test: &str, octets: &[u8], by: &[u8]) {
    let (among, mut raw) = Among::start(test).await;
    let (flags, properties) = honest();
    raw.publish_confirmed(&among.queue, flags, &properties, b"7").await;
    among.broker.relay().forge(octets, by);
    among.dies_alone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_lies_about_its_size_is_dead_lettered_alone() {
    one_forged("lies", b"\x00\x00\x00\x0c\x06honest", b"\x7f\x00\x00\x0c\x06honest").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_longer_than_its_table_is_dead_lettered_alone() {
    one_forged("long-name", b"\x06honestI", b"\xffhonestI").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_of_an_unknown_type_is_dead_lettered_alone() {
    one_forged("unknown-type", b"\x06honestI", b"\x06honest?").await;
}

/// Frames behind a wrong size are in the wrong place, and nothing on that connection can be trusted any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_content_header_that_lies_about_the_size_of_its_body_costs_the_connection_and_no_message() {
    // More than comes, and less.
    for size in [[0, 0, 0, 0, 0, 0, 0, 60], [0, 0, 0, 0, 0, 0, 0, 1]] {
        let broker = Broker::rabbitmq("size").await;
        let (queue, _) = broker.dead_lettering("q").await;
        broker.push(&queue, 0..GOOD / 2).await;
        broker.push(&queue, ["55555"]).await;
        broker.push(&queue, GOOD / 2..GOOD).await;
        let header = |size: [u8; 8]| [&[0, 60, 0, 0][..], &size].concat();
        broker.relay().forge(&header([0, 0, 0, 0, 0, 0, 0, 5]), &header(size));
        let seen = Log::<u64>::default();
        let route = Route::amqp([&queue]).handler(note);
        let app = broker.app().state(seen.clone()).route(route).start().await.unwrap();
        until("it tries again", LIMIT, || broker.relay().accepted() > 2).await;
        assert!(!seen.all().contains(&55_555), "handled a body of another size than it has");
        broker.relay().forge_nothing();
        until("all are handled", LIMIT, || {
            let numbers: std::collections::BTreeSet<u64> = seen.all().into_iter().collect();
            numbers.len() as u64 == GOOD + 1 && numbers.contains(&55_555)
        })
        .await;
        app.shutdown().await.unwrap();
        assert_eq!(broker.ready(&queue).await, 0);
        broker.clean().await;
    }
}
