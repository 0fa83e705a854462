//! Which keys a run surely does not hold: a Bloom filter in blocks of one cache line, that can be folded to a part of
//! its size.
//!
//! The upper half of a key says in which block its bits are, and says it in the order of the keys, so that a filter
//! is written from front to back beside a sorted run. Folding joins neighbours: no key is lost, more are thought to be
//! there that are not.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use flate2::Crc;

use crate::metering::seen::SeenKey;
use crate::metering::seen::entry;

pub(in crate::metering::seen) const BLOCK_BYTES: usize = 64;

/// To how small a part a filter is folded, step by step, and how many of a million keys that are not there pass then.
const STEPS: [(u64, u64); 10] = [
    (1, 2_400),
    (2, 24_000),
    (3, 77_500),
    (4, 160_000),
    (6, 364_000),
    (8, 559_000),
    (12, 815_000),
    (16, 929_000),
    (24, 990_000),
    (48, 1_000_000),
];
pub(in crate::metering::seen) const STEP_MAX: usize = STEPS.len() - 1;
/// The count of blocks in a file is a multiple of this, and so of every part.
pub(in crate::metering::seen) const BLOCKS_MULTIPLE: u64 = 48;

/// Bits for each entry before any folding.
const BITS_AN_ENTRY: u64 = 16;
/// Bits that a key sets. More would be better at 16 bits an entry, and worse after folding.
const BITS_A_KEY: u32 = 4;
const READ_BYTES: usize = 64 << 10;
/// Keys that are asked for one after another; their blocks fit into the second cache.
const PASS_KEYS: usize = 1024;

/// As large as a cache line, and aligned like one, so that a key costs one wait for memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(64))]
pub(in crate::metering::seen) struct Block([u64; 8]);

#[derive(Debug, PartialEq, Eq)]
pub(in crate::metering::seen) struct Filter {
    blocks: Vec<Block>,
    folding: Folding,
}

/// The size of a filter, and how far it is folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::metering::seen) struct Folding {
    /// Before folding.
    pub blocks: u64,
    /// Up to `STEP_MAX`.
    pub step: usize,
}

impl Block {
    pub fn insert(&mut self, low: u64) {
        for (word, bit) in bits(low) {
            self.0[word] |= bit;
        }
    }

    fn contains(&self, low: u64) -> bool {
        // No early exit: the next key's block is fetched while this one is waited for.
        bits(low).fold(true, |all, (word, bit)| all & (self.0[word] & bit != 0))
    }

    fn join(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(other.0) {
            *word |= other;
        }
    }

    pub fn to_bytes(self) -> [u8; BLOCK_BYTES] {
        let mut bytes = [0; BLOCK_BYTES];
        for (slot, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        let mut block = Self::default();
        for (word, slot) in block.0.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = entry::word(slot, 0);
        }
        block
    }
}

impl Filter {
    /// Reads a filter from a file, folded. `None` if it is not the one whose CRC-32 is `checksum`.
    pub fn read(file: &File, offset: u64, folding: Folding, checksum: u32) -> io::Result<Option<Self>> {
        let mut filter = Self { blocks: vec![Block::default(); folding.kept()], folding };
        let joined = folding.divisor();
        let mut buffer = vec![0; READ_BYTES];
        let mut crc = Crc::new();
        let (mut number, mut of_block) = (0_usize, 0);
        let (mut at, mut left) = (offset, folding.blocks as usize * BLOCK_BYTES);
        while left > 0 {
            let chunk = &mut buffer[..left.min(READ_BYTES)];
            file.read_exact_at(chunk, at)?;
            crc.update(chunk);
            for bytes in chunk.chunks_exact(BLOCK_BYTES) {
                filter.blocks[number].join(&Block::from_bytes(bytes));
                of_block += 1;
                if of_block == joined {
                    (number, of_block) = (number + 1, 0);
                }
            }
            at += chunk.len() as u64;
            left -= chunk.len();
        }
        Ok((crc.sum() == checksum).then_some(filter))
    }

    pub fn folding(&self) -> Folding {
        self.folding
    }

    pub fn bytes(&self) -> usize {
        self.blocks.len() * BLOCK_BYTES
    }

    pub fn contains(&self, key: SeenKey) -> bool {
        let (high, low) = entry::halves(key);
        self.blocks[block_of(high, self.blocks.len())].contains(low)
    }

    /// The indexes of those keys that may be there.
    pub fn pass(&self, keys: &[SeenKey], passed: &mut Vec<u32>) {
        passed.clear();
        let mut first = 0_u32;
        for keys in keys.chunks(PASS_KEYS) {
            // One bit of each key at first, in as few steps as can be and with nothing that depends on the answer, no
            // branch and no place to write to: so the next keys' blocks are fetched while this one is waited for.
            let mut masks = [0_u64; PASS_KEYS / 64];
            for (mask, keys) in masks.iter_mut().zip(keys.chunks(64)) {
                for (bit, key) in keys.iter().enumerate() {
                    let (high, low) = entry::halves(*key);
                    let block = &self.blocks[block_of(high, self.blocks.len())];
                    *mask |= (block.0[(low >> 6 & 7) as usize] >> (low & 63) & 1) << bit;
                }
            }
            // Then the other bits, of those few whose first one is set: their blocks are near now.
            for (mask, start) in masks.iter_mut().zip((0..).step_by(64)) {
                while *mask != 0 {
                    let index = start + mask.trailing_zeros();
                    *mask &= *mask - 1;
                    if self.contains(keys[index as usize]) {
                        passed.push(first + index);
                    }
                }
            }
            first += PASS_KEYS as u32;
        }
    }
}

impl Folding {
    /// A filter for so many entries, not folded.
    pub fn for_entries(entries: u64) -> Self {
        let block_bits = BLOCK_BYTES as u64 * 8;
        let blocks = entries.saturating_mul(BITS_AN_ENTRY).div_ceil(block_bits);
        Self { blocks: blocks.max(1).next_multiple_of(BLOCKS_MULTIPLE), step: 0 }
    }

    fn divisor(self) -> u64 {
        STEPS[self.step].0
    }

    fn kept(self) -> usize {
        (self.blocks / self.divisor()) as usize
    }

    /// Folds until all fit into `bytes`, or none can be folded any more; first where each byte that is given back lets
    /// the fewest more keys pass. Every key is asked of every filter, whatever its size.
    pub fn fit(filters: &mut [Self], bytes: usize) {
        let further = |filter: Self| Self { step: filter.step + 1, ..filter };
        let mut kept: usize = filters.iter().map(|filter| filter.kept() * BLOCK_BYTES).sum();
        while kept > bytes {
            let foldable = filters.iter_mut().filter(|filter| filter.step < STEP_MAX);
            let gain = |filter: &&mut Self| {
                let next = further(**filter);
                let more_pass = STEPS[next.step].1 - STEPS[filter.step].1;
                (filter.kept() - next.kept()) as u64 * 1_000_000 / more_pass
            };
            let Some(best) = foldable.max_by_key(gain) else { return };
            kept -= best.kept() * BLOCK_BYTES;
            *best = further(*best);
            kept += best.kept() * BLOCK_BYTES;
        }
    }
}

/// The block of a key among `blocks`. With a third as many blocks it is a third of the number: that is what folding needs.
pub(in crate::metering::seen) fn block_of(high: u64, blocks: usize) -> usize {
    // Below `blocks`, whatever the key.
    ((u128::from(high) * blocks as u128) >> 64) as usize
}

/// Word and bit of a block, for each bit that a key sets: nine bits of the key each.
fn bits(low: u64) -> impl Iterator<Item = (usize, u64)> {
    (0..BITS_A_KEY).map(move |which| {
        let place = low >> (9 * which);
        ((place >> 6 & 7) as usize, 1 << (place & 63))
    })
}
