//! A queue: what is ready, in order, and what it does with what comes back.

use super::history::History;
use super::message::{Content, Stored};
use crate::message::{HeaderValue, Headers};
use crate::topology;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A queue by its place among the broker's queues. It stays when the queue is deleted, so that what is
/// late finds a queue that does not exist and never another one.
pub(super) type QueueId = usize;

pub(super) struct Queue {
    pub(super) name: Arc<str>,
    pub(super) vhost: Arc<str>,
    /// False between a deletion and the next declaration.
    pub(super) exists: bool,
    /// As it was declared; None when it came into being by a push or a consumer.
    pub(super) declared: Option<topology::Queue>,
    pub(super) policy: Policy,
    pub(super) unsettled: usize,
    /// The epochs of those that consume it; the next in turn is the first.
    pub(super) consumers: VecDeque<u64>,
    /// Whether a consumer has been woken and has not come yet.
    pub(super) woken: bool,
    pub(super) history: History,
    next_place: u64,
    /// What was never delivered, by place because it is only ever added to at the end.
    fresh: VecDeque<Stored>,
    /// What came back.
    returned: BTreeMap<u64, Stored>,
}

/// What the arguments of a queue's declaration mean.
#[derive(Debug, Default)]
pub(super) struct Policy {
    pub(super) quorum: bool,
    pub(super) delivery_limit: Option<u32>,
    pub(super) ttl: Option<Duration>,
    pub(super) max_length: Option<usize>,
    pub(super) overflow: Overflow,
    pub(super) dead_letter_exchange: Option<String>,
    pub(super) dead_letter_routing_key: Option<Arc<str>>,
}

/// Who gives way in a full queue.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overflow {
    /// The oldest message.
    #[default]
    DropHead,
    /// The new message, refused.
    RejectPublish,
    /// The new message, refused and dead-lettered.
    RejectPublishDeadLetter,
}

impl Policy {
    pub(super) fn of(arguments: &Headers) -> Self {
        let text = |name: &str| arguments.get(name).and_then(HeaderValue::as_str);
        // Below zero is RabbitMQ's way to say "no limit" where it allows it at all.
        let number = |name: &str| arguments.get(name).and_then(HeaderValue::as_i64).and_then(|n| u64::try_from(n).ok());
        Self {
            quorum: text("x-queue-type") == Some("quorum"),
            delivery_limit: number("x-delivery-limit").and_then(|limit| u32::try_from(limit).ok()),
            ttl: number("x-message-ttl").map(Duration::from_millis),
            max_length: number("x-max-length").and_then(|length| usize::try_from(length).ok()),
            overflow: match text("x-overflow") {
                Some("reject-publish") => Overflow::RejectPublish,
                Some("reject-publish-dlx") => Overflow::RejectPublishDeadLetter,
                _ => Overflow::DropHead,
            },
            dead_letter_exchange: text("x-dead-letter-exchange").map(str::to_owned),
            dead_letter_routing_key: text("x-dead-letter-routing-key").map(Into::into),
        }
    }
}

impl Queue {
    pub(super) fn new(vhost: &Arc<str>, name: &str) -> Self {
        Self {
            name: name.into(),
            vhost: Arc::clone(vhost),
            exists: true,
            declared: None,
            policy: Policy::default(),
            unsettled: 0,
            consumers: VecDeque::new(),
            woken: false,
            history: History::default(),
            next_place: 0,
            fresh: VecDeque::new(),
            returned: BTreeMap::new(),
        }
    }

    pub(super) fn declare(&mut self, as_asked: topology::Queue) {
        self.exists = true;
        self.policy = Policy::of(&as_asked.arguments);
        self.declared = Some(as_asked);
    }

    /// Deletes it. What it has settled is still known.
    pub(super) fn delete(&mut self) {
        self.exists = false;
        self.declared = None;
        self.policy = Policy::default();
        self.unsettled = 0;
        self.consumers.clear();
        self.woken = false;
        self.purge();
    }

    pub(super) fn auto_delete(&self) -> bool {
        self.declared.as_ref().is_some_and(|queue| queue.auto_delete)
    }

    pub(super) fn push(&mut self, content: Content, expires: Option<Instant>) {
        let place = self.next_place;
        self.next_place += 1;
        self.fresh.push_back(Stored { place, content, expires, returns: 0, redelivered: false });
    }

    /// Puts a message back to its place.
    pub(super) fn give_back(&mut self, stored: Stored) {
        self.returned.insert(stored.place, stored);
    }

    pub(super) fn ready(&self) -> usize {
        self.fresh.len() + self.returned.len()
    }

    pub(super) fn head(&self) -> Option<&Stored> {
        let fresh = self.fresh.front();
        match self.returned.first_key_value() {
            Some((place, returned)) if fresh.is_none_or(|fresh| *place < fresh.place) => Some(returned),
            _ => fresh,
        }
    }

    pub(super) fn pop(&mut self) -> Option<Stored> {
        match self.returned.first_entry() {
            Some(entry) if self.fresh.front().is_none_or(|fresh| *entry.key() < fresh.place) => Some(entry.remove()),
            _ => self.fresh.pop_front(),
        }
    }

    pub(super) fn purge(&mut self) -> usize {
        let purged = self.ready();
        self.fresh.clear();
        self.returned.clear();
        purged
    }

    /// What is ready, in order.
    pub(super) fn messages(&self) -> Vec<&Stored> {
        let mut messages: Vec<_> = self.returned.values().chain(&self.fresh).collect();
        messages.sort_by_key(|stored| stored.place);
        messages
    }

    /// Marks a message as one that comes again. False when it has come back too often.
    pub(super) fn count_return(&self, stored: &mut Stored) -> bool {
        stored.redelivered = true;
        if !self.policy.quorum {
            return true;
        }
        stored.returns = stored.returns.saturating_add(1);
        self.policy.delivery_limit.is_none_or(|limit| stored.returns <= limit)
    }
}
