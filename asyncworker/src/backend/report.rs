//! What goes wrong is told once, with its cause, and tried again after a pause.

use crate::error::Error;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use std::sync::Arc;
use std::time::Duration;

/// Called with what went wrong, and how many attempts in a row have failed.
pub(super) type FailureHook = Arc<dyn Fn(&Error, u64) + Send + Sync>;

/// The failures in a row of one thing that is tried again and again.
pub(super) struct Attempts {
    bounds: (Duration, Duration),
    pauses: ExponentialBackoff,
    /// The latest pause, or the first bound before there was one.
    pause: Duration,
    failures: u64,
    told: Option<String>,
}

impl Attempts {
    /// Pauses from the first bound, doubling, to the second.
    pub(super) fn new(bounds: (Duration, Duration)) -> Self {
        Self { bounds, pauses: pauses(bounds), pause: bounds.0, failures: 0, told: None }
    }

    /// Notes a failure. Gives how many there were in a row, and whether its cause is news.
    pub(super) fn failed(&mut self, cause: &str) -> (u64, bool) {
        self.failures += 1;
        let news = self.told.as_deref() != Some(cause);
        if news {
            self.told = Some(cause.to_owned());
        }
        (self.failures, news)
    }

    /// How long to wait before the next attempt: the pause that is due, and up to a half of it more, so
    /// that many workers do not come back at the same moment.
    pub(super) fn pause(&mut self) -> Duration {
        let (_, longest) = self.bounds;
        self.pause = self.pauses.next().unwrap_or(longest);
        self.pause.mul_f64(1.0 + fastrand::f64() / 2.0)
    }

    /// How many failures in a row there were.
    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    /// From now on the first pause is this one; no later one is shorter.
    #[cfg(feature = "sse")]
    pub(super) fn begin_at(&mut self, first: Duration) {
        // So short a pause is none, and doubling none gives none.
        let first = first.clamp(Duration::from_millis(10), Duration::from_secs(3600));
        if first != self.bounds.0 {
            self.bounds = (first, first.max(self.bounds.1));
            self.soon();
        }
    }

    /// The next pause is the shortest again. What was told is no news for that.
    #[cfg(feature = "sse")]
    pub(super) fn soon(&mut self) {
        (self.pauses, self.pause, self.failures) = (pauses(self.bounds), self.bounds.0, 0);
    }

    /// It worked for so long. Where that is longer than the latest pause, the next failure is news again
    /// and its pause the shortest; what is lost as soon as it is there has not worked.
    pub(super) fn worked_for(&mut self, time: Duration) {
        if time > self.pause {
            *self = Self::new(self.bounds);
        }
    }
}

fn pauses((first, longest): (Duration, Duration)) -> ExponentialBackoff {
    ExponentialBuilder::new().with_min_delay(first).with_max_delay(longest).without_max_times().build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_news_once_until_it_worked() {
        let mut attempts = Attempts::new((Duration::from_secs(1), Duration::from_secs(30)));
        assert_eq!(attempts.failed("refused"), (1, true));
        assert_eq!(attempts.failed("refused"), (2, false));
        assert_eq!(attempts.failed("no such host"), (3, true));
        assert_eq!(attempts.failures(), 3);
        attempts.worked_for(Duration::from_secs(2));
        assert_eq!(attempts.failed("no such host"), (1, true));
    }

    #[test]
    fn what_is_lost_as_soon_as_it_is_there_has_not_worked() {
        let mut attempts = Attempts::new((Duration::from_secs(1), Duration::from_secs(30)));
        for (failures, least) in [(1, 1), (2, 2), (3, 4), (4, 8)] {
            assert_eq!(attempts.failed("cut").0, failures);
            assert!(attempts.pause() >= Duration::from_secs(least));
            attempts.worked_for(Duration::from_millis(500));
        }
        attempts.worked_for(Duration::from_secs(9));
        assert_eq!(attempts.failures(), 0);
    }

    #[test]
    fn pauses_double_from_the_first_to_the_longest_with_jitter() {
        let mut attempts = Attempts::new((Duration::from_secs(1), Duration::from_secs(30)));
        for least in [1, 2, 4, 8, 16, 30, 30, 30] {
            let pause = attempts.pause().as_secs_f64();
            assert!(pause >= f64::from(least) && pause <= f64::from(least) * 1.5, "{pause} for {least}");
        }
        attempts.worked_for(Duration::from_secs(31));
        assert!(attempts.pause() <= Duration::from_millis(1500));
    }

    #[cfg(feature = "sse")]
    #[test]
    fn the_first_pause_may_change_and_come_again_without_news() {
        let mut attempts = Attempts::new((Duration::from_secs(1), Duration::from_secs(30)));
        attempts.begin_at(Duration::from_secs(3));
        assert_eq!(attempts.failed("cut"), (1, true));
        assert!(attempts.pause() >= Duration::from_secs(3));
        assert!(attempts.pause() >= Duration::from_secs(6));
        attempts.begin_at(Duration::from_secs(3));
        assert!(attempts.pause() >= Duration::from_secs(12), "to be told the same again changes nothing");
        attempts.soon();
        assert_eq!(attempts.failed("cut"), (1, false));
        let pause = attempts.pause();
        assert!(pause >= Duration::from_secs(3) && pause < Duration::from_secs(5), "{pause:?}");
        attempts.begin_at(Duration::from_secs(60));
        assert!(attempts.pause() >= Duration::from_secs(60));
        attempts.begin_at(Duration::ZERO);
        assert!(attempts.pause() >= Duration::from_millis(10));
    }
}
