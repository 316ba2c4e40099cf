//! How far a route has come, for whoever asks while it runs.

use super::window::Stamp;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::Instant;

/// What a worker's loop writes, a few stores a pass, and [`Status`](crate::Status) reads. The fields are read one by
/// one and may be of two passes.
#[derive(Debug)]
pub(crate) struct Progress {
    began: Instant,
    /// Whether the consumer of each lane is registered.
    consuming: Box<[AtomicBool]>,
    unsettled: AtomicUsize,
    /// Milliseconds from the beginning to when the oldest unsettled message came.
    oldest: AtomicU64,
    settled: AtomicU64,
    /// Milliseconds from the beginning to the last settlement.
    settled_at: AtomicU64,
}

impl Progress {
    pub(crate) fn new(lanes: usize) -> Self {
        Self {
            began: Instant::now(),
            consuming: (0..lanes).map(|_| AtomicBool::new(false)).collect(),
            unsettled: AtomicUsize::new(0),
            oldest: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            settled_at: AtomicU64::new(0),
        }
    }

    fn milliseconds(&self, at: Instant) -> u64 {
        u64::try_from((at - self.began).as_millis()).unwrap_or(u64::MAX)
    }

    /// The stamp of a message that comes now.
    pub(super) fn stamp(&self, now: Instant) -> Stamp {
        stamp(self.milliseconds(now))
    }

    pub(super) fn consumes(&self, lane: usize, consumes: bool) {
        if let Some(consuming) = self.consuming.get(lane) {
            consuming.store(consumes, Relaxed);
        }
    }

    /// So many messages are unsettled, and the first of each lane came at these stamps.
    pub(super) fn unsettled(&self, messages: usize, first: impl Iterator<Item = Stamp>, now: Instant) {
        let now = self.milliseconds(now);
        let age = first.map(|first| stamp(now).wrapping_sub(first)).max().unwrap_or_default();
        self.oldest.store(now.saturating_sub(age.into()), Relaxed);
        self.unsettled.store(messages, Relaxed);
    }

    pub(super) fn settled(&self, messages: usize, now: Instant) {
        self.settled.fetch_add(messages as u64, Relaxed);
        self.settled_at.store(self.milliseconds(now), Relaxed);
    }

    pub(crate) fn is_consuming(&self, lane: usize) -> bool {
        self.consuming.get(lane).is_some_and(|consuming| consuming.load(Relaxed))
    }

    pub(crate) fn unsettled_messages(&self) -> usize {
        self.unsettled.load(Relaxed)
    }

    /// How long ago the oldest unsettled message came.
    pub(crate) fn oldest_unsettled(&self) -> Option<Duration> {
        (self.unsettled_messages() > 0).then(|| self.since(&self.oldest))
    }

    pub(crate) fn settled_messages(&self) -> u64 {
        self.settled.load(Relaxed)
    }

    /// How long ago a message was settled.
    pub(crate) fn last_settled(&self) -> Option<Duration> {
        (self.settled_messages() > 0).then(|| self.since(&self.settled_at))
    }

    fn since(&self, milliseconds: &AtomicU64) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(milliseconds.load(Relaxed)))
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a stamp is the milliseconds modulo 2^32")]
fn stamp(milliseconds: u64) -> Stamp {
    milliseconds as Stamp
}
