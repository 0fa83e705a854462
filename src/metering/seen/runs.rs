//! What does not change any more, at one moment: runs, and full tables that wait to become runs.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::metering::seen::Error;
use crate::metering::seen::SeenAt;
use crate::metering::seen::SeenKey;
use crate::metering::seen::entry::Seqs;
use crate::metering::seen::memtable::Memtable;
use crate::metering::seen::run::Run;

/// A snapshot of what is sealed. Whoever holds one looks keys up without any lock.
#[derive(Clone, Debug, Default)]
pub struct Runs {
    /// By their batches, ascending; no two have a batch in common.
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
pub(in crate::metering::seen) enum Part {
    Table(Arc<Memtable>),
    Run(Arc<Run>),
}

impl Part {
    pub fn seqs(&self) -> Seqs {
        match self {
            Self::Table(table) => table.seqs(),
            Self::Run(run) => run.seqs(),
        }
    }

    pub fn get(&self, key: SeenKey) -> Result<Option<SeenAt>, Error> {
        match self {
            Self::Table(table) => Ok(table.get(key)),
            Self::Run(run) => run.get(key),
        }
    }

    pub fn run(&self) -> Option<&Arc<Run>> {
        if let Self::Run(run) = self { Some(run) } else { None }
    }

    fn entries(&self) -> u64 {
        match self {
            Self::Table(table) => table.len() as u64,
            Self::Run(run) => run.entries(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Table(table) => table.bytes(),
            Self::Run(run) => run.bytes(),
        }
    }
}

impl Runs {
    /// Where each key stands, for many keys at once: their waits for memory overlap.
    pub fn find(&self, keys: &[SeenKey]) -> Result<Vec<Option<SeenAt>>, Error> {
        let mut found = vec![None; keys.len()];
        let mut passed = Vec::new();
        // The oldest part first: the first event with a key stands.
        for part in &self.parts {
            match part {
                Part::Run(run) => run.find(keys, &mut found, &mut passed)?,
                Part::Table(table) => {
                    for (key, found) in keys.iter().zip(&mut found) {
                        *found = found.or_else(|| table.get(*key));
                    }
                }
            }
        }
        Ok(found)
    }

    /// How many entries there are.
    pub fn len(&self) -> u64 {
        self.parts.iter().map(Part::entries).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// How many files have to be asked for a key.
    pub fn count(&self) -> usize {
        self.parts.iter().filter_map(Part::run).count()
    }

    pub(in crate::metering::seen) fn parts(&self) -> &[Part] {
        &self.parts
    }

    pub(in crate::metering::seen) fn bytes(&self) -> usize {
        self.parts.iter().map(Part::bytes).sum()
    }

    /// Full tables that wait, the oldest first.
    pub(in crate::metering::seen) fn tables(&self) -> impl Iterator<Item = &Arc<Memtable>> {
        self.parts.iter().filter_map(|part| if let Part::Table(table) = part { Some(table) } else { None })
    }

    /// Whether all of these batches are in here.
    pub(in crate::metering::seen) fn covers(&self, seqs: Seqs) -> bool {
        let mut missing = seqs.first;
        for part in self.parts.iter().map(Part::seqs) {
            if part.first <= missing && missing <= part.last {
                missing = part.last.saturating_add(1);
            }
        }
        missing > seqs.last
    }

    /// Which of the batches `1..=last` are not in here.
    pub(in crate::metering::seen) fn missing(&self, last: i64) -> Vec<RangeInclusive<i64>> {
        let mut missing = Vec::new();
        let mut next = 1;
        for part in self.parts.iter().map(Part::seqs) {
            if next < part.first {
                missing.push(next..=part.first.saturating_sub(1));
            }
            next = part.last.saturating_add(1);
        }
        if next <= last {
            missing.push(next..=last);
        }
        missing
    }

    /// These runs, with `part` for everything whose batches it holds.
    pub(in crate::metering::seen) fn with(&self, part: Part) -> Self {
        let outside = |other: &&Part| !part.seqs().contains(other.seqs());
        let mut parts: Vec<Part> = self.parts.iter().filter(outside).cloned().collect();
        parts.push(part);
        parts.sort_by_key(Part::seqs);
        Self { parts }
    }
}
