//! Messages in the traces of OpenTelemetry: feature `otel`. Requests are in `http/trace.rs`.
//!
//! The spans are those of `tracing`, with the target [`TARGET`]; a layer of `tracing-opentelemetry` makes them what they
//! are to be. Where nobody listens to that target there is no span, and nothing is read or written.
//!
//! What they are called and what they say is by OpenTelemetry's semantic conventions for messaging and for RabbitMQ
//! (semantic conventions 1.30, of the status "development").

use crate::handler::Failure;
use crate::message::{Bulk, Entry, HeaderValue, Headers, Properties};
use crate::publish::{Publish, PublishError};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{Status, TraceContextExt};
use opentelemetry::{Context, global};
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt;

pub(crate) const TARGET: &str = "asyncworker::otel";

/// The span of a handler's run over a bulk, if anybody listens.
///
/// It links to what created each message ("the Process span SHOULD link to the message's creation context"). The one
/// message of a bulk of one is also its parent, as the conventions allow: so request, message and handling are one
/// trace. Several can't all be the parent, and so none is.
pub(crate) fn process(bulk: &Bulk) -> Option<Span> {
    let span = tracing::info_span!(
        target: TARGET,
        parent: None,
        "process",
        otel.name = Empty,
        otel.kind = "consumer",
        messaging.system = Empty,
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.consumer.group.name = bulk.route(),
    );
    if span.is_disabled() {
        return None;
    }
    let entries = bulk.entries();
    let destination = entries.first().map(destination);
    // That of all of them, or none.
    let destination = destination.filter(|first| entries[1..].iter().all(|entry| self::destination(entry) == *first));
    span.record("otel.name", destination.as_ref().map_or("process".into(), |name| format!("process {name}")));
    // An event of a stream was published to nothing.
    let is_event =
        entries.iter().all(|entry| entry.names().exchange.is_empty() && entry.names().routing_key.is_empty());
    span.record("messaging.system", if is_event { "sse" } else { "rabbitmq" });
    if let Some(destination) = destination {
        span.set_attribute("messaging.destination.name", destination);
    }
    global::get_text_map_propagator(|propagator| match entries {
        [one] => {
            let context = created(propagator, one);
            let link = context.span().span_context().clone();
            // Nothing listens for OpenTelemetry, or the span was filtered out: then there is none to have a parent.
            let _ = span.set_parent(context);
            span.add_link(link);
            describe(&span, one);
        }
        several => {
            span.set_attribute("messaging.batch.message_count", count(several.len()));
            for entry in several {
                span.add_link(created(propagator, entry).span().span_context().clone());
            }
        }
    });
    Some(span)
}

/// Says of the current span, if it is one of ours, that the handler failed.
pub(crate) fn failed(failure: &Failure) {
    let span = Span::current();
    if span.metadata().is_some_and(|metadata| metadata.target() == TARGET) {
        error(&span, failure.to_string(), "handler");
    }
}

/// The span of publishing a message, if anybody listens: within the current one. Its context goes with the message,
/// unless one was put there by hand, which is then linked to.
pub(crate) fn publish(publish: &mut Publish) -> Option<Span> {
    let span = tracing::info_span!(
        target: TARGET,
        "publish",
        otel.name = Empty,
        otel.kind = "producer",
        messaging.system = "rabbitmq",
        messaging.operation.name = "publish",
        messaging.operation.type = "send",
        messaging.message.body.size = publish.body.len(),
    );
    if span.is_disabled() {
        return None;
    }
    let name = match (&*publish.exchange, &*publish.routing_key) {
        ("", "") => "amq.default".to_owned(),
        (exchange, routing_key) => joined([exchange, routing_key]),
    };
    span.record("otel.name", format!("publish {name}"));
    span.set_attribute("messaging.destination.name", name);
    if !publish.routing_key.is_empty() {
        span.set_attribute("messaging.rabbitmq.destination.routing_key", publish.routing_key.clone());
    }
    properties(&span, &publish.properties);
    global::get_text_map_propagator(|propagator| {
        let headers = &mut publish.properties.headers;
        if propagator.fields().any(|field| headers.contains_key(field)) {
            span.add_link(of_headers(propagator, headers).span().span_context().clone());
        } else {
            propagator.inject_context(&span.context(), &mut Outgoing(headers));
        }
    });
    Some(span)
}

/// Says how publishing ended.
pub(crate) fn published(span: &Span, result: &Result<(), PublishError>) {
    if let Err(failure) = result {
        error(span, failure.to_string(), &format!("{:?}", failure.kind()));
    }
}

/// The span of a run of a schedule, if anybody listens: a trace of its own.
pub(crate) fn scheduled(name: &str) -> Option<Span> {
    let span = tracing::info_span!(target: TARGET, parent: None, "run", otel.name = format!("run {name}"));
    (!span.is_disabled()).then_some(span)
}

/// Says that what a span is about has failed.
pub(crate) fn error(span: &Span, description: String, kind: &str) {
    span.set_status(Status::error(description));
    span.set_attribute("error.type", kind.to_owned());
}

/// `{exchange}:{routing key}:{queue}`, without what is empty and without a queue that is the routing key.
fn destination(entry: &Entry) -> String {
    let names = entry.names();
    let queue = if names.routing_key == entry.origin.queue { "" } else { &*entry.origin.queue };
    joined([&*names.exchange, &*names.routing_key, queue])
}

fn joined<const N: usize>(parts: [&str; N]) -> String {
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(":")
}

/// What can be said of one message.
fn describe(span: &Span, entry: &Entry) {
    span.set_attribute("messaging.message.body.size", count(entry.delivery.body.len()));
    if !entry.names().routing_key.is_empty() {
        span.set_attribute("messaging.rabbitmq.destination.routing_key", entry.names().routing_key.to_string());
        span.set_attribute("messaging.rabbitmq.message.delivery_tag", entry.delivery.tag.cast_signed());
    }
    if let Some(known) = entry.delivery.properties.get() {
        properties(span, known);
    }
}

fn properties(span: &Span, properties: &Properties) {
    if let Some(id) = &properties.message_id {
        span.set_attribute("messaging.message.id", id.clone());
    }
    if let Some(id) = &properties.correlation_id {
        span.set_attribute("messaging.message.conversation_id", id.clone());
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The context that a message was created in; one without a span where it does not say.
fn created(propagator: &dyn TextMapPropagator, entry: &Entry) -> Context {
    entry.delivery.properties.get().map(|known| of_headers(propagator, &known.headers)).unwrap_or_default()
}

fn of_headers(propagator: &dyn TextMapPropagator, headers: &Headers) -> Context {
    propagator.extract_with_context(&Context::new(), &Incoming(headers))
}

struct Incoming<'a>(&'a Headers);

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(HeaderValue::as_str)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

struct Outgoing<'a>(&'a mut Headers);

impl Injector for Outgoing<'_> {
    fn set(&mut self, key: &str, value: String) {
        self.0.insert(key.to_owned(), HeaderValue::Text(value));
    }
}
