//! Signals: how a worker process ends.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::{Duration, Instant};
use tests::{Client, LIMIT, Relay, Worker, amqp_url, unique, unsettled, until, until_async};
use tokio::io::AsyncWriteExt;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// What ends "at once" has ended by then, on a machine that is busy: long before the time for handlers is over, which is 25 s
/// where nothing else is said.
const AT_ONCE: Duration = Duration::from_secs(10);

struct Bench {
    client: Client,
    queue: String,
}

impl Bench {
    /// A queue with this many messages.
    async fn with(test: &str, messages: usize) -> Self {
        let client = Client::connect().await;
        let queue = unique(test);
        client.declare(&queue, &[]).await;
        client.publish(&queue, (0..messages).map(|number| number.to_string())).await;
        Self { client, queue }
    }

    fn worker(&self, scenario: &str) -> Worker {
        self.worker_with(scenario, &[])
    }

    fn worker_with(&self, scenario: &str, environment: &[(&str, &str)]) -> Worker {
        Worker::start(WORKER, [scenario, &amqp_url(), &self.queue], environment)
    }

    /// The worker has gone, and these are in the queue.
    async fn left(self, bodies: std::ops::Range<usize>) {
        let back = || async { self.client.ready(&self.queue).await == bodies.len() };
        until_async(&format!("{} messages in the queue", bodies.len()), LIMIT, back).await;
        let left = self.client.take(&self.queue).await;
        self.client.delete(&self.queue).await;
        self.client.close().await;
        let left: Vec<String> = left.into_iter().map(|taken| taken.body).collect();
        assert_eq!(left, bodies.map(|number| number.to_string()).collect::<Vec<_>>());
    }
}

/// Told to end, it does when the 2 s of its handlers are over, and its code says that they had not ended.
async fn is_given_up(mut worker: Worker) {
    let told = Instant::now();
    worker.signal("TERM").await;
    let code = worker.end(LIMIT).await.code();
    assert!(code.is_some_and(|code| code != 0), "{code:?} {}", worker.printed());
    assert!(told.elapsed() < Duration::from_secs(2) + AT_ONCE, "{:?}", told.elapsed());
}

#[tokio::test]
async fn a_bulk_that_runs_at_sigterm_ends_and_is_acked_and_nothing_is_handled_afterwards() {
    let bench = Bench::with("drain.slow", 1_200).await;
    let mut worker = bench.worker("slow");
    let mut input = worker.take_input();
    worker.until_printed("start 500").await;
    worker.signal("TERM").await;
    worker.until_printed("stopping").await;
    input.write_all(b"end\n").await.unwrap();
    assert_eq!(worker.end(LIMIT).await.code(), Some(0), "{}", worker.printed());
    let printed = worker.printed();
    assert_eq!((printed.matches("start 500").count(), printed.matches("end 500").count()), (1, 1), "{printed}");
    assert_eq!(
        (printed.matches("start").count() - printed.matches("started").count(), printed.matches("end ").count()),
        (1, 1)
    );
    bench.left(500..1_200).await;
}

#[tokio::test]
async fn the_partial_bulk_is_handled_at_sigint() {
    let bench = Bench::with("drain.quick", 520).await;
    let mut worker = bench.worker("quick");
    worker.until_printed("handled 500").await;
    // What it holds is no longer in the queue.
    until_async("all delivered", LIMIT, || async { bench.client.ready(&bench.queue).await == 0 }).await;
    worker.signal("INT").await;
    assert_eq!(worker.end(LIMIT).await.code(), Some(0));
    // What was still on its way to the worker when it was told to stop is given back.
    let printed = worker.printed();
    let handled: usize = printed.lines().filter_map(|line| line.strip_prefix("handled ")?.parse::<usize>().ok()).sum();
    bench.left(handled..520).await;
}

#[tokio::test]
async fn a_handler_that_never_ends_is_given_up_at_the_deadline_and_its_messages_go_back() {
    let bench = Bench::with("drain.never", 10).await;
    let worker = bench.worker("never");
    until("all handlers run", LIMIT, || worker.printed().matches("start 1").count() == 10).await;
    is_given_up(worker).await;
    bench.left(0..10).await;
}

#[tokio::test]
async fn a_second_signal_ends_the_process_at_once() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let bench = Bench::with("drain.twice", 1).await;
        let mut worker = bench.worker("never");
        worker.until_printed("start 1").await;
        worker.signal("TERM").await;
        worker.until_printed("stopping").await;
        let told = Instant::now();
        worker.signal(signal).await;
        assert_eq!(worker.end(LIMIT).await.code(), Some(code), "{}", worker.printed());
        assert!(told.elapsed() < AT_ONCE, "{:?}", told.elapsed());
        bench.left(0..1).await;
    }
}

/// A worker with no broker, and told to end.
async fn without_a_broker(scenario: &str) {
    let relay = Relay::start().await;
    relay.refuse(true);
    let mut worker = Worker::start(WORKER, [scenario, &relay.url(), "nothing"], &[]);
    worker.until_printed("cannot connect").await;
    let told = Instant::now();
    worker.signal("TERM").await;
    assert_eq!(worker.end(LIMIT).await.code(), Some(0), "{}", worker.printed());
    assert!(told.elapsed() < AT_ONCE, "{:?}", told.elapsed());
}

#[tokio::test]
async fn sigterm_without_a_broker_ends_in_order() {
    without_a_broker("quick").await;
}

#[tokio::test]
async fn sigterm_while_waiting_for_a_broker_to_declare_on_ends_in_order() {
    without_a_broker("declares").await;
}

#[tokio::test]
async fn sigterm_while_reconnecting_ends_in_order() {
    let relay = Relay::start().await;
    let bench = Bench::with("drain.reconnect", 500).await;
    let mut worker = Worker::start(WORKER, ["quick", &relay.url(), &bench.queue], &[]);
    worker.until_printed("handled 500").await;
    // It is printed before the handler has ended; what is cut off before it is settled comes again.
    until_async("all is settled", LIMIT, || async { unsettled(&bench.queue).await == 0 }).await;
    relay.refuse(true);
    let before = relay.accepted();
    relay.cut();
    until("two attempts", LIMIT, || relay.accepted() >= before + 2).await;
    let told = Instant::now();
    worker.signal("TERM").await;
    assert_eq!(worker.end(LIMIT).await.code(), Some(0), "{}", worker.printed());
    assert!(told.elapsed() < AT_ONCE, "{:?}", told.elapsed());
    bench.left(0..0).await;
}

#[tokio::test]
async fn a_handler_that_blocks_its_thread_does_not_hold_the_exit() {
    // With the only thread of the runtime, as on one processor, and with one of several.
    for threads in ["1", "2"] {
        let bench = Bench::with("drain.blocks", 1).await;
        let worker = bench.worker_with("blocks", &[("TOKIO_WORKER_THREADS", threads)]);
        worker.until_printed("start\n").await;
        is_given_up(worker).await;
        bench.left(0..1).await;
    }
}

#[tokio::test]
async fn defect_07_a_shutdown_hook_that_makes_trouble_holds_nothing_up_and_is_told_by_the_exit_code() {
    for scenario in ["hook-fails", "hook-panics", "hook-hangs"] {
        let mut worker = Worker::start(WORKER, [scenario, &amqp_url(), "nothing"], &[]);
        worker.until_printed("started").await;
        let told = Instant::now();
        worker.signal("TERM").await;
        let code = worker.end(LIMIT).await.code();
        let printed = worker.printed();
        assert!(code.is_some_and(|code| code != 0), "{scenario}: {code:?} {printed}");
        assert!(told.elapsed() < Duration::from_secs(2) + AT_ONCE, "{scenario}: {:?}", told.elapsed());
        let [first, last] = ["first hook", "last hook"].map(|hook| printed.find(hook));
        assert!(last.is_some() && last < first, "{scenario}: {printed}");
    }
}

#[tokio::test]
async fn what_a_test_started_ends_when_the_test_is_killed() {
    let mut test = Worker::start(WORKER, ["starts", "amqp://127.0.0.1:1", "nothing"], &[]);
    test.until_printed(" is started").await;
    let printed = test.printed();
    let pid = printed.lines().find_map(|line| line.strip_suffix(" is started")).unwrap();
    let runs = || {
        let state = std::process::Command::new("ps").args(["-o", "stat=", "-p", pid]).output().expect("ps").stdout;
        !matches!(state.trim_ascii().first(), None | Some(b'Z'))
    };
    assert!(runs());
    test.signal("KILL").await;
    test.end(LIMIT).await;
    until("it has ended", LIMIT, || !runs()).await;
}
