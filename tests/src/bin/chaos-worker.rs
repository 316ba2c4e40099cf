//! The worker that faults are done to: `chaos-worker MODE URLS SIDE_URLS QUEUE FOLDER LIFE BULK`. It consumes numbered
//! messages, and beside them probes on a route, a connection and a virtual host of their own; it logs each run of its
//! handlers, always before the handler ends. Two of its modes are wrong on purpose: the checker must find them out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use asyncworker::prelude::*;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tests::chaos::{self, Journal, Lines, Mode, habit};

struct Chaos {
    mode: Mode,
    journal: Journal,
    folder: PathBuf,
    began: Instant,
    runs: AtomicU64,
    /// When a probe that fails was first seen.
    failing: Mutex<HashMap<String, Instant>>,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), asyncworker::Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, urls, side, queue, folder, life, bulk] = &arguments[..] else {
        panic!("chaos-worker MODE URLS SIDE_URLS QUEUE FOLDER LIFE BULK")
    };
    // The end of its input is the end of whom it works for: it is not left behind.
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(1);
    });
    let folder = PathBuf::from(folder);
    let life: u64 = life.parse().expect("a number of a life");
    let journal = Journal::open(folder.join(chaos::WORKER_LOG));
    // On a line of its own, whatever the life before has left.
    journal.append(&format!("\nW {} {life}\n", std::process::id()));
    let chaos = Arc::new(Chaos {
        mode: mode.parse().expect("a mode"),
        journal,
        folder,
        began: Instant::now(),
        runs: AtomicU64::new(life << 24),
        failing: Mutex::default(),
    });
    let connection = |name: &'static str, urls: &str| {
        let told = Arc::clone(&chaos);
        let amqp = chaos::patient(Amqp::from_uris(urls.split(','))?).name(name);
        Ok::<_, asyncworker::Error>(amqp.on_connection_failure(move |_, _| told.say(name, "failure")))
    };
    let options = RouteOptions::new()
        .prefetch(chaos::PREFETCH)
        .bulk_size(bulk.parse().expect("messages a bulk"))
        .bulk_flush_interval(Duration::from_millis(20));
    let main = Route::amqp([queue]).connection("main").name("main").options(options).handler(handle);
    let options = RouteOptions::new()
        .prefetch(chaos::SIDE_PREFETCH)
        .max_body_size(chaos::LARGEST_BODY)
        .timeout(chaos::SIDE_TIMEOUT);
    let side_route = Route::amqp([chaos::SIDE]).connection("side").name("side").options(options).handler(probe);
    App::new()
        .name("chaos-worker")
        .connect(connection("main", urls)?)
        .connect(connection("side", side)?)
        .state(chaos)
        .shutdown_timeout(chaos::SHUTDOWN_TIMEOUT)
        .route(main)
        .route(side_route)
        .run()
        .await
}

impl Chaos {
    fn say(&self, name: &str, what: &str) {
        self.journal.append(&format!("P {name} {what}\n"));
    }

    /// What a handler has to do.
    async fn work(&self, takes: Duration, holds: bool) {
        tokio::time::sleep(takes).await;
        if holds {
            self.say("main", "holds");
            let hold = self.folder.join(chaos::HOLD_FILE);
            while hold.exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    fn ms(&self) -> u128 {
        self.began.elapsed().as_millis()
    }
}

/// The runs of a handler over a bulk's messages: what is not told of them is told when they are dropped.
struct Runs {
    chaos: Arc<Chaos>,
    open: Vec<(u64, u64)>,
}

impl Runs {
    fn start(chaos: Arc<Chaos>, ids: &[(u64, bool)]) -> Self {
        let (mut lines, ms) = (Lines::default(), chaos.ms());
        let start = |(id, redelivered): &(u64, bool)| {
            let run = chaos.runs.fetch_add(1, Ordering::Relaxed);
            lines.start(*id, run, *redelivered, ms);
            (*id, run)
        };
        let open = ids.iter().map(start).collect();
        chaos.journal.append(&lines.0);
        Self { chaos, open }
    }

    fn end(mut self, outcome: impl Fn(usize) -> char) {
        self.log(outcome);
    }

    fn log(&mut self, outcome: impl Fn(usize) -> char) {
        let (mut lines, ms) = (Lines::default(), self.chaos.ms());
        for (at, (id, run)) in self.open.drain(..).enumerate() {
            lines.end(id, run, outcome(at), ms);
        }
        self.chaos.journal.append(&lines.0);
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        self.log(|_| 't');
    }
}

async fn handle(State(chaos): State<Arc<Chaos>>, batch: Batch<Message>) -> Result<(), Failure> {
    let mut whole = Vec::with_capacity(batch.len());
    let mut holds = false;
    for message in &batch {
        match chaos::read_body(message.raw()) {
            Ok((id, command)) => {
                holds |= command == chaos::HOLD && !message.redelivered();
                whole.push((id, message));
            }
            Err(id) => {
                chaos.journal.append(&format!("X {}\n", id.unwrap_or_default()));
                message.reject();
            }
        }
    }
    let ids: Vec<_> = whole.iter().map(|(id, message)| (*id, message.redelivered())).collect();
    let runs = Runs::start(Arc::clone(&chaos), &ids);
    // From 0 to 127 ms, the same at each run of a seed.
    let takes = Duration::from_millis(ids.first().map_or(0, |(id, _)| id.wrapping_mul(0x9e37_79b9) >> 7 & 127));
    if chaos.mode == Mode::AcksFirst {
        tokio::spawn(async move {
            chaos.work(takes, holds).await;
            runs.end(|_| 'a');
        });
        return Ok(());
    }
    chaos.work(takes, holds).await;
    let first = |habit: fn(u64) -> bool| ids.iter().any(|(id, redelivered)| !redelivered && habit(*id));
    if first(habit::panics) {
        runs.end(|_| 'p');
        panic!("a panic on purpose");
    }
    if first(habit::fails) {
        runs.end(|_| 'f');
        return Err(Failure::new("a failure on purpose"));
    }
    let outcomes: Vec<char> = whole.iter().map(|(id, message)| outcome(chaos.mode, *id, message)).collect();
    runs.end(|at| outcomes[at]);
    Ok(())
}

fn outcome(mode: Mode, id: u64, message: &Message) -> char {
    if habit::rejects(id) {
        message.reject();
        return 'r';
    }
    if habit::requeues(id) && !message.redelivered() {
        match mode {
            Mode::DropsRequeue => message.accept(),
            _ => message.requeue(),
        }
        return 'q';
    }
    'a'
}

/// A probe: its name, what is to be done, and a number.
async fn probe(State(chaos): State<Arc<Chaos>>, message: Message) -> Result<(), Failure> {
    let text = message.raw().split(|octet| *octet == b'\n').next().unwrap_or_default();
    let text = String::from_utf8_lossy(text).into_owned();
    let [name, what, number] = text.split(' ').collect::<Vec<_>>()[..] else {
        return Err(Failure::reject(format!("{text:?} is not a probe")));
    };
    let duration = Duration::from_millis(number.parse().unwrap_or_default());
    chaos.say(name, "starts");
    match what {
        "fails" => {
            let first = *chaos.failing.lock().unwrap().entry(name.to_owned()).or_insert_with(Instant::now);
            if first.elapsed() < duration {
                return Err(Failure::new("a failure on purpose"));
            }
        }
        "panics" if !message.redelivered() => panic!("a panic on purpose"),
        "hangs" if !message.redelivered() => std::future::pending().await,
        "blocks" => std::thread::sleep(duration),
        _ => {}
    }
    chaos.say(name, "ends");
    Ok(())
}
