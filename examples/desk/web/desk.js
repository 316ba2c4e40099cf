// The script of all four pages. What comes from people and from the feed becomes `textContent`, which is text whatever is in it.
"use strict";

const find = (selector, within = document) => within.querySelector(selector);
const query = new URLSearchParams(location.search);
const body = document.body;
let me = query.get("user") || localStorage.getItem("name");

function element(tag, className, text = "", data = {}) {
    const made = Object.assign(document.createElement(tag), { className, textContent: text });
    Object.assign(made.dataset, data);
    return made;
}

// A state, in words and for the style.
function setState(of, state, words = state) {
    if (of.dataset.state !== state) of.dataset.state = state;
    if (of.textContent !== words) of.textContent = words;
}

// Keeps a websocket open: one that is lost is opened again after a pause, which grows to a second.
function connect(path, hear, opened = () => {}) {
    let socket, retry, pause = 100;
    const open = () => {
        const url = new URL(path(), location.origin);
        url.protocol = url.protocol.replace("http", "ws");
        socket = new WebSocket(url);
        socket.onopen = () => {
            pause = 100;
            body.dataset.connected = "true";
            find("#notice").textContent = "";
            opened();
        };
        socket.onmessage = message => hear(JSON.parse(message.data));
        socket.onclose = ({ code }) => {
            if (body.dataset.connected === "true") {
                find("#notice").textContent = code === 1001
                    ? "The server goes away (1001). This page comes back with it."
                    : `The connection is lost (${code}). Trying again.`;
            }
            body.dataset.connected = "false";
            retry = setTimeout(open, pause);
            pause = Math.min(pause * 2, 1000);
        };
    };
    open();
    // A browser may keep a page that was left, with its websocket, for those who come back to it; here who leaves is gone.
    addEventListener("pagehide", () => {
        clearTimeout(retry);
        socket.onclose = null;
        socket.close();
        body.dataset.connected = "false";
    });
    addEventListener("pageshow", event => event.persisted && open());
    return text => socket.readyState === WebSocket.OPEN && (socket.send(text), true);
}

const path = (...parts) => "/" + parts.map(encodeURIComponent).join("/");

const pages = {
    "/": function deployments() {
        const list = find("#deploys");
        const shown = new Set();
        let before; // What had been shown when the page came into the room comes first.
        const show = ({ id, app, version, state }) => {
            if (shown.has(id)) return;
            shown.add(id);
            const line = element("li", "deploy", "", { id });
            const badge = element("span", "state");
            setState(badge, state);
            line.append(element("span", "app", app), element("span", "version", version), badge);
            list.prepend(line);
            if (list.children.length > 1000) list.lastChild.remove();
            find("#deploy-count").textContent = shown.size;
        };
        connect(() => path("deploys", "live", me), async event => {
            if (event.type === "joined") {
                // The first to come is the page itself. Asked any sooner, it would miss what is shown in between.
                before ??= fetch("/deploys").then(answer => answer.json()).then(all => all.forEach(show), () => {});
            }
            if (event.type !== "message") return;
            await before;
            if (event.room === "timing") {
                const ms = event.body.ms.map(([name, took]) => `${name} ${took.toFixed(1)} ms`);
                find("#timing").textContent = `Events in the last bulk: ${event.body.events}; ${ms.join(", ")}.`;
            } else if (event.room === "deploys" && event.from === null) {
                show(event.body);
            } else if (event.room === null && event.body.text) {
                find("#notice").textContent = `${event.from}, for you: ${event.body.text}`;
            }
        }, () => { before = undefined; });
        fetch("/feed").then(answer => { find("#cut").hidden = !answer.ok; });
        find("#cut").onclick = () => fetch("/cut", { method: "POST" });
    },

    "/chat": function chat() {
        const log = find("#log");
        const members = new Map();
        let room = "lobby";
        const add = line => {
            const view = log.parentElement;
            const atEnd = view.scrollHeight - view.scrollTop - view.clientHeight < 40;
            log.append(line);
            if (atEnd) view.scrollTop = view.scrollHeight;
        };
        const enter = name => {
            room = name;
            for (const button of find("#rooms").children) {
                button.classList.toggle("current", button.dataset.room === room);
                button.ariaPressed = button.dataset.room === room;
            }
            for (const line of log.children) line.hidden = "room" in line.dataset && line.dataset.room !== room;
        };
        const showMembers = () => {
            find("#members").replaceChildren(...[...members.keys()].sort().map(user => element("li", "", user, { user })));
            find("#member-count").textContent = [...members.values()].reduce((sum, sockets) => sum + sockets, 0);
        };
        const hear = {
            members(event) {
                enter(event.room);
                members.clear();
                for (const [user, sockets] of Object.entries(event.members)) members.set(user, sockets);
                showMembers();
            },
            joined(event) {
                if (event.room !== room) return;
                members.set(event.user, event.sockets);
                showMembers();
                if (event.sockets === 1) add(element("li", "presence", `${event.user} has come`, { room }));
            },
            left(event) {
                if (event.room !== room) return;
                if (event.sockets) members.set(event.user, event.sockets);
                else members.delete(event.user);
                showMembers();
                if (!event.sockets) add(element("li", "presence", `${event.user} has gone`, { room }));
            },
            message({ room, from, body }) {
                if (body.absent) return add(element("li", "presence", `${body.absent} is not here`));
                const line = element("li", "message", "", { from: from ?? "desk" });
                if (room) line.dataset.room = room;
                else line.dataset.private = "true";
                const text = body.app ? `${body.app} ${body.version}: ${body.state}` : body.text ?? body;
                const who = body.to ? `${from} to ${body.to}` : from ?? "desk";
                line.append(element("span", "from", who), element("span", "text", text));
                add(line);
            },
        };
        const say = connect(() => path("chat", "live", room, me), event => hear[event.type]?.(event));
        find("#rooms").onclick = ({ target }) => {
            if (target.dataset.room && target.dataset.room !== room) say(`/join ${target.dataset.room}`);
        };
        find("#say").onsubmit = event => {
            event.preventDefault();
            if (say(find("#text").value)) find("#text").value = "";
        };
        enter(room);
        find("#text").focus();
    },

    "/tasks": function tasks() {
        const show = (task, { run, state, outcome, reason, progress }) => {
            const { percent = 0, detail = "", results = [] } = progress ?? {};
            if ((task.dataset.run ?? "") !== String(run ?? "")) {
                task.dataset.run = run ?? "";
                find(".note", task).textContent = "";
            }
            if (state === "stopping") setState(find(".state", task), "running", "stopping");
            else setState(find(".state", task), outcome ?? state);
            find("progress", task).value = percent;
            find(".detail", task).textContent = detail;
            if (reason) find(".note", task).textContent = reason;
            const pages = find(".pages", task);
            if (!pages) return;
            pages.textContent = `${results.length}/${pages.dataset.of}`;
            const list = find(".results", task);
            while (list.children.length > results.length) list.lastChild.remove();
            results.slice(list.children.length).forEach(text => {
                list.append(element("li", "", text, { page: list.children.length + 1 }));
            });
        };
        const wish = connect(() => "/tasks/live", said => {
            if (said.note) {
                find(`[data-task="${CSS.escape(said.task)}"] .note`).textContent = said.note;
                return;
            }
            for (const task of document.querySelectorAll(".task")) {
                show(task, said.find(({ name }) => name === task.dataset.task) ?? { state: "idle" });
            }
        });
        for (const task of document.querySelectorAll(".task")) {
            for (const action of ["start", "stop", "restart"]) {
                find(`.${action}`, task).onclick = () => {
                    find(".note", task).textContent = "";
                    wish(JSON.stringify({ task: task.dataset.task, action }));
                };
            }
        }
    },

    "/services": function services() {
        const about = {
            rota: "Knows who is on call. The notifier depends on it, and so is started after it.",
            notifier: "Tells who is on call of each deployment, one after the other.",
        };
        const make = name => {
            const service = find("#service").content.cloneNode(true).firstElementChild;
            service.dataset.service = name;
            find("h2", service).textContent = name;
            find(".about", service).textContent = about[name] ?? "";
            find(".crash", service).hidden = name !== "notifier";
            find(".crash", service).onclick = () => fetch(path("services", name, "crash"), { method: "POST" });
            find("#services").append(service);
            return service;
        };
        connect(() => "/services/live", services => {
            for (const { name, state, restarts, last_error, depth } of services) {
                const service = find(`[data-service="${CSS.escape(name)}"]`) ?? make(name);
                setState(find(".state", service), state);
                find(".restarts", service).textContent = restarts;
                find(".depth", service).textContent = depth ?? "";
                find(".error", service).textContent = last_error ?? "";
            }
        });
    },
};

function start() {
    find("#enter").hidden = Boolean(me);
    find("#page").hidden = !me;
    find("#me").textContent = me ?? "";
    if (me) pages[location.pathname]();
    else find("#name").focus();
}

for (const link of document.querySelectorAll("nav a")) {
    if (link.pathname === location.pathname) link.ariaCurrent = "page";
    if (query.has("user")) link.search = location.search;
}
find("#enter").onsubmit = event => {
    event.preventDefault();
    me = find("#name").value;
    localStorage.setItem("name", me);
    start();
};
start();
