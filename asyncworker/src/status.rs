//! What an app does right now, for probes and for people.

use crate::handler::{Extract, Failure, Scope};
use crate::message::Bulk;
use crate::schedule::Tally;
use crate::service::Board;
use crate::worker::Progress;
use serde::{Serialize, Serializer};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What an app does at one moment: [`Running::status`](crate::Running::status), and as an argument of a handler what it does
/// as that is called.
///
/// Two questions are asked of a worker, by Kubernetes among others. *Ready*: does it consume all it should?
/// *Live*: does it get on, or would a restart help? Neither asks whether the process or a broker answers, because a
/// worker whose consumer was cancelled or whose handler hangs does that too.
///
/// As JSON it has these fields, times as numbers of seconds, and what is `None` as null.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// Whether the app has not started yet: its startup hooks, services or declarations are at work.
    pub starting: bool,
    /// Whether the app was told to stop: it finishes what is under way and takes nothing more.
    pub stopping: bool,
    /// The routes, in the order they were mounted.
    pub routes: Vec<RouteStatus>,
    /// The schedules, in the order they were mounted.
    pub schedules: Vec<ScheduleStatus>,
    /// The services, in the order they started.
    pub services: Vec<ServiceStatus>,
}

/// What a route does at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RouteStatus {
    /// The route's name.
    pub name: String,
    /// The queues it consumes, in the order they were named.
    pub queues: Vec<QueueStatus>,
    /// Messages that came and are not settled: those in the bulk that fills, and those of handlers that run.
    pub unsettled: usize,
    /// How long ago the oldest of these came; as JSON in seconds.
    #[serde(serialize_with = "in_seconds")]
    pub oldest_unsettled: Option<Duration>,
    /// Messages settled since the start.
    pub settled: u64,
    /// How long ago a message was settled; as JSON in seconds.
    #[serde(serialize_with = "in_seconds")]
    pub last_settled: Option<Duration>,
}

/// A time, be there one or not, as a number of seconds.
pub(crate) fn in_seconds<S: Serializer>(
    time: &(impl Into<Option<Duration>> + Copy),
    serializer: S,
) -> Result<S::Ok, S::Error> {
    (*time).into().map(|time| time.as_secs_f64()).serialize(serializer)
}

/// What a consumer does at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct QueueStatus {
    /// The queue's name.
    pub queue: String,
    /// Whether a consumer is registered with the broker: `basic.consume` was answered by `basic.consume-ok`, and
    /// since then neither was the channel lost nor did the broker or the app cancel it.
    pub consuming: bool,
}

/// What a schedule does at one moment. Neither readiness nor liveness asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ScheduleStatus {
    /// The schedule's name.
    pub name: String,
    /// How many runs are under way.
    pub running: usize,
    /// Runs begun since the start.
    pub runs: u64,
    /// Runs that failed, panicked or ran into their timeout.
    pub failures: u64,
    /// Ticks at which no run began, for as many as may be were under way.
    pub skipped: u64,
}

/// What a service does at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ServiceStatus {
    /// The service's name.
    pub name: String,
    /// Where it stands.
    pub state: ServiceState,
    /// How often it was restarted since the app started.
    pub restarts: u64,
    /// The last that went wrong in it, be it past.
    pub last_error: Option<String>,
    /// How much waits to be done, where it says so: [`Service::depth`](crate::Service::depth).
    pub depth: Option<usize>,
}

/// Where a service stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ServiceState {
    /// It has not been started: others are first.
    Waiting,
    /// It runs, and does not say that it is ready.
    Starting,
    /// It runs, and says that it does what it is for.
    Ready,
    /// Its run has failed, and the next follows after a pause.
    Restarting,
    /// It was told to stop, and runs still.
    Stopping,
    /// It has ended in order, as told or because it was done.
    Ended,
    /// It has failed and is not restarted.
    Failed,
}

impl Status {
    /// Whether the app has started and is not stopping, each of its routes consumes each of its queues, and each of its services is ready
    /// or was done.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.starting
            && !self.stopping
            && self.routes.iter().all(RouteStatus::is_consuming)
            && self.services.iter().all(ServiceStatus::is_ready)
    }

    /// Whether no route has had unsettled messages for this long without settling any. Choose a time above each
    /// `bulk_flush_interval` and above what a handler may take; RabbitMQ itself gives up on a consumer after 30
    /// minutes (`consumer_timeout`).
    #[must_use]
    pub fn is_live(&self, stalled_after: Duration) -> bool {
        self.routes.iter().all(|route| route.stalled_for().is_none_or(|stalled| stalled < stalled_after))
    }
}

impl ServiceStatus {
    /// Whether it does what it is for, or was done with it.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self.state, ServiceState::Ready | ServiceState::Ended)
    }
}

impl RouteStatus {
    /// Whether each of its queues is consumed.
    #[must_use]
    pub fn is_consuming(&self) -> bool {
        self.queues.iter().all(|queue| queue.consuming)
    }

    /// How long it has had unsettled messages and settled none; `None` where it has none.
    #[must_use]
    pub fn stalled_for(&self) -> Option<Duration> {
        let oldest = self.oldest_unsettled?;
        Some(self.last_settled.map_or(oldest, |settled| settled.min(oldest)))
    }
}

/// What a status is made from, again and again.
#[derive(Debug, Clone)]
pub(crate) struct Observer {
    routes: Arc<[Observed]>,
    schedules: Arc<[(Arc<str>, Arc<Tally>)]>,
    services: Arc<[Arc<Board>]>,
    starting: Arc<AtomicBool>,
    stopping: CancellationToken,
}

/// A route whose progress is looked at.
#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) name: Arc<str>,
    /// In the order of its lanes.
    pub(crate) queues: Vec<Arc<str>>,
    pub(crate) progress: Arc<Progress>,
}

impl Observer {
    /// Looks at these routes, schedules and services of an app, from before it starts until this token tells it to stop,
    /// and after.
    pub(crate) fn new(
        routes: Vec<Observed>,
        schedules: Vec<(Arc<str>, Arc<Tally>)>,
        services: Arc<[Arc<Board>]>,
        stopping: CancellationToken,
    ) -> Self {
        let starting = Arc::new(AtomicBool::new(true));
        Self { routes: routes.into(), schedules: schedules.into(), services, starting, stopping }
    }

    /// Says that all of the app has started.
    pub(crate) fn started(&self) {
        self.starting.store(false, Relaxed);
    }

    /// Whether some of the app has not started yet.
    pub(crate) fn is_starting(&self) -> bool {
        self.starting.load(Relaxed)
    }

    /// Cancelled when the app is told to stop.
    #[cfg(feature = "http")]
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    pub(crate) fn status(&self) -> Status {
        Status {
            starting: self.is_starting(),
            stopping: self.stopping.is_cancelled(),
            routes: self.routes.iter().map(Observed::status).collect(),
            schedules: self.schedules.iter().map(|(name, tally)| schedule(name, tally)).collect(),
            services: self.services.iter().map(|board| board.status()).collect(),
        }
    }
}

/// Where handlers have the status of their app from. It is among the state before there is anything to look at.
#[derive(Debug, Clone, Default)]
pub struct Sight(Arc<OnceLock<Observer>>);

impl Sight {
    /// There is an app to look at.
    pub(crate) fn open(&self, observer: &Observer) {
        self.0.get_or_init(|| observer.clone());
    }

    /// `None` while the app is put together.
    pub(crate) fn status(&self) -> Option<Status> {
        self.0.get().map(Observer::status)
    }
}

impl Extract for Status {
    type Resolved = Sight;

    fn resolve(scope: &Scope<'_>) -> Result<Sight, String> {
        scope.state().ok_or_else(|| "it takes a `Status`, which only an app has".into())
    }

    fn extract(resolved: &Sight, _: &Bulk) -> Result<Self, Failure> {
        resolved.status().ok_or_else(|| Failure::new("the app has no status before it is put together"))
    }
}

fn schedule(name: &str, tally: &Tally) -> ScheduleStatus {
    ScheduleStatus {
        name: name.to_owned(),
        running: tally.running.load(Relaxed),
        runs: tally.runs.load(Relaxed),
        failures: tally.failures.load(Relaxed),
        skipped: tally.skipped.load(Relaxed),
    }
}

impl Observed {
    fn status(&self) -> RouteStatus {
        let Self { name, queues, progress } = self;
        let queue = |(lane, queue): (usize, &Arc<str>)| QueueStatus {
            queue: queue.as_ref().to_owned(),
            consuming: progress.is_consuming(lane),
        };
        RouteStatus {
            name: name.as_ref().to_owned(),
            queues: queues.iter().enumerate().map(queue).collect(),
            unsettled: progress.unsettled_messages(),
            oldest_unsettled: progress.oldest_unsettled(),
            settled: progress.settled_messages(),
            last_settled: progress.last_settled(),
        }
    }
}
