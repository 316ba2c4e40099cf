//! What processes say to each other, as JSON.

use crate::room::message::Sent;
use crate::room::{RoomEvent, RoomMessage};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// One message over the exchange: what has gathered in a process since its last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Frame {
    /// Whose it is.
    pub(super) process: u64,
    /// Ascending, so that what comes twice is known.
    pub(super) number: u64,
    /// How many changes of its sockets the process has told, or dropped, up to here. Who knows of fewer asks.
    pub(super) version: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) items: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Item {
    /// Something was said in a room.
    Said { room: String, from: Option<String>, body: Value, key: Option<String> },
    /// Something was told to all sockets of a user.
    Told { user: String, from: Option<String>, body: Value, key: Option<String> },
    /// Something has become of a socket of the process; such changes are counted.
    Changed { version: u64, socket: u64, change: Change },
    /// Whoever gets it is to answer by its members.
    Ask,
    /// All sockets of the process, after so many changes.
    Members { version: u64, sockets: Vec<Member> },
    /// The process has no sockets any more, and says nothing further.
    Gone,
}

/// What has become of a socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::room) enum Change {
    Entered {
        user: String,
    },
    Joined {
        room: String,
    },
    Left {
        room: String,
    },
    /// It has left everything.
    Exited,
}

/// A socket, whose it is and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::room) struct Member {
    pub(in crate::room) socket: u64,
    pub(in crate::room) user: String,
    pub(in crate::room) rooms: Vec<String>,
}

/// What waits to be sent; what was said is in memory once, for all who hear it here and for the bridge.
#[derive(Debug, Clone)]
pub(in crate::room) enum Parcel {
    Said(Arc<Sent>),
    Told(Arc<str>, Arc<Sent>),
    Changed { version: u64, socket: u64, change: Change },
}

impl Parcel {
    /// About how many octets it makes.
    pub(super) fn size(&self) -> usize {
        match self {
            // As clients get it, which is written already.
            Self::Said(sent) | Self::Told(_, sent) => sent.json().len(),
            Self::Changed { .. } => 100,
        }
    }

    pub(super) fn into_item(self) -> Option<Item> {
        let (to, sent) = match self {
            Self::Said(sent) => (None, sent),
            Self::Told(user, sent) => (Some(user), sent),
            Self::Changed { version, socket, change } => return Some(Item::Changed { version, socket, change }),
        };
        let key = sent.key.as_deref().map(str::to_owned);
        let RoomEvent::Message { room, from, body } = sent.event.clone() else { return None };
        match to {
            Some(user) => Some(Item::Told { user: user.as_ref().to_owned(), from, body, key }),
            None => Some(Item::Said { room: room?, from, body, key }),
        }
    }
}

/// What was said elsewhere, to be heard here.
pub(super) fn heard(room: Option<&str>, from: Option<String>, body: Value, key: Option<String>) -> Arc<Sent> {
    let message = RoomMessage { body, key: key.map(Into::into) };
    Sent::message(room, from.as_deref(), message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let sent = heard(Some("lobby"), Some("ann".to_owned()), json!({ "price": 1.5 }), Some("a".to_owned()));
        let told = heard(None, None, json!("psst"), None);
        let parcels = [
            Parcel::Said(sent),
            Parcel::Told("bob".into(), told),
            Parcel::Changed { version: 7, socket: 3, change: Change::Joined { room: "lobby".to_owned() } },
        ];
        let mut items: Vec<_> = parcels.into_iter().filter_map(Parcel::into_item).collect();
        assert_eq!(items.len(), 3);
        let sockets = vec![Member { socket: 3, user: "ann".to_owned(), rooms: vec!["lobby".to_owned()] }];
        items.extend([Item::Ask, Item::Members { version: 7, sockets }, Item::Gone]);
        let frame = Frame { process: u64::MAX, number: 1, version: 7, items };
        assert_eq!(serde_json::from_slice::<Frame>(&serde_json::to_vec(&frame).unwrap()).unwrap(), frame);
    }
}
