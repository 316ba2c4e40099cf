//! The settle window: gathers the outcomes of a channel's deliveries over all the handlers that run
//! side by side, and says which frames settle them.
//!
//! A window belongs to one channel of one epoch. It does no input or output and knows no epoch: the
//! engine keeps it beside the epoch's number, asks it only about that epoch's deliveries, and replaces
//! it when the epoch is lost.
//!
//! # The structure
//!
//! The prefetch bounds how many deliveries are outstanding, but not how far their tags lie apart: behind
//! one handler that never ends, millions of tags may come and go. Hence a deque indexed by tag would grow
//! without bound, and a tree would make the common case pay for the rare one. The window keeps a deque of
//! the deliveries themselves, in tag order:
//!
//! - In the common case the deque is dense and a tag's place is its distance from either end.
//!   Only a tag among gaps is searched for, between the two places which those distances allow.
//! - What is settled behind a running delivery stays as a mark until marks outnumber what is
//!   outstanding; then one pass drops them all. The deque is thus never longer than twice the
//!   deliveries outstanding, and a mark costs a constant amount of work over its life.
//! - Places move only in a flush, so the outcomes since the last one are kept as places: a flush
//!   looks up nothing, and walks past no delivery that has not ended, bar the first.

use std::collections::VecDeque;

use crate::Action;

#[cfg(any(test, fuzzing))]
mod channel;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
#[cfg(test)]
mod tests;

/// A frame that settles deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame {
    /// `basic.ack`: what handlers accepted.
    Ack {
        /// The delivery tag; with `multiple`, the last of those it settles.
        tag: u64,
        /// Whether every lower tag that is outstanding is settled too.
        multiple: bool,
    },
    /// `basic.reject`: what a handler refused. Never a nack, because newer RabbitMQ counts only a
    /// reject as an attempt to deliver.
    Reject {
        /// The delivery tag.
        tag: u64,
        /// Whether the message returns to its queue; otherwise it is dropped or dead-lettered.
        requeue: bool,
    },
    /// `basic.nack` with `multiple` and `requeue`: what a drain gives back. No handler refused these
    /// messages, so they must not count as attempts.
    Nack {
        /// The last delivery tag that is outstanding.
        tag: u64,
    },
}

impl Frame {
    /// The frame that settles the one delivery `tag` as `action` asks.
    fn one(tag: u64, action: Action) -> Self {
        match action {
            Action::Ack => Self::Ack { tag, multiple: false },
            Action::Reject => Self::Reject { tag, requeue: false },
            Action::Requeue => Self::Reject { tag, requeue: true },
        }
    }
}

/// How far a delivery has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its handler has not ended; only a drain may settle it.
    Running,
    /// Its handler has ended; no frame has named it yet.
    Concluded(Action),
    /// A frame has settled it, and only a running delivery before it keeps it here.
    /// RabbitMQ closes the channel when such a tag is named again.
    Settled,
}

/// Milliseconds since a moment of the caller's choice, modulo 2^32: they fit where alignment would leave a gap.
pub(crate) type Stamp = u32;

/// A delivery and how far it has come.
#[derive(Debug)]
struct Delivery {
    /// The delivery tag.
    tag: u64,
    /// When it came in.
    at: Stamp,
    /// How far it has come.
    state: State,
}

/// The settle window of one channel and epoch.
#[derive(Debug)]
pub(crate) struct Window {
    /// What came in and is not settled, in tag order, and settled deliveries in between.
    /// Outside [`flush`](Self::flush) the first one is always running or concluded.
    deliveries: VecDeque<Delivery>,
    /// The places in `deliveries` of those concluded since the last flush.
    concluded: Vec<usize>,
    /// How many of `deliveries` are settled.
    settled: usize,
    /// The highest tag that came in; 0, which is no delivery's tag, before the first.
    last: u64,
}

impl Window {
    /// A window on a channel that has delivered nothing.
    pub(crate) fn new() -> Self {
        Self { deliveries: VecDeque::new(), concluded: Vec::new(), settled: 0, last: 0 }
    }

    /// Takes note that the delivery `tag` came in at `at`, and its handler is to run.
    ///
    /// A number that is skipped counts as never outstanding; all consumers of a channel must therefore
    /// share its window, because `multiple` spans them all. A tag that does not ascend is ignored, and the
    /// answer is `false`.
    pub(crate) fn delivered(&mut self, tag: u64, at: Stamp) -> bool {
        if tag <= self.last {
            return false;
        }
        self.last = tag;
        self.deliveries.push_back(Delivery { tag, at, state: State::Running });
        true
    }

    /// Records the outcome of a delivery whose handler has ended.
    ///
    /// The answer is `false`, and nothing changes, when the tag is unknown, settled, or has an outcome.
    pub(crate) fn conclude(&mut self, tag: u64, action: Action) -> bool {
        let Some(place) = self.place(tag) else {
            return false;
        };
        match self.deliveries.get_mut(place) {
            Some(delivery) if delivery.state == State::Running => {
                delivery.state = State::Concluded(action);
                self.concluded.push(place);
                true
            }
            _ => false,
        }
    }

    /// How many deliveries are concluded and not yet named by a frame.
    pub(crate) fn concluded(&self) -> usize {
        self.concluded.len()
    }

    /// How many deliveries are not settled: running and concluded.
    pub(crate) fn outstanding(&self) -> usize {
        self.deliveries.len() - self.settled
    }

    /// The highest tag that came in, if all that came in is settled; 0 else, and before the first.
    pub(crate) fn rests_at(&self) -> u64 {
        if self.outstanding() == 0 { self.last } else { 0 }
    }

    /// When the first delivery that is not settled came in.
    pub(crate) fn oldest(&self) -> Option<Stamp> {
        self.deliveries.front().map(|delivery| delivery.at)
    }

    /// Appends the fewest frames that settle everything concluded so far.
    ///
    /// The frames must be sent in their order: a refused delivery is settled before the ack that would
    /// otherwise cover it.
    pub(crate) fn flush(&mut self, frames: &mut Vec<Frame>) {
        if self.concluded.is_empty() {
            return;
        }

        let mut ack = None;
        let mut passed = 0;
        while let Some(&Delivery { tag, state, .. }) = self.deliveries.front() {
            match state {
                State::Running => break,
                State::Concluded(Action::Ack) => {
                    ack = Some(Frame::Ack { tag, multiple: ack.is_some() });
                }
                State::Concluded(refusal) => frames.push(Frame::one(tag, refusal)),
                State::Settled => self.settled -= 1,
            }
            self.deliveries.pop_front();
            passed += 1;
        }
        // After the refused ones, none of which it may cover.
        frames.extend(ack);

        if self.deliveries.is_empty() {
            self.concluded.clear();
            return;
        }
        // Behind a running delivery no ack may be multiple, and an ack held back until it could be is a
        // duplicate after a crash: each goes by itself. They go in tag order so that messages are
        // dead-lettered in the order of their queue. The stable sort makes use of the ascending runs
        // which bulks leave.
        self.concluded.sort();
        for place in self.concluded.drain(..) {
            let Some(place) = place.checked_sub(passed) else {
                continue; // Settled above.
            };
            if let Some(delivery) = self.deliveries.get_mut(place)
                && let State::Concluded(action) = delivery.state
            {
                frames.push(Frame::one(delivery.tag, action));
                delivery.state = State::Settled;
                self.settled += 1;
            }
        }
        if self.settled > self.outstanding() {
            self.deliveries.retain(|delivery| delivery.state != State::Settled);
            self.settled = 0;
        }
    }

    /// What a drain does last: flushes, then gives everything still outstanding back with one nack.
    ///
    /// A handler that ends later finds its tag unknown.
    pub(crate) fn give_back(&mut self, frames: &mut Vec<Frame>) {
        self.flush(frames);
        // The last that came in may be settled, and RabbitMQ closes the channel for naming that one.
        let last = self.deliveries.iter().rfind(|delivery| delivery.state == State::Running);
        frames.extend(last.map(|delivery| Frame::Nack { tag: delivery.tag }));
        self.deliveries.clear();
        self.settled = 0;
    }

    /// Where in `deliveries` the tag is.
    fn place(&self, tag: u64) -> Option<usize> {
        // Tags ascend by one or more, so a place is at most as far from an end as its tag.
        let end = self.deliveries.len().checked_sub(1)?;
        let mut high = distance(self.deliveries.front()?.tag, tag)?.min(end);
        if self.deliveries.get(high)?.tag == tag {
            return Some(high);
        }
        let mut low = end.saturating_sub(distance(tag, self.deliveries.back()?.tag)?);
        if self.deliveries.get(low)?.tag == tag {
            return Some(low);
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if self.deliveries.get(middle)?.tag < tag {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        (self.deliveries.get(low)?.tag == tag).then_some(low)
    }
}

/// How far the tag `to` lies behind the tag `from`; nothing when it lies before it.
fn distance(from: u64, to: u64) -> Option<usize> {
    let distance = to.checked_sub(from)?;
    Some(usize::try_from(distance).unwrap_or(usize::MAX))
}
