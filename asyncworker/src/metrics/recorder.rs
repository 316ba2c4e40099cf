//! What the program records itself, by the macros of the `metrics` crate: shown beside the app's own.
//!
//! A recorder of that crate is one for the whole process, and so is what is recorded: each app of the process shows it.

use super::table::Kind;
use super::text::{Number, Page};
use crate::meter::Histogram;
use metrics::{Counter, Gauge, HistogramFn, Key, KeyName, Label, Metadata, SharedString, Unit};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

static RECORDER: OnceLock<Arc<Recorder>> = OnceLock::new();

/// The process's recorder: installed at the first call, unless the program has installed one of its own. Then that one
/// gets what is recorded, and ours stays empty.
pub(super) fn install(bounds: &Arc<[f64]>) -> Arc<Recorder> {
    let recorder = RECORDER.get_or_init(|| {
        let recorder = Arc::new(Recorder { bounds: Arc::clone(bounds), families: RwLock::default() });
        if metrics::set_global_recorder(Arc::clone(&recorder)).is_err() {
            tracing::debug!("the program has a recorder of its own; what it records is shown there");
        }
        recorder
    });
    Arc::clone(recorder)
}

/// Keeps what is recorded, by name and labels.
#[derive(Debug)]
pub(super) struct Recorder {
    bounds: Arc<[f64]>,
    families: RwLock<BTreeMap<String, Family>>,
}

/// The metrics of one name.
#[derive(Debug, Default)]
struct Family {
    help: String,
    /// By labels. All are of one kind: that of the first.
    series: BTreeMap<Vec<(String, String)>, Series>,
}

#[derive(Debug)]
enum Series {
    Counter(Arc<AtomicU64>),
    /// The bits of a float.
    Gauge(Arc<AtomicU64>),
    Histogram(Arc<Histogram>),
}

impl Series {
    fn kind(&self) -> Kind {
        match self {
            Self::Counter(_) => Kind::Counter,
            Self::Gauge(_) => Kind::Gauge,
            Self::Histogram(_) => Kind::Histogram,
        }
    }
}

impl Recorder {
    fn describe(&self, name: &KeyName, help: SharedString) {
        let mut families = self.families.write().unwrap_or_else(PoisonError::into_inner);
        families.entry(plain(name.as_str())).or_default().help = help.into_owned();
    }

    /// The series of this key: the one that is there, or else what `make` makes. Nothing, where the name is of another
    /// kind already.
    fn series<T>(&self, key: &Key, make: impl FnOnce() -> Series, of: impl Fn(&Series) -> Option<T>) -> Option<T> {
        let name = plain(key.name());
        let labels: Vec<_> = key.labels().map(|label: &Label| (plain(label.key()), label.value().to_owned())).collect();
        let families = self.families.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = families.get(&name).and_then(|family| family.series.get(&labels)) {
            return of(series);
        }
        drop(families);
        let mut families = self.families.write().unwrap_or_else(PoisonError::into_inner);
        let family = families.entry(name).or_default();
        let made = make();
        if let Some(other) = family.series.values().next().map(Series::kind)
            && other != made.kind()
        {
            let (name, kind, other) = (key.name(), made.kind().word(), other.word());
            tracing::warn!(
                name,
                "a metric is recorded as a {kind} and was recorded as a {other} before; it is dropped"
            );
            return None;
        }
        of(family.series.entry(labels).or_insert(made))
    }

    /// Writes all that was recorded, but what the page has under the same name.
    pub(super) fn write(&self, page: &mut Page, is_taken: impl Fn(&str) -> bool) {
        let families = self.families.read().unwrap_or_else(PoisonError::into_inner);
        for (name, family) in families.iter().filter(|(name, _)| !is_taken(name)) {
            let Some(kind) = family.series.values().next().map(Series::kind) else { continue };
            let mut metric = page.metric(name, kind, &family.help);
            for (labels, series) in &family.series {
                let labels: Vec<_> = labels.iter().map(|(label, value)| (label.as_str(), value.as_str())).collect();
                match series {
                    Series::Counter(counter) => metric.sample(&labels, counter.load(Relaxed)),
                    Series::Gauge(gauge) => metric.sample(&labels, Number(f64::from_bits(gauge.load(Relaxed)))),
                    Series::Histogram(histogram) => metric.histogram(&labels, &histogram.snapshot()),
                }
            }
        }
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, key: KeyName, _unit: Option<Unit>, description: SharedString) {
        self.describe(&key, description);
    }

    fn describe_gauge(&self, key: KeyName, _unit: Option<Unit>, description: SharedString) {
        self.describe(&key, description);
    }

    fn describe_histogram(&self, key: KeyName, _unit: Option<Unit>, description: SharedString) {
        self.describe(&key, description);
    }

    fn register_counter(&self, key: &Key, _metadata: &Metadata<'_>) -> Counter {
        let counter = self.series(
            key,
            || Series::Counter(Arc::default()),
            |series| match series {
                Series::Counter(counter) => Some(Arc::clone(counter)),
                _ => None,
            },
        );
        counter.map_or_else(Counter::noop, Counter::from_arc)
    }

    fn register_gauge(&self, key: &Key, _metadata: &Metadata<'_>) -> Gauge {
        let gauge = self.series(
            key,
            || Series::Gauge(Arc::default()),
            |series| match series {
                Series::Gauge(gauge) => Some(Arc::clone(gauge)),
                _ => None,
            },
        );
        gauge.map_or_else(Gauge::noop, Gauge::from_arc)
    }

    fn register_histogram(&self, key: &Key, _metadata: &Metadata<'_>) -> metrics::Histogram {
        let make = || Series::Histogram(Arc::new(Histogram::new(&self.bounds)));
        let histogram = self.series(key, make, |series| match series {
            Series::Histogram(histogram) => Some(Arc::clone(histogram)),
            _ => None,
        });
        histogram.map_or_else(metrics::Histogram::noop, metrics::Histogram::from_arc)
    }
}

impl HistogramFn for Histogram {
    fn record(&self, value: f64) {
        self.observe(value, 1);
    }

    fn record_many(&self, value: f64, count: usize) {
        self.observe(value, count as u64);
    }
}

/// The name with underscores for all that Prometheus does not take in one.
fn plain(name: &str) -> String {
    let begins_with_digit = name.starts_with(|c: char| c.is_ascii_digit());
    let begin = begins_with_digit.then_some('_');
    begin.into_iter().chain(name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(record: impl FnOnce()) -> String {
        let recorder = Recorder { bounds: [10.0, 50.0].into(), families: RwLock::default() };
        metrics::with_local_recorder(&recorder, record);
        let mut page = Page::default();
        recorder.write(&mut page, |name| name == "taken");
        page.into_text()
    }

    #[test]
    fn what_the_macros_record_is_shown() {
        let text = recorded(|| {
            metrics::describe_counter!("orders.total", "Orders seen");
            metrics::counter!("orders.total", "shop" => "north").increment(2);
            metrics::counter!("orders.total", "shop" => "south", "kind" => "late").increment(1);
            metrics::counter!("orders.total", "shop" => "north").increment(1);
            metrics::gauge!("depth").set(1.5);
            metrics::histogram!("2nd_ms").record(20.0);
            metrics::counter!("taken").increment(1);
        });
        let expected = "\
            # TYPE _2nd_ms histogram\n\
            _2nd_ms_bucket{le=\"10\"} 0\n\
            _2nd_ms_bucket{le=\"50\"} 1\n\
            _2nd_ms_bucket{le=\"+Inf\"} 1\n\
            _2nd_ms_sum 20\n\
            _2nd_ms_count 1\n\
            # TYPE depth gauge\n\
            depth 1.5\n\
            # HELP orders_total Orders seen\n\
            # TYPE orders_total counter\n\
            orders_total{shop=\"north\"} 3\n\
            orders_total{shop=\"south\",kind=\"late\"} 1\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_name_keeps_its_first_kind() {
        let text = recorded(|| {
            metrics::gauge!("depth").set(2.0);
            metrics::counter!("depth").increment(7);
            metrics::histogram!("depth", "queue" => "orders").record(1.0);
        });
        assert_eq!(text, "# TYPE depth gauge\ndepth 2\n");
    }
}
