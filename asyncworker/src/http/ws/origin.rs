//! Which pages may open a websocket here.

use crate::http::shared::Shared;
use axum::extract::FromRequestParts;
use axum::http::header::{HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// An argument that lets only pages of one's own open the websocket, or ask the endpoint: the others are answered by 403,
/// before the connection is upgraded and the handler is called.
///
/// A browser lets any page of any site open a websocket to anywhere, and sends the user's cookies with it; what it also
/// sends, and what no page can forge, is `Origin`. A request passes that comes from a page of the host it asks (`Origin`
/// has the host and port of `Host`), or of one of the [`AllowedOrigins`] that the app has as a state. So does one without
/// `Origin`, which is not a browser's.
///
/// ```
/// use asyncworker::http::ws::{AllowedOrigins, CheckedOrigin, WebSocket};
/// use asyncworker::prelude::*;
///
/// async fn feed(socket: WebSocket, _: CheckedOrigin) {}
///
/// let app = App::new()
///     .state(AllowedOrigins::new(["https://desk.example.com"])) // where a proxy changes `Host`, or for other sites
///     .endpoint(Endpoint::ws("/feed", feed));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct CheckedOrigin;

/// The origins that [`CheckedOrigin`] lets pass beside the app's own, as a state of the app.
#[derive(Debug, Clone)]
pub struct AllowedOrigins(Arc<[String]>);

impl AllowedOrigins {
    /// These, as browsers write them: scheme, host, and the port where it is not the scheme's own, such as
    /// `https://desk.example.com`.
    #[must_use]
    pub fn new<O: Into<String>>(origins: impl IntoIterator<Item = O>) -> Self {
        let origins = origins.into_iter().map(|origin| origin.into().trim_end_matches('/').to_ascii_lowercase());
        Self(origins.collect())
    }
}

/// The request comes from a page of another site: 403.
#[derive(Debug, Clone, thiserror::Error)]
#[error("pages of `{0}` may not ask this endpoint; `AllowedOrigins` as a state of the app lets them")]
pub struct ForeignOrigin(String);

impl IntoResponse for ForeignOrigin {
    fn into_response(self) -> Response {
        StatusCode::FORBIDDEN.into_response()
    }
}

impl<S: Sync> FromRequestParts<S> for CheckedOrigin {
    type Rejection = ForeignOrigin;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ForeignOrigin> {
        let Some(origin) = parts.headers.get(ORIGIN) else { return Ok(Self) };
        let origin = String::from_utf8_lossy(origin.as_bytes()).to_ascii_lowercase();
        let allowed = Shared::of(&parts.extensions).and_then(Shared::state::<AllowedOrigins>);
        if allowed.is_some_and(|allowed| allowed.0.contains(&origin)) || is_own(&origin, parts) {
            return Ok(Self);
        }
        let refused = ForeignOrigin(origin);
        tracing::warn!(path = parts.uri.path(), "{refused}");
        Err(refused)
    }
}

/// Whether the origin is the host that is asked.
fn is_own(origin: &str, parts: &Parts) -> bool {
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    let origin: Option<Uri> = origin.parse().ok();
    match (host, origin.as_ref().and_then(Uri::authority)) {
        (Some(host), Some(authority)) => authority.as_str().eq_ignore_ascii_case(host),
        _ => false,
    }
}
