//! Where the octets of a message live: what it costs to hold one, and what it costs to take one.
//!
//! What is read from the socket lies in a chunk of some 64 KiB. A slice of it costs no copy and keeps
//! the whole chunk alive for as long as the message is held; so:
//!
//! | octets | they go | a message held long keeps |
//! |---|---|---|
//! | up to 1 KiB | into a block of 4 KiB with others: one allocation for many, and the chunk is free at once to be read into again | 4 KiB |
//! | up to 8 KiB | into an allocation of their own | itself |
//! | more, in one frame | nowhere: a slice of the chunk | the chunk: 8 times itself at most, and more only beside frames above 64 KiB |
//! | in several frames | into one allocation that grows as they come | itself |

use bytes::{Bytes, BytesMut};

/// How much one read takes at most, as a rule.
pub(super) const CHUNK: usize = 64 * 1024;
/// Bodies from here on are slices of their chunk.
const SLICED: usize = 8 * 1024;
/// Octets up to here share a block.
const SMALL: usize = 1024;
const BLOCK: usize = 4 * 1024;
/// A content header may say any size: only so much is reserved before the body is there.
const RESERVED: usize = 1024 * 1024;

/// Whether a body of one frame is to be a slice of its chunk.
pub(super) fn is_sliced(length: usize) -> bool {
    length >= SLICED
}

/// Copies small things side by side.
#[derive(Default)]
pub(super) struct Blocks(BytesMut);

impl Blocks {
    pub(super) fn copy(&mut self, octets: &[u8]) -> Bytes {
        if octets.is_empty() {
            return Bytes::new();
        }
        if octets.len() > SMALL {
            return Bytes::copy_from_slice(octets);
        }
        if self.0.capacity() < octets.len() {
            // Not `reserve`: that would look for room in a block that messages still hold.
            self.0 = BytesMut::with_capacity(BLOCK);
        }
        self.0.extend_from_slice(octets);
        self.0.split().freeze()
    }
}

/// A body that comes in several frames.
pub(super) struct Assembly {
    octets: Vec<u8>,
    missing: u64,
}

impl Assembly {
    pub(super) fn new(length: u64) -> Self {
        Self { octets: Vec::with_capacity(usize::try_from(length).unwrap_or(RESERVED).min(RESERVED)), missing: length }
    }

    /// Appends a frame's part. The answer is `false` when it is more than the content header said.
    pub(super) fn append(&mut self, part: &[u8]) -> bool {
        let Some(missing) = self.missing.checked_sub(part.len() as u64) else { return false };
        if self.octets.capacity() - self.octets.len() < part.len() {
            // Doubled, but not beyond what is to come: so the last one fits, and nothing is left over.
            let ahead = usize::try_from(self.missing).unwrap_or(usize::MAX).min(self.octets.len());
            self.octets.reserve_exact(ahead.max(part.len()));
        }
        self.octets.extend_from_slice(part);
        self.missing = missing;
        true
    }

    pub(super) fn is_whole(&self) -> bool {
        self.missing == 0
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn reserved(&self) -> usize {
        self.octets.capacity()
    }

    pub(super) fn into_body(self) -> Bytes {
        self.octets.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_things_lie_side_by_side_in_blocks_that_do_not_grow() {
        let mut blocks = Blocks::default();
        let copies: Vec<_> = (0..100u8).map(|octet| blocks.copy(&[octet; 100])).collect();
        assert!(copies.iter().enumerate().all(|(place, copy)| copy[..] == [place as u8; 100]));
        let beside =
            copies.windows(2).filter(|pair| (pair[1].as_ptr() as usize).wrapping_sub(pair[0].as_ptr() as usize) == 100);
        assert!(beside.count() >= 97, "a new block is begun every 40 copies");
    }

    #[test]
    fn a_size_that_lies_reserves_little() {
        assert!(Assembly::new(u64::MAX).octets.capacity() <= RESERVED);
        let mut assembly = Assembly::new(u64::MAX);
        for _ in 0..20 {
            assert!(assembly.append(&[0; 100_000]));
        }
        assert!(assembly.octets.capacity() <= 2 * 2_000_000);
    }

    #[test]
    fn an_assembled_body_has_its_own_size() {
        let mut assembly = Assembly::new(3_000_001);
        for length in [1_500_000, 1_500_000, 0, 1] {
            assert!(!assembly.is_whole());
            assert!(assembly.append(&vec![7; length]));
        }
        assert!(assembly.is_whole() && !assembly.append(&[0]));
        assert_eq!(assembly.octets.capacity(), 3_000_001);
        assert_eq!(assembly.into_body().len(), 3_000_001);
    }
}
