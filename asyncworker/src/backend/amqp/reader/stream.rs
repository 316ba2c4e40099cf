//! What lapin takes for its socket, and the task that reads the real one.

use super::Outlets;
use super::frame::A_HEARTBEAT;
use super::octets::CHUNK;
use super::pipe::{self, Writer};
use super::walk::Walker;
use bytes::BytesMut;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::task::AbortHandle;

/// lapin believes a connection lost that gave it nothing for twice the heartbeat, which is a second at
/// least. Deliveries give it nothing: so while they come it is given a heartbeat of ours this often.
const PULSE: Duration = Duration::from_millis(500);
/// A read asks for no less than this, so that a frame's beginning does not make for small reads.
const SMALLEST_READ: usize = 16 * 1024;
/// A read asks for no more than this, whatever size a frame claims to have.
const LARGEST_READ: usize = 256 * 1024;
/// After so many reads in a row others of the runtime have their turn.
const READS_IN_A_ROW: usize = 16;

pub(super) type Read = Box<dyn AsyncRead + Send + Unpin>;
pub(super) type Write = Box<dyn AsyncWrite + Send + Unpin>;

/// The stream that lapin reads and writes. Writing goes to the socket.
pub(in super::super) struct Stream {
    incoming: Incoming,
    outgoing: Write,
}

/// Where lapin's reads come from.
enum Incoming {
    /// What the task leaves it.
    Walked { pipe: pipe::Reader, _task: Task },
    /// The socket: nothing is taken out.
    Whole(Read),
}

impl Stream {
    /// Begins to read the socket in a task of its own; lapin gets what is not taken out.
    pub(in super::super) fn walked(incoming: Read, outgoing: Write, outlets: Outlets) -> Self {
        let (writer, reader) = pipe::pipe();
        let task = tokio::spawn(async move {
            let end = read(incoming, &outlets, &writer).await;
            writer.end(end.err());
        });
        Self { incoming: Incoming::Walked { pipe: reader, _task: Task(task.abort_handle()) }, outgoing }
    }

    /// lapin gets everything.
    pub(in super::super) fn whole(incoming: Read, outgoing: Write) -> Self {
        Self { incoming: Incoming::Whole(incoming), outgoing }
    }
}

/// Ends the reading task with the stream it reads for: then nobody needs the socket any more.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.incoming {
            Incoming::Walked { pipe, .. } => pipe.poll_read(cx, into),
            Incoming::Whole(socket) => Pin::new(socket).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.outgoing).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.outgoing).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.outgoing).poll_shutdown(cx)
    }
}

/// Reads to the socket's end.
async fn read(mut socket: Read, outlets: &Outlets, pipe: &Writer) -> io::Result<()> {
    let mut walker = Walker::new(outlets.frame_max);
    let mut input = BytesMut::with_capacity(CHUNK);
    let mut passed = Vec::new();
    let mut missing = 0;
    let mut pulse = Instant::now();
    let mut reads = 0;
    loop {
        let least = missing.clamp(SMALLEST_READ, LARGEST_READ);
        if input.capacity() - input.len() < least {
            // Into the same chunk again, where no body is a slice of it any more.
            input.reserve(least.max(CHUNK.saturating_sub(input.len())));
        }
        if socket.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        // A channel is registered before the broker is asked to deliver on it, so it is known here before
        // its first delivery is.
        for (channel, outlet) in outlets.take() {
            walker.register(channel, outlet);
        }
        missing = walker.walk(&mut input, &mut passed);
        // First the deliveries: when lapin tells of a consumer's or a channel's end, all that came before
        // is there.
        walker.hand_over();
        let now = Instant::now();
        if passed.is_empty() && walker.is_taking() && now.duration_since(pulse) >= PULSE {
            passed.extend_from_slice(&A_HEARTBEAT);
        }
        if !passed.is_empty() {
            pulse = now;
            pipe.write(&mut passed).await;
        }
        reads += 1;
        if reads % READS_IN_A_ROW == 0 {
            tokio::task::yield_now().await;
        }
    }
}
