//! The engine without a broker: signals in, frames out, virtual time.

#![allow(clippy::unwrap_used)]

use super::{Frame, Progress, Settler, Signal, Stop, Worker};
use crate::handler::{BoundHandler, Failure, Outcome, handling};
use crate::message::{Bulk, Delivery, Message, Origin};
use crate::meter::Meters;
use crate::publish::Publisher;
use crate::route::{Action, Policy, Protocol};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

mod in_place;
mod retries;

const LIMIT: Duration = Duration::from_secs(3600);

/// What a channel was sent.
#[derive(Default)]
struct Wire(Mutex<Vec<Frame>>);

impl Settler for Wire {
    fn settle(&self, frames: &[Frame]) {
        self.0.lock().unwrap().extend_from_slice(frames);
    }
}

/// A worker with one lane, and what its handler saw.
struct Bench {
    outbox: mpsc::UnboundedSender<Signal>,
    wire: Arc<Wire>,
    stop: Stop,
    /// The bulks handled so far, as tags.
    seen: watch::Receiver<Vec<Vec<u64>>>,
    worker: JoinHandle<usize>,
    epoch: u64,
    #[cfg(feature = "metrics")]
    meters: Meters,
}

fn policy() -> Policy {
    Policy {
        bulk: 1,
        flush_interval: Duration::from_secs(60),
        on_success: Action::Ack,
        on_exception: Action::Requeue,
        on_decode_error: Action::Reject,
        concurrency: usize::MAX,
        timeout: None,
        prefetch: 256,
        max_body: usize::MAX,
    }
}

/// Starts a worker whose handler notes the bulk when it begins and then does what `handle` does.
fn bench<F, Fut>(policy: Policy, handle: F) -> Bench
where
    F: Fn(Vec<Message<u64>>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Outcome, Failure>> + Send + 'static,
{
    let (outbox, inbox) = mpsc::unbounded_channel();
    let (note, seen) = watch::channel(Vec::new());
    let handler: BoundHandler = Arc::new(move |bulk: Bulk, ended| {
        let tags = bulk.entries().iter().map(|entry| entry.delivery.tag).collect();
        note.send_modify(|seen: &mut Vec<Vec<u64>>| seen.push(tags));
        handling(handle(bulk.messages()), ended)
    });
    let stop = Stop { drain: CancellationToken::new(), abandon: CancellationToken::new() };
    let progress = Arc::new(Progress::new(1));
    let meters = Meters::default();
    let worker = Worker {
        route: "test".into(),
        policy,
        handler,
        publisher: Publisher::new(Arc::new([])),
        inbox,
        lanes: 1,
        meter: meters.route(&"test".into(), Protocol::Amqp, &["orders".into()], &progress),
        progress,
        stop: stop.clone(),
    };
    let worker = tokio::spawn(worker.run());
    let mut bench = Bench {
        outbox,
        wire: Arc::default(),
        stop,
        seen,
        worker,
        epoch: 0,
        #[cfg(feature = "metrics")]
        meters,
    };
    bench.open();
    bench
}

async fn ok(_: Vec<Message<u64>>) -> Result<Outcome, Failure> {
    Ok(Outcome::default())
}

impl Bench {
    /// A new channel: the next epoch.
    fn open(&mut self) {
        self.epoch += 1;
        self.wire = Arc::default();
        let settler = Arc::clone(&self.wire) as Arc<dyn Settler>;
        self.outbox.send(Signal::Opened { lane: 0, epoch: self.epoch, settler }).ok().unwrap();
    }

    fn lose(&mut self) {
        self.outbox.send(Signal::Lost { lane: 0, epoch: self.epoch }).ok().unwrap();
    }

    /// Messages with these tags, each with its tag as its body.
    fn deliver(&self, tags: impl IntoIterator<Item = u64>) {
        let deliveries =
            tags.into_iter().map(|tag| Delivery { tag, body: tag.to_string().into(), ..Delivery::default() });
        self.send(deliveries.collect());
    }

    fn send(&self, deliveries: Vec<Delivery>) {
        let origin = Origin { epoch: self.epoch, queue: "orders".into(), ..Origin::default() }.into();
        self.outbox.send(Signal::deliveries(origin, deliveries)).ok().unwrap();
    }

    /// The bulks handled, once there are so many.
    async fn bulks(&mut self, number: usize) -> Vec<Vec<u64>> {
        let seen = tokio::time::timeout(LIMIT, self.seen.wait_for(|seen| seen.len() >= number)).await;
        seen.expect("as many bulks as expected").unwrap().clone()
    }

    /// The frames sent, once there are so many.
    async fn frames(&self, number: usize) -> Vec<Frame> {
        let sent = async {
            loop {
                let sent = self.wire.0.lock().unwrap().clone();
                if sent.len() >= number {
                    return sent;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(LIMIT, sent).await.expect("as many frames as expected")
    }

    /// Drains, with a consumer that cancels at once; gives the number of abandoned handlers.
    async fn drain(self) -> (usize, Vec<Frame>) {
        self.stop.drain.cancel();
        self.outbox.send(Signal::Cancelled { lane: 0 }).ok().unwrap();
        let abandoned = tokio::time::timeout(LIMIT, self.worker).await.expect("the worker ends").unwrap();
        let sent = self.wire.0.lock().unwrap().clone();
        (abandoned, sent)
    }
}

fn sizes(bulks: &[Vec<u64>]) -> Vec<usize> {
    bulks.iter().map(Vec::len).collect()
}

const fn ack(tag: u64) -> Frame {
    Frame::Ack { tag, multiple: true }
}

#[tokio::test(start_paused = true)]
async fn a_bulk_fills_by_size_and_the_rest_comes_by_time() {
    let mut bench = bench(Policy { bulk: 100, flush_interval: Duration::from_millis(300), ..policy() }, ok);
    let start = tokio::time::Instant::now();
    bench.deliver(1..=250);
    assert_eq!(sizes(&bench.bulks(2).await), [100, 100]);
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(sizes(&bench.bulks(3).await), [100, 100, 50]);
    assert_eq!(start.elapsed().as_millis(), 300);
}

#[tokio::test(start_paused = true)]
async fn the_flush_interval_counts_from_the_first_message_of_the_bulk() {
    let mut bench = bench(Policy { bulk: 10, flush_interval: Duration::from_millis(300), ..policy() }, ok);
    let start = tokio::time::Instant::now();
    bench.deliver([1]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    bench.deliver([2]);
    assert_eq!(bench.bulks(1).await, [[1, 2]]);
    assert_eq!(start.elapsed().as_millis(), 300);
}

#[tokio::test(start_paused = true)]
async fn a_bulk_that_succeeds_is_one_frame() {
    let bench = bench(Policy { bulk: 100, ..policy() }, ok);
    bench.deliver(1..=100);
    assert_eq!(bench.frames(1).await, [ack(100)]);
}

#[tokio::test(start_paused = true)]
async fn single_messages_that_end_together_share_frames() {
    let bench = bench(policy(), ok);
    bench.deliver(1..=200);
    let (_, frames) = bench.drain().await;
    assert!(frames.len() <= 4, "{frames:?}");
}

#[tokio::test(start_paused = true)]
async fn bulks_run_side_by_side_up_to_the_concurrency() {
    let (release, gate) = watch::channel(false);
    let mut bench = bench(Policy { concurrency: 3, ..policy() }, move |_| {
        let mut gate = gate.clone();
        async move {
            gate.wait_for(|open| *open).await.unwrap();
            Ok(Outcome::default())
        }
    });
    bench.deliver(1..=5);
    bench.bulks(3).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.seen.borrow().len(), 3);
    release.send_replace(true);
    assert_eq!(bench.bulks(5).await.concat(), [1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn what_ends_before_a_slow_one_is_settled_by_itself() {
    let mut bench = bench(policy(), |messages| async move {
        if *messages[0].body()? == 1 {
            std::future::pending::<()>().await;
        }
        Ok(Outcome::default())
    });
    bench.deliver(1..=3);
    bench.bulks(3).await;
    let single = |tag| Frame::Ack { tag, multiple: false };
    assert_eq!(bench.frames(2).await, [single(2), single(3)]);
}

#[tokio::test(start_paused = true)]
async fn an_error_a_panic_and_a_timeout_are_the_exception_of_their_own_bulk() {
    let policy = Policy { timeout: Some(Duration::from_secs(5)), on_exception: Action::Reject, ..policy() };
    let mut bench = bench(policy, |messages| async move {
        match messages[0].body()? {
            1 => Err(Failure::new("an error")),
            2 => panic!("a panic"),
            3 => std::future::pending().await,
            4 => Err(Failure::requeue("an error with an action of its own")),
            _ => Ok(Outcome::default()),
        }
    });
    bench.deliver(1..=5);
    bench.bulks(5).await;
    let mut frames = bench.frames(5).await;
    frames.sort_by_key(|frame| match frame {
        Frame::Ack { tag, .. } | Frame::Reject { tag, .. } | Frame::Nack { tag } => *tag,
    });
    let reject = |tag, requeue| Frame::Reject { tag, requeue };
    let expected =
        [reject(1, false), reject(2, false), reject(3, false), reject(4, true), Frame::Ack { tag: 5, multiple: false }];
    assert_eq!(frames, expected);
}

#[tokio::test(start_paused = true)]
async fn a_mark_holds_when_the_handler_fails_and_the_last_one_wins() {
    let bench = bench(Policy { bulk: 3, ..policy() }, |messages| async move {
        messages[0].reject();
        messages[0].accept();
        messages[1].reject();
        Err(Failure::new("after the marks"))
    });
    bench.deliver(1..=3);
    let reject = |tag, requeue| Frame::Reject { tag, requeue };
    assert_eq!(bench.frames(3).await, [reject(2, false), reject(3, true), Frame::Ack { tag: 1, multiple: false }]);
}

#[tokio::test(start_paused = true)]
async fn defect_05_a_body_that_does_not_decode_harms_no_other_message() {
    let bench = bench(Policy { bulk: 3, ..policy() }, |messages| async move {
        for message in &messages {
            message.body()?;
        }
        Ok(Outcome::default())
    });
    let deliveries =
        [(1, "1"), (2, "{"), (3, "3")].map(|(tag, body)| Delivery { tag, body: body.into(), ..Delivery::default() });
    bench.send(deliveries.into());
    let reject = |tag, requeue| Frame::Reject { tag, requeue };
    // The handler gave up at the broken one by `?`: the others are its exception, the broken one is not.
    assert_eq!(bench.frames(3).await, [reject(1, true), reject(2, false), reject(3, true)]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_read_is_rejected_alone_and_never_handled() {
    let mut bench = bench(Policy { bulk: 2, ..policy() }, ok);
    let deliveries = [(1, None), (2, Some("its routing key is not UTF-8")), (3, None)]
        .map(|(tag, malformed)| Delivery { tag, malformed, ..Delivery::default() });
    bench.send(deliveries.into());
    assert_eq!(bench.bulks(1).await, [[1, 3]]);
    assert_eq!(bench.frames(2).await, [Frame::Reject { tag: 2, requeue: false }, ack(3)]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_read_is_rejected_though_nothing_else_comes() {
    let bench = bench(policy(), ok);
    let broken = Delivery { tag: 1, malformed: Some("broken"), ..Delivery::default() };
    bench.send(vec![broken]);
    assert_eq!(bench.frames(1).await, [Frame::Reject { tag: 1, requeue: false }]);
    assert!(bench.seen.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_comes_after_its_channel_was_lost_is_handled_by_nobody() {
    let mut bench = bench(policy(), ok);
    bench.lose();
    bench.deliver([1]);
    bench.open();
    bench.deliver([1]);
    assert_eq!(bench.frames(1).await, [Frame::Ack { tag: 1, multiple: false }]);
    assert_eq!(bench.seen.borrow().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn defect_02_a_lost_channel_empties_the_bucket() {
    let mut bench = bench(Policy { bulk: 10, flush_interval: Duration::from_millis(300), ..policy() }, ok);
    bench.deliver(1..=4);
    bench.lose();
    bench.open();
    bench.deliver(1..=4);
    assert_eq!(bench.bulks(1).await, [[1, 2, 3, 4]]);
    assert_eq!(bench.frames(1).await, [ack(4)]);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(bench.bulks(1).await.len(), 1, "no message was handled twice");
}

#[tokio::test(start_paused = true)]
async fn what_ended_before_its_channel_was_lost_is_settled_though_it_waited_for_company() {
    let one = |tag| Frame::Ack { tag, multiple: false };
    let mut bench = bench(policy(), ok);
    bench.deliver([1]);
    assert_eq!(bench.frames(1).await, [one(1)]);
    // Within the pause after that frame, so it waits.
    bench.deliver([2]);
    bench.bulks(2).await;
    bench.lose();
    assert_eq!(bench.frames(2).await, [one(1), one(2)]);
}

#[tokio::test(start_paused = true)]
async fn an_outcome_of_a_lost_epoch_settles_nothing_of_the_next() {
    let (release, gate) = watch::channel(false);
    let mut bench = bench(Policy { bulk: 2, ..policy() }, move |_| {
        let mut gate = gate.clone();
        async move {
            gate.wait_for(|open| *open).await.unwrap();
            Ok(Outcome::default())
        }
    });
    bench.deliver([1, 2]);
    bench.bulks(1).await;
    bench.lose();
    let old = Arc::clone(&bench.wire);
    bench.open();
    bench.deliver([1]);
    release.send_replace(true);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(*old.0.lock().unwrap(), []);
    assert_eq!(*bench.wire.0.lock().unwrap(), [], "tag 1 of the new epoch still waits in its bucket");
    bench.deliver([2]);
    assert_eq!(bench.frames(1).await, [ack(2)]);
}

#[tokio::test(start_paused = true)]
async fn defect_06_a_slow_bulk_does_not_hold_up_the_flush_clock() {
    let mut bench = bench(Policy { bulk: 10, flush_interval: Duration::from_millis(300), ..policy() }, |_| async {
        tokio::time::sleep(Duration::from_secs(100)).await;
        Ok(Outcome::default())
    });
    let start = tokio::time::Instant::now();
    bench.deliver([1]);
    bench.bulks(1).await;
    bench.deliver([2]);
    bench.bulks(2).await;
    assert_eq!(start.elapsed().as_millis(), 600);
}

#[tokio::test(start_paused = true)]
async fn a_drain_hands_over_the_partial_bulk_and_waits_for_it() {
    let mut bench = bench(Policy { bulk: 10, ..policy() }, |_| async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok(Outcome::default())
    });
    bench.deliver(1..=14);
    bench.bulks(1).await;
    let (abandoned, frames) = bench.drain().await;
    assert_eq!((abandoned, frames.as_slice()), (0, &[ack(14)][..]));
}

#[tokio::test(start_paused = true)]
async fn a_drain_starts_no_bulk_whose_turn_it_is_not_and_gives_it_back() {
    let mut bench = bench(Policy { bulk: 2, concurrency: 1, ..policy() }, |_| async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok(Outcome::default())
    });
    bench.deliver(1..=5);
    bench.bulks(1).await;
    let seen = bench.seen.clone();
    let (abandoned, frames) = bench.drain().await;
    assert_eq!(*seen.borrow(), [[1, 2]]);
    assert_eq!((abandoned, frames.as_slice()), (0, &[ack(2), Frame::Nack { tag: 5 }][..]));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_never_ends_is_abandoned_and_its_messages_go_back() {
    let mut bench = bench(Policy { bulk: 2, ..policy() }, |messages| async move {
        if *messages[0].body()? == 3 {
            std::future::pending::<()>().await;
        }
        Ok(Outcome::default())
    });
    bench.deliver(1..=4);
    bench.bulks(2).await;
    bench.frames(1).await;
    bench.stop.abandon.cancel();
    let wire = Arc::clone(&bench.wire);
    assert_eq!(bench.drain().await.0, 1);
    assert_eq!(*wire.0.lock().unwrap(), [ack(2), Frame::Nack { tag: 4 }]);
}

#[cfg(feature = "metrics")]
#[tokio::test(start_paused = true)]
async fn a_message_waits_from_when_its_source_gave_it() {
    let mut bench = bench(policy(), ok);
    bench.deliver([1]);
    // Before the loop gets its turn, as when a handler blocks it.
    tokio::time::advance(Duration::from_secs(1)).await;
    bench.bulks(1).await;
    let waited = bench.meters.counted().routes[0].waited.snapshot();
    assert_eq!((waited.count, waited.sum), (1, 1_000.0));
}
