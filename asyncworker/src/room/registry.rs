//! Who is where, in this process and in those that it is bridged with.

use super::bridge::{Change, Member, Outgoing, Parcel};
use super::message::Sent;
use super::outbox::Outbox;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// The process of the sockets that are here.
pub(super) const HERE: u64 = 0;

/// A socket: the process that it is in, and its number there, in the order they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub(super) process: u64,
    pub(super) number: u64,
}

#[derive(Default)]
pub(super) struct Registry {
    sockets: BTreeMap<Id, Socket>,
    rooms: HashMap<Arc<str>, Seats>,
    users: HashMap<Arc<str>, BTreeSet<Id>>,
    /// How often something of the sockets here has changed.
    version: u64,
    bridge: Option<Arc<Outgoing>>,
}

/// Who is in a room, and what they hear by.
type Seats = BTreeMap<Id, Option<Arc<Outbox>>>;

struct Socket {
    user: Arc<str>,
    /// Nothing, where it is in another process.
    outbox: Option<Arc<Outbox>>,
    rooms: BTreeSet<Arc<str>>,
}

impl Registry {
    /// False, where it is there already.
    pub(super) fn enter(&mut self, id: Id, user: &Arc<str>, outbox: Option<Arc<Outbox>>) -> bool {
        if self.sockets.contains_key(&id) {
            return false;
        }
        self.users.entry(Arc::clone(user)).or_default().insert(id);
        self.sockets.insert(id, Socket { user: Arc::clone(user), outbox, rooms: BTreeSet::new() });
        self.note(id, || Change::Entered { user: user.as_ref().to_owned() });
        true
    }

    /// `None`, where it is there already; else how many of those here hear of it.
    pub(super) fn join(&mut self, room: &str, id: Id) -> Option<usize> {
        let name = self.rooms.get_key_value(room).map_or_else(|| room.into(), |(name, _)| Arc::clone(name));
        let socket = self.sockets.get_mut(&id)?;
        if !socket.rooms.insert(Arc::clone(&name)) {
            return None;
        }
        let (user, outbox) = (Arc::clone(&socket.user), socket.outbox.clone());
        let seats = self.rooms.entry(Arc::clone(&name)).or_default();
        seats.insert(id, outbox);
        let sent = Sent::joined(&name, &user, sockets(&self.users, seats, &user), seats.len());
        let heard = push(seats, &sent, None);
        self.note(id, || Change::Joined { room: room.to_owned() });
        Some(heard)
    }

    /// `None`, where it is not there; else how many of those here hear of it.
    pub(super) fn leave(&mut self, room: &str, id: Id) -> Option<usize> {
        let heard = self.vacate(room, id)?;
        self.note(id, || Change::Left { room: room.to_owned() });
        Some(heard)
    }

    /// Leaves everything. Gives how many of those here hear of it.
    pub(super) fn exit(&mut self, id: Id) -> usize {
        let Some(rooms) = self.sockets.get(&id).map(|socket| socket.rooms.clone()) else { return 0 };
        let heard = rooms.iter().filter_map(|room| self.vacate(room, id)).sum();
        if let Some(socket) = self.sockets.remove(&id)
            && let Some(ids) = self.users.get_mut(&socket.user)
        {
            ids.remove(&id);
            if ids.is_empty() {
                self.users.remove(&socket.user);
            }
        }
        self.note(id, || Change::Exited);
        heard
    }

    fn vacate(&mut self, room: &str, id: Id) -> Option<usize> {
        let socket = self.sockets.get_mut(&id)?;
        let name = socket.rooms.take(room)?;
        let user = Arc::clone(&socket.user);
        let seats = self.rooms.get_mut(room)?;
        seats.remove(&id);
        let sent = Sent::left(&name, &user, sockets(&self.users, seats, &user), seats.len());
        let heard = push(seats, &sent, None);
        if seats.is_empty() {
            self.rooms.remove(room);
        }
        Some(heard)
    }

    /// To those here who are in the room, but for one. Gives how many that are.
    pub(super) fn say(&self, room: &str, except: Option<Id>, sent: &Arc<Sent>) -> usize {
        self.rooms.get(room).map_or(0, |seats| push(seats, sent, except))
    }

    /// To the sockets of the user that are here. Gives how many that are.
    pub(super) fn tell(&self, user: &str, sent: &Arc<Sent>) -> usize {
        let outboxes = self.users.get(user).into_iter().flatten();
        let outboxes = outboxes.filter_map(|id| self.sockets.get(id)?.outbox.as_ref());
        outboxes.map(|outbox| outbox.push(sent)).count()
    }

    pub(super) fn rooms(&self) -> impl Iterator<Item = (&Arc<str>, usize)> {
        self.rooms.iter().map(|(room, seats)| (room, seats.len()))
    }

    /// By how many sockets each user is in the room.
    pub(super) fn members(&self, room: &str) -> BTreeMap<String, usize> {
        let mut members = BTreeMap::new();
        for id in self.rooms.get(room).into_iter().flat_map(BTreeMap::keys) {
            if let Some(socket) = self.sockets.get(id) {
                *members.entry(socket.user.as_ref().to_owned()).or_default() += 1;
            }
        }
        members
    }

    /// How many are in the room, but for one, in all processes.
    pub(super) fn audience(&self, room: &str, except: Option<Id>) -> usize {
        let Some(seats) = self.rooms.get(room) else { return 0 };
        seats.len() - usize::from(except.is_some_and(|id| seats.contains_key(&id)))
    }

    pub(super) fn sockets(&self, user: &str) -> usize {
        self.users.get(user).map_or(0, BTreeSet::len)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.sockets.is_empty() && self.rooms.is_empty() && self.users.is_empty()
    }

    /// Tells other processes of what has become of a socket here, in the order it does.
    fn note(&mut self, id: Id, change: impl FnOnce() -> Change) {
        if id.process == HERE {
            self.version += 1;
            let version = self.version;
            self.send(|| Parcel::Changed { version, socket: id.number, change: change() });
        }
    }

    /// Tells other processes, where there is a bridge.
    pub(super) fn send(&self, parcel: impl FnOnce() -> Parcel) {
        if let Some(bridge) = &self.bridge {
            bridge.push(parcel());
        }
    }
}

/// What a bridge asks and does.
impl Registry {
    pub(super) fn bridge(&self) -> Option<&Arc<Outgoing>> {
        self.bridge.as_ref()
    }

    /// From now on other processes are told of what is said and changes here; of what was before, by
    /// [`snapshot`](Self::snapshot). False, where they are already.
    pub(super) fn attach(&mut self, bridge: &Arc<Outgoing>) -> bool {
        if self.bridge.is_some() {
            return false;
        }
        bridge.begin(self.version);
        self.bridge = Some(Arc::clone(bridge));
        true
    }

    /// Nobody is told any more, and who is in other processes leaves.
    pub(super) fn detach(&mut self) {
        self.bridge = None;
        for id in self.sockets.range(first_of(HERE + 1)..).map(|(id, _)| *id).collect::<Vec<_>>() {
            self.exit(id);
        }
    }

    /// The sockets here, and how often something of them has changed.
    pub(super) fn snapshot(&self) -> (u64, Vec<Member>) {
        let members = self.sockets.range(first_of(HERE)..first_of(HERE + 1)).map(|(id, socket)| Member {
            socket: id.number,
            user: socket.user.as_ref().to_owned(),
            rooms: socket.rooms.iter().map(|room| room.as_ref().to_owned()).collect(),
        });
        (self.version, members.collect())
    }

    /// The sockets of another process.
    pub(super) fn of_process(&self, process: u64) -> Vec<u64> {
        let of_it = self.sockets.range(first_of(process)..).take_while(|(id, _)| id.process == process);
        of_it.map(|(id, _)| id.number).collect()
    }

    /// What makes of the sockets that are known of another process those that it says it has.
    pub(super) fn difference(&self, process: u64, members: Vec<Member>) -> Vec<(u64, Change)> {
        let mut changes = Vec::new();
        let mut known: BTreeSet<u64> = self.of_process(process).into_iter().collect();
        for Member { socket, user, rooms } in members {
            let mut left = BTreeSet::new();
            match self.sockets.get(&Id { process, number: socket }) {
                Some(before) => {
                    known.remove(&socket);
                    left.clone_from(&before.rooms);
                }
                None => changes.push((socket, Change::Entered { user })),
            }
            for room in rooms {
                if !left.remove(room.as_str()) {
                    changes.push((socket, Change::Joined { room }));
                }
            }
            let left = left.into_iter().map(|room| (socket, Change::Left { room: room.as_ref().to_owned() }));
            changes.extend(left);
        }
        changes.extend(known.into_iter().map(|socket| (socket, Change::Exited)));
        changes
    }

    /// What has become of a socket of another process. Gives how many of those here hear of it.
    pub(super) fn apply(&mut self, process: u64, socket: u64, change: Change) -> usize {
        let id = Id { process, number: socket };
        match change {
            Change::Entered { user } => {
                self.enter(id, &user.into(), None);
                0
            }
            Change::Joined { room } => self.join(&room, id).unwrap_or(0),
            Change::Left { room } => self.leave(&room, id).unwrap_or(0),
            Change::Exited => self.exit(id),
        }
    }
}

fn first_of(process: u64) -> Id {
    Id { process, number: 0 }
}

/// How many sockets of the user are in the room.
fn sockets(users: &HashMap<Arc<str>, BTreeSet<Id>>, seats: &Seats, user: &Arc<str>) -> usize {
    users.get(user).into_iter().flatten().filter(|id| seats.contains_key(id)).count()
}

/// Under the registry's lock, so that all get everything in the same order. None of it waits.
fn push(seats: &Seats, sent: &Arc<Sent>, except: Option<Id>) -> usize {
    let here = seats.iter().filter(|(id, _)| Some(**id) != except).filter_map(|(_, outbox)| outbox.as_ref());
    here.map(|outbox| outbox.push(sent)).count()
}
