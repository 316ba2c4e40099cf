//! A TCP relay to the broker: cuts, resets, stalls, slices, refuses and comes late, on purpose. It can tell what
//! passes by.

mod frames;
mod pump;

pub use frames::{Direction, Said, Start, Walker};

use pump::pass;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{sleep, timeout};

/// A relay to the broker. Dropped, it cuts everything.
pub struct Relay {
    address: String,
    shared: Arc<Shared>,
    listener: JoinHandle<()>,
}

/// How a relay treats what passes, until told otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Manner {
    /// Every new connection is closed at once.
    pub refuses: bool,
    /// New connections are taken and nothing is ever said on them.
    pub mute: bool,
    /// Connections stay open and nothing passes: a black hole.
    pub stalls: bool,
    /// One octet at a time, each written by itself.
    pub slices: bool,
    /// What passes comes this much later.
    pub latency: Duration,
}

/// How a connection is ended once so many octets more have passed in a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// With a TCP reset, wherever it is.
    Reset,
    /// In the middle of a frame.
    InFrame,
}

/// Told what passes a relay, before it passes. Connections are counted from 0.
pub trait Watch: Send + Sync {
    fn said(&self, connection: usize, channel: u16, said: Said);
    /// The connection is over.
    fn ended(&self, connection: usize);
}

struct Shared {
    connections: Mutex<Vec<AbortHandle>>,
    /// Connections taken, also those refused.
    accepted: AtomicUsize,
    frames: [AtomicU64; 2],
    manner: watch::Sender<Manner>,
    cut: Mutex<Option<(Direction, usize, Cut)>>,
    /// Octets that the client is to see in the place of others.
    forged: Mutex<Option<(Vec<u8>, Vec<u8>)>>,
    watch: Option<Box<dyn Watch>>,
}

impl Relay {
    /// To the broker of the tests, from a free port of 127.0.0.1.
    pub async fn start() -> Self {
        Self::between("127.0.0.1:0", &crate::broker_address()).await
    }

    /// From an address of this machine.
    ///
    /// # Panics
    /// Something else listens there, and goes on doing so.
    pub async fn between(from: &str, to: &str) -> Self {
        Self::open(from, to, None).await
    }

    /// As [`between`](Self::between), from a free port, and watched.
    pub async fn watched(to: &str, watch: impl Watch + 'static) -> Self {
        Self::open("127.0.0.1:0", to, Some(Box::new(watch))).await
    }

    async fn open(from: &str, to: &str, watch: Option<Box<dyn Watch>>) -> Self {
        // A relay of the test before may be about to end.
        let mut listener = TcpListener::bind(from).await;
        let _ = timeout(Duration::from_secs(5), async {
            while listener.is_err() {
                sleep(Duration::from_millis(50)).await;
                listener = TcpListener::bind(from).await;
            }
        })
        .await;
        let listener = listener.unwrap_or_else(|error| panic!("cannot listen on {from}: {error}"));
        let address = listener.local_addr().expect("a listener's address").to_string();
        let shared = Arc::new(Shared {
            connections: Mutex::default(),
            accepted: AtomicUsize::new(0),
            frames: Default::default(),
            manner: watch::Sender::default(),
            cut: Mutex::default(),
            forged: Mutex::default(),
            watch,
        });
        let (to, state) = (to.to_owned(), Arc::clone(&shared));
        let listener = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = state.accepted.fetch_add(1, Ordering::SeqCst);
                if state.manner.borrow().refuses {
                    continue;
                }
                let task = tokio::spawn(pass(client, to.clone(), number, Arc::clone(&state)));
                let mut connections = state.connections.lock().unwrap();
                connections.retain(|connection| !connection.is_finished());
                connections.push(task.abort_handle());
            }
        });
        Self { address, shared, listener }
    }

    /// Host and port, IPv6 in brackets.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn url(&self) -> String {
        crate::url_to(&self.address, "")
    }

    /// Ends every connection at once.
    pub fn cut(&self) {
        for connection in self.shared.connections.lock().unwrap().drain(..) {
            connection.abort();
        }
    }

    /// Ends the connection on which the octet passes that is so many from now in this direction.
    pub fn cut_after(&self, direction: Direction, octets: usize, cut: Cut) {
        *self.shared.cut.lock().unwrap() = Some((direction, octets, cut));
    }

    /// Whether what [`cut_after`](Self::cut_after) asked for is still to come.
    pub fn is_to_cut(&self) -> bool {
        self.shared.cut.lock().unwrap().is_some()
    }

    /// What [`cut_after`](Self::cut_after) asked for is not to come.
    pub fn disarm(&self) {
        *self.shared.cut.lock().unwrap() = None;
    }

    /// On connections made from now on, the client sees these octets, wherever they are within a frame, in the place of
    /// as many others: what no broker would send.
    pub fn forge(&self, octets: &[u8], by: &[u8]) {
        assert_eq!(octets.len(), by.len(), "frames have to keep their sizes");
        *self.shared.forged.lock().unwrap() = Some((octets.to_vec(), by.to_vec()));
    }

    /// Nothing is forged any more on connections made from now on.
    pub fn forge_nothing(&self) {
        *self.shared.forged.lock().unwrap() = None;
    }

    /// From now on.
    pub fn behave(&self, manner: Manner) {
        self.shared.manner.send_replace(manner);
    }

    /// From now on every new connection is closed at once, or none is.
    pub fn refuse(&self, refuses: bool) {
        self.shared.manner.send_modify(|manner| manner.refuses = refuses);
    }

    /// Connections that were made, refused ones included.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Whole frames that have passed.
    pub fn frames(&self, direction: Direction) -> u64 {
        self.shared.frames[direction as usize].load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.listener.abort();
        self.cut();
    }
}
