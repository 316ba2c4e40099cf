//! How long a piece of work and its parts take, reported once it has ended.

mod callback;
mod report;
#[cfg(test)]
mod tests;

pub use report::{TimeitOutcome, TimeitReport, Transactions};

use crate::error::panic_message;
use crate::handler::IntoResult;
use callback::{Callback, Reporting};
use futures_util::FutureExt;
use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument;

/// Measures how long a future takes, and futures within it, and reports that to a callback.
///
/// What [`new`](Self::new) gives is a *root*: each of its runs makes one report. What [`child`](Self::child) gives
/// measures a part of it, which goes into the report of the run that is under way, as one more transaction. Any number
/// of them may run, one within the other or side by side, each with a name of its own.
///
/// A report is made however a run ends. What the future gives is given on as it is; an `Err` of it is seen by
/// [`try_run`](Self::try_run), which is for futures that give a `Result`, and not by [`run`](Self::run). A panic is
/// reported and goes on. A run that is dropped before its end is reported as cancelled, by a task of its own; without a
/// tokio runtime to run that on the report is lost, and that is logged.
///
/// Otherwise the callback has ended before the run gives its output. Where the callback fails or panics, that is logged
/// and disturbs nothing.
///
/// **Each name once a report.** A second transaction of the same name, and so also a second run of the root while its
/// first one is under way, is an error: it is logged, and its time is among the
/// [`duplicates`](TimeitReport::duplicates) of the report. One after the other, a root may run any number of times.
///
/// ```
/// use asyncworker::prelude::*;
///
/// async fn print(report: TimeitReport) {
///     println!("{:?} {:?}", report.transactions, report.outcome); // {"parse": 1ms, "import": 3ms} Completed
/// }
///
/// # async fn parse() -> Vec<u32> { Vec::new() }
/// # async fn store(_: Vec<u32>) -> Result<(), Failure> { Ok(()) }
/// async fn import() -> Result<(), Failure> {
///     let timeit = Timeit::new("import", print);
///     timeit
///         .try_run(async {
///             let parsed = timeit.child("parse").run(parse()).await;
///             store(parsed).await
///         })
///         .await
/// }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(import()).unwrap();
/// ```
///
/// The attribute [`timeit`](macro@crate::timeit) does this for a whole `async fn`. Each run is also a span of `tracing`,
/// `transaction`, at the level `debug`; and with the feature `metrics` it is in the histogram `timeit_ms`, whose labels
/// are the root's name, its own, and how it ended.
#[derive(Clone)]
pub struct Timeit {
    name: Cow<'static, str>,
    is_root: bool,
    root: Arc<Root>,
}

/// What a root and its children share.
struct Root {
    name: Cow<'static, str>,
    callback: Callback,
    collected: Mutex<Collected>,
}

/// The report that is being made.
#[derive(Default)]
struct Collected {
    /// Counts the runs of the root, so that what outlives one is not taken for a part of the next.
    run: u64,
    running: bool,
    transactions: Transactions,
    duplicates: Vec<(Cow<'static, str>, Duration)>,
}

impl Timeit {
    /// A root whose reports go to this callback, an `async fn(TimeitReport)`.
    #[must_use]
    pub fn new<C, Fut>(name: impl Into<Cow<'static, str>>, callback: C) -> Self
    where
        C: Fn(TimeitReport) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoResult> + Send,
    {
        let name = name.into();
        let root =
            Root { name: name.clone(), callback: Callback::new(callback), collected: Mutex::new(Collected::default()) };
        Self { name, is_root: true, root: Arc::new(root) }
    }

    /// A part of the same root, whose runs go into the report of the root's. One that ends when the root does not run
    /// (any more) is in no report, and that is logged as an error.
    #[must_use]
    pub fn child(&self, name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), is_root: false, root: Arc::clone(&self.root) }
    }

    /// Runs a future and measures it; gives what it gives.
    ///
    /// # Cancel safety
    /// As safe as the future. Dropped, the run is reported as cancelled.
    pub async fn run<F: Future>(&self, future: F) -> F::Output {
        self.observe(future, |_| None).await
    }

    /// Runs a future that gives a `Result` and measures it; an `Err` is reported as a failure, and given on.
    ///
    /// # Errors
    /// Those of the future.
    ///
    /// # Cancel safety
    /// As [`run`](Self::run).
    pub async fn try_run<T, E: fmt::Display>(&self, future: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        // The alternate form: errors that know their causes in it tell them.
        self.observe(future, |output| output.as_ref().err().map(|error| format!("{error:#}"))).await
    }

    pub(crate) async fn observe<F: Future>(
        &self,
        future: F,
        failure: impl FnOnce(&F::Output) -> Option<String>,
    ) -> F::Output {
        let transaction = Transaction::begin(self);
        let span = tracing::debug_span!("transaction", name = &*self.name);
        // Nothing of the future is touched again after a panic.
        match AssertUnwindSafe(future).catch_unwind().instrument(span).await {
            Ok(output) => {
                let outcome = failure(&output).map_or(TimeitOutcome::Completed, TimeitOutcome::Failed);
                transaction.ended(outcome).await;
                output
            }
            Err(panic) => {
                transaction.ended(TimeitOutcome::Panicked(panic_message(&*panic).to_owned())).await;
                resume_unwind(panic)
            }
        }
    }
}

impl fmt::Debug for Timeit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeit").field("name", &self.name).field("root", &self.root.name).finish_non_exhaustive()
    }
}

impl Root {
    fn collected(&self) -> MutexGuard<'_, Collected> {
        self.collected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run under way. Dropped before it has ended, it was cancelled.
struct Transaction<'a> {
    timeit: &'a Timeit,
    start: Instant,
    /// The run of the root that it is a part of.
    run: Option<u64>,
    makes_report: bool,
    open: bool,
}

impl<'a> Transaction<'a> {
    fn begin(timeit: &'a Timeit) -> Self {
        let mut collected = timeit.root.collected();
        let makes_report = timeit.is_root && !collected.running;
        if makes_report {
            collected.running = true;
            collected.run += 1;
        }
        let run = collected.running.then_some(collected.run);
        Self { timeit, start: Instant::now(), run, makes_report, open: true }
    }

    async fn ended(mut self, outcome: TimeitOutcome) {
        if let Some(reporting) = self.end(outcome) {
            reporting.ended().await;
        }
    }

    /// Enters it into the report, and sends that off if it is the root's to send.
    fn end(&mut self, outcome: TimeitOutcome) -> Option<Reporting> {
        self.open = false;
        let took = self.start.elapsed();
        let Timeit { name, root, .. } = self.timeit;
        let mut collected = root.collected();
        if !collected.running || self.run != Some(collected.run) {
            drop(collected);
            tracing::error!(
                timeit = &*root.name,
                transaction = &**name,
                ?took,
                "this is in no report: its root does not run"
            );
            return None;
        }
        #[cfg(feature = "metrics")]
        ::metrics::histogram!("timeit_ms",
            "timeit" => root.name.clone(), "transaction" => name.clone(), "outcome" => outcome.label())
        .record(took.as_secs_f64() * 1000.0);
        let added = collected.transactions.add(name.clone(), took);
        let twice = added.is_err();
        collected.duplicates.extend(added.err().map(|name| (name, took)));
        let report = self.makes_report.then(|| {
            collected.running = false;
            TimeitReport {
                name: name.clone(),
                transactions: std::mem::take(&mut collected.transactions),
                duplicates: std::mem::take(&mut collected.duplicates),
                outcome,
            }
        });
        drop(collected);
        if twice {
            tracing::error!(
                timeit = &*root.name,
                transaction = &**name,
                "two transactions of a report have the same name"
            );
        }
        report.map(|report| root.callback.report(report))
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.open {
            drop(self.end(TimeitOutcome::Cancelled));
        }
    }
}

/// What the attribute's expansion names.
#[cfg(feature = "macros")]
pub mod observed {
    use super::Timeit;
    use std::any::type_name;
    use std::fmt;

    /// Runs the body of a function. Unlike [`Timeit::try_run`] it takes any output, and `failure` is asked of it.
    pub async fn observe<F: Future>(
        timeit: &Timeit,
        body: F,
        failure: impl FnOnce(&F::Output) -> Option<String>,
    ) -> F::Output {
        timeit.observe(body, failure).await
    }

    /// A value of any type, for code that is never run: it tells the compiler what a body returns.
    #[must_use]
    pub fn never<T>() -> T {
        unreachable!("this is never called")
    }

    /// An output, asked whether it is a failure as exactly as its type can be asked: a method call takes the first of
    /// the three traits below that fits, by the number of `&` before it.
    #[derive(Debug)]
    pub struct Output<'a, T>(pub &'a T);

    /// Of a `Result` whose error has a text.
    pub trait WithText {
        /// The text of the error.
        fn failure(&self) -> Option<String>;
    }

    impl<T, E: fmt::Display> WithText for &&Output<'_, Result<T, E>> {
        fn failure(&self) -> Option<String> {
            self.0.as_ref().err().map(|error| format!("{error:#}"))
        }
    }

    /// Of a `Result` whose error has none.
    pub trait WithoutText {
        /// The type of the error.
        fn failure(&self) -> Option<String>;
    }

    impl<T, E> WithoutText for &Output<'_, Result<T, E>> {
        fn failure(&self) -> Option<String> {
            self.0.as_ref().err().map(|_| type_name::<E>().to_owned())
        }
    }

    /// Of anything else.
    pub trait NoResult {
        /// Not a failure.
        fn failure(&self) -> Option<String>;
    }

    impl<T> NoResult for Output<'_, T> {
        fn failure(&self) -> Option<String> {
            None
        }
    }
}
