//! A process's end of a bridge: what it says to the others, and what it makes of what they say.

use super::RoomBridge;
use super::outgoing::{Next, Outgoing};
use super::peers::{Peers, heartbeat};
use super::wire::{Change, Frame, Item, heard};
use crate::handler::Failure;
use crate::publish::{Publish, PublishError, Publisher};
use crate::room::Rooms;
use crate::service::{Service, ServiceContext};
use crate::throttle::{Throttle, warn_throttled};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

/// How long the last words of a process may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long it is waited for the queue to be declared, and bound, before it is asked after again: the first pause and the
/// longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

pub(crate) struct Link {
    rooms: Rooms,
    bridge: RoomBridge,
    /// This process, by a number that no other has.
    process: u64,
    outgoing: Arc<Outgoing>,
    /// Locked for a whole frame, so that no process expires while its frame is taken.
    peers: Mutex<Peers>,
    /// The number of the last frame of this process that has come back to it.
    returned: watch::Sender<u64>,
    failed: Throttle,
}

/// The queue of a process.
pub(super) fn queue_of(exchange: &str, process: u64) -> String {
    format!("{exchange}.{process:016x}")
}

impl Link {
    pub(super) fn new(rooms: Rooms, bridge: RoomBridge, process: u64) -> Self {
        let outgoing = Arc::new(Outgoing::new(process, bridge.capacity));
        // A quarter of what may wait for one of those here.
        let peers = Mutex::new(Peers::new(bridge.lease, rooms.capacity() / 4));
        Self { rooms, bridge, process, outgoing, peers, returned: watch::Sender::new(0), failed: Throttle::new() }
    }

    /// What another process says, or this one, whose frames come back to it.
    pub(super) async fn receive(&self, frame: Frame) {
        let Frame { process, number, version, items } = frame;
        if process == self.process {
            self.returned.send_replace(number);
            return;
        }
        let mut peers = self.peers.lock().await;
        let since = Instant::now();
        if !peers.admit(process, number) {
            return;
        }
        for item in items {
            match item {
                Item::Said { room, from, body, key } => {
                    let sent = heard(Some(&room), from, body, key);
                    let heard = self.rooms.lock().say(&room, None, &sent);
                    peers.pace(heard).await;
                }
                Item::Told { user, from, body, key } => {
                    let sent = heard(None, from, body, key);
                    let heard = self.rooms.lock().tell(&user, &sent);
                    peers.pace(heard).await;
                }
                Item::Changed { version, socket, change } => {
                    if peers.follows(process, version) {
                        self.change(&mut peers, process, [(socket, change)]).await;
                    }
                }
                Item::Members { version, sockets } => {
                    if peers.is_news(process, version) {
                        let changes = self.rooms.lock().difference(process, sockets);
                        self.change(&mut peers, process, changes).await;
                    }
                }
                Item::Ask => self.outgoing.answer(process),
                Item::Gone => {
                    peers.forget(process);
                    self.forget(&mut peers, process).await;
                }
            }
        }
        if peers.is_to_be_asked(process, version) {
            self.outgoing.ask(process);
        }
        peers.excuse(since);
    }

    async fn change(&self, peers: &mut Peers, process: u64, changes: impl IntoIterator<Item = (u64, Change)>) {
        for (socket, change) in changes {
            let heard = self.rooms.lock().apply(process, socket, change);
            peers.pace(heard).await;
        }
    }

    /// A process has gone: its members leave.
    async fn forget(&self, peers: &mut Peers, process: u64) {
        self.outgoing.forget(process);
        let sockets = self.rooms.lock().of_process(process);
        self.change(peers, process, sockets.into_iter().map(|socket| (socket, Change::Exited))).await;
    }

    /// Lets the members of processes leave that nothing was heard of within the lease. Never ends.
    async fn expire(&self) {
        let mut ticks = interval(heartbeat(self.bridge.lease));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let mut peers = self.peers.lock().await;
            let since = Instant::now();
            for process in peers.expired() {
                tracing::warn!(
                    exchange = self.bridge.exchange,
                    process = format_args!("{process:016x}"),
                    "nothing was heard of a process within {:?}; its members have left the rooms",
                    self.bridge.lease
                );
                self.forget(&mut peers, process).await;
            }
            peers.excuse(since);
        }
    }

    /// Says what there is to say, and that this process is there. Ends when it is told to stop and all is said.
    async fn send(&self, context: &ServiceContext) {
        let publisher = context.publisher();
        let reached = async {
            self.until_declared(&publisher).await;
            self.until_heard(&publisher).await;
        };
        tokio::select! {
            () = reached => {}
            () = context.told_to_stop() => return,
        }
        self.publish(&publisher, None, vec![Item::Ask]).await;
        self.publish(&publisher, None, vec![self.members()]).await;
        let mut silent_until = Instant::now() + heartbeat(self.bridge.lease);
        loop {
            let next = tokio::select! {
                biased;
                () = sleep_until(silent_until) => Next::Send(Vec::new()),
                next = self.outgoing.next() => next,
                () = context.told_to_stop() => break,
            };
            if matches!(next, Next::Send(_)) {
                silent_until = Instant::now() + heartbeat(self.bridge.lease);
            }
            self.follow(&publisher, next).await;
        }
        while let Some(next) = self.outgoing.try_next() {
            self.follow(&publisher, next).await;
        }
        self.publish(&publisher, None, vec![Item::Gone]).await;
    }

    async fn follow(&self, publisher: &Publisher, next: Next) {
        match next {
            Next::Ask(process) => self.publish(publisher, Some(process), vec![Item::Ask]).await,
            Next::Answer(process) => self.publish(publisher, Some(process), vec![self.members()]).await,
            Next::Send(items) => self.publish(publisher, None, items).await,
        }
    }

    fn members(&self) -> Item {
        let (version, sockets) = self.rooms.lock().snapshot();
        Item::Members { version, sockets }
    }

    /// Services start before queues are declared, and what is published to an exchange that is not there costs a channel;
    /// to a queue that is not, it comes back.
    async fn until_declared(&self, publisher: &Publisher) {
        let (mut pause, longest) = PAUSES;
        loop {
            match self.try_publish(publisher, Some(self.process), Vec::new(), true).await {
                Ok(()) => return,
                Err(error) if error.is_unroutable() => {}
                Err(error) => self.failed(&error),
            }
            sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// A queue is bound after it was declared. Told of this process any sooner, others could say what it never hears.
    async fn until_heard(&self, publisher: &Publisher) {
        let (mut pause, longest) = PAUSES;
        // Those up to here went to the queue itself.
        let (declared, mut returned) = (self.outgoing.number(), self.returned.subscribe());
        loop {
            self.publish(publisher, None, Vec::new()).await;
            if timeout(pause, returned.wait_for(|number| *number > declared)).await.is_ok() {
                return;
            }
            pause = (pause * 2).min(longest);
        }
    }

    /// Tells a process, or all. What cannot be sent in time is dropped: it is of no use later. One frame at a time is under
    /// way, so that they keep their order; what is said meanwhile gathers for the next.
    async fn publish(&self, publisher: &Publisher, to: Option<u64>, items: Vec<Item>) {
        let count = items.len();
        if let Err(error) = self.try_publish(publisher, to, items, false).await {
            self.outgoing.lost(count);
            self.failed(&error);
        }
    }

    async fn try_publish(
        &self,
        publisher: &Publisher,
        to: Option<u64>,
        items: Vec<Item>,
        mandatory: bool,
    ) -> Result<(), PublishError> {
        let mut publish = Publish::json(&self.outgoing.frame(items))?;
        publish = match to {
            Some(process) => publish.to(queue_of(&self.bridge.exchange, process)),
            None => publish.exchange(&self.bridge.exchange),
        };
        (publish.connection, publish.vhost) = (self.bridge.connection.clone(), self.bridge.vhost.clone());
        publisher.publish(publish.transient().mandatory(mandatory).deadline(self.bridge.lease)).await
    }

    fn failed(&self, error: &PublishError) {
        warn_throttled!(self.failed, exchange = self.bridge.exchange, %error, "the bridge of the rooms cannot be told something");
    }
}

/// While it runs, the rooms are bridged.
pub(crate) struct LinkService(pub(super) Arc<Link>);

/// Undone when it is dropped, whatever ends the run.
struct Attached<'link>(&'link Link);

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        self.0.rooms.lock().detach();
    }
}

#[async_trait]
impl Service for LinkService {
    async fn run(&self, context: ServiceContext) -> Result<(), Failure> {
        let link = &*self.0;
        link.peers.lock().await.clear();
        if !link.rooms.lock().attach(&link.outgoing) {
            return Err(Failure::new("these rooms are bridged by another app already"));
        }
        let _attached = Attached(link);
        context.ready();
        let late = async {
            context.told_to_stop().await;
            sleep(FAREWELL).await;
        };
        tokio::select! {
            () = link.send(&context) => {}
            () = link.expire() => {}
            () = late => tracing::debug!("the bridge of the rooms could not say that this process goes"),
        }
        Ok(())
    }

    fn depth(&self) -> Option<usize> {
        Some(self.0.outgoing.waiting())
    }
}
