//! `/livez` and `/readyz`: what Kubernetes asks, answered from what the routes and services do.

use super::site::Builtin;
use crate::status::{Observer, RouteStatus};
use axum::Json;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use std::time::Duration;

const REMEDY: &str = "choose another path, or turn the probes off by `Http::probes(false)`";

pub(super) fn builtins(stalled_after: Duration) -> [Builtin; 2] {
    let builtin = |path: &str, answers: Box<dyn FnOnce(&Observer) -> _ + Send>| Builtin {
        path: path.into(),
        remedy: REMEDY,
        answers,
    };
    [
        builtin(
            "/livez",
            Box::new(move |observer| {
                let observer = observer.clone();
                get(async move || live(&observer, stalled_after))
            }),
        ),
        builtin(
            "/readyz",
            Box::new(|observer| {
                let observer = observer.clone();
                get(async move || ready(&observer))
            }),
        ),
    ]
}

#[derive(Serialize)]
struct Live {
    live: bool,
    /// The routes that hang.
    stalled: Vec<Stalled>,
}

#[derive(Serialize)]
struct Stalled {
    route: String,
    unsettled: usize,
    seconds: f64,
}

/// Whether a restart would help: a route has had messages and settled none for too long.
fn live(observer: &Observer, stalled_after: Duration) -> Response {
    let status = observer.status();
    let live = status.is_live(stalled_after);
    let stalled = status.routes.into_iter().filter_map(|route| {
        let stalled = route.stalled_for().filter(|stalled| *stalled >= stalled_after)?;
        Some(Stalled { route: route.name, unsettled: route.unsettled, seconds: stalled.as_secs_f64() })
    });
    answer(live, Live { live, stalled: stalled.collect() })
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    starting: bool,
    stopping: bool,
    /// The services that are not ready.
    waiting_for: Vec<String>,
    /// The routes that do not consume all their queues.
    not_consuming: Vec<NotConsuming>,
}

#[derive(Serialize)]
struct NotConsuming {
    route: String,
    queues: Vec<String>,
}

/// Whether the app is to get requests: it has started, does all it should and is not stopping.
fn ready(observer: &Observer) -> Response {
    let status = observer.status();
    let (ready, starting, stopping) = (status.is_ready(), status.starting, status.stopping);
    let waiting_for = status.services.iter().filter(|service| !service.is_ready());
    let waiting_for = waiting_for.map(|service| service.name.clone()).collect();
    let missing = status.routes.into_iter().filter(|route| !route.is_consuming()).map(|route: RouteStatus| {
        let queues = route.queues.into_iter().filter(|queue| !queue.consuming).map(|queue| queue.queue);
        NotConsuming { route: route.name, queues: queues.collect() }
    });
    answer(ready, Ready { ready, starting, stopping, waiting_for, not_consuming: missing.collect() })
}

fn answer(good: bool, body: impl Serialize) -> Response {
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(CACHE_CONTROL, "no-store")], Json(body)).into_response()
}
