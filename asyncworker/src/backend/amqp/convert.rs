//! Properties and headers, from lapin's types to ours and back.

use crate::message::{HeaderValue, Headers, Properties};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, DecimalValue, FieldTable, ShortString};
use std::collections::BTreeMap;

/// The properties of a delivery; `None` where the publisher set none.
pub(super) fn properties(from: &BasicProperties) -> Option<Box<Properties>> {
    let text = |short: &Option<ShortString>| short.as_ref().map(ToString::to_string);
    let properties = Properties {
        content_type: text(from.content_type()),
        content_encoding: text(from.content_encoding()),
        headers: from.headers().as_ref().map(headers).unwrap_or_default(),
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
    };
    (properties != Properties::default()).then(|| Box::new(properties))
}

fn headers(table: &FieldTable) -> Headers {
    table.inner().iter().map(|(name, value)| (name.to_string(), header(value))).collect()
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
        AMQPValue::FieldTable(table) => HeaderValue::Table(headers(table)),
        AMQPValue::ByteArray(bytes) => HeaderValue::Bytes(bytes.as_slice().to_vec().into()),
        AMQPValue::Void => HeaderValue::Null,
    }
}

/// A name of at most 255 bytes, which whoever made it has checked; a longer one is cut rather than
/// panicked over.
pub(super) fn short(text: &str) -> ShortString {
    ShortString::try_new(text).unwrap_or_else(|_| {
        let end = (0..=255).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        ShortString::try_new(&text[..end]).unwrap_or_default()
    })
}

/// The properties of a message to publish. Their texts are checked before (`Publish::check`).
pub(super) fn basic_properties(from: &Properties) -> BasicProperties {
    let mut to = BasicProperties::default();
    macro_rules! set {
        ($($field:ident => $with:ident($convert:expr)),* $(,)?) => {
            $(if let Some(value) = &from.$field {
                to = to.$with($convert(value));
            })*
        };
    }
    let copy = |value: &u8| *value;
    let text = |value: &String| short(value);
    set! {
        content_type => with_content_type(text),
        content_encoding => with_content_encoding(text),
        delivery_mode => with_delivery_mode(copy),
        priority => with_priority(copy),
        correlation_id => with_correlation_id(text),
        reply_to => with_reply_to(text),
        expiration => with_expiration(text),
        message_id => with_message_id(text),
        timestamp => with_timestamp(|value: &u64| *value),
        kind => with_type(text),
        user_id => with_user_id(text),
        app_id => with_app_id(text),
    }
    if !from.headers.is_empty() {
        to = to.with_headers(field_table(&from.headers));
    }
    to
}

pub(super) fn field_table(headers: &BTreeMap<String, HeaderValue>) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in headers {
        table.insert(short(name), field_value(value));
    }
    table
}

fn field_value(value: &HeaderValue) -> AMQPValue {
    match value {
        HeaderValue::Null => AMQPValue::Void,
        HeaderValue::Bool(value) => AMQPValue::Boolean(*value),
        HeaderValue::Int(value) => AMQPValue::LongLongInt(*value),
        HeaderValue::Float(value) => AMQPValue::Double(*value),
        HeaderValue::Decimal { scale, value } => AMQPValue::DecimalValue(DecimalValue { scale: *scale, value: *value }),
        HeaderValue::Text(text) => AMQPValue::LongString(text.as_str().into()),
        HeaderValue::Bytes(bytes) => AMQPValue::ByteArray(bytes.to_vec().into()),
        HeaderValue::Timestamp(value) => AMQPValue::Timestamp(*value),
        HeaderValue::List(values) => AMQPValue::FieldArray(values.iter().map(field_value).collect::<Vec<_>>().into()),
        HeaderValue::Table(table) => AMQPValue::FieldTable(field_table(table)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_and_headers_come_back_as_they_went() {
        let table = Headers::from([("inner".to_owned(), HeaderValue::Bool(true))]);
        let ours = Properties {
            content_type: Some("application/json".into()),
            headers: Headers::from([
                ("int".to_owned(), 7i64.into()),
                ("text".to_owned(), "ü".into()),
                ("bytes".to_owned(), HeaderValue::Bytes(vec![0xff, 0].into())),
                ("list".to_owned(), HeaderValue::List(vec![HeaderValue::Null, 0.5.into()])),
                ("table".to_owned(), table.into()),
                ("time".to_owned(), HeaderValue::Timestamp(1)),
                ("decimal".to_owned(), HeaderValue::Decimal { scale: 2, value: 314 }),
            ]),
            delivery_mode: Some(2),
            priority: Some(3),
            message_id: Some("m".into()),
            timestamp: Some(1_700_000_000),
            kind: Some("order".into()),
            ..Properties::default()
        };
        assert_eq!(properties(&basic_properties(&ours)).as_deref(), Some(&ours));
    }

    #[test]
    fn no_properties_cost_no_allocation() {
        assert_eq!(properties(&BasicProperties::default()), None);
    }

    #[test]
    fn a_name_over_255_bytes_is_cut_at_a_character() {
        assert_eq!(short(&"ü".repeat(200)).as_str().len(), 254);
    }
}
