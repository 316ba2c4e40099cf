//! Names, properties and headers, from our types to lapin's. The other way is the reader's.

use crate::message::{HeaderValue, Properties};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, DecimalValue, FieldTable, ShortString};
use std::collections::BTreeMap;

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
    fn a_name_over_255_bytes_is_cut_at_a_character() {
        assert_eq!(short(&"ü".repeat(200)).as_str().len(), 254);
    }
}
