//! What is measured, and with which workers.

use benches::Task;

/// A program that does the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Worker {
    Asyncworker,
    LapinUsual,
    LapinBest,
    Amqprs,
    RabbitmqC,
    Python,
}

impl Worker {
    pub(crate) const ALL: [Self; 6] =
        [Self::Asyncworker, Self::LapinUsual, Self::LapinBest, Self::Amqprs, Self::RabbitmqC, Self::Python];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Asyncworker => "asyncworker",
            Self::LapinUsual => "lapin-usual",
            Self::LapinBest => "lapin-best",
            Self::Amqprs => "amqprs",
            Self::RabbitmqC => "rabbitmq-c",
            Self::Python => "async-worker",
        }
    }
}

/// What feeds the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Against {
    Broker,
    Feed,
}

/// One table of the result.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// What the reader has to know to read the table.
    pub(crate) note: &'static str,
    /// What its points differ in, where it has several.
    pub(crate) varies: &'static str,
    pub(crate) points: &'static [(&'static str, Point)],
    pub(crate) workers: &'static [Worker],
}

/// The conditions of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) against: Against,
    pub(crate) task: Task,
    pub(crate) prefetch: u16,
    pub(crate) bulk: usize,
    pub(crate) body: usize,
    pub(crate) routes: u32,
    /// How fast the runner publishes where latency is measured.
    pub(crate) a_second: u32,
    /// Messages a run.
    pub(crate) messages: u64,
    /// The same for the usual lapin loop and for async-worker, which would otherwise take most of the time.
    pub(crate) usual: u64,
    /// Whether to look at it over time: at its memory when a tenth is handled, or at what it does while idle.
    pub(crate) watch: bool,
}

impl Point {
    /// Messages a run at this part of the usual number: whole bulks, of any size that is used here.
    pub(crate) fn messages(&self, worker: Worker, scale: f64) -> u64 {
        let is_slow = matches!(worker, Worker::LapinUsual | Worker::Python);
        let messages = if is_slow { self.usual } else { self.messages };
        let scaled = (messages as f64 * scale) as u64;
        scaled.next_multiple_of(self.bulk as u64).max(messages.min(1_000))
    }
}

pub(crate) const DRAIN: Point = Point {
    against: Against::Broker,
    task: Task::Drain,
    prefetch: 256,
    bulk: 1,
    body: 120,
    routes: 1,
    a_second: 0,
    messages: 100_000,
    usual: 25_000,
    watch: false,
};
pub(crate) const FED: Point = Point { against: Against::Feed, messages: 1_000_000, usual: 20_000, ..DRAIN };
const BULKS: Point = Point { usual: 25_000, bulk: 100, ..DRAIN };
const LATENCY: Point = Point { task: Task::Latency, a_second: 1_000, messages: 3_000, usual: 3_000, ..DRAIN };
const PUBLISH: Point = Point { task: Task::Publish, messages: 50_000, usual: 50_000, ..DRAIN };

const CLIENTS: &[Worker] =
    &[Worker::Asyncworker, Worker::LapinUsual, Worker::LapinBest, Worker::Amqprs, Worker::RabbitmqC];

/// In the order they are run.
pub(crate) const SUITE: [Workload; 8] = [
    Workload {
        name: "W1",
        title: "W1: drain of a preloaded queue, a message a handler, prefetch 256",
        note: "async-worker is the Python framework that asyncworker succeeds.",
        varies: "",
        points: &[("", DRAIN)],
        workers: &Worker::ALL,
    },
    Workload {
        name: "feed",
        title: "Loopback feed: the client's own ceiling, a message a handler, prefetch 256",
        note: "The server is a loop that answers just enough AMQP. Worker and server share the cores.",
        varies: "",
        points: &[("", FED)],
        workers: CLIENTS,
    },
    Workload {
        name: "W2",
        title: "W2: bulks",
        note: "",
        varies: "bulk, prefetch",
        points: &[("100, 256", BULKS), ("1,000, 1,000", Point { bulk: 1_000, prefetch: 1_000, ..BULKS })],
        workers: CLIENTS,
    },
    Workload {
        name: "W6",
        title: "W6: handlers that await 10 ms, prefetch 256",
        note: "lapin-usual is lapin with a task a message here. The ideal is 25,600 msg/s.",
        varies: "",
        points: &[("", Point { task: Task::Wait, messages: 50_000, usual: 50_000, ..DRAIN })],
        workers: &[Worker::Asyncworker, Worker::LapinUsual],
    },
    Workload {
        name: "P1",
        title: "Prefetch 1",
        note: "",
        varies: "",
        points: &[("", Point { prefetch: 1, messages: 10_000, usual: 10_000, ..DRAIN })],
        workers: CLIENTS,
    },
    Workload {
        name: "W3",
        title: "W3: bodies of 10 kB, prefetch 256",
        note: "",
        varies: "",
        points: &[("", Point { body: 10_000, messages: 20_000, usual: 20_000, ..DRAIN })],
        workers: CLIENTS,
    },
    Workload {
        name: "W5",
        title: "W5: confirmed publishing, window 100",
        note: "Transient messages, not mandatory. lapin-usual publishes 100, then awaits their confirms, then the next 100; \
               lapin-best has 100 publishes side by side, each with its confirm awaited.",
        varies: "body",
        points: &[("120 B", PUBLISH), ("10 kB", Point { body: 10_000, messages: 20_000, usual: 20_000, ..PUBLISH })],
        workers: CLIENTS,
    },
    Workload {
        name: "W4",
        title: "W4: latency from publish to the start of the handler",
        note: "The publisher runs beside the worker; the first tenth is left out. Every worker acks each message here.",
        varies: "messages/s",
        points: &[("1,000", LATENCY), ("5,000", Point { a_second: 5_000, messages: 15_000, usual: 15_000, ..LATENCY })],
        workers: CLIENTS,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::GROWTH;

    #[test]
    fn messages_fill_whole_bulks_and_a_tenth_is_a_message_at_least() {
        for (_, point) in SUITE.iter().chain(&GROWTH).flat_map(|workload| workload.points) {
            for worker in Worker::ALL {
                for scale in [0.0, 0.03, 1.0, 1.234] {
                    let messages = point.messages(worker, scale);
                    assert_eq!(messages % point.bulk as u64, 0);
                    assert!(messages >= 10 || point.task == Task::Idle);
                }
            }
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = SUITE.iter().chain(&GROWTH).map(|workload| workload.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SUITE.len() + GROWTH.len());
    }
}
