//! A stream that is not closed while the client still sends.

use super::traffic::Traffic;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::{Sleep, sleep, timeout};

/// For how long what is still sent is read, and thrown away.
const LONGEST: Duration = Duration::from_secs(2);

/// A TCP stream that, when a body was left unread, or what follows on a websocket makes no sense, reads on for a while after
/// its own end.
///
/// A socket that is closed with octets unread is reset, and a reset takes from the client what it has not read yet: the
/// 413 or the close that says why. (nginx does the same and calls it a lingering close.)
pub(super) struct Lingering {
    /// Nothing while it is dropped.
    stream: Option<TcpStream>,
    traffic: Arc<Traffic>,
    /// Since our side has ended.
    limit: Option<Pin<Box<Sleep>>>,
}

impl Lingering {
    pub(super) fn new(stream: TcpStream, traffic: Arc<Traffic>) -> Self {
        Self { stream: Some(stream), traffic, limit: None }
    }

    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// A websocket is dropped where a connection of HTTP is shut down.
impl Drop for Lingering {
    fn drop(&mut self) {
        if self.traffic.is_senseless()
            && let (Some(stream), Ok(runtime)) = (self.stream.take(), Handle::try_current())
        {
            runtime.spawn(timeout(LONGEST, read_on(stream)));
        }
    }
}

/// Until the client has read what was sent and closed, or has gone.
async fn read_on(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut thrown_away = [0; 8 * 1024];
    while stream.read(&mut thrown_away).await? > 0 {}
    Ok(())
}

impl AsyncRead for Lingering {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(context, into)
    }
}

impl AsyncWrite for Lingering {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let polled = self.stream()?.poll_write(context, from);
        self.traffic.block(polled.is_pending());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = self.stream()?.poll_write_vectored(context, from);
        self.traffic.block(polled.is_pending());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream: Some(stream), traffic, limit } = &mut *self else { return Poll::Ready(Ok(())) };
        let mut stream = Pin::new(stream);
        if limit.is_none() {
            ready!(stream.as_mut().poll_shutdown(context))?;
        }
        if !traffic.is_unread() {
            return Poll::Ready(Ok(()));
        }
        let limit = limit.get_or_insert_with(|| Box::pin(sleep(LONGEST)));
        let mut thrown_away = [0; 8 * 1024];
        while limit.as_mut().poll(context).is_pending() {
            let mut into = ReadBuf::new(&mut thrown_away);
            match ready!(stream.as_mut().poll_read(context, &mut into)) {
                Ok(()) if !into.filled().is_empty() => {}
                // The client has read the answer and closed, or it has gone.
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
