//! What the handlers of an app share, and how they take it: `State<T>`, `Publisher`, `Emitter`, `Tasks` and `Status`.

use crate::emitter::Emitter;
use crate::handler::State;
use crate::publish::Publisher;
use crate::state::StateMap;
use crate::status::{Observer, Sight, Status};
use crate::task::Tasks;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, StatusCode};
use axum::response::{IntoResponse, Response};
use std::any::type_name;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What handlers may ask of their app. Each request carries it in its extensions, and not as the state of the router:
/// so it is there for the handlers of any axum `Router`, whatever that one's state is.
#[derive(Debug, Clone)]
pub(crate) struct Shared(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Arc<StateMap>,
    publisher: Publisher,
    observer: Observer,
    abandon: CancellationToken,
    body_limit: usize,
    sockets: TaskTracker,
}

impl Shared {
    /// Of the app that is observed.
    pub(crate) fn new(state: Arc<StateMap>, publisher: Publisher, observer: Observer, body_limit: usize) -> Self {
        let (abandon, sockets) = (CancellationToken::new(), TaskTracker::new());
        Self(Arc::new(Inner { state, publisher, observer, abandon, body_limit, sockets }))
    }

    /// That of the app that got this request.
    pub(super) fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    pub(super) fn observer(&self) -> &Observer {
        &self.0.observer
    }

    /// Cancelled when the app is told to stop.
    pub(super) fn stopping(&self) -> &CancellationToken {
        self.0.observer.stopping()
    }

    /// Cancelled when the time of a stop is up: what still runs is dropped.
    pub(super) fn abandon(&self) -> &CancellationToken {
        &self.0.abandon
    }

    /// The app's state of this type, if it has one.
    pub(super) fn state<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        self.0.state.get()
    }

    /// Bytes of a body or of a websocket's message at the most, where nothing else is said of it.
    pub(super) fn body_limit(&self) -> usize {
        self.0.body_limit
    }

    /// The websockets whose handlers run.
    pub(super) fn sockets(&self) -> &TaskTracker {
        &self.0.sockets
    }
}

impl<T: Clone + Send + Sync + 'static, S: Sync> FromRequestParts<S> for State<T> {
    type Rejection = MissingState;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, MissingState> {
        let shared = Shared::of(&parts.extensions);
        shared.and_then(|shared| shared.0.state.get()).map(Self).ok_or_else(|| {
            let missing = MissingState(type_name::<T>());
            tracing::error!(method = %parts.method, path = parts.uri.path(), state = missing.0, "{missing}");
            missing
        })
    }
}

impl<S: Sync> FromRequestParts<S> for Publisher {
    type Rejection = NoApp;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NoApp> {
        Shared::of(&parts.extensions).map(|shared| shared.0.publisher.clone()).ok_or(NoApp)
    }
}

impl<S: Sync> FromRequestParts<S> for Emitter {
    type Rejection = NoApp;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NoApp> {
        Shared::of(&parts.extensions).and_then(|shared| shared.0.state.get()).ok_or(NoApp)
    }
}

impl<S: Sync> FromRequestParts<S> for Tasks {
    type Rejection = NoApp;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NoApp> {
        Shared::of(&parts.extensions).and_then(|shared| shared.0.state.get()).ok_or(NoApp)
    }
}

impl<S: Sync> FromRequestParts<S> for Status {
    type Rejection = NoApp;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NoApp> {
        Shared::of(&parts.extensions).and_then(|shared| shared.0.state.get::<Sight>()?.status()).ok_or(NoApp)
    }
}

/// A handler takes `State<T>` and the app has no such state: 500. Where the handler has an attribute, this is found at
/// start instead.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("an HTTP handler takes `State<{0}>`, and the app has no such state; add `.state(..)` with a `{0}`")]
pub struct MissingState(&'static str);

/// A handler takes what only an app of asyncworker has, and is served by something else: 500.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the handler takes what only an app of asyncworker has")]
pub struct NoApp;

impl IntoResponse for MissingState {
    /// The details are in the log and are no client's business.
    fn into_response(self) -> Response {
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

impl IntoResponse for NoApp {
    fn into_response(self) -> Response {
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}
