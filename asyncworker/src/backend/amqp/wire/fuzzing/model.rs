//! The naive reader: it knows where reads end only to tell what is there already.

use super::{Taken, oracle};
use crate::message::Properties;
use lapin::protocol::{AMQPClass, basic, parse_class};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

pub(super) struct Model<'a> {
    octets: &'a [u8],
    frame_max: usize,
    at: usize,
    /// By channel: the place of its outlet, and what is under way.
    channels: BTreeMap<u16, (usize, Content)>,
    broken: bool,
    /// What was handed over since it was looked at, by outlet.
    pub(super) taken: Vec<Vec<Expected>>,
    pub(super) passed: Vec<u8>,
}

/// A delivery as it should be.
#[derive(Default)]
pub(super) struct Expected {
    epoch: usize,
    tag: u64,
    redelivered: bool,
    names: Option<(String, String)>,
    /// None where the list is broken.
    properties: Option<Properties>,
    body: Vec<u8>,
}

#[derive(Default)]
enum Content {
    #[default]
    Nothing,
    Method(Expected),
    /// With so many octets of its body missing.
    Body(Expected, u64),
}

/// What becomes of a frame.
enum Verdict {
    Taken,
    /// With it a delivery is whole.
    Whole(Box<Expected>),
    Passed,
    Broken,
}

impl<'a> Model<'a> {
    pub(super) fn new(octets: &'a [u8], frame_max: usize) -> Self {
        Self {
            octets,
            frame_max,
            at: 0,
            channels: BTreeMap::new(),
            broken: false,
            taken: Vec::new(),
            passed: Vec::new(),
        }
    }

    pub(super) fn register(&mut self, channel: u16) {
        self.channels.insert(channel, (self.taken.len(), Content::Nothing));
        self.taken.push(Vec::new());
    }

    /// The beginning of a frame.
    pub(super) fn rest(&self, until: usize) -> &'a [u8] {
        &self.octets[self.at..until]
    }

    /// How many octets that frame may be said to miss: as many as it needs to be a frame at all, at least.
    pub(super) fn may_miss(&self, until: usize) -> RangeInclusive<usize> {
        match *self.rest(until) {
            _ if self.broken => 0..=0,
            [_, _, _, s0, s1, s2, s3, ..] => {
                let missing = u32::from_be_bytes([s0, s1, s2, s3]) as usize + 8 - (until - self.at);
                missing..=missing
            }
            ref rest => 1..=8 - rest.len(),
        }
    }

    /// Reads all whole frames that are there.
    pub(super) fn read(&mut self, until: usize) {
        while !self.broken {
            let rest = self.rest(until);
            let &[kind, c0, c1, s0, s1, s2, s3, ..] = rest else { return };
            let size = u32::from_be_bytes([s0, s1, s2, s3]) as usize;
            if ![1, 2, 3, 8].contains(&kind) || size + 8 > self.frame_max {
                self.broken = true;
                break;
            }
            let Some(frame) = rest.get(..size + 8) else { return };
            self.broken = frame[size + 7] != 0xCE || !self.frame(kind, u16::from_be_bytes([c0, c1]), frame);
        }
        self.passed.extend_from_slice(self.rest(until));
        self.at = until;
    }

    /// Whether this frame has its place here.
    fn frame(&mut self, kind: u8, number: u16, frame: &[u8]) -> bool {
        let payload = &frame[7..frame.len() - 1];
        let closes = kind == 1 && (payload.starts_with(&[0, 20, 0, 40]) || payload.starts_with(&[0, 20, 0, 41]));
        let verdict = match self.channels.get_mut(&number) {
            Some(_) if closes => {
                self.channels.remove(&number);
                Verdict::Passed
            }
            Some((epoch, content)) => content.take(*epoch, kind, payload),
            None => Verdict::Passed,
        };
        match verdict {
            Verdict::Broken => return false,
            Verdict::Taken => {}
            Verdict::Whole(whole) => self.taken[whole.epoch].push(*whole),
            Verdict::Passed => self.passed.extend_from_slice(frame),
        }
        self.at += frame.len();
        true
    }
}

impl Content {
    fn take(&mut self, epoch: usize, kind: u8, payload: &[u8]) -> Verdict {
        let before = std::mem::take(self);
        *self = match (kind, before) {
            (8, before) => {
                *self = before;
                return Verdict::Passed;
            }
            (1, Self::Nothing) if payload.starts_with(&[0, 60, 0, 60]) => match deliver(payload) {
                Some(expected) => Self::Method(Expected { epoch, ..expected }),
                None => return Verdict::Broken,
            },
            (_, Self::Nothing) => return Verdict::Passed,
            (2, Self::Method(expected)) => match payload {
                [0, 60, _, _, l0, l1, l2, l3, l4, l5, l6, l7, list @ ..] => {
                    let properties = oracle::judged(list);
                    let missing = u64::from_be_bytes([*l0, *l1, *l2, *l3, *l4, *l5, *l6, *l7]);
                    Self::Body(Expected { properties, ..expected }, missing)
                }
                _ => return Verdict::Broken,
            },
            (3, Self::Body(mut expected, missing)) => match missing.checked_sub(payload.len() as u64) {
                Some(missing) => {
                    expected.body.extend_from_slice(payload);
                    Self::Body(expected, missing)
                }
                None => return Verdict::Broken,
            },
            _ => return Verdict::Broken,
        };
        match std::mem::take(self) {
            Self::Body(whole, 0) => Verdict::Whole(Box::new(whole)),
            under_way => {
                *self = under_way;
                Verdict::Taken
            }
        }
    }
}

/// Reads `basic.deliver`; none where its lengths do not add up.
fn deliver(payload: &[u8]) -> Option<Expected> {
    let short = |from: usize| {
        let length = usize::from(*payload.get(from)?);
        Some((payload.get(from + 1..from + 1 + length)?, from + 1 + length))
    };
    let (_consumer_tag, at) = short(4)?;
    let tag = payload.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes)?;
    let redelivered = payload.get(at + 8)? & 1 == 1;
    let (exchange, at) = short(at + 9)?;
    let (routing_key, at) = short(at)?;
    if at != payload.len() {
        return None;
    }
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).ok();
    let names = text(exchange).zip(text(routing_key));
    if let Ok((_, theirs)) = parse_class(payload) {
        let AMQPClass::Basic(basic::AMQPMethod::Deliver(theirs)) = theirs else { panic!("lapin reads {theirs:?}") };
        assert_eq!((theirs.delivery_tag, theirs.redelivered), (tag, redelivered));
        assert_eq!(Some((theirs.exchange.to_string(), theirs.routing_key.to_string())), names);
    }
    Some(Expected { tag, redelivered, names, ..Expected::default() })
}

impl Expected {
    pub(super) fn check(self, taken: &Taken) {
        assert_eq!((taken.origin.epoch, taken.tag, taken.redelivered), (self.epoch as u64, self.tag, self.redelivered));
        assert!(taken.body == self.body, "a body differs");
        assert_eq!(taken.malformed.is_some(), self.names.is_none() || self.properties.is_none());
        if let (Some((exchange, routing_key)), Some(properties)) = (self.names, self.properties) {
            assert_eq!(taken.published(), (&*exchange, &*routing_key));
            let taken = taken.properties.get().cloned().unwrap_or_default();
            assert!(oracle::same(&taken, &properties), "{taken:?}, but {properties:?}");
        } else {
            assert_eq!(taken.properties.get(), None);
        }
    }
}
