//! Payout statements: what the platform owes a consumer for a period, and until when it is held.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::domain::document::Number;
use crate::domain::ids::PayoutId;
use crate::domain::ids::SubscriptionId;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::domain::period::Period;
use crate::domain::rating::line::Line;
use crate::domain::time::Instant;

/// A payout statement that has no number yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    pub id: PayoutId,
    pub consumer: String,
    pub subscription: SubscriptionId,
    pub period: Period,
    pub book_version: String,
    pub lines: Vec<Line>,
    pub holds: Vec<Hold>,
    pub total: Money,
}

/// A payout statement: final but for its holds, which pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Payout {
    pub id: PayoutId,
    pub number: Number,
    pub consumer: String,
    pub subscription: SubscriptionId,
    pub period: Period,
    #[serde(flatten)]
    pub state: PayoutState,
    pub lines: Vec<Line>,
    pub holds: Vec<Hold>,
    pub total: Money,
    /// The price-book version that it was rated under.
    pub book_version: String,
    pub issued_at: Instant,
}

/// Whether it may be paid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum PayoutState {
    /// Some of it is held, the last of it until `held_until`.
    Held { held_until: Instant },
    /// Every hold has passed.
    Available,
}

/// What was earned under one program, and how long it is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hold {
    pub program: String,
    pub amount: Money,
    pub held_until: Instant,
    /// When its passing was booked.
    pub passed_at: Option<Instant>,
}

impl Draft {
    pub fn finalize(self, number: Number, issued_at: Instant) -> Payout {
        Payout {
            id: self.id,
            number,
            consumer: self.consumer,
            subscription: self.subscription,
            period: self.period,
            state: PayoutState::of(&self.holds),
            lines: self.lines,
            holds: self.holds,
            total: self.total,
            book_version: self.book_version,
            issued_at,
        }
    }
}

impl PayoutState {
    pub fn of(holds: &[Hold]) -> Self {
        let held = holds.iter().filter(|hold| hold.passed_at.is_none());
        held.map(|hold| hold.held_until).max().map_or(Self::Available, |held_until| Self::Held { held_until })
    }
}

/// What the lines earn under each program. `held_until` says until when, by program.
pub fn holds(
    currency: Currency,
    lines: &[Line],
    held_until: impl Fn(&str) -> Option<Instant>,
) -> Result<Vec<Hold>, HoldError> {
    let mut earned: BTreeMap<&str, Money> = BTreeMap::new();
    for line in lines {
        let program = line.program.as_deref().ok_or_else(|| HoldError::WithoutProgram(line.component.clone()))?;
        let sum = earned.entry(program).or_insert(Money::zero(currency));
        *sum = sum.checked_add(line.amount)?;
    }
    let hold = |(program, amount): (&str, Money)| {
        let held_until = held_until(program).ok_or_else(|| HoldError::UnknownProgram(program.to_owned()))?;
        Ok(Hold { program: program.to_owned(), amount, held_until, passed_at: None })
    };
    earned.into_iter().filter(|(_, amount)| !amount.is_zero()).map(hold).collect()
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HoldError {
    #[error("the reward of component {0} names no program")]
    WithoutProgram(String),
    #[error("program {0} is not in the price book")]
    UnknownProgram(String),
    #[error(transparent)]
    Money(#[from] MoneyError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::document::invoice::tests::line;
    use crate::domain::document::invoice::tests::usd;
    use crate::domain::rating::line::LineKind;

    fn reward(program: &str, minor: i64) -> Line {
        Line { program: Some(program.to_owned()), ..line("r", LineKind::Reward, minor) }
    }

    #[test]
    fn rewards_are_held_by_program_and_the_statement_until_the_last_hold_passes() {
        let lines = [reward("b", 5), reward("a", 7), reward("b", 3), reward("c", 0)];
        let until = |program: &str| Some(Instant::from_micros(if program == "a" { 10 } else { 20 }));
        let mut holds = holds(usd(0).currency(), &lines, until).expect("fits");
        let amounts: Vec<_> = holds.iter().map(|hold| (hold.program.as_str(), hold.amount)).collect();
        assert_eq!(amounts, [("a", usd(7)), ("b", usd(8))]);
        assert_eq!(PayoutState::of(&holds), PayoutState::Held { held_until: Instant::from_micros(20) });
        holds[1].passed_at = Some(Instant::from_micros(21));
        assert_eq!(PayoutState::of(&holds), PayoutState::Held { held_until: Instant::from_micros(10) });
        holds[0].passed_at = Some(Instant::from_micros(21));
        assert_eq!(PayoutState::of(&holds), PayoutState::Available);
    }

    #[test]
    fn the_state_stands_beside_the_other_fields() {
        let held = PayoutState::Held { held_until: Instant::from_micros(0) };
        let json = serde_json::to_string(&held).expect("serialises");
        assert_eq!(json, r#"{"state":"held","held_until":"1970-01-01T00:00:00Z"}"#);
    }
}
