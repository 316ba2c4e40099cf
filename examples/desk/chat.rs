//! The chat: rooms, private messages, and who is there.
use asyncworker as app;
use asyncworker::http::ws::CheckedOrigin;
use asyncworker::http::{Path, WebSocket};
use asyncworker::prelude::*;
use asyncworker::{Participant, Rooms};
use serde::Deserialize;
use serde_json::json;

/// `deploys` is where the deployments are posted, too.
const ROOMS: [&str; 3] = ["lobby", "deploys", "random"];

/// One of the rooms that there are.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub struct Room(String);

impl TryFrom<String> for Room {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        if ROOMS.contains(&&*name) { Ok(Self(name)) } else { Err("there is no such room") }
    }
}

/// Who somebody says they are. A real desk would know it from a session.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub struct User(String);

impl TryFrom<String> for User {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        let fits = (1..=32).contains(&name.chars().count()) && !name.contains(char::is_whitespace);
        if fits { Ok(Self(name)) } else { Err("a name has 1 to 32 letters and no space") }
    }
}

impl From<User> for String {
    fn from(user: User) -> Self {
        user.0
    }
}

/// A tab. It says texts, `@bob hello` to bob alone, and `/join random` when it goes to another room.
#[app::ws("/chat/live/{room}/{user}")]
pub async fn live(
    socket: WebSocket,
    Path((mut room, user)): Path<(Room, User)>,
    rooms: State<Rooms>,
    _: CheckedOrigin,
) {
    let me = rooms.enter(user);
    enter(&me, &room);
    let mut socket = me.attach(socket);
    while let Some(text) = socket.recv().await {
        if let Some(name) = text.strip_prefix("/join ") {
            if let Ok(other) = Room::try_from(name.to_owned()) {
                me.leave(&room.0);
                room = other;
                enter(&me, &room);
            }
        } else if let Some((user, text)) = text.strip_prefix('@').and_then(|private| private.split_once(' ')) {
            whisper(&me, user, text);
        } else if !text.trim().is_empty() {
            me.broadcast(&room.0, text);
        }
    }
}

fn enter(me: &Participant, room: &Room) {
    me.join(&room.0);
    me.hear_members(&room.0);
}

/// To all tabs of both.
fn whisper(me: &Participant, to: &str, text: &str) {
    let message = json!({ "to": to, "text": text });
    if me.tell(to, message.clone()) == 0 {
        me.tell(me.user(), json!({ "absent": to }));
    } else if to != me.user() {
        me.tell(me.user(), message);
    }
}
