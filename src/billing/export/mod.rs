//! The journal in the formats that finance reads: CSV, hledger and beancount.
//!
//! Each is the text of the entries whose accounting date is in `from <= date < to`, in order. An export from before
//! the first entry holds every balance; one that begins later holds what moved.

mod beancount;
mod csv;
mod hledger;
pub mod pain;

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use jiff::civil::Date;

use crate::domain::ledger::account::Account;
use crate::domain::ledger::account::Chart;
use crate::domain::ledger::account::Side;
use crate::domain::ledger::entry::Posting;
use crate::domain::money::Currency;
use crate::store;
use crate::store::Db;
use crate::store::journal::Booked;

/// What can be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    JournalCsv,
    JournalHledger,
    JournalBeancount,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::JournalCsv, Self::JournalHledger, Self::JournalBeancount];

    /// Its name, which is also the name of its file: `journal.csv`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::JournalCsv => "journal.csv",
            Self::JournalHledger => "journal.hledger",
            Self::JournalBeancount => "journal.beancount",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub const fn media_type(self) -> &'static str {
        match self {
            Self::JournalCsv => "text/csv; charset=utf-8",
            Self::JournalHledger | Self::JournalBeancount => "text/plain; charset=utf-8",
        }
    }

    /// Entries, in this format.
    pub fn text(self, entries: &[Booked]) -> String {
        match self {
            Self::JournalCsv => csv::text(entries),
            Self::JournalHledger => hledger::text(entries),
            Self::JournalBeancount => beancount::text(entries),
        }
    }
}

/// The export of the entries with `from <= accounting date < to`.
pub async fn export(db: &Db, kind: Kind, from: Date, to: Date) -> store::Result<String> {
    let entries = db.read().await?.journal_between(from, to).await?;
    Ok(kind.text(&entries))
}

/// Every account in the entries: a place in the chart, and whose or what for. With its currencies.
fn accounts(entries: &[Booked]) -> BTreeMap<(Chart, Option<&str>), BTreeSet<&Account>> {
    let mut accounts: BTreeMap<_, BTreeSet<&Account>> = BTreeMap::new();
    for account in postings(entries).map(|posting| &posting.account) {
        accounts.entry((account.chart(), account.of())).or_default().insert(account);
    }
    accounts
}

fn currencies(entries: &[Booked]) -> BTreeMap<&'static str, Currency> {
    postings(entries).map(|posting| (posting.amount.currency().code(), posting.amount.currency())).collect()
}

fn postings(entries: &[Booked]) -> impl Iterator<Item = &Posting> {
    entries.iter().flat_map(|booked| booked.entry.postings())
}

/// `12.34 EUR`, with the decimals of the currency; a credit is below zero.
fn signed(posting: &Posting) -> String {
    let sign = if posting.side == Side::Credit { "-" } else { "" };
    format!("{sign}{}", posting.amount)
}

/// The name of a place in the chart as part of an account name: `payouts-in-transit`.
fn slug(chart: Chart) -> String {
    chart.name().to_lowercase().replace(' ', "-")
}

#[cfg(test)]
mod tests;
