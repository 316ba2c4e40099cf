//! Faults that disturb every connection of the node. The tests here run one after the other, and cargo runs
//! no other test binary beside this one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use asyncworker::PublishErrorKind;
use asyncworker::prelude::*;
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tests::{Client, LIMIT, Seen, Worker, amqp_url, control, ctl, holds, unique, until, until_async};
use tokio::sync::{Mutex, MutexGuard};

/// Held by the test that runs.
async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    let guard = ALONE.lock().await;
    // The one before may have failed with the node down, or short of disk.
    control("start").await;
    ctl(&["set_disk_free_limit", DISK_FREE]).await;
    guard
}

/// The limit of the nodes that xtask starts, and RabbitMQ's own default.
const DISK_FREE: &str = "50MB";

/// What a node that was killed may take to listen again, and its worker to be back.
const RECOVERY: Duration = Duration::from_secs(90);

/// In flight at the most, as the worker was told (scenario `log`).
const PREFETCH: usize = 200;

/// The log of a worker, read as it grows.
struct Journal {
    path: PathBuf,
    file: File,
    rest: String,
    /// By message: what was logged of it, in order.
    lines: BTreeMap<usize, Vec<Line>>,
    handled: usize,
}

#[derive(Debug, Clone, Copy)]
struct Line {
    end: bool,
    redelivered: bool,
    /// Faults that had struck before it was read.
    faults: usize,
}

impl Journal {
    fn new() -> Self {
        let path = std::env::temp_dir().join(unique("asyncworker-faults"));
        let file = File::create_new(&path).and_then(|_| File::open(&path)).expect("a file for the log");
        Self { path, file, rest: String::new(), lines: BTreeMap::new(), handled: 0 }
    }

    /// Reads what is new.
    fn read(&mut self, faults: usize) {
        self.file.read_to_string(&mut self.rest).expect("read the log");
        let complete = self.rest.rfind('\n').map_or(0, |at| at + 1);
        let rest = self.rest.split_off(complete);
        for line in std::mem::replace(&mut self.rest, rest).lines() {
            let [id, what, redelivered] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line:?}") };
            let line = Line { end: what == "end", redelivered: redelivered == "true", faults };
            let lines = self.lines.entry(id.parse().expect("a number")).or_default();
            self.handled += usize::from(line.end && !lines.iter().any(|line| line.end));
            lines.push(line);
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What came of a run.
struct Report {
    messages: usize,
    closed: usize,
    killed: usize,
    lost: usize,
    /// Runs of a handler over a message beyond its first, by the fault before.
    duplicates: BTreeMap<usize, usize>,
    /// Of these, those whose handler had ended before the fault was called for: it did not run when the
    /// fault struck, so its message must not come again.
    late: usize,
    /// The longest time from a fault's end until something was handled again.
    recovery: Duration,
    took: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let duplicates: usize = self.duplicates.values().sum();
        let most = self.duplicates.values().max().copied().unwrap_or_default();
        write!(
            f,
            "faults: {} messages, closed {} times, killed {} times: lost {}, handled again {duplicates} (at most {most} a fault, prefetch {PREFETCH}; {} of them had ended before the fault), \
             longest recovery {:.1} s, took {:.1} s",
            self.messages,
            self.closed,
            self.killed,
            self.lost,
            self.late,
            self.recovery.as_secs_f64(),
            self.took.as_secs_f64()
        )
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_messages_survive_ten_closed_connections_and_a_killed_node() {
    let _alone = alone().await;
    const MESSAGES: usize = 100_000;
    const FAULTS: usize = 11;
    /// The fault that is the node's death.
    const KILL: usize = 6;
    const LOST: &str = "the connection was lost; trying again";

    let queue = unique("faults");
    let client = Client::connect().await;
    // A classic queue keeps acks in memory for a while and forgets them when its node is killed; a quorum
    // queue writes them down, so that what comes again is the worker's doing.
    client.declare(&queue, &[("x-queue-type", "quorum")]).await;
    // Each confirmed: from here on none may be lost.
    client.publish(&queue, (0..MESSAGES).map(|number| number.to_string())).await;
    assert_eq!(client.ready(&queue).await, MESSAGES);
    client.close().await;

    let began = Instant::now();
    let mut journal = Journal::new();
    let environment = [("TEST_LOG", journal.path.to_str().unwrap()), ("TEST_PAUSE", "20")];
    let mut worker = Worker::start(env!("CARGO_BIN_EXE_worker"), ["log", &amqp_url(), &queue], &environment);
    let mut recovery = Duration::ZERO;
    for fault in 0..FAULTS {
        let due = MESSAGES / (FAULTS + 2) * (fault + 1);
        until(&format!("{due} messages handled"), RECOVERY, || {
            journal.read(fault);
            journal.handled >= due
        })
        .await;
        if fault + 1 == KILL {
            control("kill").await;
            control("start").await;
        } else {
            ctl(&["close_all_connections", "fault test"]).await;
        }
        let over = Instant::now();
        until("it noticed and consumes again, by itself", RECOVERY, || {
            let printed = worker.printed();
            printed.matches(LOST).count() > fault && printed.matches("consuming").count() > fault + 1
        })
        .await;
        journal.read(fault + 1);
        let before = journal.handled;
        until("it handles messages again", RECOVERY, || {
            journal.read(fault + 1);
            journal.handled > before
        })
        .await;
        recovery = recovery.max(over.elapsed());
    }
    assert!(journal.handled < MESSAGES, "the run was over before its faults were");
    until("every message is handled", RECOVERY, || {
        journal.read(FAULTS);
        journal.handled == MESSAGES
    })
    .await;
    let client = Client::connect().await;
    worker.signal("TERM").await;
    assert_eq!(worker.end(LIMIT).await.code(), Some(0), "{}", worker.printed());
    journal.read(FAULTS);

    let mut duplicates = BTreeMap::new();
    let (mut untold, mut late) = (0, 0);
    for lines in journal.lines.values() {
        for (before, again) in lines.iter().zip(1..).filter_map(|(line, next)| Some((line, lines.get(next)?))) {
            if !again.end {
                *duplicates.entry(again.faults).or_default() += 1;
                untold += usize::from(!again.redelivered);
                late += usize::from(before.end && before.faults < again.faults);
            }
        }
    }
    let lost = (0..MESSAGES)
        .filter(|id| !journal.lines.get(id).is_some_and(|lines| lines.iter().any(|line| line.end)))
        .count();
    let report = Report {
        messages: MESSAGES,
        closed: FAULTS - 1,
        killed: 1,
        lost,
        duplicates,
        late,
        recovery,
        took: began.elapsed(),
    };
    println!("{report}");
    println!("handled again, by the number of faults before: {:?}", report.duplicates);
    assert_eq!((report.lost, client.ready(&queue).await), (0, 0));
    assert!(report.duplicates.values().all(|duplicates| *duplicates <= PREFETCH), "{report}");
    assert_eq!(report.late, 0, "handled again although its handler did not run when the fault struck: {report}");
    assert_eq!(untold, 0, "handled again without being marked as redelivered");
    client.delete(&queue).await;
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_published_ok_while_connections_were_closed_is_there() {
    let _alone = alone().await;
    const MESSAGES: usize = 6_000;
    let queue = unique("faults.publish");
    let client = Client::connect().await;
    client.declare(&queue, &[]).await;
    client.close().await;
    let amqp = Amqp::from_uri(&amqp_url()).unwrap().backoff(Duration::from_millis(50), Duration::from_millis(500));
    let app = App::new().name("faults").connect(amqp).start().await.unwrap();
    let publisher = app.publisher();
    let queue_of_publisher = queue.clone();
    let publishing = tokio::spawn(async move {
        let mut confirmed = BTreeSet::new();
        for hundred in 0..MESSAGES / 100 {
            let publishes = (0..100).map(|number| {
                let number = hundred * 100 + number;
                let publish = publisher.publish(Publish::raw(number.to_string()).to(&queue_of_publisher));
                async move { (number, publish.await) }
            });
            for (number, published) in join_all(publishes).await {
                published.unwrap_or_else(|error| panic!("message {number}: {error}"));
                confirmed.insert(number);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        confirmed
    });
    for _ in 0..3 {
        ctl(&["close_all_connections", "fault test"]).await;
    }
    let confirmed = publishing.await.unwrap();
    app.shutdown().await.unwrap();
    let client = Client::connect().await;
    let found: Vec<usize> = client.take(&queue).await.into_iter().map(|taken| taken.body.parse().unwrap()).collect();
    let distinct: BTreeSet<usize> = found.iter().copied().collect();
    println!(
        "faults: {} published and confirmed over 3 closed connections, {} sent twice",
        confirmed.len(),
        found.len() - distinct.len()
    );
    assert_eq!((confirmed.len(), confirmed.difference(&distinct).count()), (MESSAGES, 0));
    client.delete(&queue).await;
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_falls_silent_is_noticed_within_three_heartbeats() {
    let _alone = alone().await;
    const HEARTBEAT: u64 = 2;
    let queue = unique("faults.silence");
    let client = Client::connect().await;
    client.declare(&queue, &[]).await;
    client.publish(&queue, ["1"]).await;
    let environment =
        [("ASYNCWORKER_AMQP_DEFAULT_HEARTBEAT", &*HEARTBEAT.to_string()), ("ASYNCWORKER_FLUSH_TIMEOUT", "0.1")];
    let mut worker = Worker::start(env!("CARGO_BIN_EXE_worker"), ["defaults", &amqp_url(), &queue], &environment);
    worker.until_printed("handled 1").await;
    control("pause").await;
    let paused = Instant::now();
    until("the loss is noticed", LIMIT, || worker.printed().contains("the connection was lost")).await;
    let noticed = paused.elapsed();
    control("resume").await;
    println!(
        "faults: a silent broker was noticed after {:.1} s with a heartbeat of {HEARTBEAT} s",
        noticed.as_secs_f64()
    );
    assert!(noticed < Duration::from_secs(3 * HEARTBEAT + 2), "{noticed:?}");
    let client_after = Client::connect().await;
    client_after.publish(&queue, ["2"]).await;
    until_async("it consumes again", RECOVERY, || async { worker.printed().matches("handled 1").count() == 2 }).await;
    worker.signal("TERM").await;
    assert_eq!(worker.end(LIMIT).await.code(), Some(0));
    client_after.delete(&queue).await;
    client_after.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_disk_is_full_acks_flow_and_a_publish_waits_until_its_deadline() {
    let _alone = alone().await;
    let (queue, out) = (unique("faults.disk"), unique("faults.disk.out"));
    let client = Client::connect().await;
    client.declare(&queue, &[]).await;
    client.declare(&out, &[]).await;
    client.publish(&queue, (0..100).map(|number| number.to_string())).await;
    client.close().await;
    ctl(&["set_disk_free_limit", "100000GB"]).await;

    let seen = Seen::default();
    let route = Route::amqp([&queue]).options(RouteOptions::new().prefetch(10));
    let route = route.handler(async |State(seen): State<Seen>, message: Message| seen.message(&message));
    let app = App::new().connect(Amqp::from_uri(&amqp_url()).unwrap()).state(seen.clone()).route(route);
    let app = app.start().await.unwrap();
    let error = app.publisher().publish(Publish::raw("1").to(&out).deadline(Duration::from_secs(2))).await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::Deadline);
    // Ten at a time: each ten must be acked for the next to come.
    seen.wait(100).await;
    let client = Client::connect().await;
    until_async("all are acked", LIMIT, || async { client.ready(&queue).await == 0 }).await;

    let (publisher, to) = (app.publisher(), out.clone());
    let publish = tokio::spawn(async move { publisher.publish(Publish::raw("2").to(to)).await });
    holds("it waits", Duration::from_millis(300), || !publish.is_finished()).await;
    ctl(&["set_disk_free_limit", DISK_FREE]).await;
    publish.await.unwrap().unwrap();
    app.shutdown().await.unwrap();
    // The first may have arrived all the same, as its error says.
    let arrived: Vec<String> = client.take(&out).await.into_iter().map(|taken| taken.body).collect();
    assert!(arrived == ["1", "2"] || arrived == ["2"], "{arrived:?}");
    assert_eq!((client.ready(&queue).await, seen.len()), (0, 100));
    client.delete(&queue).await;
    client.delete(&out).await;
    client.close().await;
}
