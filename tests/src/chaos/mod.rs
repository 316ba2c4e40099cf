//! The proof that no confirmed message is lost: a publisher and a worker that are processes of their own, faults that
//! strike them, and a checker that believes neither.
//!
//! What each fault must not break stands at [`Fault`]. `docs/reliability.md` tells how to run it and what came out.

mod faults;
mod journal;
mod ledger;
mod report;
mod run;
mod stage;

pub use faults::Fault;
pub use journal::{BODY, HOLD, Journal, Lines, NONE, body, habit, read_body};
pub use ledger::{Counts, Ledger, Violations};
pub use report::Report;
pub use run::{Plan, Programs, Schedule, run};

use asyncworker::Amqp;
use std::str::FromStr;
use std::time::Duration;

/// In flight at the most, of the main queue and of the side queue.
pub const PREFETCH: u16 = 200;
pub const SIDE_PREFETCH: u16 = 2;

/// Octets of a body that the side route still takes.
pub const LARGEST_BODY: usize = 8 << 20;

/// A handler of the side route that takes longer is dropped.
pub const SIDE_TIMEOUT: Duration = Duration::from_secs(11);

pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// Seconds. A connection that falls silent must be given up within three of them.
pub const HEARTBEAT: u16 = 4;

/// In the folder of a run.
pub const WORKER_LOG: &str = "worker.log";
pub const PUBLISHER_LOG: &str = "publisher.log";

/// Handlers that were told to hold do so while this file is there.
pub const HOLD_FILE: &str = "hold";

/// The queue of the side route.
pub const SIDE: &str = "side";

/// How publisher and worker connect: as by default, but back sooner.
pub fn patient(amqp: Amqp) -> Amqp {
    amqp.heartbeat(HEARTBEAT)
        .connect_timeout(Duration::from_secs(2))
        .backoff(Duration::from_millis(100), Duration::from_secs(1))
}

/// How the worker behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// As it ought to.
    #[default]
    True,
    /// Its handler ends at once, and what it has to do goes on behind its back.
    AcksFirst,
    /// It accepts what it says it requeues.
    DropsRequeue,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Self::True => "true",
            Self::AcksFirst => "acks-first",
            Self::DropsRequeue => "drops-requeue",
        }
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::True, Self::AcksFirst, Self::DropsRequeue];
        all.into_iter().find(|mode| mode.name() == text).ok_or_else(|| format!("no mode {text}"))
    }
}
