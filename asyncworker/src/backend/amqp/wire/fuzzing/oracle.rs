//! Property lists: what lapin's parser makes of them.

use super::super::properties::{DEEP, FLAGS, check, decode, read};
use crate::message::{HeaderValue, Properties};
use lapin::protocol::BasicProperties;
use lapin::protocol::basic::parse_properties;
use lapin::types::{AMQPValue, ShortString};

/// Judges a property list.
pub fn properties(list: &[u8]) {
    judged(list);
}

/// The properties as lapin reads them, having compared ours with them; none where we refuse the list.
pub(super) fn judged(list: &[u8]) -> Option<Properties> {
    let read = read(list);
    assert_eq!(check(list).err(), read.as_ref().err().copied(), "the check and the reading differ");
    match read {
        Ok(ours) => {
            let theirs = theirs(list);
            assert!(theirs.as_ref().is_some_and(|theirs| same(&ours, theirs)), "{ours:?}, but lapin {theirs:?}");
            theirs
        }
        Err(cause) => {
            assert_eq!(decode(list), Properties::default());
            // Only of these two we are stricter; and lapin's parser would go down as deep as it gets.
            assert!([FLAGS, DEEP].contains(&cause) || theirs(list).is_none(), "refused ({cause}), and lapin reads it");
            None
        }
    }
}

/// Whether they are the same, with NaN, which is unlike itself, in the same places.
pub(super) fn same(ours: &Properties, theirs: &Properties) -> bool {
    ours == theirs || format!("{ours:?}") == format!("{theirs:?}")
}

/// None where lapin cannot read the whole list.
fn theirs(list: &[u8]) -> Option<Properties> {
    let (rest, theirs) = parse_properties(list).ok()?;
    rest.is_empty().then(|| expected(&theirs))
}

/// What lapin's properties are to us. The cluster id it keeps; we do not.
pub(in super::super) fn expected(from: &BasicProperties) -> Properties {
    let text = |short: &Option<ShortString>| short.as_ref().map(ToString::to_string);
    let headers = from
        .headers()
        .as_ref()
        .map(|table| table.inner().iter().map(|(name, value)| (name.to_string(), header(value))).collect());
    Properties {
        content_type: text(from.content_type()),
        content_encoding: text(from.content_encoding()),
        headers: headers.unwrap_or_default(),
        delivery_mode: *from.delivery_mode(),
        priority: *from.priority(),
        correlation_id: text(from.correlation_id()),
        reply_to: text(from.reply_to()),
        expiration: text(from.expiration()),
        message_id: text(from.message_id()),
        timestamp: *from.timestamp(),
        kind: text(from.kind()),
        user_id: text(from.user_id()),
        app_id: text(from.app_id()),
    }
}

fn header(value: &AMQPValue) -> HeaderValue {
    match value {
        AMQPValue::Boolean(value) => HeaderValue::Bool(*value),
        AMQPValue::ShortShortInt(value) => HeaderValue::Int((*value).into()),
        AMQPValue::ShortShortUInt(value) => HeaderValue::Int((*value).into()),
        AMQPValue::ShortInt(value) => HeaderValue::Int((*value).into()),
        AMQPValue::ShortUInt(value) => HeaderValue::Int((*value).into()),
        AMQPValue::LongInt(value) => HeaderValue::Int((*value).into()),
        AMQPValue::LongUInt(value) => HeaderValue::Int((*value).into()),
        AMQPValue::LongLongInt(value) => HeaderValue::Int(*value),
        AMQPValue::Float(value) => HeaderValue::Float((*value).into()),
        AMQPValue::Double(value) => HeaderValue::Float(*value),
        AMQPValue::DecimalValue(decimal) => HeaderValue::Decimal { scale: decimal.scale, value: decimal.value },
        AMQPValue::ShortString(text) => HeaderValue::Text(text.to_string()),
        AMQPValue::LongString(text) => match std::str::from_utf8(text.as_bytes()) {
            Ok(text) => HeaderValue::Text(text.to_owned()),
            Err(_) => HeaderValue::Bytes(text.as_bytes().to_vec().into()),
        },
        AMQPValue::FieldArray(values) => HeaderValue::List(values.as_slice().iter().map(header).collect()),
        AMQPValue::Timestamp(value) => HeaderValue::Timestamp(*value),
        AMQPValue::FieldTable(table) => {
            HeaderValue::Table(table.inner().iter().map(|(name, value)| (name.to_string(), header(value))).collect())
        }
        AMQPValue::ByteArray(bytes) => HeaderValue::Bytes(bytes.as_slice().to_vec().into()),
        AMQPValue::Void => HeaderValue::Null,
    }
}
