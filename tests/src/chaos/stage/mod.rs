//! What a run is played on: nodes, relays, queues, the publisher and the worker.

mod count;

use super::ledger::{FaultNumber, Ledger};
use super::run::Plan;
use super::{HOLD_FILE, LARGEST_BODY, PREFETCH, PUBLISHER_LOG, SIDE, SIDE_PREFETCH, WORKER_LOG};
use crate::relay::{Manner, Relay};
use crate::{Client, Node, Worker, unique};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::process::ChildStdin;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// How long anything may take that ought to happen soon, on a machine that is busy with other things.
pub(super) const LIMIT: Duration = Duration::from_secs(120);

/// Messages that wait to be handled: the publisher pauses above the one and goes on below the other, so that there is
/// always something in flight for a fault to strike.
const BACKLOG: (u64, u64) = (10_000, 4_000);

/// What a node gives itself, and the tests leave it with.
pub(super) const MEMORY: [&str; 3] = ["set_vm_memory_high_watermark", "absolute", "1GB"];
pub(super) const DISK: [&str; 2] = ["set_disk_free_limit", "50MB"];

pub(super) const USER: &str = "chaos";
pub(super) const PASSWORD: &str = "chaos";

pub(super) struct Stage {
    pub(super) nodes: Vec<Node>,
    pub(super) addresses: Vec<String>,
    /// As Erlang has them.
    pub(super) names: Vec<String>,
    /// The virtual host of the main queue, and the one of the probes.
    pub(super) vhost: String,
    pub(super) side_vhost: String,
    pub(super) queue: String,
    pub(super) folder: PathBuf,
    pub(super) ledger: Ledger,
    /// Each of one relay a node.
    pub(super) main: Vec<Relay>,
    pub(super) publishing: Vec<Relay>,
    pub(super) worker: Worker,
    pub(super) random: fastrand::Rng,
    publisher: Worker,
    input: Arc<Mutex<ChildStdin>>,
    feeder: JoinHandle<()>,
    /// The publisher is to go on, however much waits.
    insists: Arc<AtomicBool>,
    /// The worker's, and what it is told at each start.
    program: PathBuf,
    arguments: [String; 5],
    lives: u64,
    /// Channels that earlier lives of the worker gave up because they starved.
    starved: usize,
    /// Messages that the checker's own hand put into the main queue, to be dead-lettered.
    pub(super) foreign: u64,
    pub(super) memory: Memory,
    pub(super) drains: Vec<Duration>,
    pub(super) problems: Vec<String>,
}

/// Of the worker, in kibibytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Memory {
    pub(super) base: usize,
    pub(super) peak: usize,
}

impl Memory {
    /// Of lapin's buffers for a connection. They cost nothing until a connection is made in the memory of an earlier one.
    const BUFFERS: usize = 8 << 10;

    /// The worker's memory at its start, the buffers of its two connections and of those that these come after, and twice
    /// the bodies that may be in flight.
    pub(super) fn bound(&self) -> usize {
        let bodies = usize::from(PREFETCH) * super::BODY + usize::from(SIDE_PREFETCH) * LARGEST_BODY;
        self.base + 2 * 2 * Self::BUFFERS + 2 * bodies / 1024
    }
}

/// A fault that was called for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    pub(super) fault: FaultNumber,
    pub(super) epochs: u64,
}

impl Stage {
    /// # Panics
    /// Anything of it cannot be had.
    pub(super) async fn set_up(plan: Plan) -> Self {
        let folder = plan.folder.clone().unwrap_or_else(|| std::env::temp_dir().join(unique("asyncworker-chaos")));
        fs::create_dir_all(&folder).expect("create the folder of the run");
        let nodes = plan.nodes.clone();
        let (mut addresses, mut names) = (Vec::new(), Vec::new());
        for node in &nodes {
            // The run before may have failed with the node down, or short of memory or disk.
            node.control("start").await;
            node.ctl(&MEMORY).await;
            node.ctl(&DISK).await;
            addresses.push(node.address().await);
            names.push(node.ctl(&["eval", "node()."]).await.trim().trim_matches('\'').to_owned());
        }
        let (vhost, side_vhost, queue) = (unique("chaos"), unique("chaos.side"), "main".to_owned());
        let node = &nodes[0];
        let _ = node.try_ctl(&["add_user", USER, PASSWORD]).await;
        node.ctl(&["change_password", USER, PASSWORD]).await;
        add_vhost(node, &vhost).await;
        add_vhost(node, &side_vhost).await;
        let ledger = Ledger::new(&queue, usize::from(PREFETCH), &folder.join(WORKER_LOG), &folder.join(PUBLISHER_LOG));
        let (mut main, mut publishing) = (Vec::new(), Vec::new());
        for (number, address) in addresses.iter().enumerate() {
            main.push(Relay::watched(address, ledger.of_worker(number)).await);
            publishing.push(Relay::watched(address, ledger.of_publisher()).await);
        }
        let client = client(&addresses[0], &vhost).await;
        // A classic queue keeps acks in memory for a while and forgets them when its node is killed; a quorum queue
        // writes them down, so that what comes again is the worker's doing. And it moves dead letters with a confirm.
        let dead = format!("{queue}.dead");
        client.declare(&dead, &[("x-queue-type", "quorum")]).await;
        let arguments = [
            ("x-queue-type", "quorum"),
            ("x-dead-letter-exchange", ""),
            ("x-dead-letter-routing-key", &*dead),
            ("x-dead-letter-strategy", "at-least-once"),
            ("x-overflow", "reject-publish"),
        ];
        client.declare(&queue, &arguments).await;
        client.close().await;
        declare_side(&addresses[0], &side_vhost).await;
        let publishing_urls = urls(publishing.iter().map(Relay::address), &vhost);
        let log = folder.join(PUBLISHER_LOG);
        let mut publisher =
            Worker::start(&plan.programs.publisher, [&*publishing_urls, &*queue, &log.to_string_lossy()], &[]);
        let input = Arc::new(Mutex::new(publisher.take_input()));
        let insists = Arc::new(AtomicBool::new(false));
        let feeder = tokio::spawn(feed(ledger.clone(), Arc::clone(&input), plan.messages, Arc::clone(&insists)));
        let arguments = [
            plan.mode.name().to_owned(),
            urls(main.iter().map(Relay::address), &vhost),
            urls(addresses.iter().map(|address| &**address), &side_vhost),
            queue.clone(),
            folder.to_string_lossy().into_owned(),
        ];
        let mut random = fastrand::Rng::with_seed(plan.seed);
        let worker = start_worker(&plan.programs.worker, &arguments, 0, &mut random);
        let mut stage = Self {
            nodes,
            addresses,
            names,
            vhost,
            side_vhost,
            queue,
            folder,
            ledger,
            main,
            publishing,
            worker,
            random,
            publisher,
            input,
            feeder,
            insists,
            program: plan.programs.worker,
            arguments,
            lives: 0,
            starved: 0,
            foreign: 0,
            memory: Memory::default(),
            drains: Vec::new(),
            problems: Vec::new(),
        };
        stage.works(0).await;
        stage.memory.base = stage.worker.memory().0;
        stage
    }

    pub(super) fn problem(&mut self, what: impl Into<String>) {
        let what = what.into();
        eprintln!("chaos: PROBLEM: {what}");
        self.problems.push(what);
    }

    /// Waits, and takes note where it was in vain.
    pub(super) async fn wait(&mut self, what: &str, limit: Duration, mut condition: impl FnMut(&Self) -> bool) -> bool {
        let end = Instant::now() + limit;
        loop {
            if condition(self) {
                return true;
            }
            if Instant::now() > end {
                self.problem(format!("not within {} s: {what}", limit.as_secs()));
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until a message is handled whose handler starts from now on, on a channel opened after `epochs`.
    pub(super) async fn works(&mut self, epochs: u64) -> bool {
        let line = self.ledger.read().line();
        self.wait("messages are handled again", LIMIT, |stage| {
            let books = stage.ledger.read();
            books.epochs() > epochs && books.last_accepted() > line
        })
        .await
    }

    /// A fault is about to strike: from now on handlers may have run for nothing. Comes back when the broker has the
    /// outcome of all that had ended before.
    pub(super) async fn begin(&mut self) -> Begun {
        let (begun, mut ended) = {
            let mut books = self.ledger.read();
            (Begun { fault: books.onset(), epochs: books.epochs() }, books.ended_unsettled())
        };
        self.wait("what has ended is settled on the wire", LIMIT, |stage| {
            let books = stage.ledger.read();
            let left = books.ended_unsettled();
            ended.retain(|id| left.contains(id));
            ended.is_empty() || books.epochs() > begun.epochs
        })
        .await;
        // Seen on the wire is not taken by the broker. It sends no more than the prefetch beyond what it has taken: so
        // many deliveries later it must have. Where too little waits for that, some time has to do.
        let (delivered, unsettled) = self.ledger.read().flow();
        let enough = (delivered - unsettled) + u64::from(PREFETCH);
        let patience = Instant::now() + Duration::from_secs(2);
        while Instant::now() < patience && self.ledger.read().flow().0 < enough {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        begun
    }

    /// A fault has ended. Waits until messages are handled again; gives how long that took.
    pub(super) async fn end(&mut self, begun: Begun, breaks: bool) -> Duration {
        let ended = Instant::now();
        // Where nothing has to break, the channel may be the old one.
        let epochs = if breaks { begun.epochs } else { begun.epochs.saturating_sub(1) };
        self.works(epochs).await;
        let took = ended.elapsed();
        // A fault that breaks no channel is over when its nodes are back, whatever was delivered meanwhile.
        self.ledger.read().over(begun.fault, breaks.then_some(begun.epochs));
        took
    }

    pub(super) async fn tell_publisher(&self, what: &str) {
        tell(&self.input, what).await;
    }

    /// Has the publisher go on however much waits, or not.
    pub(super) fn insist(&self, insists: bool) {
        self.insists.store(insists, Ordering::Relaxed);
    }

    pub(super) fn hold(&self, holds: bool) {
        let file = self.folder.join(HOLD_FILE);
        if holds {
            fs::write(file, "").expect("write the hold");
        } else {
            let _ = fs::remove_file(file);
        }
    }

    /// Has one handler wait for [`hold`](Self::hold) to end, and waits until it does so.
    pub(super) async fn hold_one(&mut self) {
        self.hold(true);
        let before = self.ledger.read().probed("main", "holds");
        self.tell_publisher("hold").await;
        self.wait("a handler holds", LIMIT, |stage| stage.ledger.read().probed("main", "holds") > before).await;
    }

    pub(super) fn failures(&self, connection: &str) -> u32 {
        self.ledger.read().probed(connection, "failure")
    }

    pub(super) fn behave(&self, manner: Manner) {
        self.main.iter().for_each(|relay| relay.behave(manner));
    }

    /// Starts the worker's next life, after the end of this one.
    pub(super) fn restart_worker(&mut self) {
        self.lives += 1;
        self.starved = self.starved();
        self.worker = start_worker(&self.program, &self.arguments, self.lives, &mut self.random);
    }

    /// How many channels the worker gave up because messages waited and none came.
    pub(super) fn starved(&self) -> usize {
        self.starved + self.worker.printed().matches("it starves: ").count()
    }

    /// Notes the worker's memory.
    pub(super) fn weigh(&mut self) {
        if self.worker.runs() {
            self.memory.peak = self.memory.peak.max(self.worker.memory().1);
        }
    }

    /// Sends the worker a signal and waits for its end. Gives its exit code, and how long it took.
    pub(super) async fn end_worker(&mut self, signal: &str) -> (Option<i32>, Duration) {
        self.weigh();
        let told = Instant::now();
        self.worker.signal(signal).await;
        let status = self.worker.end(LIMIT).await;
        (status.code(), told.elapsed())
    }

    /// Publishes a probe.
    pub(super) async fn probe(&self, name: &str, what: &str, number: u64, octets: usize) {
        let client = client(&self.addresses[0], &self.side_vhost).await;
        let mut body = format!("{name} {what} {number}\n").into_bytes();
        body.resize(body.len().max(octets), b' ');
        client.publish(SIDE, [body]).await;
        client.close().await;
    }

    pub(super) async fn probed(&mut self, name: &str, what: &str) -> bool {
        let told = format!("the probe {name} {what}");
        self.wait(&told, LIMIT, |stage| stage.ledger.read().probed(name, what) > 0).await
    }
}

pub(super) fn tail(printed: &str) -> String {
    let lines: Vec<&str> = printed.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Keeps the backlog within its bounds, and the publisher from publishing more than it is to.
async fn feed(ledger: Ledger, input: Arc<Mutex<ChildStdin>>, messages: Option<u64>, insists: Arc<AtomicBool>) {
    let mut paused = false;
    loop {
        let pause = {
            let books = ledger.read();
            let enough = messages.is_some_and(|messages| books.counts().attempted >= messages);
            let backlog = books.backlog();
            let most = if paused { BACKLOG.1 } else { BACKLOG.0 };
            enough || backlog > most && !insists.load(Ordering::Relaxed)
        };
        if pause != paused {
            tell(&input, if pause { "pause" } else { "resume" }).await;
            paused = pause;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn tell(input: &Mutex<ChildStdin>, what: &str) {
    let mut input = input.lock().await;
    // That it has ended is told by its status.
    let _ = input.write_all(format!("{what}\n").as_bytes()).await;
    let _ = input.flush().await;
}

fn urls<'a>(addresses: impl Iterator<Item = &'a str>, vhost: &str) -> String {
    let urls = addresses.map(|address| format!("amqp://{USER}:{PASSWORD}@{address}/{vhost}"));
    urls.collect::<Vec<_>>().join(",")
}

fn start_worker(program: &Path, arguments: &[String], life: u64, random: &mut fastrand::Rng) -> Worker {
    // One message a handler, a few, and as many as make a bulk wait for its time.
    let bulk = [1, 20, 70][random.usize(..3)];
    let arguments = arguments.iter().cloned().chain([life.to_string(), bulk.to_string()]);
    // The symbols that a backtrace reads are not the worker's memory.
    Worker::start(program, arguments, &[("RUST_BACKTRACE", "0")])
}

pub(super) async fn add_vhost(node: &Node, vhost: &str) {
    node.ctl(&["add_vhost", vhost]).await;
    for user in [USER, "guest"] {
        node.ctl(&["set_permissions", "-p", vhost, user, ".*", ".*", ".*"]).await;
    }
}

pub(super) async fn declare_side(address: &str, vhost: &str) {
    let client = client(address, vhost).await;
    let dead = format!("{SIDE}.dead");
    client.declare(&dead, &[]).await;
    client.declare(SIDE, &[("x-dead-letter-exchange", ""), ("x-dead-letter-routing-key", &dead)]).await;
    client.close().await;
}

/// As `guest`, past every relay.
pub(super) async fn client(address: &str, vhost: &str) -> Client {
    Client::connect_to(&format!("amqp://guest:guest@{address}/{vhost}")).await
}
