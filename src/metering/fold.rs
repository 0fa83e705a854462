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

use tokio::sync::RwLock;

use crate::domain::book::meter::Aggregation;
use crate::domain::measure::delta::Delta;
use crate::domain::measure::delta::Key;
use crate::domain::measure::delta::TooLarge;
use crate::domain::measure::meters::Contribution;
use crate::metering::Error;
use crate::store::Db;
use crate::store::Read;
use crate::store::Tx;

pub type Deltas = HashMap<Key, (Aggregation, Delta)>;

#[derive(Debug)]
pub struct Fold {
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
    pending: Deltas,
    /// What a flush is writing at this moment.
    leaving: Arc<Deltas>,
}

impl Fold {
    /// An empty fold that stands where the stored usage stands.
    pub fn new(stored_seq: i64) -> Self {
        let state =
            State { folded_seq: stored_seq, stored_seq, pending: Deltas::new(), leaving: Arc::new(Deltas::new()) };
        Self { state: Mutex::new(state), gate: RwLock::new(()), flushing: tokio::sync::Mutex::new(()) }
    }

    /// Adds a batch. Batches must come in the order of the log.
    pub fn add(&self, seq: i64, contributions: impl IntoIterator<Item = Contribution>) -> Result<(), TooLarge> {
        let mut state = self.state();
        for contribution in contributions {
            add(&mut state.pending, contribution.key, contribution.aggregation, contribution.delta)?;
        }
        state.folded_seq = seq;
        Ok(())
    }

    /// Writes what is pending, and the position it reaches, in one transaction.
    pub async fn flush(&self, db: &Db) -> Result<(), Error> {
        let _one_at_a_time = self.flushing.lock().await;
        let (deltas, from, to) = {
            let mut state = self.state();
            if state.folded_seq == state.stored_seq {
                return Ok(());
            }
            state.leaving = Arc::new(std::mem::take(&mut state.pending));
            (state.leaving.clone(), state.stored_seq, state.folded_seq)
        };
        let written = self.write(db, &deltas, from, to).await;
        if written.is_err() {
            self.take_back()?;
        }
        written
    }

    async fn write(&self, db: &Db, deltas: &Deltas, from: i64, to: i64) -> Result<(), Error> {
        let mut tx = db.write().await?;
        let mut keys: Vec<&Key> = deltas.keys().collect();
        // In the order of the table, so that its pages are written once.
        keys.sort_unstable();
        let stored = tx.usage_at(&keys).await?;
        let mut rows = Vec::with_capacity(keys.len());
        for key in keys {
            let Some((aggregation, delta)) = deltas.get(key) else { continue };
            let total = match stored.get(key) {
                Some(before) => before.merge(*delta, *aggregation)?,
                None => *delta,
            };
            rows.push((key, total));
        }
        tx.put_usage(&rows).await?;
        if !tx.advance_applied_seq(from, to).await? {
            return Err(Error::Fenced);
        }
        let _closed = self.gate.write().await;
        tx.commit().await?;
        let mut state = self.state();
        state.stored_seq = to;
        state.leaving = Arc::new(Deltas::new());
        Ok(())
    }

    /// After a flush that failed: its deltas are pending again.
    fn take_back(&self) -> Result<(), TooLarge> {
        let mut state = self.state();
        let leaving = std::mem::take(&mut state.leaving);
        for (key, (aggregation, delta)) in leaving.iter() {
            add(&mut state.pending, key.clone(), *aggregation, *delta)?;
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
        let mut unflushed = Deltas::new();
        let state = self.state();
        for (key, (aggregation, delta)) in state.leaving.iter().chain(&state.pending) {
            if wanted(key) {
                add(&mut unflushed, key.clone(), *aggregation, *delta)?;
            }
        }
        Ok((stored, unflushed))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds one delta to a map of them.
pub fn add(deltas: &mut Deltas, key: Key, aggregation: Aggregation, delta: Delta) -> Result<(), TooLarge> {
    match deltas.entry(key) {
        std::collections::hash_map::Entry::Occupied(mut known) => {
            let merged = known.get().1.merge(delta, aggregation)?;
            known.get_mut().1 = merged;
        }
        std::collections::hash_map::Entry::Vacant(new) => {
            new.insert((aggregation, delta));
        }
    }
    Ok(())
}
