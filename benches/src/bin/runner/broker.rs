//! The broker: the queues of a run, and what they hold afterwards.

use std::time::{Duration, Instant};

use benches::{Error, Job, body, now};
use futures_util::future::try_join_all;
use lapin::options::{BasicPublishOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

pub(crate) const QUEUE: &str = "bench";
const LIMIT: Duration = Duration::from_secs(60);
/// After the preload the broker collects its garbage and writes what it writes.
const REST: Duration = Duration::from_millis(300);

/// The runner's own connection.
pub(crate) struct Broker {
    connection: Connection,
    channel: Channel,
    pid: Option<u32>,
}

/// What the queues of a run hold together, as passive declares tell it.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    ready: u64,
    consumers: u32,
}

impl Broker {
    pub(crate) async fn connect(port: u16, pid: Option<u32>) -> Result<Self, Error> {
        let uri = format!("amqp://guest:guest@127.0.0.1:{port}/%2f");
        let connection = Connection::connect(&uri, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        Ok(Self { connection, channel, pid })
    }

    pub(crate) async fn close(self) -> Result<(), Error> {
        Ok(self.connection.close(200, "done".into()).await?)
    }

    /// New durable queues for this job, which share so many transient messages.
    pub(crate) async fn preload(&self, job: &Job, messages: u64) -> Result<(), Error> {
        const OCTETS_AT_ONCE: usize = 4 << 20;
        let queues = job.queues();
        self.delete(job).await?;
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        for queue in &queues {
            self.channel.queue_declare(queue.as_str().into(), durable, FieldTable::default()).await?;
        }
        let at_once = (OCTETS_AT_ONCE / job.body.max(1)).clamp(1, 500) as u64;
        let of = |id: u64| queues.get((id % queues.len() as u64) as usize).map(String::as_str).unwrap_or_default();
        for first in (0..messages).step_by(at_once as usize) {
            let ids = first..messages.min(first + at_once);
            try_join_all(ids.map(|id| self.publish(of(id), body(id, now(), job.body)))).await?;
        }
        self.wait(job, |held| held.ready == messages).await?;
        tokio::time::sleep(REST).await;
        Ok(())
    }

    /// Deletes the queues of this job, with what is in them.
    pub(crate) async fn delete(&self, job: &Job) -> Result<(), Error> {
        for queue in job.queues() {
            self.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
        }
        Ok(())
    }

    async fn publish(&self, queue: &str, body: Vec<u8>) -> lapin::Result<()> {
        let options = BasicPublishOptions::default();
        let sent = self.channel.basic_publish("".into(), queue.into(), options, &body, BasicProperties::default());
        sent.await.map(drop)
    }

    /// Publishes at a steady rate, as soon as somebody consumes.
    pub(crate) async fn publish_at(&self, a_second: u32, job: &Job) -> Result<(), Error> {
        self.wait(job, |held| held.consumers > 0).await?;
        let every = Duration::from_secs(1) / a_second;
        let mut due = Instant::now() + Duration::from_millis(200);
        for id in 0..job.messages {
            // The runtime's timer counts whole milliseconds; the runner has nothing else to do meanwhile.
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            due += every;
            self.publish(&job.queue, body(id, now(), job.body)).await?;
        }
        Ok(())
    }

    /// How many messages the queues have once nobody consumes any more: what was not settled has come back then.
    pub(crate) async fn left(&self, job: &Job) -> Result<u64, Error> {
        Ok(self.wait(job, |held| held.consumers == 0).await?.ready)
    }

    /// CPU seconds of the broker so far, where it is a process that can be looked at.
    pub(crate) fn cpu_seconds(&self) -> Option<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid?)).ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        // The 14th and 15th fields, in hundredths of a second on every Linux.
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
        Some(ticks.sum::<Result<f64, _>>().ok()? / 100.0)
    }

    async fn wait(&self, job: &Job, is_true: impl Fn(Held) -> bool) -> Result<Held, Error> {
        let deadline = Instant::now() + LIMIT;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        loop {
            let mut held = Held::default();
            for queue in job.queues() {
                let queue = self.channel.queue_declare(queue.into(), passive, FieldTable::default()).await?;
                held.ready += u64::from(queue.message_count());
                held.consumers += queue.consumer_count();
            }
            if is_true(held) {
                return Ok(held);
            }
            if Instant::now() > deadline {
                return Err(format!("the broker does not get there: {held:?}").into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
