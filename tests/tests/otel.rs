//! Traces that go with messages: one from the request to the last handler, and links where bulks join several.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use asyncworker::prelude::*;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanKind, Status, TracerProvider};
use opentelemetry::{Value, global};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;
use tests::{Broker, LIMIT, on_both_brokers, until};
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
