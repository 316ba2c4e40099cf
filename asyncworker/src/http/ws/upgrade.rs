//! From a request to a websocket.

use super::socket::attend;
use super::{Ending, WebSocket};
use crate::handler::IntoResult;
use crate::http::shared::{NoApp, Shared};
use crate::http::traffic::Traffic;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use std::borrow::Cow;
use std::sync::Arc;

/// A request to become a websocket: axum's extractor of the same name, for a websocket that the app knows of and closes
/// when it is told to stop. For handlers that choose a subprotocol, or refuse; others are made by
/// [`Endpoint::ws`](crate::http::Endpoint::ws).
///
/// ```
/// use asyncworker::http::Response;
/// use asyncworker::http::ws::{Message, WebSocket, WebSocketUpgrade};
///
/// async fn feed(upgrade: WebSocketUpgrade) -> Response {
///     upgrade.protocols(["feed.v2", "feed.v1"]).on_upgrade(async |mut socket: WebSocket| {
///         let version = socket.protocol().unwrap_or("none").to_owned();
///         socket.send(Message::text(version)).await
///     })
/// }
/// ```
#[derive(Debug)]
#[must_use = "the request is not upgraded until `on_upgrade` is called and its answer returned"]
pub struct WebSocketUpgrade {
    upgrade: axum::extract::ws::WebSocketUpgrade,
    shared: Shared,
    ending: Ending,
}

impl WebSocketUpgrade {
    /// Chooses the first of these subprotocols that the client offers, if it offers one of them.
    pub fn protocols<P: Into<Cow<'static, str>>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.upgrade = self.upgrade.protocols(protocols);
        self
    }

    /// Bytes of a message at the most; a larger one ends the websocket by an error, with 1009. Default:
    /// [`Http::body_limit`](crate::http::Http::body_limit).
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.upgrade = self.upgrade.max_message_size(bytes).max_frame_size(bytes);
        self
    }

    /// The answer that upgrades the connection; the handler then runs beside the request, until it ends or the time of a
    /// shutdown is up.
    pub fn on_upgrade<F, Fut>(self, handler: F) -> Response
    where
        F: FnOnce(WebSocket) -> Fut + Send + 'static,
        Fut: Future<Output: IntoResult> + Send + 'static,
    {
        let Self { shared, ending, .. } = &self;
        let (shared, ending) = (shared.clone(), ending.clone());
        // From here on, so that a shutdown does not miss a connection on its way to being a websocket.
        let attended = shared.sockets().token();
        self.upgrade.on_upgrade(async move |socket| {
            shared.abandon().run_until_cancelled(attend(socket, ending, handler, shared.stopping())).await;
            drop(attended);
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for WebSocketUpgrade {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let shared = Shared::of(&parts.extensions).cloned().ok_or_else(|| NoApp.into_response())?;
        let ending = Ending::new(parts.extensions.get::<Arc<Traffic>>().cloned());
        let upgrade = axum::extract::ws::WebSocketUpgrade::from_request_parts(parts, state);
        let upgrade = upgrade.await.map_err(IntoResponse::into_response)?;
        let limit = shared.body_limit();
        Ok(Self { upgrade, shared, ending }.max_message_size(limit))
    }
}
