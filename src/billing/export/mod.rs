//! What finance takes away: the journal in the formats of other tools, documents, usage, and what auditors ask for.
//!
//! A range is of accounting dates, `from <= date < to`. Of the journal it holds the entries with such a date, in order:
//! from before the first entry it holds every balance, from later what moved. [`batches`] seals the journal part by part,
//! so that nothing is imported twice.

mod aging;
pub mod batches;
mod beancount;
mod documents;
mod hledger;
mod journal;
mod journal_csv;
pub mod pain;
mod quickbooks;
mod rewards;
mod statement;
mod summary;
#[cfg(test)]
mod tests;
mod usage;
mod xero;
mod xlsx;

pub use journal::Format;

use jiff::civil::Date;
use thiserror::Error;

use crate::billing::export::journal::Journal;
use crate::billing::export::journal::names;
use crate::domain::ledger::chain::Head;
use crate::domain::money::MoneyError;
use crate::domain::time::Instant;
use crate::metering;
use crate::metering::versions::Versions;
use crate::store;
use crate::store::Db;
use crate::store::balances::AsOf;

/// What can be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Journal(Format),
    Invoices,
    Payouts,
    Usage,
    Statement,
    Aging,
    RewardsRollforward,
}

/// Which part of it.
#[derive(Clone, Copy, Debug)]
pub struct Range<'a> {
    /// First accounting date.
    pub from: Date,
    /// The accounting date to stop before.
    pub to: Date,
    /// Of this consumer alone, where [`Kind::is_by_consumer`].
    pub consumer: Option<&'a str>,
}

/// An export, and the head of the chain when it was read.
#[derive(Clone, Debug)]
pub struct File {
    pub bytes: Vec<u8>,
    pub head: Head,
}

#[derive(Debug, Error)]
pub enum ExportError {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Usage(#[from] metering::Error),
    #[error("a sum in the export cannot be made: {0}")]
    Money(#[from] MoneyError),
    #[error("the file cannot be put together: {0}")]
    File(#[from] std::io::Error),
}

impl Kind {
    pub const ALL: [Self; 11] = [
        Self::Journal(Format::Csv),
        Self::Journal(Format::Hledger),
        Self::Journal(Format::Beancount),
        Self::Journal(Format::Quickbooks),
        Self::Journal(Format::Xero),
        Self::Invoices,
        Self::Payouts,
        Self::Usage,
        Self::Statement,
        Self::Aging,
        Self::RewardsRollforward,
    ];

    /// Its name, which is also the name of its file: `journal.csv`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Journal(format) => format.name(),
            Self::Invoices => "invoices.csv",
            Self::Payouts => "payouts.csv",
            Self::Usage => "usage.csv",
            Self::Statement => "statement.xlsx",
            Self::Aging => "aging.csv",
            Self::RewardsRollforward => "rewards-rollforward.csv",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub fn media_type(self) -> &'static str {
        match self.name().rsplit('.').next() {
            Some("csv") => "text/csv; charset=utf-8",
            Some("xlsx") => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            _ => "text/plain; charset=utf-8",
        }
    }

    /// Whether it can be had of one consumer alone.
    pub const fn is_by_consumer(self) -> bool {
        matches!(self, Self::Invoices | Self::Payouts | Self::Usage | Self::Statement)
    }
}

impl Range<'_> {
    fn contains(self, date: Date) -> bool {
        self.from <= date && date < self.to
    }
}

/// The export of a range. Usage that is not flushed is not seen: flush metering first.
pub async fn export(
    db: &Db,
    versions: &Versions,
    kind: Kind,
    range: Range<'_>,
    now: Instant,
) -> Result<File, ExportError> {
    let mut tx = db.read().await?;
    let head = tx.journal_head().await?;
    let bytes = match kind {
        Kind::Journal(format) => {
            let entries = tx.journal_between(range.from, range.to).await?;
            let names = names(&mut tx, &entries).await?;
            format.text(&Journal { entries: &entries, head, names, batch: None })?.into_bytes()
        }
        Kind::Invoices => documents::invoices(&documents::of_range(&mut tx, versions, range).await?).into_bytes(),
        Kind::Payouts => documents::payouts(&documents::of_range(&mut tx, versions, range).await?)?.into_bytes(),
        Kind::Usage => usage::text(db, versions, range, now).await?.into_bytes(),
        Kind::Statement => {
            let documents = documents::of_range(&mut tx, versions, range).await?;
            statement::file(&documents, (range.from, range.to), head.head)??
        }
        Kind::Aging => {
            let last = range.to.yesterday().unwrap_or(range.to).min(now.date_in(&versions.zone_at(now)));
            let everything = Range { from: Date::MIN, to: last.tomorrow().unwrap_or(last), consumer: None };
            let documents = documents::of_range(&mut tx, versions, everything).await?;
            aging::text(&documents, &tx.trial_balance(AsOf { effective_on: last, ..AsOf::NOW }).await?, last)?
                .into_bytes()
        }
        Kind::RewardsRollforward => {
            let entries = tx.journal_between(range.from, range.to).await?;
            let before = match range.from.yesterday() {
                Ok(before) => tx.trial_balance(AsOf { effective_on: before, ..AsOf::NOW }).await?,
                Err(_) => Vec::new(),
            };
            let names = rewards::names(&mut tx, &before, &entries).await?;
            rewards::text(&before, &entries, &names)?.into_bytes()
        }
    };
    Ok(File { bytes, head: head.head })
}
