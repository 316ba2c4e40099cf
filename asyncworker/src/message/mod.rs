//! What a handler gets: messages with lazy bodies and marks, one by one or as a batch.

mod batch;
mod delivery;
mod event;
mod lazy;
mod properties;

pub use batch::{Batch, Marks};
pub use delivery::Bulk;
pub(crate) use delivery::{Delivery, Entry, Names, Origin};
#[cfg(any(feature = "amqp", feature = "memory"))]
pub(crate) use delivery::{Origins, TOO_LARGE};
pub use event::Event;
#[cfg(feature = "amqp")]
pub(crate) use lazy::LazyProperties;
pub use properties::{HeaderValue, Headers, Properties};

use crate::route::Action;
use crate::throttle::{Throttle, warn_throttled};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// A message whose body is JSON of a `T`, decoded when it is asked for.
///
/// The raw bytes stay beside the decoded value. What becomes of the message is decided when the handler
/// has *ended*: its mark ([`accept`](Self::accept), [`reject`](Self::reject),
/// [`requeue`](Self::requeue)) if it has one, else the route's default. A mark also holds when the
/// handler fails afterwards; the last one wins. A mark set after the handler has ended (from a task it
/// left behind) has no effect.
///
/// As an argument of its own it is the one message of a bulk of one.
pub struct Message<T = serde_json::Value> {
    bulk: Bulk,
    index: usize,
    decoded: OnceLock<Result<T, DecodeError>>,
}

impl<T> Message<T> {
    pub(crate) fn new(bulk: Bulk, index: usize) -> Self {
        Self { bulk, index, decoded: OnceLock::new() }
    }

    fn entry(&self) -> &Entry {
        &self.bulk.entries()[self.index]
    }

    /// The body's bytes as they came.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.entry().delivery.body
    }

    /// The queue it was consumed from.
    #[must_use]
    pub fn queue(&self) -> &str {
        &self.entry().origin.queue
    }

    /// The exchange it was published to; empty for the default exchange.
    #[must_use]
    pub fn exchange(&self) -> &str {
        &self.entry().names().exchange
    }

    /// The routing key it was published with.
    #[must_use]
    pub fn routing_key(&self) -> &str {
        &self.entry().names().routing_key
    }

    /// Whether the broker has delivered it before, to anybody: after a requeue, a crash or a lost
    /// connection. `false` means that nobody saw it before; `true` only that somebody may have.
    #[must_use]
    pub fn redelivered(&self) -> bool {
        self.entry().delivery.redelivered
    }

    /// How often it came back before this time, where the broker counts that (the header
    /// `x-delivery-count` of quorum queues); else `None`.
    #[must_use]
    pub fn delivery_count(&self) -> Option<u64> {
        match self.headers().get("x-delivery-count")? {
            HeaderValue::Int(count) => u64::try_from(*count).ok(),
            _ => None,
        }
    }

    /// The message's properties (AMQP 0-9-1, class `basic`).
    #[must_use]
    pub fn properties(&self) -> &Properties {
        self.entry().delivery.properties.get().unwrap_or(&properties::NONE)
    }

    /// The property `headers`.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.properties().headers
    }

    /// Marks it as done: `basic.ack`.
    pub fn accept(&self) {
        self.entry().mark(Action::Ack);
    }

    /// Marks it as refused for good: `basic.reject` without requeue. It goes to the queue's dead-letter
    /// exchange where there is one; else it is gone.
    pub fn reject(&self) {
        self.entry().mark(Action::Reject);
    }

    /// Marks it to come again: `basic.reject` with requeue.
    pub fn requeue(&self) {
        self.entry().mark(Action::Requeue);
    }

    /// The mark set so far.
    #[must_use]
    pub fn marked(&self) -> Option<Action> {
        self.entry().marked()
    }
}

impl<T: DeserializeOwned> Message<T> {
    /// The body, decoded as JSON at the first call and kept.
    ///
    /// # Errors
    /// The body is not JSON of a `T`. From then on the message takes the route's `on_decode_error`
    /// (unless it is marked), and no other message of its bulk does.
    pub fn body(&self) -> Result<&T, DecodeError> {
        self.decoded.get_or_init(|| decode(self.entry())).as_ref().map_err(Clone::clone)
    }

    /// The body, decoded and owned.
    ///
    /// # Errors
    /// As [`body`](Self::body).
    pub fn into_body(self) -> Result<T, DecodeError> {
        let Self { bulk, index, decoded } = self;
        decoded.into_inner().unwrap_or_else(|| decode(&bulk.entries()[index]))
    }
}

static UNDECODABLE: Throttle = Throttle::new();

/// Decodes the body of an entry, and notes on the entry when that fails.
pub(crate) fn decode<T: DeserializeOwned>(entry: &Entry) -> Result<T, DecodeError> {
    from_json(&entry.delivery.body).map_err(|error| {
        let error = DecodeError {
            queue: Arc::clone(&entry.origin.queue),
            length: entry.delivery.body.len(),
            source: Arc::new(error),
        };
        if !entry.undecodable() {
            entry.set_undecodable();
            warn_throttled!(
                UNDECODABLE,
                queue = &*entry.origin.queue,
                message_id = entry.delivery.properties.get().and_then(|p| p.message_id.as_deref()),
                error = %error.source,
                "a message's body does not decode"
            );
        }
        error
    })
}

/// Of a small body the whole is checked for UTF-8 first, which costs less than to check each of its strings. What is
/// wrong with one is the parser's to say.
fn from_json<T: DeserializeOwned>(body: &[u8]) -> serde_json::Result<T> {
    const SMALL: usize = 1024;
    if body.len() <= SMALL
        && let Ok(text) = std::str::from_utf8(body)
    {
        return serde_json::from_str(text);
    }
    serde_json::from_slice(body)
}

impl<T> fmt::Debug for Message<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("queue", &self.queue())
            .field("routing_key", &self.routing_key())
            .field("redelivered", &self.redelivered())
            .field("length", &self.raw().len())
            .field("marked", &self.marked())
            .finish_non_exhaustive()
    }
}

/// A body that is not JSON of the wanted type. The cause, with line and column, is in
/// [`source`](StdError::source) and in `Display`.
#[derive(Debug, Clone)]
pub struct DecodeError {
    queue: Arc<str>,
    length: usize,
    source: Arc<serde_json::Error>,
}

impl DecodeError {
    /// The queue that the message came from.
    #[must_use]
    pub fn queue(&self) -> &str {
        &self.queue
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the body of {} bytes from queue `{}` does not decode: {}", self.length, self.queue, self.source)
    }
}

impl StdError for DecodeError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::from_json;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    struct Named {
        #[allow(dead_code, reason = "its Debug is compared")]
        name: String,
    }

    #[test]
    fn a_small_body_decodes_and_fails_as_one_that_is_read_as_octets() {
        let bodies: [&[u8]; 6] = [
            "{\"name\": \"Jürgen\"}".as_bytes(),
            b"{\"name\": \"\\u00fc\"}",
            b"{\"name\": \"a\xff\"}",
            b"{\"name\": \"a\", \"unknown\": \"\xff\"}",
            b"{\n\"name\": 7}\xff",
            b"{\"name\": ",
        ];
        let text = |result: serde_json::Result<Named>| format!("{result:?}");
        for body in bodies {
            assert_eq!(text(from_json(body)), text(serde_json::from_slice(body)), "{}", body.escape_ascii());
        }
    }
}
