//! Requests in the traces of OpenTelemetry: feature `otel`.
//!
//! What their spans are called and what they say is by OpenTelemetry's semantic conventions for HTTP server spans
//! (semantic conventions 1.30, of the status "stable"). The query is left out: it may have a secret in it.

use super::site::Failed;
use crate::otel::{self, TARGET};
use axum::Router;
use axum::extract::{ConnectInfo, MatchedPath, Request};
use axum::http::header::{HOST, USER_AGENT};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Version};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::MethodFilter;
use opentelemetry::Context;
use opentelemetry::global::get_text_map_propagator;
use opentelemetry::propagation::Extractor;
use std::net::SocketAddr;
use tracing::field::Empty;
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The router within what makes a span of each request.
pub(super) fn trace(router: Router) -> Router {
    router.layer(from_fn(traced))
}

async fn traced(request: Request, next: Next) -> Response {
    let Some(span) = span_of(&request) else { return next.run(request).await };
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    span.record("http.response.status_code", i64::from(status.as_u16()));
    // What a client does wrong is no error of a server.
    if status.is_server_error() {
        let reason = response.extensions().get().map(|Failed(reason)| reason.clone());
        otel::error(&span, reason.unwrap_or_default(), status.as_str());
    }
    response
}

/// The span of a request until its answer's head is there, if anybody listens. It continues the trace that the request
/// is of, else it is a trace of its own.
fn span_of(request: &Request) -> Option<Span> {
    let span = tracing::info_span!(
        target: TARGET,
        parent: None,
        "request",
        otel.name = Empty,
        otel.kind = "server",
        http.request.method = Empty,
        http.response.status_code = Empty,
        url.path = request.uri().path(),
        url.scheme = "http",
    );
    if span.is_disabled() {
        return None;
    }
    // The conventions know the methods of RFC 9110 and PATCH, as axum does; what else clients think of has no end.
    let named = if MethodFilter::try_from(request.method().clone()).is_ok() {
        span.record("http.request.method", request.method().as_str());
        request.method().as_str()
    } else {
        span.record("http.request.method", "_OTHER");
        span.set_attribute("http.request.method_original", request.method().to_string());
        "HTTP"
    };
    match request.extensions().get::<MatchedPath>().map(MatchedPath::as_str) {
        Some(route) => {
            span.record("otel.name", format!("{named} {route}"));
            span.set_attribute("http.route", route.to_owned());
        }
        None => {
            span.record("otel.name", named);
        }
    }
    let text = |name| Some(request.headers().get(name)?.to_str().ok()?.to_owned());
    if let Some(agent) = text(USER_AGENT) {
        span.set_attribute("user_agent.original", agent);
    }
    if let Some(server) = text(HOST).and_then(|host| host.parse::<Authority>().ok()) {
        span.set_attribute("server.address", server.host().to_owned());
        if let Some(port) = server.port_u16() {
            span.set_attribute("server.port", i64::from(port));
        }
    }
    if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>() {
        span.set_attribute("client.address", peer.ip().to_string());
        span.set_attribute("client.port", i64::from(peer.port()));
    }
    span.set_attribute("network.protocol.version", if request.version() == Version::HTTP_10 { "1.0" } else { "1.1" });
    let incoming = Incoming(request.headers());
    let context = get_text_map_propagator(|propagator| propagator.extract_with_context(&Context::new(), &incoming));
    // Nothing listens for OpenTelemetry, or the span was filtered out: then there is none to have a parent.
    let _ = span.set_parent(context);
    Some(span)
}

struct Incoming<'a>(&'a HeaderMap);

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|name| name.as_str()).collect()
    }

    fn get_all(&self, key: &str) -> Option<Vec<&str>> {
        let all: Vec<_> = self.0.get_all(key).iter().filter_map(|value| value.to_str().ok()).collect();
        (!all.is_empty()).then_some(all)
    }
}
