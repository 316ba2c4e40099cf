//! What an app is made of, and the one order in which all of it starts and stops.

use super::connections::Declarations;
use super::hooks::{Context, Hooks};
#[cfg(feature = "http")]
use super::http::Endpoints;
#[cfg(feature = "metrics")]
use super::metrics::MetricsPage;
use super::routes::Routes;
use super::schedules::Schedules;
use crate::backend::Connections;
use crate::emitter::Emitter;
use crate::error::Error;
use crate::service::Services;
use crate::task::Tasks;
use crate::worker::Stop;
use async_trait::async_trait;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::DropGuard;

/// The longest part of the shutdown timeout that is kept back from the handlers, for settling, hooks and
/// closing; of a short timeout it is a quarter.
const LONGEST_RESERVE: Duration = Duration::from_secs(1);

/// A part of an app: it starts, drains and stops in its turn. A stop may come at any time, before a start or in the
/// middle of one, too.
#[async_trait]
pub(super) trait Part: Send {
    /// Takes its place outside, before anything of the app's own runs.
    async fn open(&mut self, _: &Context) -> Result<(), Error> {
        Ok(())
    }

    /// Starts it; all parts before it have started.
    async fn start(&mut self, _: &Context) -> Result<(), Error> {
        Ok(())
    }

    /// Takes nothing more and waits for what is under way, until then. What the parts before it serve is there still.
    /// Gives what did not end.
    async fn drain(&mut self, _: Instant) -> Vec<String> {
        Vec::new()
    }

    /// Ends it, when all parts have drained and all parts after it have stopped. Gives what went wrong.
    async fn stop(&mut self, _: &Context, _: Times) -> Vec<String> {
        Vec::new()
    }
}

/// Until when what may take of a stop.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// What is under way.
    drain: Instant,
    /// Services, one after the other.
    pub(super) services: Instant,
    /// Services that are left, all at once, and what they have emitted.
    pub(super) stragglers: Instant,
    /// All of it.
    pub(super) end: Instant,
}

impl Times {
    fn within(timeout: Duration) -> Self {
        let end = Instant::now() + timeout;
        let reserve = LONGEST_RESERVE.min(timeout / 4);
        Self { drain: end - reserve, services: end - reserve / 2, stragglers: end - reserve / 4, end }
    }
}

/// All parts of an app. Dropped, they end at once.
pub(super) struct Parts {
    pub(super) connections: Connections,
    #[cfg(feature = "metrics")]
    pub(super) metrics: MetricsPage,
    pub(super) hooks: Hooks,
    pub(super) emitter: Emitter,
    pub(super) services: Services,
    pub(super) declarations: Declarations,
    pub(super) tasks: Tasks,
    #[cfg(feature = "http")]
    pub(super) endpoints: Endpoints,
    pub(super) routes: Routes,
    pub(super) schedules: Schedules,
    /// Tells routes, schedules and endpoints to stop.
    pub(super) stop: Stop,
    /// Ends what is not of the walk when the app is dropped.
    pub(super) _at_once: [DropGuard; 5],
}

impl Parts {
    /// In the order they start; they drain and stop in reverse. So each is there for as long as those after it: hooks and
    /// services have connections, handlers have services and tasks, and the page of metrics tells of all of it.
    fn in_order(&mut self) -> Vec<&mut dyn Part> {
        vec![
            &mut self.connections,
            #[cfg(feature = "metrics")]
            &mut self.metrics,
            &mut self.hooks,
            &mut self.emitter,
            &mut self.services,
            &mut self.declarations,
            &mut self.tasks,
            #[cfg(feature = "http")]
            &mut self.endpoints,
            &mut self.routes,
            &mut self.schedules,
        ]
    }

    /// Opens all, then starts one after the other.
    ///
    /// # Errors
    /// The first that went wrong. What has started by then runs on, until it is stopped.
    ///
    /// # Cancel safety
    /// Dropped halfway, likewise.
    pub(super) async fn start(&mut self, context: &Context) -> Result<(), Error> {
        for part in self.in_order() {
            part.open(context).await?;
        }
        for part in self.in_order() {
            part.start(context).await?;
        }
        Ok(())
    }

    /// Tells all to stop, lets them drain and ends them. Gives what went wrong.
    pub(super) async fn stop(&mut self, context: &Context, timeout: Duration) -> Vec<String> {
        let times = Times::within(timeout);
        let mut complaints = Vec::new();
        self.stop.drain.cancel();
        // Now, because a handler may wait for a task that it has started.
        self.tasks.close();
        for part in self.in_order().into_iter().rev() {
            complaints.extend(part.drain(times.drain).await);
        }
        for part in self.in_order().into_iter().rev() {
            complaints.extend(part.stop(context, times).await);
        }
        complaints
    }
}

/// Waits for loops that were told to drain, as long as it may, and then abandons what they wait for. Gives how much that
/// was.
pub(super) async fn drained(loops: &mut JoinSet<usize>, stop: &Stop, until: Instant) -> usize {
    let mut abandoned = 0;
    let ended = async {
        while let Some(ended) = loops.join_next().await {
            abandoned += ended.unwrap_or(1);
        }
    };
    if timeout_at(until, ended).await.is_err() {
        stop.abandon.cancel();
        while let Some(ended) = loops.join_next().await {
            abandoned += ended.unwrap_or(1);
        }
    }
    abandoned
}
