//! The bucket: deliveries that wait to become a bulk, by size or by time.

use crate::message::{Delivery, Origin};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Deliveries in the order they came, and when they came.
#[derive(Debug)]
pub(crate) struct Bucket {
    size: usize,
    interval: Duration,
    waiting: VecDeque<Delivery>,
    /// The batches of those that wait.
    came: VecDeque<Came>,
    /// Of the one that was taken last.
    origin: Arc<Origin>,
}

/// A batch of which some wait.
#[derive(Debug)]
struct Came {
    at: Instant,
    origin: Arc<Origin>,
    /// Never 0.
    number: usize,
}

impl Bucket {
    pub(crate) fn new(size: usize, interval: Duration) -> Self {
        Self { size, interval, waiting: VecDeque::new(), came: VecDeque::new(), origin: Arc::default() }
    }

    pub(crate) fn put(&mut self, at: Instant, origin: Arc<Origin>, deliveries: Vec<Delivery>) {
        if deliveries.is_empty() {
            return;
        }
        self.came.push_back(Came { at, origin, number: deliveries.len() });
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
        self.came.front().and_then(|came| came.at.checked_add(self.interval))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When the messages of the next bulk came, and how many of them at a time.
    pub(crate) fn next_came(&self) -> impl Iterator<Item = (Instant, usize)> {
        let mut rest = self.size.min(self.waiting.len());
        self.came.iter().map_while(move |came| {
            let number = came.number.min(rest);
            rest -= number;
            (number > 0).then_some((came.at, number))
        })
    }

    /// The next bulk: as many as it holds, at most its size. To be taken to its end.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = (Arc<Origin>, Delivery)> {
        let size = self.size.min(self.waiting.len());
        let came = &mut self.came;
        self.waiting.drain(..size).map(|delivery| {
            let origin = match came.front_mut() {
                Some(first) if first.number > 1 => {
                    first.number -= 1;
                    Arc::clone(&first.origin)
                }
                _ => came.pop_front().map(|last| last.origin).unwrap_or_default(),
            };
            (origin, delivery)
        })
    }

    /// The next message, where that is a bulk.
    pub(crate) fn take_one(&mut self) -> Option<(&Arc<Origin>, Delivery)> {
        let delivery = self.waiting.pop_front()?;
        if self.came.front()?.number == 1 {
            self.origin = self.came.pop_front()?.origin;
            return Some((&self.origin, delivery));
        }
        let first = self.came.front_mut()?;
        first.number -= 1;
        Some((&first.origin, delivery))
    }

    /// Forgets what came by a consumer whose channel is gone: those messages come again.
    pub(crate) fn forget(&mut self, lane: usize) {
        let mut batches = self.came.iter();
        let mut stays = true;
        let mut of_it = 0;
        self.waiting.retain(|_| {
            if of_it == 0
                && let Some(batch) = batches.next()
            {
                of_it = batch.number;
                stays = batch.origin.lane != lane;
            }
            of_it -= 1;
            stays
        });
        self.came.retain(|batch| batch.origin.lane != lane);
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
        self.came.clear();
    }
}
