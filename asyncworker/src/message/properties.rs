//! The properties of a message: class `basic` of AMQP 0-9-1, section 1.8 of the specification's
//! generated reference.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The properties of a message that has none.
pub(super) static NONE: LazyLock<Properties> = LazyLock::new(Properties::default);

/// A message's properties. All are the application's business but `delivery_mode`, `expiration`,
/// `priority` and `user_id`, which RabbitMQ reads.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Properties {
    /// MIME type of the body.
    pub content_type: Option<String>,
    /// MIME encoding of the body.
    pub content_encoding: Option<String>,
    /// Headers of the application, and those that the broker adds (`x-death`, `x-delivery-count`).
    pub headers: Headers,
    /// 2 is persistent, 1 transient.
    pub delivery_mode: Option<u8>,
    /// 0 to 9, or as far as the queue's `x-max-priority` says.
    pub priority: Option<u8>,
    /// Which request this answers.
    pub correlation_id: Option<String>,
    /// Where an answer is to go.
    pub reply_to: Option<String>,
    /// Time to live in the queue, in milliseconds as a decimal string.
    pub expiration: Option<String>,
    /// The message's own name.
    pub message_id: Option<String>,
    /// Seconds since 1970-01-01 UTC.
    pub timestamp: Option<u64>,
    /// The application's name for this kind of message (`type` in AMQP).
    pub kind: Option<String>,
    /// The user that published it; RabbitMQ checks it.
    pub user_id: Option<String>,
    /// The application that published it.
    pub app_id: Option<String>,
}

impl Properties {
    /// What an event carries it as: its name is its kind, its id its own name.
    pub(crate) fn of_event(name: impl Into<String>, id: Option<String>) -> Self {
        Self { kind: Some(name.into()), message_id: id, ..Self::default() }
    }
}

/// Message headers: a field table, by name. Names are at most 255 bytes.
pub type Headers = BTreeMap<String, HeaderValue>;

/// The value of a header: AMQP 0-9-1 field values as RabbitMQ has them, with the integers of all widths
/// read as one and both floating point widths as one.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum HeaderValue {
    /// No value.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer of any width.
    Int(i64),
    /// A floating point number of either width.
    Float(f64),
    /// A decimal: `value` divided by ten to the power of `scale`.
    Decimal {
        /// How many digits stand after the point.
        scale: u8,
        /// The digits.
        value: u32,
    },
    /// Text in UTF-8.
    Text(String),
    /// Bytes: a byte array, or a string that is not UTF-8.
    Bytes(Bytes),
    /// Seconds since 1970-01-01 UTC.
    Timestamp(u64),
    /// Several values.
    List(Vec<HeaderValue>),
    /// A table within the table.
    Table(Headers),
}

impl HeaderValue {
    /// The text, where it is text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The integer, where it is one.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(int) => Some(*int),
            _ => None,
        }
    }
}

macro_rules! header_value_from {
    ($($from:ty => $variant:ident),* $(,)?) => {
        $(impl From<$from> for HeaderValue {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        })*
    };
}

header_value_from! {
    bool => Bool, i64 => Int, i32 => Int, u32 => Int, f64 => Float,
    &str => Text, String => Text, Bytes => Bytes, Vec<HeaderValue> => List, Headers => Table,
}
