//! One client's connection.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use super::Fed;
use super::ledger::Ledger;
use super::wire::{Frame, Frames, Template, method, short_string, tag};
use crate::Error;

/// As RabbitMQ proposes it.
const FRAME_MAX: u32 = 131_072;
const START: &[u8] = b"\x00\x09\x00\x00\x00\x00\x00\x00\x00\x05PLAIN\x00\x00\x00\x05en_US";
/// The most that is written before the client's acks are looked at again: below what sockets buffer, so that the two
/// ends never both wait for the other to read.
const BURST: u64 = 1_024;

#[derive(Debug)]
pub(super) struct Peer {
    stream: TcpStream,
    messages: u64,
    body: Arc<[u8]>,
    prefetch: u64,
    consumer: Option<Template>,
    ledger: Ledger,
    pub(super) fed: Fed,
    out: Vec<u8>,
    closed: bool,
}

impl Peer {
    pub(super) fn new(stream: TcpStream, messages: u64, body: Arc<[u8]>) -> Self {
        Self {
            stream,
            messages,
            body,
            prefetch: 0,
            consumer: None,
            ledger: Ledger::new(),
            fed: Fed::default(),
            out: Vec::new(),
            closed: false,
        }
    }

    /// Whether anything was sent to it.
    pub(super) fn was_fed(&self) -> bool {
        self.fed.sent > 0
    }

    /// Serves until the client closes.
    pub(super) fn run(&mut self) -> Result<(), Error> {
        self.stream.set_nodelay(true)?;
        self.stream.read_exact(&mut [0; 8])?;
        self.out = method(0, 10, 10, START);
        let mut read = vec![0; 1 << 18];
        let mut filled = 0;
        while !self.closed {
            self.feed();
            self.stream.write_all(&self.out)?;
            self.out.clear();
            let free = read.get_mut(filled..).unwrap_or_default();
            let count = self.stream.read(free)?;
            if count == 0 {
                return Ok(());
            }
            filled += count;
            let mut frames = Frames { rest: read.get(..filled).unwrap_or_default() };
            for frame in frames.by_ref() {
                self.answer(&frame)?;
            }
            let rest = frames.rest.len();
            read.copy_within(filled - rest..filled, 0);
            filled = rest;
        }
        self.stream.write_all(&self.out)?;
        Ok(())
    }

    fn feed(&mut self) {
        let Some(consumer) = &self.consumer else { return };
        let window = if self.prefetch == 0 { u64::MAX } else { self.prefetch };
        let free = window.saturating_sub(self.ledger.outstanding());
        let count = free.min(BURST).min(self.messages - self.fed.sent);
        consumer.append(&mut self.out, self.ledger.next(), count);
        self.ledger.deliver(count);
        self.fed.sent += count;
    }

    fn answer(&mut self, frame: &Frame<'_>) -> Result<(), Error> {
        let Some((class, number, arguments)) = frame.method() else { return Ok(()) };
        let channel = frame.channel;
        let mut reply = |number, arguments: &[u8]| self.out.extend(method(channel, class, number, arguments));
        match (class, number) {
            // The settling ones first: they are nearly all.
            (60, 80 | 90 | 120) => return self.settle(class, number, arguments),
            // start-ok; RabbitMQ's limit of channels, and its heartbeat.
            (10, 11) => reply(30, &[&2_047_u16.to_be_bytes()[..], &FRAME_MAX.to_be_bytes(), &[0, 60]].concat()),
            (10, 31) => {}
            (10, 40) => reply(41, &[0]),
            (10, 50) => {
                reply(51, &[]);
                self.closed = true;
            }
            (10, 51) => self.closed = true,
            (20, 10) => reply(11, &[0; 4]),
            (20, 40) => {
                reply(41, &[]);
                self.consumer = None;
            }
            (60, 10) => {
                reply(11, &[]);
                let prefetch = arguments.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_be_bytes);
                self.prefetch = prefetch.ok_or("basic.qos was cut")?.into();
            }
            (60, 20) => {
                let queue = short_string(arguments, 2).ok_or("basic.consume was cut")?;
                let consumer = short_string(arguments, 2 + 1 + queue.len()).ok_or("basic.consume was cut")?;
                let consumer = if consumer.is_empty() { b"feed" } else { consumer };
                let length = u8::try_from(consumer.len())?;
                reply(21, &[&[length], consumer].concat());
                self.consumer = Some(Template::new(channel, consumer, queue, &self.body, FRAME_MAX as usize));
            }
            (60, 30) => {
                let consumer = short_string(arguments, 0).ok_or("basic.cancel was cut")?;
                reply(31, &[&[u8::try_from(consumer.len())?], consumer].concat());
                self.consumer = None;
            }
            _ => return Err(format!("the feed does not know method {number} of class {class}").into()),
        }
        Ok(())
    }

    fn settle(&mut self, class: u16, number: u16, arguments: &[u8]) -> Result<(), Error> {
        let (tag, bit) = tag(arguments).ok_or("a settling frame was cut")?;
        // In basic.reject (90) the bit says requeue.
        let settled = self.ledger.settle(tag, bit && number != 90);
        self.fed.settled += settled.ok_or_else(|| format!("tag {tag} is not outstanding (method {class}.{number})"))?;
        self.fed.frames += 1;
        Ok(())
    }
}
