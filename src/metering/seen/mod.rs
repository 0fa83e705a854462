//! The seen index: which events the log holds, and in which batch each stands. Exact for ever, in bounded memory.
//!
//! Promise: for any history, crash or damage, a key that was inserted is found, and one that was not is not; or an
//! error says so. What is missing after a start is reported, as ranges of batches to be read from the log again: the
//! index is a cache of it.
//!
//! How: a [`memtable`] takes the newest entries. Full, it becomes a [`run`]: an immutable sorted file, with a
//! [`filter`] in memory that keeps most lookups from the disk. Runs side by side are [`merge`]d by a background
//! [`worker`], so that few are to be asked. Each knows which batches it holds all events of, and those are what
//! [`open`] puts together: there is no other list to go wrong. When memory gets short, filters are folded: lookups
//! read more, and stay exact.
//!
//! Looking up is for many threads: [`Seen::runs`] gives a snapshot that is searched without a lock. The one writer
//! then asks only for what came after it: [`Seen::recent`].

mod entry;
mod filter;
mod index;
mod memtable;
mod merge;
mod open;
mod run;
mod runs;
#[cfg(test)]
mod tests;
mod worker;
mod write;

pub use runs::Runs;

use std::ops::RangeInclusive;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::RwLockReadGuard;
use std::thread::JoinHandle;

use flate2::Crc;
use siphasher::sip128::SipHasher13;
use thiserror::Error;

use crate::metering::aside::give_way;
use crate::metering::seen::entry::Seqs;
use crate::metering::seen::index::Index;
use crate::metering::seen::index::Sizes;
use crate::metering::seen::index::Stop;
use crate::metering::seen::memtable::Memtable;
use crate::metering::seen::runs::Part;
use crate::metering::seen::worker::Worker;

/// A keyed 128-bit hash of (`source`, `id`): nobody who does not know the key can make two events collide.
pub type SeenKey = u128;

/// Room for what a key is made of; longer ones are rare.
const KEY_BYTES: usize = 128;

/// Where an event stands, and a short hash of what it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenAt {
    pub seq: i64,
    /// 24 bits.
    pub content: u32,
}

/// The index of one log. Share it; dropped, it lets go of what is not written yet: the log holds it.
#[derive(Debug)]
pub struct Seen {
    index: Arc<Index>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What was inserted of late, and a lock that keeps it as it is: whoever holds it must not insert.
#[derive(Debug)]
pub struct Recent<'a> {
    active: RwLockReadGuard<'a, Option<Memtable>>,
    runs: Arc<Runs>,
}

/// What was inserted after a snapshot was taken.
#[derive(Debug)]
pub struct Since<'a> {
    active: Option<&'a Memtable>,
    /// The oldest first. Nearly always none.
    parts: Vec<&'a Part>,
}

#[derive(Debug, Error)]
pub enum Error {
    #[error(
        "{file} of the seen index is damaged, and was put aside ({reason}). Start again: it is rebuilt from the log"
    )]
    Damaged { file: String, reason: String },
    #[error("the seen index in {folder} cannot be opened: {source}", folder = .folder.display())]
    Folder { folder: PathBuf, source: std::io::Error },
}

impl Seen {
    /// Opens the index in a folder of its own, in so much memory, for a log that ends with batch `last_seq`. Returns
    /// also the batches that it does not know, ascending: [`insert`](Self::insert) them from the log.
    ///
    /// # Errors
    /// If the folder cannot be read or written. Damaged files are none: they are deleted, and their batches missing.
    pub fn open(folder: &Path, memory_bytes: usize, last_seq: i64) -> Result<(Self, Vec<RangeInclusive<i64>>), Error> {
        let failed = |source| Error::Folder { folder: folder.to_owned(), source };
        let sizes = Sizes::new(memory_bytes);
        let (secret, runs) = open::open(folder, sizes, last_seq).map_err(failed)?;
        let missing = runs.missing(last_seq);
        let index = Arc::new(Index::new(folder.to_owned(), secret, sizes, runs));
        let worker = Worker::new(index.clone());
        let thread = std::thread::Builder::new()
            .name("seen".to_owned())
            .spawn(|| {
                give_way();
                worker.run();
            })
            .map_err(failed)?;
        Ok((Self { index, thread: Mutex::new(Some(thread)) }, missing))
    }

    pub fn key(&self, source: &str, id: &str) -> SeenKey {
        let hasher = SipHasher13::new_with_key(&self.index.secret);
        let parts = [&source.len().to_le_bytes()[..], source.as_bytes(), id.as_bytes()];
        // One text is hashed faster than three; it is on the stack, unless it is long.
        let mut text = [0; KEY_BYTES];
        let mut length = 0;
        for part in parts {
            let end = length + part.len();
            let Some(room) = text.get_mut(length..end) else { return hasher.hash(&parts.concat()).as_u128() };
            room.copy_from_slice(part);
            length = end;
        }
        hasher.hash(&text[..length]).as_u128()
    }

    /// What is sealed at this moment: look keys up there first, on any thread.
    pub fn runs(&self) -> Arc<Runs> {
        self.index.runs()
    }

    /// What is not in an older snapshot: for whoever has looked there before.
    pub fn recent(&self) -> Recent<'_> {
        // In this order: between the two, nothing moves from the table to the runs.
        let active = self.index.active();
        Recent { active, runs: self.index.runs() }
    }

    /// Looks a key up everywhere.
    pub fn get(&self, key: SeenKey) -> Result<Option<SeenAt>, Error> {
        self.recent().since(&Runs::default()).get(key)
    }

    /// Looks many keys up everywhere.
    pub fn find(&self, keys: &[SeenKey]) -> Result<Vec<Option<SeenAt>>, Error> {
        let runs = self.runs();
        let mut found = runs.find(keys)?;
        let recent = self.recent();
        let since = recent.since(&runs);
        for (key, found) in keys.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
            *found = since.get(*key)?;
        }
        Ok(found)
    }

    /// Adds the events of a batch, none too; the first entry with a key stands. Batches come in ascending order. One
    /// that is known already is left as it is.
    ///
    /// Give an iterator that tells how many they are, so that a table is written before it gets too large. One batch
    /// of more entries than a table is meant for makes it larger, and takes the budget over its end for a while.
    ///
    /// Waits when tables are filled faster than they can be written, or the disk is full.
    pub fn insert(&self, seq: i64, entries: impl Iterator<Item = (SeenKey, u32)>) {
        let count = entries.size_hint().0;
        loop {
            let mut active = self.index.active_mut();
            let batch = Seqs { first: seq, last: seq };
            if active.as_ref().is_some_and(|table| table.seqs().contains(batch)) || self.index.runs().covers(batch) {
                return;
            }
            let goes_on = |table: &Memtable| {
                let room = self.index.sizes.table_entries.saturating_sub(table.len());
                table.seqs().last.checked_add(1) == Some(seq) && count <= room
            };
            if !active.as_ref().is_none_or(goes_on) {
                if !self.index.has_room() {
                    drop(active);
                    self.index.wait_for_room();
                    continue;
                }
                self.index.rotate(&mut active);
            }
            let table = active.get_or_insert_with(|| Memtable::new(seq, self.index.sizes.table_entries));
            table.insert(seq, entries);
            return;
        }
    }

    /// Has everything that was inserted so far written, in the background.
    pub fn seal(&self) {
        self.index.rotate(&mut self.index.active_mut());
    }

    /// How many entries there are. An event that the log holds twice may count twice until its runs are merged.
    pub fn len(&self) -> u64 {
        let recent = self.recent();
        let active = recent.active.as_ref().map_or(0, Memtable::len);
        recent.runs.len().saturating_add(active as u64)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory in use.
    pub fn memory(&self) -> usize {
        let recent = self.recent();
        let active = recent.active.as_ref().map_or(0, Memtable::bytes);
        recent.runs.bytes().saturating_add(active)
    }

    /// How often [`insert`](Self::insert) had to wait for the disk.
    pub fn waits(&self) -> u64 {
        self.index.waits()
    }

    /// Writes everything, and stops. Without it, the next start reads the newest batches from the log again.
    pub fn close(&self) {
        self.seal();
        self.stop(Stop::WhenSealed);
    }

    fn stop(&self, stop: Stop) {
        self.index.set_stop(stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the seen index has panicked");
        }
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        self.stop(Stop::Now);
    }
}

impl Recent<'_> {
    /// What came after a snapshot.
    pub fn since(&self, than: &Runs) -> Since<'_> {
        let parts = match std::ptr::eq(than, &*self.runs) {
            true => Vec::new(),
            false => self.runs.parts().iter().filter(|part| !than.covers(part.seqs())).collect(),
        };
        Since { active: self.active.as_ref(), parts }
    }
}

impl Since<'_> {
    pub fn get(&self, key: SeenKey) -> Result<Option<SeenAt>, Error> {
        let mut first = self.active.and_then(|table| table.get(key));
        for part in &self.parts {
            if let Some(at) = part.get(key)? {
                first = Some(first.map_or(at, |first| if at.seq < first.seq { at } else { first }));
                break;
            }
        }
        Ok(first)
    }
}

/// A short hash of an event's text, 24 bits: equal texts are surely equal, others are compared by what they say.
pub fn content_hash(text: &str) -> u32 {
    let mut crc = Crc::new();
    crc.update(text.as_bytes());
    crc.sum() >> 8
}
