//! What the fuzz targets in `fuzz/` call: each takes any octets and panics where the library does wrong.
//!
//! Compiled under `cfg(fuzzing)`, which `cargo xtask fuzz` sets, and for the tests, which replay the corpus.

#[cfg(feature = "amqp")]
pub use crate::backend::amqp::fuzzing::{properties, reader};
#[cfg(feature = "sse")]
pub use crate::backend::sse::fuzzing::events;
pub use crate::worker::fuzzing::bucket;
pub use crate::worker::fuzzing::window;

#[cfg(test)]
mod tests;

/// The octets of an input as choices: all of them are 0 once it has ended.
pub(crate) struct Choices<'a>(pub(crate) &'a [u8]);

impl<'a> Choices<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn octet(&mut self) -> u8 {
        let Some((octet, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *octet
    }

    pub(crate) fn number(&mut self) -> u64 {
        u64::from_be_bytes(std::array::from_fn(|_| self.octet()))
    }

    /// So many octets, or as many as there are.
    #[cfg(feature = "amqp")]
    pub(crate) fn octets(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
