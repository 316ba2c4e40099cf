//! Channels: one a consumer and epoch, with delivery tags of its own.

use super::broker::State;
use super::dead_letter::Reason;
use super::message::{Content, Stored};
use super::queue::{Queue, QueueId};
use crate::backend::Subscription;
use crate::message::{Delivery, Names, Origin, Origins, TOO_LARGE};
use crate::route::Action;
use crate::worker::Frame;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Numbers the channels of the process, so that no two epochs are alike.
static EPOCHS: AtomicU64 = AtomicU64::new(1);

pub(super) struct Channel {
    /// None once the queue is deleted: what is still settled settles nothing.
    queue: Option<QueueId>,
    consuming: bool,
    prefetch: usize,
    next_tag: u64,
    origins: Origins,
    /// What is this consumer's share and has not been fetched yet.
    outgoing: VecDeque<Stored>,
    unsettled: BTreeMap<u64, Stored>,
    line: Arc<Line>,
}

/// What a channel tells its consumer's task.
#[derive(Default)]
pub(super) struct Line {
    /// There is something to fetch, or the channel is gone.
    pub(super) wake: Notify,
    /// Why it is gone.
    pub(super) lost: OnceLock<Cause>,
}

/// Why a channel was closed by the broker.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Cause {
    #[error("the connection was lost")]
    Disconnected,
    #[error("the broker cancelled the consumer: its queue was deleted")]
    QueueDeleted,
    #[error("{0}")]
    Refused(String),
}

impl Channel {
    fn has_credit(&self) -> bool {
        self.outgoing.len() + self.unsettled.len() < self.prefetch
    }

    /// Takes what a frame names out of the unsettled deliveries. False when the tag is not among them,
    /// which is an error to RabbitMQ also where `multiple` would cover others. Tag 0 with `multiple` is
    /// all there are.
    fn claim(&mut self, tag: u64, multiple: bool, claimed: &mut Vec<Stored>) -> bool {
        if !multiple {
            claimed.extend(self.unsettled.remove(&tag));
            return !claimed.is_empty();
        }
        if tag == 0 {
            claimed.extend(std::mem::take(&mut self.unsettled).into_values());
            return true;
        }
        let known = self.unsettled.contains_key(&tag);
        if known {
            let rest = self.unsettled.split_off(&(tag + 1));
            claimed.extend(std::mem::replace(&mut self.unsettled, rest).into_values());
        }
        known
    }
}

impl State {
    /// Opens a channel that consumes. None where the queue was deleted.
    pub(super) fn open(&mut self, subscription: &Subscription) -> Option<(u64, Arc<Line>)> {
        let Subscription { vhost, queue, prefetch, .. } = subscription;
        let id = match self.find_any(vhost, queue) {
            Some(id) => self.queues[id].exists.then_some(id)?,
            None => self.queue(vhost, queue),
        };
        let epoch = EPOCHS.fetch_add(1, Ordering::Relaxed);
        let line = Arc::new(Line::default());
        let channel = Channel {
            queue: Some(id),
            consuming: true,
            // 0 is no limit, as in `basic.qos`; the engine never asks for that.
            prefetch: if *prefetch == 0 { usize::MAX } else { usize::from(*prefetch) },
            next_tag: 1,
            origins: Origins::new(subscription.lane, epoch, Arc::clone(&subscription.queue)),
            outgoing: VecDeque::new(),
            unsettled: BTreeMap::new(),
            line: Arc::clone(&line),
        };
        self.channels.insert(epoch, channel);
        self.queues[id].consumers.push_back(epoch);
        Some((epoch, line))
    }

    /// Wakes a consumer that can take what is ready, unless one is on its way.
    pub(super) fn wake(&mut self, id: QueueId) {
        let queue = &mut self.queues[id];
        if queue.woken || queue.ready() == 0 {
            return;
        }
        let mut consumers = queue.consumers.iter().filter_map(|epoch| self.channels.get(epoch));
        if let Some(channel) = consumers.find(|channel| channel.has_credit()) {
            queue.woken = true;
            channel.line.wake.notify_one();
        }
    }

    /// Shares what is ready among the consumers in turn, each up to its prefetch. All of them but the one
    /// that asks are woken.
    pub(super) fn dispatch(&mut self, id: QueueId, asking: Option<u64>) {
        let queue = &mut self.queues[id];
        queue.woken = false;
        let mut now = None;
        let mut without_credit = 0;
        while let Some(head) = queue.head() {
            // What stood behind a message without a time to live may have expired there.
            let expired = head.expires.is_some_and(|expires| expires <= *now.get_or_insert_with(Instant::now));
            if expired {
                self.dying.extend(queue.pop().map(|stored| (id, stored, Reason::Expired)));
                continue;
            }
            if without_credit == queue.consumers.len() {
                break;
            }
            queue.consumers.rotate_left(1);
            let Some(epoch) = queue.consumers.back().copied() else { break };
            match self.channels.get_mut(&epoch) {
                Some(channel) if channel.has_credit() => {
                    without_credit = 0;
                    channel.outgoing.extend(queue.pop());
                    queue.unsettled += 1;
                    if asking != Some(epoch) {
                        channel.line.wake.notify_one();
                    }
                }
                _ => without_credit += 1,
            }
        }
    }

    /// Everything that is ready and this consumer's share, as deliveries. None when the channel is gone.
    pub(super) fn take(&mut self, epoch: u64, subscription: &Subscription) -> Option<(Arc<Origin>, Vec<Delivery>)> {
        let channel = self.channels.get(&epoch)?;
        if let (Some(id), true) = (channel.queue, channel.consuming) {
            self.dispatch(id, Some(epoch));
        }
        let channel = self.channels.get_mut(&epoch)?;
        let Some(queue) = channel.queue.and_then(|id| self.queues.get(id)) else {
            return Some((Arc::clone(channel.origins.batch()), Vec::new()));
        };
        let mut deliveries = Vec::with_capacity(channel.outgoing.len());
        for stored in channel.outgoing.drain(..) {
            let tag = channel.next_tag;
            channel.next_tag += 1;
            let Content { exchange, routing_key, .. } = &stored.content;
            let names = channel.origins.name(deliveries.is_empty(), exchange, routing_key);
            deliveries.push(deliver(names, subscription.max_body, tag, &stored, queue));
            channel.unsettled.insert(tag, stored);
        }
        Some((Arc::clone(channel.origins.batch()), deliveries))
    }

    /// Settles, as the frames say. A frame that names no outstanding delivery closes the channel.
    pub(super) fn settle(&mut self, epoch: u64, frames: &[Frame]) {
        let mut claimed = std::mem::take(&mut self.claimed);
        for frame in frames {
            let Some(channel) = self.channels.get_mut(&epoch) else { break };
            self.frames += 1;
            let (tag, multiple) = match *frame {
                Frame::Ack { tag, multiple } => (tag, multiple),
                Frame::Reject { tag, .. } => (tag, false),
                Frame::Nack { tag } => (tag, true),
            };
            if !channel.claim(tag, multiple, &mut claimed) {
                self.refuse(epoch, format!("PRECONDITION_FAILED - unknown delivery tag {tag}"));
                break;
            }
            match channel.queue {
                Some(id) => self.conclude(id, frame, &mut claimed),
                None => claimed.clear(),
            }
        }
        self.claimed = claimed;
        if let Some(id) = self.channels.get(&epoch).and_then(|channel| channel.queue) {
            self.wake(id);
        }
    }

    fn conclude(&mut self, id: QueueId, frame: &Frame, claimed: &mut Vec<Stored>) {
        self.changed = true;
        let queue = &mut self.queues[id];
        queue.unsettled -= claimed.len();
        match *frame {
            Frame::Ack { .. } => {
                for stored in claimed.drain(..) {
                    queue.history.record(stored.place, Action::Ack);
                }
            }
            Frame::Reject { requeue: false, .. } => {
                for stored in claimed.drain(..) {
                    queue.history.record(stored.place, Action::Reject);
                    self.dying.push_back((id, stored, Reason::Rejected));
                }
            }
            Frame::Reject { requeue: true, .. } => {
                for stored in claimed.drain(..) {
                    self.queues[id].history.record(stored.place, Action::Requeue);
                    self.come_again(id, stored);
                }
            }
            Frame::Nack { .. } => {
                for mut stored in claimed.drain(..) {
                    stored.redelivered = true;
                    self.give_back(id, stored);
                }
            }
        }
    }

    /// Puts a delivered message back, unless it has come back too often.
    fn come_again(&mut self, id: QueueId, mut stored: Stored) {
        if self.queues[id].count_return(&mut stored) {
            self.give_back(id, stored);
        } else {
            self.dying.push_back((id, stored, Reason::DeliveryLimit));
        }
    }

    /// Delivers nothing more to a consumer. What was delivered can still be settled.
    pub(super) fn cancel(&mut self, epoch: u64) {
        let Some(channel) = self.channels.get_mut(&epoch) else { return };
        channel.consuming = false;
        let Some(id) = channel.queue else { return };
        let outgoing = std::mem::take(&mut channel.outgoing);
        self.queues[id].unsettled -= outgoing.len();
        for stored in outgoing {
            self.give_back(id, stored);
        }
        self.without_consumer(id, epoch);
    }

    /// Closes a channel; what it has not settled goes back. With a cause its consumer is told.
    pub(super) fn close(&mut self, epoch: u64, cause: Option<Cause>) {
        let Some(channel) = self.channels.remove(&epoch) else { return };
        self.changed = true;
        if let Some(cause) = cause {
            channel.line.lose(cause);
        }
        let Some(id) = channel.queue else { return };
        self.queues[id].unsettled -= channel.outgoing.len() + channel.unsettled.len();
        for stored in channel.outgoing {
            self.give_back(id, stored);
        }
        for stored in channel.unsettled.into_values() {
            self.come_again(id, stored);
        }
        if channel.consuming {
            self.without_consumer(id, epoch);
        } else {
            self.wake(id);
        }
    }

    /// Closes a channel over a mistake of its client.
    fn refuse(&mut self, epoch: u64, error: String) {
        tracing::error!(error, "the broker closed a channel");
        self.channel_errors.push(error.clone());
        self.close(epoch, Some(Cause::Refused(error)));
    }

    pub(super) fn disconnect(&mut self) {
        let mut epochs: Vec<_> = self.channels.keys().copied().collect();
        epochs.sort_unstable();
        for epoch in epochs {
            self.close(epoch, Some(Cause::Disconnected));
        }
    }

    /// A queue has lost a consumer.
    fn without_consumer(&mut self, id: QueueId, epoch: u64) {
        let queue = &mut self.queues[id];
        queue.consumers.retain(|other| *other != epoch);
        // It may have been woken for what another one must take now.
        queue.woken = false;
        if queue.consumers.is_empty() && queue.auto_delete() {
            self.delete(id);
        } else {
            self.wake(id);
        }
    }

    /// Deletes a queue with its messages and bindings, and cancels its consumers.
    pub(super) fn delete(&mut self, id: QueueId) {
        self.changed = true;
        let queue = &mut self.queues[id];
        queue.delete();
        if let Some(vhost) = self.vhosts.get_mut(&*queue.vhost) {
            vhost.exchanges.retain(|_, exchange| !exchange.unbind(id));
        }
        self.channels.retain(|_, channel| {
            if channel.queue == Some(id) {
                channel.queue = None;
                if channel.consuming {
                    channel.line.lose(Cause::QueueDeleted);
                    return false;
                }
            }
            true
        });
    }
}

impl Line {
    fn lose(&self, cause: Cause) {
        let _ = self.lost.set(cause);
        self.wake.notify_one();
    }
}

fn deliver(names: Option<Arc<Names>>, max_body: usize, tag: u64, stored: &Stored, queue: &Queue) -> Delivery {
    let content = &stored.content;
    let mut properties = content.properties.as_deref().map(|properties| Box::new(properties.clone()));
    if queue.policy.quorum && stored.returns > 0 {
        let headers = &mut properties.get_or_insert_default().headers;
        headers.insert("x-delivery-count".into(), i64::from(stored.returns).into());
    }
    Delivery {
        tag,
        names,
        redelivered: stored.redelivered,
        properties: properties.into(),
        body: content.body.clone(),
        malformed: (content.body.len() > max_body).then_some(TOO_LARGE),
    }
}
