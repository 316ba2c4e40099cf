//! An independent client: raw lapin, nothing of asyncworker.

use crate::{amqp_url, broker::Taken};
use futures_util::future::join_all;
use lapin::message::BasicGetMessage;
use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
    ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};

/// A connection of its own, with a channel for each thing done.
pub struct Client {
    connection: Connection,
}

impl Client {
    pub async fn connect() -> Self {
        Self::connect_to(&amqp_url()).await
    }

    /// # Panics
    /// The broker does not answer.
    pub async fn connect_to(url: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await;
        Self {
            connection: connection
                .unwrap_or_else(|error| panic!("no broker at {url} ({error}): see `cargo xtask test`")),
        }
    }

    pub async fn channel(&self) -> Channel {
        self.connection.create_channel().await.expect("channel.open")
    }

    /// Declares a durable queue with these arguments.
    pub async fn declare(&self, queue: &str, arguments: &[(&str, &str)]) {
        let mut table = FieldTable::default();
        for (name, value) in arguments {
            table.insert((*name).into(), AMQPValue::LongString((*value).into()));
        }
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let channel = self.channel().await;
        channel.queue_declare(queue.into(), options, table).await.expect("queue.declare");
        channel.close(200, "OK".into()).await.expect("channel.close");
    }

    /// Declares a direct exchange, and binds a queue to it.
    pub async fn bind(&self, exchange: &str, routing_key: &str, queue: &str) {
        let channel = self.channel().await;
        let (options, none) =
            (ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() }, FieldTable::default());
        channel
            .exchange_declare(exchange.into(), ExchangeKind::Direct, options, none.clone())
            .await
            .expect("exchange.declare");
        let options = QueueBindOptions::default();
        channel.queue_bind(queue.into(), exchange.into(), routing_key.into(), options, none).await.expect("queue.bind");
        channel.close(200, "OK".into()).await.expect("channel.close");
    }

    pub async fn delete(&self, queue: &str) {
        let channel = self.channel().await;
        channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.expect("queue.delete");
        channel.close(200, "OK".into()).await.expect("channel.close");
    }

    pub async fn delete_exchange(&self, exchange: &str) {
        let channel = self.channel().await;
        channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await.expect("exchange.delete");
        channel.close(200, "OK".into()).await.expect("channel.close");
    }

    /// Publishes persistent messages to a queue, each confirmed.
    pub async fn publish(&self, queue: &str, bodies: impl IntoIterator<Item = impl Into<Vec<u8>>>) {
        self.publish_with(queue, BasicProperties::default().with_delivery_mode(2), bodies).await;
    }

    pub async fn publish_with(
        &self,
        queue: &str,
        properties: BasicProperties,
        bodies: impl IntoIterator<Item = impl Into<Vec<u8>>>,
    ) {
        let channel = self.channel().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirm.select");
        let mut confirms = Vec::new();
        for body in bodies {
            let body: Vec<u8> = body.into();
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let publish = channel.basic_publish("".into(), queue.into(), options, &body, properties.clone()).await;
            confirms.push(publish.expect("basic.publish"));
        }
        for confirm in join_all(confirms).await {
            let confirm = confirm.expect("a confirm");
            assert!(confirm.is_ack() && confirm.take_message().is_none(), "a message to {queue} was not taken");
        }
        channel.close(200, "OK".into()).await.expect("channel.close");
    }

    /// Messages that wait in a queue; `None` where there is no such queue.
    pub async fn try_ready(&self, queue: &str) -> Option<usize> {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let channel = self.channel().await;
        let found = channel.queue_declare(queue.into(), options, FieldTable::default()).await;
        if found.is_ok() {
            channel.close(200, "OK".into()).await.expect("channel.close");
        }
        found.ok().map(|queue| queue.message_count() as usize)
    }

    pub async fn ready(&self, queue: &str) -> usize {
        self.try_ready(queue).await.unwrap_or_else(|| panic!("there is no queue {queue}"))
    }

    /// The consumers of a queue.
    pub async fn consumers(&self, queue: &str) -> usize {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let channel = self.channel().await;
        let found = channel.queue_declare(queue.into(), options, FieldTable::default()).await.expect("queue.declare");
        channel.close(200, "OK".into()).await.expect("channel.close");
        found.consumer_count() as usize
    }

    /// Takes all that wait in a queue.
    pub async fn take(&self, queue: &str) -> Vec<Taken> {
        let channel = self.channel().await;
        let mut taken = Vec::new();
        while let Some(message) = channel.basic_get(queue.into(), BasicGetOptions::default()).await.expect("basic.get")
        {
            let BasicGetMessage { delivery, .. } = message;
            channel.basic_ack(delivery.delivery_tag, BasicAckOptions::default()).await.expect("basic.ack");
            taken.push(Taken::from(delivery));
        }
        channel.close(200, "OK".into()).await.expect("channel.close");
        taken
    }

    pub async fn close(&self) {
        // The node may have been killed meanwhile.
        let _ = self.connection.close(200, "OK".into()).await;
    }
}
