//! What one client that never reads costs the others in a room: `cargo run --release --package bench-rooms`, on Linux.
//!
//! A process of its own says 50,000 messages to 20 clients, at a fixed rate; in every other run one more is connected and never
//! reads. Told are how long a message was on its way, from being said to being read, and the most memory that the process had,
//! and what the two runs of a round are to each other. Which of them comes first changes by the round.
#![allow(clippy::print_stdout, reason = "a command-line tool answers on its standard output")]

use asyncworker::http::{Path, WebSocket};
use asyncworker::prelude::*;
use asyncworker::{Overflow, Rooms};
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use serde_json::json;
use std::fmt;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, stdin};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, interval, timeout};
use tokio_tungstenite::{WebSocketStream, client_async};

const MESSAGES: u32 = 50_000;
/// Messages a second.
const RATE: u32 = 2_500;
const READERS: usize = 20;
const ROUNDS: usize = 5;
/// What may wait for a client; then the oldest is dropped, so that the one that never reads stays.
const QUEUE: usize = 256;
const LENGTH: usize = 200;
const LIMIT: Duration = Duration::from_secs(120);
/// The argument of the process that serves.
const SERVE: &str = "serve";

#[tokio::main]
async fn main() -> Result<(), Failure> {
    if std::env::args().nth(1).as_deref() == Some(SERVE) {
        return serve().await;
    }
    println!(
        "{MESSAGES} messages of {LENGTH} octets, {RATE} a second, to {READERS} clients; {ROUNDS} rounds. Load before: {}\n",
        std::fs::read_to_string("/proc/loadavg")?.trim()
    );
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        let first = round % 2 == 0;
        let (one, other) = (run(first).await?, run(!first).await?);
        let (without, with) = if first { (other, one) } else { (one, other) };
        println!("all read              {without}\none never reads       {with}");
        ratios.push(with.to(&without));
    }
    let median = |of: fn(&[f64; 3]) -> f64| {
        let mut all: Vec<f64> = ratios.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        (all[all.len() / 2], all[0], all[all.len() - 1])
    };
    println!("\nwith one that never reads, as a multiple of without; the median of the rounds (the least, the most):");
    for (what, (median, least, most)) in [
        ("p50", median(|ratios| ratios[0])),
        ("p99", median(|ratios| ratios[1])),
        ("memory", median(|ratios| ratios[2])),
    ] {
        println!("{what:<8}{median:.2} ({least:.2}, {most:.2})");
    }
    Ok(())
}

async fn chat(socket: WebSocket, Path(user): Path<String>, rooms: State<Rooms>) {
    let me = rooms.enter(user);
    me.join("feed");
    let mut socket = me.attach(socket);
    while socket.recv().await.is_some() {}
}

/// The process that is measured: prints where it listens, says everything at the first line of its input, and ends with it.
async fn serve() -> Result<(), Failure> {
    let rooms = Rooms::with_queue(QUEUE, Overflow::DropOldest);
    let app = App::new().http(Http::bind("127.0.0.1:0")).state(rooms.clone()).endpoint(Endpoint::ws("/{user}", chat));
    let running = app.start().await?;
    println!("{}", running.http_address().ok_or_else(|| Failure::new("HTTP is not bound"))?);
    let mut input = BufReader::new(stdin()).lines();
    input.next_line().await?;
    let filling = "x".repeat(LENGTH);
    let (began, mut tick, mut number) = (Instant::now(), interval(Duration::from_millis(1)), 0);
    while number < MESSAGES {
        tick.tick().await;
        let due = (began.elapsed().as_secs_f64() * f64::from(RATE)) as u32;
        while number < due.min(MESSAGES) {
            number += 1;
            rooms.broadcast("feed", json!({ "at": now(), "filling": filling, "number": number }));
        }
    }
    input.next_line().await?;
    Ok(running.shutdown().await?)
}

/// Microseconds of the machine's clock, which both processes have.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// One run, with or without one that never reads.
async fn run(never_reads: bool) -> Result<Summary, Failure> {
    let mut server = Server::start().await?;
    let mut readers = Vec::new();
    for number in 0..READERS {
        readers.push(connect(&server.address, &format!("reader-{number}")).await?);
    }
    let silent = if never_reads { Some(connect(&server.address, "silent").await?) } else { None };
    server.input.write_all(b"go\n").await?;
    let reading = try_join_all(readers.into_iter().map(|reader| async { tokio::spawn(read(reader)).await? }));
    let times: Vec<Vec<u64>> = timeout(LIMIT, reading).await.map_err(|_| Failure::new("the clients do not end"))??;
    let memory = server.peak()?;
    drop(silent);
    server.end().await?;
    Ok(Summary::of(times.concat(), memory))
}

type Socket = WebSocketStream<TcpStream>;

async fn connect(address: &str, user: &str) -> Result<Socket, Failure> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(client_async(format!("ws://{address}/{user}"), stream).await?.0)
}

/// Reads to the last message. Gives how long each was on its way, in microseconds.
async fn read(mut socket: Socket) -> Result<Vec<u64>, Failure> {
    let mut times = Vec::with_capacity(MESSAGES as usize);
    loop {
        let message = socket.next().await.ok_or_else(|| Failure::new("a client was disconnected"))??;
        let now = now();
        let text = message.to_text()?;
        let Some(at) = number(text, "\"at\":") else { continue };
        times.push(now.saturating_sub(at));
        if number(text, "\"number\":") == Some(u64::from(MESSAGES)) {
            return Ok(times);
        }
    }
}

/// Cheaper than to decode it all.
fn number(text: &str, name: &str) -> Option<u64> {
    let digits = text.split_once(name)?.1;
    digits.get(..digits.find(|c: char| !c.is_ascii_digit())?)?.parse().ok()
}

struct Server {
    child: Child,
    input: ChildStdin,
    address: String,
}

impl Server {
    async fn start() -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(SERVE).env("ASYNCWORKER_LOGLEVEL", "warn");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.ok_or_else(|| Failure::new("the process has no pipes"))?;
        let address = BufReader::new(output).lines().next_line().await?;
        let address = address.ok_or_else(|| Failure::new("the process does not say where it listens"))?;
        Ok(Self { child, input, address })
    }

    /// The most memory that it had, in KiB.
    fn peak(&self) -> Result<u64, Failure> {
        let pid = self.child.id().ok_or_else(|| Failure::new("the process has ended"))?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let peak =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        peak.ok_or_else(|| Failure::new("the system does not say how much memory the process had"))
    }

    async fn end(self) -> Result<(), Failure> {
        let Self { mut child, input, .. } = self;
        drop(input);
        match child.wait().await?.success() {
            true => Ok(()),
            false => Err(Failure::new("the process did not end in order")),
        }
    }
}

/// What a run comes to.
struct Summary {
    messages: usize,
    median: u64,
    p99: u64,
    longest: u64,
    memory: u64,
}

impl Summary {
    fn of(mut times: Vec<u64>, memory: u64) -> Self {
        times.sort_unstable();
        let at = |part: f64| times.get((times.len() as f64 * part) as usize).copied().unwrap_or_default();
        let longest = times.last().copied().unwrap_or_default();
        Self { messages: times.len(), median: at(0.5), p99: at(0.99), longest, memory }
    }

    /// As a multiple of another: median, p99 and memory.
    fn to(&self, other: &Self) -> [f64; 3] {
        let pairs = [(self.median, other.median), (self.p99, other.p99), (self.memory, other.memory)];
        pairs.map(|(one, other)| one as f64 / other as f64)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, median, p99, longest, memory } = self;
        let missing = (READERS * MESSAGES as usize).saturating_sub(*messages);
        write!(
            f,
            "p50 {median} µs, p99 {p99} µs, longest {longest} µs, {missing} missed, {:.1} MiB",
            *memory as f64 / 1024.0
        )
    }
}
