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
use crate::domain::document::invoice::Taxed;
use crate::domain::document::settlement::InvoiceState;
use crate::domain::document::settlement::Means;
use crate::domain::document::settlement::Settlement;
use crate::domain::money::Money;
use crate::domain::show;

const AMOUNT_DUE: &str = "Amount due";

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
    let due = invoice.due_on.map(show::date);
    let (label, money) = standing(invoice);
    let is_due = label == AMOUNT_DUE;
    let remark = match &due {
        Some(due) if is_due => format!("by {due}"),
        _ => format!("for {period}"),
    };
    let how_to_pay = (is_due && !issuer.bank.is_empty()).then(|| Note {
        title: "How to pay".to_owned(),
        lines: issuer.bank.iter().cloned().chain([format!("Please name {number} with your payment.")]).collect(),
    });
    Sheet {
        facts: vec![
            Fact::new("Issued", show::day(invoice.issued_at, zone)),
            Fact::new("Due", due.unwrap_or_else(|| "on receipt".to_owned())),
            Fact::new("Period", period),
            Fact::new("Account", consumer.id.clone()),
        ],
        figure: Figure { label: label.to_owned(), amount: unsigned(money), currency: currency.to_owned(), remark },
        tables: table(None, &totals.lines, invoice.period, zone).into_iter().collect(),
        sums: sums(invoice),
        notes: how_to_pay.into_iter().collect(),
        created: Some(invoice.issued_at.date_in(zone)),
        ..sheet("Invoice", number, around)
    }
}

/// What matters most of it: a word, and how much.
fn standing(invoice: &Invoice) -> (&'static str, Money) {
    let (total, outstanding) = (invoice.totals.total, invoice.outstanding);
    match invoice.state {
        _ if total.is_zero() => ("Nothing is due", total),
        InvoiceState::Open if outstanding.is_negative() => ("In your favour", outstanding),
        InvoiceState::Open => (AMOUNT_DUE, outstanding),
        InvoiceState::Paid if total.is_negative() => ("Credited to you", total),
        InvoiceState::Paid => ("Paid", total),
        InvoiceState::Uncollectible => ("Written off", outstanding),
        InvoiceState::Void => ("Void: nothing is due", total),
    }
}

/// From the net to what is still due. Without tax the net is the total, and without settlements that is due.
fn sums(invoice: &Invoice) -> Vec<Sum> {
    let totals = &invoice.totals;
    let currency = totals.currency().code();
    let sum = |label: String, amount: String, is_total| Sum { label, amount, is_total };
    let tax =
        |tax: &Taxed| sum(format!("Tax, {} % {}", tax.rate.normalize(), tax.jurisdiction), amount(tax.amount), false);
    let settled = |settlement: &Settlement| {
        // What settles an invoice is taken off it.
        let sign = if settlement.amount.is_negative() { "" } else { "−" };
        let what = match settlement.means {
            Means::Uncollectible if settlement.amount.is_negative() => "Due again",
            means => self::means(means),
        };
        let label = format!("{what}, {}", show::date(settlement.effective_on));
        sum(label, format!("{sign}{}", unsigned(settlement.amount)), false)
    };
    let net = (!totals.taxes.is_empty()).then(|| sum("Net".to_owned(), amount(totals.net), false));
    let total = sum(format!("Total in {currency}"), amount(totals.total), true);
    let left = (!invoice.settlements.is_empty())
        .then(|| sum(format!("Still due in {currency}"), amount(invoice.outstanding), true));
    let before = net.into_iter().chain(totals.taxes.iter().map(tax)).chain([total]);
    before.chain(invoice.settlements.iter().map(settled)).chain(left).collect()
}

const fn means(means: Means) -> &'static str {
    match means {
        Means::Payment => "Payment",
        Means::CreditNote => "Credit note",
        Means::Credit => "Credit of your account",
        Means::Prepaid => "Prepaid credit",
        Means::Rewards => "Your rewards",
        Means::Uncollectible => "Written off",
        Means::Void => "Voided",
    }
}
