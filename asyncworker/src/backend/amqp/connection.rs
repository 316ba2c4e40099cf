//! A connection that is kept: one supervised lapin `Connection` an epoch.
//!
//! lapin's own recovery stays off: after some failures its consumers pend for ever. Here any error, and
//! a channel's complaint that the connection is not there, ends the epoch; the socket is shut down, so
//! that nothing of it lingers, and the next host is tried after a pause.

use super::convert::short;
use super::dial::{Config, FRAME_MAX, Purpose, Socket, dial};
use super::starved::Looks;
use super::topology;
use super::uri::Endpoint;
use super::wire::Wire;
use crate::backend::report::Attempts;
use crate::error::{BoxError, Error, ErrorKind, one_line};
use crate::topology::Thing;
use futures_util::StreamExt;
use lapin::Event;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// How long a broker may take to open a channel, to start or cancel a consumer, to declare something.
const REPLY_DEADLINE: Duration = Duration::from_secs(10);
/// How long a broker may take to close a channel or a connection that nobody needs any more.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);
/// How long lapin may take to say why it has let go of its socket.
const CAUSE_DEADLINE: Duration = Duration::from_millis(500);

/// One epoch of a connection.
pub(super) struct Live {
    pub(super) connection: lapin::Connection,
    /// Cancelled when the epoch is over. Whoever notices first may cancel it.
    pub(super) over: CancellationToken,
    /// What passes lapin by: deliveries, settlements, publishes and confirms.
    pub(super) wire: Wire,
    pub(super) looks: Looks,
    socket: Socket,
}

impl Live {
    /// Ends the epoch if an error came of a connection that is not there any more.
    pub(super) fn check(&self) {
        if !self.connection.status().connected() {
            self.over.cancel();
        }
    }

    /// How large a frame may be, as both sides agreed.
    pub(super) fn frame_max(&self) -> usize {
        match self.connection.configuration().frame_max() {
            0 => FRAME_MAX as usize,
            agreed => agreed as usize,
        }
    }

    /// A new channel.
    pub(super) async fn channel(&self) -> Result<lapin::Channel, BoxError> {
        self.reply("channel.open", self.connection.create_channel()).await
    }

    /// Waits for a reply of the broker, but not for ever, and no longer than the epoch lasts: a broker
    /// that accepts and says nothing must not hold anything up, and lapin forgets some calls when a
    /// connection ends.
    pub(super) async fn reply<T>(
        &self,
        method: &str,
        call: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, BoxError> {
        let replied = tokio::select! {
            replied = within(REPLY_DEADLINE, method, call) => replied,
            () = self.over.cancelled() => Err(format!("the connection was lost during {method}").into()),
        };
        replied.inspect_err(|_| self.check())
    }
}

async fn within<T>(
    deadline: Duration,
    method: &str,
    call: impl Future<Output = lapin::Result<T>>,
) -> Result<T, BoxError> {
    match tokio::time::timeout(deadline, call).await {
        Ok(replied) => Ok(replied?),
        Err(_) => Err(format!("the broker did not reply to {method} within {deadline:?}").into()),
    }
}

/// Closes a channel that nobody needs any more.
pub(super) async fn close_channel(channel: &lapin::Channel) {
    if channel.status().connected()
        && let Err(error) = within(CLOSE_DEADLINE, "channel.close", channel.close(200, short("OK"))).await
    {
        tracing::debug!(error = one_line(&*error), "a channel did not close in order");
    }
}

/// A supervised connection to one virtual host.
pub(super) struct Link {
    config: Arc<Config>,
    live: watch::Receiver<Option<Arc<Live>>>,
    /// What each new epoch declares first.
    declared: Arc<Mutex<Vec<Thing>>>,
    close: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Link {
    pub(super) fn start(config: Arc<Config>, purpose: Purpose, vhost: Arc<str>) -> Self {
        let (sender, live) = watch::channel(None);
        let declared = Arc::default();
        let close = CancellationToken::new();
        let span = tracing::info_span!(parent: None, "connection", vhost = &*vhost, ?purpose);
        let supervisor = Supervisor {
            config: Arc::clone(&config),
            purpose,
            vhost,
            live: sender,
            declared: Arc::clone(&declared),
            attempts: Attempts::new(config.backoff),
        };
        let closing = close.clone();
        let task = async move {
            tokio::select! {
                never = supervisor.run() => match never {},
                () = closing.cancelled() => {}
            }
        };
        let task = Mutex::new(Some(tokio::spawn(task.instrument(span))));
        Self { config, live, declared, close, task }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// The connection, as soon as there is one. Pends for ever once the link is closed.
    pub(super) async fn live(&self) -> Arc<Live> {
        let mut live = self.live.clone();
        let found = live.wait_for(|live| live.as_ref().is_some_and(|live| !live.over.is_cancelled())).await;
        match found.ok().and_then(|live| live.clone()) {
            Some(live) => live,
            None => std::future::pending().await,
        }
    }

    /// Declares these now, and again in each epoch to come.
    pub(super) async fn declare(&self, things: Vec<Thing>) -> Result<(), Error> {
        loop {
            let live = self.live().await;
            match topology::declare(&live, &things).await {
                Ok(()) => break,
                Err(topology::Refusal::Mismatch(error)) => return Err(error),
                Err(topology::Refusal::Disturbed(error)) => {
                    tracing::warn!(error = one_line(&*error), "declaring was disturbed; trying again");
                    live.check();
                    tokio::time::sleep(self.config.backoff.0).await;
                }
            }
        }
        self.declared.lock().unwrap_or_else(PoisonError::into_inner).extend(things);
        Ok(())
    }

    /// Declares a queue and its bindings again, if the app asked for them: somebody deleted it. What goes
    /// wrong is told when it is consumed.
    pub(super) async fn declare_again(&self, live: &Live, queue: &str) {
        let mut things = self.declared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        things.retain(|thing| match thing {
            Thing::Queue(declared) => declared.name == queue,
            Thing::Binding(binding) => binding.queue == queue,
            Thing::Exchange(_) => false,
        });
        if let Err(refusal) = topology::declare(live, &things).await {
            tracing::debug!(error = %refusal, "declaring the queue again failed");
        }
    }

    /// Closes the connection in order, or at least ends it.
    pub(super) async fn close(&self) {
        self.close.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // It ends at once: it was cancelled.
            let _ = task.await;
        }
        let live = self.live.borrow().clone();
        if let Some(live) = live {
            live.over.cancel();
            if live.connection.status().connected() {
                let closing = live.connection.close(200, short("OK"));
                if let Err(error) = within(CLOSE_DEADLINE, "connection.close", closing).await {
                    tracing::debug!(error = one_line(&*error), "a connection did not close in order");
                }
            }
            live.socket.shut_down();
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close.cancel();
        if let Some(live) = &*self.live.borrow() {
            live.over.cancel();
            live.socket.shut_down();
        }
    }
}

struct Supervisor {
    config: Arc<Config>,
    purpose: Purpose,
    vhost: Arc<str>,
    live: watch::Sender<Option<Arc<Live>>>,
    declared: Arc<Mutex<Vec<Thing>>>,
    attempts: Attempts,
}

impl Supervisor {
    async fn run(mut self) -> std::convert::Infallible {
        let config = Arc::clone(&self.config);
        let mut again = false;
        loop {
            for endpoint in &config.endpoints {
                match self.connect(endpoint).await {
                    Ok(live) => {
                        tracing::info!(broker = %endpoint, failures = self.attempts.failures(), "connected");
                        let start = Instant::now();
                        let _connected = config.meter.connected(std::mem::replace(&mut again, true));
                        let cause = self.epoch(live).await;
                        self.attempts.worked_for(start.elapsed());
                        self.failed(endpoint, "the connection was lost", cause);
                    }
                    Err(cause) => self.failed(endpoint, "cannot connect", cause),
                }
                tokio::time::sleep(self.attempts.pause()).await;
            }
        }
    }

    /// Tells of a failure once, and the hook each time.
    fn failed(&mut self, endpoint: &Endpoint, what: &str, cause: BoxError) {
        let line = one_line(&*cause);
        let (failures, news) = self.attempts.failed(&format!("{endpoint} {what} {line}"));
        if news {
            tracing::warn!(broker = %endpoint, error = line, failures, "{what}; trying again");
        } else {
            tracing::debug!(broker = %endpoint, error = line, failures, "{what}; trying again");
        }
        if let Some(hook) = &self.config.on_connection_failure {
            let error = Error::new(ErrorKind::Connection, format!("{endpoint}: {what}")).because(cause);
            let called = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| hook(&error, failures)));
            if called.is_err() {
                tracing::error!("the connection-failure hook panicked");
            }
        }
    }

    /// Makes the epoch known until it is over, and says why it is.
    async fn epoch(&self, live: Arc<Live>) -> BoxError {
        let mut events = Box::pin(live.connection.events_listener());
        self.live.send_replace(Some(Arc::clone(&live)));
        let mut gone = false;
        let cause = loop {
            tokio::select! {
                event = events.next() => match event {
                    // Errors of a channel are told here too; they are that channel's own affair.
                    Some(Event::Error(error)) if !error.is_amqp_soft_error() => break error.into(),
                    Some(Event::ConnectionBlocked(reason)) => {
                        tracing::warn!(reason, "the broker is short of memory or disk and takes no publishes for now");
                    }
                    Some(Event::ConnectionUnblocked) => tracing::info!("the broker takes publishes again"),
                    Some(_) => {}
                    None => break "lapin gave up the connection".into(),
                },
                () = live.over.cancelled() => break "a channel found the connection gone".into(),
                () = live.wire.gone(), if !gone => gone = true,
                () = tokio::time::sleep(CAUSE_DEADLINE), if gone => break "the connection is not there any more".into(),
            }
        };
        live.over.cancel();
        self.live.send_replace(None);
        live.socket.shut_down();
        cause
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<Arc<Live>, BoxError> {
        let (connection, wire, socket) = dial(&self.config, endpoint, &self.vhost, self.purpose).await?;
        let live = Arc::new(Live {
            connection,
            over: CancellationToken::new(),
            wire,
            looks: Looks::new(self.config.look_every),
            socket,
        });
        let things = self.declared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match topology::declare(&live, &things).await {
            Ok(()) => {}
            // It fitted when the app started; whoever changed it since is told, and what is there is used.
            Err(topology::Refusal::Mismatch(error)) => {
                tracing::error!(error = one_line(&error), "declaring again failed")
            }
            Err(topology::Refusal::Disturbed(error)) => {
                live.socket.shut_down();
                return Err(error);
            }
        }
        Ok(live)
    }
}
