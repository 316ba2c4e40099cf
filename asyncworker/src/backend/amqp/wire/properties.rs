//! The property list of a content header: checked when it comes, decoded when somebody asks.
//!
//! ```text
//! property list = flags (16 bits) *property         a bit a property, from the highest; 2 lowest must be 0
//! short string  = length (8 bits) *octet            UTF-8
//! table         = length (32 bits) *(name value)    name is a short string
//! array         = length (32 bits) *value
//! value         = type (8 bits) and what the type says, as RabbitMQ has it
//! ```
//!
//! The check allocates nothing and looks at each octet of a name once, so it costs little even for header
//! tables; that is why it is done for every delivery. What passed it decodes: a handler never finds out
//! half-way that there are no properties.

use crate::message::{HeaderValue, Headers, Properties};
use bytes::Bytes;

/// Tables and arrays within each other, the header table itself being the first.
pub(super) const DEEPEST: usize = 32;

type Read<T> = Result<T, &'static str>;

const SHORT: &str = "its content header ends within a property";
const NOT_UTF_8: &str = "a property or a header's name is not UTF-8";
pub(super) const FLAGS: &str = "its content header has property flags that AMQP 0-9-1 does not have";
const TYPE: &str = "a header has a type that RabbitMQ does not have";
const LONG: &str = "its content header goes on after the last property";
pub(super) const DEEP: &str = "its headers are nested too deep";

/// Whether this property list can be decoded.
///
/// # Errors
/// What is broken about it.
pub(super) fn check(list: &[u8]) -> Read<()> {
    let mut input = Input(list);
    let flags = input.flags()?;
    for bit in (2..16).rev().filter(|bit| flags & (1 << bit) != 0) {
        match bit {
            13 => check_table(input.long()?, 1)?,
            12 | 11 => drop(input.u8()?),
            6 => drop(input.u64()?),
            _ => drop(input.short()?),
        }
    }
    input.end()
}

/// The properties; none where the list does not pass the [`check`].
pub(super) fn decode(list: &[u8]) -> Properties {
    read(list).unwrap_or_default()
}

pub(super) fn read(list: &[u8]) -> Read<Properties> {
    let mut input = Input(list);
    let flags = input.flags()?;
    let mut properties = Properties::default();
    for bit in (2..16).rev().filter(|bit| flags & (1 << bit) != 0) {
        match bit {
            15 => properties.content_type = Some(input.text()?),
            14 => properties.content_encoding = Some(input.text()?),
            13 => properties.headers = table(input.long()?, 1)?,
            12 => properties.delivery_mode = Some(input.u8()?),
            11 => properties.priority = Some(input.u8()?),
            10 => properties.correlation_id = Some(input.text()?),
            9 => properties.reply_to = Some(input.text()?),
            8 => properties.expiration = Some(input.text()?),
            7 => properties.message_id = Some(input.text()?),
            6 => properties.timestamp = Some(input.u64()?),
            5 => properties.kind = Some(input.text()?),
            4 => properties.user_id = Some(input.text()?),
            3 => properties.app_id = Some(input.text()?),
            // The cluster id, which AMQP 0-9-1 deprecates.
            _ => drop(input.short()?),
        }
    }
    input.end().map(|()| properties)
}

fn check_table(entries: &[u8], depth: usize) -> Read<()> {
    let mut input = Input(entries).within(depth)?;
    while !input.0.is_empty() {
        input.short()?;
        check_value(&mut input, depth)?;
    }
    Ok(())
}

fn check_value(input: &mut Input<'_>, depth: usize) -> Read<()> {
    match input.u8()? {
        b'F' => check_table(input.long()?, depth + 1),
        b'A' => {
            let mut items = Input(input.long()?).within(depth + 1)?;
            while !items.0.is_empty() {
                check_value(&mut items, depth + 1)?;
            }
            Ok(())
        }
        b'S' | b'x' => input.long().map(drop),
        b'V' => Ok(()),
        b't' | b'b' | b'B' => input.take(1).map(drop),
        b's' | b'U' | b'u' => input.take(2).map(drop),
        b'I' | b'i' | b'f' => input.take(4).map(drop),
        b'D' => input.take(5).map(drop),
        b'L' | b'l' | b'd' | b'T' => input.take(8).map(drop),
        _ => Err(TYPE),
    }
}

fn table(entries: &[u8], depth: usize) -> Read<Headers> {
    let mut input = Input(entries).within(depth)?;
    let mut headers = Headers::new();
    while !input.0.is_empty() {
        let name = input.text()?;
        headers.insert(name, value(&mut input, depth)?);
    }
    Ok(headers)
}

fn value(input: &mut Input<'_>, depth: usize) -> Read<HeaderValue> {
    Ok(match input.u8()? {
        b'F' => HeaderValue::Table(table(input.long()?, depth + 1)?),
        b'A' => {
            let mut items = Input(input.long()?).within(depth + 1)?;
            let mut values = Vec::new();
            while !items.0.is_empty() {
                values.push(value(&mut items, depth + 1)?);
            }
            HeaderValue::List(values)
        }
        b'S' => {
            let text = input.long()?;
            match std::str::from_utf8(text) {
                Ok(text) => HeaderValue::Text(text.to_owned()),
                Err(_) => HeaderValue::Bytes(Bytes::copy_from_slice(text)),
            }
        }
        b'x' => HeaderValue::Bytes(Bytes::copy_from_slice(input.long()?)),
        b'V' => HeaderValue::Null,
        b't' => HeaderValue::Bool(input.u8()? != 0),
        b'b' => HeaderValue::Int(i8::from_be_bytes(input.array()?).into()),
        b'B' => HeaderValue::Int(input.u8()?.into()),
        // The specification says that `s` is a short string; RabbitMQ and its clients say a short integer.
        b's' | b'U' => HeaderValue::Int(i16::from_be_bytes(input.array()?).into()),
        b'u' => HeaderValue::Int(u16::from_be_bytes(input.array()?).into()),
        b'I' => HeaderValue::Int(i32::from_be_bytes(input.array()?).into()),
        b'i' => HeaderValue::Int(u32::from_be_bytes(input.array()?).into()),
        b'L' | b'l' => HeaderValue::Int(i64::from_be_bytes(input.array()?)),
        b'f' => HeaderValue::Float(f32::from_be_bytes(input.array()?).into()),
        b'd' => HeaderValue::Float(f64::from_be_bytes(input.array()?)),
        b'D' => {
            let scale = input.u8()?;
            HeaderValue::Decimal { scale, value: u32::from_be_bytes(input.array()?) }
        }
        b'T' => HeaderValue::Timestamp(input.u64()?),
        _ => return Err(TYPE),
    })
}

/// What is still to be read.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn take(&mut self, length: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Read<u8> {
        self.array::<1>().map(|[octet]| octet)
    }

    pub(super) fn u16(&mut self) -> Read<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Read<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// The octets of a short string, whatever they are.
    pub(super) fn short_octets(&mut self) -> Read<&'a [u8]> {
        let length = self.u8()?;
        self.take(length.into())
    }

    fn short(&mut self) -> Read<&'a str> {
        std::str::from_utf8(self.short_octets()?).map_err(|_| NOT_UTF_8)
    }

    fn text(&mut self) -> Read<String> {
        self.short().map(str::to_owned)
    }

    /// The octets of a long string, a table, an array: a length that lies takes nothing.
    fn long(&mut self) -> Read<&'a [u8]> {
        let length = self.array().map(u32::from_be_bytes)?;
        self.take(usize::try_from(length).map_err(|_| SHORT)?)
    }

    fn flags(&mut self) -> Read<u16> {
        match self.u16()? {
            flags if flags & 0b11 != 0 => Err(FLAGS),
            flags => Ok(flags),
        }
    }

    fn within(self, depth: usize) -> Read<Self> {
        if depth > DEEPEST { Err(DEEP) } else { Ok(self) }
    }

    pub(super) fn end(&self) -> Read<()> {
        if self.0.is_empty() { Ok(()) } else { Err(LONG) }
    }
}
