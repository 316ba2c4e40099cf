//! The wire: what passes between the socket and lapin, and what passes lapin by.
//!
//! lapin makes owned structures of each delivery, three frames at a time, clones its channel for each
//! frame and copies a body twice; each ack and each publish wakes a thread of its own. That is most of what a
//! message costs. It also ends the connection over a content header it cannot parse, which then comes again
//! for ever. So lapin gets a stream of ours for its socket, above TLS, and what comes or goes by the message
//! never reaches it: deliveries and settlements, publishes and their confirms. Handshake, channels,
//! consumers, topology, heartbeats and the closing of it all stay lapin's.
//!
//! ```text
//! socket -> task: read, walk  --- deliveries, a batch a read and channel --->  the route's inbox
//!                             --- confirms, likewise ----------------------->  the publisher
//!                             --- every other frame, whole -------- pipe --->  lapin
//! socket <- outgoing: one order  <--- settlements, by a Sender --------------  the engine
//!                                <--- publishes, by a Sender ----------------  the publisher
//!                                <--- every other frame ---------------------  lapin
//! ```
//!
//! # What it reads and writes
//!
//! ```text
//! frame      = type (8 bits) channel (16) size (32) payload (size octets) %xCE      all big-endian
//! type       = 1 method / 2 content header / 3 body / 8 heartbeat
//! method     = class (16) method (16) arguments
//! content    = method  content header  *body                         on one channel
//! basic.deliver  = class 60, method 60, consumer tag, delivery tag (64), redelivered (1 of 8 bits), exchange,
//!                  routing key; the names are short strings: length (8), octets
//! basic.return   = class 60, method 50, reply code (16), reply text, exchange, routing key
//! basic.ack, nack = class 60, method 80 / 120, tag (64), multiple (1 of 8 bits)
//! content header = class 60 (16) weight (16) body size (64) property list        see `properties`
//! ```
//!
//! Frames of different channels interleave; those of one content do not with others of their channel, but
//! for the channel's end, which drops what came of it. A body may be empty and then has no frame, or come in
//! any number of frames. Reads end anywhere. What is written is in `encode`.
//!
//! Taken out are deliveries on channels that are [registered](Wire::register) to consume, and confirms and
//! returned messages on channels that are registered to publish; nothing else: `basic.get-ok` has a content
//! too, which is lapin's. `channel.close` and `channel.close-ok` end a registration in each direction, before
//! the channel's number can be another's.
//!
//! # What is broken
//!
//! - A **message**: names that are not UTF-8, a property list that does not add up, tables deeper than 32.
//!   Its frames are in order, so it is handed over as [malformed](crate::message::Delivery::malformed); the
//!   engine rejects it, and neither lapin nor a handler sees it.
//! - A **frame**: larger than `frame_max`, without its end octet, of no known type, or where it has no place.
//!   From there on nothing can be told apart, so all of it goes to lapin as it is, and lapin closes the
//!   connection as AMQP asks. Deliveries that were not whole are dropped; they come again.
//!
//! A size never reserves more than a little: buffers grow by what has arrived. A large body is taken while its frame
//! comes, and read to its place; nothing of it is handed over before the frame has its end octet.
//!
//! # What is relied on in lapin
//!
//! Each has a test that fails when a newer version does otherwise (`tests/lapin.rs`, and those named here):
//!
//! - `Connection::connector` takes a runtime whose `Reactor::TcpStream` is ours, reads and writes that and
//!   nothing else, and neither registers nor connects by itself.
//! - What it writes are whole frames in order, after the protocol header, however they are cut.
//! - It keeps no ledger of tags and none of publishes: what is settled, published and confirmed past it, and
//!   frames of ours between its own, it does not miss.
//! - It answers `channel.close` by a frame, behind which it sends nothing on that channel.
//! - A heartbeat more than the broker sent does no harm, and counts as a sign of life.
//! - A consumer's stream ends by `basic.cancel-ok`, `basic.cancel` and `channel.close`.
//! - Without deliveries the stream yields nothing; one that comes past the reader it does yield.

mod confirm;
mod content;
mod encode;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod kit;
mod octets;
mod outgoing;
mod pipe;
mod properties;
mod pulse;
mod stream;
#[cfg(test)]
mod tests;
mod walk;

pub(super) use confirm::{Confirm, Returned, is_soft};
pub(super) use encode::{publish, settlement};
pub(super) use kit::runtime;
pub(super) use outgoing::Sender;
pub(super) use stream::Stream;

use crate::message::Origins;
use crate::worker::Signal;
use outgoing::Outgoing;
use std::sync::{Arc, Mutex, PoisonError};
use stream::{Read, Write};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The smallest `frame_max` of AMQP 0-9-1: frames up to here come before anything is agreed on.
const FRAME_MIN_SIZE: usize = 4096;

/// Where what comes on one channel goes.
#[derive(Debug, Clone)]
pub(super) enum Outlet {
    /// Deliveries, of a channel that consumes.
    Deliveries {
        origins: Origins,
        /// A larger body is not kept.
        max_body: usize,
        /// Unbounded in type and bounded in fact: by the channel's prefetch.
        inbox: mpsc::UnboundedSender<Signal>,
    },
    /// What the broker says of publishes, of a channel in confirm mode; as many as were ready. Bounded in
    /// fact by how many are under way.
    Confirms(mpsc::UnboundedSender<Vec<Confirm>>),
}

impl Outlet {
    /// How large a body may be to be kept. Of what was returned nobody looks at it.
    fn max_body(&self) -> usize {
        match self {
            Self::Deliveries { max_body, .. } => *max_body,
            Self::Confirms(_) => 0,
        }
    }
}

/// What passes on a connection past lapin.
#[derive(Clone)]
pub(super) struct Wire {
    frame_max: usize,
    outgoing: Outgoing,
    /// Outlets that the reading task has not seen yet.
    new: Arc<Mutex<Vec<(u16, Outlet)>>>,
    gone: CancellationToken,
}

impl Wire {
    /// Frames are at most so large; 0 leaves it to the broker.
    pub(super) fn new(frame_max: u32) -> Self {
        let frame_max = match usize::try_from(frame_max) {
            Ok(0) | Err(_) => usize::MAX,
            Ok(frame_max) => frame_max.max(FRAME_MIN_SIZE),
        };
        Self { frame_max, outgoing: Outgoing::default(), new: Arc::default(), gone: CancellationToken::new() }
    }

    /// Takes deliveries or confirms of the channel out from now on, and gives what sends on it; both until it
    /// closes. To be called before `basic.consume` or `confirm.select`: what comes before is lapin's.
    pub(super) fn register(&self, channel: u16, outlet: Outlet) -> Sender {
        self.new.lock().unwrap_or_else(PoisonError::into_inner).push((channel, outlet));
        self.outgoing.sender(channel)
    }

    /// Waits until lapin has let go of the socket, as it does when the connection ends, however it ends.
    ///
    /// Cancel safe.
    pub(super) async fn gone(&self) {
        self.gone.cancelled().await;
    }

    fn take_new(&self) -> Vec<(u16, Outlet)> {
        std::mem::take(&mut self.new.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A socket's two directions, which do not wait for each other.
pub(super) fn halves(socket: TcpStream) -> (Read, Write) {
    let (read, write) = socket.into_split();
    (Box::new(read), Box::new(write))
}

/// Two directions of what has one state, as TLS has.
pub(super) fn split(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> (Read, Write) {
    let (read, write) = tokio::io::split(stream);
    (Box::new(read), Box::new(write))
}
