//! The frames that we send ourselves: settlements and publishes.
//!
//! ```text
//! basic.ack, reject, nack = class 60, method 80 / 90 / 120, delivery tag (64), bits (8)
//! publish                 = basic.publish  content header  *body          on one channel, nothing between
//! basic.publish           = class 60, method 40, reserved (16), exchange, routing key, mandatory (1 of 8 bits)
//! ```
//!
//! The content header and the property list are as they are read (see the module above and `properties`).

use super::frame::{self, AROUND, BODY, CONTENT_HEADER, HEADER, METHOD};
use crate::message::{HeaderValue, Headers, Properties};
use crate::publish::Publish;
use crate::worker::Frame;

/// What cannot be sent, in words that follow "the message".
type Written = Result<(), String>;

/// The size of a settlement's payload: the method, the tag, the bits.
const SETTLEMENT: u8 = 4 + 8 + 1;

/// Appends the frame that settles so.
pub(in super::super) fn settlement(settlement: &Frame, channel: u16, out: &mut Vec<u8>) {
    let (method, tag, bits) = match *settlement {
        Frame::Ack { tag, multiple } => (frame::ACK, tag, u8::from(multiple)),
        Frame::Reject { tag, requeue } => (frame::REJECT, tag, u8::from(requeue)),
        Frame::Nack { tag } => (frame::NACK, tag, 0b11),
    };
    let [c0, c1] = channel.to_be_bytes();
    out.extend_from_slice(&[METHOD, c0, c1, 0, 0, 0, SETTLEMENT]);
    method_id(method, out);
    out.extend_from_slice(&tag.to_be_bytes());
    out.extend_from_slice(&[bits, frame::END]);
}

/// Appends the frames that publish this, none larger than `frame_max`.
///
/// # Errors
/// It cannot be encoded; then nothing is appended.
pub(in super::super) fn publish(publish: &Publish, channel: u16, frame_max: usize, out: &mut Vec<u8>) -> Written {
    let start = out.len();
    let written = try_publish(publish, channel, frame_max, out);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

fn try_publish(publish: &Publish, channel: u16, frame_max: usize, out: &mut Vec<u8>) -> Written {
    in_frame(METHOD, channel, out, |out| {
        method_id(frame::PUBLISH, out);
        out.extend_from_slice(&[0, 0]);
        short(&publish.exchange, out)?;
        short(&publish.routing_key, out)?;
        out.push(u8::from(publish.mandatory));
        Ok(())
    })?;
    let header = out.len();
    in_frame(CONTENT_HEADER, channel, out, |out| {
        out.extend_from_slice(&frame::BASIC.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&(publish.body.len() as u64).to_be_bytes());
        properties(&publish.properties, out)
    })?;
    let length = out.len() - header;
    if length > frame_max {
        return Err(format!(
            "has properties of {length} bytes, and a frame of this connection has {frame_max} at most"
        ));
    }
    for part in publish.body.chunks(frame_max - AROUND) {
        in_frame(BODY, channel, out, |out| {
            out.extend_from_slice(part);
            Ok(())
        })?;
    }
    Ok(())
}

/// A frame around what `payload` appends.
fn in_frame(kind: u8, channel: u16, out: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>) -> Written) -> Written {
    let start = out.len();
    let [c0, c1] = channel.to_be_bytes();
    out.extend_from_slice(&[kind, c0, c1, 0, 0, 0, 0]);
    payload(out)?;
    let size = (out.len() - start - HEADER) as u32;
    out[start + 3..start + HEADER].copy_from_slice(&size.to_be_bytes());
    out.push(frame::END);
    Ok(())
}

fn method_id((class, method): (u16, u16), out: &mut Vec<u8>) {
    out.extend_from_slice(&class.to_be_bytes());
    out.extend_from_slice(&method.to_be_bytes());
}

/// The property list: the flags, then the properties whose flag is set, from the highest.
pub(super) fn properties(properties: &Properties, out: &mut Vec<u8>) -> Written {
    let start = out.len();
    out.extend_from_slice(&[0, 0]);
    let mut list = List { out, flags: 0 };
    list.text(15, &properties.content_type)?;
    list.text(14, &properties.content_encoding)?;
    if !properties.headers.is_empty() {
        table(&properties.headers, list.property(13))?;
    }
    list.octets(12, properties.delivery_mode.map(u8::to_be_bytes));
    list.octets(11, properties.priority.map(u8::to_be_bytes));
    list.text(10, &properties.correlation_id)?;
    list.text(9, &properties.reply_to)?;
    list.text(8, &properties.expiration)?;
    list.text(7, &properties.message_id)?;
    list.octets(6, properties.timestamp.map(u64::to_be_bytes));
    list.text(5, &properties.kind)?;
    list.text(4, &properties.user_id)?;
    list.text(3, &properties.app_id)?;
    let flags = list.flags;
    out[start..start + 2].copy_from_slice(&flags.to_be_bytes());
    Ok(())
}

struct List<'a> {
    out: &'a mut Vec<u8>,
    flags: u16,
}

impl List<'_> {
    /// A property follows.
    fn property(&mut self, bit: u16) -> &mut Vec<u8> {
        self.flags |= 1 << bit;
        self.out
    }

    fn text(&mut self, bit: u16, value: &Option<String>) -> Written {
        value.as_ref().map_or(Ok(()), |value| short(value, self.property(bit)))
    }

    fn octets<const N: usize>(&mut self, bit: u16, value: Option<[u8; N]>) {
        if let Some(value) = value {
            self.property(bit).extend_from_slice(&value);
        }
    }
}

fn short(text: &str, out: &mut Vec<u8>) -> Written {
    let length = u8::try_from(text.len()).map_err(|_| {
        let start: String = text.chars().take(20).collect();
        format!("has a name or property ({start:?}..) longer than 255 bytes (AMQP 0-9-1 short string)")
    })?;
    out.push(length);
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn long(octets: &[u8], out: &mut Vec<u8>) -> Written {
    with_length(out, |out| {
        out.extend_from_slice(octets);
        Ok(())
    })
}

/// What `content` appends, behind its length in 32 bits.
fn with_length(out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>) -> Written) -> Written {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    content(out)?;
    let length = u32::try_from(out.len() - start - 4).map_err(|_| "has a header of more than 4 GiB".to_owned())?;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn table(headers: &Headers, out: &mut Vec<u8>) -> Written {
    with_length(out, |out| {
        headers.iter().try_for_each(|(name, value)| {
            short(name, out)?;
            field(value, out)
        })
    })
}

fn field(value: &HeaderValue, out: &mut Vec<u8>) -> Written {
    match value {
        HeaderValue::Null => out.push(b'V'),
        HeaderValue::Bool(value) => out.extend_from_slice(&[b't', u8::from(*value)]),
        HeaderValue::Int(value) => number(b'l', &value.to_be_bytes(), out),
        HeaderValue::Float(value) => number(b'd', &value.to_be_bytes(), out),
        HeaderValue::Decimal { scale, value } => {
            out.extend_from_slice(&[b'D', *scale]);
            out.extend_from_slice(&value.to_be_bytes());
        }
        HeaderValue::Text(text) => {
            out.push(b'S');
            return long(text.as_bytes(), out);
        }
        HeaderValue::Bytes(bytes) => {
            out.push(b'x');
            return long(bytes, out);
        }
        HeaderValue::Timestamp(value) => number(b'T', &value.to_be_bytes(), out),
        HeaderValue::List(values) => {
            out.push(b'A');
            return with_length(out, |out| values.iter().try_for_each(|value| field(value, out)));
        }
        HeaderValue::Table(headers) => {
            out.push(b'F');
            return table(headers, out);
        }
    }
    Ok(())
}

fn number(kind: u8, octets: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(octets);
}
