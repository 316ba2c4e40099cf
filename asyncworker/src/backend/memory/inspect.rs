//! What a test asks the broker in memory.

use super::Memory;
use super::broker::State;
use super::message::MemoryMessage;
use super::queue::Queue;
use crate::route::Action;
use std::pin::pin;
use std::time::Duration;

/// How long an inspection waits for what it was told to wait for: longer than a partial bulk waits by default.
const LONGEST_WAIT: Duration = Duration::from_secs(90);

/// Inspections, in the virtual host of the handle. Of a queue that does not exist they tell that it is empty.
impl Memory {
    /// Waits until handlers have made this many settlements of messages of a queue, at most 90 s of
    /// tokio's time. Gives all that were made so far, ordered by message (first the one that was pushed
    /// first), several of the same message in the order they were made.
    ///
    /// What a shutdown gives back (`basic.nack`) and what a lost connection returns is no settlement. A
    /// queue that is deleted keeps its history. The memory of it is small where messages are settled in
    /// order, at most 16 MiB a queue, and then the oldest is forgotten.
    ///
    /// # Cancel safety
    /// Cancel safe: it only looks.
    pub async fn settled(&self, queue: &str, settlements: usize) -> Vec<Action> {
        let vhost = self.default_vhost();
        let look = |state: &State| {
            let history = &state.queues.get(state.find_any(&vhost, queue)?)?.history;
            (history.total() >= settlements).then(|| history.by_message())
        };
        self.wait_for(look).await.unwrap_or_else(|| {
            let id = self.broker.with(|state| state.find_any(&vhost, queue));
            id.map_or_else(Vec::new, |id| self.broker.with(|state| state.queues[id].history.by_message()))
        })
    }

    /// Waits until a queue has no message left, neither ready nor unsettled, at most 90 s of tokio's time.
    /// Tells whether it came to that.
    ///
    /// # Cancel safety
    /// Cancel safe: it only looks.
    pub async fn empty(&self, queue: &str) -> bool {
        let vhost = self.default_vhost();
        let left = |queue: &Queue| queue.ready() + queue.unsettled;
        let look = |state: &State| {
            let left = state.find(&vhost, queue).map_or(0, |id| left(&state.queues[id]));
            (left == 0).then_some(())
        };
        self.wait_for(look).await.is_some()
    }

    /// Messages that wait in a queue.
    #[must_use]
    pub fn ready(&self, queue: &str) -> usize {
        self.look(queue, Queue::ready)
    }

    /// Messages of a queue that were delivered and are not settled yet.
    #[must_use]
    pub fn unsettled(&self, queue: &str) -> usize {
        self.look(queue, |queue| queue.unsettled)
    }

    /// The messages that wait in a queue, in order.
    #[must_use]
    pub fn messages(&self, queue: &str) -> Vec<MemoryMessage> {
        self.look(queue, |queue| queue.messages().into_iter().map(MemoryMessage::from).collect())
    }

    /// Consumers that a queue has now.
    #[must_use]
    pub fn consumers(&self, queue: &str) -> usize {
        self.look(queue, |queue| queue.consumers.len())
    }

    /// Frames that settled something, in all virtual hosts: fewer than messages where several were
    /// settled at once. Those of a channel that was gone do not count.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.broker.with(|state| state.frames)
    }

    /// Why the broker closed channels over a mistake of the worker, in RabbitMQ's words: empty, unless
    /// asyncworker has a defect.
    #[must_use]
    pub fn channel_errors(&self) -> Vec<String> {
        self.broker.with(|state| state.channel_errors.clone())
    }

    fn look<R: Default>(&self, queue: &str, look: impl FnOnce(&Queue) -> R) -> R {
        let vhost = self.default_vhost();
        self.broker.with(|state| state.find(&vhost, queue).map(|id| look(&state.queues[id]))).unwrap_or_default()
    }

    /// Waits until `look` sees something.
    async fn wait_for<R>(&self, look: impl Fn(&State) -> Option<R>) -> Option<R> {
        let wait = async {
            loop {
                // Listens before it looks, so that nothing happens in between.
                let mut changed = pin!(self.broker.changed.notified());
                changed.as_mut().enable();
                if let Some(seen) = self.broker.with(|state| look(state)) {
                    return seen;
                }
                changed.await;
            }
        };
        tokio::time::timeout(LONGEST_WAIT, wait).await.ok()
    }
}
