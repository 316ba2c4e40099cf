//! From what is counted to the page that Prometheus reads.

use super::config::Config;
use super::recorder::{self, Recorder};
use super::table::*;
use super::text::{Metric, Number, Page};
use super::{More, process};
use crate::meter::{
    ACTIONS, Answered, Answers, ConnectionCounts, Counter, Histogram, HttpMeter, Meters, QueueCounts, RouteCounts,
};
use crate::route::{Action, Protocol};
use crate::schedule::Tally;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// What an app shows of itself. A clone is the same.
#[derive(Debug, Clone)]
pub(crate) struct Exposition {
    /// What each name begins with.
    begin: Arc<str>,
    meters: Arc<Meters>,
    recorded: Arc<Recorder>,
    more: Arc<[More]>,
    /// The path it is served at; nothing where it is not.
    path: Option<Arc<str>>,
}

impl Exposition {
    pub(super) fn new(config: &Config, meters: Arc<Meters>, more: Arc<[More]>) -> Self {
        let parts = [&config.namespace, &config.prefix].into_iter().filter(|part| !part.is_empty());
        let begin: String = parts.flat_map(|part| [part.as_str(), "_"]).collect();
        let recorded = recorder::install(&config.buckets);
        let path = config.enabled.then(|| config.path.as_str().into());
        Self { begin: begin.into(), meters, recorded, more, path }
    }

    pub(crate) fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// The same, which is not served.
    pub(crate) fn unserved(self) -> Self {
        Self { path: None, ..self }
    }

    pub(crate) fn http(&self) -> &HttpMeter {
        self.meters.http()
    }

    /// All metrics as they are now, in Prometheus's text format.
    pub(crate) fn text(&self) -> String {
        let counted = self.meters.counted();
        let mut writing =
            Writing { begin: &self.begin, protocol: Protocol::Amqp, page: Page::default(), names: HashSet::new() };
        writing.connections(&counted.connections);
        let (amqp, sse): (Vec<_>, Vec<_>) =
            counted.routes.into_iter().partition(|route| matches!(route.protocol, Protocol::Amqp));
        writing.queues(&amqp);
        writing.routes(&amqp);
        if !sse.is_empty() {
            writing.protocol = Protocol::Sse;
            writing.queues(&sse);
            writing.routes(&sse);
        }
        if !counted.schedules.is_empty() {
            writing.schedules(&counted.schedules);
        }
        writing.requests(self.http());
        for (definition, value) in process::samples() {
            writing.metric(definition, |metric| metric.sample(&[], Number(value)));
        }
        let Writing { mut page, names, .. } = writing;
        self.recorded.write(&mut page, |name| names.contains(name));
        for more in self.more.iter() {
            page.append(&more.0());
        }
        page.into_text()
    }
}

/// A page and the names on it.
struct Writing<'a> {
    begin: &'a str,
    /// Of the routes that are being written: those of events have names of their own.
    protocol: Protocol,
    page: Page,
    names: HashSet<String>,
}

impl Writing<'_> {
    fn metric(&mut self, definition: Definition, write: impl FnOnce(&mut Metric<'_>)) {
        let name = match self.protocol {
            Protocol::Sse => definition.name.replacen("amqp_", "sse_", 1),
            Protocol::Amqp => definition.name.to_owned(),
        };
        let name = format!("{}{name}", self.begin);
        write(&mut self.page.metric(&name, definition.kind, definition.help));
        self.names.insert(name);
    }

    /// What is counted by the name of a queue. Several routes may consume it, and queues of several brokers may share
    /// it: they are added up.
    fn queues(&mut self, routes: &[Arc<RouteCounts>]) {
        #[derive(Default)]
        struct Sums {
            consumers: u64,
            processed: [u64; 3],
            undecodable: u64,
            unread: u64,
        }
        let mut queues: BTreeMap<&str, Sums> = BTreeMap::new();
        for route in routes {
            for (lane, queue) in route.queues.iter().enumerate() {
                let QueueCounts { name, processed, undecodable, unread } = queue;
                let sums = queues.entry(name).or_default();
                sums.consumers += u64::from(route.progress.is_consuming(lane));
                for (sum, counter) in sums.processed.iter_mut().zip(processed) {
                    *sum += counter.get();
                }
                sums.undecodable += undecodable.get();
                sums.unread += unread.get();
            }
        }
        let [queue_name, action] = ["queue_name", "action"];
        let mut by_queue = |definition, value: fn(&Sums) -> u64| {
            self.metric(definition, |metric| {
                for (queue, sums) in &queues {
                    metric.sample(&[(queue_name, queue)], value(sums));
                }
            });
        };
        by_queue(ACTIVE_CONSUMERS, |sums| sums.consumers);
        by_queue(DECODE_ERRORS, |sums| sums.undecodable);
        by_queue(UNREAD_MESSAGES, |sums| sums.unread);
        self.metric(PROCESSED_MESSAGES, |metric| {
            for (queue, sums) in &queues {
                for (of, number) in ACTIONS.into_iter().zip(sums.processed) {
                    metric.sample(&[(queue_name, queue), (action, word(of))], number);
                }
            }
        });
    }

    fn connections(&mut self, connections: &[Arc<ConnectionCounts>]) {
        self.metric(ACTIVE_CONNECTIONS, |metric| {
            for connection in connections {
                metric.sample(&[("connection", &connection.name)], connection.active.get());
            }
        });
        self.metric(RECONNECTS, |metric| {
            for connection in connections {
                metric.sample(&[("connection", &connection.name)], connection.reconnects.get());
            }
        });
        self.metric(PUBLISH, |metric| {
            for connection in connections {
                for (place, (outcome, histogram)) in connection.published.iter().enumerate() {
                    let snapshot = histogram.snapshot();
                    // That of success is there from the start, so that its rate is right from the first.
                    if place == 0 || snapshot.count > 0 {
                        metric.histogram(&[("connection", &connection.name), ("outcome", outcome)], &snapshot);
                    }
                }
            }
        });
    }

    fn routes(&mut self, routes: &[Arc<RouteCounts>]) {
        let mut counter = |definition, of: fn(&RouteCounts) -> &Counter| {
            self.metric(definition, |metric| {
                for route in routes {
                    metric.sample(&[("route", &route.name)], of(route).get());
                }
            });
        };
        counter(FILLED_BUCKETS, |route| &route.filled);
        counter(FLUSHED_BUCKETS, |route| &route.flushed);
        counter(FAILED_BUCKETS, |route| &route.failed);
        counter(SETTLE_FRAMES, |route| &route.frames);
        let mut histogram = |definition, of: fn(&RouteCounts) -> &Histogram| {
            self.metric(definition, |metric| {
                for route in routes {
                    metric.histogram(&[("route", &route.name)], &of(route).snapshot());
                }
            });
        };
        histogram(BUCKET_HANDLE, |route| &route.handled);
        histogram(BULK_SIZE, |route| &route.sizes);
        histogram(QUEUE_TO_HANDLER, |route| &route.waited);
        self.metric(IN_FLIGHT, |metric| {
            for route in routes {
                metric.sample(&[("route", &route.name)], route.progress.unsettled_messages());
            }
        });
        self.metric(OLDEST_IN_FLIGHT, |metric| {
            for route in routes {
                let oldest = route.progress.oldest_unsettled().unwrap_or_default();
                metric.sample(&[("route", &route.name)], oldest.as_millis());
            }
        });
    }

    fn schedules(&mut self, schedules: &[(Arc<str>, Arc<Tally>)]) {
        self.metric(SCHEDULE_RUNS, |metric| {
            for (name, tally) in schedules {
                for (outcome, runs) in [("completed", &tally.completed), ("failed", &tally.failures)] {
                    metric.sample(&[("schedule", name), ("outcome", outcome)], runs.load(Relaxed));
                }
            }
        });
        self.metric(SKIPPED_TICKS, |metric| {
            for (name, tally) in schedules {
                metric.sample(&[("schedule", name)], tally.skipped.load(Relaxed));
            }
        });
    }

    fn requests(&mut self, meter: &HttpMeter) {
        let counted = meter.counted();
        let mut histogram = |definition, of: fn(&Answers) -> &Histogram| {
            self.metric(definition, |metric| {
                for (Answered { path, method, status }, answers) in &counted {
                    let status = status.to_string();
                    metric
                        .histogram(&[("method", method), ("path", path), ("status", &status)], &of(answers).snapshot());
                }
            });
        };
        histogram(REQUEST_DURATION, |answers| &answers.times);
        histogram(RESPONSE_SIZE, |answers| &answers.sizes);
        self.metric(REQUESTS_IN_PROGRESS, |metric| metric.sample(&[], meter.in_progress()));
    }
}

/// An action as its label says it.
fn word(action: Action) -> &'static str {
    match action {
        Action::Ack => "ack",
        Action::Reject => "reject",
        Action::Requeue => "requeue",
    }
}
