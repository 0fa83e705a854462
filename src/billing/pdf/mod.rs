//! Documents as PDF: an invoice, a credit note, a payout statement and a consumer's statement, as they are sent to people.
//!
//! Promise: the same document is the same bytes, every text in it can be selected and read aloud, and no name breaks it.
//! How: [`sheet`] is what a document shows, as texts, made by [`invoice`], [`credit_note`], [`payout`] and [`statement`];
//! [`layout`] sets it on the pages of a [`canvas`] in the typeface of [`font`]; [`file`] writes those down. Nothing here reads or waits.

mod canvas;
mod credit_note;
mod file;
mod font;
mod invoice;
mod layout;
mod payout;
mod sheet;
mod statement;
#[cfg(test)]
mod tests;

pub use credit_note::credit_note;
pub use invoice::invoice;
pub use payout::payout;
pub use statement::statement;

use thiserror::Error;

use crate::domain::book::Issuer;
use crate::domain::consumer::Consumer;
use crate::domain::money::Money;
use crate::domain::period::Period;
use crate::domain::rating::line::Line;
use crate::domain::rating::line::StepKind;
use crate::domain::show;
use crate::domain::time::Zone;

use crate::billing::pdf::sheet::Row;
use crate::billing::pdf::sheet::Sheet;
use crate::billing::pdf::sheet::Table;

/// What a line says of why it is what it is. Some prices have hundreds of tiers, and the page of the statement has them all.
const REASONS_CHARS_MAX: usize = 600;

/// What a document does not say itself.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// Of the price book that the document was made under.
    pub issuer: &'a Issuer,
    pub consumer: &'a Consumer,
    /// In which its days begin.
    pub zone: &'a Zone,
}

/// None of these can happen to a document: they are faults of the program.
#[derive(Debug, Error)]
pub enum PdfError {
    #[error("the typeface cannot be read: {0}")]
    Face(#[from] ttf_parser::FaceParsingError),
    #[error("the typeface cannot be cut to what is used: {0}")]
    Subset(#[from] subsetter::Error),
    #[error("the pages cannot be compressed: {0}")]
    Compress(#[from] std::io::Error),
}

/// The file that shows a sheet.
fn bytes(sheet: &Sheet) -> Result<Vec<u8>, PdfError> {
    file::bytes(layout::set(sheet)?, sheet)
}

/// The parts that all documents have.
fn sheet(title: &str, name: String, around: Around<'_>) -> Sheet {
    let Around { issuer, consumer, .. } = around;
    let mut from = vec![issuer.name.clone()];
    from.extend(issuer.address.iter().cloned());
    from.extend(issuer.tax_id.iter().map(|id| format!("Tax id {id}")));
    from.extend(issuer.email.iter().cloned());
    Sheet {
        title: title.to_owned(),
        name,
        issuer: from,
        party: [Some(consumer.name.clone()), consumer.email.clone()].into_iter().flatten().collect(),
        footer: issuer.footer.clone().unwrap_or_else(|| issuer.name.clone()),
        ..Sheet::default()
    }
}

/// A table of lines, if there are any.
fn table(title: Option<&str>, lines: &[Line], period: Period, zone: &Zone) -> Option<Table> {
    let currency = lines.first()?.amount.currency().code();
    Some(Table {
        title: title.map(str::to_owned),
        columns: ["Description", "Quantity", currency].map(str::to_owned),
        rows: lines.iter().map(|line| row(line, period, zone)).collect(),
    })
}

fn row(line: &Line, period: Period, zone: &Zone) -> Row {
    let mut details: Vec<String> = line.dimensions.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let days = Period::new(line.from, line.to).ok().filter(|days| *days != period);
    details.extend(days.map(|days| show::period(days, zone)));
    let is_measured = line.explanation.meter.is_some();
    Row {
        text: line.description.clone(),
        details,
        reasons: reasons(line),
        quantity: if is_measured { minus(show::number(line.quantity)) } else { String::new() },
        amount: amount(line.amount),
    }
}

/// How the quantity became the amount, in one sentence. What was measured, and that it was rounded, the columns say.
fn reasons(line: &Line) -> String {
    let steps = line.explanation.steps.iter();
    let told = steps.filter(|step| !matches!(step.step, StepKind::Usage | StepKind::Rounding));
    let text = told.map(|step| step.text.as_str()).collect::<Vec<_>>().join("; ");
    match text.char_indices().nth(REASONS_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

/// `−1,234.50`, without its currency.
fn amount(money: Money) -> String {
    minus(show::amount(money))
}

/// `1,234.50`, whatever its sign.
fn unsigned(money: Money) -> String {
    show::amount(money).trim_start_matches('-').to_owned()
}

/// A number with a real minus, which is as wide as a figure.
fn minus(number: String) -> String {
    number.replacen('-', "−", 1)
}
