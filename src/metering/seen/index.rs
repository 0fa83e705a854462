//! What callers and the background thread share: the table that grows, and what is sealed.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::RwLockReadGuard;
use std::sync::RwLockWriteGuard;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::metering::seen::memtable::Memtable;
use crate::metering::seen::runs::Part;
use crate::metering::seen::runs::Runs;

/// Full tables that may wait to become runs, the one that is being written included.
const TABLES_MAX: usize = 2;
/// The part of the budget that one table may take. The one that grows, two that wait and the sorted copy of one leave
/// three quarters of it to the filters: smaller tables are merged more often, and smaller filters let more be read.
const TABLE_PART: usize = 16;

#[derive(Debug)]
pub(in crate::metering::seen) struct Index {
    pub folder: PathBuf,
    pub secret: [u8; 16],
    pub sizes: Sizes,
    /// Locked before `runs`, if both are.
    active: RwLock<Option<Memtable>>,
    runs: RwLock<Arc<Runs>>,
    stop: Mutex<Stop>,
    /// Something was done, or is to be done.
    changed: Condvar,
    waits: AtomicU64,
}

/// What the budget allows.
#[derive(Clone, Copy, Debug)]
pub(in crate::metering::seen) struct Sizes {
    pub table_entries: usize,
    /// Filters and fences of all runs.
    pub filters_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::metering::seen) enum Stop {
    No,
    WhenSealed,
    Now,
}

impl Sizes {
    pub fn new(memory_bytes: usize) -> Self {
        let table_entries = Memtable::entries_max(memory_bytes / TABLE_PART);
        let tables = Memtable::bytes_for(table_entries).saturating_mul(TABLES_MAX + 2);
        // An eighth is left for what a filter takes twice while it is exchanged.
        Self { table_entries, filters_bytes: memory_bytes.saturating_sub(tables) / 8 * 7 }
    }
}

impl Index {
    pub fn new(folder: PathBuf, secret: [u8; 16], sizes: Sizes, runs: Runs) -> Self {
        Self {
            folder,
            secret,
            sizes,
            active: RwLock::new(None),
            runs: RwLock::new(Arc::new(runs)),
            stop: Mutex::new(Stop::No),
            changed: Condvar::new(),
            waits: AtomicU64::new(0),
        }
    }

    pub fn runs(&self) -> Arc<Runs> {
        self.runs.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn active(&self) -> RwLockReadGuard<'_, Option<Memtable>> {
        self.active.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn active_mut(&self) -> RwLockWriteGuard<'_, Option<Memtable>> {
        self.active.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a part in the place of all whose batches it holds.
    pub fn exchange(&self, part: Part) {
        {
            let mut runs = self.runs.write().unwrap_or_else(PoisonError::into_inner);
            *runs = Arc::new(runs.with(part));
        }
        self.notify();
    }

    /// Lets the table that grows wait to become a run. Nobody sees it missing: whoever looks up both has `active`
    /// locked.
    pub fn rotate(&self, active: &mut Option<Memtable>) {
        if let Some(table) = active.take() {
            self.exchange(Part::Table(Arc::new(table)));
        }
    }

    /// Whether one more table may wait. When the index is closing, nobody is held up.
    pub fn has_room(&self) -> bool {
        self.runs().tables().count() < TABLES_MAX || *self.stop() != Stop::No
    }

    pub fn wait_for_room(&self) {
        self.waits.fetch_add(1, Ordering::Relaxed);
        let full = |stop: &mut Stop| *stop == Stop::No && self.runs().tables().count() >= TABLES_MAX;
        drop(self.changed.wait_while(self.stop(), full).unwrap_or_else(PoisonError::into_inner));
    }

    /// How often `insert` had to wait.
    pub fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    pub fn stop(&self) -> MutexGuard<'_, Stop> {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_stop(&self, stop: Stop) {
        *self.stop() = stop;
        self.changed.notify_all();
    }

    pub fn changed(&self) -> &Condvar {
        &self.changed
    }

    /// Under the lock that whoever waits has let go of, so that no notice comes between his look and his sleep.
    pub fn notify(&self) {
        let stop = self.stop();
        self.changed.notify_all();
        drop(stop);
    }
}
