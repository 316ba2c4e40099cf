//! Traces that go with messages: one from the request to the last handler, and links where bulks join several.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use asyncworker::http::{Path, StatusCode};
use asyncworker::prelude::*;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanKind, Status, TracerProvider};
use opentelemetry::{Value, global};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;
use tests::{Broker, Http as Client, LIMIT, on_both_brokers, until};
use tracing::{Instrument, Level};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

on_both_brokers![
    a_message_is_handled_in_the_trace_that_published_it,
    a_bulk_is_a_trace_that_links_to_those_of_its_messages,
    a_run_that_fails_and_a_publish_that_fails_are_errors_in_their_traces,
    a_context_that_was_put_into_a_message_by_hand_stays_and_is_linked_to,
];

/// What was exported, by all tests.
fn exporter() -> &'static InMemorySpanExporter {
    static EXPORTER: OnceLock<InMemorySpanExporter> = OnceLock::new();
    EXPORTER.get_or_init(|| {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let listened = Targets::new().with_target("asyncworker::otel", Level::INFO).with_target("otel", Level::INFO);
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("tests")).with_filter(listened);
        tracing_subscriber::registry().with(layer).init();
        global::set_text_map_propagator(TraceContextPropagator::new());
        exporter
    })
}

/// Waits for the span of this name.
async fn span(name: &str) -> SpanData {
    let find = || exporter().get_finished_spans().unwrap().into_iter().find(|span| span.name == name);
    until(&format!("a span `{name}`"), LIMIT, || find().is_some()).await;
    find().unwrap()
}

fn attribute(span: &SpanData, key: &str) -> Option<Value> {
    span.attributes.iter().find(|attribute| attribute.key.as_str() == key).map(|attribute| attribute.value.clone())
}

fn is_child(child: &SpanData, parent: &SpanData) -> bool {
    child.span_context.trace_id() == parent.span_context.trace_id()
        && child.parent_span_id == parent.span_context.span_id()
}

fn links(span: &SpanData) -> Vec<opentelemetry::SpanId> {
    span.links.iter().map(|link| link.span_context.span_id()).collect()
}

async fn a_message_is_handled_in_the_trace_that_published_it(broker: Broker) {
    async fn forward(State(to): State<String>, order: Message) -> Publish {
        Publish::raw(order.raw().clone()).to(to).message_id("forwarded")
    }
    async fn receive(_: Batch<Message>) {}
    exporter();
    let (one, two) = (broker.queue("one").await, broker.queue("two").await);
    let app = broker
        .app()
        .state(two.clone())
        .route(Route::amqp([&one]).handler(forward))
        .route(Route::amqp([&two]).handler(receive));
    let app = app.start().await.unwrap();
    let name = format!("request {one}");
    let request = tracing::info_span!("request", otel.name = name);
    app.publisher().publish(Publish::raw("{}").to(&one)).instrument(request).await.unwrap();

    let last = span(&format!("process {two}")).await;
    let request = span(&name).await;
    let published = span(&format!("publish {one}")).await;
    let forwarded = span(&format!("process {one}")).await;
    let answered = span(&format!("publish {two}")).await;
    assert!(is_child(&published, &request), "{published:?}");
    assert!(is_child(&forwarded, &published), "{forwarded:?}");
    assert!(is_child(&answered, &forwarded), "{answered:?}");
    assert!(is_child(&last, &answered), "{last:?}");
    assert_eq!(links(&last), [answered.span_context.span_id()]);
    assert_eq!((&answered.span_kind, &last.span_kind), (&SpanKind::Producer, &SpanKind::Consumer));
    for (key, expected) in [
        ("messaging.system", Value::from("rabbitmq")),
        ("messaging.operation.name", "process".into()),
        ("messaging.operation.type", "process".into()),
        ("messaging.destination.name", two.clone().into()),
        ("messaging.rabbitmq.destination.routing_key", two.clone().into()),
        ("messaging.message.id", "forwarded".into()),
        ("messaging.message.body.size", 2.into()),
    ] {
        assert_eq!(attribute(&last, key), Some(expected), "{key}: {last:?}");
    }
    assert_eq!(attribute(&last, "messaging.batch.message_count"), None);
    assert_eq!(attribute(&answered, "messaging.operation.type"), Some("send".into()));
    app.shutdown().await.unwrap();
}

async fn a_bulk_is_a_trace_that_links_to_those_of_its_messages(broker: Broker) {
    async fn receive(_: Batch<Message>) {}
    exporter();
    let queue = broker.queue("q").await;
    let options = RouteOptions::new().bulk_size(3).bulk_flush_interval(Duration::from_secs(60));
    let app = broker.app().route(Route::amqp([&queue]).options(options).handler(receive)).start().await.unwrap();
    let publisher = app.publisher();
    for _ in 0..2 {
        publisher.publish(Publish::raw("{}").to(&queue)).await.unwrap();
    }
    // One without any context.
    broker.push(&queue, ["{}"]).await;

    let bulk = span(&format!("process {queue}")).await;
    let name = format!("publish {queue}");
    let spans = exporter().get_finished_spans().unwrap();
    let published: Vec<&SpanData> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(published.len(), 2);
    assert_eq!(links(&bulk), [published[0].span_context.span_id(), published[1].span_context.span_id()]);
    assert_eq!(attribute(&bulk, "messaging.batch.message_count"), Some(3.into()));
    assert_eq!(bulk.parent_span_id, opentelemetry::SpanId::INVALID);
    assert!(published.iter().all(|published| published.span_context.trace_id() != bulk.span_context.trace_id()));
    app.shutdown().await.unwrap();
}

async fn a_run_that_fails_and_a_publish_that_fails_are_errors_in_their_traces(broker: Broker) {
    async fn fails(_: Message) -> Result<(), Failure> {
        tokio::task::yield_now().await;
        Err(Failure::reject("no stock"))
    }
    exporter();
    let (queue, nowhere) = (broker.queue("q").await, broker.name("nowhere"));
    let app = broker.app().route(Route::amqp([&queue]).handler(fails)).start().await.unwrap();
    app.publisher().publish(Publish::raw("{}").to(&queue)).await.unwrap();
    app.publisher().publish(Publish::raw("{}").to(&nowhere)).await.unwrap_err();
    let failed = span(&format!("process {queue}")).await;
    assert_eq!(failed.status, Status::error("no stock"));
    assert_eq!(attribute(&failed, "error.type"), Some("handler".into()));
    let unroutable = span(&format!("publish {nowhere}")).await;
    assert!(matches!(unroutable.status, Status::Error { .. }), "{unroutable:?}");
    assert_eq!(attribute(&unroutable, "error.type"), Some("Unroutable".into()));
    app.shutdown().await.unwrap();
}

async fn a_context_that_was_put_into_a_message_by_hand_stays_and_is_linked_to(broker: Broker) {
    const BY_HAND: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    async fn receive(_: Message) {}
    exporter();
    let queue = broker.queue("q").await;
    let app = broker.app().route(Route::amqp([&queue]).handler(receive)).start().await.unwrap();
    app.publisher().publish(Publish::raw("{}").to(&queue).header("traceparent", BY_HAND)).await.unwrap();
    let (published, processed) = (span(&format!("publish {queue}")).await, span(&format!("process {queue}")).await);
    let carrier = HashMap::from([("traceparent".to_owned(), BY_HAND.to_owned())]);
    let by_hand = TraceContextPropagator::new().extract(&carrier);
    let by_hand = opentelemetry::trace::TraceContextExt::span(&by_hand).span_context().clone();
    assert_eq!(processed.span_context.trace_id(), by_hand.trace_id());
    assert_eq!(processed.parent_span_id, by_hand.span_id());
    assert_eq!(links(&published), [by_hand.span_id()]);
    assert_ne!(published.span_context.trace_id(), by_hand.trace_id());
    app.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_request_is_handled_in_its_trace_and_what_it_publishes_is_within_it() {
    const CONTEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    async fn place(publisher: Publisher, Path(id): Path<u64>) -> Result<StatusCode, Failure> {
        publisher.publish(Publish::json(&id)?.to("placed")).await?;
        Ok(StatusCode::ACCEPTED)
    }
    async fn fails() -> Result<(), Failure> {
        Err(Failure::new("no stock"))
    }
    exporter();
    let broker = Memory::new();
    broker.declare(Queue::new("placed")).unwrap();
    let endpoints = [Endpoint::post("/orders/{id}", place), Endpoint::get("/stock", fails)];
    let app = App::new().connect(broker).http(Http::bind("127.0.0.1:0")).mount(endpoints).start().await.unwrap();
    let address = app.http_address().unwrap();
    let mut client = Client::connect(address).await;
    client.send(format!(
        "POST /orders/7?token=secret HTTP/1.1\r\nhost: {address}\r\nuser-agent: test/1\r\ntraceparent: {CONTEXT}\r\n\r\n"
    )).await;
    assert_eq!(client.answer().await.status, 202);
    assert_eq!(client.get("/stock").await.status, 500);
    assert_eq!(client.get("/livez").await.status, 200);
    assert_eq!(client.get("/nowhere").await.status, 404);

    let (placed, published) = (span("POST /orders/{id}").await, span("publish placed").await);
    assert!(is_child(&published, &placed), "{published:?}");
    assert_eq!(placed.span_context.trace_id().to_string(), CONTEXT[3..35]);
    assert_eq!(placed.parent_span_id.to_string(), CONTEXT[36..52]);
    assert_eq!((&placed.span_kind, &placed.status), (&SpanKind::Server, &Status::Unset));
    for (key, expected) in [
        ("http.request.method", Value::from("POST")),
        ("http.route", "/orders/{id}".into()),
        ("http.response.status_code", 202.into()),
        ("url.path", "/orders/7".into()),
        ("url.scheme", "http".into()),
        ("server.address", "127.0.0.1".into()),
        ("server.port", i64::from(address.port()).into()),
        ("client.address", "127.0.0.1".into()),
        ("user_agent.original", "test/1".into()),
        ("network.protocol.version", "1.1".into()),
    ] {
        assert_eq!(attribute(&placed, key), Some(expected), "{key}: {placed:?}");
    }
    assert!(!format!("{placed:?}").contains("secret"), "{placed:?}");

    let failed = span("GET /stock").await;
    assert_eq!((&failed.status, failed.parent_span_id), (&Status::error("no stock"), opentelemetry::SpanId::INVALID));
    assert_eq!(attribute(&failed, "error.type"), Some("500".into()));
    // What no endpoint answers has no route to be named by, and is nothing that went wrong here.
    let unknown = span("GET").await;
    assert_eq!((&unknown.status, attribute(&unknown, "http.route")), (&Status::Unset, None));
    let spans = exporter().get_finished_spans().unwrap();
    assert!(spans.iter().all(|span| !span.name.contains("livez")), "a probe is traced");
    app.shutdown().await.unwrap();
}
