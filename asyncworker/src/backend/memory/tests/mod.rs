//! The broker in memory, told by the traits the engine uses; in `app`, by an app.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod app;
mod consuming;
mod settling;
mod topology;

use super::Memory;
use crate::backend::{Backend, Connection, Subscription};
use crate::message::{Delivery, Origin};
use crate::meter::Meters;
use crate::settings::Settings;
use crate::worker::{Frame, Progress, Settler, Signal};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

fn open(broker: &Memory) -> Arc<dyn Backend> {
    Connection::from(broker.clone()).0.open("test", &Settings::default(), &Meters::default().connection(None)).unwrap()
}

fn subscription(queue: &str, prefetch: u16) -> (Subscription, mpsc::UnboundedReceiver<Signal>) {
    let (outbox, inbox) = mpsc::unbounded_channel();
    let subscription = Subscription {
        route: "test".into(),
        lane: 3,
        vhost: "/".into(),
        queue: queue.into(),
        prefetch,
        max_body: usize::MAX,
        progress: Arc::new(Progress::new(4)),
        inbox: outbox,
        cancel: CancellationToken::new(),
        close: CancellationToken::new(),
    };
    (subscription, inbox)
}

/// The engine's end of a consumer.
struct Client {
    inbox: mpsc::UnboundedReceiver<Signal>,
    cancel: CancellationToken,
    close: CancellationToken,
    task: JoinHandle<()>,
    epoch: u64,
    /// Of the last deliveries.
    origin: Arc<Origin>,
    settler: Option<Arc<dyn Settler>>,
}

impl Client {
    /// Consumes, and waits until the channel is open.
    async fn consume(backend: &Arc<dyn Backend>, queue: &str, prefetch: u16) -> Self {
        let mut client = Self::start(backend, queue, prefetch);
        client.opened().await;
        client
    }

    fn start(backend: &Arc<dyn Backend>, queue: &str, prefetch: u16) -> Self {
        let (subscription, inbox) = subscription(queue, prefetch);
        let (cancel, close) = (subscription.cancel.clone(), subscription.close.clone());
        Self {
            inbox,
            cancel,
            close,
            task: backend.consume(subscription),
            epoch: 0,
            origin: Arc::default(),
            settler: None,
        }
    }

    async fn signal(&mut self) -> Signal {
        let signal = tokio::time::timeout(Duration::from_secs(60), self.inbox.recv()).await;
        signal.expect("a signal within a minute").expect("the consumer runs")
    }

    async fn opened(&mut self) -> u64 {
        match self.signal().await {
            Signal::Opened { lane: 3, epoch, settler } => {
                assert!(epoch > self.epoch);
                (self.epoch, self.settler) = (epoch, Some(settler));
                epoch
            }
            other => panic!("{}", name(&other)),
        }
    }

    /// One signal's deliveries.
    async fn deliveries(&mut self) -> Vec<Delivery> {
        match self.signal().await {
            Signal::Deliveries { origin, deliveries, .. } => {
                assert!(!deliveries.is_empty());
                assert_eq!((origin.lane, origin.epoch), (3, self.epoch));
                self.origin = origin;
                deliveries
            }
            other => panic!("{}", name(&other)),
        }
    }

    async fn bodies(&mut self) -> Vec<String> {
        bodies(&self.deliveries().await)
    }

    async fn lost(&mut self) {
        match self.signal().await {
            Signal::Lost { lane: 3, epoch } if epoch == self.epoch => {}
            other => panic!("{}", name(&other)),
        }
    }

    async fn cancelled(&mut self) {
        match self.signal().await {
            Signal::Cancelled { lane: 3 } => {}
            other => panic!("{}", name(&other)),
        }
    }

    /// Lets everything run that can, and finds that nothing was told.
    async fn quiet(&mut self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
        if let Ok(signal) = self.inbox.try_recv() {
            panic!("{}", name(&signal));
        }
    }

    fn settle(&self, frames: &[Frame]) {
        self.settler.as_ref().expect("an open channel").settle(frames);
    }

    fn ack(&self, tag: u64) {
        self.settle(&[Frame::Ack { tag, multiple: false }]);
    }

    fn ack_up_to(&self, tag: u64) {
        self.settle(&[Frame::Ack { tag, multiple: true }]);
    }

    fn reject(&self, tag: u64) {
        self.settle(&[Frame::Reject { tag, requeue: false }]);
    }

    fn requeue(&self, tag: u64) {
        self.settle(&[Frame::Reject { tag, requeue: true }]);
    }

    async fn end(self) {
        self.close.cancel();
        tokio::time::timeout(Duration::from_millis(1), self.task).await.expect("it ends at once").unwrap();
    }
}

fn name(signal: &Signal) -> String {
    match signal {
        Signal::Opened { epoch, .. } => format!("opened {epoch}"),
        Signal::Deliveries { deliveries, .. } => format!("deliveries {deliveries:?}"),
        Signal::Lost { epoch, .. } => format!("lost {epoch}"),
        #[cfg(feature = "sse")]
        Signal::Consumes { consumes, .. } => format!("consumes {consumes}"),
        Signal::Cancelled { .. } => "cancelled".into(),
    }
}

fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|delivery| String::from_utf8_lossy(&delivery.body).into_owned()).collect()
}

fn tags(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(|delivery| delivery.tag).collect()
}

fn push_all(broker: &Memory, queue: &str, bodies: &[&'static str]) {
    for body in bodies {
        broker.push(queue, *body);
    }
}

/// The bodies that wait in a queue.
fn waiting(broker: &Memory, queue: &str) -> Vec<String> {
    broker.messages(queue).iter().map(|message| String::from_utf8_lossy(&message.body).into_owned()).collect()
}
