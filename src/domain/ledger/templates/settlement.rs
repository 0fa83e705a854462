//! Posting rules of what settles an invoice. Where its day is locked, it counts on the first day that is open.
//!
//! | what happens | debit | credit |
//! |---|---|---|
//! | [`payment_received`] | 1000, or through Stripe 1010 and 5100 its fee | 1100 what it settles, 2110 the rest |
//! | [`credit_note_issued`] | 4095 net, 2200 tax | 1100 what was owed, 2110 to the consumer's credit, 1000 what is sent back |
//! | [`credit_used`] | 2110 | 1100 |
//! | [`rewards_netted`] | 2010 | 1100 |
//! | [`invoice_credited`], of an invoice below zero | 1100 | 2110 |
//! | [`invoice_uncollectible`] | 5200 | 1100 |
//! | [`invoice_recovered`]: it is paid after all | 1100 | 5200 |

use crate::domain::document::credit_note::CreditNote;
use crate::domain::document::settlement::Payment;
use crate::domain::document::settlement::Settlement;
use crate::domain::ids::InvoiceId;
use crate::domain::ledger::account::Chart;
use crate::domain::ledger::entry::Entry;
use crate::domain::ledger::entry::EntryError;
use crate::domain::ledger::entry::EntryKind;
use crate::domain::ledger::lock::Locks;
use crate::domain::ledger::templates::Dates;
use crate::domain::ledger::templates::Postings;
use crate::domain::ledger::templates::heading;
use crate::domain::money::Money;

/// An invoice that is settled, as far as its entries name it.
#[derive(Clone, Copy, Debug)]
pub struct Settled<'a> {
    pub id: &'a InvoiceId,
    pub number: &'a str,
    pub party: &'a str,
}

/// Money came in. `settled` is what of it pays for invoices; the rest is the consumer's to use later.
pub fn payment_received(payment: &Payment, settled: Money, locks: &Locks) -> Result<Option<Entry>, EntryError> {
    let party = Some(payment.consumer.as_str());
    let mut postings = Postings::default();
    match payment.stripe_fee {
        None => postings.debit(Chart::Bank, None, payment.amount)?,
        Some(fee) => {
            postings.debit(Chart::Stripe, None, payment.amount.checked_sub(fee)?)?;
            postings.debit(Chart::ProcessingFees, None, fee)?;
        }
    }
    postings.credit(Chart::Receivable, party, settled)?;
    postings.credit(Chart::CustomerCredit, party, payment.amount.checked_sub(settled)?)?;
    let description = format!("Payment {} of {}", payment.id, payment.consumer);
    let dates = Dates::open(payment.received_on, payment.recorded_at, locks);
    postings.entry(heading(EntryKind::PaymentReceived, format!("payment:{}", payment.id), description, dates))
}

/// Some of an invoice is taken back.
pub fn credit_note_issued(note: &CreditNote, locks: &Locks) -> Result<Option<Entry>, EntryError> {
    let party = Some(note.consumer.as_str());
    let mut postings = Postings::default();
    postings.debit(Chart::Concessions, None, note.net)?;
    for taxed in &note.taxes {
        postings.debit(Chart::TaxPayable, Some(&taxed.jurisdiction), taxed.amount)?;
    }
    postings.credit(Chart::Receivable, party, note.settled)?;
    postings.credit(Chart::CustomerCredit, party, note.credited)?;
    postings.credit(Chart::Bank, None, note.refunded)?;
    let description = format!("Credit note {} to {}", note.number, note.consumer);
    let dates = Dates::open(note.effective_on, note.recorded_at, locks);
    postings.entry(heading(EntryKind::CreditNoteIssued, format!("credit_note:{}", note.id), description, dates))
}

/// The consumer's credit pays for an invoice, or a part of it.
pub fn credit_used(
    of: Settled<'_>,
    seq: i64,
    settlement: &Settlement,
    locks: &Locks,
) -> Result<Option<Entry>, EntryError> {
    let mut postings = Postings::default();
    postings.debit(Chart::CustomerCredit, Some(of.party), settlement.amount)?;
    postings.credit(Chart::Receivable, Some(of.party), settlement.amount)?;
    let description = format!("Credit of {} used for invoice {}", of.party, of.number);
    let key = format!("invoice:{}:credit_used:{seq}", of.id);
    postings.entry(heading(EntryKind::CreditUsed, key, description, dates(settlement, locks)))
}

/// What is available of the consumer's rewards pays for an invoice, or a part of it: `used`, which comes to the settlement.
pub fn rewards_netted(
    of: Settled<'_>,
    seq: i64,
    settlement: &Settlement,
    used: Money,
    locks: &Locks,
) -> Result<Option<Entry>, EntryError> {
    let mut postings = Postings::default();
    postings.debit(Chart::RewardsAvailable, Some(of.party), used)?;
    postings.credit(Chart::Receivable, Some(of.party), settlement.amount)?;
    let description = format!("Rewards of {} used for invoice {}", of.party, of.number);
    let key = format!("invoice:{}:netted:{seq}", of.id);
    postings.entry(heading(EntryKind::RewardsNetted, key, description, dates(settlement, locks)))
}

/// An invoice that came to less than zero becomes the consumer's credit.
pub fn invoice_credited(of: Settled<'_>, settlement: &Settlement, locks: &Locks) -> Result<Option<Entry>, EntryError> {
    let mut postings = Postings::default();
    postings.credit(Chart::Receivable, Some(of.party), settlement.amount)?;
    postings.debit(Chart::CustomerCredit, Some(of.party), settlement.amount)?;
    let description = format!("Invoice {} became credit of {}", of.number, of.party);
    postings.entry(heading(
        EntryKind::InvoiceCredited,
        format!("invoice:{}:credited", of.id),
        description,
        dates(settlement, locks),
    ))
}

/// Nobody expects the money any more.
pub fn invoice_uncollectible(
    of: Settled<'_>,
    settlement: &Settlement,
    locks: &Locks,
) -> Result<Option<Entry>, EntryError> {
    let mut postings = Postings::default();
    postings.debit(Chart::BadDebt, None, settlement.amount)?;
    postings.credit(Chart::Receivable, Some(of.party), settlement.amount)?;
    let description = format!("Invoice {} to {} given up", of.number, of.party);
    let key = format!("invoice:{}:uncollectible", of.id);
    postings.entry(heading(EntryKind::InvoiceUncollectible, key, description, dates(settlement, locks)))
}

/// Some of what was given up is paid after all: it is owed again, and what pays for it is booked as ever. `settlement` is below
/// zero.
pub fn invoice_recovered(
    of: Settled<'_>,
    seq: i64,
    settlement: &Settlement,
    locks: &Locks,
) -> Result<Option<Entry>, EntryError> {
    let mut postings = Postings::default();
    postings.credit(Chart::Receivable, Some(of.party), settlement.amount)?;
    postings.debit(Chart::BadDebt, None, settlement.amount)?;
    let description = format!("Invoice {} to {} paid after it was given up", of.number, of.party);
    let key = format!("invoice:{}:recovered:{seq}", of.id);
    postings.entry(heading(EntryKind::InvoiceRecovered, key, description, dates(settlement, locks)))
}

fn dates(settlement: &Settlement, locks: &Locks) -> Dates {
    Dates::open(settlement.effective_on, settlement.recorded_at, locks)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use rust_decimal::Decimal;

    use super::*;
    use crate::domain::document::Number;
    use crate::domain::document::invoice::Taxed;
    use crate::domain::document::invoice::tests::usd;
    use crate::domain::document::settlement::Means;
    use crate::domain::ids::CreditNoteId;
    use crate::domain::ids::PaymentId;
    use crate::domain::time::Instant;

    fn lines(entry: Result<Option<Entry>, EntryError>) -> Vec<String> {
        let entry = entry.expect("balances").expect("something moved");
        entry.postings().iter().map(|p| format!("{} {} {}", p.side.as_str(), p.account, p.amount.minor())).collect()
    }

    fn settlement(means: Means, minor: i64) -> Settlement {
        let (effective_on, recorded_at) = (date(2013, 3, 1), Instant::from_micros(0));
        Settlement {
            means,
            amount: usd(minor),
            source: None,
            reason: None,
            effective_on,
            recorded_at,
            recorded_by: None,
        }
    }

    #[test]
    fn what_a_payment_does_not_settle_is_the_consumers_credit() {
        let payment = Payment {
            id: PaymentId::parse("pmt_1").expect("an id"),
            consumer: "UA".to_owned(),
            amount: usd(500),
            method: "bank".to_owned(),
            reference: String::new(),
            received_on: date(2013, 3, 1),
            recorded_at: Instant::from_micros(0),
            recorded_by: "key_1".to_owned(),
            stripe_fee: None,
        };
        let some = payment_received(&payment, usd(420), &Locks::default());
        assert_eq!(lines(some), ["debit 1000:USD 500", "credit 1100:UA:USD 420", "credit 2110:UA:USD 80"]);
        assert_eq!(
            lines(payment_received(&payment, usd(500), &Locks::default())),
            ["debit 1000:USD 500", "credit 1100:UA:USD 500"]
        );
        assert_eq!(
            lines(payment_received(&payment, usd(0), &Locks::default())),
            ["debit 1000:USD 500", "credit 2110:UA:USD 500"]
        );
        let through_stripe = Payment { stripe_fee: Some(usd(17)), ..payment };
        assert_eq!(
            lines(payment_received(&through_stripe, usd(500), &Locks::default())),
            ["debit 1010:USD 483", "debit 5100:USD 17", "credit 1100:UA:USD 500"]
        );
    }

    #[test]
    fn a_credit_note_takes_back_revenue_and_tax_wherever_the_money_goes() {
        let tax =
            Taxed { tax: "nl".to_owned(), jurisdiction: "NL".to_owned(), rate: Decimal::new(21, 0), amount: usd(21) };
        let note = CreditNote {
            id: CreditNoteId::parse("cn_1").expect("an id"),
            number: Number { prefix: "CN-".to_owned(), ordinal: 1 },
            invoice: InvoiceId::parse("inv_1").expect("an id"),
            consumer: "UA".to_owned(),
            lines: Vec::new(),
            net: usd(100),
            taxes: vec![tax],
            tax: usd(21),
            total: usd(121),
            settled: usd(60),
            credited: usd(41),
            refunded: usd(20),
            reason: "outage".to_owned(),
            effective_on: date(2013, 3, 1),
            recorded_at: Instant::from_micros(0),
            recorded_by: "key_1".to_owned(),
        };
        assert_eq!(
            lines(credit_note_issued(&note, &Locks::default())),
            [
                "debit 2200:NL:USD 21",
                "debit 4095:USD 100",
                "credit 1000:USD 20",
                "credit 1100:UA:USD 60",
                "credit 2110:UA:USD 41"
            ]
        );
    }

    #[test]
    fn credit_pays_invoices_an_invoice_below_zero_becomes_credit_and_bad_debt_is_a_cost() {
        let id = InvoiceId::parse("inv_1").expect("an id");
        let of = Settled { id: &id, number: "INV-7", party: "UA" };
        let used = credit_used(of, 2, &settlement(Means::Credit, 30), &Locks::default());
        assert_eq!(lines(used), ["debit 2110:UA:USD 30", "credit 1100:UA:USD 30"]);
        let credited = invoice_credited(of, &settlement(Means::Credit, -30), &Locks::default());
        assert_eq!(lines(credited), ["debit 1100:UA:USD 30", "credit 2110:UA:USD 30"]);
        let netted = rewards_netted(of, 2, &settlement(Means::Rewards, 30), usd(30), &Locks::default());
        assert_eq!(lines(netted), ["debit 2010:UA:USD 30", "credit 1100:UA:USD 30"]);
        let wrong = rewards_netted(of, 2, &settlement(Means::Rewards, 30), usd(29), &Locks::default());
        assert!(matches!(wrong, Err(EntryError::Unbalanced { .. })), "{wrong:?}");
        let given_up = invoice_uncollectible(of, &settlement(Means::Uncollectible, 30), &Locks::default());
        assert_eq!(lines(given_up), ["debit 5200:USD 30", "credit 1100:UA:USD 30"]);
        let recovered = invoice_recovered(of, 2, &settlement(Means::Uncollectible, -20), &Locks::default());
        assert_eq!(lines(recovered), ["debit 1100:UA:USD 20", "credit 5200:USD 20"]);
    }
}
