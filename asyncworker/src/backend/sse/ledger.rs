//! The events of a path that are held: read, and not yet behind the point that the stream is resumed from.
//!
//! A stream is resumed after the last event of the **settled prefix**: the longest run of settled events from the oldest
//! on. What follows is held, settled or not, up to the prefetch. An event that is requeued stays in its place here and is
//! delivered anew after a pause, by a new tag, because the engine takes tags in ascending order only.

use super::parser::Event;
use crate::message::{Delivery, Properties};
use crate::worker::Frame;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

#[cfg(test)]
mod tests;

/// Of an event over the largest size.
const TOO_LARGE: &str = "its data is larger than the largest event";
/// The pause before a requeued event is handled again; each one after it is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The events held of one path.
#[derive(Debug)]
pub(super) struct Ledger {
    most: usize,
    held: VecDeque<Held>,
    /// The number of the first one held; all are numbered as they are read.
    first: u64,
    /// The numbers of those that are delivered and not settled, by tag.
    delivered: BTreeMap<u64, u64>,
    /// The numbers of those that are to be delivered again, by when.
    requeued: BTreeSet<(Instant, u64)>,
    last_tag: u64,
    /// What the stream is resumed after.
    resume: Arc<str>,
}

#[derive(Debug)]
struct Held {
    event: Event,
    /// What the stream is resumed after when this is settled, too.
    then: Arc<str>,
    settled: bool,
    requeues: u32,
}

impl Ledger {
    /// Holds this many at the most, of a stream that is resumed after this id.
    pub(super) fn new(most: usize, resume: Arc<str>) -> Self {
        Self {
            most,
            held: VecDeque::new(),
            first: 0,
            delivered: BTreeMap::new(),
            requeued: BTreeSet::new(),
            last_tag: 0,
            resume,
        }
    }

    /// The id of the last event of the settled prefix; empty where there is none.
    pub(super) fn resume(&self) -> &Arc<str> {
        &self.resume
    }

    pub(super) fn has_room(&self) -> bool {
        self.held.len() < self.most
    }

    /// Holds an event that was read, and gives it to be handled.
    pub(super) fn take(&mut self, event: Event) -> Delivery {
        let then = Arc::clone(&event.id);
        let number = self.first + self.held.len() as u64;
        self.held.push_back(Held { event, then, settled: false, requeues: 0 });
        self.deliver(number).unwrap_or_default()
    }

    /// Takes note of an id that came after the last event.
    pub(super) fn id(&mut self, id: Arc<str>) {
        match self.held.back_mut() {
            Some(last) => last.then = id,
            None => self.resume = id,
        }
    }

    /// Settles what the frames say.
    pub(super) fn settle(&mut self, frames: &[Frame], now: Instant) {
        for frame in frames {
            match *frame {
                Frame::Ack { tag, multiple: true } => {
                    let beyond = self.delivered.split_off(&tag.saturating_add(1));
                    for number in std::mem::replace(&mut self.delivered, beyond).into_values() {
                        self.done(number);
                    }
                }
                Frame::Ack { tag, multiple: false } | Frame::Reject { tag, requeue: false } => {
                    if let Some(number) = self.delivered.remove(&tag) {
                        self.done(number);
                    }
                }
                Frame::Reject { tag, requeue: true } => {
                    if let Some(number) = self.delivered.remove(&tag) {
                        self.requeue(number, now);
                    }
                }
                // The app stops: the stream will be resumed before them.
                Frame::Nack { .. } => {}
            }
        }
        while self.held.front().is_some_and(|held| held.settled)
            && let Some(held) = self.held.pop_front()
        {
            self.first += 1;
            self.resume = held.then;
        }
    }

    /// What is to be handled again by now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Delivery> {
        let mut due = Vec::new();
        while let Some((at, number)) = self.requeued.pop_first() {
            if at > now {
                self.requeued.insert((at, number));
                break;
            }
            due.extend(self.deliver(number));
        }
        due
    }

    /// When the next one is to be handled again.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.requeued.first().map(|(at, _)| *at)
    }

    /// What a server that resumes the stream sends once more.
    pub(super) fn repeats(&self) -> Repeats {
        Repeats { held: self.held.iter().map(|held| held.event.clone()).collect(), others: 0 }
    }

    fn at(&mut self, number: u64) -> Option<&mut Held> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.held.get_mut(place)
    }

    fn deliver(&mut self, number: u64) -> Option<Delivery> {
        let tag = self.last_tag + 1;
        let Held { event, requeues, .. } = self.at(number)?;
        let id = (!event.id.is_empty()).then(|| event.id.to_string());
        let delivery = Delivery {
            tag,
            redelivered: *requeues > 0,
            properties: Some(Box::new(Properties::of_event(event.name.clone(), id))).into(),
            body: event.data.clone(),
            malformed: event.too_large.then_some(TOO_LARGE),
            ..Delivery::default()
        };
        self.last_tag = tag;
        self.delivered.insert(tag, number);
        Some(delivery)
    }

    fn done(&mut self, number: u64) {
        if let Some(held) = self.at(number) {
            held.settled = true;
        }
    }

    fn requeue(&mut self, number: u64, now: Instant) {
        if let Some(held) = self.at(number) {
            let pause = FIRST_PAUSE.saturating_mul(1 << held.requeues.min(16)).min(LONGEST_PAUSE);
            held.requeues = held.requeues.saturating_add(1);
            self.requeued.insert((now + pause, number));
        }
    }
}

/// So many events may come before those that are held, as a greeting say.
const MOST_OTHERS: usize = 100;

/// What is held when a stream begins. A server that resumes sends all of it again, and it must not be handled twice.
///
/// Only an event with an id of its own can be known again: another that looks alike may be a new one, and to handle one
/// twice is better than not at all.
#[derive(Debug)]
pub(super) struct Repeats {
    held: VecDeque<Event>,
    /// How many came that are not among them.
    others: usize,
}

impl Repeats {
    /// Whether this event is held already. Events come in the order they are held in.
    pub(super) fn contain(&mut self, event: &Event) -> bool {
        let place = self.held.iter().position(|held| event.numbered && held == event);
        match place {
            Some(place) => drop(self.held.drain(..=place)),
            None => self.others += 1,
        }
        // This server does not resume: what is held does not come again.
        if self.others > MOST_OTHERS {
            self.held.clear();
        }
        place.is_some()
    }

    /// Whether all of it has come.
    pub(super) fn is_over(&self) -> bool {
        self.held.is_empty()
    }
}
