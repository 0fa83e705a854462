//! The billing day of a subscription: one of its own, where its plan lets periods begin on a day of the month, and from when.
//!
//! A period is counted by the day that applies where it begins. So another day does not end the running period, and moves
//! nothing that is charged or closed; it says when the periods after it end. The first of them lasts until that day comes, and
//! is priced as a part of the whole period of the new day that it lies in.

use serde::Serialize;

use crate::domain::period::Calendar;
use crate::domain::period::Period;
use crate::domain::period::PeriodError;
use crate::domain::time::Instant;

/// The billing days that a subscription has of its own. A plan whose periods do not begin on a day of the month has no use for
/// them, and another one has again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BillingDays {
    /// The one that it started with, from 1 to 31; none for the plan's.
    #[serde(rename = "anchor_day", skip_serializing_if = "Option::is_none")]
    pub first: Option<i8>,
    /// In the order of time.
    #[serde(rename = "anchor_days", skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<DayChange>,
}

/// From when a subscription has another billing day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DayChange {
    pub at: Instant,
    /// From 1 to 31; none for the plan's.
    #[serde(rename = "anchor_day")]
    pub day: Option<i8>,
    pub made_at: Instant,
}

impl BillingDays {
    /// From when it is the last one; none if it is the same over all its life.
    pub fn last_moved(&self) -> Option<Instant> {
        self.changes.last().map(|change| change.at)
    }

    /// The whole period of a plan's calendar that holds the beginning of a billing period of a subscription, which began at
    /// `start`.
    pub fn whole_from(&self, calendar: &Calendar, start: Instant, from: Instant) -> Result<Period, PeriodError> {
        calendar.period_on(self.at(from), start, from)
    }

    /// From when the one applies that applies at an instant; none if the subscription started with it.
    pub fn moved_by(&self, at: Instant) -> Option<Instant> {
        self.change_at(at).map(|change| change.at)
    }

    /// The one that applies at an instant.
    fn at(&self, at: Instant) -> Option<i8> {
        self.change_at(at).map_or(self.first, |change| change.day)
    }

    fn change_at(&self, at: Instant) -> Option<&DayChange> {
        self.changes.iter().rev().find(|change| change.at <= at)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::ids::SubscriptionId;
    use crate::domain::period::Anchor;
    use crate::domain::period::Interval;
    use crate::domain::period::Rhythm;
    use crate::domain::subscription::Change;
    use crate::domain::subscription::Subscription;
    use crate::domain::time::Zone;

    fn at(text: &str) -> Instant {
        Instant::parse(&format!("{text}T00:00:00Z")).expect("a time")
    }

    fn days(first: Option<i8>, changes: &[(&str, Option<i8>)]) -> BillingDays {
        let change = |(time, day): &(&str, Option<i8>)| DayChange { at: at(time), day: *day, made_at: at(time) };
        BillingDays { first, changes: changes.iter().map(change).collect() }
    }

    fn subscription(start: &str, days: BillingDays) -> Subscription {
        let id = SubscriptionId::parse("sub_1").expect("an id");
        let runs = (at(start), None);
        Subscription { days, ..Subscription::new(id, "UA".to_owned(), "airline".to_owned(), runs, at(start)) }
    }

    fn calendar(interval: Interval, anchor: Anchor) -> Calendar {
        Calendar { rhythm: Rhythm::each(interval), anchor, zone: Zone::utc() }
    }

    /// Where the first periods end, and the whole ones that they are parts of if they are parts.
    fn ends(subscription: &Subscription, calendar: &Calendar, count: usize) -> Vec<String> {
        let day = |at: Instant| at.to_string()[..10].to_owned();
        let mut from = subscription.starts_at;
        let mut ends = Vec::new();
        for _ in 0..count {
            let period = subscription.period_from(from, calendar).expect("in the calendar").expect("runs");
            from = period.covered.to();
            ends.push(match period.covered == period.whole {
                true => day(from),
                false => format!("{} of {}..{}", day(from), day(period.whole.from()), day(period.whole.to())),
            });
        }
        ends
    }

    #[test]
    fn another_day_lets_the_running_period_end_and_makes_a_short_one_after_it() {
        let months = calendar(Interval::Month, Anchor::Day(1));
        let moved = subscription("2016-04-01", days(None, &[("2016-04-04", Some(15))]));
        assert_eq!(ends(&moved, &months, 3), ["2016-05-01", "2016-05-15 of 2016-04-15..2016-05-15", "2016-06-15"]);
        let at_once = subscription("2016-04-01", days(None, &[("2016-05-01", Some(15))]));
        assert_eq!(
            ends(&at_once, &months, 3),
            ends(&moved, &months, 3),
            "from where a period begins on, it is for that"
        );
        let earlier = subscription("2016-05-01", days(Some(10), &[("2016-05-12", Some(8))]));
        let expected = ["2016-05-10 of 2016-04-10..2016-05-10", "2016-06-10", "2016-07-08 of 2016-06-08..2016-07-08"];
        assert_eq!(ends(&earlier, &months, 3), expected);
        let twice = subscription("2016-04-01", days(None, &[("2016-04-04", Some(15)), ("2016-04-20", None)]));
        assert_eq!(ends(&twice, &months, 2), ["2016-05-01", "2016-06-01"], "what did not come to anything");
    }

    #[test]
    fn a_shorter_month_has_its_last_day_and_the_next_one_the_day_again() {
        let months = calendar(Interval::Month, Anchor::Subscription);
        let moved = subscription("2024-01-10", days(None, &[("2024-01-20", Some(31))]));
        let expected = ["2024-02-10", "2024-02-29 of 2024-01-31..2024-02-29", "2024-03-31", "2024-04-30", "2024-05-31"];
        assert_eq!(ends(&moved, &months, 5), expected);
        let common = subscription("2023-01-10", days(Some(29), &[("2023-03-01", Some(30))]));
        let expected = [
            "2023-01-29 of 2022-12-29..2023-01-29",
            "2023-02-28",
            "2023-03-29",
            "2023-03-30 of 2023-02-28..2023-03-30",
            "2023-04-30",
        ];
        assert_eq!(ends(&common, &months, 5), expected);
        let back = subscription("2024-01-31", days(None, &[("2024-02-01", Some(30)), ("2024-04-01", None)]));
        let expected = ["2024-02-29", "2024-03-30", "2024-04-30", "2024-05-31", "2024-06-30"];
        assert_eq!(ends(&back, &months, 5), expected);
    }

    #[test]
    fn longer_periods_keep_the_months_in_which_they_begin() {
        let years = calendar(Interval::Year, Anchor::Subscription);
        let moved = subscription("2024-02-29", days(None, &[("2024-06-01", Some(10))]));
        assert_eq!(ends(&moved, &years, 3), ["2025-02-28", "2026-02-10 of 2025-02-10..2026-02-10", "2027-02-10"]);
        let rhythm = Rhythm { interval: Interval::Month, every: NonZero::new(3).expect("not zero") };
        let quarters = Calendar { rhythm, ..years };
        let moved = subscription("2024-01-15", days(None, &[("2024-02-01", Some(20))]));
        assert_eq!(ends(&moved, &quarters, 3), ["2024-04-15", "2024-04-20 of 2024-01-20..2024-04-20", "2024-07-20"]);
    }

    #[test]
    fn where_periods_do_not_begin_on_a_day_of_the_month_it_waits() {
        let moved = subscription("2024-01-10", days(Some(5), &[("2024-01-20", Some(31))]));
        let without = subscription("2024-01-10", BillingDays::default());
        for (interval, anchor) in [(Interval::Month, Anchor::Calendar), (Interval::Week, Anchor::Subscription)] {
            let calendar = calendar(interval, anchor);
            assert!(!calendar.takes_a_day());
            assert_eq!(ends(&moved, &calendar, 3), ends(&without, &calendar, 3));
        }
    }

    #[test]
    fn the_period_of_a_day_is_the_one_that_is_closed() {
        let months = calendar(Interval::Month, Anchor::Day(1));
        let moved = subscription("2016-04-01", days(None, &[("2016-04-04", Some(15))]));
        for (day, period) in [
            ("2016-03-15", ("2016-03-01", "2016-04-01")),
            ("2016-04-20", ("2016-04-01", "2016-05-01")),
            ("2016-05-14", ("2016-05-01", "2016-05-15")),
            ("2016-05-15", ("2016-05-15", "2016-06-15")),
        ] {
            let holding = moved.period_holding(at(day), &months).expect("in the calendar");
            assert_eq!((holding.from(), holding.to()), (at(period.0), at(period.1)), "{day}");
        }
    }

    #[test]
    fn tiers_that_carry_on_begin_anew_with_the_first_period_of_another_day() {
        let months = calendar(Interval::Month, Anchor::Day(1));
        let moved = subscription("2016-03-20", days(None, &[("2016-04-04", Some(15))]));
        let change = |day| Change { at: at(day), plan: "other".to_owned(), paused: false, made_at: at("2016-04-04") };
        let carried = |subscription: &Subscription, from| {
            let whole = subscription.whole_from(at(from), &months).expect("in the calendar");
            subscription.carries_from(at(from), whole, &months)
        };
        let moved = Subscription { changes: ["2016-04-10", "2016-05-05", "2016-05-20"].map(change).to_vec(), ..moved };
        for (from, carries_from) in [
            ("2016-03-20", "2016-03-20"),
            ("2016-04-01", "2016-04-01"),
            // A change of plan ends what ran when the day was moved, and the next part is counted by the new day.
            ("2016-04-10", "2016-04-10"),
            ("2016-04-15", "2016-04-15"),
            ("2016-05-05", "2016-04-15"),
            ("2016-05-20", "2016-05-15"),
        ] {
            assert_eq!(carried(&moved, from), Ok(at(carries_from)), "{from}");
        }
        let unchanged = Subscription { changes: vec![change("2016-05-05")], ..moved };
        assert_eq!(carried(&unchanged, "2016-05-01"), Ok(at("2016-05-01")), "not 15 April");
        assert_eq!(carried(&unchanged, "2016-05-05"), Ok(at("2016-05-01")));
    }

    proptest! {
        /// However often the billing day is another one, and whatever else changes: each period begins where the one before
        /// ends, and lies in the whole one that prices it; and what began before a change stays as it was.
        #[test]
        fn periods_of_a_day_that_changes_tile_time(
            first in prop::option::of(1_i8..=31),
            changes in prop::collection::btree_map(1_i64..1_200, prop::option::of(1_i8..=31), 0..8),
            plans in prop::collection::btree_set(1_i64..1_200, 0..4),
            start in 0_i64..20_000,
            (every, interval) in (1_u16..4, prop::sample::select(vec![Interval::Month, Interval::Quarter, Interval::Year])),
            zone in prop::sample::select(vec!["UTC", "America/New_York", "Asia/Kathmandu"]),
            known in 0_usize..8,
        ) {
            const DAY: i64 = 86_400_000_000;
            let begins = Instant::from_micros(start * DAY);
            let day = |days: i64| Instant::from_micros((start + days) * DAY);
            let changes: Vec<DayChange> =
                changes.into_iter().map(|(at, to)| DayChange { at: day(at), day: to, made_at: begins }).collect();
            let change = |at: i64| Change { at: day(at), plan: "other".to_owned(), paused: false, made_at: begins };
            let of = |days| Subscription {
                starts_at: begins,
                changes: plans.iter().copied().map(change).collect(),
                ..subscription("2016-04-01", days)
            };
            let rhythm = Rhythm { interval, every: NonZero::new(every).expect("not zero") };
            let calendar =
                Calendar { rhythm, anchor: Anchor::Subscription, zone: Zone::named(zone).expect("a zone") };
            let subscription = of(BillingDays { first, changes: changes.clone() });
            // As it was before some of the changes were made.
            let known_changes: Vec<DayChange> = changes.iter().copied().take(known).collect();
            let before = of(BillingDays { first, changes: known_changes });
            let unknown_from = changes.get(known).map(|change| change.at);
            let mut from = begins;
            while from < day(1_500) {
                let period = subscription.period_from(from, &calendar).expect("in the calendar").expect("runs");
                prop_assert_eq!(period.covered.from(), from);
                prop_assert_eq!(period.covered.intersect(period.whole), Some(period.covered));
                if unknown_from.is_none_or(|unknown| from < unknown) {
                    prop_assert_eq!(before.period_from(from, &calendar).expect("in the calendar"), Some(period));
                }
                let last = Instant::from_micros(period.covered.to().micros() - 1);
                let holding = subscription.period_holding(last, &calendar).expect("in the calendar");
                prop_assert!(holding.contains(from) && holding.contains(last));
                if !changes.is_empty() && from > begins {
                    prop_assert_eq!(holding, period.covered);
                }
                from = period.covered.to();
            }
        }
    }
}
