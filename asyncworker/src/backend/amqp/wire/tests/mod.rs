//! lapin's own parser and generator, amq-protocol, are the oracle.

#![allow(clippy::unwrap_used)]

mod apps;
mod broken;
mod confirms;
mod encoding;
mod histories;
mod lapin;
mod properties;
mod reading;
mod seeds;
mod walking;
mod writing;

use super::fuzzing::{Taken, taken};
use super::{Outlet, walk::Walker};
use crate::message::Origins;
use crate::worker::Signal;
use amq_protocol::frame::{AMQPFrame, WriteContext, gen_frame};
use amq_protocol::protocol::{AMQPClass, BasicProperties, basic};
use bytes::{BufMut, BytesMut};
use std::time::Duration;
use tokio::sync::mpsc;

const FRAME_MAX: usize = 131_072;

/// How long anything may take that ought to happen soon, on a machine that is busy with other things.
const LIMIT: Duration = Duration::from_secs(60);

/// The octets of frames, as a broker would send them.
fn octets<'a>(frames: impl IntoIterator<Item = &'a AMQPFrame>) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut room = vec![0; FRAME_MAX];
    for frame in frames {
        let length = gen_frame(frame)(WriteContext::from(&mut room[..])).unwrap().into_inner().1;
        octets.extend_from_slice(&room[..usize::try_from(length).unwrap()]);
    }
    octets
}

fn deliver(channel: u16, tag: u64, exchange: &str, routing_key: &str) -> AMQPFrame {
    AMQPFrame::Method(
        channel,
        AMQPClass::Basic(basic::AMQPMethod::Deliver(basic::Deliver {
            consumer_tag: "c".into(),
            delivery_tag: tag,
            redelivered: tag.is_multiple_of(2),
            exchange: exchange.into(),
            routing_key: routing_key.into(),
        })),
    )
}

fn header(channel: u16, length: u64, properties: BasicProperties) -> AMQPFrame {
    AMQPFrame::Header(channel, amq_protocol::frame::AMQPContentHeader { class_id: 60, body_size: length, properties })
}

/// A delivery with a body of these parts, a frame each.
fn delivery(channel: u16, tag: u64, parts: &[&[u8]]) -> Vec<AMQPFrame> {
    let length = parts.iter().map(|part| part.len() as u64).sum();
    let mut frames = vec![deliver(channel, tag, "", "orders"), header(channel, length, BasicProperties::default())];
    frames.extend(parts.iter().map(|part| AMQPFrame::Body(channel, part.to_vec())));
    frames
}

/// A walker, what it passed, and the inboxes of its channels.
struct Bench {
    walker: Walker,
    input: BytesMut,
    passed: Vec<u8>,
    inboxes: Vec<(u16, mpsc::UnboundedReceiver<Signal>)>,
}

impl Bench {
    fn new(channels: impl IntoIterator<Item = u16>) -> Self {
        let mut bench =
            Self { walker: Walker::new(FRAME_MAX), input: BytesMut::new(), passed: Vec::new(), inboxes: Vec::new() };
        for channel in channels {
            bench.register(channel);
        }
        bench
    }

    fn register(&mut self, channel: u16) {
        self.register_limited(channel, usize::MAX);
    }

    /// With bodies up to this size.
    fn register_limited(&mut self, channel: u16, max_body: usize) {
        let (outlet, inbox) = limited_outlet(channel, max_body);
        self.walker.register(channel, outlet);
        self.inboxes.push((channel, inbox));
    }

    /// One read.
    fn read(&mut self, octets: &[u8]) {
        self.input.extend_from_slice(octets);
        self.walker.walk(&mut self.input, &mut self.passed);
        self.walker.hand_over();
    }

    /// Reads that end after so many octets each, over and over.
    fn read_cut(&mut self, octets: &[u8], cuts: &[usize]) {
        let mut cuts = cuts.iter().cycle();
        let mut rest = octets;
        while !rest.is_empty() {
            let (read, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            self.read(read);
            rest = later;
        }
    }

    /// What was handed over on this channel since, in order.
    fn taken(&mut self, channel: u16) -> Vec<Taken> {
        let own = self.inboxes.iter_mut().filter(|(own, _)| *own == channel);
        own.flat_map(|(_, inbox)| taken(inbox)).collect()
    }

    fn tags(&mut self, channel: u16) -> Vec<u64> {
        self.taken(channel).iter().map(|delivery| delivery.tag).collect()
    }
}

fn outlet(channel: u16) -> (Outlet, mpsc::UnboundedReceiver<Signal>) {
    limited_outlet(channel, usize::MAX)
}

fn limited_outlet(channel: u16, max_body: usize) -> (Outlet, mpsc::UnboundedReceiver<Signal>) {
    let (inbox, deliveries) = mpsc::unbounded_channel();
    (
        Outlet::Deliveries {
            origins: Origins::new(channel.into(), 7, format!("queue {channel}").into()),
            max_body,
            inbox,
        },
        deliveries,
    )
}
