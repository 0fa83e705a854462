//! Credit notes: what is taken back of an invoice, line by line, with its tax. Pure.
//!
//! Of a line no more is credited than it came to, and of an invoice no more than its total. The tax of a line is that of all
//! that was ever credited of it, less what was credited before: so a line that is credited bit by bit gets back exactly its
//! tax. What is credited pays first for what the invoice still owes; the rest becomes the consumer's credit, or is sent back.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::Serialize;
use thiserror::Error;

use crate::domain::document::Number;
use crate::domain::document::date_text;
use crate::domain::document::invoice::Invoice;
use crate::domain::document::invoice::Taxed;
use crate::domain::document::invoice::tax_on;
use crate::domain::document::settlement::InvoiceState;
use crate::domain::ids::CreditNoteId;
use crate::domain::ids::InvoiceId;
use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::domain::time::Instant;

/// How the numbers of credit notes begin.
pub const PREFIX: &str = "CN-";

/// A credit note. It has its number, and never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CreditNote {
    pub id: CreditNoteId,
    pub number: Number,
    pub invoice: InvoiceId,
    pub consumer: String,
    pub lines: Vec<Credited>,
    pub net: Money,
    pub taxes: Vec<Taxed>,
    pub tax: Money,
    pub total: Money,
    /// What of the total paid for the invoice, became the consumer's credit, and was sent back.
    pub settled: Money,
    pub credited: Money,
    pub refunded: Money,
    pub reason: String,
    #[serde(serialize_with = "date_text")]
    pub effective_on: Date,
    pub recorded_at: Instant,
    /// The id of the key by which it was made.
    pub recorded_by: String,
}

/// What of a line is credited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Credited {
    /// Counted from 1.
    pub line: i64,
    /// Without tax.
    pub amount: Money,
}

/// What somebody wants to be credited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Everything that is left.
    Whole,
    /// Of each line so much, or what is left of it.
    Lines(Vec<(i64, Option<Money>)>),
}

/// What a credit note comes to, before it has a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amounts {
    pub lines: Vec<Credited>,
    pub net: Money,
    pub taxes: Vec<Taxed>,
    pub tax: Money,
    pub total: Money,
    pub settled: Money,
    pub rest: Money,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CreditNoteError {
    #[error("the invoice is {}", .0.as_str())]
    Dead(InvoiceState),
    #[error("the invoice has no line {0}")]
    UnknownLine(i64),
    #[error("line {0} is named twice")]
    Twice(i64),
    #[error("of line {line} {left} is left to be credited, not {wanted}")]
    MoreThanLeft { line: i64, left: Money, wanted: Money },
    #[error("nothing of it is left to be credited")]
    Nothing,
    #[error("it would come to {total}; of the invoice {left} is left to be credited")]
    MoreThanInvoice { total: Money, left: Money },
    #[error(transparent)]
    Money(#[from] MoneyError),
}

/// What crediting `wanted` of an invoice comes to, after the credit notes of it `before`.
pub fn amounts(invoice: &Invoice, before: &[CreditNote], wanted: &Wanted) -> Result<Amounts, CreditNoteError> {
    if matches!(invoice.state, InvoiceState::Void | InvoiceState::Uncollectible) {
        return Err(CreditNoteError::Dead(invoice.state));
    }
    let currency = invoice.totals.currency();
    let mut credited: BTreeMap<i64, Money> = BTreeMap::new();
    for Credited { line, amount } in before.iter().flat_map(|note| &note.lines) {
        let sum = credited.entry(*line).or_insert(Money::zero(currency));
        *sum = sum.checked_add(*amount)?;
    }
    let before_of = |line: i64| credited.get(&line).copied().unwrap_or(Money::zero(currency));
    let lines = (1_i64..).zip(&invoice.totals.lines);
    let lines = lines.map(|(line, billed)| Ok((line, billed.amount.checked_sub(before_of(line))?)));
    let left: BTreeMap<i64, Money> = lines.collect::<Result<_, MoneyError>>()?;
    let chosen = chosen(&left, wanted)?;

    let net = Money::sum(currency, chosen.iter().map(|credited| credited.amount))?;
    let mut taxes = Vec::with_capacity(invoice.totals.taxes.len());
    for taxed in &invoice.totals.taxes {
        let of_line = |Credited { line, amount }: &Credited| {
            let before = before_of(*line);
            tax_on(before.checked_add(*amount)?, taxed.rate)?.checked_sub(tax_on(before, taxed.rate)?)
        };
        let parts = chosen.iter().map(of_line).collect::<Result<Vec<_>, _>>()?;
        taxes.push(Taxed { amount: Money::sum(currency, parts)?, ..taxed.clone() });
    }
    let tax = Money::sum(currency, taxes.iter().map(|taxed| taxed.amount))?;
    let total = net.checked_add(tax)?;
    let credited_before = Money::sum(currency, before.iter().map(|note| note.total))?;
    let left = invoice.totals.total.checked_sub(credited_before)?;
    if total.minor() <= 0 {
        return Err(CreditNoteError::Nothing);
    }
    if total.minor() > left.minor() {
        return Err(CreditNoteError::MoreThanInvoice { total, left });
    }
    let settled = Money::from_minor(total.minor().min(invoice.outstanding.minor()).max(0), currency);
    Ok(Amounts { lines: chosen, net, taxes, tax, total, settled, rest: total.checked_sub(settled)? })
}

/// Of each line that is wanted, how much.
fn chosen(left: &BTreeMap<i64, Money>, wanted: &Wanted) -> Result<Vec<Credited>, CreditNoteError> {
    let credited = |(line, amount): (&i64, &Money)| Credited { line: *line, amount: *amount };
    let wanted = match wanted {
        Wanted::Whole => return Ok(left.iter().filter(|(_, left)| !left.is_zero()).map(credited).collect()),
        Wanted::Lines(wanted) => wanted,
    };
    let mut chosen = BTreeMap::new();
    for (line, amount) in wanted {
        let left = *left.get(line).ok_or(CreditNoteError::UnknownLine(*line))?;
        let amount = amount.unwrap_or(left);
        let range = left.minor().min(0)..=left.minor().max(0);
        if amount.currency() != left.currency() || !range.contains(&amount.minor()) {
            return Err(CreditNoteError::MoreThanLeft { line: *line, left, wanted: amount });
        }
        if !amount.is_zero() && chosen.insert(*line, amount).is_some() {
            return Err(CreditNoteError::Twice(*line));
        }
    }
    Ok(chosen.iter().map(credited).collect())
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;
    use rust_decimal::Decimal;

    use super::*;
    use crate::domain::book::Tax;
    use crate::domain::document::Occasion;
    use crate::domain::document::invoice::Draft;
    use crate::domain::document::invoice::Totals;
    use crate::domain::document::invoice::tests::line;
    use crate::domain::document::invoice::tests::usd;
    use crate::domain::ids::SubscriptionId;
    use crate::domain::period::Period;
    use crate::domain::rating::line::LineKind;

    fn invoice(lines: &[i64], rate: &str) -> Invoice {
        let lines = lines.iter().map(|minor| line("a", LineKind::Fee, *minor)).collect();
        let rate: Decimal = rate.parse().expect("a rate");
        let tax = Tax { id: "vat".to_owned(), jurisdiction: "NL".to_owned(), rate };
        let draft = Draft {
            id: InvoiceId::parse("inv_1").expect("an id"),
            consumer: "UA".to_owned(),
            subscription: SubscriptionId::parse("sub_1").expect("an id"),
            occasion: Occasion::Closing,
            period: Period::new(Instant::from_micros(0), Instant::from_micros(1)).expect("a period"),
            book_version: "v1".to_owned(),
            totals: Totals::of(usd(0).currency(), lines, Some(&tax)).expect("fits"),
        };
        draft.finalize(Number { prefix: "INV-".to_owned(), ordinal: 1 }, Instant::from_micros(0), date(2013, 3, 1))
    }

    fn note(invoice: &Invoice, amounts: Amounts) -> CreditNote {
        let Amounts { lines, net, taxes, tax, total, settled, rest } = amounts;
        CreditNote {
            id: CreditNoteId::parse("cn_1").expect("an id"),
            number: Number { prefix: PREFIX.to_owned(), ordinal: 1 },
            invoice: invoice.id.clone(),
            consumer: invoice.consumer.clone(),
            lines,
            net,
            taxes,
            tax,
            total,
            settled,
            credited: rest,
            refunded: usd(0),
            reason: "outage".to_owned(),
            effective_on: date(2013, 3, 1),
            recorded_at: Instant::from_micros(0),
            recorded_by: "key_1".to_owned(),
        }
    }

    #[test]
    fn a_whole_invoice_is_credited_with_its_adjustments_and_its_tax() {
        let invoice = invoice(&[1000, -300, 0], "21");
        let whole = amounts(&invoice, &[], &Wanted::Whole).expect("can be");
        assert_eq!((whole.net, whole.tax, whole.total), (usd(700), usd(147), usd(847)));
        assert_eq!((whole.lines.len(), whole.settled, whole.rest), (2, usd(847), usd(0)));
        let again = amounts(&invoice, &[note(&invoice, whole)], &Wanted::Whole);
        assert_eq!(again, Err(CreditNoteError::Nothing));
    }

    #[test]
    fn what_is_credited_pays_first_for_what_is_outstanding() {
        let mut invoice = invoice(&[1000], "0");
        invoice.outstanding = usd(300);
        let some = amounts(&invoice, &[], &Wanted::Lines(vec![(1, Some(usd(500)))])).expect("can be");
        assert_eq!((some.settled, some.rest), (usd(300), usd(200)));
        invoice.outstanding = usd(0);
        let some = amounts(&invoice, &[], &Wanted::Lines(vec![(1, None)])).expect("can be");
        assert_eq!((some.settled, some.rest), (usd(0), usd(1000)));
    }

    #[test]
    fn no_more_is_credited_than_a_line_or_the_invoice_comes_to() {
        let mut invoice = invoice(&[1000, -300], "0");
        let wanted = |line, minor| amounts(&invoice, &[], &Wanted::Lines(vec![(line, Some(usd(minor)))]));
        assert_eq!(wanted(3, 5), Err(CreditNoteError::UnknownLine(3)));
        assert_eq!(wanted(1, 1001), Err(CreditNoteError::MoreThanLeft { line: 1, left: usd(1000), wanted: usd(1001) }));
        assert!(matches!(wanted(1, -1), Err(CreditNoteError::MoreThanLeft { .. })));
        assert_eq!(wanted(1, 701), Err(CreditNoteError::MoreThanInvoice { total: usd(701), left: usd(700) }));
        assert_eq!(wanted(2, -300), Err(CreditNoteError::Nothing));
        let twice = Wanted::Lines(vec![(1, Some(usd(1))), (1, Some(usd(1)))]);
        assert_eq!(amounts(&invoice, &[], &twice), Err(CreditNoteError::Twice(1)));
        invoice.state = InvoiceState::Void;
        assert_eq!(amounts(&invoice, &[], &Wanted::Whole), Err(CreditNoteError::Dead(InvoiceState::Void)));
    }

    proptest! {
        /// However a line is credited bit by bit, in the end exactly its amount and its tax came back.
        #[test]
        fn bits_add_up_to_the_line_and_its_tax(amount in 1_i64..100_000, cuts in prop::collection::vec(1_i64..50_000, 0..6)) {
            let invoice = invoice(&[amount], "8.875");
            let mut notes: Vec<CreditNote> = Vec::new();
            for cut in cuts {
                if let Ok(bit) = amounts(&invoice, &notes, &Wanted::Lines(vec![(1, Some(usd(cut)))])) {
                    notes.push(note(&invoice, bit));
                }
            }
            if let Ok(rest) = amounts(&invoice, &notes, &Wanted::Whole) {
                notes.push(note(&invoice, rest));
            }
            let sum = |of: fn(&CreditNote) -> Money| notes.iter().map(|note| of(note).minor()).sum::<i64>();
            prop_assert_eq!(sum(|note| note.net), invoice.totals.net.minor());
            prop_assert_eq!(sum(|note| note.tax), invoice.totals.tax.minor());
        }
    }
}
