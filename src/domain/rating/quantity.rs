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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::book::meter::Aggregation;
    use crate::domain::book::meter::Path;
    use crate::domain::book::meter::Rank;
    use crate::domain::measure::nano::Nano;
    use crate::domain::rating::examples::hour;

    fn rows(rows: &[(i64, &str, i64)]) -> Vec<Usage> {
        let row = |(at, item, value): &(i64, &str, i64)| Usage {
            bucket: hour(*at),
            dimensions: BTreeMap::new(),
            item: (*item).to_owned(),
            value: Nano::from(*value),
            count: i64::from(*item != "area"),
        };
        rows.iter().map(row).collect()
    }

    /// Hours 10 to 20.
    fn so_far(meter: &Meter, given: &[(i64, &str, i64)]) -> Vec<String> {
        let span = Period::new(hour(10), hour(20)).expect("a span");
        let groups = groups(&[], meter, span, &rows(given)).expect("has a quantity");
        assert_eq!(groups.len(), 1);
        groups[0].so_far.iter().map(|(_, quantity)| quantity.to_string()).collect()
    }

    #[test]
    fn the_quantity_so_far_is_that_of_the_rows_up_to_each_bucket() {
        let example = Meter::example;
        let given = [(9, "x", 50), (10, "a", 3), (12, "c", 8), (12, "b", 1), (15, "a", 6), (20, "d", 70)];
        let last = Rank::of_percent(Decimal::ONE_HUNDRED).expect("a rank");
        let median = Rank::of_percent(Decimal::from(50)).expect("a rank");
        for (aggregation, expected) in [
            (Aggregation::Sum, ["3", "12", "18"]),
            (Aggregation::Avg, ["3", "4", "4.5"]),
            (Aggregation::Max, ["3", "8", "8"]),
            (Aggregation::Latest, ["3", "8", "8"]),
            (Aggregation::Unique, ["1", "3", "3"]),
            (Aggregation::Percentile(last), ["3", "8", "8"]),
            (Aggregation::Percentile(median), ["3", "3", "3"]),
        ] {
            assert_eq!(so_far(&example(aggregation), &given), expected, "{aggregation:?}");
        }
    }

    #[test]
    fn a_level_is_there_when_the_span_begins() {
        let meter = Meter::example(Aggregation::WeightedSum);
        let hours = 3_600_000_000;
        // 4 from before for ten hours, 2 more from hour 15 on, and nothing for the last half an hour.
        let given = [(3, "", 4), (15, "", 2), (15, "area", 2 * hours), (19, "", -6), (19, "area", -3 * hours)];
        assert_eq!(so_far(&meter, &given), ["4", "5", "4.7"]);
        assert_eq!(so_far(&meter, &given[..1]), ["4"]);
        let gone =
            groups(&[], &meter, Period::new(hour(10), hour(20)).expect("a span"), &rows(&[(3, "", 4), (4, "", -4)]));
        assert_eq!(gone, Ok(vec![Group::default()]));
    }

    #[test]
    fn what_was_added_is_there_until_it_is_removed() {
        let operation = Path::parse("data.operation");
        let meter = Meter { operation, ..Meter::example(Aggregation::Unique) };
        let item = |minute: u32, then: &str| format!("{minute:040}{then}");
        let (added, other, removed) = (item(1, "+a"), item(2, "+b"), item(3, "-a"));
        let given = [(3, added.as_str(), 1), (12, removed.as_str(), 1), (11, other.as_str(), 1)];
        assert_eq!(so_far(&meter, &given), ["1", "2", "1"]);
    }
}
