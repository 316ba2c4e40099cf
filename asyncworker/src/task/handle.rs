//! What somebody has of a task that runs elsewhere.

use super::run::Run;
use super::status::{RunId, TaskOutcome, TaskStatus};
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;

/// One run of a task, to watch and to stop. Any number of handles may do so; a clone is one more, which has seen what
/// this one has. Dropping it leaves the task alone, unless [`stop_on_drop`](Self::stop_on_drop) ties it.
///
/// What it says and does is about its run, and never about a later one of the same name.
pub struct TaskHandle<P> {
    pub(super) run: Arc<Run>,
    pub(super) progress: watch::Receiver<Option<P>>,
}

impl<P> Clone for TaskHandle<P> {
    fn clone(&self) -> Self {
        Self { run: Arc::clone(&self.run), progress: self.progress.clone() }
    }
}

impl<P> fmt::Debug for TaskHandle<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TaskHandle").field(&self.run.status()).finish()
    }
}

impl<P> TaskHandle<P> {
    pub(super) fn new(run: Arc<Run>, mut progress: watch::Receiver<Option<P>>) -> Self {
        progress.mark_changed();
        Self { run, progress }
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

    /// What the run does now.
    #[must_use]
    pub fn status(&self) -> TaskStatus {
        self.run.status()
    }

    /// Waits for the end of the run.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn outcome(&self) -> TaskOutcome {
        self.run.outcome().await
    }

    /// Tells the run to stop and waits for its end. One that has ended stays as it is.
    ///
    /// # Cancel safety
    /// Dropped halfway, it was told to stop all the same.
    pub async fn stop(&self) -> TaskOutcome {
        self.request_stop();
        self.outcome().await
    }

    /// Tells the run to stop, without waiting for it; gives whether it had not ended yet.
    pub fn request_stop(&self) -> bool {
        self.run.request_stop()
    }

    /// Ties the run to what is given: dropped, that tells the run to stop. So a task ends with the request whose handler
    /// holds it. `Tasks::serve` (feature `http`) ties one to a websocket, and does all else that belongs to that.
    #[must_use = "dropped, it stops the task"]
    pub fn stop_on_drop(&self) -> StopOnDrop {
        StopOnDrop(Arc::clone(&self.run))
    }
}

impl<P: Clone> TaskHandle<P> {
    /// The latest progress; `None` before the first.
    #[must_use]
    pub fn progress(&self) -> Option<P> {
        self.progress.borrow().clone()
    }

    /// The latest progress that this handle has not given yet, waiting for one where there is none; at first, that is
    /// what is there already. Values that were overtaken by later ones are left out, the last one never is. `None` once
    /// the run has ended.
    ///
    /// # Cancel safety
    /// Cancel safe: no value is lost.
    pub async fn next_progress(&mut self) -> Option<P> {
        loop {
            let ended = tokio::select! {
                biased;
                changed = self.progress.changed() => changed.is_err(),
                _ = self.run.outcome() => !self.progress.has_changed().unwrap_or(false),
            };
            if ended {
                return None;
            }
            if let Some(progress) = self.progress.borrow_and_update().clone() {
                return Some(progress);
            }
        }
    }
}

/// Tells a run to stop when it is dropped: [`TaskHandle::stop_on_drop`].
#[must_use = "dropped, it stops the task"]
pub struct StopOnDrop(Arc<Run>);

impl fmt::Debug for StopOnDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StopOnDrop").field(&self.0.name).field(&self.0.id).finish()
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.request_stop();
    }
}
