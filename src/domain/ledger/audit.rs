//! Goes through a journal from its first batch to its last and says everything that is wrong with it.
//!
//! What is checked: batches and entry numbers have no gaps, every entry reads back as one that balances and still is
//! what was asked for, every batch hashes to its head, no account with a floor is below it, and the balances that are kept of
//! those are the sums of their postings.

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

use crate::domain::ledger::account::Account;
use crate::domain::ledger::account::Side;
use crate::domain::ledger::chain::Head;
use crate::domain::ledger::chain::Link;
use crate::domain::ledger::entry::Entry;
use crate::domain::ledger::entry::EntryError;

/// A batch as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundBatch {
    pub seq: i64,
    pub first_entry: i64,
    pub last_entry: i64,
    pub previous: String,
    pub head: String,
}

/// An entry as it was found.
#[derive(Clone, Debug)]
pub struct FoundEntry {
    pub seq: i64,
    pub hash: String,
    /// How many postings it has.
    pub postings: i64,
    pub entry: Result<Entry, Unreadable>,
}

/// Why rows do not make an entry.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unreadable {
    #[error("its {0} cannot be read")]
    Field(&'static str),
    #[error(transparent)]
    Entry(#[from] EntryError),
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Difference {
    #[error("batches {from} to {to} of the journal are missing")]
    BatchesMissing { from: i64, to: i64 },
    #[error("batch {0} of the journal does not follow the one before it")]
    BatchOutOfLine(i64),
    #[error("batch {batch} of the journal does not hash to its head: recomputed {recomputed}, sealed {sealed}")]
    HeadDiffers { batch: i64, recomputed: Head, sealed: String },
    #[error("entries {from} to {to} of the journal are missing")]
    EntriesMissing { from: i64, to: i64 },
    #[error("entry {0} of the journal is outside its batch")]
    EntryOutOfPlace(i64),
    #[error("entry {seq} of the journal is damaged: {why}")]
    EntryDamaged { seq: i64, why: Unreadable },
    #[error("entry {0} of the journal is not what was posted under its key")]
    EntryChanged(i64),
    #[error("there are {found} {what} in the journal, but {reached} belong to a batch")]
    Stray { what: &'static str, found: i64, reached: i64 },
    #[error("account {0} is not what its id says")]
    AccountChanged(String),
    #[error("account {account} is below its floor: {balance} in the minor unit")]
    BelowFloor { account: Account, balance: i128 },
    #[error("the balance of account {account} is kept as {kept}, recomputed {recomputed}")]
    BalanceDiffers { account: String, kept: Sums, recomputed: Sums },
}

/// A balance of an account with a floor, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundBalance {
    pub account: String,
    pub debit: i64,
    pub credit: i64,
    pub version: i64,
}

/// What was ever debited and credited, and by how many batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub debit: i128,
    pub credit: i128,
    pub version: i64,
    /// The last batch that was counted.
    batch: i64,
}

/// A walk through the journal.
#[derive(Debug)]
pub struct Audit {
    last_batch: i64,
    last_entry: i64,
    head: String,
    entries: i64,
    postings: i64,
    floors: BTreeMap<Account, Sums>,
    differences: Vec<Difference>,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            last_batch: 0,
            last_entry: 0,
            head: Head::GENESIS.to_string(),
            entries: 0,
            postings: 0,
            floors: BTreeMap::new(),
            differences: Vec::new(),
        }
    }
}

impl Audit {
    /// Checks the next batch and its entries, both in the order of their numbers.
    pub fn batch(&mut self, batch: &FoundBatch, entries: &[FoundEntry]) {
        self.place(batch);
        let mut due = batch.first_entry;
        let mut link = Head::parse(&batch.previous).map(Link::after);
        for found in entries {
            self.entries = self.entries.saturating_add(1);
            self.postings = self.postings.saturating_add(found.postings);
            if found.seq < batch.first_entry || found.seq > batch.last_entry {
                self.differences.push(Difference::EntryOutOfPlace(found.seq));
                continue;
            }
            self.differences.extend(gap(due, found.seq).map(|(from, to)| Difference::EntriesMissing { from, to }));
            due = found.seq.saturating_add(1);
            if let (Some(entry), Some(link)) = (self.entry(found, batch.seq), link.as_mut()) {
                link.push(entry);
            }
        }
        let end = batch.last_entry.saturating_add(1);
        self.differences.extend(gap(due, end).map(|(from, to)| Difference::EntriesMissing { from, to }));
        let recomputed = link.map(Link::seal).unwrap_or(Head::GENESIS);
        if recomputed.to_string() != batch.head {
            let sealed = batch.head.clone();
            self.differences.push(Difference::HeadDiffers { batch: batch.seq, recomputed, sealed });
        }
    }

    /// Says what was found, given how many entries and postings there are in all, and what balances are kept.
    pub fn finish(mut self, entries: i64, postings: i64, balances: &[FoundBalance]) -> Vec<Difference> {
        let counts = [("entries", entries, self.entries), ("postings", postings, self.postings)];
        let strays = counts.into_iter().filter(|(_, found, reached)| found != reached);
        self.differences.extend(strays.map(|(what, found, reached)| Difference::Stray { what, found, reached }));
        let balance = |sums: &Sums| sums.credit.saturating_sub(sums.debit);
        let below = self.floors.iter().filter(|(_, sums)| balance(sums) < 0);
        let below =
            below.map(|(account, sums)| Difference::BelowFloor { account: account.clone(), balance: balance(sums) });
        self.differences.extend(below);
        self.balances(balances);
        self.differences
    }

    fn balances(&mut self, found: &[FoundBalance]) {
        let recomputed = std::mem::take(&mut self.floors).into_iter();
        let mut recomputed: BTreeMap<String, Sums> =
            recomputed.map(|(account, sums)| (account.to_string(), Sums { batch: 0, ..sums })).collect();
        for FoundBalance { account, debit, credit, version } in found {
            let (debit, credit) = (i128::from(*debit), i128::from(*credit));
            let kept = Sums { debit, credit, version: *version, batch: 0 };
            let recomputed = recomputed.remove(account).unwrap_or_default();
            if kept != recomputed {
                self.differences.push(Difference::BalanceDiffers { account: account.clone(), kept, recomputed });
            }
        }
        let unkept = recomputed.into_iter().map(|(account, recomputed)| Difference::BalanceDiffers {
            account,
            kept: Sums::default(),
            recomputed,
        });
        self.differences.extend(unkept);
    }

    fn place(&mut self, batch: &FoundBatch) {
        let due = self.last_batch.saturating_add(1);
        self.differences.extend(gap(due, batch.seq).map(|(from, to)| Difference::BatchesMissing { from, to }));
        let follows = self.head == batch.previous && self.last_entry.checked_add(1) == Some(batch.first_entry);
        if batch.seq == due && !follows {
            self.differences.push(Difference::BatchOutOfLine(batch.seq));
        }
        self.last_batch = batch.seq;
        self.last_entry = batch.last_entry;
        self.head.clone_from(&batch.head);
    }

    fn entry<'a>(&mut self, found: &'a FoundEntry, batch: i64) -> Option<&'a Entry> {
        let entry = match &found.entry {
            Ok(entry) => entry,
            Err(why) => {
                self.differences.push(Difference::EntryDamaged { seq: found.seq, why: why.clone() });
                return None;
            }
        };
        if entry.content_hash() != found.hash {
            self.differences.push(Difference::EntryChanged(found.seq));
        }
        for posting in entry.postings() {
            if posting.account.chart().has_floor() {
                let amount = i128::from(posting.amount.minor());
                let sums = self.floors.entry(posting.account.clone()).or_default();
                match posting.side {
                    Side::Debit => sums.debit = sums.debit.saturating_add(amount),
                    Side::Credit => sums.credit = sums.credit.saturating_add(amount),
                }
                if sums.batch != batch {
                    sums.version = sums.version.saturating_add(1);
                    sums.batch = batch;
                }
            }
        }
        Some(entry)
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { debit, credit, version, batch: _ } = self;
        write!(f, "{debit} debited and {credit} credited by {version} batches")
    }
}

/// What lies between the number that is due and the one that was found.
fn gap(due: i64, found: i64) -> Option<(i64, i64)> {
    (due < found).then(|| (due, found.saturating_sub(1)))
}
