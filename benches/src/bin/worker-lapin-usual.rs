//! lapin as most programs use it: a loop that awaits an ack a message; where handlers wait, a task a message.

use std::sync::Arc;

use benches::{Error, HANDLER_WAIT, Job, Report, Tally, Task, lapin_worker};
use futures_util::StreamExt;
use lapin::Consumer;
use lapin::options::BasicAckOptions;
use tokio_util::task::TaskTracker;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let job = Job::from_args()?;
    if job.task == Task::Publish {
        return lapin_worker::publish_windows(&job).await;
    }
    let tally = Arc::new(Tally::new(&job));
    let (connection, channel) = lapin_worker::open(&job).await?;
    let (start, mut consumer) = lapin_worker::consume(&job, &channel).await?;
    match job.task {
        Task::Wait => tasks(&job, &tally, &mut consumer).await?,
        _ if job.bulk > 1 => bulks(&job, &tally, &mut consumer).await?,
        _ => one_by_one(&tally, &mut consumer).await?,
    }
    connection.close(200, "done".into()).await?;
    Report::print(&tally, start)
}

async fn one_by_one(tally: &Tally, consumer: &mut Consumer) -> Result<(), Error> {
    while !tally.is_done() {
        let delivery = consumer.next().await.ok_or("the consumer ended")??;
        tally.handle(&delivery.data);
        delivery.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
}

async fn bulks(job: &Job, tally: &Tally, consumer: &mut Consumer) -> Result<(), Error> {
    let mut bulks = consumer.chunks(job.bulk);
    while !tally.is_done() {
        let bulk = bulks.next().await.ok_or("the consumer ended")?;
        let bulk = bulk.into_iter().collect::<Result<Vec<_>, _>>()?;
        for delivery in &bulk {
            tally.handle(&delivery.data);
        }
        for delivery in bulk {
            delivery.ack(BasicAckOptions::default()).await?;
        }
    }
    Ok(())
}

async fn tasks(job: &Job, tally: &Arc<Tally>, consumer: &mut Consumer) -> Result<(), Error> {
    let tasks = TaskTracker::new();
    for _ in 0..job.messages {
        let delivery = consumer.next().await.ok_or("the consumer ended")??;
        let tally = Arc::clone(tally);
        tasks.spawn(async move {
            tokio::time::sleep(HANDLER_WAIT).await;
            tally.handle(&delivery.data);
            // A lost ack shows in the runner's count of what the broker still has.
            let _ = delivery.ack(BasicAckOptions::default()).await;
        });
    }
    tasks.close();
    tasks.wait().await;
    Ok(())
}
