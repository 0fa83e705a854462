//! `xero.csv`: manual journals for Xero, one for each day and currency.
//!
//! Xero takes dates as DD/MM/YYYY, accounts by code, and one signed amount: a debit is above zero. Lines with one
//! narration and date are one journal. The narration carries the batch, by which a second import is seen. Xero does not
//! let its own receivable and payable accounts be posted to: accounts with our codes are set up beside them.

use crate::billing::csv::csv;
use crate::billing::export::journal::Journal;
use crate::billing::export::summary::Day;
use crate::billing::export::summary::Moved;
use crate::billing::export::summary::days;
use crate::domain::money::MoneyError;

const COLUMNS: [&str; 10] = [
    "*Narration",
    "*Date",
    "Description",
    "*AccountCode",
    "*TaxRate",
    "*Amount",
    "TrackingName1",
    "TrackingOption1",
    "TrackingName2",
    "TrackingOption2",
];

/// The tax is a line of its own, so that Xero adds none.
const TAX_RATE: &str = "Tax Exempt";
/// Xero has two categories to track by at most.
const PARTY: &str = "Party";
const PURPOSE: &str = "Purpose";

pub(super) fn text(journal: &Journal<'_>) -> Result<String, MoneyError> {
    let days = days(journal.entries)?;
    Ok(csv(COLUMNS, days.iter().flat_map(|day| day.moved.iter().map(|moved| row(journal, day, moved)))))
}

fn row(journal: &Journal<'_>, day: &Day<'_>, moved: &Moved<'_>) -> [String; 10] {
    let tracked = |name: &str, of: Option<&str>| match of {
        Some(of) => [name.to_owned(), of.to_owned()],
        None => Default::default(),
    };
    let [party, party_is] = tracked(PARTY, moved.account.party());
    let [purpose, purpose_is] = tracked(PURPOSE, moved.account.purpose());
    [
        format!("Tallystick {}", journal.reference(day.date, day.currency)),
        day.date.strftime("%d/%m/%Y").to_string(),
        moved.description(),
        moved.account.chart().code().to_string(),
        TAX_RATE.to_owned(),
        moved.balance.decimal().to_string(),
        party,
        party_is,
        purpose,
        purpose_is,
    ]
}
