//! What tasks do, and why one cannot be had.

use super::Tasks;
use crate::status::in_seconds;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::io;
use std::num::ParseIntError;
use std::str::FromStr;
use std::time::Duration;
use tokio::sync::watch;

/// The id of one run of a task: a number that no other run has, neither in this process nor in the one before it. A later
/// run has a higher one, and JavaScript's numbers hold it exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub(super) u64);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RunId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

/// What a task does at one moment. As JSON:
/// `{"name": "import", "run": 1764078000000001, "kind": "async", "state": "running", "progress": 7, "age": 1.5}`; once it
/// has ended `state` is `"ended"`, and beside it stand its `outcome` and, where it failed or panicked, the `reason`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TaskStatus {
    /// The task's name.
    pub name: String,
    /// The id of the run.
    pub run: RunId,
    /// What it runs on.
    pub kind: TaskKind,
    /// Whether it runs, and how it ended.
    #[serde(flatten)]
    pub state: TaskState,
    /// The latest progress, as JSON; null before the first.
    pub progress: Value,
    /// How long ago it was started; as JSON in seconds.
    #[serde(serialize_with = "in_seconds")]
    pub age: Duration,
}

/// What a task runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// The runtime.
    Async,
    /// A thread of its own.
    Blocking,
}

/// Whether a task runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum TaskState {
    /// It runs.
    Running,
    /// It was told to stop and has not ended yet.
    Stopping,
    /// It has ended.
    Ended(TaskOutcome),
}

impl TaskState {
    /// Whether it has ended.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self, Self::Ended(_))
    }
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", content = "reason", rename_all = "lowercase")]
pub enum TaskOutcome {
    /// By itself, without an error, and nobody had told it to stop.
    Completed,
    /// By an error, of which this is the text.
    Failed(String),
    /// By a panic, with this message.
    Panicked(String),
    /// It was told to stop, and did.
    Cancelled,
}

/// Why a task cannot be started, or found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// A task of this name has not ended.
    #[error("the task `{name}` {} (run {run})", if *.stopping { "is stopping still" } else { "runs already" })]
    Running {
        /// Its name.
        name: String,
        /// The id of the run.
        run: RunId,
        /// Whether it was told to stop.
        stopping: bool,
    },
    /// There is no task of this name.
    #[error("there is no task `{name}`")]
    Unknown {
        /// The name that was asked for.
        name: String,
    },
    /// The task reports its progress by another type.
    #[error("the task `{name}` reports `{reports}`, not `{wanted}`")]
    OtherProgress {
        /// Its name.
        name: String,
        /// What it reports.
        reports: &'static str,
        /// What was asked for.
        wanted: &'static str,
    },
    /// The app was told to stop.
    #[error("the app is stopping: the task `{name}` is not started")]
    Closed {
        /// Its name.
        name: String,
    },
    /// The system gives no thread for a blocking task.
    #[error("there is no thread for the task `{name}`")]
    Thread {
        /// Its name.
        name: String,
        /// What the system says.
        source: io::Error,
    },
}

/// All tasks, watched: [`Tasks::watch`].
#[derive(Debug)]
pub struct TasksWatch {
    tasks: Tasks,
    changed: watch::Receiver<()>,
    /// Nothing changes any more, and that was told.
    over: bool,
}

impl TasksWatch {
    pub(super) fn new(tasks: Tasks, mut changed: watch::Receiver<()>) -> Self {
        changed.mark_changed();
        Self { tasks, changed, over: false }
    }

    /// What all tasks do, in the order they were started: at first at once, then whenever something has changed since.
    /// However much that was, it is told once. `None` when the app has stopped and the last of them was told.
    ///
    /// # Cancel safety
    /// Cancel safe: no change is lost.
    pub async fn next(&mut self) -> Option<Vec<TaskStatus>> {
        if self.over {
            return None;
        }
        if !self.tasks.is_over() {
            self.changed.changed().await.ok()?;
        }
        // Before the list is made, which then has every end.
        self.over = self.tasks.is_over();
        Some(self.tasks.list())
    }
}
