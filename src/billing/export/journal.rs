//! The journal in the formats of other tools, whole or as a sealed batch.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use jiff::civil::Date;

use crate::billing::export::beancount;
use crate::billing::export::hledger;
use crate::billing::export::journal_csv;
use crate::billing::export::quickbooks;
use crate::billing::export::xero;
use crate::domain::consumer::Consumer;
use crate::domain::ids::ExportId;
use crate::domain::ledger::account::Account;
use crate::domain::ledger::account::Chart;
use crate::domain::ledger::account::Side;
use crate::domain::ledger::entry::Posting;
use crate::domain::money::Currency;
use crate::domain::money::MoneyError;
use crate::store;
use crate::store::Tx;
use crate::store::journal::Booked;
use crate::store::journal::JournalHead;

/// What a journal is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Csv,
    Hledger,
    Beancount,
    Quickbooks,
    Xero,
}

/// Entries, and what is said of them.
pub(super) struct Journal<'a> {
    pub entries: &'a [Booked],
    pub head: JournalHead,
    /// What the consumers are called, by id.
    pub names: BTreeMap<String, String>,
    pub batch: Option<Batch>,
}

/// A sealed batch: what it is known by, in the file and in the tool that reads it.
pub(super) struct Batch {
    pub id: ExportId,
    /// Within its kind.
    pub number: i64,
    pub through: Date,
    /// Accounts that batches before it brought.
    pub known: BTreeSet<Account>,
}

impl Format {
    pub const ALL: [Self; 5] = [Self::Csv, Self::Hledger, Self::Beancount, Self::Quickbooks, Self::Xero];

    /// The name of the export, which is also the name of its file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Csv => "journal.csv",
            Self::Hledger => "journal.hledger",
            Self::Beancount => "journal.beancount",
            Self::Quickbooks => "quickbooks.csv",
            Self::Xero => "xero.csv",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    pub(super) fn text(self, journal: &Journal<'_>) -> Result<String, MoneyError> {
        match self {
            Self::Csv => Ok(journal_csv::text(journal.entries)),
            Self::Hledger => Ok(hledger::text(journal)),
            Self::Beancount => Ok(beancount::text(journal)),
            Self::Quickbooks => quickbooks::text(journal),
            Self::Xero => xero::text(journal),
        }
    }
}

impl Journal<'_> {
    /// Every account in the entries: a place in the chart, and whose or what for. With its currencies.
    pub fn accounts(&self) -> BTreeMap<(Chart, Option<&str>), BTreeSet<&Account>> {
        let mut accounts: BTreeMap<_, BTreeSet<&Account>> = BTreeMap::new();
        for account in self.postings().map(|posting| &posting.account) {
            accounts.entry((account.chart(), account.of())).or_default().insert(account);
        }
        accounts
    }

    pub fn currencies(&self) -> BTreeMap<&'static str, Currency> {
        self.postings().map(|posting| (posting.amount.currency().code(), posting.amount.currency())).collect()
    }

    fn postings(&self) -> impl Iterator<Item = &Posting> {
        self.entries.iter().flat_map(|booked| booked.entry.postings())
    }

    /// What the export is, a line each, to stand above its entries.
    pub fn preamble(&self) -> Vec<String> {
        let JournalHead { last_entry, head, .. } = self.head;
        let mut lines =
            vec!["The journal of Tallystick. Amounts in the currency's decimals; credits below zero.".to_owned()];
        if let Some(Batch { id, number, through, .. }) = &self.batch {
            lines.push(format!("Batch {number} ({id}), through {through}."));
        }
        lines.push(format!("Head of the chain after entry {last_entry}: {head}"));
        lines
    }

    /// What the entries of a day and a currency are known by where they are imported: no other export says the same.
    /// QuickBooks takes 21 characters.
    pub fn reference(&self, date: Date, currency: Currency) -> String {
        let number = self.batch.as_ref().map(|batch| batch.number.to_string()).unwrap_or_default();
        format!("TS{number}-{}-{currency}", date.strftime("%Y%m%d"))
    }

    /// What a consumer is called; its id, if nobody has told.
    pub fn name<'a>(&'a self, party: &'a str) -> &'a str {
        self.names.get(party).map_or(party, String::as_str)
    }
}

/// What the parties of entries are called. One of several with the same name has its id behind it.
pub(super) async fn names<Mode>(tx: &mut Tx<Mode>, entries: &[Booked]) -> store::Result<BTreeMap<String, String>> {
    let postings = entries.iter().flat_map(|booked| booked.entry.postings());
    let parties: BTreeSet<&str> = postings.filter_map(|posting| posting.account.party()).collect();
    let named = tx.consumers_named(&parties.into_iter().collect::<Vec<_>>()).await?;
    let mut often: BTreeMap<String, usize> = BTreeMap::new();
    named.values().for_each(|consumer| *often.entry(consumer.name.clone()).or_default() += 1);
    let name = |(id, consumer): (String, Consumer)| match often.get(&consumer.name) {
        Some(2..) => (id.clone(), format!("{} ({id})", consumer.name)),
        _ => (id, consumer.name),
    };
    Ok(named.into_iter().map(name).collect())
}

/// `12.34 EUR`, with the decimals of the currency; a credit is below zero.
pub(super) fn signed(posting: &Posting) -> String {
    let sign = if posting.side == Side::Credit { "-" } else { "" };
    format!("{sign}{}", posting.amount)
}

/// The name of a place in the chart as part of an account name: `payouts-in-transit`.
pub(super) fn slug(chart: Chart) -> String {
    chart.name().to_lowercase().replace(' ', "-")
}
