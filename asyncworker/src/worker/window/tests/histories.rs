//! Histories: what can happen to a channel and its handlers, in any order.

use std::cell::RefCell;

use proptest::collection::vec;
use proptest::prelude::{Strategy, any};
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};

use super::nack;
use crate::Action;
use crate::worker::window::channel::{Channel, Fault, Handler, Moment};
use crate::worker::window::{Frame, Window};

const HISTORIES: u32 = 120_000;
const OPERATIONS: usize = 60;

#[derive(Debug, Clone, Copy)]
enum Operation {
    /// A bulk comes in and its handler starts; a set bit of `skipped` is a number that is skipped.
    Bulk { size: u8, skipped: u8 },
    /// A handler ends; `actions` says how for each message; the last message comes first when `backwards`.
    End { bulk: u16, actions: u32, backwards: bool },
    /// One message of a bulk ends before the others.
    EndOne { bulk: u16, message: u16, action: u8 },
    /// The window is flushed.
    Flush,
    /// A tag that ended is concluded, and delivered, once more; one that is not outstanding is concluded.
    Again { tag: u16, action: u8 },
    /// The epoch is lost.
    Lose,
}

impl Operation {
    /// One integer an operation keeps the generation of histories cheap in a debug build.
    fn of(bits: u64) -> Self {
        let (bulk, message, action) = ((bits >> 8) as u16, (bits >> 24) as u16, (bits >> 40) as u8);
        match bits & 0x1f {
            0..=8 => Self::Bulk { size: 1 + (bits >> 8) as u8 % 16, skipped: (bits >> 16) as u8 },
            9..=15 => Self::End { bulk, actions: (bits >> 24) as u32, backwards: bits & 0x20 != 0 },
            16..=22 => Self::EndOne { bulk, message, action },
            23..=28 => Self::Flush,
            29..=30 => Self::Again { tag: message, action },
            _ => Self::Lose,
        }
    }
}

/// Three of four messages are accepted, as in life.
fn action(bits: u32) -> Action {
    match bits & 0x7 {
        0..=5 => Action::Ack,
        6 => Action::Reject,
        _ => Action::Requeue,
    }
}

/// A way to get the window or the engine's use of it wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    EveryAckMultiple,
    AckBeforeRejects,
    AckNamesTheLastDelivery,
    EveryAckSingle,
    RejectsAsNacks,
    RequeueMixedUp,
    FrameLost,
    FrameTwice,
    TagZero,
    NackMissing,
    OutcomeLost,
    EpochIgnored,
}

impl Defect {
    const ALL: [Self; 12] = [
        Self::EveryAckMultiple,
        Self::AckBeforeRejects,
        Self::AckNamesTheLastDelivery,
        Self::EveryAckSingle,
        Self::RejectsAsNacks,
        Self::RequeueMixedUp,
        Self::FrameLost,
        Self::FrameTwice,
        Self::TagZero,
        Self::NackMissing,
        Self::OutcomeLost,
        Self::EpochIgnored,
    ];

    fn spoil(self, frames: &mut Vec<Frame>, last: u64) {
        for frame in frames.iter_mut() {
            match (self, &mut *frame) {
                (Self::EveryAckMultiple, Frame::Ack { multiple, .. }) => *multiple = true,
                (Self::EveryAckSingle, Frame::Ack { multiple, .. }) => *multiple = false,
                (Self::AckNamesTheLastDelivery, Frame::Ack { tag, multiple: true }) => *tag = last,
                (Self::RejectsAsNacks, &mut Frame::Reject { tag, .. }) => *frame = nack(tag),
                (Self::RequeueMixedUp, Frame::Reject { requeue, .. }) => *requeue = !*requeue,
                (Self::TagZero, Frame::Ack { tag, .. }) => *tag = 0,
                _ => {}
            }
        }
        match self {
            Self::AckBeforeRejects => frames.sort_by_key(|frame| matches!(frame, Frame::Reject { .. })),
            Self::FrameLost => drop(frames.pop()),
            Self::FrameTwice => frames.extend(frames.last().copied()),
            Self::NackMissing => frames.retain(|frame| !matches!(frame, Frame::Nack { .. })),
            _ => {}
        }
    }
}

/// How often the histories met a case: a property over cases that never come up proves nothing.
#[derive(Debug, Default, Clone, Copy)]
struct Met {
    multiple_acks: u64,
    acks_beyond_a_running_tag: u64,
    rejects_below_an_ack: u64,
    outcomes_of_a_lost_epoch: u64,
    outcomes_after_the_drain: u64,
    repeated_outcomes: u64,
    nacks: u64,
    nacks_below_the_last_delivery: u64,
    skipped_tags: u64,
    gaps_closed: u64,
}

#[derive(Debug)]
struct Bulk {
    epoch: u64,
    tags: Vec<u64>,
}

/// The engine, as far as the window is concerned: the window beside its epoch, and running bulks.
struct Engine<'a> {
    window: Window,
    epoch: u64,
    channel: Channel,
    last: u64,
    running: Vec<Bulk>,
    ended: Vec<u64>,
    frames: Vec<Frame>,
    defect: Option<Defect>,
    met: &'a mut Met,
}

impl<'a> Engine<'a> {
    fn new(defect: Option<Defect>, met: &'a mut Met) -> Self {
        Self {
            window: Window::new(),
            epoch: 1,
            channel: Channel::default(),
            last: 0,
            running: Vec::new(),
            ended: Vec::new(),
            frames: Vec::new(),
            defect,
            met,
        }
    }

    fn run(mut self, history: &[Operation]) -> Result<(), Fault> {
        for &operation in history {
            self.step(operation)?;
            self.check()?;
        }
        self.settle(Moment::Drain)?;
        self.check()?;
        // The handlers that the drain did not wait for.
        for bulk in std::mem::take(&mut self.running) {
            for tag in bulk.tags {
                self.conclude(bulk.epoch, tag, Action::Ack)?;
            }
        }
        self.settle(Moment::Flush)?;
        self.check()
    }

    fn step(&mut self, operation: Operation) -> Result<(), Fault> {
        match operation {
            Operation::Bulk { size, skipped } => {
                let mut tags = Vec::with_capacity(usize::from(size));
                for message in 0..size {
                    // Runs without a gap are the common case: skip only where two bits agree.
                    let skip = skipped >> (message % 8) & skipped >> 7 & 1 == 1;
                    self.met.skipped_tags += u64::from(skip);
                    self.last += 1 + u64::from(skip);
                    answer(self.last, self.window.delivered(self.last, 0), true)?;
                    self.channel.outstanding.insert(self.last, Handler::Running);
                    tags.push(self.last);
                }
                self.running.push(Bulk { epoch: self.epoch, tags });
            }
            Operation::End { bulk, actions, backwards } => {
                let Some(mut bulk) = pick(&mut self.running, bulk) else {
                    return Ok(());
                };
                if backwards {
                    bulk.tags.reverse();
                }
                for (message, tag) in (0..).zip(bulk.tags) {
                    self.conclude(bulk.epoch, tag, action(actions.rotate_right(2 * message)))?;
                }
            }
            Operation::EndOne { bulk, message, action: bits } => {
                let Some(mut bulk) = pick(&mut self.running, bulk) else {
                    return Ok(());
                };
                if let Some(tag) = pick(&mut bulk.tags, message) {
                    self.conclude(bulk.epoch, tag, action(u32::from(bits)))?;
                }
                if !bulk.tags.is_empty() {
                    self.running.push(bulk);
                }
            }
            Operation::Flush => self.settle(Moment::Flush)?,
            Operation::Again { tag, action: bits } => {
                if let Some(tag) = pick(&mut self.ended, tag) {
                    self.met.repeated_outcomes += 1;
                    let again = self.window.conclude(tag, action(u32::from(bits)));
                    answer(tag, again, false)?;
                    answer(tag, self.window.delivered(tag, 0), false)?;
                }
                // Zero, the next, a skipped or a settled one; a running or concluded one is left alone.
                let stranger = u64::from(tag) % (self.last + 2);
                if !self.channel.outstanding.contains_key(&stranger) {
                    let known = self.window.conclude(stranger, Action::Ack);
                    answer(stranger, known, false)?;
                }
            }
            Operation::Lose => {
                // The handlers run on; the new channel numbers from 1 again.
                self.window = Window::new();
                self.epoch += 1;
                self.channel = Channel::default();
                self.last = 0;
                self.ended.clear();
            }
        }
        Ok(())
    }

    /// The outcome of one message arrives.
    fn conclude(&mut self, epoch: u64, tag: u64, action: Action) -> Result<(), Fault> {
        if epoch != self.epoch {
            self.met.outcomes_of_a_lost_epoch += 1;
            if self.defect == Some(Defect::EpochIgnored) {
                self.window.conclude(tag, action);
            }
            return Ok(());
        }
        let Some(handler) = self.channel.outstanding.get_mut(&tag) else {
            // Only a drain settles a tag whose handler runs.
            self.met.outcomes_after_the_drain += 1;
            return answer(tag, self.window.conclude(tag, action), false);
        };
        *handler = Handler::Ended(action);
        self.ended.push(tag);
        if self.defect == Some(Defect::OutcomeLost) {
            return Ok(());
        }
        answer(tag, self.window.conclude(tag, action), true)
    }

    fn settle(&mut self, moment: Moment) -> Result<(), Fault> {
        self.frames.clear();
        let before = self.window.deliveries.len();
        match moment {
            Moment::Flush => self.window.flush(&mut self.frames),
            Moment::Drain => self.window.give_back(&mut self.frames),
        }
        let kept = self.window.deliveries.len();
        let met = &mut *self.met;
        met.gaps_closed += u64::from(moment == Moment::Flush && 0 < kept && kept < before);
        let mut rejected = None;
        for &frame in &self.frames {
            match frame {
                Frame::Ack { tag, multiple } => {
                    met.multiple_acks += u64::from(multiple);
                    met.rejects_below_an_ack += u64::from(rejected.is_some_and(|lower| lower < tag));
                    let first = self.window.deliveries.front().map(|delivery| delivery.tag);
                    met.acks_beyond_a_running_tag += u64::from(first.is_some_and(|first| first < tag));
                }
                Frame::Reject { tag, .. } => rejected = Some(tag),
                Frame::Nack { tag } => {
                    met.nacks += 1;
                    met.nacks_below_the_last_delivery += u64::from(tag < self.last);
                }
            }
        }
        if let Some(defect) = self.defect {
            defect.spoil(&mut self.frames, self.last);
        }
        self.channel.settle(&self.frames, moment)
    }

    fn check(&self) -> Result<(), Fault> {
        // These two would be caught by the counts at once; the frames must give them away.
        if !matches!(self.defect, Some(Defect::OutcomeLost | Defect::EpochIgnored)) {
            let window = (self.window.concluded(), self.window.outstanding());
            let model = (self.channel.ended(), self.channel.outstanding.len());
            if window != model {
                return Err(Fault::Counts { window, model });
            }
        }
        let (kept, outstanding) = (self.window.deliveries.len(), self.window.outstanding());
        if kept > 2 * outstanding {
            return Err(Fault::Places { kept, outstanding });
        }
        Ok(())
    }
}

fn answer(tag: u64, answer: bool, right: bool) -> Result<(), Fault> {
    if answer == right { Ok(()) } else { Err(Fault::Answer { tag, answer }) }
}

fn pick<T>(items: &mut Vec<T>, index: u16) -> Option<T> {
    let index = usize::from(index).checked_rem(items.len())?;
    Some(items.swap_remove(index))
}

fn check_histories(config: Config, defect: Option<Defect>) -> (Met, Result<(), TestError<Vec<Operation>>>) {
    let met = RefCell::new(Met::default());
    let histories = vec(any::<u64>().prop_map(Operation::of), 0..=OPERATIONS);
    let result = TestRunner::new(config).run(&histories, |history| {
        Engine::new(defect, &mut met.borrow_mut())
            .run(&history)
            .map_err(|fault| TestCaseError::fail(format!("{fault:?}")))
    });
    (met.into_inner(), result)
}

#[test]
fn a_window_obeys_the_channel_in_every_history() {
    // Another seed a run; PROPTEST_RNG_SEED repeats one, PROPTEST_CASES asks for more.
    let config = Config { failure_persistence: None, ..Config::default() };
    let seed = match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => random_seed(),
    };
    let cases = config.cases.max(HISTORIES);
    let config = Config { cases, rng_seed: RngSeed::Fixed(seed), ..config };
    let (met, result) = check_histories(config, None);
    if let Err(error) = result {
        panic!("PROPTEST_RNG_SEED={seed}\n{error}");
    }
    for (case, times) in [
        ("a multiple ack", met.multiple_acks),
        ("an ack beyond a running tag", met.acks_beyond_a_running_tag),
        ("a reject below an ack", met.rejects_below_an_ack),
        ("an outcome of a lost epoch", met.outcomes_of_a_lost_epoch),
        ("an outcome after the drain", met.outcomes_after_the_drain),
        ("an outcome repeated", met.repeated_outcomes),
        ("a nack", met.nacks),
        ("a nack below the last delivery", met.nacks_below_the_last_delivery),
        ("a skipped tag", met.skipped_tags),
        ("a gap closed", met.gaps_closed),
    ] {
        assert!(times > u64::from(HISTORIES / 100), "{case} came up only {times} times: {met:?}");
    }
}

/// A seed from the standard library's random hasher.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

#[test]
fn every_defect_is_caught_by_the_histories() {
    for defect in Defect::ALL {
        let config = Config {
            cases: 2_000,
            failure_persistence: None,
            max_shrink_iters: 0,
            rng_seed: RngSeed::Fixed(1),
            ..Config::default()
        };
        let (_, result) = check_histories(config, Some(defect));
        assert!(matches!(result, Err(TestError::Fail(..))), "{defect:?} went unnoticed");
    }
}
