//! Reading usage: what is stored and what is not flushed yet, added up over windows and dimensions.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use hashbrown::HashMap;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde::Serialize;

use crate::domain::book::meter::Meter;
use crate::domain::measure::aggregate::InWindow;
use crate::domain::measure::aggregate::Row;
use crate::domain::measure::aggregate::by_window;
use crate::domain::measure::delta::Delta;
use crate::domain::measure::delta::Key;
use crate::domain::period::Anchor;
use crate::domain::period::Calendar;
use crate::domain::period::Interval;
use crate::domain::period::Period;
use crate::domain::period::Rhythm;
use crate::domain::rating::line::Usage;
use crate::domain::time::Bucket;
use crate::domain::time::Instant;
use crate::domain::time::Zone;
use crate::metering::Error;
use crate::metering::Metering;
use crate::store::Db;

/// Readings of stored usage, of which the last one cannot be too old.
const READS_MAX: usize = 3;
/// Windows of one answer, of a meter that carries over: it has one for as long as time is asked about, whatever there is.
pub const WINDOWS_MAX: usize = 500_000;

/// How wide the rows of an answer are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Window {
    Hour,
    Day,
    Month,
    #[default]
    Total,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Query<'a> {
    pub meter: &'a Meter,
    pub consumer: Option<&'a str>,
    pub period: Period,
    pub window: Window,
    /// In which days and months begin.
    pub zone: Zone,
    /// Dimensions to keep apart; all others are added up.
    pub group_by: &'a [String],
}

impl Query<'_> {
    /// Of when the rows are that say it: a meter that carries over says what was before, too.
    fn read(&self) -> Period {
        match self.meter.carries_over() {
            true => Period::new(Instant::BEGINNING, self.period.to()).unwrap_or(self.period),
            false => self.period,
        }
    }
}

/// One row of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Measured {
    pub consumer: String,
    pub from: Instant,
    pub to: Instant,
    pub dimensions: BTreeMap<String, String>,
    pub value: Decimal,
    pub count: i64,
}

impl Metering {
    /// What was used, current to the last acknowledged event; ordered by consumer, time and dimensions.
    ///
    /// Of a meter that carries over there is a row for every window since its first event, unless nothing is there.
    pub async fn usage(&self, query: &Query<'_>) -> Result<Vec<Measured>, Error> {
        measured(query, &self.rows(&query.meter.id, query.consumer, query.read()).await?)
    }

    /// The rows of each of these meters in its period, of one consumer, current to the last acknowledged event.
    pub async fn usage_of(
        &self,
        consumer: &str,
        meters: impl IntoIterator<Item = (&str, Period)>,
    ) -> Result<BTreeMap<String, Vec<Usage>>, Error> {
        let mut usage = BTreeMap::new();
        for (meter, period) in meters {
            let mut rows: BTreeMap<Key, Delta> = BTreeMap::new();
            for (key, delta) in self.rows(meter, Some(consumer), period).await? {
                let row = rows.entry(key).or_default();
                *row = row.merge(delta)?;
            }
            let rows = rows.iter().filter(|(_, delta)| !delta.is_nothing());
            usage.insert(meter.to_owned(), rows.map(|(key, delta)| Usage::of(key, *delta)).collect());
        }
        Ok(usage)
    }

    /// A meter's rows in a period: those that are stored, and what is to be added to them, in no order.
    async fn rows(&self, meter: &str, consumer: Option<&str>, read: Period) -> Result<Vec<(Key, Delta)>, Error> {
        let wanted = |key: &Key| *key.meter == *meter && read.contains(key.bucket);
        for reading in 1..=READS_MAX {
            // A reading that takes longer than flushes are apart is too old whenever it ends: at last they wait for it.
            let fold = &self.shared.fold;
            let _flushes_wait = if reading == READS_MAX { Some(fold.hold_flushes().await) } else { None };
            let _replays_wait = fold.hold_replays().await;
            let (folded_to, mut rows) = self.db.usage_in(meter, consumer, read).await?;
            if let Some(unflushed) = fold.since(folded_to, consumer, wanted) {
                rows.extend(unflushed);
                return Ok(rows);
            }
        }
        Err(Error::Fenced)
    }
}

/// What was used as far as it is flushed, as [`Metering::usage`] says it.
pub async fn stored(db: &Db, query: &Query<'_>) -> Result<Vec<Measured>, Error> {
    let (_, rows) = db.usage_in(&query.meter.id, query.consumer, query.read()).await?;
    measured(query, &rows)
}

/// What rows of the query's meter come to. They need not be in order, and one row can come in parts.
fn measured(query: &Query<'_>, rows: &[(Key, Delta)]) -> Result<Vec<Measured>, Error> {
    let mut groups: BTreeMap<(&str, BTreeMap<String, String>), Vec<Row<'_>>> = BTreeMap::new();
    for ((party, text), rows) in by_text(rows) {
        let mut dimensions: BTreeMap<String, String> = serde_json::from_str(text).unwrap_or_default();
        dimensions.retain(|name, _| query.group_by.contains(name));
        groups.entry((party, dimensions)).or_default().extend(rows);
    }
    let mut measured = Vec::new();
    let mut room = WINDOWS_MAX;
    for ((consumer, dimensions), rows) in groups {
        let windows = windows(query, &rows, &mut room)?;
        for InWindow { window, number, events } in by_window(query.meter, rows, windows)? {
            if query.meter.carries_over() && events == 0 && number.is_zero() {
                continue;
            }
            measured.push(Measured {
                consumer: consumer.to_owned(),
                from: window.from(),
                to: window.to(),
                dimensions: dimensions.clone(),
                value: number,
                count: events,
            });
        }
    }
    measured.sort_by(|a, b| (&a.consumer, a.from, &a.dimensions).cmp(&(&b.consumer, b.from, &b.dimensions)));
    Ok(measured)
}

/// Rows by party and by their dimensions as they are written: few of either, so that few are read as JSON.
fn by_text(rows: &[(Key, Delta)]) -> HashMap<(&str, &str), Vec<Row<'_>>> {
    let mut groups: HashMap<(&str, &str), Vec<Row<'_>>> = HashMap::default();
    for (key, delta) in rows {
        let row = Row { bucket: key.bucket, item: &key.item, delta: *delta };
        groups.entry((&key.party, &key.dimensions)).or_default().push(row);
    }
    groups
}

/// The windows that have something to say, in the order of time.
fn windows(query: &Query<'_>, rows: &[Row<'_>], room: &mut usize) -> Result<BTreeSet<Period>, Error> {
    let mut windows = Windows { query, last: None };
    if !query.meter.carries_over() {
        return Ok(rows.iter().map(|row| windows.of(row.bucket)).collect());
    }
    let mut found = BTreeSet::new();
    let first = rows.iter().map(|row| row.bucket).min();
    let mut at = first.map_or(query.period.to(), |first| first.max(query.period.from()));
    while query.period.contains(at) {
        *room = room.checked_sub(1).ok_or(Error::TooManyWindows)?;
        let window = windows.of(at);
        // Without a beginning, time begins with the first event: an average over two thousand years says nothing.
        let began = if query.period.from() == Instant::BEGINNING { window.from().max(at) } else { window.from() };
        found.extend(Period::new(began, window.to()));
        at = window.to();
    }
    Ok(found)
}

/// Finds the window of a bucket; remembers the last one, since buckets come in the order of time.
struct Windows<'q> {
    query: &'q Query<'q>,
    last: Option<Period>,
}

impl Windows<'_> {
    fn of(&mut self, bucket: Instant) -> Period {
        if let Some(last) = self.last.filter(|last| last.contains(bucket)) {
            return last;
        }
        let whole = self.query.period;
        let window = match self.query.window {
            Window::Total => whole,
            Window::Hour => hour(bucket).unwrap_or(whole),
            Window::Day => self.calendar(Interval::Day, bucket).unwrap_or(whole),
            Window::Month => self.calendar(Interval::Month, bucket).unwrap_or(whole),
        };
        let window = window.intersect(whole).unwrap_or(whole);
        self.last = Some(window);
        window
    }

    fn calendar(&self, interval: Interval, bucket: Instant) -> Option<Period> {
        let calendar =
            Calendar { rhythm: Rhythm::each(interval), anchor: Anchor::Calendar, zone: self.query.zone.clone() };
        calendar.period_at(bucket, bucket).ok()
    }
}

fn hour(bucket: Instant) -> Option<Period> {
    let from = Bucket::Hour.floor(bucket);
    Period::new(from, Instant::from_micros(from.micros().checked_add(Bucket::Hour.micros())?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::book::meter::Aggregation;
    use crate::domain::measure::nano::Nano;

    fn at(text: &str) -> Instant {
        Instant::parse(text).expect("a time")
    }

    fn asked(meter: &Meter, from: Instant, to: &str, rows: &[(&str, &str, i64)]) -> Vec<(String, String, i64)> {
        let row = |(bucket, item, value): &(&str, &str, i64)| {
            let key = Key {
                meter: "miles".into(),
                party: "UA".into(),
                bucket: at(bucket),
                dimensions: "{}".into(),
                item: (*item).into(),
            };
            (key, Delta { value: Nano::from(*value), count: if item.is_empty() { 1 } else { 0 } })
        };
        let period = Period::new(from, at(to)).expect("a period");
        let query = Query { meter, consumer: None, period, window: Window::Day, zone: Zone::utc(), group_by: &[] };
        let measured = measured(&query, &rows.iter().map(row).collect::<Vec<_>>()).expect("fits");
        measured.iter().map(|row| (row.from.to_string(), row.value.to_string(), row.count)).collect()
    }

    #[test]
    fn a_level_is_not_told_for_as_long_as_time_lasts() {
        let level = Meter::example(Aggregation::WeightedSum);
        let key = Key {
            meter: "miles".into(),
            party: "UA".into(),
            bucket: at("2013-01-01T00:00:00Z"),
            dimensions: "{}".into(),
            item: "".into(),
        };
        let asked = |to: &str| {
            let period = Period::new(at("2013-01-01T00:00:00Z"), at(to)).expect("a period");
            let zone = Zone::utc();
            let query = Query { meter: &level, consumer: None, period, window: Window::Hour, zone, group_by: &[] };
            measured(&query, &[(key.clone(), Delta { value: Nano::ONE, count: 1 })]).map(|rows| rows.len())
        };
        assert!(matches!(asked("2013-02-01T00:00:00Z"), Ok(744)));
        assert!(matches!(asked("9000-01-01T00:00:00Z"), Err(Error::TooManyWindows)));
    }

    #[test]
    fn a_level_has_a_value_in_every_window_and_a_sum_only_where_there_is_something() {
        let hours = |hours: i64| hours * Bucket::Hour.micros();
        let rows = [
            ("2013-01-02T11:00:00Z", "", 4),
            ("2013-01-02T11:00:00Z", "area", 4 * hours(1)),
            ("2013-01-03T23:00:00Z", "", -4),
            ("2013-01-03T23:00:00Z", "area", -4 * hours(1)),
            // In two parts, as while it is being flushed.
            ("2013-01-02T11:00:00Z", "", 2),
            ("2013-01-02T11:00:00Z", "area", 2 * hours(1)),
        ];
        let said = |rows: &[(&str, &str, i64)]| -> Vec<(String, String, i64)> {
            let said =
                |(day, value, count): &(&str, &str, i64)| (format!("2013-01-{day}Z"), (*value).to_owned(), *count);
            rows.iter().map(said).collect()
        };
        let level = Meter::example(Aggregation::WeightedSum);
        assert_eq!(
            asked(&level, at("2013-01-01T00:00:00Z"), "2013-01-05T00:00:00Z", &rows),
            // 6 × 13 / 24; 6 less 4 / 24; what is left.
            said(&[
                ("02T00:00:00", "3.25", 2),
                ("03T00:00:00", "5.8333333333333333333333333333", 1),
                ("04T00:00:00", "2", 0)
            ])
        );
        assert_eq!(asked(&level, Instant::BEGINNING, "2013-01-03T00:00:00Z", &rows), said(&[("02T11:00:00", "6", 2)]));
        let sum = Meter::example(Aggregation::Sum);
        let rows = [rows[0], rows[2]];
        assert_eq!(
            asked(&sum, Instant::BEGINNING, "2013-01-05T00:00:00Z", &rows),
            said(&[("02T00:00:00", "4", 1), ("03T00:00:00", "-4", 1)])
        );
    }
}
