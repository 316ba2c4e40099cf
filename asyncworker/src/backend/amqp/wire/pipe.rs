//! The pipe by which lapin gets the frames that are its own.

use super::frame::A_HEARTBEAT;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::io::ReadBuf;

/// Beyond this nothing more is read from the socket until lapin has taken what is there.
const LIMIT: usize = 1024 * 1024;
/// An empty pipe keeps no more room than this.
const KEPT: usize = 64 * 1024;

#[derive(Default)]
struct State {
    octets: Vec<u8>,
    /// How many of them lapin has.
    taken: usize,
    /// Nothing follows; perhaps because of an error.
    ended: bool,
    error: Option<io::Error>,
    /// Nobody reads any more.
    closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

type Shared = Arc<Mutex<State>>;

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn pipe() -> (Writer, Reader) {
    let shared = Shared::default();
    (Writer(Arc::clone(&shared)), Reader(shared))
}

/// The end that is written. Dropped before it was ended, it ends with an error: a reader that is gone
/// must not leave lapin waiting.
pub(super) struct Writer(Shared);

impl Writer {
    /// Hands these over and leaves the buffer empty, once the pipe has room.
    ///
    /// Cancel safe: either all of them are handed over or none.
    pub(super) async fn write(&self, octets: &mut Vec<u8>) {
        std::future::poll_fn(|cx| {
            let mut state = lock(&self.0);
            if state.octets.len() - state.taken >= LIMIT && !state.closed {
                state.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            if state.octets.is_empty() {
                std::mem::swap(&mut state.octets, octets);
            } else {
                state.octets.append(octets);
            }
            wake(state, |state| state.reader.take());
            Poll::Ready(())
        })
        .await;
    }

    /// What gives lapin heartbeats beside this.
    pub(super) fn pulser(&self) -> Pulser {
        Pulser(Arc::clone(&self.0))
    }

    /// Nothing follows.
    pub(super) fn end(&self, error: Option<io::Error>) {
        let mut state = lock(&self.0);
        if !state.ended {
            state.ended = true;
            state.error = error;
            wake(state, |state| state.reader.take());
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end(Some(io::ErrorKind::BrokenPipe.into()));
    }
}

/// Gives lapin heartbeats of ours, between the frames that are written.
pub(super) struct Pulser(Shared);

impl Pulser {
    /// One heartbeat, unless lapin leaves what it has.
    pub(super) fn heartbeat(&self) {
        let mut state = lock(&self.0);
        if state.octets.is_empty() && !state.ended {
            state.octets.extend_from_slice(&A_HEARTBEAT);
            wake(state, |state| state.reader.take());
        }
    }
}

/// The end that lapin reads.
pub(super) struct Reader(Shared);

impl Reader {
    pub(super) fn poll_read(&self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.0);
        let waiting = state.octets.get(state.taken..).unwrap_or_default();
        if !waiting.is_empty() {
            let length = waiting.len().min(into.remaining());
            into.put_slice(&waiting[..length]);
            state.taken += length;
            if state.taken == state.octets.len() {
                state.taken = 0;
                state.octets.clear();
                state.octets.shrink_to(KEPT);
            }
            if state.octets.len() - state.taken < LIMIT {
                wake(state, |state| state.writer.take());
            }
            return Poll::Ready(Ok(()));
        }
        if let Some(error) = state.error.take() {
            return Poll::Ready(Err(error));
        }
        if state.ended {
            return Poll::Ready(Ok(()));
        }
        if !state.reader.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.reader = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.closed = true;
        wake(state, |state| state.writer.take());
    }
}

/// Wakes when the lock is free again: who wakes will want it.
fn wake(mut state: MutexGuard<'_, State>, whom: impl FnOnce(&mut State) -> Option<Waker>) {
    let waker = whom(&mut state);
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}
