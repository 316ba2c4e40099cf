//! The client's end of a websocket without a network.

use super::site::Site;
use super::ws::{CloseCode, CloseFrame, Error, Message, close_code};
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use futures_util::{FutureExt, SinkExt, StreamExt};
use hyper::body::Incoming;
use hyper::client;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use std::fmt;
use tokio::io::duplex;
use tokio_tungstenite::WebSocketStream;
use tungstenite::Message as Raw;
use tungstenite::protocol::{CloseFrame as RawClose, Role, WebSocketConfig};

/// Bytes that one end can write before the other one reads. About what a socket has.
const BUFFER: usize = 64 * 1024;

/// What makes a request one for a websocket (RFC 6455, section 4.1). The key is the standard's own example: it is there against
/// answers that a cache gives.
const ASKS: [(HeaderName, &str); 4] = [
    (CONNECTION, "upgrade"),
    (UPGRADE, "websocket"),
    (SEC_WEBSOCKET_VERSION, "13"),
    (SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// The client's end of a websocket, without a network: [`TestRequest::upgrade`](super::TestRequest::upgrade).
///
/// As any client it reads, and answers pings and a close, while it is asked for what comes; what it is not asked for fills
/// 64 KiB, and then the server's end waits. Dropped, it is a client that has gone without a close.
///
/// ```
/// use asyncworker::http::Http;
/// use asyncworker::http::ws::{Message, WebSocket, close_code};
/// use asyncworker::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// async fn double(mut socket: WebSocket) -> Result<(), Failure> {
///     while let Some(Message::Text(number)) = socket.recv().await.transpose()? {
///         let number: u64 = number.parse()?;
///         socket.send(Message::text((2 * number).to_string())).await?;
///     }
///     Ok(())
/// }
///
/// let app = App::new().http(Http::unbound()).endpoint(Endpoint::ws("/double", double)).start().await?;
/// let mut socket = app.http_client().get("/double").upgrade().await.expect("a websocket");
/// socket.send("21").await?;
/// assert_eq!(socket.recv().await, Some(Message::text("42")));
/// socket.send("x").await?;
/// assert_eq!(socket.closed().await, close_code::ERROR);
/// # app.shutdown().await?;
/// # Ok(())
/// # }
/// ```
pub struct TestSocket {
    stream: WebSocketStream<TokioIo<Upgraded>>,
    protocol: Option<String>,
}

impl TestSocket {
    /// Asks for it by a request, over a connection within the process.
    ///
    /// # Errors
    /// The answer, if it is another.
    ///
    /// # Panics
    /// There is no answer.
    pub(super) async fn open(site: Site, mut request: Request) -> Result<Self, Response> {
        for (name, value) in ASKS {
            request.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
        }
        let (near, far) = duplex(BUFFER);
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let site = site.clone();
            async move { Ok::<_, Infallible>(site.answer(request.map(Body::new)).await) }
        });
        // Both end with the connection, or when it is no longer one of HTTP.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(far), service).with_upgrades());
        let asked = async {
            let (mut requests, connection) = client::conn::http1::handshake(TokioIo::new(near)).await?;
            tokio::spawn(connection.with_upgrades());
            requests.send_request(request).await
        };
        let mut answer = match asked.await {
            Ok(answer) => answer,
            Err(error) => panic!("the request is not answered: {error}"),
        };
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(answer.map(Body::new));
        }
        let upgraded = match hyper::upgrade::on(&mut answer).await {
            Ok(upgraded) => TokioIo::new(upgraded),
            Err(error) => panic!("the connection is not upgraded: {error}"),
        };
        // What is right is the test's to say.
        let unlimited = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let stream = WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(unlimited)).await;
        let protocol = answer.headers().get(SEC_WEBSOCKET_PROTOCOL);
        Ok(Self { stream, protocol: protocol.and_then(|protocol| Some(protocol.to_str().ok()?.to_owned())) })
    }

    /// Sends a message. `Message::Close` closes: what [`recv`](Self::recv) then gives ends with the server's answer to it.
    ///
    /// # Errors
    /// The websocket is closed.
    ///
    /// # Cancel safety
    /// Not cancel safe: the message may or may not be sent.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        self.stream.send(raw(message.into())).await.map_err(Error::new)
    }

    /// The next text, binary or close; `None` after the close, and where the server's end has gone without one. Pings and pongs
    /// are passed over, as browsers do.
    ///
    /// # Cancel safety
    /// Cancel safe: a message that is not given out stays.
    pub async fn recv(&mut self) -> Option<Message> {
        loop {
            match self.stream.next().await?.ok()? {
                Raw::Text(text) => return Some(Message::text(text.as_str())),
                Raw::Binary(bytes) => return Some(Message::Binary(bytes)),
                Raw::Close(frame) => {
                    // The answer is written now, because nobody may ask for more.
                    let _ = self.stream.flush().now_or_never();
                    let frame = frame.map(|RawClose { code, reason }| CloseFrame {
                        code: code.into(),
                        reason: reason.as_str().into(),
                    });
                    return Some(Message::Close(frame));
                }
                Raw::Ping(_) | Raw::Pong(_) | Raw::Frame(_) => {}
            }
        }
    }

    /// The next message decoded from JSON.
    ///
    /// # Panics
    /// It is not JSON of this type, or there is none.
    pub async fn json<T: DeserializeOwned>(&mut self) -> T {
        let message = self.recv().await;
        let bytes: &[u8] = match &message {
            Some(Message::Text(text)) => text.as_bytes(),
            Some(Message::Binary(bytes)) => bytes,
            other => panic!("no message comes but {other:?}"),
        };
        match serde_json::from_slice(bytes) {
            Ok(value) => value,
            Err(error) => panic!("the message is not what was expected: {error}: {message:?}"),
        }
    }

    /// The code of the close, which comes next; 1005 is one without a code.
    ///
    /// # Panics
    /// A message comes, or the server's end has gone without a close.
    pub async fn closed(&mut self) -> CloseCode {
        match self.recv().await {
            Some(Message::Close(frame)) => frame.map_or(close_code::STATUS, |frame| frame.code),
            other => panic!("no close comes but {other:?}"),
        }
    }

    /// The subprotocol that was chosen, of those that the request's header `sec-websocket-protocol` has named.
    #[must_use]
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }
}

impl fmt::Debug for TestSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestSocket").field("protocol", &self.protocol()).finish_non_exhaustive()
    }
}

fn raw(message: Message) -> Raw {
    match message {
        Message::Text(text) => Raw::text(text.as_str()),
        Message::Binary(bytes) => Raw::Binary(bytes),
        Message::Ping(bytes) => Raw::Ping(bytes),
        Message::Pong(bytes) => Raw::Pong(bytes),
        Message::Close(frame) => {
            Raw::Close(frame.map(|frame| RawClose { code: frame.code.into(), reason: frame.reason.as_str().into() }))
        }
    }
}
