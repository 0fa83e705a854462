//! What moved on each account on each day: what accounting tools are given, which do not want every entry.

use std::collections::BTreeMap;

use jiff::civil::Date;

use crate::domain::ledger::account::Account;
use crate::domain::ledger::account::Side;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::store::journal::Booked;

/// A day in one currency. Its debits equal its credits, since those of each entry do.
pub(super) struct Day<'a> {
    pub date: Date,
    pub currency: Currency,
    /// By account, in the order of the chart; those on which nothing is left moved are left out.
    pub moved: Vec<Moved<'a>>,
}

pub(super) struct Moved<'a> {
    pub account: &'a Account,
    /// Debits less credits; not zero.
    pub balance: Money,
    /// How many entries touch the account.
    pub entries: usize,
}

/// Debits less credits of each account, and how many entries they are of.
type Sums<'a> = BTreeMap<&'a Account, (Money, usize)>;

/// Days on which something moved, in order.
pub(super) fn days(entries: &[Booked]) -> Result<Vec<Day<'_>>, MoneyError> {
    let mut sums: BTreeMap<(Date, &str), Sums<'_>> = BTreeMap::new();
    for entry in entries.iter().map(|booked| &booked.entry) {
        for posting in entry.postings() {
            let currency = posting.amount.currency();
            let accounts = sums.entry((entry.heading().effective_on, currency.code())).or_default();
            let (balance, count) = accounts.entry(&posting.account).or_insert((Money::zero(currency), 0));
            *balance = match posting.side {
                Side::Debit => balance.checked_add(posting.amount)?,
                Side::Credit => balance.checked_sub(posting.amount)?,
            };
            *count = count.saturating_add(1);
        }
    }
    let mut days = Vec::new();
    for ((date, _), accounts) in sums {
        let moved = accounts.into_iter().filter(|(_, (balance, _))| !balance.is_zero());
        let moved: Vec<Moved<'_>> =
            moved.map(|(account, (balance, entries))| Moved { account, balance, entries }).collect();
        let currency = moved.first().map(|moved| moved.balance.currency());
        days.extend(currency.map(|currency| Day { date, currency, moved }));
    }
    Ok(days)
}

impl Moved<'_> {
    /// What a person reads beside the amount.
    pub fn description(&self) -> String {
        let of = self.account.of().map(|of| format!(" {of}")).unwrap_or_default();
        let entries = if self.entries == 1 { "entry" } else { "entries" };
        format!("{}{of}: {} {entries}", self.account.chart().name(), self.entries)
    }
}
