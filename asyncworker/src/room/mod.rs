//! Rooms: who is in them, what is said there, and to whom it goes.

mod bridge;
mod message;
mod outbox;
mod participant;
mod registry;
mod socket;
#[cfg(test)]
mod tests;

pub use bridge::RoomBridge;
pub use message::{RoomEvent, RoomMessage};
pub use outbox::Overflow;
pub use participant::Participant;
pub use socket::{RoomOptions, RoomSocket};

use bridge::Parcel;
use message::Sent;
use outbox::Outbox;
use registry::{HERE, Id, Registry};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What may wait for a participant, where nothing else is said.
const QUEUE: usize = 256;

/// Rooms, in which what one says reaches all: the state of an app that talks to people.
///
/// A [`Participant`] is one socket of one user; a user may have several. It is in any number of rooms, and leaves them
/// when it is dropped. A room is there as long as somebody is in it.
///
/// What is said waits in a bounded queue of each participant, and nobody waits for anybody: a client that does not read
/// fills its own queue, and then [`Overflow`] says what becomes of it. All who are in a room get what is said there in the
/// same order, with who came and who left in its place.
///
/// Rooms are of one process, unless [`App::bridge_rooms`](crate::App::bridge_rooms) shares them with others. Then all that is
/// counted here counts those in other processes, and the order is the same for all who hear it in one process.
///
/// ```
/// use asyncworker::http::ws::WebSocket;
/// use asyncworker::http::Path;
/// use asyncworker::prelude::*;
/// use asyncworker::Rooms;
///
/// async fn chat(socket: WebSocket, Path((room, user)): Path<(String, String)>, rooms: State<Rooms>) {
///     let me = rooms.enter(user);
///     me.join(&room);
///     let mut socket = me.attach(socket);
///     while let Some(text) = socket.recv().await {
///         me.broadcast(&room, text);
///     }
/// }
///
/// let app = App::new().state(Rooms::new()).endpoint(Endpoint::ws("/rooms/{room}/{user}", chat));
/// ```
#[derive(Clone)]
pub struct Rooms(Arc<Shared>);

struct Shared {
    registry: Mutex<Registry>,
    next: AtomicU64,
    capacity: usize,
    overflow: Overflow,
}

impl Default for Rooms {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.lock().rooms()).finish()
    }
}

impl Rooms {
    /// No rooms yet. 256 messages may wait for each participant; one for whom there are more is disconnected.
    #[must_use]
    pub fn new() -> Self {
        Self::with_queue(QUEUE, Overflow::Disconnect)
    }

    /// No rooms yet, with that many messages that may wait for each participant, at least one, and what becomes of those
    /// that are too many. What is said to many is in memory once.
    #[must_use]
    pub fn with_queue(capacity: usize, overflow: Overflow) -> Self {
        let registry = Mutex::new(Registry::default());
        Self(Arc::new(Shared { registry, next: AtomicU64::new(0), capacity: capacity.max(1), overflow }))
    }

    /// A socket of this user, in no room yet. Who the user is, is the caller's to know.
    #[must_use = "dropped, it leaves"]
    pub fn enter(&self, user: impl Into<String>) -> Participant {
        let user: Arc<str> = user.into().into();
        let id = Id { process: HERE, number: self.0.next.fetch_add(1, Ordering::Relaxed) };
        let outbox = Arc::new(Outbox::new(self.0.capacity, self.0.overflow));
        self.lock().enter(id, &user, Some(Arc::clone(&outbox)));
        Participant::new(self.clone(), id, user, outbox)
    }

    /// Says this to all in the room, from nobody: a text, a JSON value, or what [`RoomMessage::json`] makes of what is
    /// `Serialize`. Gives how many participants it is for.
    pub fn broadcast(&self, room: &str, message: impl Into<RoomMessage>) -> usize {
        self.say(room, None, None, message.into())
    }

    /// Says this to all sockets of the user, in whichever rooms they are, from nobody. Gives how many there are.
    pub fn tell(&self, user: &str, message: impl Into<RoomMessage>) -> usize {
        self.tell_from(user, None, message.into())
    }

    /// Who is in the room, in the order of their names, and by how many sockets each.
    #[must_use]
    pub fn members(&self, room: &str) -> BTreeMap<String, usize> {
        self.lock().members(room)
    }

    /// The rooms that somebody is in.
    #[must_use]
    pub fn rooms(&self) -> BTreeSet<String> {
        self.lock().rooms().map(|(room, _)| room.as_ref().to_owned()).collect()
    }

    /// How many sockets the user has, in rooms or not.
    #[must_use]
    pub fn sockets(&self, user: &str) -> usize {
        self.lock().sockets(user)
    }

    /// How much was not told to other processes since the app has started: [`RoomBridge::queue`] was full, or the broker
    /// did not take it in time. 0 where there is no bridge.
    #[must_use]
    pub fn bridge_dropped(&self) -> u64 {
        self.lock().bridge().map_or(0, |bridge| bridge.dropped())
    }

    fn say(&self, room: &str, from: Option<&str>, except: Option<Id>, message: RoomMessage) -> usize {
        let registry = self.lock();
        let audience = registry.audience(room, except);
        if audience > 0 || registry.bridge().is_some() {
            let sent = Sent::message(Some(room), from, message);
            registry.say(room, except, &sent);
            // Under the same lock, so that others hear it in the order in which it was said here.
            registry.send(|| Parcel::Said(sent));
        }
        audience
    }

    fn tell_from(&self, user: &str, from: Option<&str>, message: RoomMessage) -> usize {
        let registry = self.lock();
        let sockets = registry.sockets(user);
        if sockets > 0 || registry.bridge().is_some() {
            let sent = Sent::message(None, from, message);
            registry.tell(user, &sent);
            registry.send(|| Parcel::Told(user.into(), sent));
        }
        sockets
    }

    fn tell_members(&self, room: &str, outbox: &Outbox) {
        let registry = self.lock();
        // Under the lock, so that it has its place among the comings and goings.
        outbox.push(&Sent::members(room, registry.members(room)));
    }

    fn capacity(&self) -> usize {
        self.0.capacity
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.0.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
