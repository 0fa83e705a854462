//! `quickbooks.csv`: journal entries for QuickBooks Online, one for each day and currency.
//!
//! QuickBooks takes dates as MM/DD/YYYY and accounts by name, with `Parent:Sub` for a sub-account; a line on a
//! receivable needs the customer's name. Lines with one `JournalNo` are one entry, which has to balance. The number
//! carries the batch: where QuickBooks warns of numbers that it has, a second import is refused.

use crate::billing::csv::csv;
use crate::billing::export::journal::Journal;
use crate::billing::export::summary::Day;
use crate::billing::export::summary::Moved;
use crate::billing::export::summary::days;
use crate::domain::ledger::account::Account;
use crate::domain::money::MoneyError;

const COLUMNS: [&str; 8] =
    ["JournalNo", "JournalDate", "AccountName", "Debits", "Credits", "Description", "Name", "Currency"];

pub(super) fn text(journal: &Journal<'_>) -> Result<String, MoneyError> {
    let mut rows = Vec::new();
    for day in days(journal.entries)? {
        for moved in &day.moved {
            rows.push(row(journal, &day, moved)?);
        }
    }
    Ok(csv(COLUMNS, rows))
}

fn row(journal: &Journal<'_>, day: &Day<'_>, moved: &Moved<'_>) -> Result<[String; 8], MoneyError> {
    let (debit, credit) = match moved.balance.is_negative() {
        true => (String::new(), moved.balance.checked_neg()?.decimal().to_string()),
        false => (moved.balance.decimal().to_string(), String::new()),
    };
    Ok([
        journal.reference(day.date, day.currency),
        day.date.strftime("%m/%d/%Y").to_string(),
        account_name(moved.account),
        debit,
        credit,
        moved.description(),
        moved.account.party().map(|party| journal.name(party)).unwrap_or_default().to_owned(),
        day.currency.code().to_owned(),
    ])
}

/// `Usage revenue:miles_flown`. What the account is for is written as in the account's id, where no colon is left.
fn account_name(account: &Account) -> String {
    let sub = account.purpose().and_then(|_| account.escaped()).map(|of| format!(":{of}")).unwrap_or_default();
    format!("{}{sub}", account.chart().name())
}
