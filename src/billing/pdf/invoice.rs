//! An invoice on paper.

use crate::billing::pdf::Around;
use crate::billing::pdf::PdfError;
use crate::billing::pdf::amount;
use crate::billing::pdf::bytes;
use crate::billing::pdf::sheet;
use crate::billing::pdf::sheet::Fact;
use crate::billing::pdf::sheet::Figure;
use crate::billing::pdf::sheet::Note;
use crate::billing::pdf::sheet::Sheet;
use crate::billing::pdf::sheet::Sum;
use crate::billing::pdf::table;
use crate::billing::pdf::unsigned;
use crate::domain::document::invoice::Invoice;
use crate::domain::document::invoice::InvoiceState;
use crate::domain::document::invoice::Taxed;
use crate::domain::show;

/// The PDF of an invoice.
pub fn invoice(invoice: &Invoice, around: Around<'_>) -> Result<Vec<u8>, PdfError> {
    bytes(&composed(invoice, around))
}

pub fn composed(invoice: &Invoice, around: Around<'_>) -> Sheet {
    let Around { issuer, consumer, zone } = around;
    let totals = &invoice.totals;
    let currency = totals.currency().code();
    let number = invoice.number.to_string();
    let period = show::period(invoice.period, zone);
    let label = match invoice.state {
        InvoiceState::Open if totals.total.is_zero() => "Nothing is due",
        InvoiceState::Open if totals.total.is_negative() => "In your favour",
        InvoiceState::Open => "Amount due",
    };
    let tax = |tax: &Taxed| Sum {
        label: format!("Tax, {} % {}", tax.rate.normalize(), tax.jurisdiction),
        amount: amount(tax.amount),
        is_total: false,
    };
    let net = Sum { label: "Net".to_owned(), amount: amount(totals.net), is_total: false };
    let total = Sum { label: format!("Total in {currency}"), amount: amount(totals.total), is_total: true };
    // Without tax the net is the total.
    let net = Some(net).filter(|_| !totals.taxes.is_empty());
    let is_paid_by_bank = !issuer.bank.is_empty() && totals.total.minor() > 0;
    let how_to_pay = is_paid_by_bank.then(|| Note {
        title: "How to pay".to_owned(),
        lines: issuer.bank.iter().cloned().chain([format!("Please name {number} with your payment.")]).collect(),
    });
    Sheet {
        facts: vec![
            Fact::new("Issued", show::day(invoice.issued_at, zone)),
            Fact::new("Period", period.clone()),
            Fact::new("Account", consumer.id.clone()),
        ],
        figure: Figure {
            label: label.to_owned(),
            amount: unsigned(totals.total),
            currency: currency.to_owned(),
            remark: format!("for {period}"),
        },
        tables: table(None, &totals.lines, invoice.period, zone).into_iter().collect(),
        sums: net.into_iter().chain(totals.taxes.iter().map(tax)).chain([total]).collect(),
        notes: how_to_pay.into_iter().collect(),
        created: Some(invoice.issued_at.date_in(zone)),
        ..sheet("Invoice", number, around)
    }
}
