//! The broker in memory as one running app has it.

use super::Memory;
use super::broker::Broker;
use super::consumer::Consumer;
use crate::backend::{Backend, Connect, Subscription};
use crate::error::Error;
use crate::meter::{Connected, ConnectionMeter};
use crate::publish::{Publish, PublishError};
use crate::route::Protocol;
use crate::settings::Settings;
use crate::topology::Thing;
use async_trait::async_trait;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::JoinHandle;
use tracing::Instrument;

impl Connect for Memory {
    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    fn open(
        self: Box<Self>,
        _app: &str,
        settings: &Settings,
        meter: &ConnectionMeter,
    ) -> Result<Arc<dyn Backend>, Error> {
        Ok(Arc::new(Opened {
            vhost: self.vhost.unwrap_or_else(|| settings.vhost.as_str().into()),
            prefetch: self.prefetch.unwrap_or(settings.prefetch),
            broker: self.broker,
            declared: Declared::default(),
            open: Mutex::new(Some(meter.connected(false))),
        }))
    }
}

/// A broker may serve several apps, one after the other or at once; what is closed is theirs.
struct Opened {
    broker: Arc<Broker>,
    vhost: Arc<str>,
    prefetch: u16,
    declared: Declared,
    /// Nothing once it is closed.
    open: Mutex<Option<Connected>>,
}

#[async_trait]
impl Backend for Opened {
    fn serves(&self, protocol: Protocol) -> bool {
        match protocol {
            // A path is a queue of that name.
            Protocol::Amqp | Protocol::Sse => true,
        }
    }

    fn default_vhost(&self) -> &str {
        &self.vhost
    }

    fn default_prefetch(&self) -> u16 {
        self.prefetch
    }

    async fn declare(&self, vhost: Arc<str>, things: Vec<Thing>) -> Result<(), Error> {
        self.broker.with(|state| things.iter().try_for_each(|thing| state.declare(&vhost, thing)))?;
        self.declared.keep(vhost, things);
        Ok(())
    }

    fn consume(&self, subscription: Subscription) -> JoinHandle<()> {
        let span = tracing::info_span!("consumer", queue = &*subscription.queue);
        let consumer = Consumer { broker: Arc::clone(&self.broker), declared: self.declared.clone(), subscription };
        tokio::spawn(consumer.run().instrument(span))
    }

    async fn publish(&self, vhost: Arc<str>, publish: Publish) -> Result<(), PublishError> {
        if self.open.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            return Err(PublishError::closed());
        }
        self.broker.with(|state| state.publish(&vhost, publish))
    }

    async fn close(&self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// What the app declares in each epoch of its connection, and in which virtual host.
#[derive(Clone, Default)]
pub(super) struct Declared(Arc<Mutex<Vec<In>>>);

type In = (Arc<str>, Vec<Thing>);

impl Declared {
    fn keep(&self, vhost: Arc<str>, things: Vec<Thing>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((vhost, things));
    }

    /// Declares it again, now that the connection was lost.
    pub(super) fn again(&self, broker: &Arc<Broker>) {
        let declared = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (vhost, things) in &declared {
            for thing in things {
                if let Err(error) = broker.with(|state| state.declare(vhost, thing)) {
                    tracing::error!(%error, "what the app declares does not fit the broker any more");
                }
            }
        }
    }
}
