//! A tally: what some events add to usage, with each key of usage kept once however many events add to it.

use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

use hashbrown::DefaultHashBuilder;
use hashbrown::HashTable;

use crate::domain::measure::delta::Delta;
use crate::domain::measure::delta::Key;
use crate::domain::measure::delta::TooLarge;
use crate::domain::measure::digest::KeyDigest;
use crate::domain::measure::digest::Secret;
use crate::domain::measure::item;
use crate::domain::measure::item::Place;
use crate::domain::time::Instant;

/// Ends a part of a row's text. No text holds it.
const END: u8 = 0xff;

/// What one event adds to one key of a tally.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// The key's number.
    pub key: u32,
    pub delta: Delta,
}

/// A key of a tally, and its digest; none while its item waits for the place of its event in the log.
pub type Counting = (Option<KeyDigest>, Key);

/// The key of a row of usage, but for its dimensions.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    pub meter: &'a Arc<str>,
    pub party: &'a str,
    pub bucket: Instant,
    pub item: &'a str,
}

/// What events add, in the order in which they were measured.
#[derive(Debug)]
pub struct Tally {
    secret: Secret,
    keys: Vec<Counting>,
    added: Vec<Added>,
    /// Where the text of each row is among the texts, and the number of its key.
    rows: HashTable<(Range<usize>, u32)>,
    hasher: DefaultHashBuilder,
    /// Of all rows, one behind the other. A row is found by comparing it as one text: that is cheaper than part by part.
    texts: Vec<u8>,
    /// What most rows have as their item.
    no_item: Arc<str>,
    /// Whose row was new last: likely also whose the next one is.
    last_party: Arc<str>,
}

impl Tally {
    /// A tally whose digests are keyed by `secret`, with room for what so many events add to two meters.
    pub fn new(secret: Secret, events: usize) -> Self {
        Self {
            secret,
            keys: Vec::new(),
            added: Vec::with_capacity(events.saturating_mul(2)),
            rows: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            texts: Vec::new(),
            no_item: "".into(),
            last_party: "".into(),
        }
    }

    /// Adds to a row, whose dimensions `dimensions` appends.
    pub fn add(&mut self, row: Row<'_>, dimensions: impl FnOnce(&mut Vec<u8>), delta: Delta) {
        let from = self.texts.len();
        self.texts.extend_from_slice(&row.bucket.micros().to_le_bytes());
        for part in [row.meter, row.party, row.item] {
            self.texts.extend_from_slice(part.as_bytes());
            self.texts.push(END);
        }
        let dimensions_from = self.texts.len();
        dimensions(&mut self.texts);
        let text = self.texts.get(from..).unwrap_or_default();
        let hash = self.hasher.hash_one(text);
        let is_it = |(place, _): &(Range<usize>, u32)| self.texts.get(place.clone()) == Some(text);
        let number = match self.rows.find(hash, is_it) {
            Some((_, number)) => {
                let number = *number;
                self.texts.truncate(from);
                number
            }
            None => {
                let key = self.key(row, dimensions_from);
                let number = self.number(Some(KeyDigest::of(&self.secret, &key)), key);
                let Self { rows, hasher, texts, .. } = self;
                let hash_of =
                    |(place, _): &(Range<usize>, u32)| hasher.hash_one(texts.get(place.clone()).unwrap_or_default());
                rows.insert_unique(hash, (from..texts.len(), number), hash_of);
                number
            }
        };
        self.added.push(Added { key: number, delta });
    }

    /// Adds to a row of this event alone, whose item is complete when [`place`] has seen it.
    pub fn add_unplaced(&mut self, row: Row<'_>, dimensions: impl FnOnce(&mut Vec<u8>), delta: Delta) {
        let from = self.texts.len();
        dimensions(&mut self.texts);
        let key = self.key(row, from);
        self.texts.truncate(from);
        let number = self.number(None, key);
        self.added.push(Added { key: number, delta });
    }

    fn key(&mut self, row: Row<'_>, dimensions_from: usize) -> Key {
        if *self.last_party != *row.party {
            self.last_party = row.party.into();
        }
        let dimensions = self.texts.get(dimensions_from..).unwrap_or_default();
        Key {
            meter: row.meter.clone(),
            party: self.last_party.clone(),
            bucket: row.bucket,
            dimensions: String::from_utf8_lossy(dimensions).into(),
            item: if row.item.is_empty() { self.no_item.clone() } else { row.item.into() },
        }
    }

    /// Keeps a key under a number.
    fn number(&mut self, digest: Option<KeyDigest>, key: Key) -> u32 {
        // A body of 2^32 events does not fit any limit.
        let number = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        self.keys.push((digest, key));
        number
    }

    /// Gives the event of the additions from `from` on its place in the log.
    pub fn place(&mut self, from: usize, at: Place) {
        place(&mut self.keys, self.added.get(from..).unwrap_or_default(), &self.secret, at);
    }

    /// How many additions there are so far.
    pub fn added(&self) -> usize {
        self.added.len()
    }

    /// The keys that the additions from a place on go to.
    pub fn keys_from(&self, from: usize) -> impl Iterator<Item = &Key> {
        let added = self.added.get(from..).unwrap_or_default();
        added.iter().filter_map(|added| self.keys.get(added.key as usize)).map(|(_, key)| key)
    }

    /// Forgets the additions from a place on: those of an event that turned out to be invalid.
    pub fn truncate(&mut self, len: usize) {
        self.added.truncate(len);
    }

    /// What all of it comes to, by the numbers of the keys.
    pub fn totals(&self) -> Result<Vec<Delta>, TooLarge> {
        let mut totals = vec![Delta::default(); self.keys.len()];
        for added in &self.added {
            if let Some(total) = totals.get_mut(added.key as usize) {
                *total = total.merge(added.delta)?;
            }
        }
        Ok(totals)
    }

    /// The keys by number, and the additions in order.
    pub fn into_parts(self) -> (Vec<Counting>, Vec<Added>) {
        (self.keys, self.added)
    }
}

/// The rows that something is added to. Every key must be complete.
pub fn rows(keys: Vec<Counting>, totals: Vec<Delta>) -> impl Iterator<Item = (KeyDigest, Key, Delta)> {
    let rows = keys.into_iter().zip(totals).filter(|(_, total)| !total.is_nothing());
    rows.filter_map(|((digest, key), total)| Some((digest?, key, total)))
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
