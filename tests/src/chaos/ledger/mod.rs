//! The checker's books: what was published, handled, and seen on the wire, message by message.
//!
//! Nothing here compares two clocks. The worker logs that a handler ends before it ends; the relay looks at the length
//! of that log when it reads a settlement. What is behind that length had not happened yet.

mod logs;
#[cfg(test)]
mod tests;
mod wire;

use super::journal::Tail;
use crate::relay::Watch;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Faults of each sort are told by number; the first is that of everything before any.
pub(super) type FaultNumber = usize;

/// Of an id; a few octets, because there are millions.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// Lines of the worker's log: where its last run started and ended. 0 is never.
    start: u32,
    end: u32,
    /// Of its last run, without what comes again after a very long time.
    run: u32,
    flags: u8,
    outcome: u8,
    /// `basic.publish` seen on the wire.
    sent: u8,
    runs: u8,
}

const ATTEMPTED: u8 = 1;
const CONFIRMED: u8 = 1 << 1;
const ACCEPTED: u8 = 1 << 2;
const REJECTED: u8 = 1 << 3;
const FOUND: u8 = 1 << 4;
const DEAD: u8 = 1 << 5;
/// The outcome of its last run was seen on the wire.
const SETTLED: u8 = 1 << 6;

/// From when a fault was called for until its consequences were over, in lines of the worker's log.
#[derive(Debug, Clone, Default)]
pub struct Strike {
    onset: u32,
    over: Option<u32>,
    /// Runs that were under way in between.
    pub running: u64,
    /// Of these, those whose message came again.
    pub duplicates: u64,
    /// Lives of the main consumer's channel that ended meanwhile.
    pub lost_channels: u64,
    open_at_onset: u64,
    starts_at_onset: u64,
}

/// Deliveries of an id that are on the wire and unsettled.
#[derive(Debug, Default)]
struct Outstanding {
    /// The log's line when the first was seen.
    since: u32,
    deliveries: u32,
    /// Of these, those whose handler has ended.
    ended: u32,
}

#[derive(Debug, Default)]
struct Channel {
    unsettled: VecDeque<(u64, u64)>,
    delivered: u64,
}

/// What must be empty, with the first few of each.
#[derive(Debug, Clone, Default)]
pub struct Violations {
    pub count: u64,
    pub first: Vec<String>,
}

impl Violations {
    fn add(&mut self, what: String) {
        self.count += 1;
        if self.first.len() < 10 {
            self.first.push(what);
        }
    }
}

/// The counts of a run so far.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    pub attempted: u64,
    pub confirmed: u64,
    pub nacked: u64,
    pub returned: u64,
    pub unknown: u64,
    /// Ids, not runs.
    pub accepted: u64,
    pub rejected: u64,
    pub runs: u64,
    pub settled: u64,
    /// Ids that the publisher sent more than once, and runs of these beyond the first.
    pub sent_twice: u64,
    pub runs_of_sent_twice: u64,
    /// Runs that followed a requeue, a failure or a panic.
    pub wanted_again: u64,
    pub unexpected: Violations,
    pub early: Violations,
    /// Handled again although no fault had struck while the handler ran.
    pub late: Violations,
    /// The same, of what the worker had settled: the broker gave it again all the same, as a new leader may.
    pub given_again: Violations,
    pub partial: Violations,
    pub over_prefetch: Violations,
    pub untold: Violations,
}

impl Counts {
    /// Publishes that were not confirmed.
    pub(super) fn failed(&self) -> u64 {
        self.nacked + self.returned + self.unknown
    }
}

pub struct Books {
    queue: String,
    prefetch: usize,
    worker: Tail,
    publisher: Tail,
    entries: Vec<Entry>,
    runs: HashMap<u64, u32>,
    line: u32,
    /// A line that is none: the last of a life, or a mistake.
    torn: Option<String>,
    starts: u64,
    channels: HashMap<(usize, u16), Channel>,
    outstanding: HashMap<u64, Outstanding>,
    strikes: Vec<Strike>,
    /// Lives of the main consumer's channel, and the line and starts at the first delivery of the newest.
    epochs: u64,
    first_delivery: Option<(u32, u64)>,
    delivered: u64,
    /// The line at which a message was last accepted, and when that was read.
    last_accepted: u32,
    last_handled: Option<Instant>,
    longest_gap: Duration,
    counts: Counts,
    probes: HashMap<String, u32>,
}

/// Shared with the relays.
#[derive(Clone)]
pub struct Ledger(Arc<Mutex<Books>>);

impl Ledger {
    pub fn new(queue: &str, prefetch: usize, worker: &Path, publisher: &Path) -> Self {
        Self(Arc::new(Mutex::new(Books {
            queue: queue.to_owned(),
            prefetch,
            worker: Tail::open(worker),
            publisher: Tail::open(publisher),
            entries: Vec::new(),
            runs: HashMap::new(),
            line: 0,
            torn: None,
            starts: 0,
            channels: HashMap::new(),
            outstanding: HashMap::new(),
            strikes: Vec::new(),
            epochs: 0,
            first_delivery: None,
            delivered: 0,
            last_accepted: 0,
            last_handled: None,
            longest_gap: Duration::ZERO,
            counts: Counts::default(),
            probes: HashMap::new(),
        })))
    }

    /// The books, with both logs read to their ends.
    pub fn read(&self) -> MutexGuard<'_, Books> {
        let mut books = self.0.lock().unwrap();
        books.read_published();
        books.read_handled();
        books
    }

    /// For the relays of the worker, counted from 0.
    pub fn of_worker(&self, relay: usize) -> impl Watch + 'static {
        wire::OfWorker(Arc::clone(&self.0), relay << 32)
    }

    /// For the relays of the publisher.
    pub fn of_publisher(&self) -> impl Watch + 'static {
        wire::OfPublisher(Arc::clone(&self.0))
    }
}

impl Books {
    /// Of an id that may be one: the publisher counts from 1.
    fn entry(&mut self, id: u64) -> Option<&mut Entry> {
        const MOST: u64 = 1 << 32;
        let at = usize::try_from(id).ok().filter(|_| (1..MOST).contains(&id))?;
        if at >= self.entries.len() {
            // Ids come nearly in order; a stray one must not cost the memory of all before it.
            if at > self.entries.len() + (1 << 20) {
                return None;
            }
            self.entries.resize(at + 1, Entry::default());
        }
        self.entries.get_mut(at)
    }
}

/// What the injector asks and tells.
impl Books {
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Confirmed and not yet done with.
    pub fn backlog(&self) -> u64 {
        self.counts.confirmed.saturating_sub(self.counts.accepted + self.counts.rejected)
    }

    pub fn longest_gap(&self) -> Duration {
        self.longest_gap
    }

    /// Lives of the main consumer's channel.
    pub fn epochs(&self) -> u64 {
        self.epochs
    }

    /// Lines of the worker's log.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// The start of the run whose message was accepted last.
    pub fn last_accepted(&self) -> u32 {
        self.last_accepted
    }

    /// Times that a probe was said to do this.
    pub fn probed(&self, name: &str, what: &str) -> u32 {
        self.probes.get(&format!("{name} {what}")).copied().unwrap_or_default()
    }

    /// Delivered on the newest channel of the main consumer, and of that unsettled on the wire.
    pub fn flow(&self) -> (u64, u64) {
        let newest = self.channels.values();
        newest.fold((0, 0), |(delivered, unsettled), channel| {
            (delivered + channel.delivered, unsettled + channel.unsettled.len() as u64)
        })
    }

    /// A fault is about to strike.
    pub fn onset(&mut self) -> FaultNumber {
        self.strikes.push(Strike {
            onset: self.line + 1,
            open_at_onset: self.runs.len() as u64,
            starts_at_onset: self.starts,
            ..Strike::default()
        });
        self.strikes.len() - 1
    }

    /// What a fault has done is over: since the first delivery of the channel that came after these, or by now.
    pub fn over(&mut self, fault: FaultNumber, epochs: Option<u64>) {
        let here = (self.line, self.starts);
        let first = self.first_delivery.filter(|_| epochs.is_some_and(|epochs| self.epochs > epochs));
        let (line, starts) = first.unwrap_or(here);
        let strike = &mut self.strikes[fault];
        strike.over = Some(line.max(strike.onset));
        strike.running = strike.open_at_onset + starts.saturating_sub(strike.starts_at_onset);
    }

    pub fn strike(&self, fault: FaultNumber) -> &Strike {
        &self.strikes[fault]
    }

    /// Ids whose handler has ended and whose settlement has not been seen.
    pub fn ended_unsettled(&self) -> BTreeSet<u64> {
        self.outstanding.iter().filter(|(_, outstanding)| outstanding.ended > 0).map(|(id, _)| *id).collect()
    }

    /// An independent client has found this id in the main queue, or among the dead letters. Gives whether it has been
    /// left there: what the worker had settled last was given back to the queue by the broker.
    pub fn found(&mut self, id: u64, dead: bool) -> bool {
        let Some(entry) = self.entry(id) else {
            self.counts.unexpected.add(format!("{id} was found in a queue"));
            return true;
        };
        let settled = entry.flags & SETTLED != 0;
        entry.flags |= if dead { DEAD } else { FOUND };
        if !dead && settled {
            self.counts.given_again.add(format!("{id} was found in the queue"));
        }
        !dead && !settled
    }

    /// Confirmed ids that are nowhere, and rejected ones that are not among the dead letters.
    pub fn missing(&self) -> (Violations, Violations) {
        let (mut lost, mut undead) = (Violations::default(), Violations::default());
        for (id, entry) in self.entries.iter().enumerate() {
            if entry.flags & CONFIRMED != 0 && entry.flags & (ACCEPTED | REJECTED | FOUND | DEAD) == 0 {
                let outcome = char::from(entry.outcome.max(b' '));
                lost.add(format!("{id}: {} runs, the last ended at line {} as {outcome}", entry.runs, entry.end));
            }
            if entry.flags & REJECTED != 0 && entry.flags & (ACCEPTED | DEAD | FOUND) == 0 {
                undead.add(format!("{id}: {} runs", entry.runs));
            }
        }
        (lost, undead)
    }
}
