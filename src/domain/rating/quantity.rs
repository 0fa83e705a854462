//! From rows of usage to the quantity so far, bucket by bucket, for each line of a component.
//!
//! The quantity so far is what the meter's aggregation makes of the rows up to and including a bucket, for the whole
//! span; what carries over from before is there when the span begins. The order of the rows does not matter.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::domain::book::meter::Meter;
use crate::domain::measure::aggregate::Aggregate;
use crate::domain::period::Period;
use crate::domain::rating::PriceError;
use crate::domain::rating::line::Usage;
use crate::domain::time::Instant;

/// The usage of one line: one combination of values of the `group_by` dimensions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// A dimension that the usage does not have is left out.
    pub dimensions: BTreeMap<String, String>,
    pub rows: u64,
    pub events: i64,
    /// The quantity after each bucket, in order of time.
    pub so_far: Vec<(Instant, Decimal)>,
}

impl Group {
    /// The whole quantity, which may be negative.
    pub fn quantity(&self) -> Decimal {
        self.so_far.last().map_or(Decimal::ZERO, |(_, quantity)| *quantity)
    }
}

/// The groups in order of their values. Without usage there is one group, of nothing.
pub fn groups(group_by: &[String], meter: &Meter, span: Period, rows: &[Usage]) -> Result<Vec<Group>, PriceError> {
    let mut gathered: BTreeMap<BTreeMap<String, String>, Vec<&Usage>> = BTreeMap::new();
    let counts = |row: &Usage| row.bucket < span.to() && (row.bucket >= span.from() || meter.carries_over());
    for row in rows.iter().filter(|row| counts(row)) {
        gathered.entry(dimensions(group_by, row)).or_default().push(row);
    }
    let mut groups = Vec::with_capacity(gathered.len());
    for (dimensions, rows) in gathered {
        let group = accumulate(meter, span, dimensions, rows)?;
        // What was all over before the span is no line in it.
        if !group.so_far.is_empty() {
            groups.push(group);
        }
    }
    if groups.is_empty() {
        groups.push(Group::default());
    }
    Ok(groups)
}

fn dimensions(group_by: &[String], row: &Usage) -> BTreeMap<String, String> {
    let value = |name: &String| Some((name.clone(), row.dimensions.get(name)?.clone()));
    group_by.iter().filter_map(value).collect()
}

fn accumulate(
    meter: &Meter,
    span: Period,
    dimensions: BTreeMap<String, String>,
    mut rows: Vec<&Usage>,
) -> Result<Group, PriceError> {
    rows.sort_by_key(|row| row.bucket);
    let (before, within) = rows.split_at(rows.partition_point(|row| row.bucket < span.from()));
    let mut aggregate = Aggregate::new(meter, span);
    let mut so_far = Vec::with_capacity(within.len());
    for row in before {
        aggregate.add(row.row())?;
    }
    let carried = aggregate.number()?;
    if !carried.is_zero() {
        so_far.push((span.from(), carried));
    }
    for bucket in within.chunk_by(|a, b| a.bucket == b.bucket) {
        for row in bucket {
            aggregate.add(row.row())?;
        }
        if let Some(row) = bucket.first() {
            so_far.push((row.bucket, aggregate.number()?));
        }
    }
    let rows = u64::try_from(within.len()).unwrap_or(u64::MAX);
    Ok(Group { dimensions, rows, events: aggregate.events(), so_far })
}
