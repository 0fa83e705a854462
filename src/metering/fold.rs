//! The fold: what the newest batches add to usage, kept in memory and flushed together with their position.
//!
//! A flush is one transaction: it adds the deltas to `usage` and moves `applied_seq` on by compare-and-set. A crash
//! loses only memory, and replay from `applied_seq` gives it back: there is no second truth. Readers add what is not
//! flushed yet: what they read from the store says how far it is folded, and what was being written is kept until the
//! next flush, so that no delta is seen twice or not at all, and nobody waits for a flush.

use std::collections::HashMap;
use std::sync::Arc;

use hashbrown::DefaultHashBuilder;
use parking_lot::Mutex;
use parking_lot::MutexGuard;
use tokio::sync::RwLock;
use tokio::sync::RwLockReadGuard;
use tokio::sync::RwLockWriteGuard;

use crate::domain::measure::delta::Delta;
use crate::domain::measure::delta::Key;
use crate::domain::measure::delta::TooLarge;
use crate::domain::measure::digest::KeyDigest;
use crate::domain::measure::digest::Secret;
use crate::metering::Error;
use crate::store::Db;
use crate::store::Tx;
use crate::store::Write;

pub type Deltas = HashMap<Key, Delta, DefaultHashBuilder>;

/// By party, since that is how usage is asked for; and by digest, since comparing keys text by text is most of what a
/// fold costs.
type Pending = HashMap<Arc<str>, HashMap<KeyDigest, (Key, Delta), DefaultHashBuilder>, DefaultHashBuilder>;

/// Rows that are added before readers have their turn: a large batch takes milliseconds.
const ADDED_A_TURN: usize = 512;

#[derive(Debug)]
pub struct Fold {
    /// Keys the digests.
    secret: Secret,
    state: Mutex<State>,
    /// Held while a batch is added, so that no flush takes a part of it. Locked before `state`, if both are.
    adding: Mutex<()>,
    /// Held for reading while usage is read, for writing while a replay commits.
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
    /// What a flush is writing at this moment, or has written last: what came after one batch, until another.
    leaving: Arc<Pending>,
    leaving_from: i64,
    leaving_to: i64,
    /// Events in what is leaving, until it is known to be stored. When the answer of a commit was lost, the next flush asks
    /// what became of it.
    unsure_events: Option<u64>,
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
            leaving_from: stored_seq,
            leaving_to: stored_seq,
            unsure_events: None,
        };
        let secret = crate::random::bytes();
        let (state, adding) = (Mutex::new(state), Mutex::default());
        Self { secret, state, adding, gate: RwLock::new(()), flushing: tokio::sync::Mutex::new(()) }
    }

    /// What keys its digests.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Adds a batch. Batches must come in the order of the log. Whoever reads meanwhile may see a part of it: nobody was
    /// told yet that it was counted.
    pub fn add(
        &self,
        seq: i64,
        events: u64,
        deltas: impl IntoIterator<Item = (KeyDigest, Key, Delta)>,
    ) -> Result<(), TooLarge> {
        let _all_or_nothing = self.adding.lock();
        let mut state = self.state.lock();
        for (number, (digest, key, delta)) in deltas.into_iter().enumerate() {
            merge(&mut state.pending, digest, key, delta)?;
            if number % ADDED_A_TURN == 0 {
                MutexGuard::bump(&mut state);
            }
        }
        state.folded_seq = seq;
        state.unstored_events = state.unstored_events.saturating_add(events);
        Ok(())
    }

    /// Events that are counted in memory only.
    pub fn unstored_events(&self) -> u64 {
        self.state.lock().unstored_events
    }

    /// Writes what is pending, and the position it reaches, in one transaction.
    pub async fn flush(&self, db: &Db) -> Result<(), Error> {
        let _one_at_a_time = self.flushing.lock().await;
        self.settle(db).await?;
        // Whoever read what was stored before the last flush has had a second for it. What was written then is dropped
        // after the lock: it is much.
        let before;
        let (deltas, from, to) = {
            let _whole_batches = self.adding.lock();
            let mut state = self.state.lock();
            before = std::mem::take(&mut state.leaving);
            (state.leaving_from, state.leaving_to) = (state.stored_seq, state.stored_seq);
            if state.folded_seq == state.stored_seq {
                return Ok(());
            }
            state.leaving = Arc::new(std::mem::take(&mut state.pending));
            state.leaving_to = state.folded_seq;
            state.unsure_events = Some(state.unstored_events);
            (state.leaving.clone(), state.stored_seq, state.folded_seq)
        };
        drop(before);
        self.write(db, &deltas, from, to).await?;
        self.state.lock().leaving_is_stored();
        Ok(())
    }

    /// After a flush that failed: what it wrote is stored, or it is pending again. Until that is known nothing else is
    /// written; readers know by the position that they read.
    async fn settle(&self, db: &Db) -> Result<(), Error> {
        if self.state.lock().unsure_events.is_none() {
            return Ok(());
        }
        let applied_seq = db.settled_applied_seq().await?;
        let mut state = self.state.lock();
        match applied_seq {
            seq if seq == state.leaving_to => state.leaving_is_stored(),
            seq if seq == state.leaving_from => state.leaving_is_pending()?,
            _ => return Err(Error::Fenced),
        }
        Ok(())
    }

    async fn write(&self, db: &Db, deltas: &Pending, from: i64, to: i64) -> Result<(), Error> {
        let mut tx = db.write().await?;
        let rows = deltas.values().flat_map(HashMap::values);
        add_to_stored(&mut tx, rows.map(|(key, delta)| (key, *delta)).collect()).await?;
        if !tx.advance_applied_seq(from, to).await? {
            return Err(Error::Fenced);
        }
        Ok(tx.commit().await?)
    }

    /// The newest batch that is stored.
    pub fn stored_seq(&self) -> i64 {
        self.state.lock().stored_seq
    }

    /// Keeps flushes out.
    pub async fn hold_flushes(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.flushing.lock().await
    }

    /// Keeps flushes out: as long as it is held, what is stored stands at one place of the log, and that is known.
    pub async fn hold_stored(&self, db: &Db) -> Result<tokio::sync::MutexGuard<'_, ()>, Error> {
        let held = self.flushing.lock().await;
        self.settle(db).await?;
        Ok(held)
    }

    /// Keeps readers out: for a commit, and for what changes in memory together with it.
    pub async fn hold_readers(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().await
    }

    /// Adds to what will be flushed, for batches that are folded already.
    pub fn add_late(&self, deltas: impl IntoIterator<Item = (Key, Delta)>) -> Result<(), TooLarge> {
        let mut state = self.state.lock();
        for (key, delta) in deltas {
            merge(&mut state.pending, KeyDigest::of(&self.secret, &key), key, delta)?;
        }
        Ok(())
    }

    /// Keeps replays from committing while usage is read.
    pub async fn hold_replays(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().await
    }

    /// What was added to `wanted` keys, of one party or of all, after the batch up to which a reading of the store was
    /// folded; `None` if that was before the flush before last: read it again.
    pub fn since(&self, seq: i64, party: Option<&str>, wanted: impl Fn(&Key) -> bool) -> Option<Vec<(Key, Delta)>> {
        let state = self.state.lock();
        let leaving = match seq {
            seq if seq == state.leaving_from => Some(&*state.leaving),
            seq if seq == state.leaving_to => None,
            _ => return None,
        };
        let of_party = |deltas: &Pending| {
            let (one, all) = match party {
                Some(party) => (deltas.get(party), None),
                None => (None, Some(deltas.values())),
            };
            let found = one.into_iter().chain(all.into_iter().flatten()).flat_map(HashMap::values);
            found.filter(|(key, _)| wanted(key)).cloned().collect::<Vec<_>>()
        };
        let mut deltas = leaving.map(of_party).unwrap_or_default();
        deltas.extend(of_party(&state.pending));
        Some(deltas)
    }
}

impl State {
    fn leaving_is_stored(&mut self) {
        self.stored_seq = self.leaving_to;
        self.unstored_events = self.unstored_events.saturating_sub(self.unsure_events.take().unwrap_or_default());
    }

    fn leaving_is_pending(&mut self) -> Result<(), TooLarge> {
        let leaving = std::mem::take(&mut self.leaving);
        self.leaving_to = self.leaving_from;
        self.unsure_events = None;
        for (digest, (key, delta)) in leaving.values().flatten() {
            merge(&mut self.pending, *digest, key.clone(), *delta)?;
        }
        Ok(())
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
    tx.note_late(&keys).await?;
    tx.put_usage(&rows).await?;
    tx.drop_usage(&nothing).await?;
    Ok(())
}

fn merge(pending: &mut Pending, digest: KeyDigest, key: Key, delta: Delta) -> Result<(), TooLarge> {
    let of_party = match pending.get_mut(&key.party) {
        Some(known) => known,
        None => pending.entry(key.party.clone()).or_default(),
    };
    let (_, known) = of_party.entry(digest).or_insert((key, Delta::default()));
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
