//! The bucket: deliveries that wait to become a bulk, by size or by time.

use crate::message::Delivery;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Deliveries in the order they came, with the moment each came in.
#[derive(Debug)]
pub(crate) struct Bucket {
    size: usize,
    interval: Duration,
    waiting: VecDeque<(Instant, Delivery)>,
}

impl Bucket {
    pub(crate) fn new(size: usize, interval: Duration) -> Self {
        Self { size, interval, waiting: VecDeque::new() }
    }

    pub(crate) fn put(&mut self, now: Instant, deliveries: impl IntoIterator<Item = Delivery>) {
        self.waiting.extend(deliveries.into_iter().map(|delivery| (now, delivery)));
    }

    /// Whether a bulk is full, or its first message has waited long enough.
    pub(crate) fn is_ready(&self, now: Instant) -> bool {
        self.waiting.len() >= self.size || self.due().is_some_and(|due| due <= now)
    }

    /// When the first message will have waited long enough. An interval beyond what the clock can
    /// count never comes.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.waiting.front().and_then(|(arrival, _)| arrival.checked_add(self.interval))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next bulk: as many as it holds, at most its size.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Delivery> {
        let size = self.size.min(self.waiting.len());
        self.waiting.drain(..size).map(|(_, delivery)| delivery)
    }

    /// Forgets what came by a consumer whose channel is gone: those messages come again.
    pub(crate) fn forget(&mut self, lane: usize) {
        self.waiting.retain(|(_, delivery)| delivery.lane != lane);
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }
}
