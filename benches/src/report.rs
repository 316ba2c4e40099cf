//! What a worker says of itself when it is done.

use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

use crate::{Error, Tally};

/// The figures of one run, by the worker itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// Messages handled, or published and confirmed.
    pub messages: u64,
    /// The bytes of their bodies.
    pub bytes: u64,
    /// From `basic.consume` (or the first publish) to the closed connection.
    pub seconds: f64,
    /// User and system time of the whole process, from its start.
    pub cpu_seconds: f64,
    /// The most memory that the process held.
    pub peak_kib: u64,
    /// From publish to the start of the handler: the median.
    pub p50_us: Option<f64>,
    /// The same for all but the slowest hundredth.
    pub p99_us: Option<f64>,
}

impl Report {
    /// Ends the run that began then, and prints its figures.
    ///
    /// # Errors
    /// The system does not tell the figures.
    pub fn print(tally: &Tally, start: Instant) -> Result<(), Error> {
        let ages = tally.ages();
        let at = |share: usize| ages.get(ages.len() * share / 100).map(|age| *age as f64 / 1e3);
        Self { p50_us: at(50), p99_us: at(99), ..Self::of(tally.messages(), tally.bytes(), start)? }.print_line()
    }

    /// As [`print`](Self::print), for what was published.
    ///
    /// # Errors
    /// The system does not tell the figures.
    pub fn print_published(messages: u64, bytes: u64, start: Instant) -> Result<(), Error> {
        Self::of(messages, bytes, start)?.print_line()
    }

    fn of(messages: u64, bytes: u64, start: Instant) -> Result<Self, Error> {
        let seconds = start.elapsed().as_secs_f64();
        let usage = getrusage(UsageWho::RUSAGE_SELF)?;
        let time = [usage.user_time(), usage.system_time()];
        let cpu_seconds = time.iter().map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6).sum();
        let peak_kib = high_water_mark().unwrap_or_else(|| u64::try_from(usage.max_rss()).unwrap_or_default());
        Ok(Self { messages, bytes, seconds, cpu_seconds, peak_kib, p50_us: None, p99_us: None })
    }

    fn print_line(&self) -> Result<(), Error> {
        println!("{}", serde_json::to_string(self)?);
        Ok(())
    }
}

/// Linux counts the memory of whoever started the process in its ru_maxrss; this mark is the program's own.
fn high_water_mark() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
