//! An event of a stream.

use super::{Bulk, DecodeError, Message};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use std::fmt;

/// An event of a path, whose data is JSON of a `T`, decoded when it is asked for.
///
/// What holds of a [`Message`] holds of it: the raw data stays beside the decoded value, what becomes of it is decided
/// when the handler has *ended*, and the last mark wins. A stream has no dead letters and takes nothing back, so
///
/// - accepted and rejected, an event is done with: the stream is resumed after it;
/// - requeued, it is kept by the connection and handled again after a pause, and the stream is not resumed after it
///   until it is done with.
///
/// As an argument of its own it is the one event of a bulk of one.
pub struct Event<T = serde_json::Value>(Message<T>);

impl<T> Event<T> {
    pub(crate) fn new(bulk: Bulk, index: usize) -> Self {
        Self(Message::new(bulk, index))
    }

    /// Its name, the field `event`; `message` where the server gave none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.properties().kind.as_deref().unwrap_or("message")
    }

    /// The last id that the server gave with it or with an event before it; empty where it gave none.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0.properties().message_id.as_deref().unwrap_or_default()
    }

    /// Its data as it came, the lines joined by a line feed. It is UTF-8: what was not was replaced by U+FFFD, as the
    /// standard has it.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        self.0.raw()
    }

    /// The path it came from, as the route names it.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.queue()
    }

    /// Whether this app has handed it to a handler before, and it was requeued. An app that was started again does not
    /// know what the one before it did.
    #[must_use]
    pub fn redelivered(&self) -> bool {
        self.0.redelivered()
    }

    /// Marks it as done.
    pub fn accept(&self) {
        self.0.accept();
    }

    /// Marks it as refused for good: it is done with, and gone.
    pub fn reject(&self) {
        self.0.reject();
    }

    /// Marks it to be handled again, after a pause.
    pub fn requeue(&self) {
        self.0.requeue();
    }

    /// The mark set so far.
    #[must_use]
    pub fn marked(&self) -> Option<crate::Action> {
        self.0.marked()
    }
}

impl<T: DeserializeOwned> Event<T> {
    /// The data, decoded as JSON at the first call and kept.
    ///
    /// # Errors
    /// The data is not JSON of a `T`. From then on the event takes the route's `on_decode_error` (unless it is marked),
    /// and no other event of its bulk does.
    pub fn body(&self) -> Result<&T, DecodeError> {
        self.0.body()
    }

    /// The data, decoded and owned.
    ///
    /// # Errors
    /// As [`body`](Self::body).
    pub fn into_body(self) -> Result<T, DecodeError> {
        self.0.into_body()
    }
}

impl<T> fmt::Debug for Event<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("path", &self.path())
            .field("name", &self.name())
            .field("id", &self.id())
            .field("redelivered", &self.redelivered())
            .field("length", &self.raw().len())
            .field("marked", &self.marked())
            .finish_non_exhaustive()
    }
}
