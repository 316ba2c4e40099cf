//! What is said in rooms, and what participants hear.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// What somebody says: a text, or any other JSON. Texts and [`Value`]s become one by themselves; of any other value it is made
/// by [`json`](Self::json), because that can fail.
///
/// ```
/// use asyncworker::{RoomMessage, Rooms};
/// use serde::Serialize;
///
/// #[derive(Serialize)]
/// struct Price { of: String, cents: u64 }
///
/// fn tell(rooms: &Rooms, price: &Price) -> Result<(), serde_json::Error> {
///     rooms.broadcast("prices", RoomMessage::json(price)?.key(&price.of));
///     rooms.broadcast("prices", "a text");
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RoomMessage {
    pub(super) body: Value,
    pub(super) key: Option<Arc<str>>,
}

impl RoomMessage {
    /// This value, as JSON.
    ///
    /// # Errors
    /// It cannot be written as JSON: a map whose keys are not strings, say.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        Ok(serde_json::to_value(value)?.into())
    }

    /// A later message with the same key makes this one of no use: [`Overflow::Coalesce`](crate::Overflow::Coalesce).
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into().into());
        self
    }
}

impl From<Value> for RoomMessage {
    fn from(body: Value) -> Self {
        Self { body, key: None }
    }
}

impl From<String> for RoomMessage {
    fn from(text: String) -> Self {
        Value::String(text).into()
    }
}

impl From<&str> for RoomMessage {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// What a participant hears. As JSON, which is what a client gets:
/// `{"type": "message", "room": "lobby", "from": "ann", "body": "hello"}`, and
/// `{"type": "joined", "room": "lobby", "user": "ann", "sockets": 1, "members": 7}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
#[non_exhaustive]
pub enum RoomEvent {
    /// Somebody said something.
    Message {
        /// In this room; `None` where it is for the user alone.
        room: Option<String>,
        /// Who did; `None` for the app itself.
        from: Option<String>,
        /// What.
        body: Value,
    },
    /// A socket has joined a room, maybe the participant's own.
    Joined {
        /// The room.
        room: String,
        /// Whose socket it is.
        user: String,
        /// How many the user has there now: with 1, the user has come.
        sockets: usize,
        /// How many sockets are there, all in all.
        members: usize,
    },
    /// Who is in a room, as this participant [asked](crate::Participant::hear_members): the comings and goings before are in
    /// it, those after follow.
    Members {
        /// The room.
        room: String,
        /// By how many sockets each user is there.
        members: BTreeMap<String, usize>,
    },
    /// A socket has left a room.
    Left {
        /// The room.
        room: String,
        /// Whose socket it was.
        user: String,
        /// How many the user still has there: with 0, the user has gone.
        sockets: usize,
        /// How many sockets are there, all in all.
        members: usize,
    },
}

/// What is in the queues of all it is for: one allocation, and written as JSON once.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) event: RoomEvent,
    pub(super) key: Option<Arc<str>>,
    json: OnceLock<bytes::Bytes>,
}

impl Sent {
    fn new(event: RoomEvent, key: Option<Arc<str>>) -> Arc<Self> {
        Arc::new(Self { event, key, json: OnceLock::new() })
    }

    pub(super) fn message(room: Option<&str>, from: Option<&str>, message: RoomMessage) -> Arc<Self> {
        let event =
            RoomEvent::Message { room: room.map(str::to_owned), from: from.map(str::to_owned), body: message.body };
        Self::new(event, message.key)
    }

    pub(super) fn joined(room: &str, user: &str, sockets: usize, members: usize) -> Arc<Self> {
        Self::new(RoomEvent::Joined { room: room.to_owned(), user: user.to_owned(), sockets, members }, None)
    }

    pub(super) fn left(room: &str, user: &str, sockets: usize, members: usize) -> Arc<Self> {
        Self::new(RoomEvent::Left { room: room.to_owned(), user: user.to_owned(), sockets, members }, None)
    }

    pub(super) fn members(room: &str, members: BTreeMap<String, usize>) -> Arc<Self> {
        Self::new(RoomEvent::Members { room: room.to_owned(), members }, None)
    }

    /// As a client gets it.
    pub(super) fn json(&self) -> bytes::Bytes {
        // Strings, numbers and a `Value`: that can always be written.
        self.json.get_or_init(|| serde_json::to_vec(&self.event).unwrap_or_default().into()).clone()
    }
}
