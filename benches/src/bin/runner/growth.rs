//! How a worker's costs grow: with routes, with bodies, with the prefetch, with time.

use benches::Task;

use crate::workload::{Against, DRAIN, FED, Point, Worker, Workload};

const ASYNCWORKER: &[Worker] = &[Worker::Asyncworker];
const RIVALS: &[Worker] = &[Worker::Asyncworker, Worker::LapinUsual, Worker::LapinBest];

const START: Point = Point { task: Task::Idle, messages: 0, usual: 0, ..DRAIN };

const fn routes(routes: u32) -> Point {
    Point { routes, ..DRAIN }
}

const fn starting(routes: u32) -> Point {
    Point { routes, ..START }
}

const fn bytes(body: usize, messages: u64) -> Point {
    Point { task: Task::Bytes, body, messages, ..DRAIN }
}

/// Slow ones wait for the other end at each message: they get fewer.
const fn prefetch(against: Against, prefetch: u16) -> Point {
    let (messages, usual) = match (against, prefetch) {
        (_, ..=9) => (10_000, 10_000),
        (Against::Feed, ..=99) => (100_000, 20_000),
        (Against::Feed, _) => (FED.messages, FED.usual),
        (Against::Broker, _) => (DRAIN.messages, DRAIN.usual),
    };
    Point { against, prefetch, messages, usual, ..DRAIN }
}

const fn prefetches(against: Against) -> [(&'static str, Point); 6] {
    [
        ("1", prefetch(against, 1)),
        ("10", prefetch(against, 10)),
        ("100", prefetch(against, 100)),
        ("256", prefetch(against, 256)),
        ("1,000", prefetch(against, 1_000)),
        ("10,000", prefetch(against, 10_000)),
    ]
}

/// In the order they are run.
pub(crate) const GROWTH: [Workload; 7] = [
    Workload {
        name: "start",
        title: "Routes: start and memory",
        note: "From the start of the app until all routes consume, connecting included. Memory is what the process grew by, \
               the connection included, divided by the routes.",
        varies: "routes",
        points: &[("1", starting(1)), ("10", starting(10)), ("100", starting(100)), ("1,000", starting(1_000))],
        workers: ASYNCWORKER,
    },
    Workload {
        name: "routes",
        title: "Routes: drain of a number of messages that they share, prefetch 256 each",
        note: "The clock runs from the connection: opening a channel a route is in it.",
        varies: "routes",
        points: &[("1", routes(1)), ("10", routes(10)), ("100", routes(100)), ("1,000", routes(1_000))],
        workers: ASYNCWORKER,
    },
    Workload {
        name: "bodies",
        title: "Bodies: drain, prefetch 256, nobody parses",
        note: "",
        varies: "body",
        points: &[
            ("1 B", bytes(1, 100_000)),
            ("100 B", bytes(100, 100_000)),
            ("1 KiB", bytes(1 << 10, 100_000)),
            ("10 KiB", bytes(10 << 10, 20_000)),
            ("100 KiB", bytes(100 << 10, 5_000)),
            ("1 MiB", bytes(1 << 20, 500)),
        ],
        workers: &[Worker::Asyncworker, Worker::LapinBest, Worker::RabbitmqC],
    },
    Workload {
        name: "prefetch",
        title: "Prefetch: drain of a queue",
        note: "",
        varies: "prefetch",
        points: &prefetches(Against::Broker),
        workers: RIVALS,
    },
    Workload {
        name: "prefetch-feed",
        title: "Prefetch: the loopback feed",
        note: "",
        varies: "prefetch",
        points: &prefetches(Against::Feed),
        workers: RIVALS,
    },
    Workload {
        name: "flat",
        title: "Memory over a long run: the loopback feed, prefetch 256",
        note: "Ten million messages: the peak when a tenth of the messages was handled, and at the end.",
        varies: "",
        points: &[("", Point { messages: 10_000_000, watch: true, ..FED })],
        workers: &[Worker::Asyncworker, Worker::LapinBest],
    },
    Workload {
        name: "idle",
        title: "Idle: 10 routes, nothing comes",
        note: "Wake-ups are the voluntary context switches of all threads, beginning a second after the start; heartbeats \
               are asked for every 60 s.",
        varies: "routes",
        points: &[("10", Point { watch: true, ..starting(10) })],
        workers: ASYNCWORKER,
    },
];
