//! `statement.xlsx`: what consumers were charged and rewarded, line by line, in a workbook that adds itself up.
//!
//! A sheet each for charges, rewards and adjustments, with a total for each currency, and a summary with a row for each
//! consumer. All sums are formulas over the cells that they add, with their values beside them.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::ops::Range;

use jiff::civil::Date;

use crate::billing::export::documents::Documents;
use crate::billing::export::xlsx::Cell;
use crate::billing::export::xlsx::Sheet;
use crate::billing::export::xlsx::at;
use crate::billing::export::xlsx::workbook;
use crate::domain::document::Number;
use crate::domain::ledger::chain::Head;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::domain::rating::line::Line;
use crate::domain::time::Instant;
use crate::domain::time::Zone;

/// Column of the currency on every sheet of lines; the amount stands right of it.
const CURRENCY: usize = 11;

/// A line of a document, and where it is from.
struct Of<'a> {
    consumer: &'a str,
    on: Date,
    number: &'a Number,
    zone: &'a Zone,
    line: &'a Line,
    /// What it adds to the sums of its sheet.
    amount: Money,
}

/// A sheet of lines, where those of each consumer are, and what they come to.
struct Lines {
    sheet: Sheet,
    by_consumer: BTreeMap<(String, &'static str), (Range<usize>, Money)>,
}

/// What is charged and rewarded on documents of a range of accounting dates.
pub(super) fn file(
    documents: &Documents,
    (from, to): (Date, Date),
    head: Head,
) -> Result<io::Result<Vec<u8>>, MoneyError> {
    let (mut charges, mut rewards, mut adjustments) = (Vec::new(), Vec::new(), Vec::new());
    for invoice in &documents.invoices {
        let document = &invoice.document;
        for line in &document.totals.lines {
            let of = Of {
                consumer: &document.consumer,
                on: invoice.on,
                number: &document.number,
                zone: &invoice.zone,
                line,
                amount: line.amount,
            };
            if line.is_adjustment() { adjustments.push(of) } else { charges.push(of) }
        }
    }
    for payout in &documents.payouts {
        let document = &payout.document;
        for line in &document.lines {
            let is_adjustment = line.is_adjustment();
            let of = Of {
                consumer: &document.consumer,
                on: payout.on,
                number: &document.number,
                zone: &payout.zone,
                line,
                // Beside adjustments of charges, more reward is less that is owed.
                amount: if is_adjustment { line.amount.checked_neg()? } else { line.amount },
            };
            if is_adjustment { adjustments.push(of) } else { rewards.push(of) }
        }
    }
    let charges = lines("Charges", "Amount", documents, charges)?;
    let rewards = lines("Rewards", "Amount", documents, rewards)?;
    let adjustments = lines("Adjustments", "Owed", documents, adjustments)?;
    let summary = summary(documents, [&charges, &adjustments, &rewards], (from, to), head)?;
    Ok(workbook(&[summary, charges.sheet, rewards.sheet, adjustments.sheet]))
}

fn lines(
    name: &'static str,
    amount: &'static str,
    documents: &Documents,
    mut of: Vec<Of<'_>>,
) -> Result<Lines, MoneyError> {
    // Stable: lines of a document stay in its order.
    of.sort_by_key(|of| (of.consumer, of.amount.currency().code(), of.on));
    let mut by_consumer: BTreeMap<(String, &'static str), (Range<usize>, Money)> = BTreeMap::new();
    for (row, of) in (1..).zip(&of) {
        let currency = of.amount.currency();
        let key = (of.consumer.to_owned(), currency.code());
        let (rows, sum) = by_consumer.entry(key).or_insert((row..row, Money::zero(currency)));
        rows.end = row + 1;
        *sum = sum.checked_add(of.amount)?;
    }
    let mut rows: Vec<Vec<Cell>> = of.iter().map(|of| line(documents.name(of.consumer), of)).collect();
    let sums = by_consumer.values().map(|(_, sum)| [*sum]);
    let totals = totals(rows.len(), CURRENCY, sums)?;
    rows.extend(totals);
    let columns = vec![
        ("Consumer", 16),
        ("Name", 24),
        ("Document", 14),
        ("Date", 12),
        ("Component", 18),
        ("Description", 36),
        ("Dimensions", 24),
        ("Program", 16),
        ("From", 12),
        ("Through", 12),
        ("Quantity", 14),
        ("Currency", 10),
        (amount, 16),
    ];
    Ok(Lines { sheet: Sheet { name, columns, rows }, by_consumer })
}

fn line(name: &str, of: &Of<'_>) -> Vec<Cell> {
    let line = of.line;
    let text = |text: &str| Cell::Text(text.to_owned());
    let dimensions: Vec<String> = line.dimensions.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let last = Instant::from_micros(line.to.micros().saturating_sub(1)).max(line.from);
    vec![
        text(of.consumer),
        text(name),
        Cell::Text(of.number.to_string()),
        Cell::Date(of.on),
        text(&line.component),
        text(&line.description),
        Cell::Text(dimensions.join("; ")),
        line.program.as_deref().map_or(Cell::Empty, text),
        Cell::Date(line.from.date_in(of.zone)),
        Cell::Date(last.date_in(of.zone)),
        Cell::Number(line.quantity),
        text(of.amount.currency().code()),
        Cell::Money(of.amount),
    ]
}

/// A row for each currency, with the sums of the columns right of it, below `rows` rows. Each item of `sums` is what some
/// of these rows add to them.
fn totals<const N: usize>(
    rows: usize,
    currency: usize,
    sums: impl Iterator<Item = [Money; N]>,
) -> Result<Vec<Vec<Cell>>, MoneyError> {
    let mut totals: BTreeMap<&'static str, [Money; N]> = BTreeMap::new();
    for parts in sums {
        let Some(first) = parts.first() else { continue };
        let total = totals.entry(first.currency().code()).or_insert([Money::zero(first.currency()); N]);
        for (total, part) in total.iter_mut().zip(parts) {
            *total = total.checked_add(part)?;
        }
    }
    let column = |column: usize| format!("{}:{}", at(column, 1), at(column, rows));
    let row = |(code, sums): (&'static str, [Money; N])| {
        let mut row = vec![Cell::Label("Total".to_owned())];
        row.extend((1..currency).map(|_| Cell::Empty));
        row.push(Cell::Label(code.to_owned()));
        for (place, sum) in (currency + 1..).zip(sums) {
            // The code of a currency is nothing but letters, so it only matches itself.
            row.push(Cell::Sum(format!("SUMIFS({},{},\"{code}\")", column(place), column(currency)), sum));
        }
        row
    };
    Ok(totals.into_iter().map(row).collect())
}

/// A row for each consumer: charges, adjustments, tax, rewards, and what it owes.
fn summary(
    documents: &Documents,
    sheets: [&Lines; 3],
    (from, to): (Date, Date),
    head: Head,
) -> Result<Sheet, MoneyError> {
    const CURRENCY: usize = 2;
    let mut taxes: BTreeMap<(String, &'static str), Money> = BTreeMap::new();
    for invoice in &documents.invoices {
        let tax = invoice.document.totals.tax;
        let sum = taxes
            .entry((invoice.document.consumer.clone(), tax.currency().code()))
            .or_insert(Money::zero(tax.currency()));
        *sum = sum.checked_add(tax)?;
    }
    let keys: BTreeSet<&(String, &'static str)> =
        sheets.iter().flat_map(|lines| lines.by_consumer.keys()).chain(taxes.keys()).collect();
    let (mut rows, mut sums) = (Vec::new(), Vec::new());
    for (row, key) in (1..).zip(keys) {
        let (consumer, code) = key;
        let Some(currency) = Currency::from_code(code) else { continue };
        let zero = Money::zero(currency);
        let of_sheet = |lines: &Lines| match lines.by_consumer.get(key) {
            None => (Cell::Money(zero), zero),
            Some((rows, sum)) => {
                let amount = crate::billing::export::statement::CURRENCY + 1;
                let (first, last) = (at(amount, rows.start), at(amount, rows.end.saturating_sub(1)));
                (Cell::Formula(format!("SUM({}!{first}:{last})", lines.sheet.name), *sum), *sum)
            }
        };
        let [(charges, charged), (adjustments, adjusted), (rewards, rewarded)] = sheets.map(of_sheet);
        let tax = taxes.get(key).copied().unwrap_or(zero);
        let net = charged.checked_add(adjusted)?.checked_add(tax)?.checked_sub(rewarded)?;
        let owed = format!("{}+{}+{}-{}", at(3, row), at(4, row), at(5, row), at(6, row));
        rows.push(vec![
            Cell::Text(consumer.clone()),
            Cell::Text(documents.name(consumer).to_owned()),
            Cell::Text((*code).to_owned()),
            charges,
            adjustments,
            Cell::Money(tax),
            rewards,
            Cell::Formula(owed, net),
        ]);
        sums.push([charged, adjusted, tax, rewarded, net]);
    }
    let totals = totals(rows.len(), CURRENCY, sums.into_iter())?;
    rows.extend(totals);
    rows.push(Vec::new());
    let said = |label: &str, cell: Cell| vec![Cell::Label(label.to_owned()), cell];
    if from > Date::constant(1, 1, 1) {
        rows.push(said("From", Cell::Date(from)));
    }
    if to < Date::MAX {
        rows.push(said("Before", Cell::Date(to)));
    }
    rows.push(said("Head of the chain", Cell::Text(head.to_string())));
    let amounts = ["Charges", "Adjustments", "Tax", "Rewards", "Net owed"].map(|name| (name, 16));
    let columns = [("Consumer", 18), ("Name", 28), ("Currency", 10)].into_iter().chain(amounts).collect();
    Ok(Sheet { name: "Summary", columns, rows })
}
