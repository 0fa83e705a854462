//! The newest entries: a hash table in memory, until it is full and a run is written of it.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::hash::Hash;
use std::hash::Hasher;

use crate::metering::seen::SeenAt;
use crate::metering::seen::SeenKey;
use crate::metering::seen::entry;
use crate::metering::seen::entry::Entry;
use crate::metering::seen::entry::Seqs;

/// Bytes a slot of the table takes: an entry and the table's own byte.
const SLOT_BYTES: usize = entry::ENTRY_BYTES + 1;
/// Slots of the smallest and of the largest table. More would keep the writer's lookups out of the caches.
const SLOTS_MIN: usize = 64;
const SLOTS_MAX: usize = 1 << 21;

/// A large table is sorted in so many parts, two to the power of this: some 200 entries each.
const PARTS_BITS: u32 = 12;

#[derive(Debug)]
pub(in crate::metering::seen) struct Memtable {
    seqs: Seqs,
    places: HashMap<Key, u64, BuildHasherDefault<AsItIs>>,
}

/// Two words instead of a `u128`, whose alignment would make an entry 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    high: u64,
    low: u64,
}

/// Keys are hashes already, and keyed ones: a half of one is as good as any hash of it.
#[derive(Clone, Copy, Debug, Default)]
struct AsItIs(u64);

impl Memtable {
    /// A table for batches from `seq` on.
    pub fn new(seq: i64, entries_max: usize) -> Self {
        let places = HashMap::with_capacity_and_hasher(entries_max, BuildHasherDefault::default());
        Self { seqs: Seqs { first: seq, last: seq }, places }
    }

    /// How many entries a table holds that takes no more than `bytes`.
    pub fn entries_max(bytes: usize) -> usize {
        let slots = (bytes / SLOT_BYTES).clamp(SLOTS_MIN, SLOTS_MAX);
        // The largest power of two; the table is doubled when seven of eight slots are taken.
        (1 << slots.ilog2()) / 8 * 7
    }

    pub fn seqs(&self) -> Seqs {
        self.seqs
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Bytes that the table takes.
    pub fn bytes(&self) -> usize {
        Self::bytes_for(self.places.capacity())
    }

    pub fn bytes_for(entries_max: usize) -> usize {
        (entries_max / 7).saturating_mul(8).next_power_of_two().saturating_mul(SLOT_BYTES)
    }

    /// Adds a batch. The first entry with a key stands.
    pub fn insert(&mut self, seq: i64, entries: impl Iterator<Item = (SeenKey, u32)>) {
        self.seqs.last = seq;
        for (key, content) in entries {
            self.places.entry(Key::from(key)).or_insert_with(|| entry::pack(SeenAt { seq, content }));
        }
    }

    pub fn get(&self, key: SeenKey) -> Option<SeenAt> {
        self.places.get(&Key::from(key)).map(|place| entry::unpack(*place))
    }

    /// All entries, sorted.
    pub fn sorted(&self) -> Vec<Entry> {
        // By their upper bits first, into parts that are sorted within the fastest cache.
        let part = |key: &Key| (key.high >> (64 - PARTS_BITS)) as usize;
        let mut ends = vec![0_usize; 1 << PARTS_BITS];
        for key in self.places.keys() {
            ends[part(key)] += 1;
        }
        let mut starts = 0;
        for end in &mut ends {
            starts += std::mem::replace(end, starts);
        }
        let mut entries = vec![Entry::default(); self.places.len()];
        for (key, place) in &self.places {
            let end = &mut ends[part(key)];
            entries[*end] = Entry { high: key.high, low: key.low, place: *place };
            *end += 1;
        }
        let mut start = 0;
        for end in ends {
            entries[start..end].sort_unstable();
            start = end;
        }
        entries
    }
}

impl From<SeenKey> for Key {
    fn from(key: SeenKey) -> Self {
        let (high, low) = entry::halves(key);
        Self { high, low }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.high);
    }
}

impl Hasher for AsItIs {
    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
