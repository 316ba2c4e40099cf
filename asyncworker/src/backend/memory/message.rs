//! A message as a queue keeps it, and as an inspection shows it.

use crate::message::Properties;
use bytes::Bytes;
use std::sync::Arc;
use tokio::time::Instant;

/// What a publisher sent, and where to.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) exchange: Arc<str>,
    pub(super) routing_key: Arc<str>,
    /// None where the publisher set none; shared by all queues that an exchange put it into.
    pub(super) properties: Option<Arc<Properties>>,
    pub(super) body: Bytes,
}

impl Content {
    /// The properties to keep: most messages have none, and then cost nothing.
    pub(super) fn keep(properties: Properties) -> Option<Arc<Properties>> {
        (properties != Properties::default()).then(|| Arc::new(properties))
    }
}

/// A message in a queue, or delivered from it.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    /// Its place: one more than that of the message before. It keeps it when it comes back.
    pub(super) place: u64,
    pub(super) content: Content,
    pub(super) expires: Option<Instant>,
    /// How often it came back in a way that quorum queues count.
    pub(super) returns: u32,
    pub(super) redelivered: bool,
}

/// A message that waits in a queue of a [`Memory`](crate::Memory).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MemoryMessage {
    /// The body's bytes.
    pub body: Bytes,
    /// Its properties; a dead-lettered message has the header `x-death` among them.
    pub properties: Properties,
    /// The exchange it came by; empty for the default exchange.
    pub exchange: String,
    /// The routing key it came with.
    pub routing_key: String,
    /// Whether it was delivered before.
    pub redelivered: bool,
}

impl From<&Stored> for MemoryMessage {
    fn from(stored: &Stored) -> Self {
        let content = &stored.content;
        Self {
            body: content.body.clone(),
            properties: content.properties.as_deref().cloned().unwrap_or_default(),
            exchange: (&*content.exchange).into(),
            routing_key: (&*content.routing_key).into(),
            redelivered: stored.redelivered,
        }
    }
}
