//! Rooms that span processes: a fanout exchange, and a queue of its own for each process.

mod link;
mod outgoing;
mod peers;
#[cfg(test)]
mod tests;
mod wire;

pub(super) use outgoing::Outgoing;
pub(super) use wire::{Change, Member, Parcel};

use super::Rooms;
use crate::error::Error;
use crate::handler::Body;
use crate::route::{Action, Route, RouteOptions};
use crate::service::Supervised;
use crate::topology::{Binding, Declaration, Exchange, Queue};
use link::{Link, LinkService};
use std::sync::Arc;
use std::time::Duration;
use wire::Frame;

/// Frames of others that wait in the broker for a process that does not keep up. The oldest are dropped.
const FRAMES: u32 = 10_000;
const OCTETS: u32 = 64 * 1024 * 1024;
/// Frames on their way to this process.
const PREFETCH: u16 = 32;
/// What AMQP leaves for a name.
const LONGEST_NAME: usize = 255;

/// How the rooms of several processes are one: [`App::bridge_rooms`](crate::App::bridge_rooms).
///
/// ```
/// use asyncworker::prelude::*;
/// use asyncworker::{RoomBridge, Rooms};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), asyncworker::Error> {
/// let amqp = Amqp::from_uri("amqp://guest:guest@127.0.0.1:5672")?;
/// let app = App::new()
///     .connect(amqp)
///     .state(Rooms::new())
///     .bridge_rooms(RoomBridge::new("chat").lease(Duration::from_secs(30)));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct RoomBridge {
    exchange: String,
    connection: Option<String>,
    vhost: Option<String>,
    lease: Duration,
    capacity: usize,
}

impl From<&str> for RoomBridge {
    fn from(exchange: &str) -> Self {
        Self::new(exchange)
    }
}

impl From<String> for RoomBridge {
    fn from(exchange: String) -> Self {
        Self::new(exchange)
    }
}

impl RoomBridge {
    /// Over the exchange of this name, which is declared as a durable `fanout`. All processes that name it share their
    /// rooms.
    #[must_use]
    pub fn new(exchange: impl Into<String>) -> Self {
        Self {
            exchange: exchange.into(),
            connection: None,
            vhost: None,
            lease: Duration::from_secs(15),
            capacity: 1_024,
        }
    }

    /// Over the connection of this name. It may be left out where the app has only one for queues.
    #[must_use]
    pub fn connection(mut self, name: impl Into<String>) -> Self {
        self.connection = Some(name.into());
        self
    }

    /// In this virtual host. Default: the connection's.
    #[must_use]
    pub fn vhost(mut self, vhost: impl Into<String>) -> Self {
        self.vhost = Some(vhost.into());
        self
    }

    /// After how long without a word from a process its members have left here; each process says something at least
    /// three times as often. It is looked for as often, so it may take a third more. The same for all processes, at least
    /// 30 ms. Default 15 s.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How many messages may wait to be sent, with who comes and leaves; at least one. Where there are more, the oldest are
    /// dropped: [`Rooms::bridge_dropped`]. Default 1,024.
    #[must_use]
    pub fn queue(mut self, messages: usize) -> Self {
        self.capacity = messages.max(1);
        self
    }

    /// What an app is made of to have these rooms bridged.
    ///
    /// # Errors
    /// Names the option that is wrong.
    pub(crate) fn parts(self, rooms: &Rooms) -> Result<Parts, Error> {
        let Self { exchange, connection, vhost, lease, .. } = &self;
        let refuse = |what: &str| Err(Error::configuration(format!("the bridge of the rooms: {what}")));
        if exchange.is_empty() {
            return refuse("its exchange has no name");
        }
        if *lease < Duration::from_millis(30) {
            return refuse("its lease is below 30 ms, within which no process could be heard of");
        }
        if rooms.lock().bridge().is_some() {
            return refuse("these rooms are bridged by another app already; give each app `Rooms` of its own");
        }
        // 0 are the sockets here.
        let process = fastrand::u64(1..);
        let queue = link::queue_of(exchange, process);
        if queue.len() > LONGEST_NAME {
            return refuse("the name of its exchange is too long to name a queue by (AMQP has 255 bytes)");
        }
        let things: [Declaration; 3] = [
            Exchange::fanout(exchange).into(),
            // Only for as long as this process has its connection, and never fuller than this.
            Queue::new(&queue)
                .transient()
                .exclusive()
                .auto_delete()
                .argument("x-max-length", FRAMES)
                .argument("x-max-length-bytes", OCTETS)
                .into(),
            Binding::new(exchange, "", &queue).into(),
        ];
        let declarations =
            things.map(|thing| Declaration { connection: connection.clone(), vhost: vhost.clone(), ..thing });
        let name = format!("rooms over {exchange}");
        let mut route = Route::amqp([queue]).name(&name);
        route.internal = true;
        (route.connection, route.vhost) = (connection.clone(), vhost.clone());
        let link = Arc::new(Link::new(rooms.clone(), self, process));
        let receiver = Arc::clone(&link);
        // One after the other, in the order they came; what fails is not tried again.
        let options = RouteOptions::new().concurrency(1).prefetch(PREFETCH).on_exception(Action::Reject);
        let route = route.options(options).handler(move |Body(frame): Body<Frame>| {
            let link = Arc::clone(&receiver);
            async move { link.receive(frame).await }
        });
        let service = Supervised::new(LinkService(link)).name(name).private();
        Ok(Parts { declarations, route, service })
    }
}

/// What a bridge is made of.
pub(crate) struct Parts {
    pub(crate) declarations: [Declaration; 3],
    /// Takes what others say.
    pub(crate) route: Route,
    /// Says what is said here.
    pub(crate) service: Supervised<LinkService>,
}
