//! From rows of usage to the quantity so far, bucket by bucket, for each line of a component.
//!
//! Counts and sums add up; a `max` is the largest value so far. The order of the rows does not matter.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::domain::book::meter::Aggregation;
use crate::domain::measure::delta::exact_add;
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

#[derive(Default)]
struct Gathered {
    rows: u64,
    events: i64,
    buckets: BTreeMap<Instant, Decimal>,
}

impl Group {
    /// The whole quantity, which may be negative.
    pub fn quantity(&self) -> Decimal {
        self.so_far.last().map_or(Decimal::ZERO, |(_, quantity)| *quantity)
    }
}

/// The groups in order of their values. Without usage there is one group, of nothing.
pub fn groups(
    group_by: &[String],
    aggregation: Aggregation,
    span: Period,
    rows: &[Usage],
) -> Result<Vec<Group>, PriceError> {
    let mut gathered: BTreeMap<BTreeMap<String, String>, Gathered> = BTreeMap::new();
    for row in rows.iter().filter(|row| span.contains(row.bucket)) {
        gathered.entry(dimensions(group_by, row)).or_default().add(row, aggregation)?;
    }
    if gathered.is_empty() {
        return Ok(vec![Group::default()]);
    }
    gathered.into_iter().map(|(dimensions, gathered)| gathered.accumulate(dimensions, aggregation)).collect()
}

fn dimensions(group_by: &[String], row: &Usage) -> BTreeMap<String, String> {
    let value = |name: &String| Some((name.clone(), row.dimensions.get(name)?.clone()));
    group_by.iter().filter_map(value).collect()
}

impl Gathered {
    fn add(&mut self, row: &Usage, aggregation: Aggregation) -> Result<(), PriceError> {
        self.rows = self.rows.saturating_add(1);
        self.events = self.events.checked_add(row.count).ok_or(PriceError::TooLarge)?;
        let known = self.buckets.get(&row.bucket).copied();
        let value = row.value.decimal().map_err(|_| PriceError::TooLarge)?;
        let value = known.map_or(Ok(value), |known| merge(known, value, aggregation))?;
        self.buckets.insert(row.bucket, value);
        Ok(())
    }

    fn accumulate(self, dimensions: BTreeMap<String, String>, aggregation: Aggregation) -> Result<Group, PriceError> {
        let mut so_far: Vec<(Instant, Decimal)> = Vec::with_capacity(self.buckets.len());
        for (bucket, value) in self.buckets {
            let quantity = match so_far.last() {
                Some((_, before)) => merge(*before, value, aggregation)?,
                None => value,
            };
            so_far.push((bucket, quantity));
        }
        Ok(Group { dimensions, rows: self.rows, events: self.events, so_far })
    }
}

fn merge(a: Decimal, b: Decimal, aggregation: Aggregation) -> Result<Decimal, PriceError> {
    match aggregation {
        Aggregation::Count | Aggregation::Sum => exact_add(a, b).ok_or(PriceError::TooLarge),
        Aggregation::Max => Ok(a.max(b)),
    }
}
