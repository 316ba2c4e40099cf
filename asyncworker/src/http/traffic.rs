//! What a connection is at, between those that see a part of it: its stream, its bodies and its service.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// What a connection is at.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    unread: AtomicBool,
    answers: AtomicUsize,
    blocked: AtomicBool,
    senseless: AtomicBool,
}

/// An answer that is not whole yet.
#[derive(Debug)]
pub(super) struct Answering(Arc<Traffic>);

impl Traffic {
    /// A request has come; its answer is under way until this is dropped.
    pub(super) fn answering(self: &Arc<Self>) -> Answering {
        self.answers.fetch_add(1, Relaxed);
        Answering(Arc::clone(self))
    }

    /// The body of a request was dropped before its end.
    pub(super) fn leave_unread(&self) {
        self.unread.store(true, Relaxed);
    }

    pub(super) fn is_unread(&self) -> bool {
        self.unread.load(Relaxed)
    }

    /// What still comes makes no sense any more.
    pub(super) fn leave_senseless(&self) {
        self.senseless.store(true, Relaxed);
    }

    pub(super) fn is_senseless(&self) -> bool {
        self.senseless.load(Relaxed)
    }

    /// Whether the client does not take what is written.
    pub(super) fn block(&self, blocked: bool) {
        self.blocked.store(blocked, Relaxed);
    }

    /// Whether there is no answer to wait for: the connection idles, or a head does not come to its end.
    pub(super) fn is_quiet(&self) -> bool {
        self.answers.load(Relaxed) == 0 && !self.blocked.load(Relaxed)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answers.fetch_sub(1, Relaxed);
    }
}
