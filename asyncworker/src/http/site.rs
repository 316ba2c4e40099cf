//! All that an app answers, as one service: endpoints, what is built in, and what is around them.

use super::endpoint::Endpoint;
use super::needs::Offer;
use super::paths::{Claim, check};
use super::settings::Wrap;
use super::shared::Shared;
#[cfg(feature = "otel")]
use super::trace::trace;
use crate::error::Error;
use crate::handler::Failure;
use crate::status::Observer;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use axum::{RequestExt, extract::MatchedPath};
use futures_util::FutureExt;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use tower_service::Service;

/// What asyncworker itself answers at a path, which no endpoint may have then.
pub(super) struct Builtin {
    pub(super) path: String,
    /// What to do about an endpoint that has the path too.
    pub(super) remedy: &'static str,
    /// Makes it, once there is an app to look at.
    pub(super) answers: Box<dyn FnOnce(&Observer) -> MethodRouter + Send>,
}

/// The endpoints and the fallback within the user's layers.
///
/// # Errors
/// A path that cannot be read, a clash, or a need that the app does not meet, with the endpoints' names.
pub(super) fn assemble(
    endpoints: Vec<Endpoint>,
    fallback: Option<Router>,
    layers: Vec<Wrap>,
    body_limit: usize,
    builtins: &[Builtin],
    offer: &Offer<'_>,
) -> Result<Router, Error> {
    let claims = builtins.iter().map(Claim::of_builtin).chain(endpoints.iter().map(Claim::of_endpoint));
    check(claims.collect())?;
    let mut paths: BTreeMap<String, MethodRouter> = BTreeMap::new();
    for endpoint in endpoints {
        for need in &endpoint.needs {
            (need.0)(offer)
                .map_err(|missing| Error::configuration(format!("endpoint {}: {missing}", endpoint.label())))?;
        }
        let limit = endpoint.body_limit.unwrap_or(body_limit);
        let answers = endpoint.answers.layer(from_fn(move |request, next| limited(limit, request, next)));
        for path in endpoint.paths {
            let known = paths.remove(&path).unwrap_or_default();
            paths.insert(path, known.merge(answers.clone()));
        }
    }
    let mut router = paths.into_iter().fold(Router::new(), |router, (path, answers)| router.route(&path, answers));
    if let Some(fallback) = fallback {
        let limited = from_fn(move |request, next| limited(body_limit, request, next));
        router = router.fallback_service(fallback.layer(limited));
    }
    Ok(layers.into_iter().rev().fold(router, |router, layer| layer(router)))
}

/// With what is built in, and around all of it what keeps a panic from being more than one bad answer; and beside it what
/// is there while the app starts: the same without what is the app's own.
pub(super) fn complete(router: Router, builtins: Vec<Builtin>, observer: &Observer) -> [Router; 2] {
    let mut routers = [router, Router::new().fallback(async || LATER)].map(around);
    for Builtin { path, answers, .. } in builtins {
        let answers = answers(observer).layer(from_fn(guarded));
        routers = routers.map(|router| router.route(&path, answers.clone()));
    }
    routers
}

/// Around what is the app's own. What is built in is not traced: probes would be most of it.
fn around(router: Router) -> Router {
    let router = router.layer(from_fn(guarded));
    #[cfg(feature = "otel")]
    let router = trace(router);
    router
}

/// What an endpoint needs may not be there yet; a client that asks again in a second finds out.
const LATER: (StatusCode, [(HeaderName, &str); 1]) = (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")]);

/// Everything that answers a request.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    router: Router,
    /// In its place while the app starts.
    starting: Router,
    shared: Shared,
}

impl Site {
    /// Of what [`complete`] gives.
    pub(super) fn new([router, starting]: [Router; 2], shared: Shared) -> Self {
        Self { router, starting, shared }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) async fn answer(mut self, mut request: Request) -> Response {
        request.extensions_mut().insert(self.shared.clone());
        let router = if self.shared.observer().is_starting() { &mut self.starting } else { &mut self.router };
        // A router is always ready, and never fails.
        let Ok(mut response) = router.call(request).await;
        let upgrades = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if self.shared.stopping().is_cancelled() && !upgrades {
            // The client is to take its next request elsewhere.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Turns away a body over the limit: by what its head says, else as it is read.
async fn limited(limit: usize, mut request: Request, next: Next) -> Response {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > limit)) {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    }
    DefaultBodyLimit::max(limit).apply(&mut request);
    // The extension alone would bind extractors, and not a handler that takes the body itself.
    next.run(request.with_limited_body()).await
}

/// Answers for a handler that panics, and tells of it and of failures.
async fn guarded(request: Request<Body>, next: Next) -> Response {
    let method = request.method().clone();
    let uri = request.uri().clone();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let path = || matched.as_ref().map_or_else(|| uri.path(), MatchedPath::as_str);
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => {
            if let Some(Failed(error)) = response.extensions().get() {
                tracing::error!(%method, path = path(), error, "an HTTP handler failed");
            }
            response
        }
        Err(_) => {
            tracing::error!(%method, path = path(), "an HTTP handler panicked");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Why the handler failed, for the log and the trace.
#[derive(Debug, Clone)]
pub(super) struct Failed(pub(super) String);

/// 500, without the reason, which is logged: it may hold what is no client's business.
impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(Failed(self.to_string()));
        response
    }
}
