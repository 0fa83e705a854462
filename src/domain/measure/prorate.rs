//! Usage that counts by the days it was there, such as seats. A started day counts whole.
//!
//! What was there before the period began is there from its first day on. Days are those of a time zone, and both the
//! day on which something is added and the day on which it is removed count.

use std::collections::BTreeMap;

use jiff::civil::Date;
use rust_decimal::Decimal;

use crate::domain::measure::aggregate::divided;
use crate::domain::measure::delta::TooLarge;
use crate::domain::measure::item::Change;
use crate::domain::measure::nano::Nano;
use crate::domain::period::Period;
use crate::domain::time::Instant;
use crate::domain::time::Zone;

/// What prorated usage is measured against.
#[derive(Clone, Copy, Debug)]
pub struct Days<'z> {
    pub period: Period,
    pub zone: &'z Zone,
    /// The days that count as one: those of the whole billing period.
    pub full: i64,
}

/// Each number by the share of days from its own to the end of the period. `before` was there already.
pub fn sum(
    days: Days<'_>,
    before: Nano,
    numbers: impl IntoIterator<Item = (Instant, Nano)>,
) -> Result<Decimal, TooLarge> {
    let mut weighted = before.checked_mul(days.period.days(days.zone))?;
    for (at, number) in numbers {
        let Ok(rest) = Period::new(at.max(days.period.from()), days.period.to()) else { continue };
        weighted = weighted.checked_add(number.checked_mul(rest.days(days.zone))?)?;
    }
    divided(weighted, days.full)
}

/// Each value by the share of days on which it was there. The changes must come in the order of time; those before the
/// period decide what is there when it begins. A value counts a day once, however often it comes and goes.
pub fn presence<'a>(
    days: Days<'_>,
    changes: impl IntoIterator<Item = (&'a str, Instant, Change)>,
) -> Result<Decimal, TooLarge> {
    let mut values: BTreeMap<&str, Presence> = BTreeMap::new();
    for (value, at, change) in changes {
        if at < days.period.to() {
            values.entry(value).or_default().change(days, at, change);
        }
    }
    let last = Instant::from_micros(days.period.to().micros().saturating_sub(1));
    let mut counted = 0_i64;
    for mut presence in values.into_values() {
        presence.change(days, last, Change::Removed);
        counted = counted.checked_add(presence.days).ok_or(TooLarge)?;
    }
    divided(Nano::from(counted), days.full)
}

#[derive(Default)]
struct Presence {
    /// Nothing while it is not there.
    since: Option<Instant>,
    days: i64,
    /// The last day that is counted.
    until: Option<Date>,
}

impl Presence {
    fn change(&mut self, days: Days<'_>, at: Instant, change: Change) {
        let since = match (self.since, change) {
            (None, Change::Added) => return self.since = Some(at),
            (Some(since), Change::Removed) => since,
            _ => return,
        };
        self.since = None;
        if at < days.period.from() {
            return;
        }
        let first = since.max(days.period.from()).date_in(days.zone);
        let uncounted = self.until.and_then(|until| until.tomorrow().ok());
        let first = uncounted.map_or(first, |uncounted| uncounted.max(first));
        let last = at.date_in(days.zone);
        let more = first.until(last).map_or(0, |span| i64::from(span.get_days()).saturating_add(1));
        self.days = self.days.saturating_add(more.max(0));
        self.until = self.until.max(Some(last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_zone_and_count_once() {
        let zone = Zone::named("Asia/Tokyo").expect("a zone");
        let at = |text: &str| Instant::parse(text).expect("a time");
        let period = Period::new(at("2024-04-01T00:00:00+09:00"), at("2024-05-01T00:00:00+09:00")).expect("a period");
        let days = Days { period, zone: &zone, full: 30 };
        // 16:00 in London is the next day in Tokyo: there are 15 days left.
        let half = sum(days, Nano::ZERO, [(at("2024-04-15T16:00:00Z"), Nano::from(2))]);
        assert_eq!(half, Ok(Decimal::ONE));
        let changes = [
            ("a", at("2024-03-01T00:00:00Z"), Change::Added),
            ("a", at("2024-04-02T00:00:00Z"), Change::Removed),
            ("b", at("2024-04-02T00:00:00Z"), Change::Removed),
            ("a", at("2024-04-02T03:00:00Z"), Change::Added),
            ("a", at("2024-04-02T04:00:00Z"), Change::Added),
            ("a", at("2024-04-03T03:00:00Z"), Change::Removed),
        ];
        assert_eq!(presence(days, changes), Ok(Decimal::new(1, 1)));
        assert_eq!(presence(days, [changes[0]]), Ok(Decimal::ONE));
        assert_eq!(presence(days, changes[..2].to_vec()), divided(Nano::from(2), 30));
    }
}
