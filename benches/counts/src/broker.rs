//! The broker's end of the pipe: deliveries within the prefetch, and tags checked as RabbitMQ checks them.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::Error;
use crate::ledger::Ledger;
use crate::wire::{Frames, Template, tag};

/// Delivers so many messages and ends when all are acked.
pub(crate) async fn feed(
    mut pipe: DuplexStream,
    messages: u64,
    prefetch: u64,
    queue: &[u8],
    body: &[u8],
) -> Result<(), Error> {
    let delivery = Template::new(1, b"counts", queue, body, 131_072);
    let mut ledger = Ledger::new();
    let (mut sent, mut settled) = (0, 0);
    let mut out = Vec::new();
    let mut read = Vec::new();
    while settled < messages {
        let count = (prefetch - ledger.outstanding()).min(messages - sent);
        delivery.append(&mut out, ledger.next(), count);
        ledger.deliver(count);
        sent += count;
        pipe.write_all(&out).await?;
        out.clear();
        if pipe.read_buf(&mut read).await? == 0 {
            return Err("the worker closed the pipe".into());
        }
        let mut frames = Frames { rest: &read };
        for frame in frames.by_ref() {
            let Some((60, 80, arguments)) = frame.method() else { return Err("something else than an ack".into()) };
            let (tag, multiple) = tag(arguments).ok_or("an ack was cut")?;
            settled += ledger.settle(tag, multiple).ok_or_else(|| format!("tag {tag} is not outstanding"))?;
        }
        let rest = frames.rest.len();
        read.drain(..read.len() - rest);
    }
    Ok(())
}
