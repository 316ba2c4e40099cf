//! The bodies of a connection: a request's is read within a time, and remembered if it was not; an answer's is under way
//! until it is dropped.

use super::traffic::{Answering, Traffic};
use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// A body whose client may not pause for longer than this.
struct Timely {
    body: Incoming,
    timeout: Duration,
    /// Runs while the client is waited for.
    pause: Option<Pin<Box<Sleep>>>,
    /// Told when the body is dropped before its end.
    traffic: Arc<Traffic>,
}

/// As handlers get it.
pub(super) fn timely(body: Incoming, timeout: Duration, traffic: &Arc<Traffic>) -> Body {
    if body.is_end_stream() {
        return Body::empty();
    }
    Body::new(Timely { body, timeout, pause: None, traffic: Arc::clone(traffic) })
}

impl HttpBody for Timely {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.pause = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(axum::Error::new)));
        }
        let timeout = self.timeout;
        let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(timeout)));
        match pause.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                let paused = format!("the client sent nothing of the body for {timeout:?}");
                Poll::Ready(Some(Err(axum::Error::new(io::Error::new(io::ErrorKind::TimedOut, paused)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Timely {
    fn drop(&mut self) {
        if !self.body.is_end_stream() {
            self.traffic.leave_unread();
        }
    }
}

/// An answer's body.
struct Sent {
    body: Body,
    _answering: Answering,
}

/// As the connection gets it.
pub(super) fn sent(body: Body, answering: Answering) -> Body {
    Body::new(Sent { body, _answering: answering })
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
