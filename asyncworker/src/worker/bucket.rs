//! The bucket: deliveries that wait to become a bulk, by size or by time.

use crate::message::Delivery;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Deliveries in the order they came, and when they came.
#[derive(Debug)]
pub(crate) struct Bucket {
    size: usize,
    interval: Duration,
    waiting: VecDeque<Delivery>,
    /// Moments, and how many of those that wait came then. Never 0.
    came: VecDeque<(Instant, usize)>,
}

impl Bucket {
    pub(crate) fn new(size: usize, interval: Duration) -> Self {
        Self { size, interval, waiting: VecDeque::new(), came: VecDeque::new() }
    }

    pub(crate) fn put(&mut self, now: Instant, deliveries: Vec<Delivery>) {
        if deliveries.is_empty() {
            return;
        }
        self.came.push_back((now, deliveries.len()));
        if self.waiting.is_empty() {
            // None of them is moved.
            self.waiting = deliveries.into();
        } else {
            self.waiting.extend(deliveries);
        }
    }

    /// Whether a bulk is full, or its first message has waited long enough.
    pub(crate) fn is_ready(&self, now: Instant) -> bool {
        self.waiting.len() >= self.size || self.due().is_some_and(|due| due <= now)
    }

    /// When the first message will have waited long enough. An interval beyond what the clock can
    /// count never comes.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.came.front().and_then(|(arrival, _)| arrival.checked_add(self.interval))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next bulk: as many as it holds, at most its size.
    pub(crate) fn take(&mut self) -> impl ExactSizeIterator<Item = Delivery> {
        let size = self.size.min(self.waiting.len());
        let mut taken = size;
        while let Some((_, first)) = self.came.front_mut()
            && taken > 0
        {
            let of_these = taken.min(*first);
            taken -= of_these;
            *first -= of_these;
            if *first == 0 {
                self.came.pop_front();
            }
        }
        self.waiting.drain(..size)
    }

    /// Forgets what came by a consumer whose channel is gone: those messages come again.
    pub(crate) fn forget(&mut self, lane: usize) {
        let mut moment = 0;
        let mut of_it = self.came.front().map_or(0, |(_, number)| *number);
        self.waiting.retain(|delivery| {
            while of_it == 0 {
                moment += 1;
                of_it = self.came[moment].1;
            }
            of_it -= 1;
            let stays = delivery.lane != lane;
            self.came[moment].1 -= usize::from(!stays);
            stays
        });
        self.came.retain(|(_, number)| *number > 0);
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
        self.came.clear();
    }
}
