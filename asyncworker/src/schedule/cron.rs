//! The times of a cron expression, by the wall clock.

use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Year};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::fmt;
use std::time::Duration;
use tokio::time::sleep;

/// The longest sleep before the wall clock is looked at again: it may have been set.
const LOOK: Duration = Duration::from_secs(30);

/// A clock that is put back by more than this was wrong before, and all that was counted by it with it.
const CORRECTED: SignedDuration = SignedDuration::from_hours(3);

/// The times of a cron expression in a time zone.
pub(super) struct Times {
    cron: Cron,
    zone: TimeZone,
    wall: Box<dyn Fn() -> Timestamp + Send + Sync>,
    /// The latest time that the wall clock has shown.
    latest: Timestamp,
    next: Option<Due>,
}

#[derive(Debug, Clone, Copy)]
struct Due {
    /// What the expression says.
    time: Timestamp,
    /// With jitter.
    at: Timestamp,
}

impl fmt::Debug for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Times").field("cron", &self.cron).field("zone", &self.zone).finish_non_exhaustive()
    }
}

impl Times {
    pub(super) fn new(pattern: &str, timezone: &str) -> Result<Self, String> {
        Self::by(pattern, timezone, Timestamp::now)
    }

    /// By another clock than the system's.
    pub(super) fn by(
        pattern: &str,
        timezone: &str,
        wall: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Result<Self, String> {
        // A seventh field, the year, would be a schedule with an end.
        let cron = CronParser::builder().year(Year::Disallowed).build().parse(pattern);
        let cron = cron.map_err(|error| format!("`{pattern}` is not a cron expression: {error}"))?;
        let zone = TimeZone::get(timezone).map_err(|error| {
            format!("there is no time zone `{timezone}`, such as `Europe/Berlin` or `UTC`: {error}")
        })?;
        let latest = wall();
        let times = Self { cron, zone, wall: Box::new(wall), latest, next: None };
        times.after(latest).map_err(|_| format!("`{pattern}` names no time that ever comes"))?;
        Ok(times)
    }

    /// The first of them after this one.
    fn after(&self, time: Timestamp) -> Result<Timestamp, CronError> {
        Ok(self.cron.find_next_occurrence(&time.to_zoned(self.zone.clone()), false)?.timestamp())
    }

    /// Waits for the next one, and by this jitter longer. Dropped before, it loses none.
    pub(super) async fn next(&mut self, jitter: Duration) {
        loop {
            let now = (self.wall)();
            if now < self.latest.saturating_sub(CORRECTED).unwrap_or(Timestamp::MIN) {
                tracing::warn!(was = %self.latest, is = %now, "the wall clock was put back");
                self.next = None;
                self.latest = now;
            }
            // What was run is not run again by a clock that is put back a little.
            self.latest = self.latest.max(now);
            let Some(Due { time, at }) = self.next.or_else(|| self.due(jitter)) else {
                // There are times until the year 5000, or the app had not started.
                return std::future::pending().await;
            };
            self.next = Some(Due { time, at });
            let Ok(rest) = Duration::try_from(at.duration_since(now)).map(|rest| rest.min(LOOK)) else {
                return self.next = None;
            };
            if rest.is_zero() {
                return self.next = None;
            }
            sleep(rest).await;
        }
    }

    fn due(&self, jitter: Duration) -> Option<Due> {
        let time = self.after(self.latest).ok()?;
        Some(Due { time, at: time.checked_add(jitter).unwrap_or(Timestamp::MAX) })
    }
}
