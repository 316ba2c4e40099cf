//! What a worker's handler does, the same in every Rust worker: parse, count, and say when the last one was there.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use tokio::sync::Notify;

use crate::job::{Job, Task};
use crate::order::{Order, now};
use crate::process;

/// Bytes count in the low bits and messages above them: one atomic addition a message keeps the meter itself cheap,
/// also where handlers run on several threads.
const ONE: u64 = 1 << 40;

/// Counts what was handled.
#[derive(Debug)]
pub struct Tally {
    goal: u64,
    parse: bool,
    sum: AtomicU64,
    ages: Option<Mutex<Vec<u64>>>,
    early_peak_kib: OnceLock<u64>,
    done: Notify,
}

impl Tally {
    /// For the messages of this job.
    #[must_use]
    pub fn new(job: &Job) -> Self {
        let ages = (job.task == Task::Latency).then(Mutex::default);
        Self {
            goal: job.messages,
            parse: job.task != Task::Bytes,
            sum: AtomicU64::new(0),
            ages,
            early_peak_kib: OnceLock::new(),
            done: Notify::new(),
        }
    }

    /// Handles a body that is not parsed yet; a body that is no order is not counted.
    pub fn handle(&self, body: &[u8]) {
        if !self.parse {
            return self.count_bytes(body);
        }
        // The age is taken before the parsing: a handler starts with it.
        let at = self.ages.is_some().then(now);
        if let Ok(order) = serde_json::from_slice(body) {
            self.count(&order, body.len(), at);
        }
    }

    /// Counts an order that the library has parsed.
    pub fn count(&self, order: &Order, bytes: usize, at: Option<u64>) {
        black_box(order);
        if let Some(ages) = &self.ages {
            let age = at.unwrap_or_else(now).saturating_sub(order.at);
            ages.lock().unwrap_or_else(PoisonError::into_inner).push(age);
        }
        self.add(bytes);
    }

    /// Counts a body that nobody parses.
    pub fn count_bytes(&self, body: &[u8]) {
        self.add(black_box(body).len());
    }

    fn add(&self, bytes: usize) {
        let messages = self.sum.fetch_add(ONE + bytes as u64, Ordering::Relaxed) / ONE + 1;
        if messages == self.goal / 10
            && let Some(kib) = process::peak_kib()
        {
            self.early_peak_kib.get_or_init(|| kib);
        }
        if messages == self.goal {
            self.done.notify_one();
        }
    }

    /// The most memory that was held until a tenth of the messages was handled.
    pub(crate) fn early_peak_kib(&self) -> Option<u64> {
        self.early_peak_kib.get().copied()
    }

    /// Waits until all messages of the job were handled.
    pub async fn done(&self) {
        self.done.notified().await;
    }

    /// Whether all messages of the job were handled.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.messages() >= self.goal
    }

    /// Whether this worker has to note when a handler starts.
    #[must_use]
    pub fn wants_age(&self) -> bool {
        self.ages.is_some()
    }

    /// How many messages were handled.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.sum.load(Ordering::Relaxed) / ONE
    }

    /// How many bytes of bodies.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.sum.load(Ordering::Relaxed) % ONE
    }

    /// The ages, from the youngest to the oldest, in nanoseconds; the first tenth to come, while everything warms up, is
    /// left out.
    #[must_use]
    pub fn ages(&self) -> Vec<u64> {
        let Some(ages) = &self.ages else { return Vec::new() };
        let ages = ages.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ages = ages.get(ages.len() / 10..).unwrap_or_default().to_vec();
        ages.sort_unstable();
        ages
    }
}
