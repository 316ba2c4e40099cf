//! A stream that is not closed while the client still sends.

use super::traffic::Traffic;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// For how long what is still sent is read, and thrown away.
const LONGEST: Duration = Duration::from_secs(2);

/// A TCP stream that, when a body was left unread, reads on for a while after its own end.
///
/// A socket that is closed with octets unread is reset, and a reset takes from the client what it has not read yet: the
/// 413 that says why. (nginx does the same and calls it a lingering close.)
pub(super) struct Lingering {
    stream: TcpStream,
    traffic: Arc<Traffic>,
    /// Since our side has ended.
    limit: Option<Pin<Box<Sleep>>>,
}

impl Lingering {
    pub(super) fn new(stream: TcpStream, traffic: Arc<Traffic>) -> Self {
        Self { stream, traffic, limit: None }
    }
}

impl AsyncRead for Lingering {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Lingering {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, from);
        self.traffic.block(polled.is_pending());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, from);
        self.traffic.block(polled.is_pending());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.limit.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
        }
        if !this.traffic.is_unread() {
            return Poll::Ready(Ok(()));
        }
        let limit = this.limit.get_or_insert_with(|| Box::pin(sleep(LONGEST)));
        let mut thrown_away = [0; 8 * 1024];
        while limit.as_mut().poll(context).is_pending() {
            let mut into = ReadBuf::new(&mut thrown_away);
            match ready!(Pin::new(&mut this.stream).poll_read(context, &mut into)) {
                Ok(()) if !into.filled().is_empty() => {}
                // The client has read the answer and closed, or it has gone.
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
