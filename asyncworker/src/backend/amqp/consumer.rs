//! A consumer of one queue, kept: a channel an epoch.

use super::connection::{Link, Live, close_channel};
use super::convert::short;
use super::starved;
use super::wire::{self, Outlet};
use crate::backend::Subscription;
use crate::backend::report::Attempts;
use crate::error::{BoxError, one_line};
use crate::message::Origins;
use crate::worker::{Frame, Settler, Signal};
use futures_util::StreamExt;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use std::pin::pin;
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
        let Subscription { lane, cancel, close, .. } = self.subscription.clone();
        loop {
            let live = tokio::select! {
                live = self.link.live() => live,
                () = cancel.cancelled() => break,
            };
            let channel = tokio::select! {
                channel = live.channel() => channel,
                () = cancel.cancelled() => break,
            };
            let epoch = EPOCHS.fetch_add(1, Ordering::Relaxed);
            // From here on messages may come, before the answer to who has asked for them: handlers that run are
            // waited for, and what they say is settled, as with any consumer that is told to cancel.
            let opened = tokio::select! {
                opened = async { self.open(&live, channel?, epoch).await } => Some(opened),
                () = close.cancelled() => None,
            };
            let end = match opened {
                Some(Ok((channel, consumer))) => {
                    tracing::info!(failures = self.attempts.failures(), "consuming");
                    let start = Instant::now();
                    let end = self.epoch(&live, epoch, channel, consumer).await;
                    self.attempts.worked_for(start.elapsed());
                    end
                }
                Some(Err(cause)) => {
                    self.subscription.tell(Signal::Lost { lane, epoch });
                    End::Lost(cause)
                }
                // The channel's last handle is gone, and the engine drops what came.
                None => {
                    self.subscription.tell(Signal::Lost { lane, epoch });
                    End::Closed
                }
            };
            let cause = match end {
                End::Closed => break,
                End::Lost(cause) => cause,
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

    async fn open(
        &self,
        live: &Live,
        channel: lapin::Channel,
        epoch: u64,
    ) -> Result<(lapin::Channel, lapin::Consumer), BoxError> {
        // Deliveries go from the socket to the engine. The first may be there before the broker's answer
        // has come to lapin, so both ends of their way are ready before it is asked.
        let Subscription { lane, queue, max_body, inbox, .. } = &self.subscription;
        let outlet = Outlet::Deliveries {
            origins: Origins::new(*lane, epoch, Arc::clone(queue)),
            max_body: *max_body,
            inbox: inbox.clone(),
        };
        let settler = Arc::new(live.wire.register(channel.id(), outlet));
        self.subscription.tell(Signal::Opened { lane: *lane, epoch, settler });
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

    /// Waits for the channel's end. Its deliveries come by its outlet; lapin's stream only tells of the end.
    async fn epoch(&self, live: &Live, epoch: u64, channel: lapin::Channel, mut consumer: lapin::Consumer) -> End {
        let Subscription { lane, cancel, close, .. } = self.subscription.clone();

        let tag = consumer.tag();
        let mut starves = pin!(starved::starves(live, &self.subscription));
        let mut cancelled = false;
        let mut ended = false;
        let end = loop {
            tokio::select! {
                next = consumer.next(), if !ended => match next {
                    // Only past a frame that has no place where it came does the reader leave deliveries
                    // to lapin. They would never be settled.
                    Some(Ok(_)) => {
                        live.over.cancel();
                        break End::Lost("the broker sent frames out of order".into());
                    }
                    Some(Err(error)) => break End::Lost(error.into()),
                    // The stream of a consumer that was told to cancel ends after its last delivery, and
                    // lapin is told so after that delivery was handed over.
                    None if cancelled => {
                        ended = true;
                        self.subscription.tell(Signal::Cancelled { lane });
                    }
                    None => break End::Lost("the broker cancelled the consumer (its queue was deleted, or moved)".into()),
                },
                cause = &mut starves, if !cancelled => break End::Lost(cause),
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
        drop(consumer);
        end
    }
}

/// Frames of a channel that is gone are dropped; its messages come again.
impl Settler for wire::Sender {
    fn settle(&self, frames: &[Frame]) {
        self.send(|octets| {
            for frame in frames {
                wire::settlement(frame, self.channel(), octets);
            }
        });
    }
}
