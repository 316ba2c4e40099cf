//! What goes to the socket: lapin's frames and ours, whole and in one order.
//!
//! Whoever has something to send appends it and writes what the socket takes at once: so a settlement wakes
//! nobody. What the socket does not take waits, and a task of the connection goes on with it.

use super::frame::{self, Frame, Seen};
use super::stream::Write;
use std::io;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender as Agreed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::io::AsyncWrite;

/// Beyond this lapin and the publisher wait until the socket has taken some. Settlements do not: the
/// prefetch bounds them.
const LIMIT: usize = 1024 * 1024;
/// An empty buffer keeps no more room than this: what a publisher appends at one turn, or little more.
const KEPT: usize = 512 * 1024;
/// What a connection begins with, once and before any frame: the protocol's name and version.
const PROTOCOL_HEADER: usize = 8;

/// The way out. A clone is the same one.
#[derive(Clone, Default)]
pub(super) struct Outgoing(Arc<Mutex<State>>);

struct State {
    /// `None` before there is one, when lapin has let go of it, and after an error.
    socket: Option<Write>,
    error: Option<io::Error>,
    /// Whole frames, of which the socket has this many octets.
    waiting: Vec<u8>,
    written: usize,
    /// TLS may hold back what it has taken.
    flushed: bool,
    /// The beginning of a frame that lapin has not written to its end.
    beginning: Vec<u8>,
    /// lapin has written nothing yet.
    fresh: bool,
    /// Who may send on a channel, by the channel's number; 0 is nobody. It is numbered, because a channel's
    /// number is another's after it was closed.
    senders: Vec<u64>,
    last_sender: u64,
    /// Something was sent since the last heartbeat.
    sent: bool,
    /// Is told the heartbeat that both sides agree on, in seconds, and by the end of this that there are none
    /// to be sent any more.
    agreed: Option<Agreed<u16>>,
    /// Goes on when the socket takes more.
    task: Waker,
    /// Wait for room.
    lapin: Option<Waker>,
    publisher: Option<Waker>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            socket: None,
            error: None,
            waiting: Vec::new(),
            written: 0,
            flushed: true,
            beginning: Vec::new(),
            fresh: true,
            senders: Vec::new(),
            last_sender: 0,
            sent: false,
            agreed: None,
            task: Waker::noop().clone(),
            lapin: None,
            publisher: None,
        }
    }
}

impl Outgoing {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this is the socket, until [`close`](Self::close). Gives by what the heartbeat is told that
    /// both sides agree on.
    pub(super) fn open(&self, socket: Write) -> Receiver<u16> {
        let (agreed, heartbeat) = std::sync::mpsc::channel();
        let mut state = self.lock();
        state.socket = Some(socket);
        state.agreed = Some(agreed);
        heartbeat
    }

    /// Goes on writing whenever the socket takes more, until it is closed.
    pub(super) async fn keep_writing(self) {
        std::future::poll_fn(|cx| {
            let mut state = self.lock();
            if !state.task.will_wake(cx.waker()) {
                state.task = cx.waker().clone();
            }
            state.write();
            if state.socket.is_some() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }

    /// Lets go of the socket.
    pub(super) fn close(&self) {
        self.lock().let_go();
    }

    /// Takes what lapin writes: all of it, or none while there is no room.
    pub(super) fn poll_write(&self, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        if state.socket.is_none() {
            return Poll::Ready(Err(state.error.take().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())));
        }
        if state.is_full() {
            state.lapin = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.take_from_lapin(octets);
        state.write();
        Poll::Ready(Ok(octets.len()))
    }

    /// Waits until everything is written, then ends the socket's direction.
    pub(super) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        state.write();
        if !state.is_idle() {
            state.lapin = Some(cx.waker().clone());
            return Poll::Pending;
        }
        match &mut state.socket {
            Some(socket) => Pin::new(socket).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Sends a heartbeat, unless something was sent since the last.
    pub(super) fn heartbeat(&self) {
        let mut state = self.lock();
        if !std::mem::take(&mut state.sent) && state.socket.is_some() {
            state.waiting.extend_from_slice(&frame::A_HEARTBEAT);
            state.write();
        }
    }

    /// What sends on this channel until lapin closes it.
    pub(super) fn sender(&self, channel: u16) -> Sender {
        let mut state = self.lock();
        state.last_sender += 1;
        let (place, own) = (usize::from(channel), state.last_sender);
        if state.senders.len() <= place {
            state.senders.resize(place + 1, 0);
        }
        state.senders[place] = own;
        Sender { outgoing: self.clone(), channel, own }
    }
}

/// Sends frames on one channel, past lapin.
///
/// lapin's own `channel.close` or `channel.close-ok` is its end: what is sent later is dropped, because a
/// frame on a closed channel would end the connection. AMQP 0-9-1 has the broker ignore what it gets after
/// its own `channel.close` and before the answer.
#[derive(Clone)]
pub(in super::super) struct Sender {
    outgoing: Outgoing,
    channel: u16,
    own: u64,
}

impl Sender {
    pub(in super::super) fn channel(&self) -> u16 {
        self.channel
    }

    /// Puts what `append` appends, whole frames of this channel, on its way, behind all that is on its way
    /// already. Never waits. The answer is nothing where the channel is closed; then `append` is not called.
    pub(in super::super) fn send<R>(&self, append: impl FnOnce(&mut Vec<u8>) -> R) -> Option<R> {
        let mut state = self.outgoing.lock();
        if state.socket.is_none() || state.senders.get(usize::from(self.channel)) != Some(&self.own) {
            return None;
        }
        let appended = append(&mut state.waiting);
        state.sent = true;
        state.write();
        Some(appended)
    }

    /// Whether so much is on its way that a publisher should wait for [`room`](Self::room).
    pub(in super::super) fn is_full(&self) -> bool {
        self.outgoing.lock().is_full()
    }

    /// Waits until what is on its way is below a bound, or there is no socket any more. For one task a
    /// connection.
    ///
    /// Cancel safe.
    pub(in super::super) async fn room(&self) {
        std::future::poll_fn(|cx| {
            let mut state = self.outgoing.lock();
            if state.socket.is_some() && state.is_full() {
                state.publisher = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }
}

impl State {
    fn is_full(&self) -> bool {
        self.waiting.len() - self.written >= LIMIT
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.flushed
    }

    /// Moves lapin's whole frames to those that wait; a frame's beginning is kept until the rest is there,
    /// so that nothing of ours gets into it.
    fn take_from_lapin(&mut self, octets: &[u8]) {
        self.beginning.extend_from_slice(octets);
        let mut at = 0;
        if self.fresh {
            if self.beginning.len() < PROTOCOL_HEADER {
                return;
            }
            self.fresh = false;
            at = PROTOCOL_HEADER;
        }
        loop {
            match Frame::at(&self.beginning[at..], usize::MAX) {
                Seen::Whole(frame) => {
                    self.notice(&frame, at);
                    at += frame.length();
                }
                Seen::Part(_) => break,
                // lapin sends none; the broker would say what is wrong with it.
                Seen::Broken => at = self.beginning.len(),
            }
        }
        self.sent |= at > 0;
        self.waiting.extend(self.beginning.drain(..at));
    }

    /// Behind the end of a channel, or of the connection, nothing of ours may follow.
    fn notice(&mut self, frame: &Frame, at: usize) {
        if frame.kind != frame::METHOD {
            return;
        }
        let payload = frame.payload(&self.beginning[at..]);
        match frame::method(payload) {
            Some(frame::CHANNEL_CLOSE | frame::CHANNEL_CLOSE_OK) => {
                if let Some(sender) = self.senders.get_mut(usize::from(frame.channel)) {
                    *sender = 0;
                }
            }
            Some(frame::CONNECTION_TUNE_OK) => {
                // Class, method, channel-max (16), frame-max (32), heartbeat (16).
                if let (Some(agreed), Some(&[b0, b1])) = (&self.agreed, payload.get(10..12)) {
                    let _ = agreed.send(u16::from_be_bytes([b0, b1]));
                }
            }
            Some(frame::CONNECTION_CLOSE | frame::CONNECTION_CLOSE_OK) => {
                self.senders.clear();
                self.agreed = None;
            }
            _ => {}
        }
    }

    /// Writes what the socket takes now.
    fn write(&mut self) {
        if let Err(error) = self.try_write() {
            self.error = Some(error);
            self.let_go();
        } else if !self.is_full() {
            self.wake();
        }
    }

    fn try_write(&mut self) -> io::Result<()> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        // Where it pends, it is the task that goes on, whoever has come here.
        let mut cx = Context::from_waker(&self.task);
        while self.written < self.waiting.len() {
            match Pin::new(&mut *socket).poll_write(&mut cx, &self.waiting[self.written..]) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(octets)) => {
                    self.written += octets;
                    self.flushed = false;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    if self.written >= LIMIT {
                        self.waiting.drain(..self.written);
                        self.written = 0;
                    }
                    return Ok(());
                }
            }
        }
        self.written = 0;
        self.waiting.clear();
        self.waiting.shrink_to(KEPT);
        if !self.flushed {
            match Pin::new(socket).poll_flush(&mut cx) {
                Poll::Ready(flushed) => {
                    flushed?;
                    self.flushed = true;
                }
                Poll::Pending => {}
            }
        }
        Ok(())
    }

    fn let_go(&mut self) {
        self.socket = None;
        self.agreed = None;
        self.waiting = Vec::new();
        self.written = 0;
        self.task.wake_by_ref();
        self.wake();
    }

    fn wake(&mut self) {
        for waker in [self.lapin.take(), self.publisher.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}
