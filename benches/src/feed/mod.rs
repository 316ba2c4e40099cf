//! A loopback server that speaks just enough AMQP 0-9-1 to feed a consumer as fast as it takes, within its prefetch.
//!
//! A connection is a thread. It writes as many deliveries as the prefetch allows in one go, then reads what the client
//! settles. Tags are checked as RabbitMQ checks them, so that a worker which settles wrongly cannot look fast.

mod ledger;
mod peer;
mod wire;

use std::net::TcpListener;
use std::sync::{Arc, mpsc};
use std::thread;

use serde::{Deserialize, Serialize};

use crate::Error;
use peer::Peer;

/// What one consumer was fed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fed {
    /// Deliveries sent.
    pub sent: u64,
    /// Deliveries settled by the client.
    pub settled: u64,
    /// The frames that settled them.
    pub frames: u64,
}

/// Serves until the first connection that consumed is closed, and tells what it was fed.
///
/// # Errors
/// The consumer settled wrongly, or sent what this server does not understand.
pub fn serve(listener: TcpListener, messages: u64, body: Vec<u8>) -> Result<Fed, Error> {
    let (ended, end) = mpsc::channel();
    let body: Arc<[u8]> = body.into();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (ended, body) = (ended.clone(), Arc::clone(&body));
            thread::spawn(move || {
                let mut peer = Peer::new(stream, messages, body);
                let result = peer.run();
                // A worker may hold a second connection, which consumes nothing.
                if peer.was_fed() {
                    let _ = ended.send(result.map(|()| peer.fed));
                }
            });
        }
    });
    end.recv()?
}
