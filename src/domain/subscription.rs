//! Subscriptions: consumer × plan × time, and the billing periods that follow from them.

use serde::Serialize;

use crate::domain::ids::SubscriptionId;
use crate::domain::period::Calendar;
use crate::domain::period::Period;
use crate::domain::period::PeriodError;
use crate::domain::time::Instant;

/// What a consumer is billed under, and how far that has been done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Subscription {
    pub id: SubscriptionId,
    pub consumer: String,
    pub plan: String,
    #[serde(rename = "start")]
    pub starts_at: Instant,
    #[serde(rename = "end")]
    pub ends_at: Option<Instant>,
    pub created_at: Instant,
    /// Everything before it is closed. Equal to the start until the first closing.
    pub closed_through: Instant,
}

/// A billing period of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BillingPeriod {
    /// The part that the subscription runs in.
    pub covered: Period,
    /// The plan's whole period, which prices are stated for.
    pub whole: Period,
}

impl Subscription {
    /// The billing period that begins at `from`; none once the subscription has ended.
    ///
    /// It ends where the calendar says, or with the subscription. `from` may lie inside a calendar period: the first
    /// one of a subscription that starts in the middle of a month does.
    pub fn period_from(&self, from: Instant, calendar: &Calendar) -> Result<Option<BillingPeriod>, PeriodError> {
        if self.ends_at.is_some_and(|end| end <= from) {
            return Ok(None);
        }
        let whole = calendar.period_at(self.starts_at, from)?;
        let to = self.ends_at.map_or(whole.to(), |end| end.min(whole.to()));
        Ok(Some(BillingPeriod { covered: Period::new(from, to)?, whole }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::period::Anchor;
    use crate::domain::period::Rhythm;
    use crate::domain::time::Zone;

    fn at(text: &str) -> Instant {
        Instant::parse(text).expect("a time")
    }

    #[test]
    fn a_subscription_covers_parts_of_its_first_and_last_period() {
        let calendar = Calendar { rhythm: Rhythm::MONTH, anchor: Anchor::Calendar, zone: Zone::utc() };
        let subscription = Subscription {
            id: SubscriptionId::parse("sub_1").expect("an id"),
            consumer: "UA".to_owned(),
            plan: "airline".to_owned(),
            starts_at: at("2013-01-15T00:00:00Z"),
            ends_at: Some(at("2013-03-10T00:00:00Z")),
            created_at: at("2013-01-01T00:00:00Z"),
            closed_through: at("2013-01-15T00:00:00Z"),
        };
        let mut from = subscription.starts_at;
        let mut covered = Vec::new();
        while let Some(period) = subscription.period_from(from, &calendar).expect("in the calendar") {
            assert_eq!(period.covered.intersect(period.whole), Some(period.covered));
            from = period.covered.to();
            covered.push(from.to_string()[..10].to_owned());
        }
        assert_eq!(covered, ["2013-02-01", "2013-03-01", "2013-03-10"]);
    }
}
