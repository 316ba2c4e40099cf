//! A RabbitMQ broker as one running app has it.

use super::Amqp;
use super::connection::Link;
use super::consumer;
use super::dial::{Config, Purpose};
use super::publisher::{self, PublisherTask};
use crate::backend::{Backend, Connect, Subscription};
use crate::error::Error;
use crate::meter::ConnectionMeter;
use crate::publish::{Publish, PublishError};
use crate::route::Protocol;
use crate::settings::Settings;
use crate::topology::Thing;
use async_trait::async_trait;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

impl Connect for Amqp {
    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    fn open(
        self: Box<Self>,
        app: &str,
        settings: &Settings,
        meter: &ConnectionMeter,
    ) -> Result<Arc<dyn Backend>, Error> {
        for endpoint in &self.endpoints {
            let host = &endpoint.host;
            if host.is_empty() || host.contains(['/', '@', ' ']) {
                return Err(Error::configuration(
                    "the host of an AMQP connection is not a host's name or address; a whole URI goes to `Amqp::from_uri`",
                ));
            }
            for risk in endpoint.risks() {
                tracing::warn!(broker = %endpoint, "{risk}");
            }
        }
        if self.prefetch == Some(0) {
            return Err(Error::configuration(
                "the prefetch of an AMQP connection is 0, which means no limit to RabbitMQ; it must be from 1 to 65535",
            ));
        }
        let (first, longest) = self.backoff;
        if first.is_zero() || first > longest {
            return Err(Error::configuration(
                "the backoff of an AMQP connection must be above 0, and its first pause no longer than its longest",
            ));
        }
        Ok(Arc::new(AmqpBackend {
            vhost: self.vhost.unwrap_or_else(|| settings.vhost.clone()),
            prefetch: self.prefetch.unwrap_or(settings.prefetch),
            config: Arc::new(Config {
                app: app.to_owned(),
                host: gethostname::gethostname().to_string_lossy().into_owned(),
                endpoints: self.endpoints,
                heartbeat: self.heartbeat.unwrap_or(settings.heartbeat),
                frame_max: self.frame_max,
                channel_max: self.channel_max,
                connect_timeout: self.connect_timeout.unwrap_or(Duration::from_secs(10)),
                backoff: self.backoff,
                look_every: self.look_every,
                ca_certificates: self.ca_certificates,
                identity: self.identity,
                on_connection_failure: self.on_connection_failure,
                meter: meter.clone(),
            }),
            open: Mutex::new(Some(Open::default())),
        }))
    }
}

/// The connections of a running app to one broker: made when they are first needed.
struct AmqpBackend {
    vhost: String,
    prefetch: u16,
    config: Arc<Config>,
    /// `None` once it is closed.
    open: Mutex<Option<Open>>,
}

#[derive(Default)]
struct Open {
    links: HashMap<(Purpose, Arc<str>), Arc<Link>>,
    publishers: HashMap<Arc<str>, PublisherTask>,
}

impl AmqpBackend {
    fn with_open<R>(&self, with: impl FnOnce(&mut Open) -> R) -> Option<R> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(with)
    }

    fn link(&self, open: &mut Open, purpose: Purpose, vhost: &Arc<str>) -> Arc<Link> {
        let link = open
            .links
            .entry((purpose, Arc::clone(vhost)))
            .or_insert_with(|| Arc::new(Link::start(Arc::clone(&self.config), purpose, Arc::clone(vhost))));
        Arc::clone(link)
    }
}

#[async_trait]
impl Backend for AmqpBackend {
    fn serves(&self, protocol: Protocol) -> bool {
        protocol == Protocol::Amqp
    }

    fn default_vhost(&self) -> &str {
        &self.vhost
    }

    fn default_prefetch(&self) -> u16 {
        self.prefetch
    }

    async fn declare(&self, vhost: Arc<str>, things: Vec<Thing>) -> Result<(), Error> {
        match self.with_open(|open| self.link(open, Purpose::Consume, &vhost)) {
            Some(link) => link.declare(things).await,
            None => Ok(()),
        }
    }

    fn consume(&self, subscription: Subscription) -> JoinHandle<()> {
        match self.with_open(|open| self.link(open, Purpose::Consume, &subscription.vhost)) {
            Some(link) => consumer::start(link, subscription),
            None => tokio::spawn(std::future::ready(())),
        }
    }

    async fn publish(&self, vhost: Arc<str>, publish: Publish) -> Result<(), PublishError> {
        let jobs = self.with_open(|open| {
            let link = self.link(open, Purpose::Publish, &vhost);
            open.publishers.entry(vhost).or_insert_with(|| PublisherTask::start(link)).jobs()
        });
        match jobs {
            Some(jobs) => publisher::publish(jobs, publish).await,
            None => Err(PublishError::closed()),
        }
    }

    async fn close(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Open { links, publishers }) = open else { return };
        // What is still to be published is told that the app is closing.
        drop(publishers);
        futures_util::future::join_all(links.values().map(|link| link.close())).await;
    }
}
