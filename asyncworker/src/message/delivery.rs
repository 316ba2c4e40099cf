//! A delivery as the engine carries it, and the bulk that handlers share.

use super::lazy::LazyProperties;
use crate::route::Action;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// One message as its source delivered it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Delivery {
    /// Which of the route's consumers it came by: its index among the route's queues.
    pub(crate) lane: usize,
    /// The generation of that consumer's channel. A tag means nothing outside its epoch.
    pub(crate) epoch: u64,
    /// The delivery tag.
    pub(crate) tag: u64,
    pub(crate) queue: Arc<str>,
    pub(crate) exchange: Arc<str>,
    pub(crate) routing_key: Arc<str>,
    pub(crate) redelivered: bool,
    pub(crate) properties: LazyProperties,
    pub(crate) body: Bytes,
    /// What is broken about it, where its source could not read it: then it has no properties, no handler
    /// sees it, and it is refused by itself.
    pub(crate) malformed: Option<&'static str>,
}

/// Of a delivery whose body is over the route's limit.
#[cfg(any(feature = "amqp", feature = "memory"))]
pub(crate) const TOO_LARGE: &str = "its body is larger than max_body_size of the route";

const MARKED: [Action; 3] = [Action::Ack, Action::Reject, Action::Requeue];
const MARK: u8 = 0b0011;
const UNDECODABLE: u8 = 0b0100;

/// A delivery and what the handler said of it: the mark in the two low bits (0 none, else the place in
/// `MARKED` plus one), and whether its body was asked for and did not decode.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) delivery: Delivery,
    said: AtomicU8,
}

impl Entry {
    fn new(delivery: Delivery) -> Self {
        Self { delivery, said: AtomicU8::new(0) }
    }

    /// The last mark wins.
    pub(crate) fn mark(&self, action: Action) {
        let mark = match action {
            Action::Ack => 1,
            Action::Reject => 2,
            Action::Requeue => 3,
        };
        let _ = self.said.fetch_update(Ordering::AcqRel, Ordering::Acquire, |said| Some((said & !MARK) | mark));
    }

    pub(crate) fn marked(&self) -> Option<Action> {
        let mark = usize::from(self.said.load(Ordering::Acquire) & MARK);
        mark.checked_sub(1).and_then(|place| MARKED.get(place).copied())
    }

    pub(crate) fn set_undecodable(&self) {
        self.said.fetch_or(UNDECODABLE, Ordering::AcqRel);
    }

    pub(crate) fn undecodable(&self) -> bool {
        self.said.load(Ordering::Acquire) & UNDECODABLE != 0
    }
}

/// The messages that one run of a handler gets, with their marks. A clone is the same bulk.
///
/// Handlers see it as [`Batch`](crate::Batch), [`Message`](crate::Message) or
/// [`Body`](crate::Body); a [`Layer`](crate::Layer) and an [`Extract`](crate::Extract) of your own see
/// it as it is.
#[derive(Debug, Clone)]
pub struct Bulk {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    route: Arc<str>,
    entries: Entries,
}

/// A lone entry, which is the common case, needs no allocation of its own.
#[derive(Debug)]
enum Entries {
    One([Entry; 1]),
    Many(Box<[Entry]>),
}

impl Bulk {
    pub(crate) fn new(route: Arc<str>, deliveries: impl IntoIterator<Item = Delivery>) -> Self {
        let mut entries = deliveries.into_iter().map(Entry::new);
        let entries = match (entries.next(), entries.size_hint()) {
            (Some(one), (0, Some(0))) => Entries::One([one]),
            (first, _) => Entries::Many(first.into_iter().chain(entries).collect()),
        };
        Self { shared: Arc::new(Shared { route, entries }) }
    }

    /// The name of the route.
    #[must_use]
    pub fn route(&self) -> &str {
        &self.shared.route
    }

    /// How many messages it holds; at least one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Whether it holds none, which a bulk of the engine never does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// Its messages, with bodies of type `T` that are decoded when asked for. Marks set on them count.
    #[must_use]
    pub fn messages<T>(&self) -> Vec<super::Message<T>> {
        (0..self.len()).map(|index| super::Message::new(self.clone(), index)).collect()
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.shared.entries {
            Entries::One(one) => one,
            Entries::Many(many) => many,
        }
    }
}
