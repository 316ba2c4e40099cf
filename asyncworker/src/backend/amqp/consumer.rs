//! A consumer of one queue, kept: a channel an epoch.

use super::connection::{Link, Live, close_channel};
use super::convert::{properties, short};
use super::report::Attempts;
use crate::backend::{Settler, Signal, Subscription};
use crate::error::{BoxError, one_line};
use crate::message::Delivery;
use crate::worker::Frame;
use futures_util::{FutureExt, StreamExt};
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, BasicRejectOptions,
};
use lapin::types::FieldTable;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::Instrument;

/// Numbers the channels of the process, so that no two epochs are alike.
static EPOCHS: AtomicU64 = AtomicU64::new(1);

pub(super) fn start(link: Arc<Link>, subscription: Subscription) -> JoinHandle<()> {
    let span = tracing::info_span!("consumer", queue = &*subscription.queue);
    let attempts = Attempts::new(link.config().backoff);
    let consumer = Consumer { link, subscription, attempts };
    tokio::spawn(consumer.run().instrument(span))
}

struct Consumer {
    link: Arc<Link>,
    subscription: Subscription,
    attempts: Attempts,
}

/// Why an epoch ended.
enum End {
    /// It was told to close.
    Closed,
    /// The broker or the network ended it.
    Lost(BoxError),
}

impl Consumer {
    async fn run(mut self) {
        let cancel = self.subscription.cancel.clone();
        let lane = self.subscription.lane;
        loop {
            let live = tokio::select! {
                live = self.link.live() => live,
                () = cancel.cancelled() => break,
            };
            let opened = tokio::select! {
                opened = self.open(&live) => opened,
                () = cancel.cancelled() => break,
            };
            let cause = match opened {
                Ok((channel, consumer)) => {
                    tracing::info!(failures = self.attempts.failures(), "consuming");
                    let start = Instant::now();
                    let end = self.epoch(&live, channel, consumer).await;
                    self.attempts.worked_for(start.elapsed());
                    match end {
                        End::Closed => break,
                        End::Lost(cause) => cause,
                    }
                }
                Err(cause) => cause,
            };
            // When the connection is gone its supervisor tells why and makes the pause.
            live.check();
            if cancel.is_cancelled() {
                break;
            }
            if !live.over.is_cancelled() {
                self.failed(&*cause);
                let again = async {
                    tokio::time::sleep(self.attempts.pause()).await;
                    self.link.declare_again(&live, &self.subscription.queue).await;
                };
                tokio::select! {
                    () = again => {}
                    () = cancel.cancelled() => break,
                }
            }
        }
        self.subscription.tell(Signal::Cancelled { lane });
    }

    fn failed(&mut self, cause: &(dyn std::error::Error + 'static)) {
        let error = one_line(cause);
        let (failures, news) = self.attempts.failed(&error);
        if news {
            tracing::warn!(error, failures, "the queue is not consumed; trying again");
        } else {
            tracing::debug!(error, failures, "the queue is not consumed; trying again");
        }
    }

    async fn open(&self, live: &Live) -> Result<(lapin::Channel, lapin::Consumer), BoxError> {
        let channel = live.channel().await?;
        let consumer = self.consume(live, &channel).await;
        if consumer.is_err() {
            close_channel(&channel).await;
        }
        Ok((channel, consumer?))
    }

    async fn consume(&self, live: &Live, channel: &lapin::Channel) -> Result<lapin::Consumer, BoxError> {
        let Subscription { queue, prefetch, .. } = &self.subscription;
        live.reply("basic.qos", channel.basic_qos(*prefetch, BasicQosOptions::default())).await?;
        let consume = channel.basic_consume(
            short(queue),
            short(&self.tag(channel.id())),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        live.reply("basic.consume", consume).await
    }

    /// A consumer tag that says who consumes: app, host, process, route, channel.
    fn tag(&self, channel: u16) -> String {
        let config = self.link.config();
        let (app, host, route) = (&config.app, &config.host, &self.subscription.route);
        format!("{app}@{host}:{}:{channel}:{route}", std::process::id())
    }

    /// Passes deliveries on until the channel's end.
    async fn epoch(&self, live: &Live, channel: lapin::Channel, consumer: lapin::Consumer) -> End {
        let Subscription { lane, prefetch, cancel, close, .. } = self.subscription.clone();
        let epoch = EPOCHS.fetch_add(1, Ordering::Relaxed);
        let settler = Arc::new(ChannelSettler { channel: channel.clone() });
        self.subscription.tell(Signal::Opened { lane, epoch, settler });

        let tag = consumer.tag();
        let mut chunks = consumer.ready_chunks(usize::from(prefetch));
        let mut cancelled = false;
        let mut ended = false;
        let end = loop {
            tokio::select! {
                chunk = chunks.next(), if !ended => match chunk {
                    Some(chunk) => {
                        if let Err(error) = self.pass_on(epoch, chunk) {
                            break End::Lost(error.into());
                        }
                    }
                    // The stream of a consumer that was told to cancel ends after its last delivery.
                    None if cancelled => {
                        ended = true;
                        self.subscription.tell(Signal::Cancelled { lane });
                    }
                    None => break End::Lost("the broker cancelled the consumer (its queue was deleted, or moved)".into()),
                },
                () = cancel.cancelled(), if !cancelled => {
                    cancelled = true;
                    let cancelling = channel.basic_cancel(tag.clone(), BasicCancelOptions::default());
                    if let Err(error) = live.reply("basic.cancel", cancelling).await {
                        break End::Lost(error);
                    }
                }
                () = close.cancelled() => break End::Closed,
                () = live.over.cancelled() => break End::Lost("the connection was lost".into()),
            }
        };
        self.subscription.tell(Signal::Lost { lane, epoch });
        // The stream is kept until the channel is closed: dropped before, lapin would cancel its consumer
        // on a closing channel, which can take the connection with it.
        close_channel(&channel).await;
        drop(chunks);
        end
    }

    fn pass_on(&self, epoch: u64, chunk: Vec<lapin::Result<lapin::message::Delivery>>) -> lapin::Result<()> {
        let Subscription { lane, queue, .. } = &self.subscription;
        let mut deliveries = Vec::with_capacity(chunk.len());
        let mut result = Ok(());
        for delivery in chunk {
            match delivery {
                Ok(delivery) => deliveries.push(Delivery {
                    lane: *lane,
                    epoch,
                    tag: delivery.delivery_tag,
                    queue: Arc::clone(queue),
                    exchange: delivery.exchange.as_str().into(),
                    routing_key: delivery.routing_key.as_str().into(),
                    redelivered: delivery.redelivered,
                    properties: properties(&delivery.properties),
                    body: delivery.data.into(),
                }),
                Err(error) => result = Err(error),
            }
        }
        if !deliveries.is_empty() {
            self.subscription.tell(Signal::Deliveries(deliveries));
        }
        result
    }
}

/// Settles on a channel.
struct ChannelSettler {
    channel: lapin::Channel,
}

impl Settler for ChannelSettler {
    /// Each call is polled once: that puts the frame into lapin's queue, in order. The rest of it only
    /// waits for the write, and whether the frame arrived the next epoch will show.
    fn settle(&self, frames: &[Frame]) {
        for frame in frames {
            let sent = match *frame {
                Frame::Ack { tag, multiple } => {
                    self.channel.basic_ack(tag, BasicAckOptions { multiple }).now_or_never()
                }
                Frame::Reject { tag, requeue } => {
                    self.channel.basic_reject(tag, BasicRejectOptions { requeue }).now_or_never()
                }
                Frame::Nack { tag } => {
                    self.channel.basic_nack(tag, BasicNackOptions { multiple: true, requeue: true }).now_or_never()
                }
            };
            if let Some(Err(error)) = sent {
                tracing::debug!(error = one_line(&error), "a channel is gone; its messages come again");
                return;
            }
        }
    }
}
