//! An open websocket, and its end.

use super::{CloseCode, CloseFrame, Ending, Error, Message, close_code};
use crate::handler::{Failure, IntoResult};
use axum::extract::ws::WebSocket as Inner;
use futures_util::future::BoxFuture;
use futures_util::sink::{Sink, SinkExt};
use futures_util::stream::{FusedStream, Stream, StreamExt};
use futures_util::{FutureExt, future};
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long the client may take to answer a close.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// An open websocket. Pings are answered by themselves. It is a `Stream` and a `Sink` too, and closes when its handler
/// has ended: halves of it that outlive the handler are of no use.
pub struct WebSocket {
    shared: Arc<SharedSocket>,
    /// Ends once the app is told to stop.
    stopping: BoxFuture<'static, ()>,
    stopped: bool,
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket").field("protocol", &self.protocol()).finish_non_exhaustive()
    }
}

/// What the handler and who closes for it have in common. Each poll locks it for itself.
struct SharedSocket {
    /// `None` after its end.
    inner: Mutex<Option<Inner>>,
    protocol: Option<String>,
    /// The client has closed or gone: that a handler fails then is no news.
    gone: AtomicBool,
    ending: Ending,
}

impl WebSocket {
    fn new(shared: &Arc<SharedSocket>, stopping: &CancellationToken) -> Self {
        let stopping = Box::pin(stopping.clone().cancelled_owned());
        Self { shared: Arc::clone(shared), stopping, stopped: false }
    }

    /// The next message; `None` when the websocket is closed, or the app was told to stop.
    ///
    /// # Errors
    /// The client has gone without a close, has broken the protocol, or has sent a message over the limit. Nothing comes
    /// after it; the websocket then closes with the code for that (1002, 1007 or 1009), and not with 1011.
    ///
    /// # Cancel safety
    /// Cancel safe: a message that is not given out stays.
    pub async fn recv(&mut self) -> Option<Result<Message, Error>> {
        self.next().await
    }

    /// Sends a message, and waits until the system has taken it.
    ///
    /// # Errors
    /// The websocket is closed, or the app was told to stop.
    ///
    /// # Cancel safety
    /// Not cancel safe: the message may or may not be sent.
    pub async fn send(&mut self, message: Message) -> Result<(), Error> {
        SinkExt::send(self, message).await
    }

    /// The subprotocol that was chosen.
    #[must_use]
    pub fn protocol(&self) -> Option<&str> {
        self.shared.protocol.as_deref()
    }

    /// By what its client is told why it ends.
    pub(crate) fn ending(&self) -> Ending {
        self.shared.ending.clone()
    }

    /// Whether the app was told to stop; if not, the task is woken when it is.
    fn poll_stopped(&mut self, context: &mut Context<'_>) -> bool {
        self.stopped = self.stopped || self.stopping.poll_unpin(context).is_ready();
        self.stopped
    }

    fn poll_sink(
        &mut self,
        context: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut Inner>, &mut Context<'_>) -> Poll<Result<(), Error>>,
    ) -> Poll<Result<(), Error>> {
        if self.poll_stopped(context) {
            return Poll::Ready(Err(closed()));
        }
        self.shared.poll_sink(context, poll)
    }
}

impl Stream for WebSocket {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.poll_stopped(context) {
            return Poll::Ready(None);
        }
        self.shared.poll_next(context)
    }
}

impl FusedStream for WebSocket {
    fn is_terminated(&self) -> bool {
        self.stopped || self.shared.lock().as_ref().is_none_or(FusedStream::is_terminated)
    }
}

impl Sink<Message> for WebSocket {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_sink(context, Sink::poll_ready)
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        self.shared.lock().as_mut().map_or_else(|| Err(closed()), |inner| Pin::new(inner).start_send(message))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_sink(context, Sink::poll_flush)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_sink(context, Sink::poll_close)
    }
}

impl SharedSocket {
    /// A poll that panicked has left nothing half done that another one could trip over.
    fn lock(&self) -> MutexGuard<'_, Option<Inner>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<Result<Message, Error>>> {
        let polled = self.lock().as_mut().map_or(Poll::Ready(None), |inner| inner.poll_next_unpin(context));
        if let Poll::Ready(Some(Err(error))) = &polled {
            self.ending.fault(error);
        }
        if matches!(polled, Poll::Ready(None | Some(Err(_) | Ok(Message::Close(_))))) {
            self.gone.store(true, Relaxed);
        }
        polled
    }

    fn poll_sink(
        &self,
        context: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut Inner>, &mut Context<'_>) -> Poll<Result<(), Error>>,
    ) -> Poll<Result<(), Error>> {
        let polled =
            self.lock().as_mut().map_or_else(|| Poll::Ready(Err(closed())), |inner| poll(Pin::new(inner), context));
        if matches!(polled, Poll::Ready(Err(_))) {
            self.gone.store(true, Relaxed);
        }
        polled
    }

    /// Closes, waits a while for the client's own close, and ends the connection. Where the client has closed, that
    /// counts; one that has gone needs none.
    async fn close(&self, code: CloseCode, reason: &'static str) {
        let mut message = Some(Message::Close(Some(CloseFrame { code, reason: reason.into() })));
        let send = future::poll_fn(|context| {
            self.poll_sink(context, |mut inner, context| {
                if message.is_some() {
                    futures_util::ready!(inner.as_mut().poll_ready(context))?;
                }
                if let Some(message) = message.take() {
                    inner.as_mut().start_send(message)?;
                }
                inner.poll_flush(context)
            })
        });
        let closed = async {
            // What it fails by, the reading finds too, and the client's close may be there to be read.
            let _ = send.await;
            while let Some(Ok(_)) = future::poll_fn(|context| self.poll_next(context)).await {}
        };
        let _ = timeout(CLOSE_WAIT, closed).await;
        self.lock().take();
    }

    fn tell(&self, failure: &Failure, stopping: &CancellationToken) {
        if self.gone.load(Relaxed) || stopping.is_cancelled() {
            tracing::debug!(error = %failure, "a websocket's handler ended with its connection");
        } else {
            tracing::error!(error = %failure, "a websocket's handler failed");
        }
    }
}

/// What a client is told when the app stops.
const AWAY: (CloseCode, &str) = (close_code::AWAY, "the app is stopping");

fn closed() -> Error {
    Error::new("the websocket is closed")
}

/// Runs the handler over the socket, and closes that when the handler has ended or the app is told to stop.
pub(super) async fn attend<F, Fut>(inner: Inner, ending: Ending, handler: F, stopping: &CancellationToken)
where
    F: FnOnce(WebSocket) -> Fut,
    Fut: Future<Output: IntoResult>,
{
    let protocol = inner.protocol().and_then(|protocol| Some(protocol.to_str().ok()?.to_owned()));
    let (inner, gone) = (Mutex::new(Some(inner)), AtomicBool::new(false));
    let shared = Arc::new(SharedSocket { inner, protocol, gone, ending });
    let handler = handler(WebSocket::new(&shared, stopping)).map(IntoResult::into_result);
    let mut handler = pin!(AssertUnwindSafe(handler).catch_unwind());
    let ended = tokio::select! {
        // Before the handler sees it and ends, and the websocket is closed as if nothing had happened.
        biased;
        () = stopping.cancelled() => {
            // The handler is polled on: it may be at something else than the socket.
            let close = shared.close(AWAY.0, AWAY.1);
            let (ended, ()) = tokio::join!(handler, close);
            ended
        }
        ended = handler.as_mut() => ended,
    };
    let (code, reason) = match ended {
        Ok(Ok(())) => (close_code::NORMAL, ""),
        Ok(Err(failure)) => {
            shared.tell(&failure, stopping);
            (close_code::ERROR, "the handler failed")
        }
        Err(_) => {
            tracing::error!("a websocket's handler panicked");
            (close_code::ERROR, "the handler failed")
        }
    };
    // It may have ended because it saw the stop first, on another thread, after the stop was looked for here.
    let (code, reason) = if stopping.is_cancelled() { AWAY } else { (code, reason) };
    let (code, reason) = shared.ending.said().unwrap_or((code, reason));
    shared.close(code, reason).await;
}
