//! What lapin takes for its socket, and the tasks that read and write the real one.

use super::Wire;
use super::frame::A_HEARTBEAT;
use super::octets::CHUNK;
use super::outgoing::Outgoing;
use super::pipe::{self, Writer};
use super::pulse::{self, Turn};
use super::walk::Walker;
use bytes::BytesMut;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::task::AbortHandle;
use tokio_util::sync::DropGuard;

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

/// The stream that lapin reads and writes.
pub(in super::super) struct Stream {
    /// What the reading task leaves it.
    incoming: pipe::Reader,
    outgoing: Outgoing,
    tasks: [AbortHandle; 2],
    /// Says that it is gone.
    _gone: DropGuard,
}

impl Stream {
    /// Begins to read and write the socket, in tasks of the connection's own.
    pub(in super::super) fn new(incoming: Read, outgoing: Write, wire: Wire) -> Self {
        let gone = wire.gone.clone().drop_guard();
        let agreed = wire.outgoing.open(outgoing);
        let outgoing = wire.outgoing.clone();
        let writing = tokio::spawn(outgoing.clone().keep_writing());
        let (writer, reader) = pipe::pipe();
        let turn = Arc::new(Turn::default());
        pulse::start(agreed, outgoing.clone(), writer.pulser(), Arc::clone(&turn));
        let reading = tokio::spawn(async move {
            let end = read(incoming, &wire, &writer, &turn).await;
            writer.end(end.err());
        });
        Self { incoming: reader, outgoing, tasks: [reading.abort_handle(), writing.abort_handle()], _gone: gone }
    }
}

/// lapin needs the socket no more, so nobody does.
impl Drop for Stream {
    fn drop(&mut self) {
        self.outgoing.close();
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.incoming.poll_read(cx, into)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.outgoing.poll_write(cx, octets)
    }

    /// What was written is on its way.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.poll_shutdown(cx)
    }
}

/// Reads to the socket's end.
async fn read(mut socket: Read, wire: &Wire, pipe: &Writer, turn: &Turn) -> io::Result<()> {
    let mut walker = Walker::new(wire.frame_max);
    let mut input = BytesMut::with_capacity(CHUNK);
    let mut passed = Vec::new();
    let mut missing = 0;
    let mut pulse = Instant::now();
    let mut reads = 0;
    loop {
        let read = match walker.next(SMALLEST_READ) {
            Some(mut body) => {
                let read = in_turn(turn, &mut reads, socket.read_buf(&mut body)).await?;
                walker.filled(read);
                read
            }
            None => {
                let least = missing.clamp(SMALLEST_READ, LARGEST_READ);
                if input.capacity() - input.len() < least {
                    // Into the same chunk again, where no body is a slice of it any more.
                    input.reserve(least.max(CHUNK.saturating_sub(input.len())));
                }
                in_turn(turn, &mut reads, socket.read_buf(&mut input)).await?
            }
        };
        if read == 0 {
            return Ok(());
        }
        // A channel is registered before the broker is asked to deliver on it, so it is known here before
        // its first delivery is.
        for (channel, outlet) in wire.take_new() {
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
        if reads >= READS_IN_A_ROW {
            reads = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// Reads, and notes that the task has its turn. Counts the reads since others had theirs.
async fn in_turn(
    turn: &Turn,
    reads: &mut usize,
    reading: impl Future<Output = io::Result<usize>>,
) -> io::Result<usize> {
    let mut reading = std::pin::pin!(reading);
    std::future::poll_fn(|cx| {
        turn.comes(cx);
        let read = reading.as_mut().poll(cx);
        *reads = if read.is_pending() { 0 } else { *reads + 1 };
        read
    })
    .await
}
