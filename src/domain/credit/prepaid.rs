//! Prepaid credit in money, as it is kept: grants, what became of each, and which of them pay for an invoice. Pure.
//!
//! Which grant is drawn on first: the lowest priority, then the one that expires first, then what was given before what was
//! bought, then the oldest. A grant pays for an invoice if it is in effect at the last moment of what the invoice bills.

use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::Serialize;

use crate::domain::credit;
use crate::domain::credit::CreditError;
use crate::domain::credit::Grant;
use crate::domain::credit::Key;
use crate::domain::credit::Rollover;
use crate::domain::credit::Rules;
use crate::domain::credit::Source;
use crate::domain::credit::Standing;
use crate::domain::credit::Used;
use crate::domain::credit::burn_down;
use crate::domain::document::date_text;
use crate::domain::ids::GrantId;
use crate::domain::ids::InvoiceId;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::domain::time::Instant;
use crate::domain::time::Zone;

/// Credit that a consumer bought or was given, with everything that became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Prepaid {
    pub id: GrantId,
    pub consumer: String,
    pub amount: Money,
    pub source: Source,
    /// The lowest is used first.
    pub priority: i64,
    pub effective_at: Instant,
    /// Exclusive.
    pub expires_at: Option<Instant>,
    /// What the payer or the bank wrote.
    pub reference: String,
    pub reason: String,
    /// The accounting date.
    #[serde(serialize_with = "date_text")]
    pub effective_on: Date,
    pub recorded_at: Instant,
    /// The id of the key by which it was made.
    pub recorded_by: String,
    pub movements: Vec<Movement>,
}

/// Something that was taken of a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Movement {
    pub kind: MovementKind,
    /// Above zero.
    pub amount: Money,
    /// What it was drawn for.
    pub invoice: Option<InvoiceId>,
    pub reason: Option<String>,
    pub at: Instant,
    #[serde(serialize_with = "date_text")]
    pub effective_on: Date,
    pub recorded_at: Instant,
    /// The id of a key; none if a closing did it.
    pub recorded_by: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MovementKind {
    Drawn,
    Expired,
    Voided,
}

/// When a consumer wants to buy credit again, and how much.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopUp {
    pub consumer: String,
    /// As soon as less than this is left.
    pub below: Money,
    pub amount: Money,
    pub updated_at: Instant,
}

/// What is left of grants that are in effect, in a currency.
pub fn usable<'a>(
    grants: impl IntoIterator<Item = &'a Prepaid>,
    currency: Currency,
    at: Instant,
) -> Result<Money, MoneyError> {
    let grants = grants.into_iter().filter(|grant| grant.amount.currency() == currency && grant.grant().is_active(at));
    Money::sum(currency, grants.map(Prepaid::left).collect::<Result<Vec<_>, _>>()?)
}

impl MovementKind {
    pub const ALL: [Self; 3] = [Self::Drawn, Self::Expired, Self::Voided];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drawn => "drawn",
            Self::Expired => "expired",
            Self::Voided => "voided",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl Prepaid {
    /// What can still be taken of it.
    pub fn left(&self) -> Result<Money, MoneyError> {
        let taken = Money::sum(self.amount.currency(), self.movements.iter().map(|movement| movement.amount))?;
        self.amount.checked_sub(taken)
    }

    fn grant(&self) -> Grant {
        Grant {
            id: self.id.to_string(),
            amount: self.amount.decimal(),
            priority: self.priority,
            source: self.source,
            created_at: self.recorded_at,
            effective_at: self.effective_at,
            expires_at: self.expires_at,
            voided_at: None,
            refill: None,
            rollover: Rollover::default(),
        }
    }
}

/// What of each grant pays for `owed`, at the moment `at`. Grants of other currencies pay for nothing.
pub fn draw(grants: &[Prepaid], at: Instant, owed: Money) -> Result<Vec<(GrantId, Money)>, CreditError> {
    let rules = Rules {
        order: vec![Key::Priority, Key::Expiry, Key::Source, Key::Creation],
        carries_overage: false,
        keeps_overage_at_reset: false,
    };
    let usable: Vec<&Prepaid> = grants.iter().filter(|grant| grant.amount.currency() == owed.currency()).collect();
    let mut opening = Standing::default();
    for grant in &usable {
        opening.balances.insert(grant.id.to_string(), grant.left()?.decimal());
    }
    let until = Instant::from_micros(at.micros().saturating_add(1));
    let used = [Used { at, amount: owed.decimal().max(Decimal::ZERO) }];
    let in_effect: Vec<Grant> = usable.iter().map(|grant| grant.grant()).collect();
    let burned = burn_down(&in_effect, opening, (at, until), &used, &[], (&rules, &Zone::utc()))?;
    let mut drawn = Vec::new();
    for movement in burned.movements.iter().filter(|movement| movement.kind == credit::MovementKind::Drawn) {
        if let Some(grant) = usable.iter().find(|grant| grant.id.as_str() == movement.grant) {
            drawn.push((grant.id.clone(), Money::round(movement.amount, owed.currency())?));
        }
    }
    Ok(drawn)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::document::invoice::tests::usd;

    fn at(hour: i64) -> Instant {
        Instant::from_micros(hour * 3_600_000_000)
    }

    fn grant(id: &str, minor: i64, source: Source) -> Prepaid {
        Prepaid {
            id: GrantId::parse(&format!("cg_{id}")).expect("an id"),
            consumer: "UA".to_owned(),
            amount: usd(minor),
            source,
            priority: 0,
            effective_at: at(0),
            expires_at: None,
            reference: String::new(),
            reason: String::new(),
            effective_on: date(2013, 1, 1),
            recorded_at: at(0),
            recorded_by: "key_1".to_owned(),
            movements: Vec::new(),
        }
    }

    fn drawn(grants: &[Prepaid], hour: i64, minor: i64) -> Vec<(String, i64)> {
        let drawn = draw(grants, at(hour), usd(minor)).expect("fits");
        drawn.into_iter().map(|(id, amount)| (id.to_string(), amount.minor())).collect()
    }

    #[test]
    fn what_goes_first_is_used_first() {
        let expiring = Prepaid { expires_at: Some(at(10)), ..grant("c", 30, Source::Purchased) };
        let last = Prepaid { priority: 1, ..grant("a", 30, Source::Granted) };
        let grants = [last, grant("b", 30, Source::Purchased), expiring, grant("d", 30, Source::Granted)];
        let pairs =
            |pairs: &[(&str, i64)]| pairs.iter().map(|(id, minor)| ((*id).to_owned(), *minor)).collect::<Vec<_>>();
        assert_eq!(drawn(&grants, 5, 100), pairs(&[("cg_c", 30), ("cg_d", 30), ("cg_b", 30), ("cg_a", 10)]));
        assert_eq!(drawn(&grants, 10, 40), pairs(&[("cg_d", 30), ("cg_b", 10)]), "expired");
        assert_eq!(drawn(&grants, -1, 40), [], "not yet in effect");
        assert_eq!(drawn(&grants, 5, 0), []);
    }

    #[test]
    fn what_was_taken_is_not_drawn_again_and_other_currencies_pay_nothing() {
        let mut some = grant("a", 30, Source::Granted);
        some.movements.push(Movement {
            kind: MovementKind::Drawn,
            amount: usd(25),
            invoice: None,
            reason: None,
            at: at(1),
            effective_on: date(2013, 1, 1),
            recorded_at: at(1),
            recorded_by: None,
        });
        assert_eq!((some.left(), drawn(&[some.clone()], 5, 100)), (Ok(usd(5)), vec![("cg_a".to_owned(), 5)]));
        let eur = Currency::from_code("EUR").expect("EUR exists");
        let left = |currency, hour| usable([&some], currency, at(hour)).map(Money::minor);
        assert_eq!((left(usd(0).currency(), 5), left(usd(0).currency(), -1), left(eur, 5)), (Ok(5), Ok(0), Ok(0)));
        assert_eq!(draw(&[some], at(5), Money::from_minor(100, eur)), Ok(vec![]));
    }

    proptest! {
        /// No more is drawn than is owed, or than there is, of all together and of each.
        #[test]
        fn all_that_is_owed_is_drawn_as_far_as_there_is_credit(
            amounts in prop::collection::vec(1_i64..500, 0..5), owed in 0_i64..1_500
        ) {
            let grants: Vec<Prepaid> =
                amounts.iter().enumerate().map(|(at, minor)| grant(&at.to_string(), *minor, Source::Purchased)).collect();
            let drawn = drawn(&grants, 5, owed);
            prop_assert_eq!(drawn.iter().map(|(_, minor)| minor).sum::<i64>(), owed.min(amounts.iter().sum()));
            for (id, minor) in drawn {
                prop_assert!(grants.iter().any(|grant| grant.id.as_str() == id && minor <= grant.amount.minor()));
            }
        }
    }
}
