//! What became of a queue's messages: for tests that ask.

use crate::route::Action;
use std::collections::VecDeque;

/// Runs that are kept; the oldest are forgotten beyond that (16 MiB a queue).
const LONGEST: usize = 1 << 20;

/// Settlements, in the order they were made. Neighbours that were settled alike, one after the other, are
/// one run, so that a queue drained in order costs next to nothing however long it is.
#[derive(Debug, Default)]
pub(super) struct History {
    runs: VecDeque<Run>,
    /// All settlements ever made, those forgotten included.
    total: usize,
}

#[derive(Debug)]
struct Run {
    first: u64,
    length: u32,
    action: Action,
}

impl History {
    pub(super) fn record(&mut self, place: u64, action: Action) {
        self.total += 1;
        if let Some(run) = self.runs.back_mut()
            && run.action == action
            && run.first + u64::from(run.length) == place
            && run.length < u32::MAX
        {
            run.length += 1;
            return;
        }
        if self.runs.len() == LONGEST {
            self.runs.pop_front();
        }
        self.runs.push_back(Run { first: place, length: 1, action });
    }

    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// By message; several of the same message in the order they were made.
    pub(super) fn by_message(&self) -> Vec<Action> {
        let mut settlements: Vec<(u64, Action)> = self
            .runs
            .iter()
            .flat_map(|run| (0..u64::from(run.length)).map(move |offset| (run.first + offset, run.action)))
            .collect();
        settlements.sort_by_key(|(place, _)| *place);
        settlements.into_iter().map(|(_, action)| action).collect()
    }
}
