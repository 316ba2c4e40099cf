//! What goes wrong is told once, with its cause, and tried again after a pause.

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use std::time::Duration;

/// The failures in a row of one thing that is tried again and again.
pub(super) struct Attempts {
    bounds: (Duration, Duration),
    pauses: ExponentialBackoff,
    failures: u64,
    told: Option<String>,
}

impl Attempts {
    /// Pauses from the first bound, doubling, to the second.
    pub(super) fn new(bounds: (Duration, Duration)) -> Self {
        Self { bounds, pauses: pauses(bounds), failures: 0, told: None }
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
        let pause = self.pauses.next().unwrap_or(longest);
        pause.mul_f64(1.0 + fastrand::f64() / 2.0)
    }

    /// It worked: the next failure is news again, and its pause the shortest. Gives how many had failed.
    pub(super) fn worked(&mut self) -> u64 {
        self.pauses = pauses(self.bounds);
        self.told = None;
        std::mem::take(&mut self.failures)
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
        assert_eq!(attempts.worked(), 3);
        assert_eq!(attempts.failed("no such host"), (1, true));
    }

    #[test]
    fn pauses_double_from_the_first_to_the_longest_with_jitter() {
        let mut attempts = Attempts::new((Duration::from_secs(1), Duration::from_secs(30)));
        for least in [1, 2, 4, 8, 16, 30, 30, 30] {
            let pause = attempts.pause().as_secs_f64();
            assert!(pause >= f64::from(least) && pause <= f64::from(least) * 1.5, "{pause} for {least}");
        }
        attempts.worked();
        assert!(attempts.pause() <= Duration::from_millis(1500));
    }
}
