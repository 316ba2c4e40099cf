//! From the figures of single runs to medians, spreads and ratios.

use std::collections::BTreeMap;

use crate::workload::Worker;

/// The figures of one run of a worker. What a workload has no figure for is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sample {
    pub(crate) rate: Option<f64>,
    pub(crate) cpu_a_million: Option<f64>,
    pub(crate) broker_cpu_a_million: Option<f64>,
    pub(crate) peak_mib: Option<f64>,
    pub(crate) frames_a_message: Option<f64>,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    pub(crate) early_peak_mib: Option<f64>,
    pub(crate) start_ms: Option<f64>,
    pub(crate) kib_a_route: Option<f64>,
    pub(crate) wake_ups_a_minute: Option<f64>,
    pub(crate) cpu_ms_a_minute: Option<f64>,
}

/// The runs at one point of a workload: for each worker one entry a round, `None` where that run failed.
pub(crate) type Rounds = BTreeMap<Worker, Vec<Option<Sample>>>;

/// A median with the least and the greatest value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) greatest: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let (least, greatest) = (*values.first()?, *values.last()?);
        let upper = *values.get(values.len() / 2)?;
        let lower = *values.get((values.len() - 1) / 2)?;
        Some(Self { median: f64::midpoint(lower, upper), least, greatest })
    }
}

pub(crate) type Figure = fn(&Sample) -> Option<f64>;

pub(crate) fn spread(rounds: &Rounds, worker: Worker, figure: Figure) -> Option<Spread> {
    Spread::of(rounds.get(&worker)?.iter().flatten().filter_map(figure))
}

/// How a worker's figure compares with a rival's. The two of one round were measured under about the same noise, so
/// each round makes a ratio, and the ratios make the median.
pub(crate) fn ratio(rounds: &Rounds, worker: Worker, rival: Worker, figure: Figure) -> Option<Spread> {
    let (ours, theirs) = (rounds.get(&worker)?, rounds.get(&rival)?);
    let pairs = ours.iter().zip(theirs).filter_map(|(ours, theirs)| Some((figure(&(*ours)?)?, figure(&(*theirs)?)?)));
    Spread::of(pairs.filter(|(_, theirs)| *theirs > 0.0).map(|(ours, theirs)| ours / theirs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rated(rates: &[Option<f64>]) -> Vec<Option<Sample>> {
        rates.iter().map(|rate| rate.map(|rate| Sample { rate: Some(rate), ..Sample::default() })).collect()
    }

    #[test]
    fn a_median_is_the_middle_or_between_the_two_in_the_middle() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied()).map(|s| (s.least, s.median, s.greatest));
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some((1.0, 2.0, 3.0)));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), Some((1.0, 2.5, 4.0)));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn a_ratio_compares_within_a_round() {
        let ours = rated(&[Some(10.0), Some(100.0), Some(30.0)]);
        let theirs = rated(&[Some(5.0), Some(50.0), Some(10.0)]);
        let rounds = Rounds::from([(Worker::Asyncworker, ours), (Worker::LapinBest, theirs)]);
        let ratio = ratio(&rounds, Worker::Asyncworker, Worker::LapinBest, |sample| sample.rate);
        assert_eq!(ratio, Some(Spread { median: 2.0, least: 2.0, greatest: 3.0 }));
    }

    #[test]
    fn a_run_that_failed_spoils_no_other() {
        let ours = rated(&[None, Some(6.0)]);
        let theirs = rated(&[Some(1.0), Some(2.0)]);
        let rounds = Rounds::from([(Worker::Asyncworker, ours), (Worker::Amqprs, theirs)]);
        let median = |spread: Option<Spread>| spread.map(|spread| spread.median);
        assert_eq!(median(ratio(&rounds, Worker::Asyncworker, Worker::Amqprs, |s| s.rate)), Some(3.0));
        assert_eq!(median(spread(&rounds, Worker::Asyncworker, |s| s.rate)), Some(6.0));
        assert_eq!(median(ratio(&rounds, Worker::Asyncworker, Worker::RabbitmqC, |s| s.rate)), None);
    }
}
