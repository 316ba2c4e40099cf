//! lapin at its best: all deliveries that are ready at once, and one ack for up to 100, queued without
//! awaiting its write.

use benches::{Error, Job, Report, Tally, Task, lapin_worker};
use futures_util::{FutureExt, StreamExt};
use lapin::options::BasicAckOptions;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let job = Job::from_args()?;
    if job.task == Task::Publish {
        return lapin_worker::publish(&job).await;
    }
    let tally = Tally::new(&job);
    let (connection, channel) = lapin_worker::open(&job).await?;
    let (start, consumer) = lapin_worker::consume(&job, &channel).await?;
    let mut chunks = consumer.ready_chunks(usize::from(job.prefetch));
    let mut waiting = Vec::new();
    let mut unacked = 0;
    while !tally.is_done() {
        let chunk = chunks.next().await.ok_or("the consumer ended")?;
        for delivery in chunk {
            waiting.push(delivery?);
        }
        // Without bulks all that is there is handled; with them, as many whole ones as there are.
        let ready = waiting.len() - waiting.len() % job.bulk;
        for delivery in waiting.drain(..ready) {
            tally.handle(&delivery.data);
            unacked += 1;
            if unacked == job.ack_every() || tally.is_done() {
                unacked = 0;
                let multiple = BasicAckOptions { multiple: true };
                if let Some(acked) = channel.basic_ack(delivery.delivery_tag, multiple).now_or_never() {
                    acked?;
                }
            }
        }
    }
    connection.close(200, "done".into()).await?;
    Report::print(&tally, start)
}
