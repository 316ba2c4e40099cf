//! Properties that are decoded when somebody asks for them.

use super::properties::Properties;
use bytes::Bytes;
use std::fmt;
use std::sync::OnceLock;

/// The properties of a delivery: none, decoded, or the bytes they came as. Most handlers never look at
/// them, and a header table costs an allocation an entry.
#[derive(Clone, Default)]
pub(crate) struct LazyProperties {
    encoded: Option<Encoded>,
    decoded: OnceLock<Box<Properties>>,
}

#[derive(Clone)]
struct Encoded {
    bytes: Bytes,
    /// The backend's own, so that nothing here knows how a broker encodes them.
    decode: fn(&[u8]) -> Properties,
}

impl LazyProperties {
    /// Properties as they came, with what decodes them: at most once, and then kept.
    #[cfg(feature = "amqp")]
    pub(crate) fn encoded(bytes: Bytes, decode: fn(&[u8]) -> Properties) -> Self {
        Self { encoded: Some(Encoded { bytes, decode }), decoded: OnceLock::new() }
    }

    /// The properties; `None` where the publisher set none.
    pub(crate) fn get(&self) -> Option<&Properties> {
        match &self.encoded {
            Some(Encoded { bytes, decode }) => Some(self.decoded.get_or_init(|| Box::new(decode(bytes)))),
            None => self.decoded.get().map(|decoded| &**decoded),
        }
    }
}

impl From<Option<Box<Properties>>> for LazyProperties {
    fn from(properties: Option<Box<Properties>>) -> Self {
        Self { encoded: None, decoded: properties.map(OnceLock::from).unwrap_or_default() }
    }
}

/// Decodes nothing: what is logged must not cost more than what is handled.
impl fmt::Debug for LazyProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.decoded.get(), &self.encoded) {
            (Some(decoded), _) => decoded.fmt(f),
            (None, Some(encoded)) => write!(f, "{} bytes", encoded.bytes.len()),
            (None, None) => f.write_str("none"),
        }
    }
}

#[cfg(all(test, feature = "amqp"))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    static DECODED: AtomicUsize = AtomicUsize::new(0);

    fn decode(bytes: &[u8]) -> Properties {
        DECODED.fetch_add(1, Ordering::Relaxed);
        Properties { priority: bytes.first().copied(), ..Properties::default() }
    }

    #[test]
    fn they_are_decoded_when_asked_for_and_once() {
        let lazy = LazyProperties::encoded(Bytes::from_static(&[7]), decode);
        assert_eq!(format!("{lazy:?}"), "1 bytes");
        assert_eq!(DECODED.load(Ordering::Relaxed), 0);
        for _ in 0..2 {
            assert_eq!(lazy.get().and_then(|properties| properties.priority), Some(7));
        }
        assert_eq!(DECODED.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn none_and_decoded_ones_are_given_as_they_are() {
        assert_eq!(LazyProperties::default().get(), None);
        assert_eq!(LazyProperties::from(None).get(), None);
        let some = Properties { kind: Some("order".into()), ..Properties::default() };
        assert_eq!(LazyProperties::from(Some(Box::new(some.clone()))).get(), Some(&some));
    }
}
