//! A tally: what some events add to usage, with each key of usage kept once however many events add to it.

use hashbrown::HashTable;

use crate::domain::measure::delta::Delta;
use crate::domain::measure::delta::Key;
use crate::domain::measure::delta::TooLarge;
use crate::domain::measure::digest::Digesting;
use crate::domain::measure::digest::KeyDigest;
use crate::domain::measure::digest::Secret;
use crate::domain::measure::item;
use crate::domain::measure::item::Place;

/// What one event adds to one key of a tally.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// The key's number.
    pub key: u32,
    pub delta: Delta,
}

/// A key of a tally, and its digest; none while its item waits for the place of its event in the log.
pub type Counting = (Option<KeyDigest>, Key);

/// What events add, in the order in which they were measured.
#[derive(Debug, Default)]
pub struct Tally {
    secret: Secret,
    keys: Vec<Counting>,
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
                self.keys.push((Some(digest), key()));
                self.numbers.insert_unique(digest.half(), (digest, number), |(digest, _)| digest.half());
                number
            }
        };
        self.added.push(Added { key: number, delta });
    }

    /// Adds to a row of this event alone, whose item is complete when [`place`] has seen it.
    pub fn add_unplaced(&mut self, delta: Delta, key: Key) {
        let number = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        self.keys.push((None, key));
        self.added.push(Added { key: number, delta });
    }

    /// Gives the event of the additions from `from` on its place in the log.
    pub fn place(&mut self, from: usize, at: Place) {
        place(&mut self.keys, self.added.get(from..).unwrap_or_default(), &self.secret, at);
    }

    /// How many additions there are so far.
    pub fn added(&self) -> usize {
        self.added.len()
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
        let rows = self.keys.into_iter().zip(totals);
        Ok(rows.filter_map(|((digest, key), delta)| Some((digest?, key, delta))).collect())
    }

    /// The keys by number, and the additions in order.
    pub fn into_parts(self) -> (Vec<Counting>, Vec<Added>) {
        (self.keys, self.added)
    }
}

/// Completes the keys that wait for the place of the event that made these additions.
pub fn place(keys: &mut [Counting], added: &[Added], secret: &Secret, at: Place) {
    for added in added {
        if let Some((digest @ None, key)) = keys.get_mut(added.key as usize) {
            key.item = item::placed(&key.item, at).into();
            *digest = Some(KeyDigest::of(secret, key));
        }
    }
}
