//! The walk over what was read: deliveries and confirms to one side, every other frame to the other. It does
//! no input or output.

use super::Outlet;
use super::confirm::{self, Confirm, Returned};
use super::content::{self, Incoming, deliver};
use super::frame::{self, Frame, Seen};
use super::octets::{Assembly, Blocks, IN_PARTS, Room, is_sliced};
use crate::message::Delivery;
use crate::worker::Signal;
use bytes::buf::Limit;
use bytes::{Buf, BytesMut};

/// The walk over one connection's octets.
pub(super) struct Walker {
    frame_max: usize,
    /// By number: there are few, and RabbitMQ's clients number them from 1.
    channels: Vec<Option<Channel>>,
    /// Those with something that is not handed over yet.
    filled: Vec<u16>,
    blocks: Blocks,
    room: Room,
    /// A body frame of which a part is there and taken.
    open: Option<Open>,
    /// From this size on.
    in_parts: usize,
    /// Something was no frame, or a frame that has no place there. What follows cannot be told apart any
    /// more, so all of it is lapin's, which closes the connection over it.
    broken: bool,
}

/// A channel whose deliveries or confirms are taken out.
struct Channel {
    outlet: Outlet,
    incoming: Incoming,
    /// Why the message that comes in was returned.
    reply: String,
    deliveries: Vec<Delivery>,
    confirms: Vec<Confirm>,
    /// Whether it is among the `filled`.
    listed: bool,
    /// How many came at once before.
    usual: usize,
}

/// A body frame while its octets come.
struct Open {
    frame: Frame,
    missing: usize,
    delivery: Delivery,
    assembly: Assembly,
    /// The channel's number is another's now.
    is_lost: bool,
}

impl Open {
    fn append(&mut self, part: &[u8]) {
        self.assembly.append(part);
        self.missing -= part.len();
    }

    /// What is there of the frame.
    fn octets(&self) -> Vec<u8> {
        [&self.frame.header(), self.assembly.end(self.frame.size - self.missing)].concat()
    }
}

/// What becomes of a frame.
#[derive(Clone, Copy)]
pub(super) enum Verdict {
    Taken,
    Passed,
    /// It has no place there.
    Broken,
}

impl Walker {
    pub(super) fn new(frame_max: usize) -> Self {
        Self {
            frame_max,
            channels: Vec::new(),
            filled: Vec::new(),
            blocks: Blocks::default(),
            room: Room::default(),
            open: None,
            in_parts: IN_PARTS,
            broken: false,
        }
    }

    /// From the next octet on, what is taken out of this channel goes there.
    pub(super) fn register(&mut self, channel: u16, outlet: Outlet) {
        if let Some(open) = self.open.as_mut().filter(|open| open.frame.channel == channel) {
            open.is_lost = true;
        }
        let place = usize::from(channel);
        if self.channels.len() <= place {
            self.channels.resize_with(place + 1, || None);
        }
        self.channels[place] = Some(Channel {
            outlet,
            incoming: Incoming::Nothing,
            reply: String::new(),
            deliveries: Vec::new(),
            confirms: Vec::new(),
            listed: false,
            usual: 0,
        });
    }

    /// Whether a channel was registered, and the octets still make sense.
    pub(super) fn is_taking(&self) -> bool {
        !self.channels.is_empty() && !self.broken
    }

    /// Where the next octets may be read to instead of `input`, if that is worth a read of its own: then so many of
    /// them as [`filled`](Self::filled) is told are already walked over.
    pub(super) fn next(&mut self, least: usize) -> Option<Limit<&mut Vec<u8>>> {
        let open = self.open.as_mut().filter(|open| open.missing >= least.max(1))?;
        Some(open.assembly.next(open.missing))
    }

    pub(super) fn filled(&mut self, length: usize) {
        if let Some(open) = &mut self.open {
            open.assembly.filled(length);
            open.missing -= length;
        }
    }

    /// Walks over all whole frames, and over the beginning of a large body. What is not taken out is appended to
    /// `passed`; any other beginning of a frame stays in `input`. The answer is how many octets are missing at least.
    pub(super) fn walk(&mut self, input: &mut BytesMut, passed: &mut Vec<u8>) -> usize {
        if let Some(missing) = self.go_on(input, passed) {
            return missing;
        }
        let mut at = 0;
        while !self.broken {
            let rest = input.get(at..).unwrap_or_default();
            let frame = match Frame::at(rest, self.frame_max) {
                Seen::Whole(frame) => frame,
                Seen::Part(missing) => {
                    if self.begin(rest) {
                        input.clear();
                    } else {
                        input.advance(at);
                    }
                    return missing;
                }
                Seen::Broken => {
                    self.broken = true;
                    break;
                }
            };
            if let Some(Some(channel)) = self.channels.get_mut(usize::from(frame.channel))
                && let Some(length) = channel.take_at_once(&frame, rest, self.frame_max, &mut self.blocks)
            {
                channel.list(frame.channel, &mut self.filled);
                at += length;
                continue;
            }
            let verdict = match self.channels.get_mut(usize::from(frame.channel)) {
                Some(Some(channel)) if is_sliced(frame.size) && channel.incoming.is_one_body(&frame) => {
                    input.advance(at);
                    at = 0;
                    let body = input.split_to(frame.length()).freeze();
                    channel.take_whole(body.slice(frame::HEADER..frame::HEADER + frame.size));
                    channel.list(frame.channel, &mut self.filled);
                    continue;
                }
                Some(Some(channel)) => channel.take(&frame, frame.payload(rest), &mut self.blocks, &self.room),
                _ => Verdict::Passed,
            };
            match verdict {
                Verdict::Taken => {
                    if let Some(Some(channel)) = self.channels.get_mut(usize::from(frame.channel)) {
                        channel.list(frame.channel, &mut self.filled);
                    }
                }
                Verdict::Passed => {
                    passed.extend_from_slice(&rest[..frame.length()]);
                    if frame.kind == frame::METHOD {
                        self.closed(frame.channel, frame.payload(rest));
                    }
                }
                Verdict::Broken => {
                    self.broken = true;
                    break;
                }
            }
            at += frame.length();
        }
        input.advance(at);
        passed.extend_from_slice(input);
        input.clear();
        0
    }

    /// Takes the beginning of a body frame, if that is what this is. Only what has no end octet yet can still turn out
    /// to be none: so nothing is handed over before.
    fn begin(&mut self, octets: &[u8]) -> bool {
        let Some(frame) = Frame::begun(octets).filter(|frame| frame.kind == frame::BODY) else { return false };
        let Some(Some(channel)) = self.channels.get_mut(usize::from(frame.channel)) else { return false };
        if frame.size < self.in_parts {
            return false;
        }
        let Some((delivery, assembly)) = channel.incoming.in_parts(frame.size, &self.room) else { return false };
        let mut open = Open { frame, missing: frame.size, delivery, assembly, is_lost: false };
        let part = octets.get(frame::HEADER..).unwrap_or_default();
        open.append(&part[..part.len().min(frame.size)]);
        self.open = Some(open);
        true
    }

    /// Goes on with such a frame. Gives how many octets it misses, if it does not end.
    fn go_on(&mut self, input: &mut BytesMut, passed: &mut Vec<u8>) -> Option<usize> {
        let mut open = self.open.take()?;
        let part = input.split_to(open.missing.min(input.len()));
        open.append(&part);
        let Some(&end) = input.first() else {
            let missing = open.missing + 1;
            self.open = Some(open);
            return Some(missing);
        };
        if end != frame::END || open.is_lost {
            self.broken = end != frame::END;
            passed.append(&mut open.octets());
            passed.push(end);
        } else if let Some(Some(channel)) = self.channels.get_mut(usize::from(open.frame.channel)) {
            channel.incoming.go_on(open.delivery, open.assembly);
            channel.collect();
            channel.list(open.frame.channel, &mut self.filled);
        }
        input.advance(1);
        None
    }

    /// A channel that closes has no deliveries any more, and its number may be another's next.
    fn closed(&mut self, channel: u16, payload: &[u8]) {
        let method = frame::method(payload);
        if matches!(method, Some(frame::CHANNEL_CLOSE | frame::CHANNEL_CLOSE_OK))
            && let Some(channel) = self.channels.get_mut(usize::from(channel))
            && let Some(mut closed) = channel.take()
        {
            if method == Some(frame::CHANNEL_CLOSE) && matches!(closed.outlet, Outlet::Confirms(_)) {
                closed.confirms.extend(confirm::closed(payload));
            }
            closed.hand_over();
        }
    }

    /// How many octets are reserved for bodies that are not whole.
    #[cfg(any(test, fuzzing))]
    pub(super) fn reserved(&self) -> usize {
        let open = self.open.as_ref().map_or(0, |open| open.assembly.reserved());
        open + self.channels.iter().flatten().map(|channel| channel.incoming.reserved()).sum::<usize>()
    }

    /// What is there of the frame that is taken in parts.
    #[cfg(any(test, fuzzing))]
    pub(super) fn begun(&self) -> Vec<u8> {
        self.open.as_ref().map(Open::octets).unwrap_or_default()
    }

    /// Takes body frames from this size on in parts.
    #[cfg(any(test, fuzzing))]
    pub(super) fn in_parts_from(mut self, size: usize) -> Self {
        self.in_parts = size;
        self
    }

    /// Hands over what was taken out, a batch a channel.
    pub(super) fn hand_over(&mut self) {
        for channel in self.filled.drain(..) {
            if let Some(Some(channel)) = self.channels.get_mut(usize::from(channel)) {
                channel.hand_over();
            }
        }
    }
}

impl Channel {
    /// Takes a delivery that is all there, in three frames and with a small body, as most are: it is made once
    /// and in its place. Gives how many octets that was. Everything else is taken frame by frame.
    fn take_at_once(&mut self, method: &Frame, octets: &[u8], frame_max: usize, blocks: &mut Blocks) -> Option<usize> {
        let Outlet::Deliveries { origins, max_body, .. } = &mut self.outlet else { return None };
        if method.kind != frame::METHOD || !self.incoming.is_nothing() {
            return None;
        }
        let (at_header, payload) = (octets.get(method.length()..)?, method.payload(octets));
        let header = Frame::whole(at_header, frame_max, frame::CONTENT_HEADER, method.channel)?;
        let at_body = at_header.get(header.length()..)?;
        let body = Frame::whole(at_body, frame_max, frame::BODY, method.channel)?;
        let (length, list) = content::header(header.payload(at_header))?;
        // An empty body has no frame.
        let is_all = length == body.size as u64 && length > 0;
        if !is_all || body.size > *max_body || is_sliced(body.size) || frame::method(payload) != Some(frame::DELIVER) {
            return None;
        }
        let mut delivery = deliver(payload, origins, self.deliveries.is_empty())?;
        content::set_properties(&mut delivery, list, blocks);
        delivery.body = blocks.copy(body.payload(at_body));
        self.push(delivery);
        Some(method.length() + header.length() + body.length())
    }

    fn take(&mut self, frame: &Frame, payload: &[u8], blocks: &mut Blocks, room: &Room) -> Verdict {
        let verdict = match frame.kind {
            frame::METHOD => self.method(payload),
            frame::CONTENT_HEADER => self.incoming.header(payload, self.outlet.max_body(), blocks),
            frame::BODY => self.incoming.body(payload, blocks, room),
            _ => Verdict::Passed,
        };
        self.collect();
        verdict
    }

    /// Within a content only the channel's end has a place: then what came of it is dropped.
    fn method(&mut self, payload: &[u8]) -> Verdict {
        let method = frame::method(payload);
        if matches!(method, Some(frame::CHANNEL_CLOSE | frame::CHANNEL_CLOSE_OK)) {
            self.incoming = Incoming::Nothing;
            return Verdict::Passed;
        }
        if !self.incoming.is_nothing() {
            return Verdict::Broken;
        }
        let understood = match (method, &mut self.outlet) {
            (Some(frame::DELIVER), Outlet::Deliveries { origins, .. }) => {
                let delivery = deliver(payload, origins, self.deliveries.is_empty());
                delivery.map(|delivery| self.incoming.begin(delivery))
            }
            (Some(frame::RETURN), Outlet::Confirms(_)) => confirm::returned(payload).map(|(reply, message)| {
                self.reply = reply;
                self.incoming.begin(message);
            }),
            (Some(method @ (frame::ACK | frame::NACK)), Outlet::Confirms(_)) => {
                confirm::settled(payload, method == frame::NACK).map(|confirm| self.confirms.push(confirm))
            }
            _ => return Verdict::Passed,
        };
        if understood.is_some() { Verdict::Taken } else { Verdict::Broken }
    }

    fn take_whole(&mut self, body: bytes::Bytes) {
        self.incoming.whole(body);
        self.collect();
    }

    fn collect(&mut self) {
        let Some(message) = self.incoming.finished() else { return };
        match &self.outlet {
            Outlet::Deliveries { .. } => self.push(message),
            Outlet::Confirms(_) => {
                let reply = std::mem::take(&mut self.reply);
                self.confirms.push(Confirm::Returned(Box::new(Returned { reply, message })));
            }
        }
    }

    fn push(&mut self, delivery: Delivery) {
        if self.deliveries.capacity() == 0 {
            self.deliveries.reserve(self.usual);
        }
        self.deliveries.push(delivery);
    }

    fn list(&mut self, own: u16, filled: &mut Vec<u16>) {
        let is_empty = self.deliveries.is_empty() && self.confirms.is_empty();
        if !self.listed && !is_empty {
            self.listed = true;
            filled.push(own);
        }
    }

    /// Whoever it was for may have ended: then the broker gives a route's messages to others, and nobody
    /// waits for confirms.
    fn hand_over(&mut self) {
        self.listed = false;
        match &self.outlet {
            Outlet::Deliveries { origins, inbox, .. } if !self.deliveries.is_empty() => {
                let (origin, deliveries) = (origins.batch().clone(), std::mem::take(&mut self.deliveries));
                self.usual = deliveries.len();
                let _ = inbox.send(Signal::deliveries(origin, deliveries));
            }
            Outlet::Confirms(to) if !self.confirms.is_empty() => {
                let _ = to.send(std::mem::take(&mut self.confirms));
            }
            _ => {}
        }
    }
}
