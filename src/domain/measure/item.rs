//! Items: what an aggregation keeps apart within a bucket, so that rows of usage only ever add up.
//!
//! | aggregation | rows of one event (item, value, count) |
//! |---|---|
//! | `count` | ("", 1, 1) |
//! | `sum`, `avg`, `percentile` | ("", v, 1) |
//! | `max` | (v as text, v, 1) |
//! | `latest` | (position, v, 1) |
//! | `unique` | (the value, 1, 1); with operations (position, then `+` or `-`, then the value; 1, 1) |
//! | `weighted_sum` | ("", v, 1) and ("area", v × microseconds until the bucket ends, 0) |
//!
//! With `bucket = "event"` the bucket is the event's own time, and the item of `count`, `sum`, `avg`, `max`, `percentile`
//! and of a change of `weighted_sum` is the event: its source and id, a line break between them (which neither can
//! contain).
//!
//! A position is the event's time and then its place in the log, in fixed width, so that positions order as texts. An
//! event is taken back by adding the opposite of its rows, which therefore needs the position that it was given.

use std::borrow::Cow;

use thiserror::Error;

use crate::domain::book::meter::Aggregation;
use crate::domain::measure::delta::Delta;
use crate::domain::measure::delta::TooLarge;
use crate::domain::measure::nano::Nano;
use crate::domain::time::Bucket;
use crate::domain::time::Instant;

/// Under which a level's area until the bucket's end is kept.
pub const AREA: &str = "area";
/// A distinct value may not be longer, in bytes: it is part of a key.
pub const VALUE_BYTES_MAX: usize = 512;
/// One event adds less than this to an area, so that 10^10 of the largest still add up in one row: no flood of events
/// may bring a row to where it cannot be added to.
const EVENT_AREA_LIMIT: i128 = 10_i128.pow(28);
const TIME_DIGITS: usize = 16;
const POSITION_DIGITS: usize = TIME_DIGITS + 16 + 8;

/// What one event adds to one row of its bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub item: Item<'a>,
    pub delta: Delta,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    Text(Cow<'a, str>),
    /// The event's position, which is complete only when the log has a place for it; then this text.
    AtPosition {
        at: Instant,
        then: Cow<'a, str>,
    },
}

/// Where the log holds an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Of the batch; never negative.
    pub seq: i64,
    /// Within the batch, from 0.
    pub index: u32,
}

/// What an event with an operation does to its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Added,
    Removed,
}

/// A distinct value that cannot be part of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a distinct value is longer than {VALUE_BYTES_MAX} bytes")]
pub struct ValueTooLong;

impl<'a> Item<'a> {
    const NONE: Self = Self::Text(Cow::Borrowed(""));

    /// As it stands in the key of a row.
    pub fn text(self, place: Place) -> Cow<'a, str> {
        match self {
            Self::Text(text) => text,
            Self::AtPosition { at, then } => {
                // The sign bit flipped, so that times before 1970 come before those after.
                let time = at.micros().cast_unsigned() ^ (1 << 63);
                let Place { seq, index } = place;
                Cow::Owned(format!("{time:016x}{:016x}{index:08x}{then}", seq.cast_unsigned()))
            }
        }
    }
}

/// An item that was written before its event had a place, now that it has one.
pub fn placed(item: &str, place: Place) -> String {
    let (time, rest) = item.split_at_checked(TIME_DIGITS).unwrap_or((item, ""));
    let then = rest.get(POSITION_DIGITS - TIME_DIGITS..).unwrap_or_default();
    format!("{time}{:016x}{:08x}{then}", place.seq.cast_unsigned(), place.index)
}

impl Change {
    /// As events say it: `add` or `remove`.
    pub fn named(text: &str) -> Option<Self> {
        match text {
            "add" => Some(Self::Added),
            "remove" => Some(Self::Removed),
            _ => None,
        }
    }
}

/// Whether every event of such a meter has one row without an item: its number, once.
pub fn only_adds(aggregation: Aggregation, bucket: Bucket) -> bool {
    match aggregation {
        Aggregation::Count | Aggregation::Sum | Aggregation::Avg | Aggregation::Percentile(_) => {
            bucket != Bucket::Event
        }
        Aggregation::Max | Aggregation::Latest | Aggregation::Unique | Aggregation::WeightedSum => false,
    }
}

/// The rows of an event with a number (1 for a `count`). Not for `unique`.
pub fn of_number<'a>(
    aggregation: Aggregation,
    bucket: Bucket,
    number: Nano,
    at: Instant,
    (source, id): (&str, &str),
) -> Result<impl Iterator<Item = Entry<'a>> + use<'a>, TooLarge> {
    let item = match aggregation {
        _ if only_adds(aggregation, bucket) => Item::NONE,
        Aggregation::Latest => Item::AtPosition { at, then: Cow::Borrowed("") },
        _ if bucket == Bucket::Event => Item::Text(Cow::Owned(format!("{source}\n{id}"))),
        Aggregation::Max => Item::Text(Cow::Owned(number.to_string())),
        _ => Item::NONE,
    };
    let area = match aggregation {
        Aggregation::WeightedSum if number != Nano::ZERO => {
            let end = bucket.end(bucket.floor(at));
            let value = number.checked_mul(end.micros().saturating_sub(at.micros()))?;
            if value.billionths().unsigned_abs() >= EVENT_AREA_LIMIT.unsigned_abs() {
                return Err(TooLarge);
            }
            Some(Entry { item: Item::Text(Cow::Borrowed(AREA)), delta: Delta { value, count: 0 } })
        }
        _ => None,
    };
    let first = Entry { item, delta: Delta { value: number, count: 1 } };
    Ok([Some(first), area].into_iter().flatten())
}

/// The row of an event of a `unique` meter; `change` only where the meter names an operation.
pub fn of_value(value: &str, at: Instant, change: Option<Change>) -> Result<Entry<'_>, ValueTooLong> {
    if value.len() > VALUE_BYTES_MAX {
        return Err(ValueTooLong);
    }
    let item = match change {
        None => Item::Text(Cow::Borrowed(value)),
        Some(Change::Added) => Item::AtPosition { at, then: Cow::Owned(format!("+{value}")) },
        Some(Change::Removed) => Item::AtPosition { at, then: Cow::Owned(format!("-{value}")) },
    };
    Ok(Entry { item, delta: Delta { value: Nano::ONE, count: 1 } })
}

/// Takes the item of an event with an operation apart: its position, what it did, and the value.
pub fn change_of(item: &str) -> Option<(&str, Change, &str)> {
    let (position, then) = item.split_at_checked(POSITION_DIGITS)?;
    match then.split_at_checked(1)? {
        ("+", value) => Some((position, Change::Added, value)),
        ("-", value) => Some((position, Change::Removed, value)),
        _ => None,
    }
}

/// The event time within a position.
pub fn time_of(position: &str) -> Option<Instant> {
    let time = u64::from_str_radix(position.get(..TIME_DIGITS)?, 16).ok()?;
    Some(Instant::from_micros((time ^ (1 << 63)).cast_signed()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_level_lasts_until_its_bucket_ends() {
        let at = Instant::parse("2013-01-01T10:59:00Z").expect("a time");
        let entries = of_number(Aggregation::WeightedSum, Bucket::Hour, Nano::from(-2), at, ("/s", "1"));
        let entries: Vec<_> = entries.expect("fits").map(|entry| (entry.item, entry.delta)).collect();
        let delta = |value: i64, count| Delta { value: Nano::from(value), count };
        let text = |text: &'static str| Item::Text(Cow::Borrowed(text));
        assert_eq!(entries, [(text(""), delta(-2, 1)), (text(AREA), delta(-120_000_000, 0))]);
    }

    #[test]
    fn a_value_that_would_not_fit_a_key_is_refused() {
        let at = Instant::from_micros(0);
        assert_eq!(of_value(&"x".repeat(513), at, None), Err(ValueTooLong));
        assert!(of_value(&"x".repeat(512), at, Some(Change::Added)).is_ok());
    }

    proptest! {
        /// Positions order as texts as they order in time and in the log; nothing of them is lost.
        #[test]
        fn positions_are_ordered(
            a in (any::<i64>(), 0..i64::MAX, any::<u32>()),
            b in (prop_oneof![any::<i64>(), Just(0)], 0..i64::MAX, any::<u32>()),
            value in ".{0,9}",
        ) {
            let text = |(at, seq, index)| {
                let entry = of_value(&value, Instant::from_micros(at), Some(Change::Removed)).expect("is short");
                entry.item.text(Place { seq, index }).into_owned()
            };
            prop_assert_eq!(text(a).cmp(&text(b)), a.cmp(&b));
            let text = text(a);
            let (position, change, found) = change_of(&text).expect("is one");
            prop_assert_eq!((time_of(position), change, found), (Some(Instant::from_micros(a.0)), Change::Removed, &*value));
        }
    }
}
