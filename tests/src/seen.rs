//! What handlers saw, and what holds them up.

use asyncworker::{Batch, Event, Message};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;

/// A list that handlers append to and tests read.
#[derive(Debug)]
pub struct Log<T>(Arc<Mutex<Vec<T>>>);

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> Log<T> {
    fn items(&self) -> MutexGuard<'_, Vec<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn push(&self, item: T) {
        self.items().push(item);
    }

    pub fn all(&self) -> Vec<T> {
        self.items().clone()
    }

    pub fn len(&self) -> usize {
        self.items().len()
    }

    pub fn is_empty(&self) -> bool {
        self.items().is_empty()
    }
}

/// A message as a handler saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    pub body: String,
    pub queue: String,
    pub redelivered: bool,
}

impl<T> From<&Message<T>> for Sight {
    fn from(message: &Message<T>) -> Self {
        Self {
            body: String::from_utf8_lossy(message.raw()).into_owned(),
            queue: message.queue().into(),
            redelivered: message.redelivered(),
        }
    }
}

/// An event as a handler saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSight {
    pub path: String,
    pub name: String,
    pub id: String,
    pub data: String,
    pub redelivered: bool,
}

impl<T> From<&Event<T>> for EventSight {
    fn from(event: &Event<T>) -> Self {
        Self {
            path: event.path().into(),
            name: event.name().into(),
            id: event.id().into(),
            data: String::from_utf8(event.raw().to_vec()).expect("an event is UTF-8"),
            redelivered: event.redelivered(),
        }
    }
}

/// The bulks that a handler saw, in the order its runs began.
#[derive(Debug, Clone, Default)]
pub struct Seen(Log<Vec<Sight>>);

impl Seen {
    pub fn batch<T>(&self, batch: &Batch<Message<T>>) {
        self.0.push(batch.iter().map(Sight::from).collect());
    }

    pub fn message<T>(&self, message: &Message<T>) {
        self.0.push(vec![message.into()]);
    }

    pub fn bulks(&self) -> Vec<Vec<String>> {
        self.0.all().into_iter().map(|bulk| bulk.into_iter().map(|sight| sight.body).collect()).collect()
    }

    pub fn sizes(&self) -> Vec<usize> {
        self.0.items().iter().map(Vec::len).collect()
    }

    pub fn all(&self) -> Vec<Sight> {
        self.0.all().into_iter().flatten().collect()
    }

    pub fn bodies(&self) -> Vec<String> {
        self.all().into_iter().map(|sight| sight.body).collect()
    }

    /// Of each time it was seen: whether it was redelivered.
    pub fn times(&self, body: &str) -> Vec<bool> {
        self.all().into_iter().filter(|sight| sight.body == body).map(|sight| sight.redelivered).collect()
    }

    /// Messages seen, each time counted.
    pub fn len(&self) -> usize {
        self.0.items().iter().map(Vec::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until handlers have seen this many.
    pub async fn wait(&self, messages: usize) {
        crate::until(&format!("{messages} messages seen"), crate::LIMIT, || self.len() >= messages).await;
    }
}

/// Holds handlers until the test lets them go on.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Semaphore>);

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }
}

impl Gate {
    pub async fn pass(&self) {
        self.0.acquire().await.expect("a gate is never closed").forget();
    }

    pub fn let_pass(&self, handlers: usize) {
        self.0.add_permits(handlers);
    }

    pub fn open(&self) {
        self.0.add_permits(1 << 30);
    }
}
