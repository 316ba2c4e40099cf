//! A delivery as the engine carries it, and the bulk that handlers share.

use super::lazy::LazyProperties;
use crate::route::Action;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// What a batch of deliveries has in common, so that it is not moved and counted a message.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    /// Which of the route's consumers they came by: its index among the route's queues.
    pub(crate) lane: usize,
    /// The generation of that consumer's channel. A tag means nothing outside its epoch.
    pub(crate) epoch: u64,
    pub(crate) queue: Arc<str>,
    /// Of those that have none of their own.
    pub(crate) names: Arc<Names>,
}

/// What a message was published to, and with which key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    pub(crate) exchange: Arc<str>,
    pub(crate) routing_key: Arc<str>,
}

/// One message as its source delivered it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Delivery {
    /// The delivery tag.
    pub(crate) tag: u64,
    /// Where they are not those of its batch.
    pub(crate) names: Option<Arc<Names>>,
    pub(crate) redelivered: bool,
    pub(crate) properties: LazyProperties,
    pub(crate) body: Bytes,
    /// What is broken about it, where its source could not read it: then it has no properties, no handler
    /// sees it, and it is refused by itself.
    pub(crate) malformed: Option<&'static str>,
}

#[cfg(any(feature = "amqp", feature = "memory"))]
impl Names {
    /// Whether it is published so. In octets, as they come: what is the same was read before.
    pub(crate) fn are(&self, exchange: &[u8], routing_key: &[u8]) -> bool {
        self.exchange.as_bytes() == exchange && self.routing_key.as_bytes() == routing_key
    }

    /// These in their place; one that does not change stays shared.
    fn changed(&self, exchange: &str, routing_key: &str) -> Self {
        let name = |last: &Arc<str>, name: &str| if **last == *name { Arc::clone(last) } else { name.into() };
        Self { exchange: name(&self.exchange, exchange), routing_key: name(&self.routing_key, routing_key) }
    }
}

/// The origin of a channel's deliveries while they come.
#[cfg(any(feature = "amqp", feature = "memory"))]
#[derive(Debug, Clone)]
pub(crate) struct Origins {
    batch: Arc<Origin>,
    /// The last names that were not the batch's.
    last: Arc<Names>,
}

#[cfg(any(feature = "amqp", feature = "memory"))]
impl Origins {
    pub(crate) fn new(lane: usize, epoch: u64, queue: Arc<str>) -> Self {
        let names = Arc::default();
        Self { batch: Origin { lane, epoch, queue, names: Arc::clone(&names) }.into(), last: names }
    }

    /// Of the batch that comes.
    pub(crate) fn batch(&self) -> &Arc<Origin> {
        &self.batch
    }

    /// The names for a delivery to carry: none, where they are its batch's. Those of the first of a batch are.
    pub(crate) fn name(&mut self, is_first: bool, exchange: &str, routing_key: &str) -> Option<Arc<Names>> {
        let (exchange_octets, key_octets) = (exchange.as_bytes(), routing_key.as_bytes());
        if self.batch.names.are(exchange_octets, key_octets) {
            return None;
        }
        if !self.last.are(exchange_octets, key_octets) {
            self.last = self.last.changed(exchange, routing_key).into();
        }
        if is_first {
            let Origin { lane, epoch, queue, .. } = &*self.batch;
            let (queue, names) = (Arc::clone(queue), Arc::clone(&self.last));
            self.batch = Origin { lane: *lane, epoch: *epoch, queue, names }.into();
            return None;
        }
        Some(Arc::clone(&self.last))
    }
}

impl Delivery {
    pub(crate) fn names<'a>(&'a self, origin: &'a Origin) -> &'a Names {
        self.names.as_ref().unwrap_or(&origin.names)
    }
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
    pub(crate) origin: Arc<Origin>,
    pub(crate) delivery: Delivery,
    said: AtomicU8,
}

impl Entry {
    fn new((origin, delivery): (Arc<Origin>, Delivery)) -> Self {
        Self { origin, delivery, said: AtomicU8::new(0) }
    }

    pub(crate) fn names(&self) -> &Names {
        self.delivery.names(&self.origin)
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
/// Handlers see it as [`Batch`](crate::Batch), [`Message`](crate::Message), [`Event`](crate::Event) or
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
    Many(Vec<Entry>),
}

impl Bulk {
    /// A bulk of these, in the room of one that has ended if there is such: unless its handler has left a message to
    /// somebody.
    pub(crate) fn new(
        room: Option<Self>,
        route: &Arc<str>,
        deliveries: impl IntoIterator<Item = (Arc<Origin>, Delivery)>,
    ) -> Self {
        let entries = deliveries.into_iter().map(Entry::new);
        if let Some(mut bulk) = room
            && let Some(Shared { entries: Entries::Many(many), .. }) = Arc::get_mut(&mut bulk.shared)
        {
            many.clear();
            many.extend(entries);
            return bulk;
        }
        Self { shared: Arc::new(Shared { route: Arc::clone(route), entries: Entries::Many(entries.collect()) }) }
    }

    /// The same for a bulk of one.
    pub(crate) fn one(room: Option<Self>, route: &Arc<str>, origin: &Arc<Origin>, delivery: Delivery) -> Self {
        if let Some(mut bulk) = room
            && let Some(Shared { entries: Entries::One([entry]), .. }) = Arc::get_mut(&mut bulk.shared)
        {
            // To count it down and up again would cost as much as all the rest here.
            if !Arc::ptr_eq(&entry.origin, origin) {
                entry.origin = Arc::clone(origin);
            }
            entry.delivery = delivery;
            *entry.said.get_mut() = 0;
            return bulk;
        }
        let entries = Entries::One([Entry::new((Arc::clone(origin), delivery))]);
        Self { shared: Arc::new(Shared { route: Arc::clone(route), entries }) }
    }

    /// Lets go of its messages when their handler has ended and no bulk takes its room at once. Nothing, where the
    /// handler has left a message to somebody.
    pub(crate) fn into_room(mut self) -> Option<Self> {
        match &mut Arc::get_mut(&mut self.shared)?.entries {
            Entries::One([entry]) => entry.delivery = Delivery::default(),
            Entries::Many(many) => many.clear(),
        }
        Some(self)
    }

    /// The name of the route.
    #[must_use]
    pub fn route(&self) -> &str {
        &self.shared.route
    }

    /// How many messages it holds; at least one, but in a run of a [`Schedule`](crate::Schedule).
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Whether it holds none, which that of a route never does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// Its messages, with bodies of type `T` that are decoded when asked for. Marks set on them count.
    #[must_use]
    pub fn messages<T>(&self) -> Vec<super::Message<T>> {
        (0..self.len()).map(|index| super::Message::new(self.clone(), index)).collect()
    }

    /// As [`messages`](Self::messages), of a route of events.
    #[must_use]
    pub fn events<T>(&self) -> Vec<super::Event<T>> {
        (0..self.len()).map(|index| super::Event::new(self.clone(), index)).collect()
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.shared.entries {
            Entries::One(one) => one,
            Entries::Many(many) => many,
        }
    }
}
