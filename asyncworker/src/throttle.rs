//! Keeps messages that all fail alike from flooding the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many lines of a kind within [`PERIOD`] are told, from the first of them on.
const TOLD: u32 = 10;
const PERIOD: Duration = Duration::from_secs(1);

/// Lines of one kind: each says the same of another message.
#[derive(Debug)]
pub(crate) struct Throttle(Mutex<Lines>);

#[derive(Debug)]
struct Lines {
    since: Option<Instant>,
    told: u32,
    held_back: u64,
}

impl Throttle {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Lines { since: None, told: 0, held_back: 0 }))
    }

    /// Whether a line is to be told, and then how many were held back before it.
    pub(crate) fn admit(&self, now: Instant) -> Option<u64> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.since.is_none_or(|since| now.saturating_duration_since(since) >= PERIOD) {
            lines.since = Some(now);
            lines.told = 0;
        }
        if lines.told == TOLD {
            lines.held_back += 1;
            return None;
        }
        lines.told += 1;
        Some(std::mem::take(&mut lines.held_back))
    }
}

/// A warning, or while there are too many of its kind the same at `debug`. A warning says how many were held back.
macro_rules! warn_throttled {
    ($throttle:expr, $($line:tt)+) => {
        match $throttle.admit(std::time::Instant::now()) {
            Some(0) => tracing::warn!($($line)+),
            Some(held_back) => tracing::warn!(held_back, $($line)+),
            None => tracing::debug!($($line)+),
        }
    };
}

pub(crate) use warn_throttled;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_limit_is_held_back_and_counted() {
        let (throttle, start) = (Throttle::new(), Instant::now());
        let told = (0..1_000).filter_map(|_| throttle.admit(start)).collect::<Vec<_>>();
        assert_eq!(told, [0; 10]);
        assert_eq!(throttle.admit(start + PERIOD - Duration::from_nanos(1)), None);
        assert_eq!(throttle.admit(start + PERIOD), Some(991));
        assert_eq!(throttle.admit(start + PERIOD), Some(0));
        assert_eq!(throttle.admit(start), Some(0), "a moment before");
    }
}
