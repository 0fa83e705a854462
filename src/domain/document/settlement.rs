//! What settles an invoice: payments, credit notes, the consumer's credit, and giving up. Pure.
//!
//! An invoice never changes; settlements are added to it until what is outstanding comes to zero. The state is what they add
//! up to. An invoice below zero is settled by becoming credit of its consumer, and its settlements are below zero too.

use jiff::civil::Date;
use serde::Serialize;
use thiserror::Error;

use crate::domain::document::date_text;
use crate::domain::ids::InvoiceId;
use crate::domain::ids::PaymentId;
use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::domain::time::Instant;

/// By what something of an invoice is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Means {
    Payment,
    CreditNote,
    /// What the consumer had paid too much or was credited; or, of an invoice below zero, what it is credited.
    Credit,
    /// Prepaid credit, bought or given.
    Prepaid,
    /// What the platform owed its consumer in rewards, where the price book allows it.
    Rewards,
    /// Nobody expects the money any more; below zero, what is paid of it after all.
    Uncollectible,
    /// The invoice should not have been.
    Void,
}

/// A part of an invoice that is not owed any more, or all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Settlement {
    pub means: Means,
    /// Of the sign of the invoice's total, and not zero; but what was given up and is owed again is below zero.
    pub amount: Money,
    /// The id of the payment or the credit note.
    pub source: Option<String>,
    pub reason: Option<String>,
    /// The accounting date.
    #[serde(serialize_with = "date_text")]
    pub effective_on: Date,
    pub recorded_at: Instant,
    /// The id of the key by which it was recorded; none if a closing did it.
    pub recorded_by: Option<String>,
}

/// Where a finalised invoice stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InvoiceState {
    /// Something of it is outstanding.
    Open,
    /// Nothing is outstanding.
    Paid,
    Uncollectible,
    Void,
}

/// Money that came in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Payment {
    pub id: PaymentId,
    pub consumer: String,
    pub amount: Money,
    /// How it came, in the platform's words: `bank`, `card` …
    pub method: String,
    /// What the payer or the bank wrote.
    pub reference: String,
    #[serde(serialize_with = "date_text")]
    pub received_on: Date,
    pub recorded_at: Instant,
    pub recorded_by: String,
    /// What Stripe kept of it; none if it came another way.
    pub stripe_fee: Option<Money>,
}

/// Why something cannot be settled.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SettlementError {
    #[error("the invoice is {}", state.as_str())]
    NotOpen { state: InvoiceState },
    #[error("{settled} of it is settled already")]
    PartlySettled { settled: Money },
    #[error("it is in {}, and the invoice in {}", given.currency().code(), owed.currency().code())]
    OtherCurrency { given: Money, owed: Money },
    #[error("{0} is not an amount above zero")]
    NotAbove(Money),
    #[error(transparent)]
    Money(#[from] MoneyError),
}

impl Means {
    pub const ALL: [Self; 7] =
        [Self::Payment, Self::CreditNote, Self::Credit, Self::Prepaid, Self::Rewards, Self::Uncollectible, Self::Void];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Payment => "payment",
            Self::CreditNote => "credit_note",
            Self::Credit => "credit",
            Self::Prepaid => "prepaid",
            Self::Rewards => "rewards",
            Self::Uncollectible => "uncollectible",
            Self::Void => "void",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|means| means.as_str() == text)
    }
}

impl InvoiceState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Paid => "paid",
            Self::Uncollectible => "uncollectible",
            Self::Void => "void",
        }
    }

    /// What an invoice of this total is after its settlements.
    pub fn of(total: Money, settlements: &[Settlement]) -> Result<Self, MoneyError> {
        let by = |means| settlements.iter().any(|settlement| settlement.means == means);
        Ok(if by(Means::Void) {
            Self::Void
        } else if given_up(total, settlements)?.is_some_and(|given_up| !given_up.is_zero()) {
            Self::Uncollectible
        } else if outstanding(total, settlements)?.is_zero() {
            Self::Paid
        } else {
            Self::Open
        })
    }
}

/// What is given up of an invoice of this total, and was not paid after all; none if it never was given up.
pub fn given_up(total: Money, settlements: &[Settlement]) -> Result<Option<Money>, MoneyError> {
    let of_it: Vec<Money> = settlements
        .iter()
        .filter(|settlement| settlement.means == Means::Uncollectible)
        .map(|settlement| settlement.amount)
        .collect();
    if of_it.is_empty() { Ok(None) } else { Money::sum(total.currency(), of_it).map(Some) }
}

/// What is not settled of a total.
pub fn outstanding(total: Money, settlements: &[Settlement]) -> Result<Money, MoneyError> {
    let settled = Money::sum(total.currency(), settlements.iter().map(|settlement| settlement.amount))?;
    total.checked_sub(settled)
}

/// Divides a payment among what is outstanding of invoices, in their order: what each gets, without those that get nothing.
/// What is left over is the payer's credit.
pub fn allocate(paid: Money, owed: &[(InvoiceId, Money)]) -> Result<Vec<(InvoiceId, Money)>, SettlementError> {
    if paid.minor() <= 0 {
        return Err(SettlementError::NotAbove(paid));
    }
    let mut left = paid;
    let mut parts = Vec::new();
    for (invoice, outstanding) in owed {
        if outstanding.currency() != paid.currency() {
            return Err(SettlementError::OtherCurrency { given: paid, owed: *outstanding });
        }
        let part = Money::from_minor(left.minor().min(outstanding.minor()), paid.currency());
        if part.minor() > 0 {
            left = left.checked_sub(part)?;
            parts.push((invoice.clone(), part));
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::document::invoice::tests::usd;

    fn settled(means: Means, minor: i64) -> Settlement {
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

    fn state(total: i64, settlements: &[Settlement]) -> InvoiceState {
        InvoiceState::of(usd(total), settlements).expect("fits")
    }

    #[test]
    fn an_invoice_is_open_until_nothing_is_outstanding() {
        let (some, rest) = (settled(Means::Payment, 60), settled(Means::Credit, 40));
        assert_eq!(state(100, &[]), InvoiceState::Open);
        assert_eq!(state(100, std::slice::from_ref(&some)), InvoiceState::Open);
        assert_eq!(state(100, &[some.clone(), rest]), InvoiceState::Paid);
        assert_eq!(state(0, &[]), InvoiceState::Paid);
        assert_eq!(state(-5, &[]), InvoiceState::Open);
        assert_eq!(state(-5, &[settled(Means::Credit, -5)]), InvoiceState::Paid);
        let mut late = vec![some, settled(Means::Uncollectible, 40)];
        assert_eq!(state(100, &late), InvoiceState::Uncollectible);
        late.extend([settled(Means::Uncollectible, -30), settled(Means::Payment, 30)]);
        assert_eq!(state(100, &late), InvoiceState::Uncollectible, "10 are given up still");
        late.extend([settled(Means::Uncollectible, -10), settled(Means::Payment, 10)]);
        assert_eq!(state(100, &late), InvoiceState::Paid);
        assert_eq!(state(100, &[settled(Means::Void, 100)]), InvoiceState::Void);
    }

    #[test]
    fn means_read_back_as_they_were_written() {
        for means in Means::ALL {
            assert_eq!(Means::parse(means.as_str()), Some(means));
        }
        assert_eq!(Means::parse("barter"), None);
    }

    #[test]
    fn a_payment_of_nothing_and_one_in_another_currency_are_refused() {
        let invoice = InvoiceId::parse("inv_1").expect("an id");
        assert_eq!(allocate(usd(0), &[]), Err(SettlementError::NotAbove(usd(0))));
        let eur = Money::from_minor(5, crate::domain::money::Currency::from_code("EUR").expect("EUR exists"));
        let refused = allocate(usd(5), &[(invoice, eur)]);
        assert_eq!(refused, Err(SettlementError::OtherCurrency { given: usd(5), owed: eur }));
    }

    proptest! {
        /// Nothing is created, no invoice gets more than it is owed, and a later one gets something only if those before are
        /// settled.
        #[test]
        fn a_payment_is_divided_in_order(paid in 1_i64..1_000, owed in prop::collection::vec(0_i64..300, 0..6)) {
            let id = |at: usize| InvoiceId::parse(&format!("inv_{at}")).expect("an id");
            let invoices: Vec<_> = owed.iter().enumerate().map(|(at, minor)| (id(at), usd(*minor))).collect();
            let parts = allocate(usd(paid), &invoices).expect("fits");
            let sum: i64 = parts.iter().map(|(_, part)| part.minor()).sum();
            prop_assert_eq!(sum, paid.min(owed.iter().sum()));
            let mut left = paid;
            for (invoice, outstanding) in &invoices {
                let part = parts.iter().find(|(id, _)| id == invoice).map_or(0, |(_, part)| part.minor());
                prop_assert_eq!(part, left.min(outstanding.minor()));
                left -= part;
            }
        }
    }
}
