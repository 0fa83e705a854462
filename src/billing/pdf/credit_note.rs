//! A credit note on paper: what of which invoice is taken back, its tax, and where the money went.

use crate::billing::pdf::Around;
use crate::billing::pdf::PdfError;
use crate::billing::pdf::amount;
use crate::billing::pdf::bytes;
use crate::billing::pdf::row;
use crate::billing::pdf::sheet;
use crate::billing::pdf::sheet::Fact;
use crate::billing::pdf::sheet::Figure;
use crate::billing::pdf::sheet::Note;
use crate::billing::pdf::sheet::Row;
use crate::billing::pdf::sheet::Sheet;
use crate::billing::pdf::sheet::Sum;
use crate::billing::pdf::sheet::Table;
use crate::domain::document::credit_note::CreditNote;
use crate::domain::document::credit_note::Credited;
use crate::domain::document::invoice::Invoice;
use crate::domain::document::invoice::Taxed;
use crate::domain::show;

/// The PDF of a credit note for this invoice.
pub fn credit_note(note: &CreditNote, invoice: &Invoice, around: Around<'_>) -> Result<Vec<u8>, PdfError> {
    bytes(&composed(note, invoice, around))
}

pub fn composed(note: &CreditNote, invoice: &Invoice, around: Around<'_>) -> Sheet {
    let number = invoice.number.to_string();
    let currency = note.total.currency().code();
    let reason = Note { title: "Why".to_owned(), lines: vec![note.reason.clone()] };
    Sheet {
        facts: vec![
            Fact::new("Issued", show::date(note.effective_on)),
            Fact::new("Invoice", format!("{number} of {}", show::day(invoice.issued_at, around.zone))),
            Fact::new("Period", show::period(invoice.period, around.zone)),
            Fact::new("Account", note.consumer.clone()),
        ],
        figure: Figure {
            label: "Credited to you".to_owned(),
            amount: amount(note.total),
            currency: currency.to_owned(),
            remark: format!("for invoice {number}"),
        },
        tables: vec![Table {
            title: None,
            columns: ["Description".to_owned(), "Billed".to_owned(), format!("Credited {currency}")],
            rows: note.lines.iter().filter_map(|credited| line(credited, invoice, around)).collect(),
        }],
        sums: sums(note),
        notes: vec![where_it_went(note, &number), reason],
        created: Some(note.effective_on),
        ..sheet("Credit note", note.number.to_string(), around)
    }
}

/// A line of the invoice: what was billed for it, and what of that is credited.
fn line(credited: &Credited, invoice: &Invoice, around: Around<'_>) -> Option<Row> {
    let place = usize::try_from(credited.line).ok()?.checked_sub(1)?;
    let billed = invoice.totals.lines.get(place)?;
    let mut row = Row {
        reasons: String::new(),
        quantity: amount(billed.amount),
        amount: amount(credited.amount),
        ..row(billed, invoice.period, around.zone)
    };
    row.details.insert(0, format!("line {}", credited.line));
    Some(row)
}

fn sums(note: &CreditNote) -> Vec<Sum> {
    let sum = |label: String, money, is_total| Sum { label, amount: amount(money), is_total };
    let tax = |tax: &Taxed| sum(format!("Tax, {} % {}", tax.rate.normalize(), tax.jurisdiction), tax.amount, false);
    let net = (!note.taxes.is_empty()).then(|| sum("Net".to_owned(), note.net, false));
    let total = sum(format!("Total in {}", note.total.currency()), note.total, true);
    net.into_iter().chain(note.taxes.iter().map(tax)).chain([total]).collect()
}

fn where_it_went(note: &CreditNote, invoice: &str) -> Note {
    let parts = [
        (note.settled, format!("taken off what invoice {invoice} still owed")),
        (note.credited, "credit of your account, which pays for your next invoices".to_owned()),
        (note.refunded, "sent back to you".to_owned()),
    ];
    let parts = parts.into_iter().filter(|(money, _)| !money.is_zero());
    let lines = parts.map(|(money, what)| format!("{} {}: {what}", amount(money), money.currency())).collect();
    Note { title: "Where it went".to_owned(), lines }
}
