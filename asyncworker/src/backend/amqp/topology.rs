//! Declaring queues, exchanges and bindings.

use super::connection::{Live, close_channel};
use super::convert::{field_table, short};
use crate::error::{BoxError, Error, ErrorKind, one_line};
use crate::message::HeaderValue;
use crate::topology::{Binding, Exchange, Queue, Thing};
use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use std::fmt;

/// Why a declaration did not go through.
pub(super) enum Refusal {
    /// The broker says no, and would again: what exists differs, or it is not allowed.
    Mismatch(Error),
    /// The connection was lost, or the broker did not reply.
    Disturbed(BoxError),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mismatch(error) => f.write_str(&one_line(error)),
            Self::Disturbed(error) => f.write_str(&one_line(&**error)),
        }
    }
}

/// Declares these in order, dead-letter queues first where they are missing.
pub(super) async fn declare(live: &Live, things: &[Thing]) -> Result<(), Refusal> {
    for thing in things {
        match thing {
            Thing::Queue(queue) => {
                if let Some(name) = &queue.dead_letter_queue
                    && ready_messages(live, name).await?.is_none()
                {
                    declare_queue(live, &dead_letter_queue(queue, name)).await?;
                }
                declare_queue(live, queue).await?;
            }
            Thing::Exchange(exchange) => declare_exchange(live, exchange).await?,
            Thing::Binding(binding) => bind(live, binding).await?,
        }
    }
    Ok(())
}

/// The queue for what another one refuses: durable, and of the same type.
fn dead_letter_queue(of: &Queue, name: &str) -> Queue {
    match of.arguments.get("x-queue-type") {
        Some(HeaderValue::Text(kind)) => Queue::new(name).argument("x-queue-type", kind.clone()),
        _ => Queue::new(name),
    }
}

/// How many messages of the queue wait for a consumer; `None` where there is no such queue.
pub(super) async fn ready_messages(live: &Live, queue: &str) -> Result<Option<u32>, Refusal> {
    let channel = live.channel().await.map_err(Refusal::Disturbed)?;
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let found = live.reply("queue.declare", channel.queue_declare(short(queue), options, FieldTable::default())).await;
    close_channel(&channel).await;
    match found {
        Ok(queue) => Ok(Some(queue.message_count())),
        Err(error) if said_no(&error) => Ok(None),
        Err(error) => Err(Refusal::Disturbed(error)),
    }
}

async fn declare_queue(live: &Live, queue: &Queue) -> Result<(), Refusal> {
    let options = QueueDeclareOptions {
        durable: queue.durable,
        exclusive: queue.exclusive,
        auto_delete: queue.auto_delete,
        ..QueueDeclareOptions::default()
    };
    let channel = live.channel().await.map_err(Refusal::Disturbed)?;
    let arguments = field_table(&queue.arguments);
    let declared = live.reply("queue.declare", channel.queue_declare(short(&queue.name), options, arguments)).await;
    conclude(&channel, declared, &format!("queue `{}`", queue.name)).await
}

async fn declare_exchange(live: &Live, exchange: &Exchange) -> Result<(), Refusal> {
    let options = ExchangeDeclareOptions {
        durable: exchange.durable,
        auto_delete: exchange.auto_delete,
        ..ExchangeDeclareOptions::default()
    };
    let channel = live.channel().await.map_err(Refusal::Disturbed)?;
    let kind = ExchangeKind::Custom(exchange.kind.clone());
    let arguments = field_table(&exchange.arguments);
    let declaring = channel.exchange_declare(short(&exchange.name), kind, options, arguments);
    let declared = live.reply("exchange.declare", declaring).await;
    conclude(&channel, declared, &format!("exchange `{}`", exchange.name)).await
}

async fn bind(live: &Live, binding: &Binding) -> Result<(), Refusal> {
    let Binding { exchange, routing_key, queue, arguments } = binding;
    let channel = live.channel().await.map_err(Refusal::Disturbed)?;
    let options = QueueBindOptions::default();
    let binding =
        channel.queue_bind(short(queue), short(exchange), short(routing_key), options, field_table(arguments));
    let bound = live.reply("queue.bind", binding).await;
    conclude(&channel, bound, &format!("binding of queue `{queue}` to exchange `{exchange}`")).await
}

/// A channel each, because a refusal closes it.
async fn conclude<T>(channel: &lapin::Channel, declared: Result<T, BoxError>, what: &str) -> Result<(), Refusal> {
    close_channel(channel).await;
    match declared {
        Ok(_) => Ok(()),
        Err(error) if said_no(&error) => Err(Refusal::Mismatch(
            Error::new(ErrorKind::Topology, format!("the {what} cannot be declared as asked: {error}")).because(error),
        )),
        Err(error) => Err(Refusal::Disturbed(error)),
    }
}

/// Whether the broker closed the channel with an error of the channel's own (AMQP 0-9-1 "soft errors":
/// 403, 404, 405, 406 among them).
fn said_no(error: &BoxError) -> bool {
    error.downcast_ref::<lapin::Error>().is_some_and(lapin::Error::is_amqp_soft_error)
}
