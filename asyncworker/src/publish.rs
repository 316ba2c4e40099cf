//! Publishing: confirmed, persistent and mandatory unless told otherwise.

use crate::backend::{Connections, NamedBackend};
use crate::message::{HeaderValue, Properties};
use crate::meter::Began;
use crate::route::Protocol;
use bytes::Bytes;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How long a publish may take where it does not say.
const DEADLINE: Duration = Duration::from_secs(30);

/// What is wrong where nothing publishes.
pub(crate) const NO_CONNECTION: &str = "the app has no connection to publish over";

/// A message to publish.
///
/// Unless told otherwise it is persistent (`delivery_mode` 2) and mandatory: a message that reaches no
/// queue is an error and not a silent loss.
///
/// ```
/// use asyncworker::Publish;
///
/// # fn main() -> Result<(), asyncworker::PublishError> {
/// let receipt = Publish::json(&serde_json::json!({ "id": 7 }))?
///     .to("receipts")
///     .header("x-kind", "receipt");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a message is published by `Publisher::publish`, or by returning it from a handler"]
pub struct Publish {
    pub(crate) exchange: String,
    pub(crate) routing_key: String,
    pub(crate) body: Bytes,
    pub(crate) properties: Properties,
    pub(crate) mandatory: bool,
    pub(crate) connection: Option<String>,
    pub(crate) vhost: Option<String>,
    pub(crate) deadline: Duration,
}

impl Publish {
    /// A message with these bytes, which may be none.
    pub fn raw(body: impl Into<Bytes>) -> Self {
        Self {
            exchange: String::new(),
            routing_key: String::new(),
            body: body.into(),
            properties: Properties { delivery_mode: Some(2), ..Properties::default() },
            mandatory: true,
            connection: None,
            vhost: None,
            deadline: DEADLINE,
        }
    }

    /// A message with this value as JSON, and `content_type` `application/json`.
    ///
    /// # Errors
    /// [`PublishErrorKind::Invalid`]: the value cannot be written as JSON (a map whose keys are not
    /// strings, say).
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, PublishError> {
        let body = serde_json::to_vec(value).map_err(|error| {
            PublishError::new(PublishErrorKind::Invalid, format!("the value cannot be written as JSON: {error}"))
        })?;
        let mut publish = Self::raw(body);
        publish.properties.content_type = Some("application/json".into());
        Ok(publish)
    }

    /// To this queue, by way of the default exchange.
    pub fn to(self, queue: impl Into<String>) -> Self {
        self.exchange("").routing_key(queue)
    }

    /// To this exchange.
    pub fn exchange(mut self, exchange: impl Into<String>) -> Self {
        self.exchange = exchange.into();
        self
    }

    /// With this routing key.
    pub fn routing_key(mut self, routing_key: impl Into<String>) -> Self {
        self.routing_key = routing_key.into();
        self
    }

    /// Adds a header; the last value of a name wins.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<HeaderValue>) -> Self {
        self.properties.headers.insert(name.into(), value.into());
        self
    }

    /// Kept on disk by durable queues (`delivery_mode` 2); this is the default.
    pub fn persistent(mut self) -> Self {
        self.properties.delivery_mode = Some(2);
        self
    }

    /// Lost when the broker restarts (`delivery_mode` 1).
    pub fn transient(mut self) -> Self {
        self.properties.delivery_mode = Some(1);
        self
    }

    /// Whether it is an error when the message reaches no queue. Default `true`.
    pub fn mandatory(mut self, mandatory: bool) -> Self {
        self.mandatory = mandatory;
        self
    }

    /// The message's own name. Where it has none, a mandatory message is given one.
    pub fn message_id(mut self, id: impl Into<String>) -> Self {
        self.properties.message_id = Some(id.into());
        self
    }

    /// Which request it answers.
    pub fn correlation_id(mut self, id: impl Into<String>) -> Self {
        self.properties.correlation_id = Some(id.into());
        self
    }

    /// Where an answer is to go.
    pub fn reply_to(mut self, queue: impl Into<String>) -> Self {
        self.properties.reply_to = Some(queue.into());
        self
    }

    /// MIME type of the body.
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.properties.content_type = Some(content_type.into());
        self
    }

    /// 0 to 9, or as far as the queue's `x-max-priority` says.
    pub fn priority(mut self, priority: u8) -> Self {
        self.properties.priority = Some(priority);
        self
    }

    /// Time to live in a queue, in whole milliseconds.
    pub fn expiration(mut self, time_to_live: Duration) -> Self {
        self.properties.expiration = Some(time_to_live.as_millis().to_string());
        self
    }

    /// All properties at once, in place of those set so far.
    pub fn properties(mut self, properties: Properties) -> Self {
        self.properties = properties;
        self
    }

    /// Over the connection of this name. Default: the publisher's, which is that of the route.
    pub fn connection(mut self, name: impl Into<String>) -> Self {
        self.connection = Some(name.into());
        self
    }

    /// In this virtual host. Default: the publisher's, which is that of the route.
    pub fn vhost(mut self, vhost: impl Into<String>) -> Self {
        self.vhost = Some(vhost.into());
        self
    }

    /// How long it may take from the call to the confirm, reconnects and a blocked connection
    /// included. Default 30 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Checks what AMQP cannot carry.
    fn check(&self) -> Result<(), PublishError> {
        let names = [
            ("the exchange", Some(&self.exchange)),
            ("the routing key", Some(&self.routing_key)),
            ("content_type", self.properties.content_type.as_ref()),
            ("content_encoding", self.properties.content_encoding.as_ref()),
            ("correlation_id", self.properties.correlation_id.as_ref()),
            ("reply_to", self.properties.reply_to.as_ref()),
            ("expiration", self.properties.expiration.as_ref()),
            ("message_id", self.properties.message_id.as_ref()),
            ("kind", self.properties.kind.as_ref()),
            ("user_id", self.properties.user_id.as_ref()),
            ("app_id", self.properties.app_id.as_ref()),
        ];
        let headers = self.properties.headers.keys().map(|name| ("the name of a header", Some(name)));
        for (what, text) in names.into_iter().chain(headers) {
            if let Some(text) = text
                && text.len() > 255
            {
                let start: String = text.chars().take(20).collect();
                return Err(PublishError::new(
                    PublishErrorKind::Invalid,
                    format!("{what} ({start:?}..) is longer than 255 bytes (AMQP 0-9-1 short string)"),
                ));
            }
        }
        Ok(())
    }
}

/// Publishes messages, each confirmed by the broker. A clone is the same publisher.
///
/// It is an argument of a handler, or comes from [`Running::publisher`](crate::Running::publisher) or
/// [`Context::publisher`](crate::Context::publisher). Its connection is its own, apart from those that
/// consume, because RabbitMQ stops reading from connections that publish when memory or disk run short.
#[derive(Clone)]
pub struct Publisher {
    connections: Connections,
    /// `None` where no connection publishes.
    connection: Option<usize>,
    vhost: Option<Arc<str>>,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.own().and_then(|connection| connection.name.as_deref());
        f.debug_struct("Publisher").field("connection", &name).field("vhost", &self.vhost).finish_non_exhaustive()
    }
}

impl Publisher {
    /// On the first connection that publishes.
    pub(crate) fn new(connections: Connections) -> Self {
        let connection = connections.iter().position(|known| known.backend.serves(Protocol::Amqp));
        Self { connections, connection, vhost: None }
    }

    pub(crate) fn at(&self, connection: usize, vhost: &str) -> Self {
        Self { connections: Arc::clone(&self.connections), connection: Some(connection), vhost: Some(vhost.into()) }
    }

    /// Whether there is a connection that it publishes over where a message names none.
    pub(crate) fn has_connection(&self) -> bool {
        self.connection.is_some()
    }

    fn own(&self) -> Option<&NamedBackend> {
        self.connections.get(self.connection?)
    }

    /// Publishes a message and waits for the broker's confirm.
    ///
    /// A connection that is lost meanwhile is waited for, and the message sent again: so a message may
    /// arrive twice, and never silently not at all. Any number of publishes may be under way; their
    /// confirms are awaited side by side.
    ///
    /// # Errors
    /// See [`PublishErrorKind`].
    ///
    /// # Cancel safety
    /// Not cancel safe: when the future is dropped, the message may or may not be published.
    pub async fn publish(&self, publish: Publish) -> Result<(), PublishError> {
        #[cfg(feature = "otel")]
        {
            let mut publish = publish;
            let Some(span) = crate::otel::publish(&mut publish) else { return self.send(publish).await };
            let published = tracing::Instrument::instrument(self.send(publish), span.clone()).await;
            crate::otel::published(&span, &published);
            published
        }
        #[cfg(not(feature = "otel"))]
        self.send(publish).await
    }

    async fn send(&self, publish: Publish) -> Result<(), PublishError> {
        publish.check()?;
        let connection = match &publish.connection {
            None => self.own(),
            Some(name) => self.connections.iter().find(|known| known.name.as_ref() == Some(name)),
        };
        let connection = connection.filter(|known| known.backend.serves(Protocol::Amqp));
        let Some(connection) = connection else {
            let what = match &publish.connection {
                Some(name) => format!("the app has no connection named `{name}` to publish over"),
                None => NO_CONNECTION.into(),
            };
            return Err(PublishError::new(PublishErrorKind::Invalid, what));
        };
        let vhost: Arc<str> = match (&publish.vhost, &self.vhost) {
            (Some(vhost), _) => vhost.as_str().into(),
            (None, Some(vhost)) if publish.connection.is_none() => Arc::clone(vhost),
            (None, _) => connection.backend.default_vhost().into(),
        };
        let deadline = publish.deadline;
        let place = Place { exchange: publish.exchange.clone(), routing_key: publish.routing_key.clone() };
        let began = Began::now();
        let published = match tokio::time::timeout(deadline, connection.backend.publish(vhost, publish)).await {
            Ok(done) => done,
            Err(_) => Err(PublishError::new(
                PublishErrorKind::Deadline,
                format!(
                    "the message {place} was not confirmed within {deadline:?}; it may have been published all the same"
                ),
            )),
        };
        connection.meter.published(began, &published);
        published
    }

    /// Publishes several messages side by side and waits for all confirms.
    ///
    /// # Errors
    /// The first failure; the others may have been published all the same.
    ///
    /// # Cancel safety
    /// As [`publish`](Self::publish).
    pub async fn publish_all(&self, publishes: impl IntoIterator<Item = Publish>) -> Result<(), PublishError> {
        futures_util::future::try_join_all(publishes.into_iter().map(|publish| self.publish(publish))).await?;
        Ok(())
    }
}

/// Where a message was to go, for an error.
pub(crate) struct Place {
    pub(crate) exchange: String,
    pub(crate) routing_key: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.exchange.is_empty() {
            write!(f, "to queue `{}`", self.routing_key)
        } else {
            write!(f, "to exchange `{}` with routing key `{}`", self.exchange, self.routing_key)
        }
    }
}

/// Why a message was not published, or is not known to be.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct PublishError {
    kind: PublishErrorKind,
    message: String,
}

/// What a [`PublishError`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishErrorKind {
    /// It cannot be sent as it is: a name over 255 bytes, an unknown connection, a value that is not
    /// JSON. Nothing was sent.
    Invalid,
    /// It was mandatory and reached no queue.
    Unroutable,
    /// The broker refused it: `basic.nack` (a queue that is full and rejects), or an error that closed
    /// the channel (no such exchange, no right to write, larger than the broker takes).
    Refused,
    /// No confirm came in time. It may have been published all the same.
    Deadline,
    /// The app is stopping and publishes nothing any more.
    Closed,
}

impl PublishError {
    pub(crate) fn new(kind: PublishErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(crate) fn unroutable(place: &Place, reply: &str) -> Self {
        Self::new(PublishErrorKind::Unroutable, format!("the message {place} reached no queue: {reply}"))
    }

    pub(crate) fn closed() -> Self {
        Self::new(PublishErrorKind::Closed, "the app is stopping and publishes nothing any more")
    }

    /// What the error is about.
    #[must_use]
    pub fn kind(&self) -> PublishErrorKind {
        self.kind
    }

    /// Whether the message was mandatory and reached no queue.
    #[must_use]
    pub fn is_unroutable(&self) -> bool {
        self.kind == PublishErrorKind::Unroutable
    }
}
