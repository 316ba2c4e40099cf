//! How long a trivial GET takes, while the app has nothing else to do and while it drains 200,000 messages:
//! `cargo run --release --package bench-http`. The messages are those of the broker within the process, or with `AMQP_URL` of
//! a queue of that RabbitMQ.
//!
//! The client is a thread of its own. It keeps one connection and sends the next request when it has the answer.
#![allow(clippy::print_stdout, reason = "a command-line tool answers on its standard output")]

use asyncworker::prelude::*;
use asyncworker::{Error, Running};
use serde::Deserialize;
use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const MESSAGES: usize = 200_000;
const ROUNDS: usize = 5;
const IDLE: Duration = Duration::from_secs(2);
const QUEUE: &str = "asyncworker.bench.http";
const BODY: &str = r#"{"id": 4711, "customer": "someone", "total": 19.99, "items": [1, 2, 3, 5, 8, 13]}"#;

#[derive(Deserialize)]
struct Order {
    total: f64,
}

/// How many messages were handled.
type Handled = Arc<AtomicUsize>;

async fn index(State(handled): State<Handled>, order: Message<Order>) -> Result<(), Failure> {
    if order.body()?.total > 0.0 {
        handled.fetch_add(1, Relaxed);
    }
    Ok(())
}

/// The broker that is drained.
enum Broker {
    Memory(Memory),
    RabbitMq(String),
}

impl Broker {
    fn app(&self) -> Result<App, Error> {
        let app = App::new().declare(Queue::new(QUEUE));
        Ok(match self {
            Self::Memory(memory) => app.connect(memory.clone()),
            Self::RabbitMq(url) => app.connect(Amqp::from_uri(url)?),
        })
    }

    /// Fills the queue.
    async fn fill(&self) -> Result<(), Failure> {
        let running = self.app()?.start().await?;
        let publisher = running.publisher();
        for _ in 0..MESSAGES / 1_000 {
            let messages = (0..1_000).map(|_| Publish::raw(BODY).to(QUEUE).transient());
            publisher.publish_all(messages).await?;
        }
        Ok(running.shutdown().await?)
    }

    /// An app that answers and drains.
    async fn serve(&self, handled: &Handled) -> Result<Running, Error> {
        self.app()?
            .http(Http::bind("127.0.0.1:0"))
            .state(Arc::clone(handled))
            .endpoint(Endpoint::get("/", async || "hello"))
            .route(Route::amqp([QUEUE]).handler(index))
            .start()
            .await
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let (broker, name) = match std::env::var("AMQP_URL") {
        Ok(url) => (Broker::RabbitMq(url), "RabbitMQ"),
        Err(_) => (Broker::Memory(Memory::new()), "the broker within the process"),
    };
    println!("{name}; a message a handler; one connection of HTTP, a request at a time.\n");

    let handled = Handled::default();
    let running = broker.serve(&handled).await?;
    let client = Client::start(&running)?;
    tokio::time::sleep(IDLE).await;
    println!("idle                            {}", Summary::of(client.end()));
    running.shutdown().await?;

    let mut times = Vec::new();
    let mut seconds = 0.0;
    for _ in 0..ROUNDS {
        broker.fill().await?;
        handled.store(0, Relaxed);
        let start = Instant::now();
        let running = broker.serve(&handled).await?;
        let client = Client::start(&running)?;
        while handled.load(Relaxed) < MESSAGES {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        seconds += start.elapsed().as_secs_f64();
        times.extend(client.end());
        running.shutdown().await?;
    }
    println!("beside {ROUNDS} drains of {MESSAGES}       {}", Summary::of(times));
    println!("drained                         {:.0} messages/s", (ROUNDS * MESSAGES) as f64 / seconds);
    Ok(())
}

/// A thread that asks again and again, and remembers how long each answer took.
struct Client {
    end: Arc<AtomicBool>,
    thread: JoinHandle<std::io::Result<Vec<Duration>>>,
}

impl Client {
    fn start(running: &Running) -> Result<Self, Failure> {
        let address = running.http_address().ok_or_else(|| Failure::new("HTTP is not bound"))?;
        let end = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&end);
        Ok(Self { end, thread: std::thread::spawn(move || ask(address, &told)) })
    }

    fn end(self) -> Vec<Duration> {
        self.end.store(true, Relaxed);
        match self.thread.join() {
            Ok(Ok(times)) => times,
            Ok(Err(error)) => panic!("the client: {error}"),
            Err(_) => panic!("the client panicked"),
        }
    }
}

fn ask(address: SocketAddr, end: &AtomicBool) -> std::io::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut times = Vec::new();
    let mut buffer = [0; 1024];
    while !end.load(Relaxed) {
        let start = Instant::now();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
        let mut read = 0;
        while !buffer[..read].ends_with(b"\r\n\r\nhello") {
            match stream.read(&mut buffer[read..])? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                length => read += length,
            }
        }
        times.push(start.elapsed());
    }
    Ok(times)
}

/// What many times come to.
struct Summary {
    requests: usize,
    median: Duration,
    p99: Duration,
    longest: Duration,
}

impl Summary {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |part: f64| times.get((times.len() as f64 * part) as usize).copied().unwrap_or_default();
        Self {
            requests: times.len(),
            median: at(0.5),
            p99: at(0.99),
            longest: times.last().copied().unwrap_or_default(),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, median, p99, longest } = self;
        write!(f, "median {median:.1?}, p99 {p99:.1?}, longest {longest:.1?} of {requests} requests")
    }
}
