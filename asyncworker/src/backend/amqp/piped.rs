//! A connection whose socket is given: the reader and the engine as they are, without lapin and without a
//! network, for `cargo xtask counts`. Not part of the public API.

use super::reader::{Outlet, Outlets, Stream, split};
use crate::backend::{Backend, Connect, Connection, Subscription};
use crate::error::Error;
use crate::publish::{Publish, PublishError};
use crate::settings::Settings;
use crate::topology::Thing;
use crate::worker::{Frame, Settler, Signal};
use async_trait::async_trait;
use futures_util::FutureExt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

const FRAME_MAX: u32 = 131_072;

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

    fn open(self: Box<Self>, _app: &str, _settings: &Settings) -> Result<Arc<dyn Backend>, Error> {
        Ok(Arc::new(*self))
    }
}

#[async_trait]
impl Backend for Piped {
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
    let Subscription { lane, queue, inbox, cancel, close, .. } = subscription.clone();
    let Some(socket) = socket else { return };
    let (read, write) = split(socket);
    let settler = Arc::new(PipeSettler(Mutex::new(Box::new(write))));
    subscription.tell(Signal::Opened { lane, epoch: 1, settler });
    let outlets = Outlets::new(FRAME_MAX);
    outlets.register(1, Outlet { lane, epoch: 1, queue, inbox });
    let _stream = Stream::walked(read, Box::new(tokio::io::sink()), outlets);
    cancel.cancelled().await;
    subscription.tell(Signal::Cancelled { lane });
    close.cancelled().await;
}

/// Writes settling frames as lapin would.
struct PipeSettler(Mutex<Box<dyn AsyncWrite + Send + Unpin>>);

impl Settler for PipeSettler {
    fn settle(&self, frames: &[Frame]) {
        let mut socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for frame in frames {
            let (method, tag, bits) = match *frame {
                Frame::Ack { tag, multiple } => (80, tag, u8::from(multiple)),
                Frame::Reject { tag, requeue } => (90, tag, u8::from(requeue)),
                Frame::Nack { tag } => (120, tag, 0b11),
            };
            let [a, b, c, d, e, f, g, h] = tag.to_be_bytes();
            let octets = [1, 0, 1, 0, 0, 0, 13, 0, 60, 0, method, a, b, c, d, e, f, g, h, bits, 0xce];
            // The pipe has room for all that can be unsettled; if not, who reads it waits in vain and says so.
            let _ = socket.write_all(&octets).now_or_never();
        }
    }
}
