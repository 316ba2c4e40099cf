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
//! | in several frames, or of a frame above 16 KiB that is read in parts | into one allocation that grows as they come | twice itself at most |
//!
//! Such an allocation is used again. One that is made anew costs more than what is read into it: the system hands out
//! memory by pages, and takes it back as soon as it can.

use bytes::buf::Limit;
use bytes::{BufMut, Bytes, BytesMut};
use std::sync::{Arc, Mutex, PoisonError};

/// How much one read takes at most, as a rule.
pub(super) const CHUNK: usize = 64 * 1024;
/// Bodies from here on are slices of their chunk.
const SLICED: usize = 8 * 1024;
/// Octets up to here share a block.
const SMALL: usize = 1024;
const BLOCK: usize = 4 * 1024;
/// Body frames from here on need not be there as a whole before they are taken.
pub(super) const IN_PARTS: usize = 16 * 1024;
/// So much of what large bodies lay in is kept for others.
const KEPT: usize = 4 * 1024 * 1024;
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

/// What large bodies lay in that nobody holds any more.
#[derive(Clone, Default)]
pub(super) struct Room(Arc<Mutex<Vec<Vec<u8>>>>);

impl Room {
    /// Room for a body of this length: not for all of it where that is more than a header may make us reserve.
    fn take(&self, length: u64) -> Vec<u8> {
        let length = usize::try_from(length).unwrap_or(RESERVED).min(RESERVED);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.iter().position(|room| (length..=2 * length).contains(&room.capacity())) {
            Some(place) => kept.swap_remove(place),
            None => Vec::with_capacity(length),
        }
    }

    fn give_back(&self, mut room: Vec<u8>) {
        room.clear();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.iter().map(Vec::capacity).sum::<usize>() + room.capacity() <= KEPT {
            kept.push(room);
        }
    }
}

/// A body that comes in several parts.
pub(super) struct Assembly {
    octets: Vec<u8>,
    missing: u64,
    room: Room,
}

impl Assembly {
    pub(super) fn new(length: u64, room: &Room) -> Self {
        Self { octets: room.take(length), missing: length, room: room.clone() }
    }

    /// Appends a part. The answer is `false` when it is more than the content header said.
    pub(super) fn append(&mut self, part: &[u8]) -> bool {
        let Some(missing) = self.missing.checked_sub(part.len() as u64) else { return false };
        self.make_room(part.len());
        self.octets.extend_from_slice(part);
        self.missing = missing;
        true
    }

    fn make_room(&mut self, length: usize) {
        if self.octets.capacity() - self.octets.len() < length {
            // Doubled, but not beyond what is to come: so the last one fits, and nothing is left over.
            let ahead = usize::try_from(self.missing).unwrap_or(usize::MAX).min(self.octets.len());
            self.octets.reserve_exact(ahead.max(length));
        }
    }

    /// Where so many octets of it at most may be read to, behind what is there.
    pub(super) fn next(&mut self, most: usize) -> Limit<&mut Vec<u8>> {
        if self.octets.len() == self.octets.capacity() {
            self.make_room(most.min(IN_PARTS));
        }
        let most = most.min(self.octets.capacity() - self.octets.len());
        (&mut self.octets).limit(most)
    }

    /// So many were read there, of those that are missing.
    pub(super) fn filled(&mut self, length: usize) {
        self.missing = self.missing.saturating_sub(length as u64);
    }

    /// The last octets that were appended.
    pub(super) fn end(&self, length: usize) -> &[u8] {
        self.octets.get(self.octets.len() - length..).unwrap_or_default()
    }

    pub(super) fn missing(&self) -> u64 {
        self.missing
    }

    pub(super) fn is_whole(&self) -> bool {
        self.missing == 0
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn reserved(&self) -> usize {
        self.octets.capacity()
    }

    pub(super) fn into_body(self) -> Bytes {
        Bytes::from_owner(Held { octets: self.octets, room: self.room })
    }
}

/// What a body lies in while somebody holds it.
struct Held {
    octets: Vec<u8>,
    room: Room,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.give_back(std::mem::take(&mut self.octets));
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
        assert!(Assembly::new(u64::MAX, &Room::default()).octets.capacity() <= RESERVED);
        let mut assembly = Assembly::new(u64::MAX, &Room::default());
        for _ in 0..20 {
            assert!(assembly.append(&[0; 100_000]));
        }
        assert!(assembly.octets.capacity() <= 2 * 2_000_000);
    }

    #[test]
    fn an_assembled_body_has_its_own_size() {
        let mut assembly = Assembly::new(3_000_001, &Room::default());
        for length in [1_500_000, 1_500_000, 0, 1] {
            assert!(!assembly.is_whole());
            assert!(assembly.append(&vec![7; length]));
        }
        assert!(assembly.is_whole() && !assembly.append(&[0]));
        assert_eq!(assembly.octets.capacity(), 3_000_001);
        assert_eq!(assembly.into_body().len(), 3_000_001);
    }

    fn body(length: usize, room: &Room) -> Bytes {
        let mut assembly = Assembly::new(length as u64, room);
        assert!(assembly.append(&vec![7; length]) && assembly.is_whole());
        assembly.into_body()
    }

    #[test]
    fn a_body_lies_where_one_lay_that_nobody_holds_and_that_was_not_much_larger() {
        let room = Room::default();
        let first = body(100_000, &room);
        let (place, again) = (first.as_ptr(), first.clone());
        drop(first);
        assert_ne!(body(100_000, &room).as_ptr(), place, "somebody holds it");
        drop(again);
        let places: Vec<_> =
            [60_000, 60_000, 100_001].map(|length| body(length, &room)).iter().map(|body| body.as_ptr()).collect();
        assert!(places[..2].contains(&place) && places[2] != place);
        assert_ne!(body(40_000, &room).as_ptr(), place);
    }

    #[test]
    fn no_more_is_kept_than_a_bound() {
        let room = Room::default();
        let bodies: Vec<_> = (0..100).map(|_| body(100_000, &room)).collect();
        drop(bodies);
        let kept: usize = room.0.lock().unwrap().iter().map(Vec::capacity).sum();
        assert!(kept > KEPT - 100_000 && kept <= KEPT, "{kept}");
    }
}
