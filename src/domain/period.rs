//! Half-open periods, and the calendars that billing periods follow.

use std::num::NonZero;

use jiff::Span;
use jiff::ToSpan;
use jiff::civil::Date;
use jiff::civil::Time;
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
    #[serde(rename = "half_year")]
    HalfYear,
    Year,
}

/// Where billing periods begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// On the calendar's own boundaries.
    Calendar,
    /// On the day on which the subscription started.
    Subscription,
    /// On this day of the month, counted from the month in which the subscription started.
    Day(i8),
}

/// Every so many intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    pub interval: Interval,
    pub every: NonZero<u16>,
}

/// What a rhythm is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    date: Date,
    /// Of the month, for intervals of months: a shorter month has its last day instead, and the next one this day again.
    day: i8,
    time: Time,
}

/// The rhythm of a plan's billing periods, in its time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    pub rhythm: Rhythm,
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

    /// The difference between the calendar dates of its ends in `zone`: an end within a day does not count that day.
    pub fn dates(self, zone: &Zone) -> i64 {
        i64::from(days_between(self.from.date_in(zone), self.to.date_in(zone)))
    }

    /// Days as if every month had `days`: a difference of months and one of dates, of which no day is later than `days`. So
    /// the 30th of January alone is none of 30, and the last of February until the first of March are three. An end within a
    /// day does not count that day.
    pub fn days_of_fixed_months(self, days: u8, zone: &Zone) -> i64 {
        let (first, end) = (self.from.date_in(zone), self.to.date_in(zone));
        let of_month = |date: Date| i64::from(date.day()).min(i64::from(days));
        let months = i64::from(months_between(first, end)).saturating_mul(i64::from(days));
        months.saturating_add(of_month(end)).saturating_sub(of_month(first))
    }
}

impl Rhythm {
    pub const MONTH: Self = Self::each(Interval::Month);

    pub const fn each(interval: Interval) -> Self {
        Self { interval, every: NonZero::<u16>::MIN }
    }

    /// The whole period that holds `at`, where one begins at the origin.
    pub fn period_at(self, origin: Origin, at: Instant, zone: &Zone) -> Result<Period, PeriodError> {
        let every = i32::from(self.every.get());
        let index = self.index_at(origin, at, zone)?.div_euclid(every).checked_mul(every);
        let index = index.ok_or(PeriodError::OutOfRange)?;
        let next = index.checked_add(every).ok_or(PeriodError::OutOfRange)?;
        Period::new(self.boundary(origin, index, zone)?, self.boundary(origin, next, zone)?)
    }

    /// When a period ends that begins at `from`. One of days lasts until the local day so many later, also if its own day's
    /// boundary is still to come.
    pub fn end_of(self, origin: Origin, from: Instant, zone: &Zone) -> Result<Instant, PeriodError> {
        let index = match self.interval {
            Interval::Day => days_between(origin.date, from.date_in(zone)),
            _ => self.index_at(origin, from, zone)?,
        };
        let next = index.checked_add(i32::from(self.every.get())).ok_or(PeriodError::OutOfRange)?;
        self.boundary(origin, next, zone)
    }

    /// The index of the interval that holds `at`.
    fn index_at(self, origin: Origin, at: Instant, zone: &Zone) -> Result<i32, PeriodError> {
        let mut index = self.intervals_before(origin.date, at.date_in(zone));
        // An estimate from whole days can be one off at either side.
        loop {
            let next = index.checked_add(1).ok_or(PeriodError::OutOfRange)?;
            if at < self.boundary(origin, index, zone)? {
                index = index.checked_sub(1).ok_or(PeriodError::OutOfRange)?;
            } else if at >= self.boundary(origin, next, zone)? {
                index = next;
            } else {
                return Ok(index);
            }
        }
    }

    /// The `index`-th boundary counted from the origin, clamped to short months and never drifting.
    fn boundary(self, origin: Origin, index: i32, zone: &Zone) -> Result<Instant, PeriodError> {
        let count = i64::from(index);
        let later = |from: Date, span: Span| from.checked_add(span).map_err(|_| PeriodError::OutOfRange);
        let months = match self.interval {
            Interval::Day | Interval::Week => None,
            Interval::Month => Some(count),
            Interval::Quarter => Some(count.saturating_mul(3)),
            Interval::HalfYear => Some(count.saturating_mul(6)),
            Interval::Year => Some(count.saturating_mul(12)),
        };
        let date = match months {
            Some(months) => {
                let first = later(origin.date.first_of_month(), span(months, Span::try_months)?)?;
                let day = origin.day.min(first.days_in_month());
                first.with().day(day).build().map_err(|_| PeriodError::OutOfRange)?
            }
            None if self.interval == Interval::Week => later(origin.date, span(count, Span::try_weeks)?)?,
            None => later(origin.date, span(count, Span::try_days)?)?,
        };
        Instant::at_local(date.to_datetime(origin.time), zone).ok_or(PeriodError::OutOfRange)
    }

    /// About how many intervals lie between two days; the caller corrects it.
    fn intervals_before(self, origin: Date, day: Date) -> i32 {
        match self.interval {
            Interval::Day => days_between(origin, day),
            Interval::Week => days_between(origin, day).div_euclid(7),
            Interval::Month => months_between(origin, day),
            Interval::Quarter => months_between(origin, day).div_euclid(3),
            Interval::HalfYear => months_between(origin, day).div_euclid(6),
            Interval::Year => months_between(origin, day).div_euclid(12),
        }
    }
}

impl Origin {
    /// The beginning of a day.
    pub fn date(date: Date) -> Self {
        Self { date, day: date.day(), time: Time::midnight() }
    }

    /// A day of the month of a date, from 1 to 31.
    pub fn day_of_month(date: Date, day: i8) -> Self {
        Self { day, ..Self::date(date) }
    }

    /// A moment: boundaries come at its local time of day.
    pub fn moment(at: Instant, zone: &Zone) -> Self {
        let local = zone.jiff().to_datetime(at.timestamp());
        Self { time: local.time(), ..Self::date(local.date()) }
    }
}

impl Calendar {
    /// Whether a subscription can have its periods begin on another day of the month: they are of months, and the calendar
    /// does not say when they begin.
    pub fn takes_a_day(&self) -> bool {
        self.anchor != Anchor::Calendar && !matches!(self.rhythm.interval, Interval::Day | Interval::Week)
    }

    /// The whole billing period that holds `at`. Where the anchor is not the calendar's own, counted from `start`.
    pub fn period_at(&self, start: Instant, at: Instant) -> Result<Period, PeriodError> {
        self.period_on(None, start, at)
    }

    /// The same on another day of the month, from 1 to 31, where periods can begin on one.
    pub fn period_on(&self, day: Option<i8>, start: Instant, at: Instant) -> Result<Period, PeriodError> {
        let started = || start.date_in(&self.zone);
        let anchor = day.filter(|_| self.takes_a_day()).map_or(self.anchor, Anchor::Day);
        let origin = match anchor {
            Anchor::Calendar => Origin::date(calendar_start(self.rhythm.interval, at.date_in(&self.zone))),
            Anchor::Subscription => Origin::date(started()),
            Anchor::Day(day) => Origin::day_of_month(started(), day),
        };
        self.rhythm.period_at(origin, at, &self.zone)
    }
}

fn span(count: i64, of: fn(Span, i64) -> Result<Span, jiff::Error>) -> Result<Span, PeriodError> {
    of(Span::new(), count).map_err(|_| PeriodError::OutOfRange)
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
        Interval::HalfYear => Date::new(day.year(), if day.month() < 7 { 1 } else { 7 }, 1).unwrap_or(day),
        Interval::Year => day.first_of_year(),
    }
}

fn months_between(first: Date, last: Date) -> i32 {
    let count = |day: Date| i32::from(day.year()).saturating_mul(12).saturating_add(i32::from(day.month()));
    count(last).saturating_sub(count(first))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Instant {
        Instant::parse(text).expect("a time")
    }

    fn calendar(interval: Interval, anchor: Anchor, zone: &str) -> Calendar {
        Calendar { rhythm: Rhythm::each(interval), anchor, zone: Zone::named(zone).expect("a zone") }
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

    #[test]
    fn a_day_of_the_month_and_several_intervals_are_counted_from_the_start() {
        let period = |anchor, every, interval, start, day| {
            let rhythm = Rhythm { interval, every: NonZero::new(every).expect("not zero") };
            let calendar = Calendar { rhythm, anchor, zone: Zone::utc() };
            let period = calendar.period_at(at(start), at(day)).expect("exists");
            [period.from(), period.to()].map(|at| at.to_string()[..10].to_owned())
        };
        let (start, day) = ("2024-01-20T00:00:00Z", "2024-03-31T12:00:00Z");
        assert_eq!(period(Anchor::Day(31), 1, Interval::Month, start, day), ["2024-03-31", "2024-04-30"]);
        // Before the 31st of January is a short first period.
        assert_eq!(period(Anchor::Day(31), 2, Interval::Month, start, start), ["2023-11-30", "2024-01-31"]);
        assert_eq!(period(Anchor::Day(31), 2, Interval::Month, start, day), ["2024-03-31", "2024-05-31"]);
        assert_eq!(period(Anchor::Day(15), 2, Interval::Month, start, day), ["2024-03-15", "2024-05-15"]);
        assert_eq!(period(Anchor::Subscription, 1, Interval::HalfYear, start, day), ["2024-01-20", "2024-07-20"]);
        assert_eq!(period(Anchor::Calendar, 1, Interval::HalfYear, start, day), ["2024-01-01", "2024-07-01"]);
    }

    fn rhythm() -> impl Strategy<Value = Rhythm> {
        let interval = prop::sample::select(vec![
            Interval::Day,
            Interval::Week,
            Interval::Month,
            Interval::Quarter,
            Interval::HalfYear,
            Interval::Year,
        ]);
        (interval, 1_u16..7)
            .prop_map(|(interval, every)| Rhythm { interval, every: NonZero::new(every).expect("not zero") })
    }

    proptest! {
        /// Periods follow one another without a gap, whatever they are counted from: each holds what it is asked for, and the
        /// end of one is the beginning of the next.
        #[test]
        fn periods_tile_time(rhythm in rhythm(), day in prop::option::of(1_i8..=31), start in 0_i64..2_000_000_000, asked in 0_i64..2_000_000_000, zone in prop::sample::select(vec!["UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Havana"])) {
            let [start, asked] = [start, asked].map(|seconds| Instant::from_micros(seconds * 1_000_000));
            let anchor = match (day, rhythm.interval) {
                (Some(day), Interval::Month | Interval::Quarter | Interval::HalfYear | Interval::Year) => Anchor::Day(day),
                _ => Anchor::Subscription,
            };
            let calendar = Calendar { rhythm, anchor, zone: Zone::named(zone).expect("a zone") };
            let period = calendar.period_at(start, asked).expect("exists");
            prop_assert!(period.contains(asked));
            let next = calendar.period_at(start, period.to()).expect("exists");
            prop_assert_eq!(next.from(), period.to());
            let last = calendar.period_at(start, Instant::from_micros(period.from().micros() - 1)).expect("exists");
            prop_assert_eq!(last.to(), period.from());
        }
    }
}
