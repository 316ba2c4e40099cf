//! Waiting for a condition, with a limit.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a test waits for what ought to happen soon.
pub const LIMIT: Duration = Duration::from_secs(30);

const STEP: Duration = Duration::from_millis(5);

/// Waits until `condition` holds.
///
/// # Panics
/// It did not within `limit`.
pub async fn until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    until_async(what, limit, || std::future::ready(condition())).await;
}

/// As [`until`], with a condition that has to ask somebody.
pub async fn until_async<F: Future<Output = bool>>(what: &str, limit: Duration, mut condition: impl FnMut() -> F) {
    let end = Instant::now() + limit;
    while !condition().await {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        sleep(STEP).await;
    }
}

/// Watches for a while that something which ought not to happen does not.
///
/// # Panics
/// `condition` does not hold all the time.
pub async fn holds(what: &str, during: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + during;
    while Instant::now() < end {
        assert!(condition(), "no longer: {what}");
        sleep(STEP).await;
    }
}

/// Ends the process when a test takes much too long: in virtual time no limit passes while something goes
/// round and round, so that a worker in a hot loop would hang its test for ever.
pub struct Watchdog(Sender<()>);

impl Watchdog {
    pub fn start(test: &'static str) -> Self {
        const LONGEST: Duration = Duration::from_secs(90);
        let (ended, end) = channel::<()>();
        std::thread::spawn(move || {
            if end.recv_timeout(LONGEST) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{test} has not ended within {LONGEST:?}");
                std::process::exit(101);
            }
        });
        Self(ended)
    }

    /// The test has ended; without it, that the watchdog is dropped says so too.
    pub fn end(self) {
        drop(self.0);
    }
}
