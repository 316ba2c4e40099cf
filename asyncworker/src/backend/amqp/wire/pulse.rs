//! Heartbeats that go on while handlers block the runtime's threads.
//!
//! A handler that computes for a minute, or calls what blocks, keeps tokio from running anything else. The
//! broker then hears nothing from us and ends the connection; and lapin, when it runs again, finds that it has
//! heard nothing from the broker. So a thread of the connection's own, which tokio does not know, sends a
//! heartbeat where nothing else was sent, and gives lapin one while the reading task does not answer. It does
//! nothing a message, and wakes twice a heartbeat.

use super::outgoing::Outgoing;
use super::pipe::Pulser;
use futures_util::task::AtomicWaker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::task::Context;
use std::time::Duration;

/// Whether the reading task gets its turn.
#[derive(Default)]
pub(super) struct Turn {
    came: AtomicBool,
    task: AtomicWaker,
}

impl Turn {
    /// The task has its turn.
    pub(super) fn comes(&self, cx: &Context<'_>) {
        self.task.register(cx.waker());
        self.came.store(true, Ordering::Release);
    }

    /// Whether it had one since it was asked last, and asks again.
    fn came(&self) -> bool {
        let came = self.came.swap(false, Ordering::AcqRel);
        self.task.wake();
        came
    }
}

/// Starts the thread. It waits for the heartbeat that both sides agree on, in seconds, and ends when nobody can
/// tell it any more.
pub(super) fn start(agreed: Receiver<u16>, outgoing: Outgoing, pipe: Pulser, reading: Arc<Turn>) {
    let beat = move || {
        let Ok(seconds @ 1..) = agreed.recv() else { return };
        let interval = Duration::from_secs(seconds.into()) / 2;
        while let Err(RecvTimeoutError::Timeout) = agreed.recv_timeout(interval) {
            outgoing.heartbeat();
            if !reading.came() {
                pipe.heartbeat();
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("asyncworker-pulse".into()).spawn(beat) {
        tracing::warn!(%error, "no thread for heartbeats: a handler that blocks may cost the connection");
    }
}
