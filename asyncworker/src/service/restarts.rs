//! Whether and when a service that has ended runs again.

use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// What follows when the run of a service ends without being told to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Restart {
    /// It runs again, however it ended.
    #[default]
    Always,
    /// It runs again after an `Err` or a panic. A run that ends in order was the last.
    OnFailure,
    /// It does not run again. A failure is told, and the app goes on and is not [ready](crate::Status::is_ready); one
    /// before the service was ready is an error of the start.
    Never,
}

/// How often a service may be restarted, and after which pauses.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Limits {
    /// Restarts within the period; one more, and the service is given up.
    pub(super) restarts: usize,
    pub(super) period: Duration,
    /// The first pause and the longest.
    pub(super) backoff: (Duration, Duration),
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            restarts: 5,
            period: Duration::from_secs(60),
            backoff: (Duration::from_secs(1), Duration::from_secs(30)),
        }
    }
}

/// The restarts of one service.
pub(super) struct Restarts {
    limits: Limits,
    /// When a restart was asked for, within the last period; the oldest first.
    recent: VecDeque<Instant>,
}

impl Restarts {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, recent: VecDeque::new() }
    }

    /// Asks for a restart. Gives the pause before it, which doubles with each that the period has seen; nothing, when
    /// it has seen too many.
    pub(super) fn ask(&mut self, now: Instant) -> Option<Duration> {
        while self.recent.front().is_some_and(|oldest| now.duration_since(*oldest) >= self.limits.period) {
            self.recent.pop_front();
        }
        if self.recent.len() >= self.limits.restarts {
            return None;
        }
        let (first, longest) = self.limits.backoff;
        let doublings = u32::try_from(self.recent.len()).unwrap_or(u32::MAX).min(31);
        self.recent.push_back(now);
        Some(first.saturating_mul(1 << doublings).min(longest))
    }
}

/// A pause and up to a half of it more, so that many processes do not come back at the same moment.
pub(super) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(1.0 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn restarts(restarts: usize, period: u64) -> Restarts {
        let backoff = (SECOND, 5 * SECOND);
        Restarts::new(Limits { restarts, period: Duration::from_secs(period), backoff })
    }

    #[test]
    fn pauses_double_to_the_longest_and_the_limit_ends_them() {
        let (mut restarts, now) = (restarts(4, 60), Instant::now());
        let pauses: Vec<_> = (0..5).map(|_| restarts.ask(now).map(|pause| pause.as_secs())).collect();
        assert_eq!(pauses, [Some(1), Some(2), Some(4), Some(5), None]);
    }

    #[test]
    fn what_is_longer_ago_than_the_period_does_not_count() {
        let (mut restarts, now) = (restarts(2, 10), Instant::now());
        let asked = [0, 9, 10, 11, 19].map(|at| restarts.ask(now + at * SECOND).map(|pause| pause.as_secs()));
        assert_eq!(asked, [Some(1), Some(2), Some(2), None, Some(2)]);
    }

    #[test]
    fn a_limit_of_none_allows_none() {
        assert_eq!(restarts(0, 1).ask(Instant::now()), None);
    }

    #[test]
    fn many_restarts_do_not_overflow_the_pause() {
        let (mut restarts, now) = (restarts(usize::MAX, 60), Instant::now());
        assert!((0..100).filter_map(|_| restarts.ask(now)).all(|pause| pause <= 5 * SECOND));
    }
}
