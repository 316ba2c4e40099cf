//! amqprs at its best: all deliveries that are ready at once, and one ack for up to 100.

use std::sync::Arc;
use std::time::Instant;

use amqprs::callbacks::ChannelCallback;
use amqprs::channel::{BasicAckArguments, BasicConsumeArguments, BasicPublishArguments, BasicQosArguments};
use amqprs::channel::{Channel, ConfirmSelectArguments};
use amqprs::connection::{Connection, OpenConnectionArguments};
use amqprs::{Ack, BasicProperties, Cancel, CloseChannel, Nack, Return};
use benches::{Error, Job, PUBLISH_WINDOW, Report, Tally, Task, body};
use tokio::sync::Semaphore;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let job = Job::from_args()?;
    let connection = Connection::open(&OpenConnectionArguments::new("127.0.0.1", job.port, "guest", "guest")).await?;
    let channel = connection.open_channel(None).await?;
    match job.task {
        Task::Publish => publish(&job, connection, channel).await,
        _ => consume(&job, connection, channel).await,
    }
}

async fn consume(job: &Job, connection: Connection, channel: Channel) -> Result<(), Error> {
    let tally = Tally::new(job);
    channel.basic_qos(BasicQosArguments::new(0, job.prefetch, false)).await?;
    let start = Instant::now();
    let consume = BasicConsumeArguments::new(&job.queue, "bench").manual_ack(true).finish();
    let (_, mut deliveries) = channel.basic_consume_rx(consume).await?;
    let mut waiting = Vec::new();
    let mut unacked = 0;
    while !tally.is_done() {
        if deliveries.recv_many(&mut waiting, usize::from(job.prefetch)).await == 0 {
            return Err("the consumer ended".into());
        }
        let ready = waiting.len() - waiting.len() % job.bulk;
        for message in waiting.drain(..ready) {
            tally.handle(message.content.as_deref().unwrap_or_default());
            unacked += 1;
            if unacked == job.ack_every() || tally.is_done() {
                unacked = 0;
                let tag = message.deliver.ok_or("a message without its delivery")?.delivery_tag();
                channel.basic_ack(BasicAckArguments::new(tag, true)).await?;
            }
        }
    }
    channel.close().await?;
    connection.close().await?;
    Report::print(&tally, start)
}

/// A publish takes a permit, and its confirm gives it back.
async fn publish(job: &Job, connection: Connection, channel: Channel) -> Result<(), Error> {
    let window = Arc::new(Semaphore::new(PUBLISH_WINDOW));
    channel.register_callback(Confirms { window: Arc::clone(&window), confirmed: 0 }).await?;
    channel.confirm_select(ConfirmSelectArguments::default()).await?;
    let body = body(0, 0, job.body);
    let arguments = BasicPublishArguments::new("", &job.queue);
    let start = Instant::now();
    for _ in 0..job.messages {
        window.acquire().await?.forget();
        channel.basic_publish(BasicProperties::default(), body.clone(), arguments.clone()).await?;
    }
    let _all = window.acquire_many(u32::try_from(PUBLISH_WINDOW)?).await?;
    channel.close().await?;
    connection.close().await?;
    Report::print_published(job.messages, job.messages * body.len() as u64, start)
}

struct Confirms {
    window: Arc<Semaphore>,
    /// Up to this tag: they come in ascending order here.
    confirmed: u64,
}

#[async_trait::async_trait]
impl ChannelCallback for Confirms {
    async fn close(&mut self, _: &Channel, _: CloseChannel) -> Result<(), amqprs::error::Error> {
        self.window.close();
        Ok(())
    }
    async fn cancel(&mut self, _: &Channel, _: Cancel) -> Result<(), amqprs::error::Error> {
        Ok(())
    }
    async fn flow(&mut self, _: &Channel, active: bool) -> Result<bool, amqprs::error::Error> {
        Ok(active)
    }
    async fn publish_ack(&mut self, _: &Channel, ack: Ack) {
        let confirmed = if ack.mutiple() { ack.delivery_tag() } else { self.confirmed + 1 };
        self.window.add_permits(usize::try_from(confirmed - self.confirmed).unwrap_or_default());
        self.confirmed = confirmed;
    }
    /// Ends the run: the broker took a message and could not keep it.
    async fn publish_nack(&mut self, _: &Channel, _: Nack) {
        self.window.close();
    }
    async fn publish_return(&mut self, _: &Channel, _: Return, _: BasicProperties, _: Vec<u8>) {}
}
