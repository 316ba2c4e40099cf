//! amqprs at its best: all deliveries that are ready at once, and one ack for up to 100.

use std::time::Instant;

use amqprs::channel::{BasicAckArguments, BasicConsumeArguments, BasicQosArguments};
use amqprs::connection::{Connection, OpenConnectionArguments};
use benches::{Error, Job, Report, Tally};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let job = Job::from_args()?;
    let tally = Tally::new(&job);
    let connection = Connection::open(&OpenConnectionArguments::new("127.0.0.1", job.port, "guest", "guest")).await?;
    let channel = connection.open_channel(None).await?;
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
        let mut last = None;
        for message in waiting.drain(..ready) {
            tally.handle(message.content.as_deref().unwrap_or_default());
            unacked += 1;
            last = message.deliver.map(|deliver| deliver.delivery_tag());
        }
        if let Some(tag) = last
            && (unacked >= job.ack_every() || tally.is_done())
        {
            unacked = 0;
            channel.basic_ack(BasicAckArguments::new(tag, true)).await?;
        }
    }
    channel.close().await?;
    connection.close().await?;
    Report::print(&tally, start)
}
