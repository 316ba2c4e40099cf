//! Runs that the loop polls itself, those that go on as tasks, and when what has ended is settled.

use super::*;
use crate::worker::state::SETTLE_DELAY;
use crate::worker::turn::RUNS_A_TURN;
use std::future::poll_fn;
use std::sync::mpsc::sync_channel;
use tokio::sync::oneshot;
use tokio::task::{id, yield_now};

const fn single(tag: u64) -> Frame {
    Frame::Ack { tag, multiple: false }
}

/// Lets everything run that can without time going by.
async fn settle_down() {
    for _ in 0..1_000 {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn handlers_that_are_ready_run_in_the_task_of_the_loop() {
    let (note, ids) = watch::channel(Vec::new());
    let bench = bench(policy(), move |_| {
        let note = note.clone();
        async move {
            note.send_modify(|ids| ids.push(id()));
            Ok(Outcome::default())
        }
    });
    bench.deliver(1..=100);
    settle_down().await;
    let ids = ids.borrow();
    assert_eq!((ids.len(), ids.iter().all(|id| *id == ids[0])), (100, true));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_waits_goes_on_as_a_task_of_its_own() {
    let (note, mut ids) = watch::channel(None);
    let bench = bench(policy(), move |_| {
        let note = note.clone();
        async move {
            let first = id();
            tokio::time::sleep(Duration::from_secs(1)).await;
            note.send_replace(Some((first, id())));
            Ok(Outcome::default())
        }
    });
    bench.deliver([1]);
    assert_eq!(bench.frames(1).await, [single(1)]);
    let (first, then) = ids.wait_for(Option::is_some).await.unwrap().unwrap();
    assert_ne!(first, then);
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_waits_for_may_happen_before_its_task_begins() {
    let bench = bench(policy(), |_| {
        let (sender, receiver) = oneshot::channel();
        let (mut sender, mut receiver) = (Some(sender), Box::pin(receiver));
        poll_fn(move |context| {
            let received = receiver.as_mut().poll(context);
            // Wakes the waker of the poll in place, and nothing comes after it.
            if let Some(sender) = sender.take() {
                assert!(received.is_pending());
                sender.send(()).unwrap();
            }
            received.map(|_| Ok(Outcome::default()))
        })
    });
    bench.deliver([1]);
    assert_eq!(bench.frames(1).await, [single(1)]);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_yields_ends_though_nobody_was_woken() {
    let bench = bench(policy(), |_| async {
        yield_now().await;
        Ok(Outcome::default())
    });
    bench.deliver([1]);
    settle_down().await;
    assert_eq!(*bench.wire.0.lock().unwrap(), [single(1)]);
}

#[tokio::test(start_paused = true)]
async fn no_run_begins_in_place_beyond_the_concurrency() {
    let mut bench = bench(Policy { concurrency: 1, ..policy() }, |messages| async move {
        if *messages[0].body()? == 2 {
            std::future::pending::<()>().await;
        }
        Ok(Outcome::default())
    });
    bench.deliver(1..=3);
    assert_eq!(bench.bulks(2).await, [[1], [2]]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.seen.borrow().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_counts_from_the_poll_in_place() {
    let policy = Policy { timeout: Some(Duration::from_secs(5)), on_exception: Action::Reject, ..policy() };
    let bench = bench(policy, |_| std::future::pending());
    let start = tokio::time::Instant::now();
    bench.deliver([1]);
    tokio::time::sleep(Duration::from_millis(4_990)).await;
    assert_eq!(*bench.wire.0.lock().unwrap(), []);
    assert_eq!(bench.frames(1).await, [Frame::Reject { tag: 1, requeue: false }]);
    assert_eq!(start.elapsed().as_secs(), 5);
}

/// Panics when it is dropped.
struct Mine;

impl Drop for Mine {
    fn drop(&mut self) {
        panic!("in a drop");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_place_is_the_exception_of_its_own_bulk_wherever_it_comes_from() {
    let bench = bench(Policy { on_exception: Action::Reject, ..policy() }, |messages| {
        let tag = *messages[0].body().unwrap();
        assert_ne!(tag, 1, "in the call");
        let mine = (tag == 2).then(|| Mine);
        async move {
            let _mine = mine;
            assert_ne!(tag, 3, "in the poll");
            Ok(Outcome::default())
        }
    });
    bench.deliver(1..=4);
    let reject = |tag| Frame::Reject { tag, requeue: false };
    assert_eq!(bench.frames(4).await, [reject(1), reject(2), reject(3), single(4)]);
}

#[tokio::test(start_paused = true)]
async fn other_tasks_get_a_turn_among_runs_in_place() {
    let mut bench = bench(policy(), ok);
    bench.deliver(1..=1_000);
    let (mut last, mut most) = (0, 0);
    while last < 1_000 {
        let seen = bench.seen.borrow_and_update().len();
        most = most.max(seen - last);
        last = seen;
        yield_now().await;
    }
    assert!((1..=RUNS_A_TURN).contains(&most), "{most}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_blocks_its_thread_does_not_hold_up_the_end() {
    let (release, gate) = sync_channel::<()>(0);
    let gate = Arc::new(Mutex::new(gate));
    let mut bench = bench(policy(), move |_| {
        let gate = Arc::clone(&gate);
        async move {
            let _ = gate.lock().unwrap().recv();
            Ok(Outcome::default())
        }
    });
    bench.deliver([1]);
    bench.bulks(1).await;
    bench.stop.abandon.cancel();
    assert_eq!(bench.drain().await, (1, Vec::new()));
    drop(release);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_route_settles_at_once_and_a_busy_one_after_a_while() {
    let bench = bench(policy(), ok);
    let sent = || bench.wire.0.lock().unwrap().clone();
    bench.deliver([1]);
    settle_down().await;
    assert_eq!(sent(), [single(1)]);
    for tag in 2..=4 {
        bench.deliver([tag]);
        settle_down().await;
    }
    assert_eq!(sent(), [single(1)], "the last frame left at this very moment");
    tokio::time::sleep(2 * SETTLE_DELAY).await;
    assert_eq!(sent(), [single(1), ack(4)]);
    tokio::time::sleep(SETTLE_DELAY).await;
    bench.deliver([5]);
    settle_down().await;
    assert_eq!(sent(), [single(1), ack(4), single(5)]);
}

#[tokio::test(start_paused = true)]
async fn half_the_prefetch_is_settled_at_once() {
    for (prefetch, half) in [(1, 1), (2, 1), (9, 5), (256, 128)] {
        let bench = bench(Policy { prefetch, ..policy() }, ok);
        let sent = || bench.wire.0.lock().unwrap().len();
        bench.deliver([1]);
        settle_down().await;
        assert_eq!(sent(), 1);
        bench.deliver(2..1 + half);
        settle_down().await;
        assert_eq!(sent(), 1, "{prefetch}");
        bench.deliver([1 + half]);
        settle_down().await;
        assert_eq!(sent(), 2, "{prefetch}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fast_feed_in_small_reads_is_settled_by_few_frames() {
    let bench = bench(policy(), ok);
    // 40,000 messages a second.
    for read in 0..1_000 {
        bench.deliver(read * 4 + 1..=read * 4 + 4);
        if read % 10 == 9 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        } else {
            settle_down().await;
        }
    }
    let (_, frames) = bench.drain().await;
    assert!(frames.len() <= 400, "{}", frames.len());
}

#[tokio::test(start_paused = true)]
async fn a_drain_settles_what_has_ended_at_once() {
    let bench = bench(policy(), ok);
    for tag in 1..=2 {
        bench.deliver([tag]);
        settle_down().await;
    }
    bench.stop.drain.cancel();
    settle_down().await;
    assert_eq!(*bench.wire.0.lock().unwrap(), [single(1), single(2)]);
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_keeps_stays_as_it_is_while_other_messages_are_handled() {
    for bulk in [1, 2] {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&kept);
        let bench = bench(Policy { bulk, ..policy() }, move |messages| {
            if messages[0].body().unwrap() % 4 < 2 {
                keep.lock().unwrap().extend(messages);
            }
            async { Ok(Outcome::default()) }
        });
        bench.deliver(1..=8);
        settle_down().await;
        let kept = kept.lock().unwrap();
        assert!(kept.len() >= 2);
        for message in kept.iter() {
            assert_eq!(message.body().unwrap().to_string(), *message.raw());
            assert_eq!(message.marked(), None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_marks_and_the_failure_of_one_run_are_not_the_next_ones() {
    let bench = bench(policy(), |messages| async move {
        match messages[0].body()? {
            1 => messages[0].reject(),
            2 => panic!("on purpose"),
            _ => {}
        }
        Ok(Outcome::default())
    });
    let undecodable = Delivery { tag: 4, body: "{".into(), ..Delivery::default() };
    bench.deliver(1..=3);
    bench.send(vec![undecodable]);
    bench.deliver([5]);
    let reject = |tag, requeue| Frame::Reject { tag, requeue };
    let frames = bench.frames(4).await;
    assert_eq!(frames, [reject(1, false), reject(2, true), reject(4, false), Frame::Ack { tag: 5, multiple: true }]);
}
