#![doc = include_str!("../../docs/http.md")]

mod body;
mod endpoint;
mod linger;
#[cfg(feature = "metrics")]
mod metrics;
mod needs;
mod paths;
mod plan;
mod probes;
mod server;
mod settings;
mod shared;
mod site;
mod test_client;
mod test_socket;
#[cfg(feature = "otel")]
mod trace;
mod traffic;
pub mod ws;

pub use axum;
pub use axum::Router;
pub use axum::body::{Body, Bytes};
pub use axum::extract::{ConnectInfo, Form, Json, Path, Query, Request};
pub use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
pub use axum::response::{Html, IntoResponse, Redirect, Response};
pub use endpoint::{Endpoint, Paths};
pub use settings::Http;
pub use shared::{MissingState, NoApp};
pub use test_client::{TestClient, TestRequest, TestResponse};
pub use test_socket::TestSocket;
pub use ws::WebSocket;

pub(crate) use needs::Offer;
#[doc(hidden)]
pub use needs::{Argument, Need, NeedsNothing};
pub(crate) use plan::Plan;
pub(crate) use server::Server;
pub(crate) use shared::Shared;
pub(crate) use site::Site;
