//! Names and arguments, from our types to lapin's.

use crate::message::HeaderValue;
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
