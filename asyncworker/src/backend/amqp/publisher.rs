//! Publishing with confirms: one task a virtual host owns the channel, and everything is under way at
//! once.

use super::connection::{Link, Live, close_channel};
use super::wire::{self, Confirm, Outlet, Returned, Sender};
use crate::backend::report::Attempts;
use crate::error::{BoxError, one_line};
use crate::publish::{Place, Publish, PublishError, PublishErrorKind};
use lapin::options::ConfirmSelectOptions;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::Instrument;

/// Publishes that may be under way on a channel at once; more wait.
const WINDOW: usize = 1_000;
/// After so many octets others may have the way to the socket.
const TURN: usize = 256 * 1024;

/// A message on its way, and who waits for its confirm.
pub(super) struct Job {
    publish: Publish,
    confirmed: oneshot::Sender<Result<(), PublishError>>,
}

impl Job {
    fn place(&self) -> Place {
        Place { exchange: self.publish.exchange.clone(), routing_key: self.publish.routing_key.clone() }
    }

    /// Nobody may wait any more, and then the result is nobody's.
    fn end(self, result: Result<(), PublishError>) {
        let _ = self.confirmed.send(result);
    }
}

/// Hands a message over and waits for its confirm.
pub(super) async fn publish(jobs: mpsc::Sender<Job>, publish: Publish) -> Result<(), PublishError> {
    let (confirmed, confirm) = oneshot::channel();
    jobs.send(Job { publish, confirmed }).await.map_err(|_| PublishError::closed())?;
    confirm.await.map_err(|_| PublishError::closed())?
}

/// The task that owns the publishing channel of a virtual host; it ends when this is dropped.
pub(super) struct PublisherTask {
    jobs: mpsc::Sender<Job>,
    task: JoinHandle<()>,
}

impl PublisherTask {
    pub(super) fn start(link: Arc<Link>) -> Self {
        let (jobs, queue) = mpsc::channel(WINDOW);
        let attempts = Attempts::new(link.config().backoff);
        let ids = format!("{:x}-{:x}", std::process::id(), fastrand::u64(..));
        let publisher = Publisher { link, queue, attempts, waiting: VecDeque::new(), one_by_one: false, ids, next: 0 };
        let task = tokio::spawn(publisher.run().instrument(tracing::info_span!(parent: None, "publisher")));
        Self { jobs, task }
    }

    pub(super) fn jobs(&self) -> mpsc::Sender<Job> {
        self.jobs.clone()
    }
}

impl Drop for PublisherTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Publisher {
    link: Arc<Link>,
    queue: mpsc::Receiver<Job>,
    attempts: Attempts,
    /// To be sent, or sent again on a new channel, in order.
    waiting: VecDeque<Job>,
    /// After the broker closed the channel over one of several messages: they are sent again one at a
    /// time, so that the one at fault is known.
    one_by_one: bool,
    /// What the `message_id`s given here begin with.
    ids: String,
    next: u64,
}

/// A message that was sent and is not confirmed yet.
struct Sent {
    job: Job,
    /// The broker's words, when it was returned.
    returned: Option<String>,
}

/// What is under way on one channel.
struct Flight {
    sender: Sender,
    /// What the broker says of it.
    confirms: mpsc::UnboundedReceiver<Vec<Confirm>>,
    frame_max: usize,
    /// By tag: publishes on a channel are counted from 1.
    sent: BTreeMap<u64, Sent>,
    last: u64,
}

/// Why nothing more is published on a channel.
enum End {
    /// The broker closed the channel, over what was sent or not.
    Refused {
        code: u16,
        reason: String,
    },
    Lost,
}

impl Publisher {
    async fn run(mut self) {
        loop {
            if self.waiting.is_empty() {
                match self.queue.recv().await {
                    Some(job) => self.waiting.push_back(job),
                    None => return,
                }
            }
            let live = self.link.live().await;
            let cause = match Self::open(&live).await {
                Ok((channel, mut flight)) => {
                    let start = Instant::now();
                    let end = self.publish_on(&live, &mut flight).await;
                    self.attempts.worked_for(start.elapsed());
                    close_channel(&channel).await;
                    let Some(end) = end else { return };
                    self.give_up(end, flight)
                }
                Err(cause) => Some(cause),
            };
            self.waiting.retain(|job| !job.confirmed.is_closed());
            live.check();
            let Some(cause) = cause else { continue };
            if !live.over.is_cancelled() {
                let error = one_line(&*cause);
                if self.attempts.failed(&error).1 {
                    tracing::warn!(error, "cannot publish; trying again");
                }
                tokio::time::sleep(self.attempts.pause()).await;
            }
        }
    }

    async fn open(live: &Live) -> Result<(lapin::Channel, Flight), BoxError> {
        let channel = live.channel().await?;
        let (outlet, confirms) = mpsc::unbounded_channel();
        let sender = live.wire.register(channel.id(), Outlet::Confirms(outlet));
        live.reply("confirm.select", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        let frame_max = live.frame_max();
        Ok((channel, Flight { sender, confirms, frame_max, sent: BTreeMap::new(), last: 0 }))
    }

    /// Publishes until the channel or the connection is gone, or (nothing) nobody publishes any more.
    async fn publish_on(&mut self, live: &Live, flight: &mut Flight) -> Option<End> {
        loop {
            // No more than one window ahead: the others wait at the queue, where their deadlines take them away.
            while self.waiting.len() < WINDOW
                && let Ok(job) = self.queue.try_recv()
            {
                self.waiting.push_back(job);
            }
            let wants_room = self.send(flight);
            self.one_by_one &= !(self.waiting.is_empty() && flight.sent.is_empty());
            tokio::select! {
                confirms = flight.confirms.recv() => {
                    let Some(confirms) = confirms else {
                        // The reader has ended, so the connection has.
                        live.over.cancel();
                        return Some(End::Lost);
                    };
                    for confirm in confirms {
                        match confirm {
                            Confirm::Settled { tag, multiple, nack } => flight.settle(tag, multiple, nack),
                            Confirm::Returned(returned) => flight.returned(&returned),
                            Confirm::Closed { code, reason } => return Some(End::Refused { code, reason }),
                        }
                    }
                }
                job = self.queue.recv(), if self.waiting.is_empty() => {
                    self.waiting.push_back(job?);
                    // Confirms wake many that publish again. All of them have their turn first, so that
                    // their messages share a write.
                    tokio::task::yield_now().await;
                }
                () = flight.sender.room(), if wants_room => {}
                () = live.over.cancelled() => return Some(End::Lost),
            }
        }
    }

    fn may_send(&self, flight: &Flight) -> bool {
        flight.sent.len() < if self.one_by_one { 1 } else { WINDOW }
    }

    /// Sends what may be sent now. Gives whether more is to be sent as soon as there is room.
    fn send(&mut self, flight: &mut Flight) -> bool {
        while !self.waiting.is_empty() && self.may_send(flight) {
            if flight.sender.is_full() {
                return true;
            }
            let sender = flight.sender.clone();
            let sent = sender.send(|out| {
                let turn = out.len() + TURN;
                while out.len() < turn
                    && self.may_send(flight)
                    && let Some(job) = self.waiting.pop_front()
                {
                    self.append(job, flight, out);
                }
            });
            if sent.is_none() {
                // The channel has closed; why will be told, and room is of no use.
                return false;
            }
        }
        false
    }

    fn append(&mut self, mut job: Job, flight: &mut Flight, out: &mut Vec<u8>) {
        if job.confirmed.is_closed() {
            return;
        }
        if job.publish.mandatory && job.publish.properties.message_id.is_none() {
            // By this a returned message is known again.
            job.publish.properties.message_id = Some(format!("{}-{:x}", self.ids, self.next));
            self.next += 1;
        }
        match wire::publish(&job.publish, flight.sender.channel(), flight.frame_max, out) {
            Ok(()) => {
                flight.last += 1;
                flight.sent.insert(flight.last, Sent { job, returned: None });
            }
            Err(what) => {
                let text = format!("the message {} {what}", job.place());
                job.end(Err(PublishError::new(PublishErrorKind::Invalid, text)));
            }
        }
    }

    /// The channel is gone. Gives the cause, unless it was one message that was to blame and has been told so.
    fn give_up(&mut self, end: End, flight: Flight) -> Option<BoxError> {
        let (at_fault, reason) = match end {
            End::Refused { code, reason } => (wire::is_soft(code), reason),
            End::Lost => (false, "the connection was lost".to_owned()),
        };
        if at_fault && flight.sent.len() == 1 {
            for Sent { job, .. } in flight.sent.into_values() {
                let text = format!("the broker refused the message {}: {reason}", job.place());
                job.end(Err(PublishError::new(PublishErrorKind::Refused, text)));
            }
            return None;
        }
        self.one_by_one |= at_fault;
        // What was not confirmed goes first on the next channel, in its old order. It may have arrived: a
        // message twice is better than none.
        for Sent { job, .. } in flight.sent.into_values().rev() {
            self.waiting.push_front(job);
        }
        (!at_fault).then(|| reason.into())
    }
}

impl Flight {
    fn settle(&mut self, tag: u64, multiple: bool, nack: bool) {
        if !multiple {
            if let Some(sent) = self.sent.remove(&tag) {
                sent.end(nack);
            }
            return;
        }
        while let Some(first) = self.sent.first_entry()
            && *first.key() <= tag
        {
            first.remove().end(nack);
        }
    }

    /// A returned message belongs to the first one sent that looks like it: two of the same name to the
    /// same place share their fate anyway. The broker returns it before it confirms it.
    fn returned(&mut self, returned: &Returned) {
        let Returned { reply, message } = returned;
        let message_id = message.properties.get().and_then(|properties| properties.message_id.as_deref());
        let found = self.sent.values_mut().find(|sent| {
            let publish = &sent.job.publish;
            sent.returned.is_none()
                && publish.mandatory
                && message
                    .names
                    .as_ref()
                    .is_some_and(|names| names.are(publish.exchange.as_bytes(), publish.routing_key.as_bytes()))
                && publish.properties.message_id.as_deref() == message_id
        });
        match found {
            Some(sent) => sent.returned = Some(reply.clone()),
            None => tracing::error!("the broker returned a message that was not sent"),
        }
    }
}

impl Sent {
    fn end(self, nack: bool) {
        let Self { job, returned } = self;
        let result = match returned {
            Some(reply) => Err(PublishError::unroutable(&job.place(), &reply)),
            None if nack => {
                let text = format!("the broker refused the message {} (basic.nack)", job.place());
                Err(PublishError::new(PublishErrorKind::Refused, text))
            }
            None => Ok(()),
        };
        job.end(result);
    }
}
