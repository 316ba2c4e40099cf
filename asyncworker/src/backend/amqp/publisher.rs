//! Publishing with confirms: one task a virtual host owns the channel, and everything is under way at
//! once.

use super::connection::{Link, Live, close_channel};
use super::convert::{basic_properties, short};
use super::report::Attempts;
use crate::error::{BoxError, one_line};
use crate::publish::{Place, Publish, PublishError, PublishErrorKind};
use futures_util::FutureExt;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Confirmation};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::Instrument;

/// Publishes that may be under way on a channel at once; more wait.
const WINDOW: usize = 1_000;

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

type Confirm = BoxFuture<'static, (u64, lapin::Result<Confirmation>)>;

/// What is under way on one channel.
#[derive(Default)]
struct Flight {
    sent: BTreeMap<u64, Sent>,
    confirms: FuturesUnordered<Confirm>,
    /// Why the channel is gone, once it is.
    lost: Option<lapin::Error>,
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
                Ok(channel) => {
                    let start = Instant::now();
                    let lost = self.publish_on(&live, &channel).await;
                    self.attempts.worked_for(start.elapsed());
                    close_channel(&channel).await;
                    lost
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

    async fn open(live: &Live) -> Result<lapin::Channel, BoxError> {
        let channel = live.channel().await?;
        live.reply("confirm.select", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(channel)
    }

    /// Publishes until the channel or the connection is gone. Gives the cause, unless it was the message
    /// that was to blame and has been told so.
    async fn publish_on(&mut self, live: &Live, channel: &lapin::Channel) -> Option<BoxError> {
        let mut flight = Flight::default();
        loop {
            while self.may_send(&flight)
                && let Some(job) = self.waiting.pop_front()
            {
                if !job.confirmed.is_closed() {
                    self.send(channel, job, &mut flight);
                }
            }
            self.one_by_one &= !(self.waiting.is_empty() && flight.sent.is_empty());
            tokio::select! {
                Some(confirm) = flight.confirms.next() => flight.settle(confirm),
                job = self.queue.recv(), if self.waiting.is_empty() && flight.sent.len() < WINDOW => match job {
                    Some(job) => self.waiting.push_back(job),
                    None => return None,
                },
                () = live.over.cancelled() => {
                    self.send_again(flight);
                    return Some("the connection was lost".into());
                }
            }
            if let Some(error) = flight.lost.take() {
                return self.give_up(error, flight);
            }
        }
    }

    fn may_send(&self, flight: &Flight) -> bool {
        flight.sent.len() < if self.one_by_one { 1 } else { WINDOW }
    }

    fn send(&mut self, channel: &lapin::Channel, mut job: Job, flight: &mut Flight) {
        let sequence = self.next;
        self.next += 1;
        if job.publish.mandatory && job.publish.properties.message_id.is_none() {
            // By this a returned message is known again.
            job.publish.properties.message_id = Some(format!("{}-{sequence:x}", self.ids));
        }
        let Publish { exchange, routing_key, body, properties, mandatory, .. } = &job.publish;
        let (exchange, routing_key, body) = (short(exchange), short(routing_key), body.clone());
        let properties: BasicProperties = basic_properties(properties);
        let options = BasicPublishOptions { mandatory: *mandatory, ..BasicPublishOptions::default() };
        let channel = channel.clone();
        let mut confirm: Confirm = Box::pin(async move {
            let confirm = match channel.basic_publish(exchange, routing_key, options, &body, properties).await {
                Ok(confirm) => confirm.await,
                Err(error) => Err(error),
            };
            (sequence, confirm)
        });
        // The first poll puts the frames into lapin's queue: so they leave in this order.
        let early = (&mut confirm).now_or_never();
        flight.sent.insert(sequence, Sent { job, returned: None });
        match early {
            Some(ended) => flight.confirms.push(Box::pin(std::future::ready(ended))),
            None => flight.confirms.push(confirm),
        }
    }

    /// The channel is gone with an error.
    fn give_up(&mut self, error: lapin::Error, flight: Flight) -> Option<BoxError> {
        let at_fault = error.is_amqp_soft_error();
        if at_fault && flight.sent.len() == 1 {
            for Sent { job, .. } in flight.sent.into_values() {
                let text = format!("the broker refused the message {}: {}", job.place(), one_line(&error));
                job.end(Err(PublishError::new(PublishErrorKind::Refused, text)));
            }
            return None;
        }
        self.one_by_one |= at_fault;
        self.send_again(flight);
        (!at_fault).then(|| error.into())
    }

    /// What was not confirmed goes first on the next channel, in its old order. It may have arrived: a
    /// message twice is better than none.
    fn send_again(&mut self, flight: Flight) {
        for Sent { job, .. } in flight.sent.into_values().rev() {
            self.waiting.push_front(job);
        }
    }
}

impl Flight {
    /// Settles a confirm and all others that are there already. lapin hands a returned message to
    /// whichever confirm comes next; so first all are taken, then the returned ones are put where they
    /// belong, then each is told.
    fn settle(&mut self, first: (u64, lapin::Result<Confirmation>)) {
        let mut confirmed = Vec::new();
        let mut returned = Vec::new();
        let mut next = Some(first);
        while let Some((sequence, confirm)) = next {
            match confirm {
                Ok(confirmation) => {
                    confirmed.push((sequence, confirmation.is_nack()));
                    returned.extend(confirmation.take_message());
                }
                Err(error) => self.lost = Some(error),
            }
            next = self.confirms.next().now_or_never().flatten();
        }
        for message in returned {
            self.returned(&message);
        }
        for (sequence, nack) in confirmed {
            let Some(Sent { job, returned }) = self.sent.remove(&sequence) else { continue };
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

    /// A returned message belongs to the first one sent that looks like it: two of the same name to the
    /// same place share their fate anyway.
    fn returned(&mut self, message: &BasicReturnMessage) {
        let found = self.sent.values_mut().find(|sent| {
            let publish = &sent.job.publish;
            sent.returned.is_none()
                && publish.mandatory
                && publish.exchange == message.delivery.exchange.as_str()
                && publish.routing_key == message.delivery.routing_key.as_str()
                && publish.properties.message_id.as_deref()
                    == message.delivery.properties.message_id().as_ref().map(|id| id.as_str())
        });
        match found {
            Some(sent) => sent.returned = Some(format!("{} {}", message.reply_code, message.reply_text)),
            None => tracing::error!("the broker returned a message that was not sent"),
        }
    }
}
