//! Which runs are to become one, and making one of them.
//!
//! A run's tier says how often runs of one table were joined four by four to make it. As soon as four of a tier lie
//! side by side they are merged, so that each entry is written again only as often as its tier rises, and a lookup
//! asks three runs a tier at most. Only neighbours are merged: a run's batches stay without a gap.

use std::io;
use std::sync::Arc;

use crate::metering::seen::entry::ENTRY_BYTES;
use crate::metering::seen::entry::Entry;
use crate::metering::seen::entry::Seqs;
use crate::metering::seen::run::PAGE_BYTES;
use crate::metering::seen::run::Page;
use crate::metering::seen::run::Run;
use crate::metering::seen::runs::Part;
use crate::metering::seen::runs::Runs;
use crate::metering::seen::write::RunWriter;

/// So many runs of a tier are merged.
const FAN_OUT: usize = 4;
/// And no more at once, however many have gathered, so that what is read ahead stays small.
const INPUTS_MAX: usize = 16;
/// Pages that are read ahead of each input: 128 KiB.
const READ_PAGES: usize = 32;
/// Entries between two looks at what else there is to do: about a millisecond.
const BETWEEN_ENTRIES: usize = 1 << 16;

/// Runs that lie side by side.
pub(in crate::metering::seen) struct Due {
    pub tier: u32,
    pub inputs: Vec<Arc<Run>>,
}

/// A run that is read from its first entry to its last.
struct Cursor<'a> {
    run: &'a Run,
    pages: Vec<Page>,
    /// The first of `pages`.
    first: usize,
    read: usize,
    page: usize,
    entry: usize,
    /// Entries of the page.
    entries: usize,
}

pub(in crate::metering::seen) enum Halt {
    Disk(io::Error),
    /// A page of an input; the run has said so, and is put aside.
    Damaged,
}

impl Due {
    pub fn seqs(&self) -> Option<Seqs> {
        Some(Seqs { first: self.inputs.first()?.seqs().first, last: self.inputs.last()?.seqs().last })
    }
}

/// The runs of the lowest tier that are to be merged, if any, of a tier below `below`. What lies within `busy` is
/// being merged.
pub(in crate::metering::seen) fn due(runs: &Runs, table_entries: usize, below: u32, busy: &[Seqs]) -> Option<Due> {
    let free = |run: &Run| !run.is_damaged() && !busy.iter().any(|busy| busy.contains(run.seqs()));
    let highest = runs.parts().iter().filter_map(Part::run).map(|run| tier(run, table_entries)).max()?;
    for tier_due in (0..=highest).take_while(|tier| *tier < below) {
        let mut inputs: Vec<Arc<Run>> = Vec::new();
        // Of this tier, and where the last of them is among the inputs: a smaller one behind it waits for its own.
        let (mut same, mut end) = (0, 0);
        let ends = runs.parts().iter().map(Some).chain([None]);
        for run in ends.map(|part| part.and_then(Part::run)) {
            let adjacent =
                |run: &Run| inputs.last().is_none_or(|last| last.seqs().last.checked_add(1) == Some(run.seqs().first));
            let joins = run.filter(|run| free(run) && tier(run, table_entries) <= tier_due && adjacent(run));
            if joins.is_none() || inputs.len() == INPUTS_MAX {
                if same >= FAN_OUT {
                    inputs.truncate(end);
                    return Some(Due { tier: tier_due, inputs });
                }
                inputs.clear();
                (same, end) = (0, 0);
            }
            let Some(run) = run.filter(|run| free(run) && tier(run, table_entries) <= tier_due) else { continue };
            let is_same = tier(run, table_entries) == tier_due;
            if is_same || !inputs.is_empty() {
                inputs.push(run.clone());
            }
            if is_same {
                same += 1;
                end = inputs.len();
            }
        }
    }
    None
}

/// Full tables differ a little in size, so that the border between two tiers lies in the middle.
fn tier(run: &Run, table_entries: usize) -> u32 {
    let mut border = (table_entries as u64).saturating_mul(2);
    let mut tier = 0;
    while run.entries() >= border {
        border = border.saturating_mul(FAN_OUT as u64);
        tier += 1;
    }
    tier
}

/// Writes the entries of all inputs, in order. Calls `between` every millisecond or so.
pub(in crate::metering::seen) fn merge<E: From<Halt>>(
    inputs: &[Arc<Run>],
    output: &mut RunWriter,
    mut between: impl FnMut() -> Result<(), E>,
) -> Result<(), E> {
    let mut cursors = Vec::with_capacity(inputs.len());
    // The upper half of each cursor's entry: nearly always it alone says which entry is the least.
    let mut heads = Vec::with_capacity(inputs.len());
    for run in inputs {
        let mut cursor = Cursor::new(run);
        if let Some(head) = cursor.next()? {
            heads.push(head.high);
            cursors.push((cursor, head));
        }
    }
    // Entries whose upper halves are equal: one, but for events that the log holds twice.
    let mut equal: Vec<Entry> = Vec::new();
    let mut written = 0_usize;
    while let Some(least) = least(&heads) {
        let (cursor, head) = &mut cursors[least];
        if equal.first().is_some_and(|first| first.high != head.high) {
            drain(&mut equal, output)?;
        }
        equal.push(*head);
        match cursor.next()? {
            Some(next) => {
                heads[least] = next.high;
                *head = next;
            }
            None => {
                heads.swap_remove(least);
                cursors.swap_remove(least);
            }
        }
        written += 1;
        if written.is_multiple_of(BETWEEN_ENTRIES) {
            between()?;
        }
    }
    Ok(drain(&mut equal, output)?)
}

/// The place of the least. Which one it is cannot be guessed, so that there is no branch.
fn least(heads: &[u64]) -> Option<usize> {
    let (mut place, mut least) = (0, *heads.first()?);
    for (other, head) in heads.iter().enumerate().skip(1) {
        place = if *head < least { other } else { place };
        least = if *head < least { *head } else { least };
    }
    Some(place)
}

fn drain(equal: &mut Vec<Entry>, output: &mut RunWriter) -> Result<(), Halt> {
    if equal.len() > 1 {
        equal.sort_unstable();
    }
    equal.drain(..).try_for_each(|entry| output.push(entry)).map_err(Halt::Disk)
}

impl<'a> Cursor<'a> {
    fn new(run: &'a Run) -> Self {
        let pages = vec![[0; PAGE_BYTES]; READ_PAGES.min(run.pages())];
        Self { run, pages, first: 0, read: 0, page: 0, entry: 0, entries: 0 }
    }

    fn next(&mut self) -> Result<Option<Entry>, Halt> {
        if self.entry == self.entries && !self.next_page()? {
            return Ok(None);
        }
        let (entries, _) = self.pages[self.page].as_chunks::<ENTRY_BYTES>();
        let entry = Entry::from_bytes(&entries[self.entry]);
        self.entry += 1;
        Ok(Some(entry))
    }

    fn next_page(&mut self) -> Result<bool, Halt> {
        self.page += 1;
        if self.page >= self.read {
            self.first += self.read;
            self.read = self.pages.len().min(self.run.pages() - self.first);
            if self.read == 0 {
                return Ok(false);
            }
            self.run.read_pages(self.first, &mut self.pages[..self.read]).map_err(|_| Halt::Damaged)?;
            self.page = 0;
        }
        self.entry = 0;
        self.entries = self.run.entries_of(self.first + self.page);
        Ok(true)
    }
}
