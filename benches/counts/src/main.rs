//! One scenario with so many messages: `counts SCENARIO MESSAGES [--waste]`.
//!
//! `cargo xtask counts` runs it under valgrind with few messages and with many: the difference is what messages cost.
//! For the same messages it does the same steps each time, on any machine: one thread, no network, and a clock that
//! stands still while there is something to do. What it plays besides the library, the handler and the broker's end of
//! the pipe, is a small and constant part of the counts.
//!
//! `--waste` makes each message dearer, to see that the comparison notices.

mod broker;
#[path = "../../src/feed/ledger.rs"]
mod ledger;
#[path = "../../src/feed/wire.rs"]
#[allow(dead_code, reason = "the benchmark's feed needs more of it")]
mod wire;

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use asyncworker::{App, Batch, Memory, Message, Publish, Queue, Route, RouteOptions, State};

type Error = Box<dyn std::error::Error + Send + Sync>;

const QUEUE: &str = "orders";
const PREFETCH: u16 = 256;
const BODY: &[u8; 120] = &[b'x'; 120];
/// The clock moves only where nothing else can: who waits this long waits in vain.
const STUCK: Duration = Duration::from_secs(3600);

/// What the handlers share.
struct Seen {
    messages: AtomicU64,
    octets: AtomicU64,
    waste: bool,
}

impl Seen {
    fn message(&self, message: &Message) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.octets.fetch_add(message.raw().len() as u64, Ordering::Relaxed);
        if self.waste {
            let copy = black_box(message.raw().to_vec());
            black_box(copy.iter().map(|octet| u64::from(black_box(*octet))).sum::<u64>());
        }
    }
}

type Shared = State<&'static Seen>;

async fn one(State(seen): Shared, message: Message) {
    seen.message(&message);
}

async fn bulk(State(seen): Shared, messages: Batch<Message>) {
    messages.iter().for_each(|message| seen.message(message));
}

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (scenario, messages, waste) = match words[..] {
        [scenario, messages] => (scenario, messages.parse()?, false),
        [scenario, messages, "--waste"] => (scenario, messages.parse()?, true),
        _ => return Err("usage: counts SCENARIO MESSAGES [--waste]".into()),
    };
    let seen = Seen { messages: AtomicU64::new(0), octets: AtomicU64::new(0), waste };
    let seen: &'static Seen = Box::leak(Box::new(seen));
    let single = || route(1).handler(one);
    let bulks = || route(100).handler(bulk);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(async {
        let run = async {
            match scenario {
                "memory-single" => memory(single(), seen, messages).await,
                "memory-bulk-100" => memory(bulks(), seen, messages).await,
                "memory-publish" => publish(seen, messages).await,
                "reader-single" => reader(single(), seen, messages).await,
                "reader-bulk-100" => reader(bulks(), seen, messages).await,
                _ => Err(format!("there is no scenario `{scenario}`").into()),
            }
        };
        tokio::time::timeout(STUCK, run).await?
    })?;
    let (handled, octets) = (seen.messages.load(Ordering::Relaxed), seen.octets.load(Ordering::Relaxed));
    if (handled, octets) != (messages, messages * BODY.len() as u64) {
        return Err(format!("{handled} messages of {octets} octets were handled, not {messages}").into());
    }
    Ok(())
}

fn route(bulk: usize) -> Route {
    Route::amqp([QUEUE]).options(RouteOptions::new().bulk_size(bulk).prefetch(PREFETCH).bulk_flush_interval(STUCK / 2))
}

/// A full queue of the broker in memory is drained.
async fn memory(route: Route, seen: &'static Seen, messages: u64) -> Result<(), Error> {
    let broker = Memory::new();
    for _ in 0..messages {
        broker.push(QUEUE, &BODY[..]);
    }
    let running = App::new().connect(broker.clone()).state(seen).route(route).start().await?;
    if !broker.empty(QUEUE).await {
        return Err("the queue was not drained".into());
    }
    Ok(running.shutdown().await?)
}

/// Messages are published to the broker in memory, one after the other.
async fn publish(seen: &'static Seen, messages: u64) -> Result<(), Error> {
    let broker = Memory::new();
    broker.declare(Queue::new(QUEUE))?;
    let running = App::new().connect(broker.clone()).start().await?;
    let publisher = running.publisher();
    for _ in 0..messages {
        publisher.publish(Publish::raw(&BODY[..]).to(QUEUE)).await?;
        if seen.waste {
            black_box(BODY.to_vec());
        }
    }
    seen.messages.store(broker.ready(QUEUE) as u64, Ordering::Relaxed);
    seen.octets.store(messages * BODY.len() as u64, Ordering::Relaxed);
    Ok(running.shutdown().await?)
}

/// Frames come as from a broker's socket, and are settled by frames.
async fn reader(route: Route, seen: &'static Seen, messages: u64) -> Result<(), Error> {
    let (near, far) = tokio::io::duplex(1 << 20);
    let running = App::new().connect(asyncworker::__piped(near)).state(seen).route(route).start().await?;
    broker::feed(far, messages, PREFETCH.into(), QUEUE.as_bytes(), BODY).await?;
    Ok(running.shutdown().await?)
}
