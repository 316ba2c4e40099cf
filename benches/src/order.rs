//! The message of all workloads.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;

/// What every Rust worker parses a body into.
#[derive(Debug, Deserialize)]
pub struct Order {
    /// Its number.
    pub id: u64,
    /// When it was published: nanoseconds since 1970.
    pub at: u64,
    /// Its sum.
    pub total: f64,
    /// Who ordered.
    pub customer: String,
}

/// The JSON of an order in exactly this many bytes; where none is that short, as many bytes that are no order.
#[must_use]
pub fn body(id: u64, at: u64, bytes: usize) -> Vec<u8> {
    let json = |note: &str| {
        // Numbers of fixed width, so that the length does not depend on them.
        format!(
            r#"{{"id":{:>9},"at":{at:>19},"total":99.95,"customer":"Grace Hopper","note":"{note}"}}"#,
            id % 1_000_000_000
        )
    };
    match bytes.checked_sub(json("").len()) {
        Some(rest) => json(&"x".repeat(rest)).into_bytes(),
        None => vec![b'x'; bytes],
    }
}

/// Nanoseconds since 1970, the same clock in every process.
#[must_use]
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_an_order_of_the_length_asked_for() -> Result<(), serde_json::Error> {
        for bytes in [120, 10_000] {
            let body = body(7, now(), bytes);
            assert_eq!(body.len(), bytes);
            let order: Order = serde_json::from_slice(&body)?;
            assert_eq!((order.id, order.customer.as_str()), (7, "Grace Hopper"));
        }
        assert_eq!(body(7, now(), 1).len(), 1);
        Ok(())
    }
}
