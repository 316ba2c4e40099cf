//! A chat: rooms, private messages (`@ann hello`) and who is there. Open <http://127.0.0.1:8080/?room=lobby&user=ann> twice.
use asyncworker as app;
use asyncworker::Rooms;
use asyncworker::http::ws::CheckedOrigin;
use asyncworker::http::{Html, Path, WebSocket};
use asyncworker::prelude::*;

// Who the user is would come from a session; here it is what the page says. `CheckedOrigin` keeps other sites' pages out.
#[app::ws("/rooms/{room}/{user}")]
async fn chat(socket: WebSocket, Path((room, user)): Path<(String, String)>, rooms: State<Rooms>, _: CheckedOrigin) {
    let me = rooms.enter(user);
    me.join(&room);
    let mut socket = me.attach(socket);
    while let Some(text) = socket.recv().await {
        match text.strip_prefix('@').and_then(|private| private.split_once(' ')) {
            Some((user, text)) => me.tell(user, text),
            None => me.broadcast(&room, text),
        };
    }
}

// What people write becomes `textContent`, which is text whatever is in it.
#[app::get("/")]
async fn page() -> Html<&'static str> {
    Html(
        r#"<!doctype html><meta charset="utf-8"><title>Chat</title>
<form id="form"><input id="text" autofocus autocomplete="off"></form><ul id="list"></ul>
<script>
const query = new URLSearchParams(location.search), part = name => encodeURIComponent(query.get(name) || name);
let socket;
function connect() {
    socket = new WebSocket(`ws://${location.host}/rooms/${part("room")}/${part("user")}`);
    socket.onclose = () => setTimeout(connect, 1000);
    socket.onmessage = message => {
        const event = JSON.parse(message.data), line = document.createElement("li");
        line.textContent = event.type === "message"
            ? `${event.room ? "" : "(for you) "}${event.from}: ${event.body}`
            : `${event.user} has ${event.type}, ${event.members} are here`;
        list.append(line);
    };
}
form.onsubmit = event => { event.preventDefault(); socket.send(text.value); text.value = ""; };
connect();
</script>"#,
    )
}

#[tokio::main]
async fn main() -> Result<(), app::Error> {
    App::new().http(Http::bind("127.0.0.1:8080")).state(Rooms::new()).mount(routes![chat, page]).run().await
}
