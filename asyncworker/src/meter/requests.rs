//! What is counted of HTTP requests.

use super::{Gauge, Histogram};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Octets an answer's body: what its sizes are counted by.
const OCTETS: [f64; 6] = [100.0, 1_000.0, 10_000.0, 100_000.0, 1_000_000.0, 10_000_000.0];

/// What an app counts of the requests it answers. A clone is the same.
#[derive(Debug, Clone)]
pub(crate) struct HttpMeter(Arc<Requests>);

#[derive(Debug)]
struct Requests {
    milliseconds: Arc<[f64]>,
    in_progress: Gauge,
    answers: RwLock<BTreeMap<Answered, Arc<Answers>>>,
}

/// Which requests and which answers: of each app there are so many and no more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Answered {
    pub(crate) path: String,
    pub(crate) method: &'static str,
    pub(crate) status: u16,
}

/// What is counted of them.
#[derive(Debug)]
pub(crate) struct Answers {
    /// Until the handler had its answer, in milliseconds.
    pub(crate) times: Histogram,
    /// Of the bodies, in octets.
    pub(crate) sizes: Histogram,
}

impl HttpMeter {
    pub(super) fn new(milliseconds: &Arc<[f64]>) -> Self {
        let milliseconds = Arc::clone(milliseconds);
        Self(Arc::new(Requests { milliseconds, in_progress: Gauge::default(), answers: RwLock::default() }))
    }

    /// A request came. It is in progress until what is given back is dropped.
    pub(crate) fn begins(&self) -> InProgress {
        self.0.in_progress.add(1);
        InProgress(self.clone())
    }

    /// Where such answers are counted. From now on they are shown, if none comes.
    pub(crate) fn answers(&self, answered: Answered) -> Arc<Answers> {
        if let Some(known) = self.0.answers.read().unwrap_or_else(PoisonError::into_inner).get(&answered) {
            return Arc::clone(known);
        }
        let mut answers = self.0.answers.write().unwrap_or_else(PoisonError::into_inner);
        let made = || Answers { times: Histogram::new(&self.0.milliseconds), sizes: Histogram::new(&OCTETS.into()) };
        Arc::clone(answers.entry(answered).or_insert_with(|| Arc::new(made())))
    }

    pub(crate) fn in_progress(&self) -> i64 {
        self.0.in_progress.get()
    }

    /// All that were counted.
    pub(crate) fn counted(&self) -> Vec<(Answered, Arc<Answers>)> {
        let answers = self.0.answers.read().unwrap_or_else(PoisonError::into_inner);
        answers.iter().map(|(answered, answers)| (answered.clone(), Arc::clone(answers))).collect()
    }
}

impl Answers {
    pub(crate) fn took(&self, time: Duration) {
        self.times.observe(time.as_secs_f64() * 1_000.0, 1);
    }

    #[allow(clippy::cast_precision_loss, reason = "no body has 2^53 octets")]
    pub(crate) fn had(&self, octets: u64) {
        self.sizes.observe(octets as f64, 1);
    }
}

/// A request that is in progress.
#[derive(Debug)]
pub(crate) struct InProgress(HttpMeter);

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.0.in_progress.add(-1);
    }
}
