//! The broker in the process: the embedded default, and what tests use.

mod broker;
mod channel;
mod consumer;
mod dead_letter;
mod declare;
mod exchange;
mod history;
mod inspect;
mod message;
mod opened;
mod queue;

#[cfg(test)]
mod tests;

pub use message::MemoryMessage;

use crate::backend::Connection;
use crate::error::Error;
use crate::message::Properties;
use crate::publish::{Publish, PublishError};
use crate::settings::Settings;
use crate::topology::Declaration;
use broker::Broker;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

/// A broker in the process, for tests and for programs that need no other. A clone is the same broker.
///
/// It does to a worker what RabbitMQ does: delivery tags, prefetch, round-robin among consumers, requeue
/// to the original place, dead-lettering, exchanges, declarations that must fit what exists, and the error
/// that closes a channel over a tag that is not outstanding. A test keeps a clone: it pushes messages, makes
/// trouble ([`disconnect`](Self::disconnect), [`delete_queue`](Self::delete_queue)) and asks what became of
/// them. All waiting is in tokio's time, so a test with `start_paused` waits for nothing.
///
/// ```
/// use asyncworker::prelude::*;
///
/// async fn index(orders: Batch<Message>) -> Result<(), Failure> {
///     for order in &orders {
///         let _ = order.body();
///     }
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), asyncworker::Error> {
/// let broker = Memory::new();
/// let app = App::new().connect(broker.clone()).route(Route::amqp(["orders"]).handler(index)).start().await?;
///
/// broker.push("orders", &b"{"[..]);
/// broker.push("orders", &br#"{"id": 7}"#[..]);
///
/// assert_eq!(broker.settled("orders", 2).await, [Action::Reject, Action::Ack]);
/// app.shutdown().await
/// # }
/// ```
///
/// # Differences from RabbitMQ
///
/// - Nothing is kept on disk: durable and transient are compared when declared, and are otherwise alike.
/// - A push makes its queue where there is none, and a consumer where there never was one: durable and
///   classic, until it is declared for the first time, which then decides on its arguments. A queue that was
///   deleted is missing to its consumers, as in RabbitMQ. A virtual host exists from its first use; there are no users and no
///   permissions, and `user_id` is not checked.
/// - Consumers come back 100 ms after a loss, then after twice that up to 5 s, and without jitter.
///   Publishing knows no lost connection.
/// - Quorum queues are as in RabbitMQ 4 where versions differ: `x-delivery-count` counts what is rejected to be
///   requeued and what a lost or closed channel returns, not what a shutdown gives back (`basic.nack`; 3.x
///   counts that too), and what is requeued goes to its original place (3.x puts it at the end where the
///   queue has no `x-delivery-limit`). There is no default `x-delivery-limit` (4 has 20). Dead-lettering is
///   always "at most once".
/// - An exclusive queue is open to all connections and does not go with its own.
/// - A time to live of 0 always expires. Messages put back over `x-max-length` stay.
/// - Not imitated: `x-max-length-bytes`, `x-expires`, priorities, single active consumers, streams,
///   bindings between exchanges, the headers `CC` and `BCC`, policies, the header `x-last-death-*`,
///   alarms, and limits of any size.
#[derive(Clone)]
pub struct Memory {
    broker: Arc<Broker>,
    name: Option<String>,
    /// The virtual host where none is said, so that a push reaches the routes of an app that says none.
    settings_vhost: Arc<str>,
    vhost: Option<Arc<str>>,
    prefetch: Option<u16>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("name", &self.name)
            .field("vhost", &self.vhost)
            .field("prefetch", &self.prefetch)
            .finish_non_exhaustive()
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Memory> for Connection {
    fn from(memory: Memory) -> Self {
        Self(Box::new(memory))
    }
}

impl Memory {
    /// An empty broker.
    #[must_use]
    pub fn new() -> Self {
        // Settings that cannot be read are told by the start of the app.
        let vhost = Settings::from_env().unwrap_or_default().vhost;
        Self { broker: Arc::default(), name: None, settings_vhost: vhost.into(), vhost: None, prefetch: None }
    }

    /// The name that routes choose it by; needed where the app has several brokers, and to have events from it where the app
    /// has an `Sse`, too.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The virtual host of routes that name none, and of everything that is done by this handle. Default
    /// `ASYNCWORKER_AMQP_DEFAULT_VHOST`, else `/`.
    #[must_use]
    pub fn vhost(mut self, vhost: impl AsRef<str>) -> Self {
        self.vhost = Some(vhost.as_ref().into());
        self
    }

    /// Messages in flight a consumer, for routes that do not say. Default
    /// `ASYNCWORKER_AMQP_DEFAULT_PREFETCH_COUNT`, else 128; 0 is refused at start.
    #[must_use]
    pub fn prefetch(mut self, messages: u16) -> Self {
        self.prefetch = Some(messages);
        self
    }

    /// A handle to the same broker that does everything in another virtual host:
    /// `broker.in_vhost("fluentd").push("counts", "{}")`.
    #[must_use]
    pub fn in_vhost(&self, vhost: impl AsRef<str>) -> Self {
        self.clone().vhost(vhost)
    }

    /// Puts a message without properties into a queue, as a publish to the default exchange would. A
    /// queue that does not exist comes into being, for a test's convenience.
    pub fn push(&self, queue: &str, body: impl Into<Bytes>) {
        self.put(queue, &self.default_vhost(), Publish::raw(body).properties(Default::default()));
    }

    /// As [`push`](Self::push), with properties. The queue goes before the exchange and the routing key
    /// of `message`.
    pub fn push_message(&self, queue: &str, message: Publish) {
        let vhost = message.vhost.as_deref().map_or_else(|| self.default_vhost(), Into::into);
        self.put(queue, &vhost, message);
    }

    /// Puts an event into a path, for a route of events: what a server would send as these fields `event` and `data`,
    /// without an id. A path is a queue of that name, so all that asks after a queue asks after it, too.
    ///
    /// A requeued event comes again at once, where a connection to a server pauses.
    ///
    /// ```
    /// use asyncworker::prelude::*;
    ///
    /// async fn count(events: Batch<Event>) {
    ///     println!("{} events", events.len());
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asyncworker::Error> {
    /// let server = Memory::new();
    /// let app = App::new().connect(server.clone()).route(Route::sse(["/v2/events"]).handler(count)).start().await?;
    /// server.push_event("/v2/events", "created", r#"{"id": 7}"#);
    /// assert_eq!(server.settled("/v2/events", 1).await, [Action::Ack]);
    /// app.shutdown().await
    /// # }
    /// ```
    pub fn push_event(&self, path: &str, name: &str, data: impl Into<Bytes>) {
        self.put(path, &self.default_vhost(), Publish::raw(data).properties(Properties::of_event(name, None)));
    }

    fn put(&self, queue: &str, vhost: &str, message: Publish) {
        self.broker.with(|state| {
            let id = state.queue(vhost, queue);
            let content = state.direct(id, message.properties, message.body);
            if !state.put(id, content) {
                tracing::warn!(queue, vhost, "the queue is full and refuses a message");
            }
        });
    }

    /// Publishes a message as an app would: through its exchange, and only to what exists.
    ///
    /// # Errors
    /// No such exchange; no queue was reached and the message is mandatory; a full queue refused it.
    pub fn publish(&self, message: Publish) -> Result<(), PublishError> {
        let vhost = message.vhost.as_deref().map_or_else(|| self.default_vhost(), Into::into);
        self.broker.with(|state| state.publish(&vhost, message))
    }

    /// Declares a [`Queue`](crate::Queue), an [`Exchange`](crate::Exchange) or a
    /// [`Binding`](crate::Binding), as [`App::declare`](crate::App::declare) does.
    ///
    /// # Errors
    /// [`ErrorKind::Topology`](crate::ErrorKind::Topology), in RabbitMQ's words: what exists differs, or
    /// what is bound does not exist.
    pub fn declare(&self, thing: impl Into<Declaration>) -> Result<(), Error> {
        let Declaration { vhost, thing, .. } = thing.into();
        let vhost = vhost.map_or_else(|| self.default_vhost(), Into::into);
        self.broker.with(|state| state.declare(&vhost, &thing))
    }

    /// Deletes a queue with its messages and bindings. Its consumers are cancelled and try again, with a
    /// growing pause, until it is declared or pushed to. False where there is none.
    pub fn delete_queue(&self, queue: &str) -> bool {
        self.broker.with(|state| {
            let id = state.find(&self.default_vhost(), queue);
            id.inspect(|id| state.delete(*id)).is_some()
        })
    }

    /// Drops what is ready in a queue, and gives the number. What is delivered and not settled stays.
    pub fn purge(&self, queue: &str) -> usize {
        self.broker.with(|state| {
            let Some(id) = state.find(&self.default_vhost(), queue) else { return 0 };
            state.changed = true;
            state.queues[id].purge()
        })
    }

    /// Closes the connections of all consumers by force, in all virtual hosts. What is not settled goes
    /// back to its place at once, marked as redelivered; the consumers come back after a short pause.
    pub fn disconnect(&self) {
        self.broker.with(broker::State::disconnect);
    }

    fn default_vhost(&self) -> Arc<str> {
        self.vhost.as_ref().map_or_else(|| Arc::clone(&self.settings_vhost), Arc::clone)
    }
}
