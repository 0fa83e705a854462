//! The background thread: writes full tables as runs, and merges runs. Tables come first: while runs are merged, those
//! that are filled meanwhile are written, and smaller merges made, so that a long merge holds nobody up.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::PoisonError;
use std::time::Duration;

use crate::metering::seen::entry::Seqs;
use crate::metering::seen::filter::Folding;
use crate::metering::seen::index::Index;
use crate::metering::seen::index::Stop;
use crate::metering::seen::memtable::Memtable;
use crate::metering::seen::merge;
use crate::metering::seen::merge::Due;
use crate::metering::seen::merge::Halt;
use crate::metering::seen::run::Footer;
use crate::metering::seen::run::Run;
use crate::metering::seen::runs::Part;
use crate::metering::seen::write::RunWriter;

const RETRY: Duration = Duration::from_secs(1);
/// Tries that a failed merge sits out at most: the disk it fills while it is tried is the log's too.
const REST_MAX: u32 = 64;

pub(in crate::metering::seen) struct Worker {
    index: Arc<Index>,
    /// What is being merged.
    busy: Vec<Seqs>,
    seal_fails: bool,
    merge_fails: bool,
    /// Seconds or sealed tables until the next merge is tried, and how many it was the last time.
    rest: u32,
    rested: u32,
}

enum Work {
    Seal(Arc<Memtable>),
    Merge(Due),
}

enum Failure {
    Disk(io::Error),
    /// The run is not merged again; the lookup that meets it says so too.
    Damaged,
    Stopped,
}

impl From<Halt> for Failure {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Disk(error) => Self::Disk(error),
            Halt::Damaged => Self::Damaged,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

/// However the thread ends, by a mistake of ours too: nobody waits for it any more.
impl Drop for Worker {
    fn drop(&mut self) {
        self.index.set_stop(Stop::Now);
    }
}

impl Worker {
    pub fn new(index: Arc<Index>) -> Self {
        Self { index, busy: Vec::new(), seal_fails: false, merge_fails: false, rest: 0, rested: 0 }
    }

    /// Works until the index is closed.
    pub fn run(mut self) {
        while let Some(work) = self.next() {
            match work {
                Work::Seal(table) => match self.seal(&table) {
                    Ok(()) => self.seal_fails = false,
                    Err(error) => {
                        self.failed_to_seal(&error);
                        if *self.index.stop() != Stop::No {
                            return;
                        }
                    }
                },
                Work::Merge(due) => match self.merge(&due) {
                    Ok(()) => (self.merge_fails, self.rested) = (false, 0),
                    Err(Failure::Disk(error)) => self.failed_to_merge(&error),
                    // Stopped: what is left to do is to write tables.
                    Err(Failure::Damaged | Failure::Stopped) => {}
                },
            }
        }
    }

    /// Waits for something to do; `None` when the index is closed.
    fn next(&mut self) -> Option<Work> {
        let index = self.index.clone();
        let mut stop = index.stop();
        loop {
            if *stop == Stop::Now {
                return None;
            }
            if let Some(table) = index.runs().tables().next() {
                self.rest = self.rest.saturating_sub(1);
                return Some(Work::Seal(table.clone()));
            }
            if *stop == Stop::WhenSealed {
                return None;
            }
            if self.rest > 0 {
                self.rest -= 1;
                stop = index.changed().wait_timeout(stop, RETRY).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            if let Some(due) = self.due(u32::MAX) {
                return Some(Work::Merge(due));
            }
            stop = index.changed().wait(stop).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn due(&self, below: u32) -> Option<Due> {
        merge::due(&self.index.runs(), self.index.sizes.table_entries, below, &self.busy)
    }

    fn failed_to_seal(&mut self, error: &io::Error) {
        if !self.seal_fails {
            self.seal_fails = true;
            let folder = self.index.folder.display();
            tracing::error!("the seen index cannot be written to {folder}, and stays in memory: {error}");
        }
        let waiting = |stop: &mut Stop| *stop == Stop::No;
        let stopped = self.index.changed().wait_timeout_while(self.index.stop(), RETRY, waiting);
        drop(stopped.unwrap_or_else(PoisonError::into_inner));
    }

    fn failed_to_merge(&mut self, error: &io::Error) {
        if !self.merge_fails {
            self.merge_fails = true;
            tracing::error!("runs of the seen index in {} cannot be merged: {error}", self.index.folder.display());
        }
        self.rested = self.rested.saturating_mul(2).clamp(1, REST_MAX);
        self.rest = self.rested;
    }

    fn seal(&self, table: &Memtable) -> io::Result<()> {
        let mut output = RunWriter::create(&self.index.folder, table.seqs(), table.len() as u64)?;
        for entry in table.sorted() {
            output.push(entry)?;
        }
        self.adopt(output.finish(self.index.secret, table.seqs())?)
    }

    fn merge(&mut self, due: &Due) -> Result<(), Failure> {
        let Some(seqs) = due.seqs() else { return Ok(()) };
        self.busy.push(seqs);
        let merged = self.merge_busy(due, seqs);
        self.busy.pop();
        merged
    }

    fn merge_busy(&mut self, due: &Due, seqs: Seqs) -> Result<(), Failure> {
        let entries = due.inputs.iter().map(|run| run.entries()).sum();
        let mut output = RunWriter::create(&self.index.folder, seqs, entries)?;
        merge::merge(&due.inputs, &mut output, || self.between(due.tier))?;
        self.adopt(output.finish(self.index.secret, seqs)?)?;
        for run in &due.inputs {
            // What cannot be deleted now is deleted at the next start: the new run holds all of it.
            let _ = std::fs::remove_file(run.path());
        }
        Ok(())
    }

    /// What is more urgent than a merge of this tier.
    fn between(&mut self, tier: u32) -> Result<(), Failure> {
        loop {
            if *self.index.stop() != Stop::No {
                return Err(Failure::Stopped);
            }
            let table = self.index.runs().tables().next().cloned();
            if let Some(table) = table {
                self.seal(&table)?;
            } else if let Some(due) = self.due(tier) {
                self.merge(&due)?;
            } else {
                return Ok(());
            }
        }
    }

    /// Takes a new run into use, in the place of what it was made of.
    fn adopt(&self, (path, file, footer): (PathBuf, File, Footer)) -> io::Result<()> {
        let step = self.fold_for(&footer);
        let run = Run::open(path, file, footer, step)?;
        self.index.exchange(Part::Run(Arc::new(run)));
        Ok(())
    }

    /// Folds filters until the new one fits too; returns how far that one is to be folded.
    fn fold_for(&self, new: &Footer) -> usize {
        let runs = self.index.runs();
        let stay: Vec<&Arc<Run>> =
            runs.parts().iter().filter_map(Part::run).filter(|run| !new.seqs.contains(run.seqs())).collect();
        let fences: usize = stay.iter().map(|run| run.fences_bytes()).sum();
        let fences = fences.saturating_add(new.pages() as usize * 8);
        let mut filters: Vec<Folding> = stay.iter().map(|run| run.folding()).collect();
        filters.push(Folding { blocks: new.blocks, step: 0 });
        Folding::fit(&mut filters, self.index.sizes.filters_bytes.saturating_sub(fences));
        for (run, folding) in stay.into_iter().zip(&filters) {
            if *folding != run.folding() {
                run.fold(folding.step);
            }
        }
        filters.last().map_or(0, |folding| folding.step)
    }
}
