//! Queues, exchanges and bindings that the app declares when asked to.

use crate::message::HeaderValue;
use std::collections::BTreeMap;

/// Something to declare: what [`App::declare`](crate::App::declare) takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Declaration {
    pub(crate) connection: Option<String>,
    pub(crate) vhost: Option<String>,
    pub(crate) thing: Thing,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Thing {
    Queue(Queue),
    Exchange(Exchange),
    Binding(Binding),
}

impl Thing {
    /// The name of the queue, where it is one.
    pub(crate) fn queue_name(&self) -> Option<&str> {
        match self {
            Self::Queue(queue) => Some(&queue.name),
            Self::Exchange(_) | Self::Binding(_) => None,
        }
    }
}

impl Declaration {
    /// On the connection of this name. It may be left out where the app has only one.
    #[must_use]
    pub fn connection(mut self, name: impl Into<String>) -> Self {
        self.connection = Some(name.into());
        self
    }

    /// In this virtual host. Default: the connection's.
    #[must_use]
    pub fn vhost(mut self, vhost: impl Into<String>) -> Self {
        self.vhost = Some(vhost.into());
        self
    }
}

macro_rules! declaration_from {
    ($($thing:ident),*) => {
        $(
            impl From<$thing> for Declaration {
                fn from(thing: $thing) -> Self {
                    Self { connection: None, vhost: None, thing: Thing::$thing(thing) }
                }
            }

            impl $thing {
                /// On the connection of this name. It may be left out where the app has only one.
                #[must_use]
                pub fn connection(self, name: impl Into<String>) -> Declaration {
                    Declaration::from(self).connection(name)
                }

                /// In this virtual host. Default: the connection's.
                #[must_use]
                pub fn vhost(self, vhost: impl Into<String>) -> Declaration {
                    Declaration::from(self).vhost(vhost)
                }
            }
        )*
    };
}

declaration_from!(Queue, Exchange, Binding);

/// A queue to declare: durable and classic unless told otherwise.
///
/// ```
/// use asyncworker::prelude::*;
///
/// let app = App::new().declare(Queue::new("orders").quorum().dead_letter("orders.dead"));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    pub(crate) name: String,
    pub(crate) durable: bool,
    pub(crate) exclusive: bool,
    pub(crate) auto_delete: bool,
    pub(crate) arguments: BTreeMap<String, HeaderValue>,
    /// A queue of this name is declared too, unless it exists.
    pub(crate) dead_letter_queue: Option<String>,
}

impl Queue {
    /// A durable classic queue.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            durable: true,
            exclusive: false,
            auto_delete: false,
            arguments: BTreeMap::new(),
            dead_letter_queue: None,
        }
    }

    /// Replicated, with poison-message handling (`x-queue-type` `quorum`).
    #[must_use]
    pub fn quorum(self) -> Self {
        self.argument("x-queue-type", "quorum")
    }

    /// Refused messages go to this queue, by way of the default exchange. The queue is declared too,
    /// durable and of the same type, where none of that name exists and the app declares none: without it
    /// what is refused would be lost.
    #[must_use]
    pub fn dead_letter(mut self, queue: impl Into<String>) -> Self {
        let queue = queue.into();
        self.dead_letter_queue = Some(queue.clone());
        self.argument("x-dead-letter-exchange", "").argument("x-dead-letter-routing-key", queue)
    }

    /// Refused messages go to this exchange, with the routing key they had.
    #[must_use]
    pub fn dead_letter_exchange(self, exchange: impl Into<String>) -> Self {
        self.argument("x-dead-letter-exchange", exchange.into())
    }

    /// How often a message of a quorum queue may come back before it is dropped or dead-lettered. RabbitMQ 4 has a limit
    /// of 20 where none is given, and none for the argument `x-delivery-limit` of -1.
    #[must_use]
    pub fn delivery_limit(self, limit: u32) -> Self {
        self.argument("x-delivery-limit", limit)
    }

    /// How messages that come back again and again would be lost, where they would.
    ///
    /// Source: RabbitMQ, "Quorum Queues", Poison Message Handling.
    pub(crate) fn drops_what_comes_back(&self) -> Option<String> {
        let argument = |name| self.arguments.get(name);
        let quorum = argument("x-queue-type").and_then(HeaderValue::as_str) == Some("quorum");
        if !quorum || argument("x-dead-letter-exchange").is_some() {
            return None;
        }
        match argument("x-delivery-limit") {
            Some(HeaderValue::Int(..0)) => None,
            Some(HeaderValue::Int(limit)) => Some(format!("its delivery limit of {limit}")),
            _ => Some("the delivery limit that RabbitMQ 4 gives a quorum queue, 20".to_owned()),
        }
    }

    /// Does not survive a restart of the broker.
    #[must_use]
    pub fn transient(mut self) -> Self {
        self.durable = false;
        self
    }

    /// Seen by its own connection only, and gone with it.
    #[must_use]
    pub fn exclusive(mut self) -> Self {
        self.exclusive = true;
        self
    }

    /// Gone when its last consumer is.
    #[must_use]
    pub fn auto_delete(mut self) -> Self {
        self.auto_delete = true;
        self
    }

    /// Any argument that RabbitMQ knows (`x-max-length`, `x-message-ttl`, ..).
    #[must_use]
    pub fn argument(mut self, name: impl Into<String>, value: impl Into<HeaderValue>) -> Self {
        self.arguments.insert(name.into(), value.into());
        self
    }
}

/// An exchange to declare: durable unless told otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) durable: bool,
    pub(crate) auto_delete: bool,
    pub(crate) arguments: BTreeMap<String, HeaderValue>,
}

impl Exchange {
    /// An exchange of any type the broker knows.
    #[must_use]
    pub fn new(name: impl Into<String>, kind: impl Into<String>) -> Self {
        Self { name: name.into(), kind: kind.into(), durable: true, auto_delete: false, arguments: BTreeMap::new() }
    }

    /// Routes by the whole routing key.
    #[must_use]
    pub fn direct(name: impl Into<String>) -> Self {
        Self::new(name, "direct")
    }

    /// Routes to all that are bound.
    #[must_use]
    pub fn fanout(name: impl Into<String>) -> Self {
        Self::new(name, "fanout")
    }

    /// Routes by patterns over the words of the routing key (`*` one word, `#` any number).
    #[must_use]
    pub fn topic(name: impl Into<String>) -> Self {
        Self::new(name, "topic")
    }

    /// Does not survive a restart of the broker.
    #[must_use]
    pub fn transient(mut self) -> Self {
        self.durable = false;
        self
    }

    /// Gone when the last binding is.
    #[must_use]
    pub fn auto_delete(mut self) -> Self {
        self.auto_delete = true;
        self
    }

    /// Any argument that RabbitMQ knows (`alternate-exchange`, ..).
    #[must_use]
    pub fn argument(mut self, name: impl Into<String>, value: impl Into<HeaderValue>) -> Self {
        self.arguments.insert(name.into(), value.into());
        self
    }
}

/// A binding to declare: from an exchange to a queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    pub(crate) exchange: String,
    pub(crate) routing_key: String,
    pub(crate) queue: String,
    pub(crate) arguments: BTreeMap<String, HeaderValue>,
}

impl Binding {
    /// What is published to `exchange` with a routing key that fits goes to `queue`.
    #[must_use]
    pub fn new(exchange: impl Into<String>, routing_key: impl Into<String>, queue: impl Into<String>) -> Self {
        Self {
            exchange: exchange.into(),
            routing_key: routing_key.into(),
            queue: queue.into(),
            arguments: BTreeMap::new(),
        }
    }

    /// Any argument, as exchanges of type `headers` want them.
    #[must_use]
    pub fn argument(mut self, name: impl Into<String>, value: impl Into<HeaderValue>) -> Self {
        self.arguments.insert(name.into(), value.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_limit_without_a_dead_letter_exchange_is_known_to_drop_messages() {
        let queue = || Queue::new("orders").quorum();
        assert_eq!(queue().delivery_limit(3).drops_what_comes_back().as_deref(), Some("its delivery limit of 3"));
        assert!(queue().drops_what_comes_back().is_some_and(|limit| limit.contains("RabbitMQ 4")));
        let kept = [
            Queue::new("orders"),
            Queue::new("orders").delivery_limit(3), // means nothing to a classic queue
            queue().argument("x-delivery-limit", -1),
            queue().delivery_limit(3).dead_letter("orders.dead"),
            queue().dead_letter_exchange("dead"),
        ];
        for queue in kept {
            assert_eq!(queue.drops_what_comes_back(), None, "{queue:?}");
        }
    }
}
