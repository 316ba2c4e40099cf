//! What is to be sent to other processes: bounded, and filled without waiting.

use super::wire::{Frame, Item, Parcel};
use crate::throttle::{Throttle, warn_throttled};
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What goes into one frame at the most; the first item always does.
const ITEMS: usize = 64;
const OCTETS: usize = 256 * 1024;

pub(in crate::room) struct Outgoing {
    process: u64,
    capacity: usize,
    state: Mutex<State>,
    filled: Notify,
    full: Throttle,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Parcel>,
    /// Processes of whose sockets too little is known.
    asks: BTreeSet<u64>,
    /// Processes that have asked.
    answers: BTreeSet<u64>,
    /// Of the last change that was taken or dropped.
    version: u64,
    /// Of the last frame.
    number: u64,
    dropped: u64,
}

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Next {
    /// Ask this process for its members.
    Ask(u64),
    /// Tell it those of this one.
    Answer(u64),
    /// Tell all.
    Send(Vec<Item>),
}

impl Outgoing {
    pub(super) fn new(process: u64, capacity: usize) -> Self {
        Self { process, capacity, state: Mutex::default(), filled: Notify::new(), full: Throttle::new() }
    }

    /// Changes are told from this one on.
    pub(in crate::room) fn begin(&self, version: u64) {
        let mut state = self.lock();
        state.waiting.clear();
        state.asks.clear();
        state.answers.clear();
        state.version = version;
    }

    /// Where it is full, the oldest is dropped: what is newest is worth most, and a change that is missed is asked for.
    pub(in crate::room) fn push(&self, parcel: Parcel) {
        let mut state = self.lock();
        let full = state.waiting.len() >= self.capacity;
        if full && let Some(oldest) = state.waiting.pop_front() {
            state.took(&oldest);
            state.dropped += 1;
        }
        state.waiting.push_back(parcel);
        let dropped = state.dropped;
        drop(state);
        self.filled.notify_one();
        if full {
            warn_throttled!(self.full, dropped, "the bridge of the rooms does not keep up, and drops what is oldest");
        }
    }

    pub(super) fn ask(&self, process: u64) {
        self.lock().asks.insert(process);
        self.filled.notify_one();
    }

    pub(super) fn answer(&self, process: u64) {
        self.lock().answers.insert(process);
        self.filled.notify_one();
    }

    /// A process that has gone.
    pub(super) fn forget(&self, process: u64) {
        let mut state = self.lock();
        state.asks.remove(&process);
        state.answers.remove(&process);
    }

    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn next(&self) -> Next {
        loop {
            if let Some(next) = self.try_next() {
                return next;
            }
            self.filled.notified().await;
        }
    }

    pub(super) fn try_next(&self) -> Option<Next> {
        let mut state = self.lock();
        if let Some(process) = state.asks.pop_first() {
            return Some(Next::Ask(process));
        }
        if let Some(process) = state.answers.pop_first() {
            return Some(Next::Answer(process));
        }
        let (mut parcels, mut octets) = (Vec::new(), 0);
        while parcels.len() < ITEMS
            && let Some(parcel) = state.waiting.pop_front()
        {
            octets += parcel.size();
            if octets > OCTETS && !parcels.is_empty() {
                state.waiting.push_front(parcel);
                break;
            }
            state.took(&parcel);
            parcels.push(parcel);
        }
        drop(state);
        let items: Vec<_> = parcels.into_iter().filter_map(Parcel::into_item).collect();
        (!items.is_empty()).then_some(Next::Send(items))
    }

    /// The next frame.
    pub(super) fn frame(&self, items: Vec<Item>) -> Frame {
        let mut state = self.lock();
        state.number += 1;
        Frame { process: self.process, number: state.number, version: state.version, items }
    }

    /// Of the last frame.
    pub(super) fn number(&self) -> u64 {
        self.lock().number
    }

    /// A frame was not sent.
    pub(super) fn lost(&self, items: usize) {
        self.lock().dropped += items as u64;
    }

    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    pub(in crate::room) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn took(&mut self, parcel: &Parcel) {
        if let Parcel::Changed { version, .. } = parcel {
            self.version = *version;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::{Change, heard};
    use super::*;
    use serde_json::json;

    fn said(text: &str) -> Parcel {
        Parcel::Said(heard(Some("lobby"), None, json!(text), None))
    }

    fn changed(version: u64) -> Parcel {
        Parcel::Changed { version, socket: 0, change: Change::Exited }
    }

    fn next(outgoing: &Outgoing) -> Vec<Item> {
        match outgoing.try_next() {
            Some(Next::Send(items)) => items,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_oldest_is_dropped_and_a_dropped_change_counts_as_told() {
        let outgoing = Outgoing::new(1, 2);
        outgoing.begin(4);
        [changed(5), said("a"), said("b")].into_iter().for_each(|parcel| outgoing.push(parcel));
        assert_eq!((outgoing.waiting(), outgoing.dropped()), (2, 1));
        assert_eq!(outgoing.frame(Vec::new()).version, 5, "or nobody would ask for it");
        assert_eq!(next(&outgoing).len(), 2);
        assert!(outgoing.try_next().is_none());
    }

    #[test]
    fn a_change_that_waits_is_not_told_yet() {
        let outgoing = Outgoing::new(1, 10);
        outgoing.begin(4);
        outgoing.push(changed(5));
        assert_eq!(outgoing.frame(Vec::new()).version, 4);
        let items = next(&outgoing);
        let frame = outgoing.frame(items);
        assert_eq!((frame.version, frame.number), (5, 2));
    }

    #[test]
    fn a_frame_is_bounded_in_items_and_octets() {
        let outgoing = Outgoing::new(1, 1_000);
        (0..ITEMS + 1).for_each(|_| outgoing.push(said("x")));
        assert_eq!((next(&outgoing).len(), next(&outgoing).len()), (ITEMS, 1));
        let large = "x".repeat(OCTETS);
        (0..2).for_each(|_| outgoing.push(said(&large)));
        assert_eq!((next(&outgoing).len(), next(&outgoing).len()), (1, 1));
    }
}
