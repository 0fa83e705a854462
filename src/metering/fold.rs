//! The fold: what the newest batches add to usage, kept in memory and flushed together with their position.
//!
//! A flush is one transaction: it adds the deltas to `usage` and moves `applied_seq` on by compare-and-set. A crash
//! loses only memory, and replay from `applied_seq` gives it back: there is no second truth. Readers add what is not
//! flushed yet, under a gate that a flush closes while it commits, so that no delta is seen twice or not at all.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use hashbrown::DefaultHashBuilder;
use tokio::sync::RwLock;

use crate::domain::measure::delta::Delta;
use crate::domain::measure::delta::Key;
use crate::domain::measure::delta::TooLarge;
use crate::domain::measure::digest::KeyDigest;
use crate::domain::measure::digest::Secret;
use crate::metering::Error;
use crate::store::Db;
use crate::store::Read;
use crate::store::Tx;
use crate::store::Write;

pub type Deltas = HashMap<Key, Delta, DefaultHashBuilder>;

/// By digest, since comparing keys text by text is most of what a fold costs.
type Pending = HashMap<KeyDigest, (Key, Delta), DefaultHashBuilder>;

#[derive(Debug)]
pub struct Fold {
    /// Keys the digests.
    secret: Secret,
    state: Mutex<State>,
    /// Held for reading while usage is read, for writing while a flush commits.
    gate: RwLock<()>,
    /// One flush at a time.
    flushing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    /// The newest batch that is folded.
    folded_seq: i64,
    /// The newest batch that is stored.
    stored_seq: i64,
    /// Events that are folded and not stored: what a crash would have to read again.
    unstored_events: u64,
    pending: Pending,
    /// What a flush is writing at this moment.
    leaving: Arc<Pending>,
}

impl Fold {
    /// An empty fold that stands where the stored usage stands.
    pub fn new(stored_seq: i64) -> Self {
        let state = State {
            folded_seq: stored_seq,
            stored_seq,
            unstored_events: 0,
            pending: Pending::default(),
            leaving: Arc::new(Pending::default()),
        };
        let secret = crate::random::bytes();
        Self { secret, state: Mutex::new(state), gate: RwLock::new(()), flushing: tokio::sync::Mutex::new(()) }
    }

    /// What keys its digests.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Adds a batch. Batches must come in the order of the log.
    pub fn add(
        &self,
        seq: i64,
        events: u64,
        deltas: impl IntoIterator<Item = (KeyDigest, Key, Delta)>,
    ) -> Result<(), TooLarge> {
        let mut state = self.state();
        for (digest, key, delta) in deltas {
            merge(&mut state.pending, digest, key, delta)?;
        }
        state.folded_seq = seq;
        state.unstored_events = state.unstored_events.saturating_add(events);
        Ok(())
    }

    /// Events that are counted in memory only.
    pub fn unstored_events(&self) -> u64 {
        self.state().unstored_events
    }

    /// Writes what is pending, and the position it reaches, in one transaction.
    pub async fn flush(&self, db: &Db) -> Result<(), Error> {
        let _one_at_a_time = self.flushing.lock().await;
        let (deltas, events, from, to) = {
            let mut state = self.state();
            if state.folded_seq == state.stored_seq {
                return Ok(());
            }
            state.leaving = Arc::new(std::mem::take(&mut state.pending));
            (state.leaving.clone(), state.unstored_events, state.stored_seq, state.folded_seq)
        };
        let written = self.write(db, &deltas, from, to).await;
        match written {
            Ok(()) => {
                let mut state = self.state();
                state.unstored_events = state.unstored_events.saturating_sub(events);
            }
            Err(_) => self.take_back()?,
        }
        written
    }

    async fn write(&self, db: &Db, deltas: &Pending, from: i64, to: i64) -> Result<(), Error> {
        let mut tx = db.write().await?;
        add_to_stored(&mut tx, deltas.values().map(|(key, delta)| (key, *delta)).collect()).await?;
        if !tx.advance_applied_seq(from, to).await? {
            return Err(Error::Fenced);
        }
        let _closed = self.gate.write().await;
        tx.commit().await?;
        let mut state = self.state();
        state.stored_seq = to;
        state.leaving = Arc::new(Pending::default());
        Ok(())
    }

    /// The newest batch that is stored.
    pub fn stored_seq(&self) -> i64 {
        self.state().stored_seq
    }

    /// Keeps flushes out: as long as it is held, what is stored stands at one place of the log.
    pub async fn hold_stored(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.flushing.lock().await
    }

    /// Keeps readers out: for a commit, and for what changes in memory together with it.
    pub async fn hold_readers(&self) -> tokio::sync::RwLockWriteGuard<'_, ()> {
        self.gate.write().await
    }

    /// Adds to what will be flushed, for batches that are folded already.
    pub fn add_late(&self, deltas: impl IntoIterator<Item = (Key, Delta)>) -> Result<(), TooLarge> {
        let mut state = self.state();
        for (key, delta) in deltas {
            merge(&mut state.pending, KeyDigest::of(&self.secret, &key), key, delta)?;
        }
        Ok(())
    }

    /// After a flush that failed: its deltas are pending again.
    fn take_back(&self) -> Result<(), TooLarge> {
        let mut state = self.state();
        let leaving = std::mem::take(&mut state.leaving);
        for (digest, (key, delta)) in leaving.iter() {
            merge(&mut state.pending, *digest, key.clone(), *delta)?;
        }
        Ok(())
    }

    /// A snapshot of the store, and the deltas of `wanted` keys that it does not hold yet.
    ///
    /// `read` must run its first statement before it returns: that is what pins the snapshot.
    pub async fn read<T>(
        &self,
        db: &Db,
        wanted: impl Fn(&Key) -> bool,
        read: impl AsyncFnOnce(&mut Tx<Read>) -> crate::store::Result<T>,
    ) -> Result<(T, Deltas), Error> {
        let _open = self.gate.read().await;
        let mut tx = db.read().await?;
        let stored = read(&mut tx).await?;
        let mut unflushed = Deltas::default();
        let state = self.state();
        for (key, delta) in state.leaving.values().chain(state.pending.values()) {
            if wanted(key) {
                add(&mut unflushed, key.clone(), *delta)?;
            }
        }
        Ok((stored, unflushed))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds deltas to stored usage, each key once.
pub async fn add_to_stored(tx: &mut Tx<Write>, mut deltas: Vec<(&Key, Delta)>) -> Result<(), Error> {
    // In the order of the table, so that its pages are written once.
    deltas.sort_unstable_by_key(|(key, _)| *key);
    let keys: Vec<&Key> = deltas.iter().map(|(key, _)| *key).collect();
    let stored = tx.usage_at(&keys).await?;
    let (mut rows, mut nothing) = (Vec::with_capacity(keys.len()), Vec::new());
    for (key, delta) in deltas {
        let total = stored.get(key).copied().unwrap_or_default().merge(delta)?;
        match total.is_nothing() {
            true => nothing.push(key),
            false => rows.push((key, total)),
        }
    }
    tx.put_usage(&rows).await?;
    tx.drop_usage(&nothing).await?;
    Ok(())
}

fn merge(pending: &mut Pending, digest: KeyDigest, key: Key, delta: Delta) -> Result<(), TooLarge> {
    let (_, known) = pending.entry(digest).or_insert((key, Delta::default()));
    *known = known.merge(delta)?;
    Ok(())
}

/// Adds one delta to a map of them. A row that comes to nothing stays, since what is stored may not be nothing.
pub fn add(deltas: &mut Deltas, key: Key, delta: Delta) -> Result<(), TooLarge> {
    match deltas.entry(key) {
        std::collections::hash_map::Entry::Occupied(mut known) => {
            let merged = known.get().merge(delta)?;
            known.insert(merged);
        }
        std::collections::hash_map::Entry::Vacant(new) => {
            new.insert(delta);
        }
    }
    Ok(())
}
