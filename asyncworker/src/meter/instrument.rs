//! Counter, gauge and histogram: a few atomic numbers each, written by whoever counts and read by whoever looks.
//!
//! A histogram counts into its buckets at once. The usual exporters keep each sample until somebody asks, which at a
//! worker's rates is megabytes between two scrapes, and memory without end where nobody asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, number: u64) {
        self.0.fetch_add(number, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// How many there are now.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicI64);

impl Gauge {
    pub(crate) fn add(&self, number: i64) {
        self.0.fetch_add(number, Relaxed);
    }

    pub(crate) fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// How many values were at most as large as each bound, and their sum.
#[derive(Debug)]
pub(crate) struct Histogram {
    /// Ascending. What is above the last one is counted as well.
    bounds: Arc<[f64]>,
    /// By bucket, not summed up; one more than there are bounds.
    counts: Box<[AtomicU64]>,
    /// The bits of a float.
    sum: AtomicU64,
}

impl Histogram {
    pub(crate) fn new(bounds: &Arc<[f64]>) -> Self {
        Self {
            bounds: Arc::clone(bounds),
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0.0_f64.to_bits()),
        }
    }

    /// Counts a value that came so many times.
    pub(crate) fn observe(&self, value: f64, times: u64) {
        self.add(place(&self.bounds, value), times, sum(value, times));
    }

    /// Counts what a sheet has, and leaves it empty.
    pub(crate) fn take(&self, sheet: &mut Sheet) {
        for (place, count) in sheet.counts.iter_mut().enumerate().filter(|(_, count)| **count > 0) {
            self.add(place, std::mem::take(count), std::mem::take(&mut sheet.sum));
        }
    }

    fn add(&self, place: usize, times: u64, more: f64) {
        self.counts[place].fetch_add(times, Relaxed);
        let _ = self.sum.fetch_update(Relaxed, Relaxed, |sum| Some((f64::from_bits(sum) + more).to_bits()));
    }

    /// What was counted, each bucket with all below it.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(self.bounds.len());
        for (bound, counted) in self.bounds.iter().zip(&self.counts) {
            count += counted.load(Relaxed);
            buckets.push((*bound, count));
        }
        count += self.counts.last().map_or(0, |above| above.load(Relaxed));
        Snapshot { buckets, count, sum: f64::from_bits(self.sum.load(Relaxed)) }
    }
}

/// What one thread counts for a histogram, without an atomic, until it is [taken](Histogram::take).
#[derive(Debug)]
pub(crate) struct Sheet {
    bounds: Arc<[f64]>,
    counts: Box<[u64]>,
    sum: f64,
}

impl Sheet {
    pub(crate) fn of(histogram: &Histogram) -> Self {
        let Histogram { bounds, counts, .. } = histogram;
        Self { bounds: Arc::clone(bounds), counts: vec![0; counts.len()].into(), sum: 0.0 }
    }

    pub(crate) fn observe(&mut self, value: f64, times: u64) {
        self.counts[place(&self.bounds, value)] += times;
        self.sum += sum(value, times);
    }
}

/// The bucket of a value. Not a number is in none but the last.
fn place(bounds: &[f64], value: f64) -> usize {
    bounds.iter().position(|bound| value <= *bound).unwrap_or(bounds.len())
}

#[allow(clippy::cast_precision_loss, reason = "nobody counts 2^53 at once")]
fn sum(value: f64, times: u64) -> f64 {
    value * times as f64
}

/// A histogram at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Snapshot {
    /// Each bound, and how many values were at most as large.
    pub(crate) buckets: Vec<(f64, u64)>,
    pub(crate) count: u64,
    pub(crate) sum: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_first_bucket_that_holds_it_and_in_all_above() {
        let histogram = Histogram::new(&[10.0, 50.0].into());
        for (value, times) in [(0.0, 1), (10.0, 2), (10.5, 3), (50.0, 4), (51.0, 5)] {
            histogram.observe(value, times);
        }
        let sum = 20.0 + 31.5 + 200.0 + 255.0;
        assert_eq!(histogram.snapshot(), Snapshot { buckets: vec![(10.0, 3), (50.0, 10)], count: 15, sum });
    }

    #[test]
    fn what_is_on_a_sheet_is_counted_once() {
        let histogram = Histogram::new(&[10.0].into());
        histogram.observe(1.0, 1);
        let mut sheet = Sheet::of(&histogram);
        sheet.observe(2.0, 3);
        sheet.observe(20.0, 1);
        for _ in 0..2 {
            histogram.take(&mut sheet);
            assert_eq!(histogram.snapshot(), Snapshot { buckets: vec![(10.0, 4)], count: 5, sum: 27.0 });
        }
    }

    #[test]
    fn many_threads_lose_nothing() {
        let histogram = Histogram::new(&[1.0].into());
        std::thread::scope(|scope| {
            for value in [1.0, 2.0, 1.0, 2.0] {
                scope.spawn({
                    let histogram = &histogram;
                    move || (0..10_000).for_each(|_| histogram.observe(value, 1))
                });
            }
        });
        assert_eq!(histogram.snapshot(), Snapshot { buckets: vec![(1.0, 20_000)], count: 40_000, sum: 60_000.0 });
    }
}
