//! A participant over a websocket: what it hears is sent, and a client that is gone is found out.

use super::Participant;
use super::outbox::Outbox;
use crate::http::ws::{Ending, Message, Utf8Bytes, WebSocket};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How a participant's websocket is watched.
#[derive(Debug, Clone, Copy)]
pub struct RoomOptions {
    heartbeat: Duration,
    idle_timeout: Duration,
}

impl Default for RoomOptions {
    fn default() -> Self {
        Self { heartbeat: Duration::from_secs(20), idle_timeout: Duration::from_secs(60) }
    }
}

impl RoomOptions {
    /// A ping every 20 s, and 60 s without anything from the client, pongs included, end it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How often the client is sent a ping, which a browser answers by itself; at least 1 ms.
    #[must_use]
    pub fn heartbeat(mut self, every: Duration) -> Self {
        self.heartbeat = every.max(Duration::from_millis(1));
        self
    }

    /// After how long without anything from the client, pongs included, it is taken for gone. More than a heartbeat.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }
}

/// The websocket of a [`Participant`]: it sends what that hears, by itself, and gives what the client says.
pub struct RoomSocket {
    stream: SplitStream<WebSocket>,
    /// Ends when nothing can be sent any more.
    sending: JoinHandle<()>,
    ending: Ending,
    idle_timeout: Duration,
    over: bool,
}

impl fmt::Debug for RoomSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomSocket").field("over", &self.over).finish_non_exhaustive()
    }
}

impl Drop for RoomSocket {
    fn drop(&mut self) {
        self.sending.abort();
    }
}

impl Participant {
    /// Sends what this participant hears over the websocket from now on, as the JSON of [`RoomEvent`](super::RoomEvent).
    pub fn attach(&self, socket: WebSocket) -> RoomSocket {
        self.attach_with(socket, RoomOptions::new())
    }

    /// As [`attach`](Self::attach), with other times.
    pub fn attach_with(&self, socket: WebSocket, options: RoomOptions) -> RoomSocket {
        let ending = socket.ending();
        let (sink, stream) = socket.split();
        let slow = ending.clone();
        let outbox = Arc::clone(self.outbox());
        let user = Arc::clone(&self.user);
        let sending = tokio::spawn(async move {
            let closed = outbox.closed().clone();
            // A client that does not read may keep it from ever ending.
            if closed.run_until_cancelled(send(&outbox, sink, options.heartbeat)).await.is_none() {
                slow.slow();
                tracing::info!(user = &*user, "a client did not keep up with its rooms, and is disconnected");
            }
        });
        RoomSocket { stream, sending, ending, idle_timeout: options.idle_timeout, over: false }
    }
}

/// Sends what there is to hear, and pings. Ends when the websocket does.
async fn send(outbox: &Outbox, mut sink: SplitSink<WebSocket, Message>, heartbeat: Duration) {
    let mut heartbeat = interval(heartbeat);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat.reset();
    loop {
        let message = tokio::select! {
            sent = outbox.next() => match sent {
                // It is JSON, and so UTF-8.
                Some(sent) => Message::Text(Utf8Bytes::try_from(sent.json()).unwrap_or_default()),
                None => std::future::pending().await,
            },
            _ = heartbeat.tick() => Message::Ping(bytes::Bytes::new()),
        };
        if sink.send(message).await.is_err() {
            return;
        }
    }
}

impl RoomSocket {
    /// The next text of the client. `None` when it has closed or gone, says nothing for the
    /// [`idle_timeout`](RoomOptions::idle_timeout), does not keep up with its rooms, or the app was told to stop. When the
    /// handler then ends, a client that is still there is told by the close: 3008 (timeout) after that long without an
    /// answer to a ping, 1008 (policy violation) for not keeping up, 1009 (message too big) for a message over the limit.
    ///
    /// # Cancel safety
    /// Cancel safe: a text that is not given out stays. The idle timeout begins anew.
    pub async fn recv(&mut self) -> Option<String> {
        while !self.over {
            let received = tokio::select! {
                received = timeout(self.idle_timeout, self.stream.next()) => received,
                _ = &mut self.sending => break,
            };
            match received {
                Ok(Some(Ok(Message::Text(text)))) => return Some(text.as_str().to_owned()),
                Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) => break,
                // A pong, most of all.
                Ok(Some(Ok(_))) => {}
                Err(_) => {
                    self.ending.idle();
                    tracing::info!("a client has said nothing for {:?}, and is taken for gone", self.idle_timeout);
                    break;
                }
            }
        }
        self.over = true;
        None
    }
}
