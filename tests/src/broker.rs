//! The same questions to both brokers: what the behaviour tests are written against.

use crate::{Client, LIMIT, Relay, unique, until_async};
use asyncworker::{Amqp, App, Connection, HeaderValue, Memory, Publish, Queue};
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A broker to test with. A clone is the same one.
#[derive(Clone)]
pub struct Broker(Arc<Inner>);

struct Inner {
    test: String,
    kind: Kind,
    queues: Mutex<Vec<String>>,
}

enum Kind {
    Memory(Memory),
    /// The app connects by way of the relay, so that cutting it disturbs no other test.
    Rabbit {
        client: Client,
        relay: Relay,
    },
}

/// A message to push.
#[derive(Debug, Clone, Default)]
pub struct Envelope {
    pub body: String,
    pub headers: Vec<(&'static str, &'static str)>,
    pub correlation_id: &'static str,
    pub content_type: &'static str,
}

/// A message that was taken from a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub body: String,
    pub redelivered: bool,
    pub delivery_mode: Option<u8>,
    pub content_type: Option<String>,
    /// Headers that are text.
    pub headers: Vec<(String, String)>,
    pub death: Option<Death>,
}

/// The first entry of the header `x-death`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    pub queue: String,
    pub reason: String,
    pub count: i64,
}

impl Broker {
    pub fn memory(test: &str) -> Self {
        Self::of(test, Kind::Memory(Memory::new()))
    }

    pub async fn rabbitmq(test: &str) -> Self {
        Self::of(test, Kind::Rabbit { client: Client::connect().await, relay: Relay::start().await })
    }

    fn of(test: &str, kind: Kind) -> Self {
        Self(Arc::new(Inner { test: test.to_owned(), kind, queues: Mutex::default() }))
    }

    pub fn is_memory(&self) -> bool {
        matches!(self.0.kind, Kind::Memory(_))
    }

    /// A name that is this test's own.
    pub fn name(&self, base: &str) -> String {
        unique(&format!("{}.{base}", self.0.test))
    }

    /// A name for a queue that does not exist yet; it is deleted at the end.
    pub fn missing_queue(&self, base: &str) -> String {
        let name = self.name(base);
        self.0.queues.lock().unwrap().push(name.clone());
        name
    }

    /// A new durable queue.
    pub async fn queue(&self, base: &str) -> String {
        let name = self.missing_queue(base);
        self.declare(&name).await;
        name
    }

    /// A new durable queue and the one that its refused messages go to.
    pub async fn dead_lettering(&self, base: &str) -> (String, String) {
        let dead = self.queue(&format!("{base}.dead")).await;
        let name = self.missing_queue(base);
        match &self.0.kind {
            Kind::Memory(memory) => memory.declare(Queue::new(&name).dead_letter(&dead)).unwrap(),
            Kind::Rabbit { client, .. } => {
                let arguments = [("x-dead-letter-exchange", ""), ("x-dead-letter-routing-key", &*dead)];
                client.declare(&name, &arguments).await;
            }
        }
        (name, dead)
    }

    pub async fn declare(&self, queue: &str) {
        match &self.0.kind {
            Kind::Memory(memory) => memory.declare(Queue::new(queue)).unwrap(),
            Kind::Rabbit { client, .. } => client.declare(queue, &[]).await,
        }
    }

    pub async fn delete(&self, queue: &str) {
        match &self.0.kind {
            Kind::Memory(memory) => assert!(memory.delete_queue(queue)),
            Kind::Rabbit { client, .. } => client.delete(queue).await,
        }
    }

    /// What an app connects to.
    pub fn connection(&self) -> Connection {
        match &self.0.kind {
            Kind::Memory(memory) => memory.clone().into(),
            Kind::Rabbit { .. } => self.amqp().into(),
        }
    }

    /// As [`connection`](Self::connection), of RabbitMQ only, with short pauses.
    pub fn amqp(&self) -> Amqp {
        let Kind::Rabbit { relay, .. } = &self.0.kind else { panic!("this test is for RabbitMQ") };
        Amqp::from_uri(&relay.url()).unwrap().backoff(Duration::from_millis(50), Duration::from_millis(500))
    }

    pub fn relay(&self) -> &Relay {
        let Kind::Rabbit { relay, .. } = &self.0.kind else { panic!("this test is for RabbitMQ") };
        relay
    }

    pub fn client(&self) -> &Client {
        let Kind::Rabbit { client, .. } = &self.0.kind else { panic!("this test is for RabbitMQ") };
        client
    }

    /// An app of this test's name on this broker.
    pub fn app(&self) -> App {
        App::new().name(&self.0.test).connect(self.connection())
    }

    pub async fn push(&self, queue: &str, bodies: impl IntoIterator<Item = impl ToString>) {
        let bodies = bodies.into_iter().map(|body| body.to_string());
        match &self.0.kind {
            Kind::Memory(memory) => bodies.for_each(|body| memory.push(queue, body)),
            Kind::Rabbit { client, .. } => client.publish(queue, bodies).await,
        }
    }

    pub async fn push_envelope(&self, queue: &str, envelope: Envelope) {
        let Envelope { body, headers, correlation_id, content_type } = envelope;
        match &self.0.kind {
            Kind::Memory(memory) => {
                let message = Publish::raw(body).correlation_id(correlation_id).content_type(content_type);
                memory.push_message(
                    queue,
                    headers.into_iter().fold(message, |message, (name, value)| message.header(name, value)),
                );
            }
            Kind::Rabbit { client, .. } => {
                let mut table = FieldTable::default();
                for (name, value) in headers {
                    table.insert(name.into(), AMQPValue::LongString(value.into()));
                }
                let properties = BasicProperties::default()
                    .with_delivery_mode(2)
                    .with_headers(table)
                    .with_correlation_id(correlation_id.into())
                    .with_content_type(content_type.into());
                client.publish_with(queue, properties, [body]).await;
            }
        }
    }

    /// Messages that wait in a queue.
    pub async fn ready(&self, queue: &str) -> usize {
        match &self.0.kind {
            Kind::Memory(memory) => memory.ready(queue),
            Kind::Rabbit { client, .. } => client.ready(queue).await,
        }
    }

    /// Messages that were delivered and are not settled.
    pub async fn unsettled(&self, queue: &str) -> usize {
        match &self.0.kind {
            Kind::Memory(memory) => memory.unsettled(queue),
            Kind::Rabbit { .. } => crate::unsettled(queue).await,
        }
    }

    pub async fn until_ready(&self, queue: &str, messages: usize) {
        let what = format!("{messages} messages ready in {queue}");
        until_async(&what, LIMIT, || async { self.ready(queue).await == messages }).await;
    }

    /// Takes all that wait in a queue.
    pub async fn take(&self, queue: &str) -> Vec<Taken> {
        match &self.0.kind {
            Kind::Memory(memory) => {
                let taken = memory.messages(queue).into_iter().map(|message| Taken {
                    body: String::from_utf8_lossy(&message.body).into_owned(),
                    redelivered: message.redelivered,
                    delivery_mode: message.properties.delivery_mode,
                    content_type: message.properties.content_type,
                    headers: message
                        .properties
                        .headers
                        .iter()
                        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                        .collect(),
                    death: death_in_memory(message.properties.headers.get("x-death")),
                });
                let taken = taken.collect();
                memory.purge(queue);
                taken
            }
            Kind::Rabbit { client, .. } => client.take(queue).await,
        }
    }

    /// The bodies of all that wait in a queue, taken.
    pub async fn take_bodies(&self, queue: &str) -> Vec<String> {
        self.take(queue).await.into_iter().map(|taken| taken.body).collect()
    }

    /// Ends the app's connections, by force.
    pub fn disconnect(&self) {
        match &self.0.kind {
            Kind::Memory(memory) => memory.disconnect(),
            Kind::Rabbit { relay, .. } => relay.cut(),
        }
    }

    /// The same broker in a new virtual host of this name.
    pub async fn in_new_vhost(&self, vhost: &str) -> Self {
        match &self.0.kind {
            Kind::Memory(memory) => Self::of(&self.0.test, Kind::Memory(memory.in_vhost(vhost))),
            Kind::Rabbit { .. } => {
                crate::ctl(&["add_vhost", vhost]).await;
                crate::ctl(&["set_permissions", "-p", vhost, "guest", ".*", ".*", ".*"]).await;
                let client = Client::connect_to(&crate::url_to(&crate::broker_address(), &format!("/{vhost}"))).await;
                Self::of(&self.0.test, Kind::Rabbit { client, relay: Relay::start().await })
            }
        }
    }

    /// As [`clean`](Self::clean), and deletes the virtual host.
    pub async fn clean_vhost(self, vhost: &str) {
        let memory = self.is_memory();
        self.clean().await;
        if !memory {
            crate::ctl(&["delete_vhost", vhost]).await;
        }
    }

    /// Deletes what the test made, and checks that the broker never had to complain.
    pub async fn clean(self) {
        let queues = std::mem::take(&mut *self.0.queues.lock().unwrap());
        match &self.0.kind {
            Kind::Memory(memory) => assert_eq!(memory.channel_errors(), Vec::<String>::new()),
            Kind::Rabbit { client, .. } => {
                for queue in queues {
                    client.delete(&queue).await;
                }
                client.close().await;
            }
        }
    }
}

fn death_in_memory(header: Option<&HeaderValue>) -> Option<Death> {
    let HeaderValue::List(deaths) = header? else { return None };
    let HeaderValue::Table(death) = deaths.first()? else { return None };
    Some(Death {
        queue: death.get("queue")?.as_str()?.to_owned(),
        reason: death.get("reason")?.as_str()?.to_owned(),
        count: death.get("count")?.as_i64()?,
    })
}

impl From<Delivery> for Taken {
    fn from(delivery: Delivery) -> Self {
        let headers = delivery.properties.headers().clone().unwrap_or_default();
        let death = match headers.inner().get("x-death") {
            Some(AMQPValue::FieldArray(deaths)) => match deaths.as_slice().first() {
                Some(AMQPValue::FieldTable(death)) => Some(Death {
                    queue: text(death.inner().get("queue")).unwrap_or_default(),
                    reason: text(death.inner().get("reason")).unwrap_or_default(),
                    count: match death.inner().get("count") {
                        Some(AMQPValue::LongLongInt(count)) => *count,
                        _ => 0,
                    },
                }),
                _ => None,
            },
            _ => None,
        };
        let headers = headers.inner().iter().filter_map(|(name, value)| Some((name.to_string(), text(Some(value))?)));
        Self {
            body: String::from_utf8_lossy(&delivery.data).into_owned(),
            redelivered: delivery.redelivered,
            delivery_mode: *delivery.properties.delivery_mode(),
            content_type: delivery.properties.content_type().as_ref().map(ToString::to_string),
            headers: headers.collect(),
            death,
        }
    }
}

fn text(value: Option<&AMQPValue>) -> Option<String> {
    match value? {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}
