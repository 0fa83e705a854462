//! Reading usage: what is stored and what is not flushed yet, added up over windows and dimensions.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde::Serialize;

use crate::domain::book::meter::Meter;
use crate::domain::measure::delta::Delta;
use crate::domain::measure::delta::Key;
use crate::domain::period::Anchor;
use crate::domain::period::Calendar;
use crate::domain::period::Interval;
use crate::domain::period::Period;
use crate::domain::time::Bucket;
use crate::domain::time::Instant;
use crate::domain::time::Zone;
use crate::metering::Error;
use crate::metering::Metering;

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

type Group = (String, Period, BTreeMap<String, String>);

impl Metering {
    /// What was used, current to the last acknowledged event; ordered by consumer, time and dimensions.
    pub async fn usage(&self, query: &Query<'_>) -> Result<Vec<Measured>, Error> {
        let wanted = |key: &Key| {
            *key.meter == *query.meter.id
                && query.consumer.is_none_or(|consumer| *key.party == *consumer)
                && query.period.contains(key.bucket)
        };
        let (stored, unflushed) = self
            .shared
            .fold
            .read(&self.db, wanted, async |tx| tx.usage_in(&query.meter.id, query.consumer, query.period).await)
            .await?;
        let unflushed = unflushed.into_iter().map(|(key, delta)| (key, delta));
        let mut windows = Windows { query, last: None };
        let mut groups: BTreeMap<Group, Delta> = BTreeMap::new();
        for (key, delta) in stored.into_iter().chain(unflushed) {
            let mut dimensions: BTreeMap<String, String> = serde_json::from_str(&key.dimensions).unwrap_or_default();
            dimensions.retain(|name, _| query.group_by.contains(name));
            let group = (key.party.to_string(), windows.of(key.bucket), dimensions);
            let merged = match groups.get(&group) {
                Some(known) => known.merge(delta)?,
                None => delta,
            };
            groups.insert(group, merged);
        }
        let measured = groups.into_iter().map(|((consumer, window, dimensions), delta)| {
            let value = delta.value.decimal()?;
            Ok(Measured { consumer, from: window.from(), to: window.to(), dimensions, value, count: delta.count })
        });
        measured.collect()
    }
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
        let calendar = Calendar { interval, anchor: Anchor::Calendar, zone: self.query.zone.clone() };
        calendar.period_at(bucket, bucket).ok()
    }
}

fn hour(bucket: Instant) -> Option<Period> {
    let from = Bucket::Hour.floor(bucket);
    Period::new(from, Instant::from_micros(from.micros().checked_add(Bucket::Hour.micros())?)).ok()
}
