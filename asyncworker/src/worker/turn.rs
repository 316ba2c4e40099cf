//! The turn of a route's loop: how long it runs bulks in place before it lets other tasks go on.

use std::time::Duration;

/// How many runs in place, and for how long, before other tasks of the runtime get a turn: the runtime's own budget
/// does not count them.
pub(super) const RUNS_A_TURN: usize = 1_000;
const LONGEST_TURN: Duration = Duration::from_micros(100);

/// The runs in place since other tasks had a turn.
#[derive(Default)]
pub(super) struct Turn {
    runs: usize,
    took: Duration,
}

impl Turn {
    pub(super) fn ran(&mut self, took: Duration) {
        self.runs += 1;
        self.took += took;
    }

    pub(super) fn is_over(&self) -> bool {
        self.runs >= RUNS_A_TURN || self.took >= LONGEST_TURN
    }
}
