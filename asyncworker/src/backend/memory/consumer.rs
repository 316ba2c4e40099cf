//! A consumer of one queue, kept: a channel an epoch.

use super::broker::Broker;
use super::channel::{Cause, Line};
use super::opened::Declared;
use crate::backend::Subscription;
use crate::worker::{Frame, Settler, Signal};
use std::sync::Arc;
use std::time::Duration;

/// The pause before a channel is opened again, doubled for each attempt that fails. Short, because the
/// broker is near and tests wait for it.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

pub(super) struct Consumer {
    pub(super) broker: Arc<Broker>,
    pub(super) declared: Declared,
    pub(super) subscription: Subscription,
}

/// Why an epoch ended.
enum End {
    Closed,
    Lost(Cause),
}

impl Consumer {
    /// Consumes until it is told to close; after a loss it begins again, unless it was cancelled.
    pub(super) async fn run(self) {
        let Subscription { lane, cancel, close, .. } = &self.subscription;
        let mut pause = SHORTEST_PAUSE;
        let mut reported = false;
        let mut told = false;
        while !close.is_cancelled() {
            if cancel.is_cancelled() {
                if !told {
                    self.subscription.tell(Signal::Cancelled { lane: *lane });
                }
                return close.cancelled().await;
            }
            match self.broker.with(|state| state.open(&self.subscription)) {
                Some((epoch, line)) => {
                    tracing::debug!(route = &*self.subscription.route, epoch, "consuming");
                    pause = SHORTEST_PAUSE;
                    reported = false;
                    match self.epoch(epoch, &line, &mut told).await {
                        End::Closed => return,
                        End::Lost(cause) => self.lost(epoch, &cause),
                    }
                }
                None if reported => {}
                None => {
                    let Subscription { queue, vhost, .. } = &self.subscription;
                    tracing::warn!(
                        "NOT_FOUND - no queue '{queue}' in vhost '{vhost}'; it is not consumed, trying again"
                    );
                    reported = true;
                }
            }
            tokio::select! {
                () = close.cancelled() => return,
                () = cancel.cancelled() => {}
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            }
        }
    }

    /// Passes deliveries on until the channel's end.
    async fn epoch(&self, epoch: u64, line: &Line, told: &mut bool) -> End {
        let Subscription { lane, cancel, close, .. } = &self.subscription;
        // Whatever ends this future, the end of its runtime included, gives the messages back.
        let _open = Open { broker: &self.broker, epoch };
        let settler = Arc::new(ChannelSettler { broker: Arc::clone(&self.broker), epoch });
        self.subscription.tell(Signal::Opened { lane: *lane, epoch, settler });
        loop {
            match self.broker.with(|state| state.take(epoch, &self.subscription)) {
                None => return End::Lost(line.lost.get().cloned().unwrap_or(Cause::Disconnected)),
                Some((_, deliveries)) if deliveries.is_empty() => {}
                Some((origin, deliveries)) => self.subscription.tell(Signal::deliveries(origin, deliveries)),
            }
            tokio::select! {
                biased;
                () = close.cancelled() => return End::Closed,
                () = cancel.cancelled(), if !*told => {
                    self.broker.with(|state| state.cancel(epoch));
                    *told = true;
                    self.subscription.tell(Signal::Cancelled { lane: *lane });
                }
                () = line.wake.notified() => {}
            }
        }
    }

    fn lost(&self, epoch: u64, cause: &Cause) {
        self.subscription.tell(Signal::Lost { lane: self.subscription.lane, epoch });
        tracing::warn!(%cause, "the queue is not consumed; trying again");
        if matches!(cause, Cause::Disconnected) {
            self.declared.again(&self.broker);
        }
    }
}

/// An open channel, closed when it is dropped.
struct Open<'broker> {
    broker: &'broker Arc<Broker>,
    epoch: u64,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.broker.with(|state| state.close(self.epoch, None));
    }
}

struct ChannelSettler {
    broker: Arc<Broker>,
    epoch: u64,
}

impl Settler for ChannelSettler {
    fn settle(&self, frames: &[Frame]) {
        self.broker.with(|state| state.settle(self.epoch, frames));
    }
}
