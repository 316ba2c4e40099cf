//! What a broker says of publishes on a channel in confirm mode.

use super::properties::Input;
use crate::message::{Delivery, Names};

#[derive(Debug)]
pub(in super::super) enum Confirm {
    /// It has the message with this tag, and with `multiple` all before it that it has not spoken of; or
    /// (`nack`) could not take them. Tags count the publishes on the channel from 1.
    Settled { tag: u64, multiple: bool, nack: bool },
    /// A mandatory message reached no queue. Its confirm follows.
    Returned(Box<Returned>),
    /// It closed the channel, with this reply code, for this reason. Nothing follows.
    Closed { code: u16, reason: String },
}

/// A message that came back.
#[derive(Debug)]
pub(in super::super) struct Returned {
    /// Why, in the broker's words: `312 NO_ROUTE`.
    pub(in super::super) reply: String,
    pub(in super::super) message: Delivery,
}

/// Reads `basic.ack` or `basic.nack`; nothing where its length does not add up.
pub(super) fn settled(payload: &[u8], nack: bool) -> Option<Confirm> {
    let mut input = Input(payload.get(4..)?);
    let tag = input.u64().ok()?;
    let multiple = input.u8().ok()? & 1 != 0;
    input.end().ok()?;
    Some(Confirm::Settled { tag, multiple, nack })
}

/// Reads `channel.close`. What it says is for people, so what is not UTF-8 is replaced.
pub(super) fn closed(payload: &[u8]) -> Option<Confirm> {
    let (code, reason) = reply(&mut Input(payload.get(4..)?))?;
    Some(Confirm::Closed { code, reason })
}

/// Reads a reply code and its text.
pub(super) fn reply(input: &mut Input<'_>) -> Option<(u16, String)> {
    let code = input.u16().ok()?;
    let text = String::from_utf8_lossy(input.short_octets().ok()?);
    Some((code, format!("{code} {text}")))
}

/// Whether a channel's end with this code is the fault of what was sent on it, as AMQP 0-9-1, section 1.2 of
/// its reference, has it: 3xx and 4xx are the channel's, 5xx the connection's.
pub(in super::super) fn is_soft(code: u16) -> bool {
    (300..500).contains(&code)
}

/// Reads `basic.return`: reply code and text, exchange, routing key.
pub(super) fn returned(payload: &[u8]) -> Option<(String, Delivery)> {
    let mut input = Input(payload.get(4..)?);
    let (_, reply) = reply(&mut input)?;
    let exchange = String::from_utf8_lossy(input.short_octets().ok()?);
    let routing_key = String::from_utf8_lossy(input.short_octets().ok()?);
    input.end().ok()?;
    let names = Names { exchange: (&*exchange).into(), routing_key: (&*routing_key).into() };
    Some((reply, Delivery { names: Some(names.into()), ..Delivery::default() }))
}
