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
}

impl Worker {
    pub(crate) const ALL: [Self; 5] =
        [Self::Asyncworker, Self::LapinUsual, Self::LapinBest, Self::Amqprs, Self::RabbitmqC];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Asyncworker => "asyncworker",
            Self::LapinUsual => "lapin-usual",
            Self::LapinBest => "lapin-best",
            Self::Amqprs => "amqprs",
            Self::RabbitmqC => "rabbitmq-c",
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
    pub(crate) against: Against,
    pub(crate) task: Task,
    pub(crate) prefetch: u16,
    pub(crate) bulk: usize,
    pub(crate) body: usize,
    pub(crate) workers: &'static [Worker],
    /// How its messages relate to what `--messages` says: as many times that,
    pub(crate) times: u64,
    /// divided by this,
    pub(crate) part: u64,
    /// and once more for the usual lapin loop, which would otherwise take most of the time.
    pub(crate) usual_part: u64,
}

impl Workload {
    /// Messages a run: whole bulks, of any size that is used here.
    pub(crate) fn messages(&self, worker: Worker, base: u64) -> u64 {
        let part = if worker == Worker::LapinUsual { self.part * self.usual_part } else { self.part };
        (base * self.times / part).next_multiple_of(1_000).max(1_000)
    }
}

const DRAIN: Workload = Workload {
    name: "W1",
    title: "W1: drain of a preloaded queue, a message a handler, prefetch 256",
    note: "",
    against: Against::Broker,
    task: Task::Drain,
    prefetch: 256,
    bulk: 1,
    body: 120,
    workers: &Worker::ALL,
    times: 1,
    part: 1,
    usual_part: 4,
};

/// In the order they are run.
pub(crate) const WORKLOADS: [Workload; 9] = [
    DRAIN,
    Workload {
        name: "feed",
        title: "Loopback feed: the client's own ceiling, a message a handler, prefetch 256",
        note: "The server is a loop that answers just enough AMQP. Worker and server share the cores.",
        against: Against::Feed,
        times: 10,
        usual_part: 100,
        ..DRAIN
    },
    Workload { name: "W2-100", title: "W2: bulks of 100, prefetch 256", bulk: 100, ..DRAIN },
    Workload { name: "W2-1000", title: "W2: bulks of 1,000, prefetch 1,000", bulk: 1_000, prefetch: 1_000, ..DRAIN },
    Workload {
        name: "W6",
        title: "W6: handlers that await 10 ms, prefetch 256",
        note: "lapin-usual is lapin with a task a message here. The ideal is 25,600 msg/s.",
        task: Task::Wait,
        workers: &[Worker::Asyncworker, Worker::LapinUsual],
        part: 2,
        usual_part: 1,
        ..DRAIN
    },
    Workload { name: "P1", title: "Prefetch 1", prefetch: 1, part: 10, usual_part: 1, ..DRAIN },
    Workload { name: "W3", title: "W3: bodies of 10 kB, prefetch 256", body: 10_000, part: 5, usual_part: 1, ..DRAIN },
    Workload {
        name: "W5",
        title: "W5: confirmed publishing, window 100",
        note: "Transient messages, not mandatory. lapin-usual awaits each confirm, 100 publishes side by side.",
        task: Task::Publish,
        workers: &[Worker::Asyncworker, Worker::LapinUsual, Worker::RabbitmqC],
        part: 2,
        usual_part: 1,
        ..DRAIN
    },
    Workload {
        name: "W4",
        title: "W4: latency from publish to the start of the handler, 1,000 messages a second",
        note: "The publisher runs beside the worker; the first tenth is left out. rabbitmq-c acks each message here.",
        task: Task::Latency,
        part: 30,
        usual_part: 1,
        ..DRAIN
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_fill_whole_bulks() {
        for workload in &WORKLOADS {
            for worker in Worker::ALL {
                for base in [1, 100_000, 123_456] {
                    assert_eq!(workload.messages(worker, base) % workload.bulk as u64, 0);
                }
            }
        }
    }
}
