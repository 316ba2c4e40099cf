//! A TCP relay to the broker: cuts, refuses and comes late, on purpose.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{sleep, timeout};

/// A relay to the broker. Dropped, it cuts everything.
pub struct Relay {
    address: String,
    shared: Arc<Shared>,
    listener: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    connections: Mutex<Vec<AbortHandle>>,
    /// Connections taken, also those refused.
    accepted: AtomicUsize,
    refuses: AtomicBool,
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
        let shared = Arc::new(Shared::default());
        let (to, state) = (to.to_owned(), Arc::clone(&shared));
        let listener = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                state.accepted.fetch_add(1, Ordering::SeqCst);
                if state.refuses.load(Ordering::SeqCst) {
                    continue;
                }
                let to = to.clone();
                let task = tokio::spawn(pass(client, to));
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

    /// From now on every new connection is closed at once, or none is.
    pub fn refuse(&self, refuses: bool) {
        self.shared.refuses.store(refuses, Ordering::SeqCst);
    }

    /// Connections that were made, refused ones included.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.listener.abort();
        self.cut();
    }
}

async fn pass(mut client: TcpStream, to: String) {
    // Where the broker is down the client is hung up on, as it would be by the broker's machine.
    if let Ok(mut broker) = TcpStream::connect(to).await {
        let _ = client.set_nodelay(true);
        let _ = broker.set_nodelay(true);
        let _ = copy_bidirectional(&mut client, &mut broker).await;
    }
}
