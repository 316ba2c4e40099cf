//! What a task does, and how it comes to its end.

use super::run::{Run, TaskRun};
use super::status::{TaskError, TaskKind, TaskOutcome};
use crate::error::panic_message;
use crate::handler::{Failure, IntoResult};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

/// After this a blocking task that was told to stop and has not is warned of.
const PATIENCE: Duration = Duration::from_secs(5);

/// A task that was not started yet: a name, and what to do. [`Tasks::start`](super::Tasks::start) starts it.
///
/// `P` is the type by which it reports its progress: a number, a text, or any type of yours that is `Serialize`, `Clone`,
/// `Send` and `Sync`; `()` for none.
#[must_use = "a task does nothing before `Tasks::start`"]
pub struct Task<P> {
    pub(super) name: Arc<str>,
    work: Work<P>,
    stop_timeout: Option<Duration>,
}

enum Work<P> {
    Async(Once<P, BoxFuture<'static, Result<(), Failure>>>),
    Blocking(Once<P, Result<(), Failure>>),
}

type Once<P, R> = Box<dyn FnOnce(TaskRun<P>) -> R + Send>;

/// A task was told to stop: what [`TaskRun::check`] gives, and with what a task may end then. Its outcome is
/// [`Cancelled`](TaskOutcome::Cancelled).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the task was told to stop")]
pub struct Stopped;

impl<P> fmt::Debug for Task<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("name", &self.name).field("kind", &self.kind()).finish_non_exhaustive()
    }
}

impl<P> Task<P> {
    /// A task on the runtime. Told to stop, it is dropped at its next `await`, unless it has a
    /// [`stop_timeout`](Self::stop_timeout).
    pub fn new<F, Fut>(name: impl Into<String>, work: F) -> Self
    where
        F: FnOnce(TaskRun<P>) -> Fut + Send + 'static,
        Fut: Future<Output: IntoResult> + Send + 'static,
        P: Send + Sync + 'static,
    {
        // The call itself is inside, so that a panic in it is caught too.
        let work = |run| async move { work(run).await.into_result() }.boxed();
        Self { name: name.into().into(), work: Work::Async(Box::new(work)), stop_timeout: None }
    }

    /// A task on a thread of its own, for what computes or calls what blocks. It is within the runtime, so
    /// [`Handle::block_on`] works. Nobody can end a thread from outside: it has to ask at every step whether it
    /// [`is_stopping`](TaskRun::is_stopping).
    pub fn blocking<F, R>(name: impl Into<String>, work: F) -> Self
    where
        F: FnOnce(TaskRun<P>) -> R + Send + 'static,
        R: IntoResult,
    {
        let work = |run| work(run).into_result();
        Self { name: name.into().into(), work: Work::Blocking(Box::new(work)), stop_timeout: None }
    }

    /// How long it may take to end by itself once it was told to stop. After that an async task is dropped at its next
    /// `await`; by default that is at once. A blocking one is warned of, by default after 5 s.
    pub fn stop_timeout(mut self, timeout: Duration) -> Self {
        self.stop_timeout = Some(timeout);
        self
    }

    pub(super) fn kind(&self) -> TaskKind {
        match self.work {
            Work::Async(_) => TaskKind::Async,
            Work::Blocking(_) => TaskKind::Blocking,
        }
    }

    /// Runs it, until its end or until `abandon`.
    pub(super) fn spawn(self, run: TaskRun<P>, runtime: &Handle, abandon: &CancellationToken) -> Result<(), TaskError>
    where
        P: Send + Sync + 'static,
    {
        let shared = Arc::clone(run.shared());
        let span = tracing::info_span!(parent: None, "task", task = &*shared.name, run = %shared.id);
        match self.work {
            Work::Async(work) => {
                let patience = self.stop_timeout.unwrap_or_default();
                let driven = drive(work(run), Ending(shared), patience, abandon.clone());
                runtime.spawn(driven.instrument(span));
                Ok(())
            }
            Work::Blocking(work) => {
                let patience = self.stop_timeout.unwrap_or(PATIENCE);
                runtime.spawn(warn_of(Arc::clone(&shared), patience).instrument(span.clone()));
                block(work, run, shared, span, runtime.clone())
            }
        }
    }
}

/// Runs an async task.
async fn drive(
    work: BoxFuture<'static, Result<(), Failure>>,
    ending: Ending,
    patience: Duration,
    abandon: CancellationToken,
) {
    let mut work = AssertUnwindSafe(work).catch_unwind();
    let ended = {
        let stop = ending.0.stop_token();
        let given_up = async {
            stop.cancelled().await;
            let _ = timeout(patience, abandon.cancelled()).await;
        };
        tokio::select! {
            biased;
            ended = &mut work => Some(ended),
            () = given_up => None,
        }
    };
    // What it holds is gone before anybody is told of its end, and so before the next run.
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(work)));
    ending.end(ended, dropped);
}

/// Runs a blocking task, on a thread of its own: tokio's are for what is short, and a runtime waits for them at its end.
fn block<P: Send + Sync + 'static>(
    work: Once<P, Result<(), Failure>>,
    run: TaskRun<P>,
    shared: Arc<Run>,
    span: Span,
    runtime: Handle,
) -> Result<(), TaskError> {
    let name = shared.name.as_ref().to_owned();
    let ending = Ending(shared);
    let started = thread::Builder::new().name(name.replace('\0', "")).spawn(move || {
        let (_within, _entered) = (runtime.enter(), span.enter());
        let ended = catch_unwind(AssertUnwindSafe(|| work(run)));
        ending.end(Some(ended), Ok(()));
    });
    started.map(drop).map_err(|source| TaskError::Thread { name, source })
}

/// Names a blocking task that does not end when it should.
async fn warn_of(run: Arc<Run>, patience: Duration) {
    let late = async {
        run.stop_token().cancelled().await;
        sleep(patience).await;
        tracing::warn!("a blocking task was told to stop {patience:?} ago and runs on");
    };
    tokio::select! {
        biased;
        _ = run.outcome() => {}
        () = late => {}
    }
}

/// The end of a run that is still to be told. Dropped without, the runtime has ended: the run was cancelled.
struct Ending(Arc<Run>);

type Caught<T> = Result<T, Box<dyn Any + Send>>;

impl Ending {
    fn end(self, ended: Option<Caught<Result<(), Failure>>>, dropped: Caught<()>) {
        let outcome = match (ended, dropped) {
            (Some(Err(panic)), _) | (_, Err(panic)) => TaskOutcome::Panicked(panic_message(&*panic).to_owned()),
            (Some(Ok(Err(failure))), _) if !failure.error().is::<Stopped>() => TaskOutcome::Failed(failure.to_string()),
            (Some(Ok(Ok(()))), _) if !self.0.stop_token().is_cancelled() => TaskOutcome::Completed,
            _ => TaskOutcome::Cancelled,
        };
        match &outcome {
            TaskOutcome::Completed => tracing::debug!("completed"),
            TaskOutcome::Failed(error) => tracing::warn!(error, "the task failed"),
            TaskOutcome::Panicked(panic) => tracing::error!(panic, "the task panicked"),
            TaskOutcome::Cancelled => tracing::debug!("cancelled"),
        }
        self.0.end(outcome);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end(TaskOutcome::Cancelled);
    }
}
