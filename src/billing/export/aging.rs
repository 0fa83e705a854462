//! `aging.csv`: what is owed on each invoice at the end of a day, by how long it has been due.
//!
//! Every consumer's rows come to what stands on its receivable (1100) on that day. What stands there and is on no invoice
//! of that day, such as a payment that is dated before its invoice, is a row without one.

use std::collections::BTreeMap;

use jiff::Unit;
use jiff::civil::Date;

use crate::billing::csv::csv;
use crate::billing::export::documents::Documents;
use crate::domain::document::settlement::Settlement;
use crate::domain::ledger::account::Chart;
use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::store::balances::AccountTotal;

const COLUMNS: [&str; 16] = [
    "consumer",
    "name",
    "number",
    "invoice",
    "date",
    "due",
    "days_overdue",
    "currency",
    "total",
    "open",
    "current",
    "1_to_30",
    "31_to_60",
    "61_to_90",
    "91_to_120",
    "over_120",
];

/// The last day of each bracket, in days after the one on which it was due. What is later is in one more.
const BRACKETS: [i32; 5] = [0, 30, 60, 90, 120];

/// One row of the six brackets.
struct Open<'a> {
    consumer: &'a str,
    /// Number, id, accounting date, due date and total of the invoice, if it is of one.
    invoice: Option<(String, &'a str, Date, Date, Money)>,
    open: Money,
}

/// `documents` are all of the days through `last`, `balances` what stood on all accounts at its end.
pub(super) fn text(documents: &Documents, balances: &[AccountTotal], last: Date) -> Result<String, MoneyError> {
    let mut rows = Vec::new();
    let mut unexplained: BTreeMap<(&str, &str), Money> = BTreeMap::new();
    for total in balances.iter().filter(|total| total.account.chart() == Chart::Receivable) {
        let key = (total.account.party().unwrap_or_default(), total.account.currency().code());
        unexplained.insert(key, total.debit.checked_sub(total.credit)?);
    }
    for invoice in &documents.invoices {
        let document = &invoice.document;
        let total = document.totals.total;
        let booked_on = |of: &&Settlement| documents.locks.open_day(of.effective_on, of.recorded_at);
        let settled = document.settlements.iter().filter(|settlement| booked_on(settlement) <= last);
        let settled = Money::sum(total.currency(), settled.map(|settlement| settlement.amount))?;
        let open = total.checked_sub(settled)?;
        if open.is_zero() {
            continue;
        }
        let key = (&*document.consumer, open.currency().code());
        let rest = unexplained.entry(key).or_insert(Money::zero(open.currency()));
        *rest = rest.checked_sub(open)?;
        let due = document.due_on.unwrap_or(invoice.on);
        let of = (document.number.to_string(), document.id.as_str(), invoice.on, due, total);
        rows.push(Open { consumer: &document.consumer, invoice: Some(of), open });
    }
    let rest = unexplained.into_iter().filter(|(_, rest)| !rest.is_zero());
    rows.extend(rest.map(|((consumer, _), open)| Open { consumer, invoice: None, open }));
    // Stable: invoices of a consumer stay in the order in which they were made.
    rows.sort_by_key(|row| row.consumer);
    Ok(csv(COLUMNS, rows.iter().map(|open| row(documents, open, last))))
}

fn row(documents: &Documents, Open { consumer, invoice, open }: &Open<'_>, last: Date) -> [String; 16] {
    let overdue =
        invoice.as_ref().map(|(_, _, _, due, _)| due.until((Unit::Day, last)).map_or(0, |since| since.get_days()));
    let bracket = BRACKETS.iter().filter(|until| overdue.unwrap_or(0) > **until).count();
    let bracketed = |place: usize| if place == bracket { open.decimal().to_string() } else { String::new() };
    let (number, id, on, due, total) = match invoice {
        Some((number, id, on, due, total)) => {
            (number.clone(), (*id).to_owned(), on.to_string(), due.to_string(), total.decimal().to_string())
        }
        None => Default::default(),
    };
    [
        (*consumer).to_owned(),
        documents.name(consumer).to_owned(),
        number,
        id,
        on,
        due,
        overdue.map(|days| days.max(0).to_string()).unwrap_or_default(),
        open.currency().code().to_owned(),
        total,
        open.decimal().to_string(),
        bracketed(0),
        bracketed(1),
        bracketed(2),
        bracketed(3),
        bracketed(4),
        bracketed(5),
    ]
}
