//! Half-open periods, and the calendars that billing periods follow.

use jiff::Span;
use jiff::ToSpan;
use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde::Serialize;
use thiserror::Error;

use crate::domain::time::Instant;
use crate::domain::time::Zone;

/// A half-open interval of event time: `from <= t < to`, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Period {
    from: Instant,
    to: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PeriodError {
    #[error("a period must end after it begins: {from} to {to}")]
    Empty { from: Instant, to: Instant },
    #[error("the period lies outside the calendar")]
    OutOfRange,
}

/// How long a billing period is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interval {
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

/// Where billing periods begin: on the calendar's own boundaries, or on the day the subscription started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Anchor {
    Calendar,
    Subscription,
}

/// The rhythm of a plan's billing periods, in its time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    pub interval: Interval,
    pub anchor: Anchor,
    pub zone: Zone,
}

impl Period {
    pub fn new(from: Instant, to: Instant) -> Result<Self, PeriodError> {
        if from < to { Ok(Self { from, to }) } else { Err(PeriodError::Empty { from, to }) }
    }

    pub fn from(self) -> Instant {
        self.from
    }

    pub fn to(self) -> Instant {
        self.to
    }

    pub fn contains(self, at: Instant) -> bool {
        self.from <= at && at < self.to
    }

    /// The part of this period that is also in `other`, if any.
    pub fn intersect(self, other: Self) -> Option<Self> {
        Self::new(self.from.max(other.from), self.to.min(other.to)).ok()
    }

    /// Calendar days from the first to the last, counted in `zone`; a started day counts whole.
    pub fn days(self, zone: &Zone) -> i64 {
        let first = self.from.date_in(zone);
        let last = Instant::from_micros(self.to.micros().saturating_sub(1)).date_in(zone);
        i64::from(days_between(first, last)).saturating_add(1)
    }

    /// The share of `whole` that this period covers, by days of `zone`.
    pub fn share_by_day(self, whole: Self, zone: &Zone) -> Option<Decimal> {
        Decimal::from(self.days(zone)).checked_div(Decimal::from(whole.days(zone)))
    }

    /// The share of `whole` that this period covers, by exact time.
    pub fn share_by_second(self, whole: Self) -> Option<Decimal> {
        let part = Decimal::from(self.to.micros().checked_sub(self.from.micros())?);
        part.checked_div(Decimal::from(whole.to.micros().checked_sub(whole.from.micros())?))
    }
}

impl Calendar {
    /// The whole billing period that holds `at`. For a subscription anchor, counted from `start`.
    pub fn period_at(&self, start: Instant, at: Instant) -> Result<Period, PeriodError> {
        let day = at.date_in(&self.zone);
        let (anchor, mut index) = match self.anchor {
            Anchor::Calendar => (calendar_start(self.interval, day), 0),
            Anchor::Subscription => {
                let anchor = start.date_in(&self.zone);
                (anchor, steps_before(self.interval, anchor, day))
            }
        };
        // An estimate from whole days can be one step off at either side.
        loop {
            let from = self.boundary(anchor, index)?;
            let to = self.boundary(anchor, index.checked_add(1).ok_or(PeriodError::OutOfRange)?)?;
            if at < from {
                index = index.checked_sub(1).ok_or(PeriodError::OutOfRange)?;
            } else if at >= to {
                index = index.checked_add(1).ok_or(PeriodError::OutOfRange)?;
            } else {
                return Period::new(from, to);
            }
        }
    }

    /// The `index`-th boundary counted from the anchor day, clamped to short months and never drifting.
    fn boundary(&self, anchor: Date, index: i32) -> Result<Instant, PeriodError> {
        let span: Span = match self.interval {
            Interval::Day => i64::from(index).days(),
            Interval::Week => i64::from(index).weeks(),
            Interval::Month => i64::from(index).months(),
            Interval::Quarter => i64::from(index).saturating_mul(3).months(),
            Interval::Year => i64::from(index).years(),
        };
        let day = anchor.checked_add(span).map_err(|_| PeriodError::OutOfRange)?;
        Instant::start_of(day, &self.zone).ok_or(PeriodError::OutOfRange)
    }
}

fn days_between(first: Date, last: Date) -> i32 {
    first.until(last).map_or(0, |span| span.get_days())
}

/// The first day of the calendar's day, week (Monday), month, quarter or year that holds `day`.
fn calendar_start(interval: Interval, day: Date) -> Date {
    match interval {
        Interval::Day => day,
        Interval::Week => {
            let since_monday = i64::from(day.weekday().to_monday_zero_offset());
            day.checked_sub(since_monday.days()).unwrap_or(day)
        }
        Interval::Month => day.first_of_month(),
        Interval::Quarter => {
            let month = match day.month() {
                1..=3 => 1,
                4..=6 => 4,
                7..=9 => 7,
                _ => 10,
            };
            Date::new(day.year(), month, 1).unwrap_or(day)
        }
        Interval::Year => day.first_of_year(),
    }
}

/// About how many intervals lie between two days; the caller corrects it by at most one step.
fn steps_before(interval: Interval, anchor: Date, day: Date) -> i32 {
    let count = |day: Date| i32::from(day.year()).saturating_mul(12).saturating_add(i32::from(day.month()));
    let months = count(day).saturating_sub(count(anchor));
    match interval {
        Interval::Day => days_between(anchor, day),
        Interval::Week => days_between(anchor, day).div_euclid(7),
        Interval::Month => months,
        Interval::Quarter => months.div_euclid(3),
        Interval::Year => months.div_euclid(12),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Instant {
        Instant::parse(text).expect("a time")
    }

    fn calendar(interval: Interval, anchor: Anchor, zone: &str) -> Calendar {
        Calendar { interval, anchor, zone: Zone::named(zone).expect("a zone") }
    }

    #[test]
    fn calendar_months_begin_at_local_midnight_across_daylight_saving() {
        let months = calendar(Interval::Month, Anchor::Calendar, "America/New_York");
        let march = months.period_at(Instant::BEGINNING, at("2013-03-15T12:00:00Z")).expect("exists");
        assert_eq!(
            (march.from().to_string(), march.to().to_string()),
            ("2013-03-01T05:00:00Z".into(), "2013-04-01T04:00:00Z".into())
        );
        assert_eq!(march.days(&months.zone), 31);
    }

    #[test]
    fn a_subscription_of_the_31st_is_clamped_and_never_drifts() {
        let months = calendar(Interval::Month, Anchor::Subscription, "UTC");
        let start = at("2024-01-31T00:00:00Z");
        let mut from = start;
        let mut days = Vec::new();
        for _ in 0..5 {
            let period = months.period_at(start, from).expect("exists");
            days.push(period.from().to_string()[..10].to_owned());
            from = period.to();
        }
        assert_eq!(days, ["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30", "2024-05-31"]);
    }

    #[test]
    fn weeks_begin_on_monday_and_quarters_in_january_april_july_october() {
        let weeks = calendar(Interval::Week, Anchor::Calendar, "UTC");
        assert_eq!(
            weeks.period_at(Instant::BEGINNING, at("2026-11-22T23:59:59Z")).expect("exists").from(),
            at("2026-11-16T00:00:00Z")
        );
        let quarters = calendar(Interval::Quarter, Anchor::Calendar, "UTC");
        assert_eq!(
            quarters.period_at(Instant::BEGINNING, at("2026-11-22T00:00:00Z")).expect("exists").from(),
            at("2026-10-01T00:00:00Z")
        );
    }
}
