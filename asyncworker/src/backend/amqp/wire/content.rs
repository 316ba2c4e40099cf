//! A delivery, or a message that was returned, while it comes in: the method, the content header, the body.

use super::frame::{self, Frame};
use super::octets::{Assembly, Blocks, Room};
use super::properties::{Input, check, decode};
use super::walk::Verdict;
use crate::message::{Delivery, LazyProperties, Origins, TOO_LARGE};
use bytes::Bytes;

/// How far a channel's delivery has come.
#[derive(Default)]
pub(super) enum Incoming {
    #[default]
    Nothing,
    /// The method came; its content header is next.
    Method(Delivery),
    /// The content header came; a body of so many octets is next.
    Header(Delivery, u64),
    /// A part of the body came.
    Part(Delivery, Assembly),
    /// The content header came, and its body is too large to be kept: so many octets of it are missing.
    Skipped(Delivery, u64),
    /// It is all there.
    Whole(Delivery),
}

impl Incoming {
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    /// The method came by which a content begins.
    pub(super) fn begin(&mut self, delivery: Delivery) {
        *self = Self::Method(delivery);
    }

    /// Takes the content header of a delivery; one without is lapin's (`basic.get-ok`).
    pub(super) fn header(&mut self, payload: &[u8], max_body: usize, blocks: &mut Blocks) -> Verdict {
        match std::mem::take(self) {
            Self::Nothing => Verdict::Passed,
            Self::Method(mut delivery) => {
                let Some((length, list)) = header(payload) else { return Verdict::Broken };
                set_properties(&mut delivery, list, blocks);
                *self = if length == 0 {
                    Self::Whole(delivery)
                } else if length > max_body as u64 {
                    delivery.malformed.get_or_insert(TOO_LARGE);
                    Self::Skipped(delivery, length)
                } else {
                    Self::Header(delivery, length)
                };
                Verdict::Taken
            }
            Self::Header(..) | Self::Part(..) | Self::Skipped(..) | Self::Whole(..) => Verdict::Broken,
        }
    }

    /// Takes a body frame of a delivery; one without is lapin's.
    pub(super) fn body(&mut self, part: &[u8], blocks: &mut Blocks, room: &Room) -> Verdict {
        let (delivery, mut assembly) = match std::mem::take(self) {
            Self::Nothing => return Verdict::Passed,
            Self::Header(delivery, length) if length == part.len() as u64 => {
                *self = Self::Whole(Delivery { body: blocks.copy(part), ..delivery });
                return Verdict::Taken;
            }
            Self::Header(delivery, length) => (delivery, Assembly::new(length, room)),
            Self::Part(delivery, assembly) => (delivery, assembly),
            Self::Skipped(delivery, length) => {
                let Some(missing) = length.checked_sub(part.len() as u64) else { return Verdict::Broken };
                *self = if missing == 0 { Self::Whole(delivery) } else { Self::Skipped(delivery, missing) };
                return Verdict::Taken;
            }
            Self::Method(..) | Self::Whole(..) => return Verdict::Broken,
        };
        if !assembly.append(part) {
            return Verdict::Broken;
        }
        self.go_on(delivery, assembly);
        Verdict::Taken
    }

    /// What is to be filled by a body frame of this size which is not there as a whole; nothing, where it has no place.
    pub(super) fn in_parts(&mut self, size: usize, room: &Room) -> Option<(Delivery, Assembly)> {
        let (delivery, assembly) = match std::mem::take(self) {
            Self::Header(delivery, length) if length >= size as u64 => (delivery, Assembly::new(length, room)),
            Self::Part(delivery, assembly) if assembly.missing() >= size as u64 => (delivery, assembly),
            other => {
                *self = other;
                return None;
            }
        };
        Some((delivery, assembly))
    }

    /// Such a frame has ended.
    pub(super) fn go_on(&mut self, delivery: Delivery, assembly: Assembly) {
        *self = if assembly.is_whole() {
            Self::Whole(Delivery { body: assembly.into_body(), ..delivery })
        } else {
            Self::Part(delivery, assembly)
        };
    }

    /// Whether this frame is a delivery's whole body.
    pub(super) fn is_one_body(&self, frame: &Frame) -> bool {
        matches!(self, Self::Header(_, length) if *length == frame.size as u64) && frame.kind == frame::BODY
    }

    /// Takes that body, without a copy.
    pub(super) fn whole(&mut self, body: Bytes) {
        *self = match std::mem::take(self) {
            Self::Header(delivery, _) => Self::Whole(Delivery { body, ..delivery }),
            other => other,
        };
    }

    /// The delivery, once it is all there.
    pub(super) fn finished(&mut self) -> Option<Delivery> {
        match self {
            Self::Whole(_) => match std::mem::take(self) {
                Self::Whole(delivery) => Some(delivery),
                _ => None,
            },
            _ => None,
        }
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn reserved(&self) -> usize {
        if let Self::Part(_, assembly) = self { assembly.reserved() } else { 0 }
    }
}

/// Reads `basic.deliver`: consumer tag, delivery tag, redelivered, exchange, routing key. Nothing, when
/// its lengths do not add up: then there is no telling which message it was.
pub(super) fn deliver(payload: &[u8], origins: &mut Origins, is_first: bool) -> Option<Delivery> {
    let mut input = Input(payload.get(4..)?);
    // A channel has one consumer.
    input.short_octets().ok()?;
    let tag = input.u64().ok()?;
    let redelivered = input.u8().ok()? & 1 != 0;
    let (exchange, routing_key) = (input.short_octets().ok()?, input.short_octets().ok()?);
    input.end().ok()?;
    let mut delivery = Delivery { tag, redelivered, ..Delivery::default() };
    // Most messages have the same names, and so cost no allocation.
    if !origins.batch().names.are(exchange, routing_key) {
        let (exchange, routing_key) = match (std::str::from_utf8(exchange), std::str::from_utf8(routing_key)) {
            (Ok(exchange), Ok(routing_key)) => (exchange, routing_key),
            (Ok(exchange), Err(_)) => {
                delivery.malformed = Some("its routing key is not UTF-8");
                (exchange, "")
            }
            (Err(_), _) => {
                delivery.malformed = Some("the name of its exchange is not UTF-8");
                ("", "")
            }
        };
        delivery.names = origins.name(is_first, exchange, routing_key);
    }
    Some(delivery)
}

/// Keeps a property list that can be decoded; one that cannot makes the delivery malformed.
pub(super) fn set_properties(delivery: &mut Delivery, list: &[u8], blocks: &mut Blocks) {
    // Most messages that have no properties say so by no flags.
    if delivery.malformed.is_some() || list == [0, 0] {
        return;
    }
    match check(list) {
        Ok(()) => delivery.properties = LazyProperties::encoded(blocks.copy(list), decode),
        Err(cause) => delivery.malformed = Some(cause),
    }
}

/// The body's length and the property list of a content header of class `basic`.
pub(super) fn header(payload: &[u8]) -> Option<(u64, &[u8])> {
    let mut input = Input(payload);
    let class = input.u16().ok()?;
    let _weight = input.u16().ok()?;
    let length = input.u64().ok()?;
    (class == frame::BASIC).then_some((length, input.0))
}
