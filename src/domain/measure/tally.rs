//! A tally: what some events add to usage, with each key of usage kept once however many events add to it.

use hashbrown::HashTable;

use crate::domain::measure::delta::Delta;
use crate::domain::measure::delta::Key;
use crate::domain::measure::delta::TooLarge;
use crate::domain::measure::digest::Digesting;
use crate::domain::measure::digest::KeyDigest;
use crate::domain::measure::digest::Secret;

/// What one event adds to one key of a tally.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// The key's number.
    pub key: u32,
    pub delta: Delta,
}

/// What events add, in the order in which they were measured.
#[derive(Debug, Default)]
pub struct Tally {
    secret: Secret,
    keys: Vec<(KeyDigest, Key)>,
    numbers: HashTable<(KeyDigest, u32)>,
    added: Vec<Added>,
}

impl Tally {
    /// A tally whose digests are keyed by `secret`, with room for what so many events add to two meters.
    pub fn new(secret: Secret, events: usize) -> Self {
        let added = Vec::with_capacity(events.saturating_mul(2));
        Self { secret, keys: Vec::new(), numbers: HashTable::new(), added }
    }

    /// Begins the digest of a key, part by part in the order of [`KeyDigest::of`].
    pub fn digesting(&self) -> Digesting {
        Digesting::new(&self.secret)
    }

    /// Adds to the row with this digest. `key` makes its key where it is new.
    pub fn add(&mut self, digest: KeyDigest, delta: Delta, key: impl FnOnce() -> Key) {
        let known = self.numbers.find(digest.half(), |(known, _)| *known == digest);
        let number = match known {
            Some((_, number)) => *number,
            None => {
                // A body of 2^32 events does not fit any limit.
                let number = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
                self.keys.push((digest, key()));
                self.numbers.insert_unique(digest.half(), (digest, number), |(digest, _)| digest.half());
                number
            }
        };
        self.added.push(Added { key: number, delta });
    }

    /// How many additions there are so far.
    pub fn len(&self) -> usize {
        self.added.len()
    }

    pub fn is_empty(&self) -> bool {
        self.added.is_empty()
    }

    /// Forgets the additions from a place on: those of an event that turned out to be invalid.
    pub fn truncate(&mut self, len: usize) {
        self.added.truncate(len);
    }

    /// What all of it comes to, row by row.
    pub fn totals(self) -> Result<Vec<(KeyDigest, Key, Delta)>, TooLarge> {
        let mut totals = vec![Delta::default(); self.keys.len()];
        for added in &self.added {
            if let Some(total) = totals.get_mut(added.key as usize) {
                *total = total.merge(added.delta)?;
            }
        }
        Ok(self.keys.into_iter().zip(totals).map(|((digest, key), delta)| (digest, key, delta)).collect())
    }

    /// The keys by number, and the additions in order.
    pub fn into_parts(self) -> (Vec<(KeyDigest, Key)>, Vec<Added>) {
        (self.keys, self.added)
    }
}
