//! One entry of the index, as tables and files keep it: 24 bytes.

use std::ops::RangeInclusive;

use crate::metering::seen::SeenAt;
use crate::metering::seen::SeenKey;

/// Bytes of an entry in a file: key (high half, low half), then where it stands; little-endian.
pub(in crate::metering::seen) const ENTRY_BYTES: usize = 24;

const CONTENT_BITS: u32 = 24;
/// The highest batch number that an entry can tell. Later ones are told as this one, and are duplicates all the same.
const SEQ_MAX: i64 = (1 << 40) - 1;

/// A key and where it stands. Sorts by key, then by batch, so that the first of two equal keys is the older event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::metering::seen) struct Entry {
    pub high: u64,
    pub low: u64,
    /// Batch in the upper 40 bits, content hash in the lower 24.
    pub place: u64,
}

/// The batches that a table or a run holds all events of; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::metering::seen) struct Seqs {
    pub first: i64,
    pub last: i64,
}

impl Entry {
    pub fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        let words = [self.high, self.low, self.place];
        for (slot, word) in bytes.chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    pub fn from_bytes(bytes: &[u8; ENTRY_BYTES]) -> Self {
        Self { high: word(bytes, 0), low: word(bytes, 8), place: word(bytes, 16) }
    }
}

impl Seqs {
    pub fn contains(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }
}

impl From<Seqs> for RangeInclusive<i64> {
    fn from(seqs: Seqs) -> Self {
        seqs.first..=seqs.last
    }
}

/// The halves of a key: the high one says where it lies in a sorted file, the low one which bits of a filter it sets.
pub(in crate::metering::seen) fn halves(key: SeenKey) -> (u64, u64) {
    // The truncation is what is meant.
    ((key >> 64) as u64, key as u64)
}

pub(in crate::metering::seen) fn pack(at: SeenAt) -> u64 {
    let seq = at.seq.clamp(0, SEQ_MAX).unsigned_abs();
    seq << CONTENT_BITS | u64::from(at.content & ((1 << CONTENT_BITS) - 1))
}

pub(in crate::metering::seen) fn unpack(place: u64) -> SeenAt {
    // 40 bits and 24 bits: nothing is lost.
    SeenAt { seq: (place >> CONTENT_BITS) as i64, content: (place & ((1 << CONTENT_BITS) - 1)) as u32 }
}

/// The little-endian word at an offset that the caller knows to lie within `bytes`.
pub(in crate::metering::seen) fn word(bytes: &[u8], offset: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(word)
}
