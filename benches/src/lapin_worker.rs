//! What the workers on lapin share: opening, publishing, closing.

use std::time::Instant;

use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};

use crate::{Error, Job, PUBLISH_WINDOW, Report, body};

/// A connection with one channel.
///
/// # Errors
/// As lapin's.
pub async fn open(job: &Job) -> Result<(Connection, Channel), Error> {
    let connection = Connection::connect(&job.uri(), ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    Ok((connection, channel))
}

/// Consumes; the clock runs from here.
///
/// # Errors
/// As lapin's.
pub async fn consume(job: &Job, channel: &Channel) -> Result<(Instant, Consumer), Error> {
    channel.basic_qos(job.prefetch, BasicQosOptions::default()).await?;
    let start = Instant::now();
    let options = BasicConsumeOptions::default();
    let consumer =
        channel.basic_consume(job.queue.as_str().into(), "bench".into(), options, FieldTable::default()).await?;
    Ok((start, consumer))
}

/// Publishes as many as asked for, a window at a time: all of it, then its confirms one after the other.
///
/// # Errors
/// As lapin's.
pub async fn publish_windows(job: &Job) -> Result<(), Error> {
    let (connection, channel) = open(job).await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let body = body(0, 0, job.body);
    let start = Instant::now();
    let mut confirmed = 0;
    while confirmed < job.messages {
        let mut confirms = Vec::new();
        for _ in 0..PUBLISH_WINDOW.min(usize::try_from(job.messages - confirmed)?) {
            let (key, options) = (job.queue.as_str().into(), BasicPublishOptions::default());
            confirms.push(channel.basic_publish("".into(), key, options, &body, BasicProperties::default()).await?);
        }
        for confirm in confirms {
            if !confirm.await?.is_ack() {
                return Err("the broker refused a message".into());
            }
            confirmed += 1;
        }
    }
    connection.close(200, "done".into()).await?;
    Report::print_published(confirmed, confirmed * body.len() as u64, start)
}

/// Publishes as many as asked for, each confirm awaited, with as many side by side as the others have under way.
///
/// # Errors
/// As lapin's.
pub async fn publish(job: &Job) -> Result<(), Error> {
    let (connection, channel) = open(job).await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let body = body(0, 0, job.body);
    let start = Instant::now();
    let publish = |_| async {
        let (key, options) = (job.queue.as_str().into(), BasicPublishOptions::default());
        let confirm = channel.basic_publish("".into(), key, options, &body, BasicProperties::default()).await?;
        confirm.await
    };
    let mut confirms = futures_util::stream::iter(0..job.messages).map(publish).buffer_unordered(PUBLISH_WINDOW);
    let mut confirmed = 0;
    while let Some(confirm) = confirms.next().await {
        confirmed += u64::from(confirm?.is_ack());
    }
    connection.close(200, "done".into()).await?;
    Report::print_published(confirmed, confirmed * body.len() as u64, start)
}
