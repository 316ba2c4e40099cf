//! A connection whose socket is given: the wire and the engine as they are, without lapin and without a
//! network, for `cargo xtask counts`. Not part of the public API.

use super::dial::FRAME_MAX;
use super::wire::{Outlet, Stream, Wire, split};
use crate::backend::{Backend, Connect, Connection, Subscription};
use crate::error::Error;
use crate::message::Origins;
use crate::meter::ConnectionMeter;
use crate::publish::{Publish, PublishError};
use crate::route::Protocol;
use crate::settings::Settings;
use crate::topology::Thing;
use crate::worker::Signal;
use async_trait::async_trait;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;

/// A connection of one route with one queue. Its deliveries come on channel 1 from the first octet on, without a
/// handshake, and what settles them is written to the same pipe.
#[must_use]
pub fn piped(socket: DuplexStream) -> Connection {
    Connection(Box::new(Piped(Mutex::new(Some(socket)))))
}

struct Piped(Mutex<Option<DuplexStream>>);

impl Connect for Piped {
    fn name(&self) -> Option<&str> {
        None
    }

    fn open(self: Box<Self>, _: &str, _: &Settings, _: &ConnectionMeter) -> Result<Arc<dyn Backend>, Error> {
        Ok(Arc::new(*self))
    }
}

#[async_trait]
impl Backend for Piped {
    fn serves(&self, protocol: Protocol) -> bool {
        protocol == Protocol::Amqp
    }

    fn default_vhost(&self) -> &str {
        "/"
    }

    fn default_prefetch(&self) -> u16 {
        256
    }

    async fn declare(&self, _vhost: Arc<str>, _things: Vec<Thing>) -> Result<(), Error> {
        Ok(())
    }

    fn consume(&self, subscription: Subscription) -> JoinHandle<()> {
        let socket = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        tokio::spawn(consume(socket, subscription))
    }

    async fn publish(&self, _vhost: Arc<str>, _publish: Publish) -> Result<(), PublishError> {
        Err(PublishError::closed())
    }

    async fn close(&self) {}
}

/// As the consumer of a real connection does it: the outlet is there before the first delivery is read.
async fn consume(socket: Option<DuplexStream>, subscription: Subscription) {
    let Subscription { lane, queue, max_body, inbox, cancel, close, .. } = subscription.clone();
    let Some(socket) = socket else { return };
    let (read, write) = split(socket);
    let wire = Wire::new(FRAME_MAX);
    let origins = Origins::new(lane, 1, queue);
    let settler = Arc::new(wire.register(1, Outlet::Deliveries { origins, max_body, inbox }));
    subscription.tell(Signal::Opened { lane, epoch: 1, settler });
    let _stream = Stream::new(read, write, wire);
    cancel.cancelled().await;
    subscription.tell(Signal::Cancelled { lane });
    close.cancelled().await;
}
