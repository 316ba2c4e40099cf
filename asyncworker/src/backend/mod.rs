//! What the engine asks of a broker. A backend is one folder here; the engine knows none of them.

#[cfg(feature = "amqp")]
pub(crate) mod amqp;
#[cfg(feature = "memory")]
pub(crate) mod memory;
#[cfg(any(feature = "amqp", feature = "sse"))]
mod report;
#[cfg(feature = "sse")]
pub(crate) mod sse;

use crate::error::Error;
use crate::meter::ConnectionMeter;
use crate::publish::{Publish, PublishError};
use crate::route::Protocol;
use crate::settings::Settings;
use crate::topology::Thing;
use crate::worker::{Progress, Signal};
use async_trait::async_trait;
use std::fmt;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What [`App::connect`](crate::App::connect) takes: an `Amqp`, a `Memory`, or a server of events, `Sse`.
pub struct Connection(pub(crate) Box<dyn Connect>);

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("name", &self.0.name()).finish_non_exhaustive()
    }
}

/// A broker as it was configured, before the app starts.
pub(crate) trait Connect: Send {
    /// The name routes use to choose it.
    fn name(&self) -> Option<&str>;

    /// Checks the configuration and makes the backend, without waiting for anything.
    fn open(
        self: Box<Self>,
        app: &str,
        settings: &Settings,
        meter: &ConnectionMeter,
    ) -> Result<Arc<dyn Backend>, Error>;
}

/// The opened connections of an app, in the order they were added.
pub(crate) type Connections = Arc<[NamedBackend]>;

/// A broker of a running app, and the name that routes use to choose it.
pub(crate) struct NamedBackend {
    pub(crate) name: Option<String>,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) meter: ConnectionMeter,
}

/// A broker of a running app.
#[async_trait]
pub(crate) trait Backend: Send + Sync {
    /// Whether it serves what routes of this protocol consume. One that serves queues publishes.
    fn serves(&self, protocol: Protocol) -> bool;

    /// Checks what only it knows of a queue or path that a route names.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check(&self, _queue: &str) -> Result<(), String> {
        Ok(())
    }

    /// The virtual host of routes that name none.
    fn default_vhost(&self) -> &str;

    /// The prefetch of routes that name none.
    fn default_prefetch(&self) -> u16;

    /// Declares these in this virtual host, now and again in each epoch to come; waits for the broker.
    ///
    /// # Errors
    /// What exists already differs, or the broker refuses.
    async fn declare(&self, vhost: Arc<str>, things: Vec<Thing>) -> Result<(), Error>;

    /// Consumes a queue from now on, in a task of its own, until the subscription ends. It never fails:
    /// what goes wrong is reported once and tried again.
    fn consume(&self, subscription: Subscription) -> JoinHandle<()>;

    /// Publishes a message and waits for its confirm, without a deadline of its own.
    async fn publish(&self, vhost: Arc<str>, publish: Publish) -> Result<(), PublishError>;

    /// Closes everything; nothing is consumed or published afterwards.
    async fn close(&self);
}

/// A route's wish to consume one queue.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    /// The route's name.
    pub(crate) route: Arc<str>,
    /// The place of the queue among the route's queues; deliveries and signals carry it.
    pub(crate) lane: usize,
    pub(crate) vhost: Arc<str>,
    /// The queue, or the path of events.
    pub(crate) queue: Arc<str>,
    pub(crate) prefetch: u16,
    /// A delivery with a larger body is malformed: the engine rejects it, and its body need not be kept.
    pub(crate) max_body: usize,
    /// How far the engine has come with what was told: for a broker that may forget a consumer.
    #[cfg_attr(not(feature = "amqp"), allow(dead_code))]
    pub(crate) progress: Arc<Progress>,
    /// Where what happens is told.
    pub(crate) inbox: mpsc::UnboundedSender<Signal>,
    /// Stop consuming: `basic.cancel`, then [`Signal::Cancelled`]. Deliveries can still be settled.
    pub(crate) cancel: CancellationToken,
    /// Everything is settled: close the channel and end.
    pub(crate) close: CancellationToken,
}

impl Subscription {
    /// Tells the engine. It is gone only when its route has ended, and then nobody needs to know.
    pub(crate) fn tell(&self, signal: Signal) {
        let _ = self.inbox.send(signal);
    }
}
