//! Server-Sent Events when streams are cut, servers die and workers are killed: nothing is lost, and little repeated.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use asyncworker::prelude::*;
use asyncworker::{Event, EventIdFile, EventIds, async_trait};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tests::{EventServer, EventSight, Events, Gate, LIMIT, Log, Reply, Worker, holds, unique, until, until_async};

const SOON: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));

fn connection(server: &EventServer) -> Sse {
    Sse::new(&server.url()).unwrap().backoff(SOON.0, SOON.1)
}

/// The events of these numbers.
fn numbered(numbers: impl Iterator<Item = u64>) -> String {
    numbers.map(|number| format!("id:{number}\nevent:number\ndata:{number}\n\n")).collect()
}

/// A handler that notes each event when its run ends, after it has passed the gate.
fn route(gate: &Gate, seen: &Log<EventSight>) -> Route {
    let (gate, seen) = (gate.clone(), seen.clone());
    Route::sse(["/events"]).name("events").handler(move |event: Event| {
        let (gate, seen) = (gate.clone(), seen.clone());
        async move {
            gate.pass().await;
            seen.push((&event).into());
        }
    })
}

fn open() -> Gate {
    let gate = Gate::default();
    gate.open();
    gate
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_in_mid_event_twenty_times_loses_no_event_and_repeats_no_more_than_a_bulk_a_cut() {
    const EVENTS: u64 = 10_000;
    const CUTS: usize = 20;
    const BULK: usize = 16;
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let random = Mutex::new(fastrand::Rng::with_seed(seed));
    let server = EventServer::start(move |request| {
        let from = request.last_event_id().unwrap_or(0) + 1;
        if request.number >= CUTS {
            return Reply::stream().send(numbered(from..=EVENTS)).hold();
        }
        let mut random = random.lock().unwrap();
        let whole = numbered(from..=EVENTS.min(from + random.u64(1..900)));
        // In the middle of the last event, whatever that is.
        let stream = &whole[..whole.len() - random.usize(2..12)];
        Reply::stream().chunks(stream, random.usize(1..5000)).cut()
    })
    .await;
    let seen = Log::<(u64, bool)>::default();
    let log = seen.clone();
    let options = RouteOptions::new().bulk_size(BULK).bulk_flush_interval(Duration::from_millis(5));
    let route = Route::sse(["/events"]).options(options).handler(move |events: Batch<Event<u64>>| {
        let log = log.clone();
        async move {
            // So that cuts meet bulks that run, that wait, and that fill.
            tokio::time::sleep(Duration::from_millis(1)).await;
            for event in &events {
                log.push((*event.body().unwrap(), event.redelivered()));
            }
        }
    });
    let running = App::new().connect(connection(&server)).route(route).start().await.unwrap();
    until("the last is handled", Duration::from_secs(80), || {
        seen.len() >= usize::try_from(EVENTS).unwrap() && seen.all().iter().any(|(number, _)| *number == EVENTS)
    })
    .await;
    until("all are settled", LIMIT, || running.status().routes[0].unsettled == 0).await;
    running.shutdown().await.unwrap();
    let mut times = HashMap::<u64, usize>::new();
    for (number, _) in seen.all() {
        *times.entry(number).or_default() += 1;
    }
    let missing: Vec<u64> = (1..=EVENTS).filter(|number| !times.contains_key(number)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let repeats: usize = times.values().map(|times| times - 1).sum();
    eprintln!("{} requests, {repeats} repeats", server.requests("/events").len());
    assert!(server.requests("/events").len() > CUTS);
    assert!(repeats <= CUTS * BULK, "{repeats}");
    // In fact none: what is held is known when it comes again.
    assert_eq!(repeats, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_resumed_after_what_was_handled_and_never_after_what_was_only_read() {
    let stable = Arc::new(AtomicBool::new(false));
    let is_stable = Arc::clone(&stable);
    let server = EventServer::start(move |request| {
        let reply = Reply::stream().send(numbered(request.last_event_id().unwrap_or(0) + 1..=7));
        if is_stable.load(Ordering::SeqCst) { reply.hold() } else { reply.cut() }
    })
    .await;
    let (gate, seen) = (Gate::default(), Log::default());
    let running = App::new().connect(connection(&server)).route(route(&gate, &seen)).start().await.unwrap();
    let resumed_after =
        || server.requests("/events").last().and_then(|request| request.header("last-event-id").map(str::to_owned));
    server.wait("/events", 3).await;
    assert_eq!(resumed_after(), None, "seven were read and none was handled");
    gate.let_pass(2);
    until("it is resumed after the second", LIMIT, || resumed_after().as_deref() == Some("2")).await;
    stable.store(true, Ordering::SeqCst);
    gate.open();
    until("all are handled", LIMIT, || seen.len() >= 7).await;
    running.shutdown().await.unwrap();
    let ids: Vec<String> = seen.all().into_iter().map(|sight: EventSight| sight.id).collect();
    assert_eq!(ids, ["1", "2", "3", "4", "5", "6", "7"], "each once and in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_of_a_server_without_ids_is_handled_though_its_stream_is_lost() {
    let server = EventServer::start(|request| match request.number {
        0 => Reply::stream().send("data:1\n\ndata:2\n\ndata:2\n\n").cut(),
        // It does not resume; what looks alike is new.
        _ => Reply::stream().send("data:2\n\ndata:3\n\n").hold(),
    })
    .await;
    let (gate, seen) = (Gate::default(), Log::<EventSight>::default());
    let running = App::new().connect(connection(&server)).route(route(&gate, &seen)).start().await.unwrap();
    assert_eq!(server.wait("/events", 2).await[1].header("last-event-id"), None);
    gate.open();
    until("all are handled", LIMIT, || seen.len() >= 5).await;
    let data: Vec<String> = seen.all().into_iter().map(|sight| sight.data).collect();
    assert_eq!(data, ["1", "2", "2", "2", "3"]);
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_requeued_event_is_kept_and_handled_again_and_the_stream_is_not_resumed_after_it() {
    let server = EventServer::start(|request| match request.number {
        0 => Reply::stream().send(numbered(1..=3)).cut(),
        1 => Reply::stream().send(numbered(request.last_event_id().unwrap_or(0) + 1..=4)).cut(),
        _ => Reply::stream().hold(),
    })
    .await;
    let (seen, mended) = (Log::<EventSight>::default(), Arc::new(AtomicBool::new(false)));
    let (log, is_mended) = (seen.clone(), Arc::clone(&mended));
    let route = Route::sse(["/events"]).handler(move |event: Event| {
        let (log, is_mended) = (log.clone(), is_mended.clone());
        async move {
            log.push((&event).into());
            if event.id() == "2" && !is_mended.load(Ordering::SeqCst) {
                event.requeue();
            }
        }
    });
    let running = App::new().connect(connection(&server)).route(route).start().await.unwrap();
    let times = |id: &str| -> Vec<bool> {
        seen.all().iter().filter(|sight| sight.id == id).map(|sight| sight.redelivered).collect()
    };
    until("it comes again and again", LIMIT, || times("2").len() >= 3).await;
    let requests = server.wait("/events", 3).await;
    assert!(requests.iter().all(|request| request.last_event_id().unwrap_or(0) <= 1), "{requests:?}");
    until("the others are handled", LIMIT, || times("4").len() == 1).await;
    assert_eq!(times("2")[..3], [false, true, true]);
    assert_eq!((times("1"), times("3"), times("4")), (vec![false], vec![false], vec![false]));
    mended.store(true, Ordering::SeqCst);
    until("all are settled", LIMIT, || running.status().routes[0].unsettled == 0).await;
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_follows_the_stream_and_a_cause_is_told_once() {
    let events = Events::listen();
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let server = EventServer::start(move |request| match is_up.load(Ordering::SeqCst) {
        false => Reply::status(503),
        true if request.path.contains("once") => Reply::stream().hold(),
        true => Reply::status(404),
    })
    .await;
    let path = format!("/once/{}", unique("path"));
    let route = Route::sse([path.as_str()]).handler(async |_: Event| ());
    let sse = Sse::new(&server.url()).unwrap().backoff(Duration::from_millis(10), Duration::from_millis(10));
    let running = App::new().connect(sse).route(route).start().await.unwrap();
    server.wait(&path, 20).await;
    assert!(!running.status().is_ready());
    assert_eq!(events.lines(&[&path, "WARN", "503"]).len(), 1);
    up.store(true, Ordering::SeqCst);
    until("it is ready", LIMIT, || running.status().is_ready()).await;
    drop(server);
    until("it is not ready", LIMIT, || !running.status().is_ready()).await;
    running.shutdown().await.unwrap();
}

/// Keeps ids in memory, and fails as long as it is told to.
#[derive(Clone, Default)]
struct Kept {
    ids: Arc<Mutex<HashMap<(String, String), String>>>,
    fails: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
}

#[async_trait]
impl EventIds for Kept {
    async fn load(&self, route: &str, url: &str) -> Result<Option<String>, Failure> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) {
            return Err(Failure::new("no database"));
        }
        Ok(self.ids.lock().unwrap().get(&(route.to_owned(), url.to_owned())).cloned())
    }

    async fn save(&self, route: &str, url: &str, id: &str) -> Result<(), Failure> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) {
            return Err(Failure::new("no database"));
        }
        self.ids.lock().unwrap().insert((route.to_owned(), url.to_owned()), id.to_owned());
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_are_kept_by_route_and_url_and_nothing_is_consumed_before_they_are_known() {
    let server = EventServer::start(|request| {
        Reply::stream().send(numbered(request.last_event_id().unwrap_or(0) + 1..=7)).hold()
    })
    .await;
    let kept = Kept::default();
    let url = server.url().replace("http://", "http://user:secret@");
    let app = |seen: &Log<EventSight>| {
        let sse = Sse::new(&url).unwrap().backoff(SOON.0, SOON.1).event_ids(kept.clone()).last_event_id("2");
        App::new().connect(sse).route(route(&open(), seen))
    };
    kept.fails.store(true, Ordering::SeqCst);
    let seen = Log::default();
    let running = app(&seen).start().await.unwrap();
    until("it is asked again", LIMIT, || kept.asked.load(Ordering::SeqCst) >= 2).await;
    assert!(server.requests("/events").is_empty());
    kept.fails.store(false, Ordering::SeqCst);
    until("all are handled", LIMIT, || seen.len() == 5).await;
    assert_eq!(server.requests("/events")[0].last_event_id(), Some(2), "nothing was kept, so the first id counts");
    running.shutdown().await.unwrap();
    let key = ("events".to_owned(), format!("{}events", server.url()));
    assert_eq!(kept.ids.lock().unwrap().get(&key).map(String::as_str), Some("7"));

    // The kept one goes before the first one.
    let seen = Log::default();
    let running = app(&seen).start().await.unwrap();
    assert_eq!(server.wait("/events", 2).await[1].last_event_id(), Some(7));
    running.shutdown().await.unwrap();
    assert!(seen.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_go_on_while_ids_cannot_be_kept_and_the_last_is_kept_when_they_can() {
    let server = EventServer::start(|_| Reply::stream().send(numbered(1..=5)).hold()).await;
    let kept = Kept::default();
    let seen = Log::default();
    let sse = connection(&server).event_ids(kept.clone());
    let running = App::new().connect(sse).route(route(&open(), &seen)).start().await.unwrap();
    server.wait("/events", 1).await;
    kept.fails.store(true, Ordering::SeqCst);
    until("all are handled", LIMIT, || seen.len() == 5).await;
    kept.fails.store(false, Ordering::SeqCst);
    running.shutdown().await.unwrap();
    assert_eq!(kept.ids.lock().unwrap().values().cloned().collect::<Vec<_>>(), ["5"]);
}

/// A file of its own for a test, deleted in the end.
struct IdFile(PathBuf);

impl IdFile {
    fn new() -> Self {
        Self(std::env::temp_dir().join(unique("ids")))
    }
}

impl Drop for IdFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_killed_resumes_from_its_file_and_loses_nothing() {
    const EVENTS: u64 = 3_000;
    const KILLS: usize = 5;
    let server = EventServer::start(|request| {
        let from = request.last_event_id().unwrap_or(0) + 1;
        // A little at a time, so that the kill meets a stream in the middle; and so much that those after it have their part.
        let last = if request.number < KILLS { EVENTS.min(from + 550) } else { EVENTS };
        let numbers: Vec<u64> = (from..=last).collect();
        let reply = numbers.chunks(50).fold(Reply::stream(), |reply, numbers| {
            reply.send(numbered(numbers.iter().copied())).pause(Duration::from_millis(5))
        });
        reply.hold()
    })
    .await;
    let (ids, handled) = (IdFile::new(), IdFile::new());
    let lines = || std::fs::read_to_string(&handled.0).unwrap_or_default();
    let arguments = || [server.url(), ids.0.display().to_string(), handled.0.display().to_string()];
    // The file is whole whenever it is read, and says what was last. Who has read it keeps what is in it.
    let url = format!("{}events", server.url());
    let kept = async || EventIdFile::new(&ids.0).load("events", &url).await.unwrap();
    for kill in 0..KILLS {
        let (before, kept_before) = (lines().lines().count(), kept().await);
        let mut worker = Worker::start(env!("CARGO_BIN_EXE_events"), arguments(), &[]);
        until("it handles some", LIMIT, || lines().lines().count() > before + 200 + 37 * kill).await;
        until_async("it keeps its place", LIMIT, async || kept().await != kept_before).await;
        worker.signal("KILL").await;
        worker.end(LIMIT).await;
    }
    let mut worker = Worker::start(env!("CARGO_BIN_EXE_events"), arguments(), &[]);
    until("the last is handled", LIMIT, || lines().lines().any(|line| line.trim() == EVENTS.to_string())).await;
    worker.signal("TERM").await;
    assert_eq!(worker.end(LIMIT).await.code(), Some(0), "{}", worker.printed());

    let mut times = HashMap::<u64, usize>::new();
    for line in lines().lines() {
        *times.entry(line.parse().unwrap()).or_default() += 1;
    }
    let missing: Vec<u64> = (1..=EVENTS).filter(|number| !times.contains_key(number)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let repeats: usize = times.values().map(|times| times - 1).sum();
    eprintln!("{repeats} repeats in {KILLS} kills");
    let requests = server.requests("/events");
    assert_eq!(requests.len(), KILLS + 1);
    for pair in requests.windows(2) {
        assert!(pair[1].last_event_id() > pair[0].last_event_id(), "each goes on where the one before it was");
    }
    assert_eq!(kept().await, Some(EVENTS.to_string()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ends_its_streams_is_asked_again_without_a_warning() {
    let events = Events::listen();
    let server =
        EventServer::start(|request| Reply::stream().send(format!("id:{0}\ndata:{0}\n\n", request.number + 1))).await;
    let path = format!("/ends/{}", unique("path"));
    let seen = Log::<String>::default();
    let log = seen.clone();
    let route = Route::sse([path.as_str()]).handler(move |event: Event| {
        let log = log.clone();
        async move { log.push(event.id().into()) }
    });
    let running = App::new().connect(connection(&server)).route(route).start().await.unwrap();
    until("five streams", LIMIT, || seen.len() >= 5).await;
    holds("no warning", Duration::from_millis(100), || events.lines(&[&path, "WARN"]).is_empty()).await;
    running.shutdown().await.unwrap();
    assert_eq!(seen.all()[..5], ["1", "2", "3", "4", "5"]);
}
