//! Declaring: what is new is made, what exists must be the same.

use super::broker::State;
use super::exchange::Exchange;
use super::queue::Policy;
use crate::error::{Error, ErrorKind};
use crate::message::{HeaderValue, Headers};
use crate::topology::{self, Binding, Thing};

/// The arguments that RabbitMQ wants as whole numbers, not below zero.
const NUMBERS: [&str; 5] = ["x-expires", "x-max-length", "x-max-length-bytes", "x-max-priority", "x-message-ttl"];

/// The arguments that must be the same when a queue is declared again, by what RabbitMQ 3.10 does; it takes
/// no notice of others.
const COMPARED: [&str; 9] = [
    "x-queue-type",
    "x-expires",
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-length",
    "x-max-length-bytes",
    "x-overflow",
    "x-single-active-consumer",
];
const COMPARED_CLASSIC: [&str; 3] = ["x-max-priority", "x-queue-mode", "x-queue-version"];
const COMPARED_QUORUM: [&str; 6] = [
    "x-dead-letter-strategy",
    "x-delivery-limit",
    "x-max-in-memory-bytes",
    "x-max-in-memory-length",
    "x-queue-leader-locator",
    "x-quorum-initial-group-size",
];

impl State {
    pub(super) fn declare(&mut self, vhost: &str, thing: &Thing) -> Result<(), Error> {
        let (what, declared) = match thing {
            Thing::Queue(queue) => (format!("queue `{}`", queue.name), self.declare_queue(vhost, queue)),
            Thing::Exchange(exchange) => {
                (format!("exchange `{}`", exchange.name), self.declare_exchange(vhost, exchange))
            }
            Thing::Binding(binding) => {
                let Binding { queue, exchange, .. } = binding;
                (format!("binding of queue `{queue}` to exchange `{exchange}`"), self.bind(vhost, binding))
            }
        };
        declared
            .map_err(|why| Error::new(ErrorKind::Topology, format!("the {what} cannot be declared as asked: {why}")))
    }

    fn declare_queue(&mut self, vhost: &str, queue: &topology::Queue) -> Result<(), String> {
        if let Some(name) = &queue.dead_letter_queue
            && self.find(vhost, name).is_none()
        {
            let dead_letters = topology::Queue::new(name);
            self.declare_queue(vhost, &if is_quorum(queue) { dead_letters.quorum() } else { dead_letters })?;
        }
        let what = format!("queue '{}' in vhost '{vhost}'", queue.name);
        if queue.name.is_empty() {
            return Err("the broker in memory does not make up names for queues".into());
        }
        if queue.name.starts_with("amq.") {
            let name = &queue.name;
            return Err(format!("ACCESS_REFUSED - queue name '{name}' contains reserved prefix 'amq.*'"));
        }
        if let Some(id) = self.find(vhost, &queue.name)
            && let Some(current) = &self.queues[id].declared
        {
            return same_queue(current, queue, &what);
        }
        possible(queue, &what)?;
        let id = self.queue(vhost, &queue.name);
        self.queues[id].declare(queue.clone());
        Ok(())
    }

    fn declare_exchange(&mut self, vhost: &str, exchange: &topology::Exchange) -> Result<(), String> {
        let topology::Exchange { name, kind, durable, auto_delete, arguments } = exchange;
        if name.is_empty() {
            return Err("ACCESS_REFUSED - operation not permitted on the default exchange".into());
        }
        let what = format!("exchange '{name}' in vhost '{vhost}'");
        if let Some(current) = self.vhost(vhost).exchanges.get(name) {
            let current = &current.declared;
            same("type", kind, &current.kind, &what)?;
            same("durable", durable, &current.durable, &what)?;
            same("auto_delete", auto_delete, &current.auto_delete, &what)?;
            return same_argument("alternate-exchange", arguments, &current.arguments, &what);
        }
        if name.starts_with("amq.") {
            return Err(format!("ACCESS_REFUSED - exchange name '{name}' contains reserved prefix 'amq.*'"));
        }
        let Some(made) = Exchange::new(exchange.clone()) else {
            return Err(format!("COMMAND_INVALID - unknown exchange type '{kind}'"));
        };
        self.vhost(vhost).exchanges.insert(name.clone(), made);
        Ok(())
    }

    fn bind(&mut self, vhost: &str, binding: &Binding) -> Result<(), String> {
        let Binding { exchange, routing_key, queue, arguments } = binding;
        if exchange.is_empty() {
            return Err("ACCESS_REFUSED - operation not permitted on the default exchange".into());
        }
        let Some(id) = self.find(vhost, queue) else {
            return Err(format!("NOT_FOUND - no queue '{queue}' in vhost '{vhost}'"));
        };
        match self.vhost(vhost).exchanges.get_mut(exchange) {
            Some(exchange) => exchange.bind(routing_key.clone(), arguments.clone(), id),
            None => return Err(format!("NOT_FOUND - no exchange '{exchange}' in vhost '{vhost}'")),
        }
        Ok(())
    }
}

fn is_quorum(queue: &topology::Queue) -> bool {
    Policy::of(&queue.arguments).quorum
}

/// Whether the broker would make such a queue at all.
fn possible(queue: &topology::Queue, what: &str) -> Result<(), String> {
    for name in NUMBERS {
        match queue.arguments.get(name) {
            None => {}
            Some(HeaderValue::Int(number)) if *number >= 0 => {}
            Some(HeaderValue::Int(number)) => {
                return Err(format!(
                    "PRECONDITION_FAILED - invalid arg '{name}' for {what}: {{value_negative,{number}}}"
                ));
            }
            Some(other) => {
                let kind = type_name(other);
                return Err(format!(
                    "PRECONDITION_FAILED - invalid arg '{name}' for {what}: \"expected integer, got {kind}\""
                ));
            }
        }
    }
    if is_quorum(queue) {
        let properties =
            [("non-durable", !queue.durable), ("exclusive", queue.exclusive), ("auto-delete", queue.auto_delete)];
        if let Some((property, _)) = properties.into_iter().find(|(_, set)| *set) {
            return Err(format!("PRECONDITION_FAILED - invalid property '{property}' for {what}"));
        }
    }
    Ok(())
}

fn same_queue(current: &topology::Queue, received: &topology::Queue, what: &str) -> Result<(), String> {
    if current.exclusive != received.exclusive {
        return Err(format!(
            "RESOURCE_LOCKED - cannot obtain exclusive access to locked {what}. It could be originally declared on another \
             connection or the exclusive property value does not match that of the original declaration."
        ));
    }
    same("durable", &received.durable, &current.durable, what)?;
    same("auto_delete", &received.auto_delete, &current.auto_delete, what)?;
    let (mut ours, mut theirs) = (received.arguments.clone(), current.arguments.clone());
    for arguments in [&mut ours, &mut theirs] {
        arguments.entry("x-queue-type".into()).or_insert_with(|| "classic".into());
    }
    let own: &[&str] = if is_quorum(current) { &COMPARED_QUORUM } else { &COMPARED_CLASSIC };
    COMPARED.iter().chain(own).try_for_each(|name| same_argument(name, &ours, &theirs, what))
}

fn same<T: PartialEq + std::fmt::Display>(name: &str, received: &T, current: &T, what: &str) -> Result<(), String> {
    if received == current {
        return Ok(());
    }
    Err(inequivalent(name, what, &format!("'{received}'"), &format!("'{current}'")))
}

fn same_argument(name: &str, received: &Headers, current: &Headers, what: &str) -> Result<(), String> {
    let (received, current) = (received.get(name), current.get(name));
    if received == current {
        return Ok(());
    }
    // RabbitMQ tells a type where one side has none.
    let show = |value: Option<&HeaderValue>| match value {
        None => "none".to_owned(),
        Some(value) if received.is_some() && current.is_some() => format!("'{}'", shown(value)),
        Some(value) => format!("the value '{}' of type '{}'", shown(value), type_name(value)),
    };
    Err(inequivalent(name, what, &show(received), &show(current)))
}

fn inequivalent(name: &str, what: &str, received: &str, current: &str) -> String {
    format!("PRECONDITION_FAILED - inequivalent arg '{name}' for {what}: received {received} but current is {current}")
}

fn shown(value: &HeaderValue) -> String {
    match value {
        HeaderValue::Text(text) => text.clone(),
        HeaderValue::Int(number) => number.to_string(),
        HeaderValue::Bool(bool) => bool.to_string(),
        other => format!("{other:?}"),
    }
}

/// The name of a value's type in RabbitMQ's messages.
fn type_name(value: &HeaderValue) -> &'static str {
    match value {
        HeaderValue::Null => "void",
        HeaderValue::Bool(_) => "bool",
        HeaderValue::Int(_) => "long",
        HeaderValue::Float(_) => "double",
        HeaderValue::Decimal { .. } => "decimal",
        HeaderValue::Text(_) => "longstr",
        HeaderValue::Bytes(_) => "binary",
        HeaderValue::Timestamp(_) => "timestamp",
        HeaderValue::List(_) => "array",
        HeaderValue::Table(_) => "table",
    }
}
