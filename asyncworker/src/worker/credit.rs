//! Whether a run is polled by the route's loop itself, or becomes a task at once.
//!
//! A task is made, handed to a thread and waited for: a microsecond or two, and often a thread that has to be
//! woken. A run that is over sooner is better polled in place. A longer one is not: all runs in place share one
//! core, and while one is polled the loop does nothing else.

use std::time::Duration;

/// What a run in place may take on average, in nanoseconds.
const FREE: i64 = 5_000;

/// What it may take besides for each message of its bulk behind the first: as many single runs would be in place for
/// longer, and a bulk that is a task costs a thread's wake-up before it and one after it, while its broker waits.
const FREE_MESSAGE: i64 = 1_000;

/// What is added for a run that was polled in place and did not end by it: it becomes a task all the same.
const IN_VAIN: i64 = 2 * FREE;

/// What a run that is a task pays back of a debt.
const PAID_BACK: i64 = 250;

/// The most that is saved up, and the most that is owed. Saved up: a thread that is taken off its core for a few
/// milliseconds now and then is no long run. Owed: 40,000 tasks pay back any debt, and then a run in place is
/// tried again.
const LIMIT: i64 = 10_000_000;

/// What runs in place may still take, in nanoseconds: a debt when it is below 0, and then runs are tasks.
///
/// So runs in place take at most `FREE` and their `FREE_MESSAGE`s each, `LIMIT` and one more run, however long a run is;
/// and while they are long, one out of (its length / `PAID_BACK`) is in place, out of 40,000 at the most.
#[derive(Debug, Default)]
pub(super) struct Credit(i64);

impl Credit {
    /// Whether the next run is polled in place.
    pub(super) fn is_good(&self) -> bool {
        self.0 >= 0
    }

    /// A run over so many messages was polled in place, for so long.
    pub(super) fn in_place(&mut self, messages: usize, took: Duration, ended: bool) {
        let took = i64::try_from(took.as_nanos()).unwrap_or(i64::MAX);
        let behind = i64::try_from(messages.saturating_sub(1)).unwrap_or(i64::MAX);
        let (free, cost) = if ended {
            (FREE.saturating_add(behind.saturating_mul(FREE_MESSAGE)), took)
        } else {
            (FREE, took.saturating_add(IN_VAIN))
        };
        self.0 = self.0.saturating_add(free).saturating_sub(cost).clamp(-LIMIT, LIMIT);
    }

    /// A run became a task at once.
    pub(super) fn as_task(&mut self) {
        self.0 += PAID_BACK;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of so many runs are polled in place, when each takes as long as `took` says of its number.
    fn in_place(credit: &mut Credit, runs: u32, took: impl Fn(u32) -> (Duration, bool)) -> u32 {
        bulks_in_place(credit, runs, 1, took)
    }

    /// The same of bulks of so many messages.
    fn bulks_in_place(credit: &mut Credit, runs: u32, messages: usize, took: impl Fn(u32) -> (Duration, bool)) -> u32 {
        let mut in_place = 0;
        for run in 0..runs {
            if credit.is_good() {
                in_place += 1;
                let (took, ended) = took(run);
                credit.in_place(messages, took, ended);
            } else {
                credit.as_task();
            }
        }
        in_place
    }

    #[test]
    fn short_runs_are_all_in_place() {
        assert_eq!(in_place(&mut Credit::default(), 100_000, |_| (Duration::from_micros(4), true)), 100_000);
    }

    #[test]
    fn a_bulk_may_take_a_microsecond_more_for_each_message_behind_the_first() {
        let bulks = |messages, micros, ended| {
            let took = Duration::from_micros(micros);
            bulks_in_place(&mut Credit::default(), 1_000, messages, |_| (took, ended))
        };
        assert_eq!(bulks(100, 104, true), 1_000);
        assert!(bulks(100, 204, true) < 10);
        assert!(bulks(100, 1, false) < 100, "what waits is a task, however many messages it has");
    }

    #[test]
    fn long_runs_are_tasks_from_the_second_on_and_tried_again_the_more_rarely_the_longer_they_are() {
        for (took, expected) in [(20, 1_640), (1_000, 26), (1_000_000, 3), (u64::MAX / 1_000, 3)] {
            let took = Duration::from_micros(took);
            assert_eq!(in_place(&mut Credit::default(), 100_000, |_| (took, true)), expected, "{took:?}");
        }
    }

    #[test]
    fn when_short_runs_become_long_little_more_than_what_was_saved_up_is_in_place() {
        let mut credit = Credit::default();
        in_place(&mut credit, 100_000, |_| (Duration::ZERO, true));
        assert_eq!(in_place(&mut credit, 4_000, |_| (Duration::from_millis(1), true)), 12);
        in_place(&mut credit, 100_000, |_| (Duration::ZERO, true));
        assert_eq!(in_place(&mut credit, 40_000, |_| (Duration::from_secs(1), true)), 1);
    }

    #[test]
    fn a_few_long_ones_among_many_count_by_the_time_they_take() {
        let every = |nth: u32, long: Duration| {
            move |run: u32| (if run.is_multiple_of(nth) { long } else { Duration::ZERO }, true)
        };
        // 2 microseconds a run on average, as of a thread that has to share its core.
        let mut credit = Credit::default();
        in_place(&mut credit, 10_000, |_| (Duration::ZERO, true));
        assert_eq!(in_place(&mut credit, 100_000, every(1_500, Duration::from_millis(3))), 100_000);
        // 10 microseconds a run.
        let mut credit = Credit::default();
        let in_place = in_place(&mut credit, 1_000_000, every(100, Duration::from_millis(1)));
        assert!(in_place < 200_000, "{in_place}");
    }

    #[test]
    fn runs_that_do_not_end_by_their_first_poll_are_tasks_most_of_the_time() {
        let in_place = in_place(&mut Credit::default(), 100_000, |_| (Duration::from_nanos(300), false));
        assert!(in_place < 5_000, "{in_place}");
    }

    #[test]
    fn any_debt_is_paid_back() {
        let mut credit = Credit::default();
        credit.in_place(usize::MAX, Duration::MAX, false);
        (0..40_000).for_each(|_| credit.as_task());
        assert!(credit.is_good());
    }
}
