//! How fast a route may go on whose every message goes back.
//!
//! A message that returns to its queue comes again at once. While all of them do (a database is down, one
//! message is left and poisonous), that is a loop as hot as the broker and the handler are fast, and it helps
//! nobody. So after some bulks in a row of which nothing stayed, one bulk is tried after ever longer pauses; the
//! first of which anything stays ends that.

use std::time::Duration;
use tokio::time::Instant;

/// Bulks in a row that may go back before the route slows down.
const FREE: u32 = 10;
/// The first pause; each one after it is twice as long.
const FIRST: Duration = Duration::from_millis(10);
/// No pause is longer: so much later than it could the route finds out that all is well again.
pub(super) const LONGEST: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Retries {
    in_a_row: u32,
    pauses: u32,
    until: Option<Instant>,
}

/// What is worth a line in the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    Slowed,
    Recovered,
}

impl Retries {
    /// A bulk has ended, and all of it goes back or not.
    pub(super) fn ended(&mut self, all_back: bool, now: Instant) -> Option<News> {
        if !all_back {
            let slowed = std::mem::take(self).until.is_some();
            return slowed.then_some(News::Recovered);
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        // Those that began before a pause say nothing new.
        if self.in_a_row <= FREE || self.until.is_some_and(|until| now < until) {
            return None;
        }
        let pause = FIRST.saturating_mul(1 << self.pauses.min(16)).min(LONGEST);
        self.pauses += 1;
        self.until = now.checked_add(pause);
        (self.pauses == 1).then_some(News::Slowed)
    }

    /// Whether a bulk may start while so many run.
    pub(super) fn may_start(&self, running: usize, now: Instant) -> bool {
        self.until.is_none_or(|until| running == 0 && now >= until)
    }

    /// The end of the pause, if there is one.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_one_bulk_that_stays_ends_them() {
        let mut retries = Retries::default();
        let mut now = Instant::now();
        for _ in 0..FREE {
            assert_eq!(retries.ended(true, now), None);
            assert!(retries.may_start(100, now));
        }
        assert_eq!(retries.ended(true, now), Some(News::Slowed));
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let until = retries.until().unwrap_or(now);
            pauses.push((until - now).as_millis());
            assert!(!retries.may_start(0, now));
            now = until;
            assert!(retries.may_start(0, now) && !retries.may_start(1, now));
            assert_eq!(retries.ended(true, now), None);
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5000, 5000, 5000]);
        assert_eq!(retries.ended(false, now), Some(News::Recovered));
        assert!(retries.may_start(100, now));
        assert_eq!(retries.ended(false, now), None);
    }

    #[test]
    fn many_that_fail_at_one_time_are_one_failure() {
        let mut retries = Retries::default();
        let now = Instant::now();
        for _ in 0..1_000 {
            retries.ended(true, now);
        }
        assert_eq!(retries.until(), Some(now + FIRST));
    }
}
