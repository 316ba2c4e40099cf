//! What a worker says of itself when it is done.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::{Error, Tally, process};

/// The figures of one run, by the worker itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
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
    /// The same when it had handled a tenth of the messages.
    pub early_peak_kib: Option<u64>,
    /// From publish to the start of the handler: the median.
    pub p50_us: Option<f64>,
    /// The same for all but the slowest hundredth.
    pub p99_us: Option<f64>,
    /// What a worker with nothing to do costs.
    pub idle: Option<Idle>,
}

/// The figures of a worker with nothing to do.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Idle {
    /// From the start of the app until all its routes consume.
    pub start_seconds: f64,
    /// What its memory grew by from before the app was made until all routes consume.
    pub kib: u64,
    /// How often threads were woken in the time that was watched.
    pub wake_ups: u64,
    /// The CPU time of that time.
    pub cpu_seconds: f64,
}

impl Report {
    /// Ends the run that began then, and prints its figures.
    ///
    /// # Errors
    /// The system does not tell the figures.
    pub fn print(tally: &Tally, start: Instant) -> Result<(), Error> {
        let ages = tally.ages();
        let at = |share: usize| ages.get(ages.len() * share / 100).map(|age| *age as f64 / 1e3);
        let report = Self::of(tally.messages(), tally.bytes(), start)?;
        Self { early_peak_kib: tally.early_peak_kib(), p50_us: at(50), p99_us: at(99), ..report }.print_line()
    }

    /// As [`print`](Self::print), for what was published.
    ///
    /// # Errors
    /// The system does not tell the figures.
    pub fn print_published(messages: u64, bytes: u64, start: Instant) -> Result<(), Error> {
        Self::of(messages, bytes, start)?.print_line()
    }

    /// As [`print`](Self::print), for a worker that had nothing to do.
    ///
    /// # Errors
    /// The system does not tell the figures.
    pub fn print_idle(idle: Idle, start: Instant) -> Result<(), Error> {
        Self { idle: Some(idle), ..Self::of(0, 0, start)? }.print_line()
    }

    fn of(messages: u64, bytes: u64, start: Instant) -> Result<Self, Error> {
        let seconds = start.elapsed().as_secs_f64();
        let cpu_seconds = process::cpu_seconds()?;
        let peak_kib = process::peak_kib().ok_or("the system does not tell the memory")?;
        Ok(Self { messages, bytes, seconds, cpu_seconds, peak_kib, ..Self::default() })
    }

    fn print_line(&self) -> Result<(), Error> {
        println!("{}", serde_json::to_string(self)?);
        Ok(())
    }
}
