//! A route whose every message goes back.

use super::*;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::time::{Instant, sleep};

#[derive(Clone, Default)]
struct Backend {
    is_up: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
}

impl Backend {
    async fn call(self, messages: Vec<Message<u64>>) -> Result<Outcome, Failure> {
        self.calls.fetch_add(messages.len(), Ordering::SeqCst);
        if self.is_up.load(Ordering::SeqCst) { Ok(Outcome::default()) } else { Err(Failure::new("it is down")) }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

/// Delivers again what goes back, as a broker does: at once, under the next tags.
async fn redeliver(bench: &Bench, last: &mut u64, seen: &mut usize) {
    let back = {
        let sent = bench.wire.0.lock().unwrap();
        let new = sent[*seen..].iter().filter(|frame| matches!(frame, Frame::Reject { requeue: true, .. })).count();
        *seen = sent.len();
        new as u64
    };
    if back > 0 {
        bench.deliver(*last + 1..=*last + back);
        *last += back;
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_that_fails_everything_is_no_hot_loop_and_recovers() {
    let backend = Backend::default();
    let called = backend.clone();
    let mut bench = bench(policy(), move |messages| called.clone().call(messages));
    let (mut last, mut seen) = (100, 0);
    bench.deliver(1..=100);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        redeliver(&bench, &mut last, &mut seen).await;
        sleep(Duration::from_millis(1)).await;
    }
    // At first what is there and fits before it is noticed, then one after each pause: 10 ms doubled to 5 s.
    let calls = backend.calls();
    assert!((20..=40).contains(&calls), "{calls} calls in a minute");
    backend.is_up.store(true, Ordering::SeqCst);
    let up = Instant::now();
    bench.bulks(calls + 100).await;
    assert!(up.elapsed() <= Duration::from_secs(5) + Duration::from_millis(2), "{:?}", up.elapsed());
}

#[tokio::test(start_paused = true)]
async fn one_poisonous_message_does_not_slow_down_the_others() {
    let mut bench = bench(policy(), |messages: Vec<Message<u64>>| async move {
        if *messages[0].body().unwrap() == 1 { Err(Failure::new("poison")) } else { Ok(Outcome::default()) }
    });
    let start = Instant::now();
    bench.deliver(1..=10_000);
    bench.bulks(10_000).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_a_pause() {
    let mut bench = bench(policy(), |_| async { Err(Failure::new("it is down")) });
    bench.deliver(1..=100);
    bench.bulks(11).await;
    let start = Instant::now();
    let (abandoned, sent) = bench.drain().await;
    assert_eq!((abandoned, start.elapsed()), (0, Duration::ZERO));
    assert_eq!(sent.last(), Some(&Frame::Nack { tag: 100 }));
}
