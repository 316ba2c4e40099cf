//! Websockets: a connection that was HTTP until both sides agreed.
//!
//! A [`WebSocket`] lives as long as its handler runs, and is closed by what comes first:
//!
//! - the handler ends: 1000 (normal closure), or 1011 (internal error) where it failed or panicked;
//! - the client sends a message over the limit: 1009 (message too big); a text that is not UTF-8: 1007; or breaks the
//!   protocol: 1002. Nothing is read any more, and whatever the handler then does, the client gets that code;
//! - the app is told to stop: 1001 (going away), at once and whatever the handler is at. What it receives ends, what it
//!   sends fails, and it is waited for until the shutdown timeout;
//! - the client closes, or goes.
//!
//! ```
//! use asyncworker::http::ws::{Message, WebSocket};
//! use asyncworker::http::{Endpoint, Path};
//! use asyncworker::prelude::*;
//!
//! async fn echo(mut socket: WebSocket, Path(room): Path<String>) -> Result<(), Failure> {
//!     socket.send(Message::text(format!("this is {room}"))).await?;
//!     while let Some(message) = socket.recv().await {
//!         if let text @ Message::Text(_) = message? {
//!             socket.send(text).await?;
//!         }
//!     }
//!     Ok(())
//! }
//!
//! let app = App::new().endpoint(Endpoint::ws("/rooms/{room}", echo));
//! ```

mod ending;
mod handler;
mod origin;
mod socket;
mod upgrade;

pub use axum::Error;
pub use axum::extract::ws::{CloseCode, CloseFrame, Message, Utf8Bytes, close_code};
pub use handler::SocketHandler;
pub use origin::{AllowedOrigins, CheckedOrigin, ForeignOrigin};
pub use socket::WebSocket;
pub use upgrade::WebSocketUpgrade;

pub(crate) use ending::Ending;
pub(super) use handler::upgrade;
