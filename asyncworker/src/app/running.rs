//! A running app and its end.

use super::Hook;
use super::hooks::Context;
#[cfg(feature = "http")]
use super::http::Servers;
use crate::backend::Connections;
use crate::emitter::Emitter;
use crate::error::{Error, ErrorKind};
#[cfg(feature = "metrics")]
use crate::metrics::Exposition;
use crate::publish::Publisher;
use crate::service::Services;
use crate::status::{Observer, Status};
use crate::task::Tasks;
use crate::worker::Stop;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The longest part of the shutdown timeout that is kept back from the handlers, for settling, hooks and
/// closing; of a short timeout it is a quarter.
const LONGEST_RESERVE: Duration = Duration::from_secs(1);

/// What consumes: the engines of the routes and the consumers of their queues.
pub(super) struct Consumers {
    /// Each gives the number of handlers it had to abandon.
    pub(super) workers: JoinSet<usize>,
    pub(super) consumers: Vec<JoinHandle<()>>,
    pub(super) observer: Observer,
    pub(super) stop: Stop,
    pub(super) close: CancellationToken,
}

impl Consumers {
    pub(super) fn none() -> Self {
        let stop = Stop { drain: CancellationToken::new(), abandon: CancellationToken::new() };
        Self {
            workers: JoinSet::new(),
            consumers: Vec::new(),
            observer: Observer::new(Vec::new(), Vec::new(), Arc::default(), stop.drain.clone()),
            stop,
            close: CancellationToken::new(),
        }
    }
}

/// An app that runs. Dropped without [`shutdown`](Self::shutdown), it stops at once: what was not settled
/// goes back to its queue.
pub struct Running {
    pub(super) consumers: Consumers,
    pub(super) services: Services,
    connections: Connections,
    pub(super) context: Context,
    emitter: Emitter,
    #[cfg(feature = "http")]
    pub(super) http: Servers<crate::http::Server>,
    hooks: Vec<Hook>,
    shutdown_timeout: Duration,
    #[cfg(feature = "metrics")]
    exposition: Exposition,
    /// Ends workers, consumers, tasks and handlers of events when the app is dropped.
    _at_once: [DropGuard; 5],
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("routes", &self.consumers.workers.len()).finish_non_exhaustive()
    }
}

impl Running {
    pub(super) fn new(
        consumers: Consumers,
        services: Services,
        connections: Connections,
        context: Context,
        hooks: Vec<Hook>,
        shutdown_timeout: Duration,
        #[cfg(feature = "metrics")] exposition: Exposition,
    ) -> Self {
        let emitter = context.emitter();
        let [drain, abandon, close] = [&consumers.stop.drain, &consumers.stop.abandon, &consumers.close];
        let tokens = [drain, abandon, close, context.tasks.abandon(), emitter.abandon()];
        let _at_once = tokens.map(|token| token.clone().drop_guard());
        Self {
            consumers,
            services,
            connections,
            context,
            emitter,
            #[cfg(feature = "http")]
            http: Servers::none(),
            hooks,
            shutdown_timeout,
            #[cfg(feature = "metrics")]
            exposition,
            _at_once,
        }
    }

    /// A publisher on the app's first connection that publishes.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        self.context.publisher()
    }

    /// Tells the app's own handlers what happened.
    #[must_use]
    pub fn emitter(&self) -> Emitter {
        self.emitter.clone()
    }

    /// The app's long tasks.
    #[must_use]
    pub fn tasks(&self) -> Tasks {
        self.context.tasks()
    }

    /// What the app does right now: whether its queues are consumed, how far its routes have come, and where its services
    /// stand.
    #[must_use]
    pub fn status(&self) -> Status {
        self.consumers.observer.status()
    }

    /// The app's metrics as they are now, in Prometheus's text format (version 0.0.4).
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn metrics(&self) -> String {
        self.exposition.text()
    }

    pub(super) fn shutdown_timeout(&self) -> Duration {
        self.shutdown_timeout
    }

    /// Stops the app: tasks are told to stop, consumers are cancelled, the partial bulk is handed to its handler, handlers are
    /// waited for, what they said is settled, everything else goes back to its queue, services stop, shutdown hooks run,
    /// connections close. All of that within the shutdown timeout.
    ///
    /// # Errors
    /// [`ErrorKind::Shutdown`]: a handler, a task, a service or a hook did not end in time, or a service or a hook failed.
    /// No message is lost by it. [`ErrorKind::Service`]: a service had failed past its restart limit.
    ///
    /// # Cancel safety
    /// Dropped halfway, the rest stops at once.
    pub async fn shutdown(self) -> Result<(), Error> {
        self.stop(true).await
    }

    pub(super) async fn stop(mut self, run_hooks: bool) -> Result<(), Error> {
        let deadline = Instant::now() + self.shutdown_timeout;
        let reserve = LONGEST_RESERVE.min(self.shutdown_timeout / 4);
        let mut complaints = Vec::new();

        // Now, because a handler may wait for a task that it has started.
        self.context.tasks.close();
        let abandoned = self.drain(deadline - reserve).await;
        if abandoned > 0 {
            complaints.push(format!("{abandoned} handlers did not end in time"));
        }
        #[cfg(feature = "http")]
        complaints.extend(self.stop_http(deadline - reserve).await);
        complaints.extend(self.context.tasks.stopped(deadline - reserve).await);
        self.consumers.close.cancel();
        for consumer in std::mem::take(&mut self.consumers.consumers) {
            if timeout_at(deadline, consumer).await.is_err() {
                complaints.push("a consumer did not close in time".into());
            }
        }
        // Before services stop, because they may use them; and after, because services emit events too.
        self.emitter.drain(deadline - reserve).await;
        complaints.extend(self.services.stop(deadline - reserve / 2, deadline - reserve / 4).await);
        let events = self.emitter.drain(deadline - reserve / 4).await;
        if events > 0 {
            self.emitter.abandon().cancel();
            complaints.push(format!("{events} handlers of events did not end in time"));
        }
        if run_hooks {
            complaints.extend(self.run_hooks(deadline).await);
        }
        #[cfg(feature = "http")]
        complaints.extend(self.stop_metrics(deadline).await);
        for connection in self.connections.iter() {
            if timeout_at(deadline, connection.backend.close()).await.is_err() {
                complaints.push("a connection did not close in time".into());
            }
        }
        if complaints.is_empty() {
            tracing::info!("stopped");
            return self.services.failure().map_or(Ok(()), Err);
        }
        let error =
            Error::new(ErrorKind::Shutdown, format!("the app did not stop in order: {}", complaints.join("; ")));
        tracing::error!(%error);
        Err(self.services.failure().unwrap_or(error))
    }

    /// Waits for the handlers as long as it may; gives the number of those it had to abandon.
    async fn drain(&mut self, until: Instant) -> usize {
        let Consumers { workers, stop, .. } = &mut self.consumers;
        stop.drain.cancel();
        let mut abandoned = 0;
        let drained = async {
            while let Some(ended) = workers.join_next().await {
                abandoned += ended.unwrap_or(1);
            }
        };
        if timeout_at(until, drained).await.is_err() {
            stop.abandon.cancel();
            while let Some(ended) = workers.join_next().await {
                abandoned += ended.unwrap_or(1);
            }
        }
        abandoned
    }

    async fn run_hooks(&mut self, deadline: Instant) -> Vec<String> {
        let mut complaints = Vec::new();
        while let Some(hook) = self.hooks.pop() {
            let place = self.hooks.len() + 1;
            // A hook gets a turn even when the handlers have used up the time: most need next to none.
            match timeout_at(deadline, hook.run(self.context.clone())).await {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => complaints.push(format!("shutdown hook {place} failed: {failure}")),
                Err(_) => complaints.push(format!("shutdown hook {place} did not end in time")),
            }
        }
        complaints
    }
}
