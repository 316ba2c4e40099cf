//! Rooms: who is in them, what is said there, and to whom it goes.

mod message;
mod outbox;
mod participant;
mod socket;
#[cfg(test)]
mod tests;

pub use message::{RoomEvent, RoomMessage};
pub use outbox::Overflow;
pub use participant::Participant;
pub use socket::{RoomOptions, RoomSocket};

use message::Sent;
use outbox::Outbox;
use std::collections::{BTreeMap, BTreeSet, HashMap};
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

/// A participant's number, in the order they came.
type Id = u64;

#[derive(Default)]
struct Registry {
    rooms: HashMap<Arc<str>, BTreeMap<Id, Seat>>,
    users: HashMap<Arc<str>, BTreeMap<Id, Arc<Outbox>>>,
}

/// A participant in a room.
struct Seat {
    user: Arc<str>,
    outbox: Arc<Outbox>,
}

impl Default for Rooms {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let registry = self.lock();
        let sizes = registry.rooms.iter().map(|(room, seats)| (room, seats.len()));
        f.debug_map().entries(sizes).finish()
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
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let outbox = Arc::new(Outbox::new(self.0.capacity, self.0.overflow));
        self.lock().users.entry(Arc::clone(&user)).or_default().insert(id, Arc::clone(&outbox));
        Participant::new(self.clone(), id, user, outbox)
    }

    /// Says this to all in the room, from nobody. Gives how many participants it is for.
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
        self.lock().rooms.keys().map(|room| room.as_ref().to_owned()).collect()
    }

    /// How many sockets the user has, in rooms or not.
    #[must_use]
    pub fn sockets(&self, user: &str) -> usize {
        self.lock().users.get(user).map_or(0, BTreeMap::len)
    }

    fn say(&self, room: &str, from: Option<&Arc<str>>, except: Option<Id>, message: RoomMessage) -> usize {
        let registry = self.lock();
        let Some((room, seats)) = registry.rooms.get_key_value(room) else { return 0 };
        let sent = Sent::message(Some(room), from, message);
        // Under the lock, so that all get everything in the same order. None of it waits.
        let to = seats.iter().filter(|(id, _)| Some(**id) != except);
        to.map(|(_, seat)| seat.outbox.push(&sent)).count()
    }

    fn tell_from(&self, user: &str, from: Option<&Arc<str>>, message: RoomMessage) -> usize {
        let registry = self.lock();
        let Some(sockets) = registry.users.get(user) else { return 0 };
        let sent = Sent::message(None, from, message);
        sockets.values().map(|outbox| outbox.push(&sent)).count()
    }

    fn join(&self, room: &str, id: Id, user: &Arc<str>, outbox: &Arc<Outbox>) -> bool {
        let mut registry = self.lock();
        let name = registry.rooms.get_key_value(room).map_or_else(|| room.into(), |(name, _)| Arc::clone(name));
        let seats = registry.rooms.entry(Arc::clone(&name)).or_default();
        if seats.contains_key(&id) {
            return false;
        }
        seats.insert(id, Seat { user: Arc::clone(user), outbox: Arc::clone(outbox) });
        let sent = Sent::joined(&name, user, sockets(seats, user), seats.len());
        seats.values().for_each(|seat| seat.outbox.push(&sent));
        true
    }

    fn leave(&self, room: &str, id: Id) -> bool {
        self.lock().leave(room, id)
    }

    fn tell_members(&self, room: &str, outbox: &Outbox) {
        let registry = self.lock();
        // Under the lock, so that it has its place among the comings and goings.
        outbox.push(&Sent::members(room, registry.members(room)));
    }

    /// Leaves everything.
    fn exit(&self, id: Id, user: &str) {
        let mut registry = self.lock();
        let rooms: Vec<_> = registry.rooms.iter().filter(|(_, seats)| seats.contains_key(&id)).collect();
        let rooms: Vec<_> = rooms.into_iter().map(|(room, _)| Arc::clone(room)).collect();
        for room in rooms {
            registry.leave(&room, id);
        }
        if let Some(sockets) = registry.users.get_mut(user) {
            sockets.remove(&id);
            if sockets.is_empty() {
                registry.users.remove(user);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.0.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    fn members(&self, room: &str) -> BTreeMap<String, usize> {
        let mut members = BTreeMap::new();
        for seat in self.rooms.get(room).into_iter().flat_map(BTreeMap::values) {
            *members.entry(seat.user.as_ref().to_owned()).or_default() += 1;
        }
        members
    }

    fn leave(&mut self, room: &str, id: Id) -> bool {
        let Some((name, _)) = self.rooms.get_key_value(room) else { return false };
        let name = Arc::clone(name);
        let Some(seats) = self.rooms.get_mut(room) else { return false };
        let Some(seat) = seats.remove(&id) else { return false };
        let sent = Sent::left(&name, &seat.user, sockets(seats, &seat.user), seats.len());
        seats.values().for_each(|seat| seat.outbox.push(&sent));
        if seats.is_empty() {
            self.rooms.remove(room);
        }
        true
    }
}

fn sockets(seats: &BTreeMap<Id, Seat>, user: &Arc<str>) -> usize {
    seats.values().filter(|seat| seat.user == *user).count()
}
