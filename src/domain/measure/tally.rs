//! A tally: what some events add to usage, with each key of usage kept once however many events add to it.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::DefaultHashBuilder;
use hashbrown::HashTable;

use crate::domain::measure::delta::Delta;
use crate::domain::measure::delta::Key;
use crate::domain::measure::delta::TooLarge;
use crate::domain::time::Instant;

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
    keys: Vec<Key>,
    numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
    added: Vec<Added>,
}

impl Tally {
    /// Adds to the row of these parts.
    pub fn add(&mut self, meter: &Arc<str>, party: &str, bucket: Instant, dimensions: &str, item: &str, delta: Delta) {
        // A meter is known by its address: within a tally the text of each lives at one place.
        let parts = (Arc::as_ptr(meter).addr(), party, bucket, dimensions, item);
        let hash = self.hasher.hash_one(parts);
        let keys = &mut self.keys;
        let is_it = |number: &u32| {
            keys.get(*number as usize).is_some_and(|key| {
                key.bucket == bucket
                    && *key.party == *party
                    && *key.dimensions == *dimensions
                    && *key.item == *item
                    && Arc::ptr_eq(&key.meter, meter)
            })
        };
        let key = match self.numbers.find(hash, is_it) {
            Some(known) => *known,
            None => {
                // A body of 2^32 events does not fit any limit.
                let number = u32::try_from(keys.len()).unwrap_or(u32::MAX);
                keys.push(Key {
                    meter: meter.clone(),
                    party: party.into(),
                    bucket,
                    dimensions: dimensions.into(),
                    item: item.into(),
                });
                let hasher = &self.hasher;
                let hash_of = |number: &u32| {
                    let key = keys.get(*number as usize);
                    key.map_or(0, |key| {
                        let meter = Arc::as_ptr(&key.meter).addr();
                        hasher.hash_one((meter, &*key.party, key.bucket, &*key.dimensions, &*key.item))
                    })
                };
                self.numbers.insert_unique(hash, number, hash_of);
                number
            }
        };
        self.added.push(Added { key, delta });
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
    pub fn totals(self) -> Result<Vec<(Key, Delta)>, TooLarge> {
        let mut totals = vec![Delta::default(); self.keys.len()];
        for added in &self.added {
            if let Some(total) = totals.get_mut(added.key as usize) {
                *total = total.merge(added.delta)?;
            }
        }
        Ok(self.keys.into_iter().zip(totals).collect())
    }

    /// The keys by number, and the additions in order.
    pub fn into_parts(self) -> (Vec<Key>, Vec<Added>) {
        (self.keys, self.added)
    }
}
