//! One run of a task: what it and those who watch it share.

use super::Tasks;
use super::handle::TaskHandle;
use super::status::{RunId, TaskError, TaskKind, TaskOutcome, TaskState, TaskStatus};
use super::work::{Stopped, Task};
use crate::emitter::Emitter;
use crate::handler::Failure;
use crate::publish::Publisher;
use crate::state::asked;
use serde::Serialize;
use serde_json::Value;
use std::any::{Any, type_name};
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A run of a task, with the type of its progress forgotten.
pub(super) struct Run {
    pub(super) id: RunId,
    pub(super) name: Arc<str>,
    kind: TaskKind,
    started: Instant,
    stop: CancellationToken,
    state: watch::Sender<TaskState>,
    progress: Box<dyn Reported>,
    changed: watch::Sender<()>,
}

/// The latest progress, by whichever type.
trait Reported: Send + Sync {
    fn json(&self) -> Result<Value, serde_json::Error>;
    fn type_name(&self) -> &'static str;
    fn any(&self) -> &dyn Any;
}

impl<P: Serialize + Send + Sync + 'static> Reported for watch::Sender<Option<P>> {
    fn json(&self) -> Result<Value, serde_json::Error> {
        serde_json::to_value(&*self.borrow())
    }

    fn type_name(&self) -> &'static str {
        type_name::<P>()
    }

    fn any(&self) -> &dyn Any {
        self
    }
}

impl Run {
    pub(super) fn new<P: Serialize + Send + Sync + 'static>(
        id: RunId,
        task: &Task<P>,
        progress: watch::Sender<Option<P>>,
        changed: watch::Sender<()>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            id,
            name: Arc::clone(&task.name),
            kind: task.kind(),
            started: Instant::now(),
            stop,
            state: watch::Sender::new(TaskState::Running),
            progress: Box::new(progress),
            changed,
        }
    }

    pub(super) fn state(&self) -> TaskState {
        self.state.borrow().clone()
    }

    #[cfg(feature = "http")]
    pub(super) fn watch(&self) -> watch::Receiver<TaskState> {
        self.state.subscribe()
    }

    pub(super) fn is_ended(&self) -> bool {
        self.state.borrow().is_ended()
    }

    pub(super) fn status(&self) -> TaskStatus {
        // The state first: a progress that is newer than it does no harm, an end without the last progress would.
        let state = self.state();
        let progress = self.progress.json().unwrap_or_else(|error| {
            tracing::warn!(task = &*self.name, %error, "the progress of a task cannot be written as JSON");
            Value::Null
        });
        let Self { id, name, kind, started, .. } = self;
        TaskStatus { name: name.as_ref().to_owned(), run: *id, kind: *kind, state, progress, age: started.elapsed() }
    }

    /// A handle that has seen no progress yet.
    pub(super) fn handle<P: Send + Sync + 'static>(self: &Arc<Self>) -> Result<TaskHandle<P>, TaskError> {
        match self.progress.any().downcast_ref::<watch::Sender<Option<P>>>() {
            Some(progress) => Ok(TaskHandle::new(Arc::clone(self), progress.subscribe())),
            None => Err(TaskError::OtherProgress {
                name: self.name.as_ref().to_owned(),
                reports: self.progress.type_name(),
                wanted: type_name::<P>(),
            }),
        }
    }

    /// Why a second one cannot be started.
    pub(super) fn refusal(&self) -> TaskError {
        let stopping = self.state() == TaskState::Stopping;
        TaskError::Running { name: self.name.as_ref().to_owned(), run: self.id, stopping }
    }

    /// Tells it to stop; gives whether it had not ended yet.
    pub(super) fn request_stop(&self) -> bool {
        let told = self.state.send_if_modified(|state| {
            let runs = *state == TaskState::Running;
            if runs {
                *state = TaskState::Stopping;
            }
            runs
        });
        if told {
            self.stop.cancel();
            self.changed.send_replace(());
        }
        !self.is_ended()
    }

    /// Waits for its end.
    pub(super) async fn outcome(&self) -> TaskOutcome {
        let mut state = self.state.subscribe();
        loop {
            if let TaskState::Ended(outcome) = &*state.borrow_and_update() {
                return outcome.clone();
            }
            // The sender is this run's own, so it is there.
            let _ = state.changed().await;
        }
    }

    /// The first end is the one that counts.
    pub(super) fn end(&self, outcome: TaskOutcome) {
        let ended = self.state.send_if_modified(|state| {
            let runs = !state.is_ended();
            if runs {
                *state = TaskState::Ended(outcome);
            }
            runs
        });
        if ended {
            self.changed.send_replace(());
        }
    }

    pub(super) fn stop_token(&self) -> &CancellationToken {
        &self.stop
    }
}

/// What a task has of its own run: where it reports its progress, and whether it is to stop; and what it may use of the
/// app. A task of [`Tasks::new`] has no app: no state, no connection to publish on, and nobody who hears of events.
///
/// A clone is the same run, for threads and tasks of its own.
pub struct TaskRun<P> {
    run: Arc<Run>,
    progress: watch::Sender<Option<P>>,
    tasks: Tasks,
}

impl<P> Clone for TaskRun<P> {
    fn clone(&self) -> Self {
        Self { run: Arc::clone(&self.run), progress: self.progress.clone(), tasks: self.tasks.clone() }
    }
}

impl<P> fmt::Debug for TaskRun<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskRun").field("name", &self.run.name).field("id", &self.run.id).finish_non_exhaustive()
    }
}

impl<P> TaskRun<P> {
    pub(super) fn new(run: Arc<Run>, progress: watch::Sender<Option<P>>, tasks: Tasks) -> Self {
        Self { run, progress, tasks }
    }

    pub(super) fn shared(&self) -> &Arc<Run> {
        &self.run
    }

    /// The task's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.run.name
    }

    /// The id of this run.
    #[must_use]
    pub fn id(&self) -> RunId {
        self.run.id
    }

    /// Reports how far it is. Those who watch see the latest value; nobody holds up the task by being slow. After the
    /// end of the run nothing is reported any more.
    pub fn progress(&self, progress: P) {
        {
            // Held so that the run does not end in between.
            let state = self.run.state.borrow();
            if state.is_ended() {
                return;
            }
            self.progress.send_replace(Some(progress));
        }
        self.run.changed.send_replace(());
    }

    /// Whether it was told to stop: what a blocking task asks at every step.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.run.stop.is_cancelled()
    }

    /// [`Stopped`] once it was told to stop, so that `run.check()?` is a step's way out.
    ///
    /// # Errors
    /// It was told to stop.
    pub fn check(&self) -> Result<(), Stopped> {
        if self.is_stopping() { Err(Stopped) } else { Ok(()) }
    }

    /// Waits until it is told to stop: for an async task that has a [`stop_timeout`](Task::stop_timeout) to tidy up.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn stopping(&self) {
        self.run.stop.cancelled().await;
    }

    /// The app's state of this type; so, too, any service, by what it is found as: `Arc<Rates>`.
    ///
    /// # Errors
    /// The app has none, or has ended. It names the type.
    pub fn state<T: Clone + Send + Sync + 'static>(&self) -> Result<T, Failure> {
        asked(self.tasks.state().and_then(|state| state.get()))
    }

    /// A publisher on the app's first connection that publishes.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        self.tasks.publisher()
    }

    /// Tells the app's own handlers what happened.
    #[must_use]
    pub fn emitter(&self) -> Emitter {
        self.tasks.state().and_then(|state| state.get()).unwrap_or_else(Emitter::new)
    }

    /// The app's long tasks, of which this is one.
    #[must_use]
    pub fn tasks(&self) -> Tasks {
        self.tasks.clone()
    }
}
