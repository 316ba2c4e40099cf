//! When a schedule's ticks are.

#[cfg(feature = "cron")]
use super::cron::Times;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// What comes later than this comes never: a process does not live to see it, and a clock counts that far.
const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The ticks of a schedule, from the first time that they are waited for.
#[derive(Debug)]
pub(crate) struct Ticks {
    by: By,
    jitter: Duration,
}

#[derive(Debug)]
enum By {
    Interval {
        interval: Duration,
        /// When the first tick was, and when the next one is.
        next: Option<(Instant, Instant)>,
    },
    #[cfg(feature = "cron")]
    Cron(Box<Times>),
}

impl Ticks {
    pub(super) fn every(interval: Duration, jitter: Duration) -> Self {
        Self { by: By::Interval { interval, next: None }, jitter }
    }

    #[cfg(feature = "cron")]
    pub(super) fn cron(times: Times, jitter: Duration) -> Self {
        Self { by: By::Cron(times.into()), jitter }
    }

    /// Waits for the next tick. Dropped before, it loses none.
    pub(super) async fn next(&mut self) {
        let jitter = self.jitter;
        match &mut self.by {
            By::Interval { interval, next } => {
                let now = Instant::now();
                let (first, due) = *next.get_or_insert((now, now));
                sleep_until(due).await;
                *next = Some((first, later(following(first, Instant::now(), *interval), random(jitter))));
            }
            #[cfg(feature = "cron")]
            By::Cron(times) => times.next(random(jitter)).await,
        }
    }
}

/// The first tick after now.
fn following(first: Instant, now: Instant, interval: Duration) -> Instant {
    let over = now.duration_since(first).as_nanos() % interval.as_nanos().max(1);
    later(now, interval.saturating_sub(nanoseconds(over)))
}

fn nanoseconds(count: u128) -> Duration {
    const SECOND: u128 = 1_000_000_000;
    let seconds = u64::try_from(count / SECOND).unwrap_or(u64::MAX);
    Duration::new(seconds, u32::try_from(count % SECOND).unwrap_or_default())
}

fn later(from: Instant, by: Duration) -> Instant {
    from + by.min(NEVER)
}

/// Up to this long, to the millisecond.
fn random(longest: Duration) -> Duration {
    Duration::from_millis(fastrand::u64(0..=u64::try_from(longest.as_millis()).unwrap_or(u64::MAX)))
}
