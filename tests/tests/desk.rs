//! `examples/desk` in a real browser, as people use it: several of them, with tabs that they close and load again, a server
//! that is stopped under them, and a feed that breaks off.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tests::{Browser, EventServer, LIMIT, Reply, Tab, Worker, amqp_url, own_host, unique, until};

const CONNECTED: &str = "document.body.dataset.connected === 'true'";

/// The program, with the broker in its own process or RabbitMQ.
struct Desk {
    process: Worker,
    url: String,
}

impl Desk {
    /// Everything on ports of its own.
    async fn start() -> Self {
        Self::with(&[]).await
    }

    async fn with(environment: &[(&str, &str)]) -> Self {
        let mut command = Worker::command(tests::example("desk"));
        for name in ["AMQP_URL", "DESK_FEED", "DESK_PREFIX"] {
            command.env_remove(name);
        }
        command.env("DESK_BIND", "127.0.0.1:0").envs(environment.iter().copied());
        let process = Worker::run(command);
        process.until_printed("desk: http://").await;
        let url = || Some(process.printed().lines().find_map(|line| line.strip_prefix("desk: "))?.trim().to_owned());
        until("the whole line is printed", LIMIT, || url().is_some_and(|url| url.ends_with('/'))).await;
        let url = url().unwrap();
        Self { process, url }
    }

    async fn with_rabbitmq() -> Self {
        Self::with(&[("AMQP_URL", &amqp_url()), ("DESK_PREFIX", &unique("desk"))]).await
    }

    fn page(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    fn address(&self) -> &str {
        self.url.trim_start_matches("http://").trim_end_matches('/')
    }

    /// Stops it as Kubernetes would.
    async fn stop(&mut self) {
        self.process.signal("TERM").await;
        let status = self.process.end(LIMIT).await;
        assert_eq!(status.code(), Some(0), "{}", self.process.printed());
    }
}

/// A tab on a page, which does not ask who its user is.
async fn open(browser: &Browser, desk: &Desk, path: &str) -> Tab {
    let path = if path.contains('?') { path.to_owned() } else { format!("{path}?user=ann") };
    let tab = browser.open(desk.page(&path)).await;
    tab.until(CONNECTED).await;
    tab
}

// --- Chat

/// A tab in the chat, entered by this name where the browser has none yet.
async fn chat(browser: &Browser, desk: &Desk, name: &str) -> Tab {
    let tab = browser.open(desk.page("chat")).await;
    tab.until(&format!("{CONNECTED} || document.querySelector('#enter')?.checkVisibility()")).await;
    if tab.run(&format!("return !({CONNECTED})")).await == true {
        tab.enter("#name", name).await;
    }
    tab.until(CONNECTED).await;
    tab.until(&format!("document.querySelector('#me').textContent.includes({name:?})")).await;
    tab.until(&format!("document.querySelector('#members [data-user={name}]')")).await;
    tab
}

/// What is said in the log of this page, in order, each with who said it and whether it is private.
async fn log(tab: &Tab) -> Vec<(String, String, bool)> {
    let lines = tab
        .run(
            "return [...document.querySelectorAll('#log .message')].map(line =>
                 [line.dataset.from, line.querySelector('.text').textContent, line.dataset.private === 'true'])",
        )
        .await;
    serde_json::from_value(lines).unwrap()
}

async fn until_reads(tab: &Tab, text: &str) {
    let text = Value::from(text);
    tab.until(&format!("[...document.querySelectorAll('#log .text')].some(line => line.textContent === {text})")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_chat_in_text_and_a_closed_tab_is_one_member_less() {
    const SCRIPT: &str = "<img src=x onerror='window.struck = true'><script>window.struck = true</script>";
    let desk = Desk::start().await;
    let (of_ann, of_bob) = tokio::join!(Browser::start(), Browser::start());
    let ann = chat(&of_ann, &desk, "ann").await;
    let bob = chat(&of_bob, &desk, "bob").await;
    let third = chat(&of_bob, &desk, "bob").await;
    for tab in [&ann, &bob, &third] {
        tab.until("document.querySelector('#member-count').textContent.match(/\\d+/)?.[0] === '3'").await;
        tab.until("document.querySelectorAll('#members li').length === 2").await;
    }
    ann.enter("#text", "hello").await;
    until_reads(&bob, "hello").await;
    bob.enter("#text", SCRIPT).await;
    // What is said in two tabs comes over two websockets, which have no order among them.
    until_reads(&third, SCRIPT).await;
    third.enter("#text", "over").await;
    let said = [("ann", "hello", false), ("bob", SCRIPT, false), ("bob", "over", false)];
    let said = said.map(|(from, text, private)| (from.to_owned(), text.to_owned(), private));
    for tab in [&ann, &bob, &third] {
        until_reads(tab, "over").await;
        assert_eq!(log(tab).await, said);
        assert_eq!(tab.run("return document.querySelectorAll('#log :is(img, script)').length").await, 0);
        assert_eq!(tab.run("return window.struck ?? null").await, Value::Null);
    }
    third.close().await;
    for tab in [&ann, &bob] {
        tab.until("document.querySelector('#member-count').textContent.match(/\\d+/)?.[0] === '2'").await;
        assert_eq!(tab.run("return document.querySelectorAll('#members li').length").await, 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_message_reaches_every_tab_of_its_receiver_and_nobody_else() {
    let desk = Desk::start().await;
    let (of_ann, of_bob) = tokio::join!(Browser::start(), Browser::start());
    let ann = chat(&of_ann, &desk, "ann").await;
    let bob = [chat(&of_bob, &desk, "bob").await, chat(&of_bob, &desk, "bob").await];
    let carol = open(&of_ann, &desk, "chat?user=carol").await;
    carol.until("document.querySelectorAll('#members li').length === 3").await;
    ann.enter("#text", "@bob between us").await;
    for tab in bob.iter().chain([&ann]) {
        until_reads(tab, "between us").await;
    }
    // What comes later has come: the private message would have come before it.
    ann.enter("#text", "for all").await;
    let private = ("ann".to_owned(), "between us".to_owned(), true);
    let public = ("ann".to_owned(), "for all".to_owned(), false);
    for tab in bob.iter().chain([&ann]) {
        until_reads(tab, "for all").await;
        assert_eq!(log(tab).await, [private.clone(), public.clone()]);
    }
    until_reads(&carol, "for all").await;
    assert_eq!(log(&carol).await, [public]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chat_rejoins_by_itself_when_the_server_is_back() {
    let mut desk = Desk::with(&[("DESK_BIND", &format!("{}:0", own_host()))]).await;
    let address = desk.address().to_owned();
    let (of_ann, of_bob) = tokio::join!(Browser::start(), Browser::start());
    let tabs = [chat(&of_ann, &desk, "ann").await, chat(&of_bob, &desk, "bob").await];
    for tab in &tabs {
        tab.click("[data-room=random]").await;
        tab.until("document.querySelector('#rooms .current').dataset.room === 'random'").await;
    }
    for tab in &tabs {
        tab.until("document.querySelectorAll('#members li').length === 2").await;
        // A page that was loaded again would not have it.
        tab.run("window.before = document.querySelector('#members li')").await;
    }
    desk.stop().await;
    for tab in &tabs {
        tab.until(&format!("!({CONNECTED})")).await;
    }
    let _desk = Desk::with(&[("DESK_BIND", &address)]).await;
    for tab in &tabs {
        tab.until(CONNECTED).await;
        // Shown anew: those of before were shown all the while.
        tab.until("window.before.isConnected === false").await;
        tab.until("document.querySelectorAll('#members li').length === 2").await;
        assert_eq!(tab.run("return document.querySelector('#rooms .current').dataset.room").await, "random");
    }
    tabs[0].enter("#text", "again").await;
    until_reads(&tabs[1], "again").await;
}

// --- Tasks

/// An expression for an element of a task in the page.
fn of_task(task: &str, selector: &str) -> String {
    format!("document.querySelector('.task[data-task={task}] {selector}')")
}

fn bar(task: &str) -> String {
    format!("{}.value", of_task(task, "progress"))
}

fn state(task: &str) -> String {
    format!("{}.dataset.state", of_task(task, ".state"))
}

/// The id of the run that the page shows, once it shows one: a press of the button has it told only when the desk
/// has answered.
async fn run_of(tab: &Tab, task: &str) -> String {
    let run = format!("document.querySelector('.task[data-task={task}]').dataset.run");
    tab.until(&run).await;
    tab.run(&format!("return {run}")).await.as_str().unwrap().to_owned()
}

async fn until_state(tab: &Tab, task: &str, expected: &str) {
    tab.until(&format!("{} === {expected:?}", state(task))).await;
}

async fn starts(tab: &Tab, task: &str) {
    press(tab, task, "start").await;
    until_state(tab, task, "running").await;
}

async fn stops(tab: &Tab, task: &str) {
    press(tab, task, "stop").await;
    until_state(tab, task, "cancelled").await;
}

async fn press(tab: &Tab, task: &str, button: &str) {
    tab.click(&format!(".task[data-task={task}] button.{button}")).await;
}

fn numbers(values: &[Value]) -> Vec<f64> {
    values.iter().map(|value| value.as_f64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bar_only_rises_and_pages_come_while_it_does() {
    let desk = Desk::start().await;
    let browser = Browser::start().await;
    let tab = open(&browser, &desk, "tasks").await;
    tab.record("bar", &bar("import")).await;
    tab.record("pages", &format!("{}.textContent", of_task("import", ".pages"))).await;
    press(&tab, "import", "start").await;
    until_state(&tab, "import", "completed").await;
    // A page that is busy is shown the last of what came meanwhile: each value there was need not be among them.
    let bar = numbers(&tab.recorded("bar").await);
    assert!(bar.is_sorted() && bar.len() > 2, "{bar:?}");
    assert_eq!((bar[0], bar.last()), (0.0, Some(&100.0)));
    let pages = tab.recorded("pages").await.into_iter().map(|text| {
        let pages = text.as_str().unwrap().strip_suffix("/10").unwrap();
        pages.parse::<u32>().unwrap()
    });
    let pages: Vec<u32> = pages.collect();
    assert!(pages.is_sorted() && pages.len() > 2, "{pages:?}");
    assert_eq!((pages[0], pages.last()), (0, Some(&10)));
    let results = "return [...document.querySelectorAll('.task[data-task=import] .results li')]
        .map(line => `${line.dataset.page} ${line.textContent.split(':')[0]}`)";
    let expected: Vec<String> = (1..=10).map(|page| format!("{page} page {page}")).collect();
    assert_eq!(tab.run(results).await, json!(expected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_bar_stays_where_it_was() {
    let desk = Desk::start().await;
    let browser = Browser::start().await;
    let tab = open(&browser, &desk, "tasks").await;
    press(&tab, "report", "start").await;
    tab.until(&format!("{} >= 10", bar("report"))).await;
    // Where the bar is in the moment of the click.
    let note = format!(
        "document.querySelector('.task[data-task=report] button.stop')
             .addEventListener('click', () => window.stoppedAt = {}, {{ capture: true }})",
        bar("report")
    );
    tab.run(&note).await;
    stops(&tab, "report").await;
    tab.record("frozen", &bar("report")).await;
    let stopped_at = tab.run("return window.stoppedAt").await.as_f64().unwrap();
    // Another task goes on meanwhile, and with each of its steps the page is shown all tasks.
    press(&tab, "import", "start").await;
    tab.until(&format!("{} >= 10", bar("import"))).await;
    let frozen = numbers(&tab.recorded("frozen").await);
    assert_eq!(frozen.len(), 1, "{frozen:?}");
    // What it had done when it was told may have come yet; its end has not.
    assert!(frozen[0] >= stopped_at && frozen[0] < 100.0, "{stopped_at} {frozen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_start_is_told_that_it_runs_already() {
    let desk = Desk::start().await;
    let browser = Browser::start().await;
    let tab = open(&browser, &desk, "tasks").await;
    starts(&tab, "report").await;
    let run = run_of(&tab, "report").await;
    tab.record("runs", "document.querySelector('.task[data-task=report]').dataset.run").await;
    press(&tab, "report", "start").await;
    tab.until(&format!("{}.textContent.includes('runs already')", of_task("report", ".note"))).await;
    stops(&tab, "report").await;
    assert_eq!(tab.recorded("runs").await, [json!(run)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_stop_start_leaves_one_run() {
    let desk = Desk::start().await;
    let browser = Browser::start().await;
    let tab = open(&browser, &desk, "tasks").await;
    tab.record("runs", "document.querySelector('.task[data-task=report]').dataset.run || null").await;
    for _ in 0..2 {
        starts(&tab, "report").await;
        stops(&tab, "report").await;
    }
    starts(&tab, "report").await;
    // Two that ran at once would pull the bar to and fro.
    tab.record("bar", &bar("report")).await;
    tab.until(&format!("{} >= 20", bar("report"))).await;
    let bar = numbers(&tab.recorded("bar").await);
    assert!(bar.is_sorted(), "{bar:?}");
    let mut runs = tab.recorded("runs").await;
    runs.retain(|run| !run.is_null());
    assert_eq!(runs.len(), 3, "{runs:?}");
    runs.sort_by_key(Value::to_string);
    runs.dedup();
    assert_eq!(runs.len(), 3, "{runs:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_is_loaded_again_shows_the_run_as_it_is() {
    let desk = Desk::start().await;
    let browser = Browser::start().await;
    let tab = open(&browser, &desk, "tasks").await;
    press(&tab, "import", "start").await;
    let results = "[...document.querySelectorAll('.task[data-task=import] .results li')]
        .map(line => `${line.dataset.page} ${line.textContent}`)";
    tab.until(&format!("{results}.length >= 2")).await;
    let run = run_of(&tab, "import").await;
    let before = tab.run(&format!("return {{ bar: {}, results: {results} }}", bar("import"))).await;
    tab.reload().await;
    tab.until(CONNECTED).await;
    tab.until(&format!("{} !== 'idle'", state("import"))).await;
    tab.record("bar", &bar("import")).await;
    assert_eq!(run_of(&tab, "import").await, run);
    let after = tab.run(&format!("return {{ bar: {}, results: {results} }}", bar("import"))).await;
    assert!(after["bar"].as_f64() >= before["bar"].as_f64(), "{before} {after}");
    let (before, after) = (before["results"].as_array().unwrap(), after["results"].as_array().unwrap());
    assert!(after.starts_with(before), "{before:?} {after:?}");
    until_state(&tab, "import", "completed").await;
    assert_eq!(run_of(&tab, "import").await, run);
    assert!(numbers(&tab.recorded("bar").await).is_sorted());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_tied_to_a_tab_ends_when_the_tab_is_closed() {
    let desk = Desk::start().await;
    let browser = Browser::start().await;
    let watching = open(&browser, &desk, "tasks").await;
    let closed = open(&browser, &desk, "tasks").await;
    press(&closed, "report", "start").await;
    until_state(&watching, "report", "running").await;
    press(&watching, "import", "start").await;
    let run = run_of(&watching, "import").await;
    closed.close().await;
    until_state(&watching, "report", "cancelled").await;
    // What is tied to nothing goes on.
    until_state(&watching, "import", "completed").await;
    assert_eq!(run_of(&watching, "import").await, run);
}

// --- Services

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_crashes_restarts_under_the_eyes_of_who_watches() {
    let desk = Desk::start().await;
    let browser = Browser::start().await;
    let tab = open(&browser, &desk, "services").await;
    let state = "document.querySelector('.service[data-service=notifier] .state').dataset.state";
    let restarts =
        "Number(document.querySelector('.service[data-service=notifier] .restarts').textContent.match(/\\d+/))";
    tab.until(&format!("{state} === 'ready'")).await;
    tab.record("states", state).await;
    tab.record("restarts", restarts).await;
    for crash in 1..=2 {
        tab.click(".service[data-service=notifier] button.crash").await;
        tab.until(&format!("{restarts} === {crash} && {state} === 'ready'")).await;
    }
    let mut states = tab.recorded("states").await;
    states.retain(|state| state != "starting");
    assert_eq!(states, ["ready", "restarting", "ready", "restarting", "ready"]);
    assert_eq!(numbers(&tab.recorded("restarts").await), [0.0, 1.0, 2.0]);
}

// --- Deployments

/// The ids that the page shows, the oldest first.
async fn shown(tab: &Tab) -> Vec<String> {
    let ids = "return [...document.querySelectorAll('#deploys .deploy')].map(line => line.dataset.id).reverse()";
    serde_json::from_value(tab.run(ids).await).unwrap()
}

async fn every_deployment_shows_once_whatever_the_feed_breaks_off(desk: Desk) {
    const CUTS: usize = 5;
    let browser = Browser::start().await;
    let tab = open(&browser, &desk, "").await;
    let begins = |line: &&str| line.contains(r#"path="/deployments""#) && line.contains(": consuming");
    let streams = || desk.process.printed().lines().filter(begins).count();
    let mut sent: Vec<String> = Vec::new();
    // What is to break has to be there.
    until("the feed is read", LIMIT, || streams() == 1).await;
    for cut in 1..=CUTS {
        tab.click("#cut").await;
        until("the feed is read once more", LIMIT, || streams() > cut).await;
        sent = serde_json::from_value(tab.run("return fetch('/feed').then(answer => answer.json())").await).unwrap();
        // What was broken off is among them.
        let last = sent.last().unwrap();
        tab.until(&format!("document.querySelector('#deploys [data-id=\"{last}\"]')")).await;
    }
    let shown = shown(&tab).await;
    assert!(sent.len() > CUTS && shown.starts_with(&sent), "{shown:?} {sent:?}");
    assert_eq!(streams(), 1 + CUTS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_deployment_shows_once_by_the_embedded_broker() {
    every_deployment_shows_once_whatever_the_feed_breaks_off(Desk::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_deployment_shows_once_by_rabbitmq() {
    every_deployment_shows_once_whatever_the_feed_breaks_off(Desk::with_rabbitmq().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_that_breaks_off_at_any_octet_shows_each_deployment_once() {
    const DEPLOYMENTS: u64 = 60;
    let event = |id| {
        let data = json!({ "app": "shop <b>", "version": format!("1.{id}"), "state": "succeeded" });
        format!("id: {id}\nevent: deployment\ndata: {data}\n\n")
    };
    // Each stream has three events and part of a fourth, a different part each time.
    let feed = EventServer::start(move |request| {
        let next = request.last_event_id().unwrap_or(0) + 1;
        let stream = Reply::stream().send("retry: 5\n\n");
        let whole: String = (next..next + 3).filter(|id| *id <= DEPLOYMENTS).map(event).collect();
        if next + 3 > DEPLOYMENTS {
            return stream.send(whole).hold();
        }
        let broken = event(next + 3);
        stream.send(whole + &broken[..1 + request.number * 7 % (broken.len() - 1)]).cut()
    })
    .await;
    let desk = Desk::with(&[("DESK_FEED", &feed.url())]).await;
    let browser = Browser::start().await;
    let tab = open(&browser, &desk, "").await;
    tab.until(&format!("document.querySelectorAll('#deploys li').length >= {DEPLOYMENTS}")).await;
    assert_eq!(shown(&tab).await, (1..=DEPLOYMENTS).map(|id| id.to_string()).collect::<Vec<_>>());
    // At least: what was read and is not settled yet is asked for again.
    assert!(feed.requests("/deployments").len() as u64 >= DEPLOYMENTS / 3);
    // Of another's feed the button is not there.
    assert_eq!(tab.run("return document.querySelector('#cut').hidden").await, true);
    assert_eq!(tab.run("return document.querySelector('#deploys .app').textContent").await, "shop <b>");
}

// --- All of it

/// In `target/tmp/desk`, or the folder that `DESK_SCREENSHOTS` names, they are there to be looked at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_page_has_an_error_in_the_console() {
    let folder = std::env::var_os("DESK_SCREENSHOTS").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("desk"));
    std::fs::create_dir_all(&folder).unwrap();
    let desk = Desk::start().await;
    let (of_ann, of_bob) = tokio::join!(Browser::start(), Browser::start());
    let enter = of_ann.open(desk.page("chat")).await;
    enter.until("document.querySelector('#enter').checkVisibility()").await;
    enter.screenshot(&folder.join("enter.png")).await;
    enter.enter("#name", "ann").await;
    let chats = [enter, chat(&of_bob, &desk, "bob").await];
    for tab in &chats {
        tab.until("document.querySelectorAll('#members li').length === 2").await;
    }
    chats[0].enter("#text", "The shop is out, 1.4.2. Does anybody see it fail?").await;
    until_reads(&chats[1], "The shop is out, 1.4.2. Does anybody see it fail?").await;
    chats[1].enter("#text", "Not here. <b>All green.</b>").await;
    until_reads(&chats[0], "Not here. <b>All green.</b>").await;
    chats[1].enter("#text", "@ann lunch?").await;
    until_reads(&chats[0], "lunch?").await;
    let tasks = open(&of_ann, &desk, "tasks").await;
    starts(&tasks, "report").await;
    stops(&tasks, "report").await;
    starts(&tasks, "import").await;
    press(&tasks, "import", "start").await;
    tasks.until(&format!("{}.textContent", of_task("import", ".note"))).await;
    tasks.until("document.querySelectorAll('.task[data-task=import] .results li').length >= 3").await;
    let services = open(&of_ann, &desk, "services").await;
    services.click(".service[data-service=notifier] button.crash").await;
    services.until("document.querySelector('.service[data-service=notifier] .error').textContent").await;
    let deployments = open(&of_ann, &desk, "").await;
    deployments.until("document.querySelectorAll('#deploys li').length >= 8").await;
    let pages = [(&chats[0], "chat"), (&tasks, "tasks"), (&services, "services"), (&deployments, "deployments")];
    for (tab, name) in pages {
        tab.screenshot(&folder.join(format!("{name}.png"))).await;
        assert_eq!(tab.errors().await, [""; 0], "{name}");
    }
}

// --- The end

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_told_that_the_server_stops() {
    let mut desk = Desk::start().await;
    let browser = Browser::start().await;
    let mut tabs = vec![chat(&browser, &desk, "ann").await];
    for path in ["", "tasks", "services"] {
        tabs.push(open(&browser, &desk, path).await);
    }
    starts(&tabs[2], "import").await;
    for tab in &tabs {
        tab.record("notice", "document.querySelector('#notice').textContent").await;
    }
    desk.stop().await;
    for tab in &tabs {
        tab.until(&format!("!({CONNECTED})")).await;
        tab.until("window.recorded.notice.some(notice => notice.includes('1001'))").await;
    }
}
