//! A server of events that does as a test says, byte by byte.

use crate::{LIMIT, Log, until};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// What was asked.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub path: String,
    /// By name in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
    /// How many were asked of this path before.
    pub number: usize,
    pub at: Instant,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The id that a numbered stream is to be resumed after.
    pub fn last_event_id(&self) -> Option<u64> {
        self.header("last-event-id").map(|id| id.parse().expect("a number"))
    }
}

/// An answer: its head, and what is done then. The body is chunked, so that what is sent as one chunk is read as one.
#[derive(Debug, Clone)]
pub struct Reply {
    status: String,
    headers: Vec<(String, String)>,
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    Chunk(Vec<u8>),
    Pause(Duration),
    /// Keep the connection until the client closes it.
    Hold,
    /// Close it in the middle of the body.
    Cut,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self { status: format!("{status} Whatever"), headers: Vec::new(), steps: Vec::new() }
    }

    /// 200 with the right content type.
    pub fn stream() -> Self {
        Self::status(200).header("content-type", "text/event-stream")
    }

    /// 200 with a page, for a browser.
    pub fn page(text: &str) -> Self {
        Self::status(200).header("content-type", "text/html; charset=utf-8").send(text)
    }

    pub fn redirect(status: u16, to: impl Into<String>) -> Self {
        Self::status(status).header("location", to)
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// In one chunk.
    pub fn send(self, bytes: impl AsRef<[u8]>) -> Self {
        self.chunks(bytes, usize::MAX)
    }

    /// In chunks of this size.
    pub fn chunks(mut self, bytes: impl AsRef<[u8]>, size: usize) -> Self {
        self.steps.extend(bytes.as_ref().chunks(size).map(|chunk| Step::Chunk(chunk.to_vec())));
        self
    }

    pub fn pause(mut self, pause: Duration) -> Self {
        self.steps.push(Step::Pause(pause));
        self
    }

    pub fn hold(mut self) -> Self {
        self.steps.push(Step::Hold);
        self
    }

    pub fn cut(mut self) -> Self {
        self.steps.push(Step::Cut);
        self
    }

    async fn write(self, mut socket: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
        let mut head = format!("HTTP/1.1 {}\r\n", self.status);
        for (name, value) in self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let has_body = !self.status.starts_with("204") && !self.status.starts_with("205");
        head.push_str(if has_body { "transfer-encoding: chunked\r\n" } else { "content-length: 0\r\n" });
        head.push_str("connection: close\r\n\r\n");
        socket.write_all(head.as_bytes()).await?;
        for step in self.steps {
            match step {
                Step::Chunk(chunk) => {
                    let framed = [format!("{:x}\r\n", chunk.len()).as_bytes(), &chunk, b"\r\n"].concat();
                    socket.write_all(&framed).await?;
                    socket.flush().await?;
                }
                Step::Pause(pause) => sleep(pause).await,
                Step::Hold => {
                    while socket.read(&mut [0; 64]).await? > 0 {}
                    return Ok(());
                }
                Step::Cut => return socket.shutdown().await,
            }
        }
        if has_body {
            socket.write_all(b"0\r\n\r\n").await?;
        }
        socket.shutdown().await
    }
}

/// The server, on a port of 127.0.0.1. Dropped, it closes everything.
pub struct EventServer {
    address: String,
    tls: bool,
    requests: Log<Request>,
    /// Streams that are open.
    open: Arc<AtomicUsize>,
    listener: JoinHandle<()>,
}

impl EventServer {
    /// From a free port; `answer` is asked for each request.
    pub async fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::on("127.0.0.1:0", None, answer).await
    }

    pub async fn on(
        address: &str,
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let mut bound = TcpListener::bind(address).await;
        // A server of the test before may be about to end.
        let _ = timeout(LIMIT, async {
            while bound.is_err() {
                sleep(Duration::from_millis(50)).await;
                bound = TcpListener::bind(address).await;
            }
        })
        .await;
        let listener = bound.unwrap_or_else(|error| panic!("cannot listen on {address}: {error}"));
        let address = listener.local_addr().expect("a listener's address").to_string();
        let (requests, open) = (Log::<Request>::default(), Arc::new(AtomicUsize::new(0)));
        let shared = (Arc::new(answer), requests.clone(), Arc::clone(&open));
        let is_tls = tls.is_some();
        let listener = tokio::spawn(async move {
            // Dropped with this task, they close.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let _ = socket.set_nodelay(true);
                let (answer, requests, open) = shared.clone();
                let tls = tls.clone();
                connections.spawn(async move {
                    open.fetch_add(1, Ordering::SeqCst);
                    let _ = match tls {
                        None => serve(socket, &*answer, &requests).await,
                        Some(tls) => match tls.accept(socket).await {
                            Ok(socket) => serve(socket, &*answer, &requests).await,
                            Err(error) => Err(error),
                        },
                    };
                    open.fetch_sub(1, Ordering::SeqCst);
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, tls: is_tls, requests, open, listener }
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// With a slash at the end.
    pub fn url(&self) -> String {
        format!("{}://{}/", if self.tls { "https" } else { "http" }, self.address)
    }

    /// What was asked of this path, in order.
    pub fn requests(&self, path: &str) -> Vec<Request> {
        self.requests.all().into_iter().filter(|request| request.path == path).collect()
    }

    /// Waits until so many were.
    pub async fn wait(&self, path: &str, requests: usize) -> Vec<Request> {
        let what = format!("{requests} requests of {path}");
        until(&what, LIMIT, || self.requests(path).len() >= requests).await;
        self.requests(path)
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

impl Drop for EventServer {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn serve(
    socket: impl AsyncRead + AsyncWrite + Unpin,
    answer: &(impl Fn(&Request) -> Reply + ?Sized),
    requests: &Log<Request>,
) -> std::io::Result<()> {
    let mut socket = BufReader::new(socket);
    let mut line = String::new();
    socket.read_line(&mut line).await?;
    let mut words = line.split(' ').map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        socket.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await?;
    let body = String::from_utf8_lossy(&body).into_owned();
    let number = requests.all().iter().filter(|request| request.path == path).count();
    let request = Request { method, path, headers, body, number, at: Instant::now() };
    requests.push(request.clone());
    let reply = answer(&request);
    reply.write(socket).await
}
