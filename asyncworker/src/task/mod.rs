//! Long tasks: work that somebody starts, watches and stops, beside the messages.

mod handle;
mod run;
#[cfg(feature = "http")]
mod socket;
mod status;
#[cfg(test)]
mod tests;
mod work;

pub use handle::{StopOnDrop, TaskHandle};
pub use run::TaskRun;
pub use status::{RunId, TaskError, TaskKind, TaskOutcome, TaskState, TaskStatus, TasksWatch};
pub use work::{Stopped, Task};

use crate::handler::{Extract, Failure, Scope};
use crate::message::Bulk;
use crate::publish::Publisher;
use crate::state::StateMap;
use run::Run;
use serde::Serialize;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// Tasks that are kept after their end, for those who come back to look: the ones that were started last.
const KEPT: usize = 1_000;

/// The long tasks of an app: imports, reports, what takes seconds or hours and what people watch and stop.
///
/// It is an argument of a handler, and [`Context::tasks`](crate::Context::tasks) and
/// [`Running::tasks`](crate::Running::tasks) give it elsewhere. A clone is the same tasks. A task goes by its name, and
/// of each name one runs at a time; every run has an id that no other has, so what belongs to an old run never touches a
/// new one. Whoever knows the name can [`attach`](Self::attach) to the run, as often as they like, also after its end:
/// the last run of a name is kept, and the 1,000 tasks that were started last.
///
/// When the app is told to stop, all tasks are, and none is started any more. Those that have not ended when the time is
/// up are named in the error of the shutdown.
///
/// ```
/// use asyncworker::prelude::*;
/// use asyncworker::{TaskError, TaskOutcome};
///
/// async fn import(run: TaskRun<u32>, files: Vec<String>) -> Result<(), Failure> {
///     for (done, file) in (1..).zip(files) {
///         # let read = async |file: String| { tokio::task::yield_now().await; Ok::<_, Failure>(file) };
///         read(file).await?;
///         run.progress(done);
///     }
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), TaskError> {
/// let tasks = Tasks::new(); // in a handler: an argument `tasks: Tasks`
/// let files = vec!["a.csv".to_owned(), "b.csv".to_owned()];
/// let mut task = tasks.start(Task::new("import", |run| import(run, files)))?;
///
/// while let Some(done) = task.next_progress().await {
///     println!("{done} files"); // the latest, however many came since
/// }
/// assert_eq!(task.outcome().await, TaskOutcome::Completed);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Tasks(Arc<Shared>);

struct Shared {
    runtime: Handle,
    /// Empty where they are of no app.
    app: OnceLock<OfApp>,
    registry: Mutex<Registry>,
    /// Marked whenever anything of any task changes.
    changed: watch::Sender<()>,
    /// Cancelled, everything ends at once.
    abandon: CancellationToken,
}

/// What tasks may use of their app.
struct OfApp {
    /// It has these tasks in it, so it is not held from here.
    state: Weak<StateMap>,
    publisher: Publisher,
}

struct Registry {
    /// The last run of each name.
    runs: HashMap<Arc<str>, Arc<Run>>,
    last: RunId,
    /// Nothing is started any more.
    closed: bool,
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list()).finish()
    }
}

impl Tasks {
    /// No tasks yet, of no app: for tests of what takes `Tasks`.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it needs a runtime")]
    pub fn new() -> Self {
        // Higher than those of the process before this one: a page that is still open must not take a new run for its own.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let last = RunId(u64::try_from(now).unwrap_or_default());
        Self(Arc::new(Shared {
            runtime: Handle::current(),
            app: OnceLock::new(),
            registry: Mutex::new(Registry { runs: HashMap::new(), last, closed: false }),
            changed: watch::Sender::new(()),
            abandon: CancellationToken::new(),
        }))
    }

    /// Starts a task. It runs on when everybody has dropped its handle.
    ///
    /// # Errors
    /// [`TaskError::Running`]: a task of this name has not ended. [`TaskError::Closed`]: the app is stopping.
    /// [`TaskError::Thread`]: the system has no thread for a blocking task.
    pub fn start<P>(&self, task: Task<P>) -> Result<TaskHandle<P>, TaskError>
    where
        P: Serialize + Clone + Send + Sync + 'static,
    {
        let mut registry = self.lock();
        match registry.active(&task.name) {
            Some(run) => Err(run.refusal()),
            None => self.begin(&mut registry, task),
        }
    }

    /// Starts a task, or gives a handle of the one of this name that runs; of two who ask at a time, one starts it.
    ///
    /// # Errors
    /// As [`start`](Self::start), where the one that runs was told to stop already; and [`TaskError::OtherProgress`]:
    /// the one that runs reports another type.
    pub fn start_or_join<P>(&self, task: Task<P>) -> Result<TaskHandle<P>, TaskError>
    where
        P: Serialize + Clone + Send + Sync + 'static,
    {
        let mut registry = self.lock();
        match registry.active(&task.name) {
            Some(run) if run.state() == TaskState::Running => run.handle(),
            Some(run) => Err(run.refusal()),
            None => self.begin(&mut registry, task),
        }
    }

    /// Stops the task of this name where one runs, waits for its end and starts this one.
    ///
    /// # Errors
    /// As [`start`](Self::start), but [`TaskError::Running`].
    ///
    /// # Cancel safety
    /// Dropped halfway, the old one was told to stop and the new one is not started.
    pub async fn restart<P>(&self, task: Task<P>) -> Result<TaskHandle<P>, TaskError>
    where
        P: Serialize + Clone + Send + Sync + 'static,
    {
        self.start_after(task, true).await
    }

    /// Tells the task of this name to stop, and waits for its end. One that has ended already stays as it is.
    ///
    /// # Errors
    /// [`TaskError::Unknown`]: there is none of this name.
    ///
    /// # Cancel safety
    /// Dropped halfway, the task was told to stop all the same.
    pub async fn stop(&self, name: &str) -> Result<TaskOutcome, TaskError> {
        let run = self.find(name)?;
        run.request_stop();
        Ok(run.outcome().await)
    }

    /// A handle of the last run of this name, which may have ended: what a page does that is loaded again.
    ///
    /// # Errors
    /// [`TaskError::Unknown`]: there is none of this name. [`TaskError::OtherProgress`]: it reports another type.
    pub fn attach<P: Clone + Send + Sync + 'static>(&self, name: &str) -> Result<TaskHandle<P>, TaskError> {
        self.find(name)?.handle()
    }

    /// What the last run of this name does.
    #[must_use]
    pub fn status(&self, name: &str) -> Option<TaskStatus> {
        Some(self.find(name).ok()?.status())
    }

    /// What the last run of each name does, in the order they were started.
    #[must_use]
    pub fn list(&self) -> Vec<TaskStatus> {
        let mut runs: Vec<_> = self.lock().runs.values().cloned().collect();
        runs.sort_by_key(|run| run.id);
        runs.iter().map(|run| run.status()).collect()
    }

    /// Watches all tasks: for a page that shows them.
    #[must_use]
    pub fn watch(&self) -> TasksWatch {
        TasksWatch::new(self.clone(), self.0.changed.subscribe())
    }

    /// Starts a task after the one of its name: one that is stopping anyway or, where it is to be `told` so, one that runs.
    async fn start_after<P>(&self, task: Task<P>, told: bool) -> Result<TaskHandle<P>, TaskError>
    where
        P: Serialize + Clone + Send + Sync + 'static,
    {
        loop {
            let old = {
                let mut registry = self.lock();
                match registry.active(&task.name) {
                    Some(run) if !registry.closed => {
                        if !told && run.state() == TaskState::Running {
                            return Err(run.refusal());
                        }
                        Arc::clone(run)
                    }
                    _ => return self.begin(&mut registry, task),
                }
            };
            old.request_stop();
            old.outcome().await;
        }
    }

    /// Makes them those of an app, for what they do.
    pub(crate) fn belong_to(&self, state: &Arc<StateMap>, publisher: &Publisher) {
        self.0.app.get_or_init(|| OfApp { state: Arc::downgrade(state), publisher: publisher.clone() });
    }

    /// The state of their app, while there is one.
    fn state(&self) -> Option<Arc<StateMap>> {
        self.0.app.get()?.state.upgrade()
    }

    fn publisher(&self) -> Publisher {
        self.0.app.get().map_or_else(|| Publisher::new(Arc::from([])), |app| app.publisher.clone())
    }

    /// Ends everything at once when it is cancelled.
    pub(crate) fn abandon(&self) -> &CancellationToken {
        &self.0.abandon
    }

    /// Starts none any more and tells all to stop.
    pub(crate) fn close(&self) {
        for run in self.close_registry() {
            run.request_stop();
        }
        self.0.changed.send_replace(());
    }

    /// Waits until they have ended, and then ends the rest. Says which those were.
    pub(crate) async fn stopped(&self, until: Instant) -> Vec<String> {
        let mut stragglers = Vec::new();
        let runs: Vec<_> = self.lock().runs.values().cloned().collect();
        for run in runs {
            if timeout_at(until, run.outcome()).await.is_err() {
                stragglers.push(format!("the task `{}` (run {}) did not end in time", run.name, run.id));
            }
        }
        self.0.abandon.cancel();
        stragglers
    }

    /// Whether nothing will change any more.
    fn is_over(&self) -> bool {
        let registry = self.lock();
        registry.closed && registry.runs.values().all(|run| run.is_ended())
    }

    fn close_registry(&self) -> Vec<Arc<Run>> {
        let mut registry = self.lock();
        registry.closed = true;
        registry.runs.values().cloned().collect()
    }

    fn find(&self, name: &str) -> Result<Arc<Run>, TaskError> {
        self.lock().runs.get(name).cloned().ok_or_else(|| TaskError::Unknown { name: name.to_owned() })
    }

    fn begin<P>(&self, registry: &mut Registry, task: Task<P>) -> Result<TaskHandle<P>, TaskError>
    where
        P: Serialize + Clone + Send + Sync + 'static,
    {
        if registry.closed {
            return Err(TaskError::Closed { name: task.name.as_ref().to_owned() });
        }
        registry.last.0 += 1;
        let Shared { runtime, changed, abandon, .. } = &*self.0;
        let progress = watch::Sender::new(None);
        let run = Arc::new(Run::new(registry.last, &task, progress.clone(), changed.clone(), abandon.child_token()));
        let handle = run.handle()?;
        task.spawn(TaskRun::new(Arc::clone(&run), progress, self.clone()), runtime, abandon)?;
        registry.runs.insert(Arc::clone(&run.name), run);
        registry.forget_oldest();
        changed.send_replace(());
        Ok(handle)
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.0.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// The run of this name that has not ended.
    fn active(&self, name: &str) -> Option<&Arc<Run>> {
        self.runs.get(name).filter(|run| !run.is_ended())
    }

    /// Of those that have ended, the one that was started first, where there are more than are kept.
    fn forget_oldest(&mut self) {
        if self.runs.len() > KEPT {
            let oldest = self.runs.values().filter(|run| run.is_ended()).min_by_key(|run| run.id);
            if let Some(name) = oldest.map(|run| Arc::clone(&run.name)) {
                self.runs.remove(&name);
            }
        }
    }
}

impl Extract for Tasks {
    type Resolved = Self;

    fn resolve(scope: &Scope<'_>) -> Result<Self, String> {
        scope.state().ok_or_else(|| "it takes `Tasks`, which only an app has".into())
    }

    fn extract(resolved: &Self, _: &Bulk) -> Result<Self, Failure> {
        Ok(resolved.clone())
    }
}
