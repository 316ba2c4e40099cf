//! The queue of a participant: bounded, and filled without waiting.

use super::message::Sent;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What becomes of a message for which a participant's queue has no room, because its client does not keep up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// The participant is disconnected, and what waits for it is dropped: nobody misses a message without knowing. Its
    /// websocket is closed with 1008 (policy violation).
    Disconnect,
    /// The oldest message that waits is dropped.
    DropOldest,
    /// A message with a [key](super::RoomMessage::key) takes the place of the one with the same key that waits, whether
    /// the queue is full or not. Where there is none and the queue is full, the oldest message is dropped.
    Coalesce,
}

pub(super) struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
    closed: CancellationToken,
    capacity: usize,
    overflow: Overflow,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Arc<Sent>>,
    dropped: u64,
}

impl Outbox {
    pub(super) fn new(capacity: usize, overflow: Overflow) -> Self {
        let (queue, filled, closed) = (Mutex::default(), Notify::new(), CancellationToken::new());
        Self { queue, filled, closed, capacity, overflow }
    }

    pub(super) fn push(&self, sent: &Arc<Sent>) {
        let mut queue = self.lock();
        if self.closed.is_cancelled() {
            return;
        }
        if self.overflow == Overflow::Coalesce
            && sent.key.is_some()
            && let Some(older) = queue.waiting.iter_mut().find(|older| older.key == sent.key)
        {
            *older = Arc::clone(sent);
            queue.dropped += 1;
            return;
        }
        if queue.waiting.len() >= self.capacity {
            if self.overflow == Overflow::Disconnect {
                queue.dropped += queue.waiting.len() as u64 + 1;
                queue.waiting = VecDeque::new();
                self.closed.cancel();
                return;
            }
            queue.waiting.pop_front();
            queue.dropped += 1;
        }
        queue.waiting.push_back(Arc::clone(sent));
        drop(queue);
        self.filled.notify_one();
    }

    /// The next one; `None` once it is closed.
    pub(super) async fn next(&self) -> Option<Arc<Sent>> {
        let next = async {
            loop {
                if let Some(sent) = self.lock().waiting.pop_front() {
                    return sent;
                }
                self.filled.notified().await;
            }
        };
        self.closed.run_until_cancelled(next).await
    }

    /// Cancelled once it is closed.
    pub(super) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
