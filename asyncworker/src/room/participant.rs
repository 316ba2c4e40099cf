//! A socket of a user.

use super::Rooms;
use super::message::{RoomEvent, RoomMessage};
use super::outbox::Outbox;
use super::registry::Id;
use std::fmt;
use std::sync::Arc;

/// One socket of one user: what it hears, what it says, and in which rooms it is. Dropped, it leaves them all.
#[must_use = "dropped, it leaves"]
pub struct Participant {
    rooms: Rooms,
    id: Id,
    pub(super) user: Arc<str>,
    outbox: Arc<Outbox>,
}

impl fmt::Debug for Participant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Participant")
            .field("user", &self.user)
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        self.rooms.lock().exit(self.id);
    }
}

impl Participant {
    pub(super) fn new(rooms: Rooms, id: Id, user: Arc<str>, outbox: Arc<Outbox>) -> Self {
        Self { rooms, id, user, outbox }
    }

    /// Whose it is.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Joins a room, of which all who are there hear, this one among them. Gives whether it was not there yet.
    pub fn join(&self, room: &str) -> bool {
        self.rooms.lock().join(room, self.id).is_some()
    }

    /// Leaves a room, of which all who stay hear. Gives whether it was there.
    pub fn leave(&self, room: &str) -> bool {
        self.rooms.lock().leave(room, self.id).is_some()
    }

    /// Lets this participant hear who is in the room, in its place among those who come and leave; as a rule at its own
    /// coming, so that its client can keep the list from then on.
    pub fn hear_members(&self, room: &str) {
        self.rooms.tell_members(room, &self.outbox);
    }

    /// Says this to all in the room, itself among them if it is there: a text, a JSON value, or what [`RoomMessage::json`]
    /// makes of what is `Serialize`. Gives how many participants it is for.
    pub fn broadcast(&self, room: &str, message: impl Into<RoomMessage>) -> usize {
        self.rooms.say(room, Some(&self.user), None, message.into())
    }

    /// Says this to all in the room but this participant; other sockets of the same user hear it.
    pub fn broadcast_to_others(&self, room: &str, message: impl Into<RoomMessage>) -> usize {
        self.rooms.say(room, Some(&self.user), Some(self.id), message.into())
    }

    /// Says this to all sockets of the user and to nobody else. Gives how many there are.
    pub fn tell(&self, user: &str, message: impl Into<RoomMessage>) -> usize {
        self.rooms.tell_from(user, Some(&self.user), message.into())
    }

    /// What it hears next; `None` once it was disconnected for not keeping up.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn next(&self) -> Option<RoomEvent> {
        Some(self.outbox.next().await?.event.clone())
    }

    /// How many messages wait for it.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.outbox.waiting()
    }

    /// How many messages were dropped because it did not keep up.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.outbox.dropped()
    }

    pub(super) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }
}
