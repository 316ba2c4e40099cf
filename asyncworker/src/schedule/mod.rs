//! What runs by the clock: at an interval, or as a cron expression says.

mod clock;
#[cfg(feature = "cron")]
mod cron;
mod scheduler;
#[cfg(test)]
mod tests;

pub(crate) use scheduler::{Scheduler, Tally};

use crate::error::Error;
use crate::handler::{Arity, BindHandler, BoundHandler, Handler, Scope, erase};
use clock::Ticks;
use std::fmt;
use std::time::Duration;

/// An `async fn` that runs at an interval, or by a cron expression.
///
/// It takes [`State`](crate::State), [`Publisher`](crate::Publisher) and any other [`Extract`](crate::Extract) that asks
/// for no message, and returns what other handlers do; what it returns to be published is published, confirmed, over the
/// app's first connection unless the message names another. There is no message to settle, so an
/// [`Action`](crate::Action) that it returns has no effect, and the app's layers, which are around bulks, are not around
/// it.
///
/// Schedules start with the routes, when the startup hooks have ended. A run that fails, panics or runs into its timeout
/// is logged, and the next one comes. While `max_concurrency` runs are under way, ticks are skipped; that is logged once
/// until a run starts again. At shutdown no run starts any more, and those under way are waited for like handlers.
///
/// ```
/// use asyncworker::prelude::*;
/// use std::time::Duration;
///
/// async fn refresh(State(cache): State<std::sync::Arc<std::sync::Mutex<Vec<u64>>>>) -> Result<(), Failure> {
///     cache.lock().map_err(|_| Failure::new("the cache is poisoned"))?.clear();
///     Ok(())
/// }
///
/// # let cache = std::sync::Arc::new(std::sync::Mutex::new(Vec::<u64>::new()));
/// let app = App::new()
///     .state(cache)
///     .mount([Schedule::every(Duration::from_secs(30)).jitter(Duration::from_secs(3)).handler(refresh)]);
/// ```
#[must_use = "a schedule runs when it is mounted: `App::mount`"]
pub struct Schedule {
    trigger: Trigger,
    #[cfg(feature = "cron")]
    timezone: Option<String>,
    name: Option<String>,
    max_concurrency: usize,
    jitter: Duration,
    timeout: Option<Duration>,
    handler: Option<Box<dyn BindHandler>>,
}

#[derive(Debug)]
enum Trigger {
    Every(Duration),
    #[cfg(feature = "cron")]
    Cron(String),
}

/// A schedule that was found right.
pub(crate) struct Planned {
    pub(crate) ticks: Ticks,
    pub(crate) max_concurrency: usize,
    pub(crate) timeout: Option<Duration>,
    pub(crate) handler: BoundHandler,
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedule").field("name", &self.name).field("trigger", &self.trigger).finish_non_exhaustive()
    }
}

impl Schedule {
    /// At once when the app starts, and then each time this has passed, counted from the start: a run that takes long
    /// shifts nothing. Ticks that are missed, because the process stood still, are left out and not made up for.
    ///
    /// Time is that of the monotonic clock, to the millisecond: the wall clock may jump, and it makes no difference.
    pub fn every(interval: Duration) -> Self {
        Self::on(Trigger::Every(interval))
    }

    /// Each time this cron expression says: minute, hour, day of the month, month and day of the week, as
    /// `0 3 * * 1-5`, 3 o'clock from Monday to Friday; or six fields, the first one being the second.
    ///
    /// It is read by [`croner`](https://docs.rs/croner): names (`MON`, `JAN`), lists, ranges, steps, `L`, `W`, `#`, and
    /// nicknames such as `@daily`. Where both days are given, either will do, as in other crons.
    ///
    /// Time is that of the wall clock in the [`timezone`](Self::timezone), UTC by default, looked at again at least twice
    /// a minute. So a clock that is put forward over a time runs it late and once; one that is put back by less than
    /// three hours repeats none. Where a time zone changes its own clock, a time of the day that does not exist runs
    /// right after the gap, and one that exists twice runs once, unless the expression is one of intervals
    /// (`*/15 * * * *`).
    #[cfg(feature = "cron")]
    pub fn cron(pattern: impl Into<String>) -> Self {
        Self::on(Trigger::Cron(pattern.into()))
    }

    fn on(trigger: Trigger) -> Self {
        Self {
            trigger,
            #[cfg(feature = "cron")]
            timezone: None,
            name: None,
            max_concurrency: 1,
            jitter: Duration::ZERO,
            timeout: None,
            handler: None,
        }
    }

    /// The time zone of its cron expression, as the IANA names it: `Europe/Berlin`. Default `UTC`. The system's database
    /// is asked, and where it has none the one that came with the program. An interval has none.
    #[cfg(feature = "cron")]
    pub fn timezone(mut self, name: impl Into<String>) -> Self {
        self.timezone = Some(name.into());
        self
    }

    /// Its name in logs and errors; unique among the schedules of an app. Default: when it runs.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How many runs may be under way at once. Default 1.
    pub fn max_concurrency(mut self, runs: usize) -> Self {
        self.max_concurrency = runs;
        self
    }

    /// Delays each run but the first of an interval by a random time up to this, so that processes that were started
    /// together do not all run together. Default none. It is shorter than the interval.
    pub fn jitter(mut self, longest: Duration) -> Self {
        self.jitter = longest;
        self
    }

    /// How long one run may take; it is then dropped at its next `await`, and has failed. Default: any time.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// What runs: an `async fn` whose arguments ask for no message.
    pub fn handler<A: 'static>(mut self, handler: impl Handler<A>) -> Self {
        self.handler = Some(erase(handler));
        self
    }

    /// The name to show.
    pub(crate) fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| match &self.trigger {
            Trigger::Every(interval) => format!("every {interval:?}"),
            #[cfg(feature = "cron")]
            Trigger::Cron(pattern) => pattern.clone(),
        })
    }

    /// Checks it, and looks up what its handler takes.
    pub(crate) fn plan(self, scope: &Scope<'_>) -> Result<Planned, Error> {
        let label = self.label();
        let refuse = |what: &dyn fmt::Display| Error::configuration(format!("schedule `{label}`: {what}"));
        let ticks = match &self.trigger {
            Trigger::Every(Duration::ZERO) => return Err(refuse(&"its interval must be longer than zero")),
            Trigger::Every(interval) if self.jitter >= *interval => {
                let Self { jitter, .. } = self;
                return Err(refuse(&format!(
                    "its jitter of {jitter:?} must be shorter than its interval of {interval:?}"
                )));
            }
            #[cfg(feature = "cron")]
            Trigger::Every(_) if self.timezone.is_some() => return Err(refuse(&"an interval has no time zone")),
            Trigger::Every(interval) => Ticks::every(*interval, self.jitter),
            #[cfg(feature = "cron")]
            Trigger::Cron(pattern) => {
                let timezone = self.timezone.as_deref().unwrap_or("UTC");
                Ticks::cron(cron::Times::new(pattern, timezone).map_err(|what| refuse(&what))?, self.jitter)
            }
        };
        if self.max_concurrency == 0 {
            return Err(refuse(&"max_concurrency must be at least 1"));
        }
        if self.timeout == Some(Duration::ZERO) {
            return Err(refuse(&"its timeout must be longer than zero"));
        }
        let Some(handler) = self.handler else {
            return Err(refuse(&"it has no handler; add `.handler(..)`"));
        };
        if handler.arity() != Arity::Any {
            return Err(refuse(&"its handler takes messages, and there are none; a handler of messages has a `Route`"));
        }
        let handler = handler.bind(scope).map_err(|missing| refuse(&missing))?;
        Ok(Planned { ticks, max_concurrency: self.max_concurrency, timeout: self.timeout, handler })
    }
}
