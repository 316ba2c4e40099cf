//! Many messages at once.

use super::{Bulk, Delivery, Event, Message, Names, Origin, Properties};
use crate::route::Action;
use bytes::Bytes;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The messages of one bulk, in the order they came: a slice of `M`, or owned by iterating over it.
///
/// The `M` of a queue's route is [`Message<T>`](Message), that of a stream's [`Event<T>`](Event).
pub struct Batch<M> {
    bulk: Bulk,
    items: Vec<M>,
}

impl<T> Batch<Message<T>> {
    pub(crate) fn of(bulk: &Bulk) -> Self {
        Self { bulk: bulk.clone(), items: bulk.messages() }
    }

    /// A batch for a unit test, as if these bodies had come from this queue.
    ///
    /// ```
    /// # use asyncworker::prelude::*;
    /// let batch: Batch<Message> = Batch::from_json("orders", [r#"{"id": 1}"#, "{"]);
    /// assert_eq!(batch[0].body().unwrap()["id"], 1);
    /// assert!(batch[1].body().is_err());
    /// ```
    pub fn from_json<B: Into<Bytes>>(queue: &str, bodies: impl IntoIterator<Item = B>) -> Self {
        let names = Names { routing_key: queue.into(), ..Names::default() }.into();
        let origin = Arc::new(Origin { queue: queue.into(), names, ..Origin::default() });
        let deliveries = bodies
            .into_iter()
            .zip(1..)
            .map(|(body, tag)| (Arc::clone(&origin), Delivery { tag, body: body.into(), ..Delivery::default() }));
        Self::of(&Bulk::new(None, &"test".into(), deliveries))
    }
}

impl<T> Batch<Event<T>> {
    pub(crate) fn of(bulk: &Bulk) -> Self {
        Self { bulk: bulk.clone(), items: bulk.events() }
    }

    /// A batch for a unit test, as if these events had come from this path: names and data.
    ///
    /// ```
    /// # use asyncworker::prelude::*;
    /// let batch: Batch<Event> = Batch::from_events("/v2/events", [("created", r#"{"id": 1}"#), ("deleted", "{")]);
    /// assert_eq!((batch[0].name(), &batch[0].body().unwrap()["id"]), ("created", &serde_json::json!(1)));
    /// assert!(batch[1].body().is_err());
    /// ```
    pub fn from_events<N: Into<String>, B: Into<Bytes>>(path: &str, events: impl IntoIterator<Item = (N, B)>) -> Self {
        let origin = Arc::new(Origin { queue: path.into(), ..Origin::default() });
        let deliveries = events.into_iter().zip(1..).map(|((name, data), tag)| {
            let properties = Some(Box::new(Properties::of_event(name, None))).into();
            (Arc::clone(&origin), Delivery { tag, properties, body: data.into(), ..Delivery::default() })
        });
        Self::of(&Bulk::new(None, &"test".into(), deliveries))
    }
}

impl<M> Batch<M> {
    /// A view of the marks that outlives the batch, so that a unit test can ask what a handler said.
    ///
    /// ```
    /// # use asyncworker::prelude::*;
    /// # async fn reject_all(batch: Batch<Message>) { for message in &batch { message.reject() } }
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let batch = Batch::from_json("orders", ["1", "2"]);
    /// let marks = batch.marks();
    /// reject_all(batch).await;
    /// assert_eq!(marks.all(), [Some(Action::Reject), Some(Action::Reject)]);
    /// # });
    /// ```
    #[must_use]
    pub fn marks(&self) -> Marks {
        Marks { bulk: self.bulk.clone() }
    }
}

impl<M> Deref for Batch<M> {
    type Target = [M];

    fn deref(&self) -> &[M] {
        &self.items
    }
}

impl<M> IntoIterator for Batch<M> {
    type Item = M;
    type IntoIter = std::vec::IntoIter<M>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

impl<'a, M> IntoIterator for &'a Batch<M> {
    type Item = &'a M;
    type IntoIter = std::slice::Iter<'a, M>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}

impl<M: fmt::Debug> fmt::Debug for Batch<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.items).finish()
    }
}

/// The marks of a batch, for a unit test.
#[derive(Debug, Clone)]
pub struct Marks {
    bulk: Bulk,
}

impl Marks {
    /// The mark of each message, in order.
    #[must_use]
    pub fn all(&self) -> Vec<Option<Action>> {
        self.bulk.entries().iter().map(super::Entry::marked).collect()
    }
}
