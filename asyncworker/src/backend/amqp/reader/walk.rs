//! The walk over what was read: deliveries to one side, every other frame to the other. It does no input
//! or output.

use super::Outlet;
use super::content::Incoming;
use super::frame::{self, Frame, Seen};
use super::octets::{Blocks, is_sliced};
use crate::message::Delivery;
use crate::worker::Signal;
use bytes::{Buf, BytesMut};
use std::sync::Arc;

/// The walk over one connection's octets.
pub(super) struct Walker {
    frame_max: usize,
    /// By number: there are few, and RabbitMQ's clients number them from 1.
    channels: Vec<Option<Channel>>,
    /// Those with deliveries that are not handed over yet.
    filled: Vec<u16>,
    blocks: Blocks,
    /// Something was no frame, or a frame that has no place there. What follows cannot be told apart any
    /// more, so all of it is lapin's, which closes the connection over it.
    broken: bool,
}

/// A channel whose deliveries are taken out.
struct Channel {
    outlet: Outlet,
    names: Names,
    incoming: Incoming,
    batch: Vec<Delivery>,
    /// Whether it is among the `filled`.
    listed: bool,
    /// How many came at once before.
    usual: usize,
}

/// The last names on a channel: most messages have the same, and so cost no allocation.
#[derive(Default)]
pub(super) struct Names {
    pub(super) exchange: Arc<str>,
    pub(super) routing_key: Arc<str>,
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
        Self { frame_max, channels: Vec::new(), filled: Vec::new(), blocks: Blocks::default(), broken: false }
    }

    /// From the next octet on, the deliveries of this channel go there.
    pub(super) fn register(&mut self, channel: u16, outlet: Outlet) {
        let place = usize::from(channel);
        if self.channels.len() <= place {
            self.channels.resize_with(place + 1, || None);
        }
        self.channels[place] = Some(Channel {
            outlet,
            names: Names::default(),
            incoming: Incoming::Nothing,
            batch: Vec::new(),
            listed: false,
            usual: 0,
        });
    }

    /// Whether a channel was registered, and the octets still make sense.
    pub(super) fn is_taking(&self) -> bool {
        !self.channels.is_empty() && !self.broken
    }

    /// Walks over all whole frames. What is not taken out is appended to `passed`; a frame's beginning
    /// stays in `input`, and the answer is how many octets it misses at least.
    pub(super) fn walk(&mut self, input: &mut BytesMut, passed: &mut Vec<u8>) -> usize {
        let mut at = 0;
        while !self.broken {
            let rest = input.get(at..).unwrap_or_default();
            let frame = match Frame::at(rest, self.frame_max) {
                Seen::Whole(frame) => frame,
                Seen::Part(missing) => {
                    input.advance(at);
                    return missing;
                }
                Seen::Broken => {
                    self.broken = true;
                    break;
                }
            };
            let verdict = match self.channels.get_mut(usize::from(frame.channel)) {
                Some(Some(channel)) if is_sliced(frame.size) && channel.incoming.is_one_body(&frame) => {
                    input.advance(at);
                    at = 0;
                    let body = input.split_to(frame.length()).freeze();
                    channel.take_whole(body.slice(frame::HEADER..frame::HEADER + frame.size));
                    channel.list(frame.channel, &mut self.filled);
                    continue;
                }
                Some(Some(channel)) => channel.take(&frame, frame.payload(rest), &mut self.blocks),
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
                    self.closed(&frame, frame::method(frame.payload(rest)));
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

    /// A channel that closes has no deliveries any more, and its number may be another's next.
    fn closed(&mut self, passed: &Frame, method: Option<(u16, u16)>) {
        if passed.kind == frame::METHOD
            && matches!(method, Some(frame::CHANNEL_CLOSE | frame::CHANNEL_CLOSE_OK))
            && let Some(channel) = self.channels.get_mut(usize::from(passed.channel))
            && let Some(mut closed) = channel.take()
        {
            closed.hand_over();
        }
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
    fn take(&mut self, frame: &Frame, payload: &[u8], blocks: &mut Blocks) -> Verdict {
        let verdict = match frame.kind {
            frame::METHOD => self.incoming.method(payload, &self.outlet, &mut self.names),
            frame::CONTENT_HEADER => self.incoming.header(payload, blocks),
            frame::BODY => self.incoming.body(payload, blocks),
            _ => Verdict::Passed,
        };
        self.collect();
        verdict
    }

    fn take_whole(&mut self, body: bytes::Bytes) {
        self.incoming.whole(body);
        self.collect();
    }

    fn collect(&mut self) {
        if let Some(delivery) = self.incoming.finished() {
            if self.batch.capacity() == 0 {
                self.batch.reserve(self.usual);
            }
            self.batch.push(delivery);
        }
    }

    fn list(&mut self, own: u16, filled: &mut Vec<u16>) {
        if !self.listed && !self.batch.is_empty() {
            self.listed = true;
            filled.push(own);
        }
    }

    fn hand_over(&mut self) {
        self.listed = false;
        let batch = std::mem::take(&mut self.batch);
        self.usual = batch.len();
        if !batch.is_empty() {
            // The route may have ended: then the broker gives its messages to others.
            let _ = self.outlet.inbox.send(Signal::Deliveries(batch));
        }
    }
}
