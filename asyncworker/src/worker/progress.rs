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
    lanes: Box<[LaneProgress]>,
    unsettled: AtomicUsize,
    /// Milliseconds from the beginning to when the oldest unsettled message came.
    oldest: AtomicU64,
    settled: AtomicU64,
    /// Milliseconds from the beginning to the last settlement.
    settled_at: AtomicU64,
}

#[derive(Debug, Default)]
struct LaneProgress {
    /// Whether its consumer is registered.
    consuming: AtomicBool,
    /// The last tag that came, while everything that came is settled; 0 else.
    rests_at: AtomicU64,
}

impl Progress {
    pub(crate) fn new(lanes: usize) -> Self {
        Self {
            began: Instant::now(),
            lanes: (0..lanes).map(|_| LaneProgress::default()).collect(),
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
        if let Some(lane) = self.lanes.get(lane) {
            lane.consuming.store(consumes, Relaxed);
        }
    }

    pub(super) fn rests_at(&self, lane: usize, tag: u64) {
        if let Some(lane) = self.lanes.get(lane) {
            lane.rests_at.store(tag, Relaxed);
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
        self.lanes.get(lane).is_some_and(|lane| lane.consuming.load(Relaxed))
    }

    /// The last tag that came on the channel of the lane, if something came and all of it is settled.
    #[cfg(feature = "amqp")]
    pub(crate) fn resting(&self, lane: usize) -> Option<u64> {
        self.lanes.get(lane).map(|lane| lane.rests_at.load(Relaxed)).filter(|tag| *tag != 0)
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
