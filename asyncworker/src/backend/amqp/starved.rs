//! A consumer that starves: messages wait in its queue, all that it was given is settled, and nothing comes.
//!
//! A broker may go on counting messages as with a consumer that has settled them: RabbitMQ has been seen to do so with a
//! quorum queue, after a majority of its cluster was killed (`docs/reliability.md`). The connection is there then, and the
//! channel, and the consumer; but with as many as the prefetch counted so, the queue never delivers again. The end of the
//! channel gives them back to the queue.
//!
//! So a consumer that was given something and rests looks whether messages wait: after half a minute, then less and less
//! often. If they do, twice in a row, while nothing comes, its channel is given up and another opened. One that is given
//! nothing from the beginning asks nothing: others may be preferred to it, as with `x-single-active-consumer`.

use super::connection::Live;
use super::topology::ready_messages;
use crate::backend::Subscription;
use crate::error::BoxError;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// How often a consumer looks whether it rests, outside tests.
pub(super) const LOOK: Duration = Duration::from_secs(30);
/// The queue of a consumer that rests on is asked after 1, 2, 4, 8 looks, and then every so many.
const RAREST: u32 = 16;

/// The looks of the consumers of a connection: all at the same times, so that they wake an idle process once.
pub(super) struct Looks {
    since: Instant,
    every: Duration,
    /// One queue is asked at a time, because that takes a channel.
    asking: Semaphore,
}

impl Looks {
    pub(super) fn new(every: Duration) -> Self {
        Self { since: Instant::now(), every, asking: Semaphore::new(1) }
    }

    fn times(&self) -> Interval {
        let mut times = interval_at(self.since, self.every);
        times.set_missed_tick_behavior(MissedTickBehavior::Skip);
        times
    }
}

/// Waits until the consumer starves, and says so.
pub(super) async fn starves(live: &Live, subscription: &Subscription) -> BoxError {
    let Subscription { lane, queue, progress, .. } = subscription;
    let mut rest = Rest::default();
    let mut looks = live.looks.times();
    loop {
        looks.tick().await;
        let rests_at = progress.resting(*lane);
        if !rest.asks(rests_at) {
            continue;
        }
        let ready = {
            let _turn = live.looks.asking.acquire().await;
            ready_messages(live, queue).await
        };
        match ready {
            Ok(ready) => {
                let ready = ready.unwrap_or_default();
                if rest.starves(ready) && progress.resting(*lane) == rests_at {
                    return format!(
                        "it starves: {ready} messages wait and none comes, though all that came are settled"
                    )
                    .into();
                }
            }
            // What is wrong with the connection or the queue is told by the consumer itself.
            Err(refusal) => tracing::debug!(error = %refusal, "cannot ask whether messages wait"),
        }
    }
}

/// What a consumer that looks now and then knows of its rest.
#[derive(Debug, Default)]
struct Rest {
    /// The last tag that came, while it rests.
    at: Option<u64>,
    /// How many looks it has rested for.
    looks: u32,
    /// Whether messages waited when the queue was asked last.
    waited: bool,
}

impl Rest {
    /// Looks once more. Gives whether the queue is to be asked.
    fn asks(&mut self, at: Option<u64>) -> bool {
        if at.is_none() || at != self.at {
            *self = Self { at, ..Self::default() };
            return false;
        }
        self.looks = self.looks.saturating_add(1);
        self.waited || self.looks.is_multiple_of(RAREST) || (self.looks < RAREST && self.looks.is_power_of_two())
    }

    /// So many messages wait. Gives whether some did when it was asked before, in the same rest, too.
    fn starves(&mut self, ready: u32) -> bool {
        std::mem::replace(&mut self.waited, ready > 0) && ready > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The looks at which it asks, out of so many.
    fn asked(rest: &mut Rest, at: Option<u64>, looks: u32) -> Vec<u32> {
        (0..looks).filter(|_| rest.asks(at)).collect()
    }

    #[test]
    fn a_rest_is_asked_about_ever_more_rarely() {
        let mut rest = Rest::default();
        assert_eq!(asked(&mut rest, Some(7), 50), [1, 2, 4, 8, 16, 32, 48]);
        assert_eq!(asked(&mut rest, Some(8), 4), [1, 2], "another rest");
    }

    #[test]
    fn who_was_given_nothing_or_is_at_work_asks_nothing() {
        assert_eq!(asked(&mut Rest::default(), None, 50), [0; 0]);
    }

    #[test]
    fn it_starves_when_messages_wait_twice_in_one_rest() {
        let mut rest = Rest::default();
        asked(&mut rest, Some(7), 5);
        assert!(!rest.starves(3));
        assert!(rest.asks(Some(7)), "at the next look");
        assert!(rest.starves(2));

        assert!(!rest.starves(0));
        assert!(!rest.starves(1), "not in a row");

        assert!(!rest.asks(Some(8)));
        assert!(rest.asks(Some(8)));
        assert!(!rest.starves(1), "something came in between");
    }
}
