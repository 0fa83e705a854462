//! Spend caps: how far a consumer is from what it is not meant to spend more than. Nobody is stopped by one: an event that
//! happened is counted. Who asks before letting somebody go on is told.

use rust_decimal::Decimal;
use serde::Serialize;

use crate::domain::money::Money;
use crate::domain::money::MoneyError;

/// What was spent so far, beside what may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Spend {
    pub so_far: Money,
    pub cap: Option<Money>,
    /// Until the cap is reached; never below zero.
    pub left: Option<Money>,
    /// Of the cap, cut at two decimals: 100 is there only once the cap is reached.
    pub percent: Option<Decimal>,
    pub alerts: Vec<Alert>,
    pub state: SpendState,
}

/// A percentage of the cap at which somebody wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Alert {
    pub percent: Decimal,
    pub reached: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SpendState {
    Ok,
    /// At least one of the percentages is reached.
    Alert,
    /// Nothing is left of the cap.
    Over,
}

impl Spend {
    /// Compares what was spent with a cap, which is above zero. Without one everything is well.
    pub fn of(so_far: Money, cap: Option<Money>, alerts: &[Decimal]) -> Result<Self, MoneyError> {
        let Some(cap) = cap else {
            return Ok(Self { so_far, cap, left: None, percent: None, alerts: Vec::new(), state: SpendState::Ok });
        };
        let left = cap.checked_sub(so_far)?;
        let hundredfold =
            Decimal::from(so_far.minor()).checked_mul(Decimal::ONE_HUNDRED).ok_or(MoneyError::Overflow)?;
        let percent = hundredfold.checked_div(Decimal::from(cap.minor())).ok_or(MoneyError::Overflow)?;
        let mut known = Vec::with_capacity(alerts.len());
        for alert in alerts {
            let at = alert.checked_mul(Decimal::from(cap.minor())).ok_or(MoneyError::Overflow)?;
            known.push(Alert { percent: *alert, reached: hundredfold >= at });
        }
        let state = match known.iter().any(|alert| alert.reached) {
            _ if so_far.minor() >= cap.minor() => SpendState::Over,
            true => SpendState::Alert,
            false => SpendState::Ok,
        };
        Ok(Self {
            so_far,
            cap: Some(cap),
            left: Some(Money::from_minor(left.minor().max(0), cap.currency())),
            percent: Some(percent.trunc_with_scale(2).normalize()),
            alerts: known,
            state,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::Currency;

    fn usd(minor: i64) -> Money {
        Money::from_minor(minor, Currency::from_code("USD").expect("USD exists"))
    }

    #[test]
    fn a_cap_is_over_once_nothing_is_left_and_an_alert_is_reached_at_its_percentage() {
        let alerts = [Decimal::from(50), Decimal::new(999, 1), Decimal::ONE_HUNDRED, Decimal::from(120)];
        let cases = [
            (-100, "-0.33", 30_100, 0, SpendState::Ok),
            (14_999, "49.99", 15_001, 0, SpendState::Ok),
            (15_000, "50", 15_000, 1, SpendState::Alert),
            (29_999, "99.99", 1, 2, SpendState::Alert),
            (30_000, "100", 0, 3, SpendState::Over),
            (36_000, "120", 0, 4, SpendState::Over),
        ];
        for (so_far, percent, left, reached, state) in cases {
            let spend = Spend::of(usd(so_far), Some(usd(30_000)), &alerts).expect("fits");
            assert_eq!(spend.percent.map(|percent| percent.to_string()).as_deref(), Some(percent));
            assert_eq!((spend.left, spend.state), (Some(usd(left)), state), "{so_far}");
            assert_eq!(spend.alerts.iter().filter(|alert| alert.reached).count(), reached, "{so_far}");
        }
        let spend = Spend::of(usd(1 << 40), None, &[]).expect("fits");
        assert_eq!((spend.state, spend.left), (SpendState::Ok, None));
    }

    #[test]
    fn two_currencies_are_not_compared() {
        let eur = Money::from_minor(1, Currency::from_code("EUR").expect("EUR exists"));
        assert!(Spend::of(usd(1), Some(eur), &[]).is_err());
    }
}
