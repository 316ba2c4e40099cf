//! The runs of a schedule.

use super::Planned;
use super::clock::Ticks;
use crate::handler::{BoundHandler, Failure, Outcome};
use crate::message::Bulk;
use crate::publish::Publisher;
use crate::worker::Stop;
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tracing::{Instrument, Span};

/// What a schedule has come to, for those that look on.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) running: AtomicUsize,
    pub(crate) runs: AtomicU64,
    /// Of these, the ones that ended well.
    pub(crate) completed: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) skipped: AtomicU64,
}

/// A schedule of an app that runs.
pub(crate) struct Scheduler {
    ticks: Ticks,
    max_concurrency: usize,
    run: Arc<Run>,
    stop: Stop,
}

/// What its runs share.
struct Run {
    name: Arc<str>,
    handler: BoundHandler,
    timeout: Option<Duration>,
    publisher: Publisher,
    tally: Arc<Tally>,
}

impl Scheduler {
    pub(crate) fn new(name: Arc<str>, planned: Planned, publisher: Publisher, stop: Stop) -> Self {
        let Planned { ticks, max_concurrency, timeout, handler } = planned;
        let tally = Arc::default();
        Self { ticks, max_concurrency, run: Arc::new(Run { name, handler, timeout, publisher, tally }), stop }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.run.name
    }

    pub(crate) fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.run.tally)
    }

    /// Runs until it is drained. Gives the number of runs that had to be abandoned.
    pub(crate) async fn run(self) -> usize {
        let Self { mut ticks, max_concurrency, run, stop } = self;
        let mut runs = JoinSet::new();
        // Ticks since the last run began.
        let mut skipped = 0_u64;
        loop {
            tokio::select! {
                biased;
                () = stop.abandon.cancelled() => break,
                () = stop.drain.cancelled() => break,
                Some(_) = runs.join_next() => {}
                () = ticks.next() => {
                    if runs.len() < max_concurrency {
                        if skipped > 0 {
                            tracing::info!(schedule = &*run.name, skipped, "the schedule goes on");
                            skipped = 0;
                        }
                        runs.spawn(Arc::clone(&run).once().instrument(span_of(&run.name)));
                        run.tally.runs.fetch_add(1, Ordering::Relaxed);
                    } else {
                        if skipped == 0 {
                            tracing::warn!(
                                schedule = &*run.name,
                                running = max_concurrency,
                                "no run starts until one ends: as many as may are under way"
                            );
                        }
                        skipped += 1;
                        run.tally.skipped.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
            run.tally.running.store(runs.len(), Ordering::Relaxed);
        }
        while !runs.is_empty() {
            tokio::select! {
                biased;
                () = stop.abandon.cancelled() => break,
                _ = runs.join_next() => run.tally.running.store(runs.len(), Ordering::Relaxed),
            }
        }
        if !runs.is_empty() {
            tracing::error!(schedule = &*run.name, runs = runs.len(), "runs did not end in time");
        }
        runs.len()
    }
}

/// The span of a run: a trace of its own where somebody listens to those.
fn span_of(name: &str) -> Span {
    #[cfg(feature = "otel")]
    if let Some(span) = crate::otel::scheduled(name) {
        return span;
    }
    tracing::debug_span!("run", schedule = name)
}

impl Run {
    /// One run, to its end: an `Err`, a panic, a timeout and an output that could not be published are all its failure.
    async fn once(self: Arc<Self>) {
        let result = match self.handle().await {
            Ok(outcome) => self.publisher.publish_all(outcome.publish).await.map_err(Failure::from),
            Err(failure) => Err(failure),
        };
        let Err(error) = result else {
            self.tally.completed.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.tally.failures.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "otel")]
        crate::otel::failed(&error);
        tracing::warn!(schedule = &*self.name, %error, "the run failed");
    }

    async fn handle(&self) -> Result<Outcome, Failure> {
        // The call itself is made inside, so that a panic before the first await is caught too.
        let handling = async { (self.handler)(Bulk::new(None, &self.name, []), None).await };
        let guarded = AssertUnwindSafe(handling).catch_unwind();
        let ended = match self.timeout {
            None => guarded.await,
            Some(timeout) => match tokio::time::timeout(timeout, guarded).await {
                Ok(ended) => ended,
                Err(_) => return Err(Failure::new(format!("it did not end within its timeout of {timeout:?}"))),
            },
        };
        ended.unwrap_or_else(|panic| Err(Failure::panicked(&*panic)))
    }
}
