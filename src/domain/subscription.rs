//! Subscriptions: consumer × plan × time, and the billing periods that follow from them.
//!
//! A change of plan ends the running period there, and another one begins: what was closed before is never touched. Another
//! billing day lets the running period end as it was to, and says when those after it end ([`days`](crate::domain::days)).
//! A pause ends the running period too, and so does going on after it; the time between them owes nothing.

use serde::Serialize;

use crate::domain::days::BillingDays;
use crate::domain::ids::SubscriptionId;
use crate::domain::period::Calendar;
use crate::domain::period::Period;
use crate::domain::period::PeriodError;
use crate::domain::quantity::Quantities;
use crate::domain::time::Instant;

/// What a consumer is billed under, and how far that has been done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Subscription {
    pub id: SubscriptionId,
    pub consumer: String,
    /// The plan that it started with.
    pub plan: String,
    /// In the order of time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    #[serde(flatten)]
    pub days: BillingDays,
    #[serde(flatten)]
    pub quantities: Quantities,
    #[serde(rename = "start")]
    pub starts_at: Instant,
    #[serde(rename = "end")]
    pub ends_at: Option<Instant>,
    #[serde(flatten)]
    pub ending: Ending,
    pub created_at: Instant,
    /// Everything before it is closed. Equal to the start until the first closing.
    pub closed_through: Instant,
    /// Up to when its fees in advance are on documents; none if none are.
    #[serde(skip)]
    pub advance_through: Option<Instant>,
    /// The price-book version of the period that is open, once a document has charged fees of it: another that is published
    /// is for the next one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub book_version: Option<String>,
    /// How often its changes, its billing day, its quantity or its end were set.
    #[serde(skip)]
    pub revision: i64,
}

/// What the end of a subscription settles of its last period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ending {
    /// Whether what is not charged yet of that period is: usage, and fees in arrears.
    #[serde(rename = "end_charges", skip_serializing_if = "is_true")]
    pub charges: bool,
    /// Whether fees in advance come back for the time after the end.
    #[serde(rename = "end_credits", skip_serializing_if = "is_true")]
    pub credits: bool,
}

impl Default for Ending {
    fn default() -> Self {
        Self { charges: true, credits: true }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_true(value: &bool) -> bool {
    *value
}

/// From when a subscription is billed under another plan, or under the same one again as the price book of that time has
/// it; or from when it is paused, or runs again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    pub at: Instant,
    pub plan: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    pub made_at: Instant,
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
    /// One of which nothing is closed or to be changed.
    pub fn new(
        id: SubscriptionId,
        consumer: String,
        plan: String,
        (starts_at, ends_at): (Instant, Option<Instant>),
        created_at: Instant,
    ) -> Self {
        Self {
            id,
            consumer,
            plan,
            changes: Vec::new(),
            days: BillingDays::default(),
            quantities: Quantities::default(),
            starts_at,
            ends_at,
            ending: Ending::default(),
            created_at,
            closed_through: starts_at,
            advance_through: None,
            book_version: None,
            revision: 0,
        }
    }

    /// Whether it has ended by then. A closing that begins there corrects what was closed before, and rates nothing.
    pub fn is_over_at(&self, at: Instant) -> bool {
        self.ends_at.is_some_and(|end| end <= at)
    }

    /// Whether a period that begins then is billed: it is neither over nor paused.
    pub fn runs_at(&self, at: Instant) -> bool {
        !self.is_over_at(at) && !self.is_paused_at(at)
    }

    /// The plan that it is billed under at an instant.
    pub fn plan_at(&self, at: Instant) -> &str {
        change_at(&self.changes, at).map_or(&self.plan, |change| &change.plan)
    }

    /// Whether it is paused at an instant.
    pub fn is_paused_at(&self, at: Instant) -> bool {
        change_at(&self.changes, at).is_some_and(|change| change.paused)
    }

    /// Bills it under a plan from some time on. Plans that were to come then or later do not any more; pauses do.
    pub fn replan(&mut self, at: Instant, plan: &str, made_at: Instant) {
        let mut paused = self.is_paused_at(at);
        let mut made = vec![Change { at, plan: plan.to_owned(), paused, made_at }];
        for later in self.changes.iter().filter(|change| at < change.at) {
            if later.paused != paused {
                paused = later.paused;
                made.push(Change { plan: plan.to_owned(), ..later.clone() });
            }
        }
        self.changes.retain(|change| change.at < at);
        self.changes.extend(made);
    }

    /// Pauses it from some time on, or lets it run again. What was to pause it or go on then or later does not any more; other
    /// plans come all the same.
    pub fn pause(&mut self, at: Instant, paused: bool, made_at: Instant) {
        let mut before = (self.plan_at(at).to_owned(), self.is_paused_at(at));
        let mut made = vec![Change { at, plan: before.0.clone(), paused, made_at }];
        for later in self.changes.iter().filter(|change| at < change.at) {
            // One that changes neither is of the same plan, as the price book of then has it.
            if later.plan != before.0 || later.paused == before.1 {
                made.push(Change { paused, ..later.clone() });
            }
            before = (later.plan.clone(), later.paused);
        }
        self.changes.retain(|change| change.at < at);
        self.changes.extend(made);
    }

    /// Whether a period that ends at an instant is its last.
    pub fn ends_with(&self, period: Period) -> bool {
        self.ends_at == Some(period.to())
    }

    /// The billing period that begins at `from`, by the calendar of its plan of then; none once the subscription has ended.
    ///
    /// It ends where the calendar says, with a change of plan, or with the subscription. `from` may lie inside a calendar
    /// period: the first one of a subscription that starts in the middle of a month does.
    pub fn period_from(&self, from: Instant, calendar: &Calendar) -> Result<Option<BillingPeriod>, PeriodError> {
        self.part_from(from, self.whole_from(from, calendar)?)
    }

    /// The whole period that a billing period is part of which begins at `from`.
    pub fn whole_from(&self, from: Instant, calendar: &Calendar) -> Result<Period, PeriodError> {
        self.days.whole_from(calendar, self.starts_at, from)
    }

    /// The period that holds an instant. Where its billing day never moves, the whole one of the plan of then; where it moves,
    /// what is billed together: another billing day in the middle of it does not end it, and the period after it begins where it
    /// ends, also if that is within a whole one of the new day.
    pub fn period_holding(&self, at: Instant, calendar: &Calendar) -> Result<Period, PeriodError> {
        let Some(last_moved) = self.days.last_moved() else { return self.whole_from(at, calendar) };
        let changed = self.changes.iter().rev().map(|change| change.at).find(|changed| *changed <= at);
        let begins = changed.unwrap_or(self.starts_at).min(at);
        let whole = self.whole_from(begins, calendar)?;
        // What was before a change of plan is in the period before.
        let mut period = Period::new(changed.map_or(whole.from(), |changed| changed.max(whole.from())), whole.to())?;
        while period.to() <= at {
            let from = period.to();
            let whole = self.whole_from(from, calendar)?;
            // From here on nothing moves any more.
            let is_regular = last_moved < from && whole.from() == from;
            period = if is_regular { self.whole_from(at, calendar)? } else { Period::new(from, whole.to())? };
        }
        let ends = self.changes.iter().map(|change| change.at).find(|changed| *changed > at);
        Period::new(period.from(), ends.map_or(period.to(), |ends| ends.min(period.to())))
    }

    /// Since when the tiers are filled that carry on into a billing period which begins at `from`: since the whole one began that
    /// it is a part of, the subscription, or the first period that is counted by the billing day of now; or since it goes on
    /// after a pause.
    pub fn carries_from(&self, from: Instant, whole: Period, calendar: &Calendar) -> Result<Instant, PeriodError> {
        let resumed = self.changes.iter().zip(self.changes.iter().skip(1));
        let resumed = resumed.filter(|(before, after)| before.paused && !after.paused && after.at <= from);
        let begins = resumed.map(|(_, after)| after.at).fold(whole.from().max(self.starts_at), Instant::max);
        let Some(moved) = self.days.moved_by(from) else { return Ok(begins) };
        let running = self.period_holding(Instant::from_micros(moved.micros().saturating_sub(1)), calendar)?;
        Ok(begins.max(running.to()))
    }

    /// The part of a whole period that begins at `from`, and ends with it or with the subscription.
    pub fn part_from(&self, from: Instant, whole: Period) -> Result<Option<BillingPeriod>, PeriodError> {
        if self.is_over_at(from) {
            return Ok(None);
        }
        let change = self.changes.iter().map(|change| change.at).find(|at| *at > from);
        let to = [self.ends_at, change].into_iter().flatten().fold(whole.to(), Instant::min);
        Ok(Some(BillingPeriod { covered: Period::new(from, to)?, whole }))
    }
}

/// The change that applies at an instant, of changes in the order of time.
pub fn change_at(changes: &[Change], at: Instant) -> Option<&Change> {
    changes.iter().rev().find(|change| change.at <= at)
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
    fn a_subscription_covers_parts_of_its_first_and_last_period_and_of_those_that_a_change_divides() {
        let calendar = Calendar { rhythm: Rhythm::MONTH, anchor: Anchor::Calendar, zone: Zone::utc() };
        let subscription = Subscription {
            id: SubscriptionId::parse("sub_1").expect("an id"),
            consumer: "UA".to_owned(),
            plan: "airline".to_owned(),
            changes: vec![Change {
                at: at("2013-02-20T00:00:00Z"),
                plan: "alliance".to_owned(),
                paused: false,
                made_at: at("2013-01-02T00:00:00Z"),
            }],
            days: BillingDays::default(),
            quantities: Quantities::default(),
            starts_at: at("2013-01-15T00:00:00Z"),
            ends_at: Some(at("2013-03-10T00:00:00Z")),
            ending: Ending::default(),
            created_at: at("2013-01-01T00:00:00Z"),
            closed_through: at("2013-01-15T00:00:00Z"),
            advance_through: None,
            book_version: None,
            revision: 0,
        };
        let mut from = subscription.starts_at;
        let mut covered = Vec::new();
        while let Some(period) = subscription.period_from(from, &calendar).expect("in the calendar") {
            assert_eq!(period.covered.intersect(period.whole), Some(period.covered));
            from = period.covered.to();
            covered.push(from.to_string()[..10].to_owned());
        }
        assert_eq!(covered, ["2013-02-01", "2013-02-20", "2013-03-01", "2013-03-10"]);
        let plans =
            ["2013-02-19T23:59:59Z", "2013-02-20T00:00:00Z"].map(|time| subscription.plan_at(at(time)).to_owned());
        assert_eq!(plans, ["airline", "alliance"]);
    }
}
