//! From rows of usage to the points that a model prices, for each line of a component.
//!
//! The quantity so far is what the meter's aggregation makes of the rows up to and including a bucket, for the whole
//! span; what carries over from before is there when the span begins. The order of the rows does not matter.

use std::collections::BTreeMap;

use jiff::civil::Date;
use rust_decimal::Decimal;

use crate::domain::book::meter::Meter;
use crate::domain::book::plan::CapWindow;
use crate::domain::book::plan::Each;
use crate::domain::book::plan::Matrix;
use crate::domain::book::plan::Milestones;
use crate::domain::book::plan::Model;
use crate::domain::measure::aggregate::Aggregate;
use crate::domain::measure::item::AREA;
use crate::domain::period::Period;
use crate::domain::rating::PriceError;
use crate::domain::rating::caps;
use crate::domain::rating::course;
use crate::domain::rating::course::Point;
use crate::domain::rating::exact;
use crate::domain::rating::line::Usage;
use crate::domain::rating::milestones;
use crate::domain::time::Bucket;
use crate::domain::time::Instant;
use crate::domain::time::Zone;

/// The usage of one line: one combination of values of the `group_by` dimensions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// A dimension that the usage does not have is left out.
    pub dimensions: BTreeMap<String, String>,
    pub rows: u64,
    pub events: i64,
    /// In order of time.
    pub points: Vec<Point>,
    /// The whole quantity, which may be negative.
    pub quantity: Decimal,
}

/// What a component's usage is taken from.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub model: &'a Model,
    pub meter: &'a Meter,
    /// All meters by their ids, and their rows.
    pub meters: &'a BTreeMap<String, Meter>,
    pub usage: &'a BTreeMap<String, Vec<Usage>>,
    pub group_by: &'a [String],
    pub milestones: Option<&'a Milestones>,
    pub span: Period,
    /// Where the subscription begins, or the program if that is later: milestones are counted from there.
    pub life_from: Instant,
    pub zone: &'a Zone,
    /// Whether every bucket's point is wanted, or only the last.
    pub every_point: bool,
}

/// The groups in order of their values. Without usage there is one group, of nothing.
pub fn groups(source: &Source<'_>) -> Result<Vec<Group>, PriceError> {
    if let Model::Capacity(tiers) = source.model {
        return Ok(vec![capacity(source, &course::capacity_meters(tiers))?]);
    }
    let mut gathered: BTreeMap<BTreeMap<String, String>, Vec<&Usage>> = BTreeMap::new();
    for row in rows(source, source.meter) {
        gathered.entry(dimensions(source.group_by, row)).or_default().push(row);
    }
    let mut groups = Vec::with_capacity(gathered.len());
    for (dimensions, rows) in gathered {
        let group = match (source.milestones, source.model) {
            (Some(milestones), _) => milestones::reached(source, milestones, rows)?,
            (None, Model::Matrix(model)) => matrix(source, model, rows)?,
            (None, Model::PerBucket { per, .. }) => windows(source, *per, rows)?,
            (None, Model::GraduatedProrated { .. }) => changes(source, rows)?,
            (None, _) => so_far(source, source.meter, rows, 0)?,
        };
        // What was all over before the span is no line in it.
        if !group.points.is_empty() {
            groups.push(Group { dimensions, ..group });
        }
    }
    if groups.is_empty() {
        groups.push(Group::default());
    }
    Ok(groups)
}

/// The rows of a meter that decide about the span.
fn rows<'a>(source: &Source<'a>, meter: &'a Meter) -> impl Iterator<Item = &'a Usage> {
    let span = source.span;
    let from = if source.milestones.is_some() { source.life_from } else { span.from() };
    let counts = move |row: &&Usage| row.bucket < span.to() && (row.bucket >= from || meter.carries_over());
    source.usage.get(&meter.id).map_or(&[][..], Vec::as_slice).iter().filter(counts)
}

fn dimensions(group_by: &[String], row: &Usage) -> BTreeMap<String, String> {
    let value = |name: &String| Some((name.clone(), row.dimensions.get(name)?.clone()));
    group_by.iter().filter_map(value).collect()
}

/// In order of time, and where each event is a row of its own, those of the same time in the order of their sources and ids.
pub fn in_time<'a>(meter: &Meter, span: Period, mut rows: Vec<&'a Usage>) -> (Vec<&'a Usage>, Vec<&'a Usage>) {
    match meter.bucket {
        Bucket::Event => rows.sort_by(|a, b| (a.bucket, &a.item).cmp(&(b.bucket, &b.item))),
        _ => rows.sort_by_key(|row| row.bucket),
    }
    let within = rows.split_off(rows.partition_point(|row| row.bucket < span.from()));
    (rows, within)
}

/// The quantity after each bucket.
pub fn so_far(source: &Source<'_>, meter: &Meter, rows: Vec<&Usage>, strand: usize) -> Result<Group, PriceError> {
    let (before, within) = in_time(meter, source.span, rows);
    let mut aggregate = Aggregate::new(meter, source.span);
    let mut points = Vec::with_capacity(within.len());
    for row in before {
        aggregate.add(row.row())?;
    }
    let carried = aggregate.number()?;
    if !carried.is_zero() {
        points.push(Point { at: source.span.from(), strand, quantity: carried, events: 0 });
    }
    let is_one = |a: &&Usage, b: &&Usage| a.bucket == b.bucket && (meter.bucket != Bucket::Event || a.item == b.item);
    let mut buckets = within.chunk_by(is_one).peekable();
    while let Some(bucket) = buckets.next() {
        for row in bucket {
            aggregate.add(row.row())?;
        }
        let is_wanted = source.every_point || buckets.peek().is_none();
        if let Some(row) = bucket.first().filter(|_| is_wanted) {
            let (quantity, events) = (aggregate.number()?, aggregate.events());
            points.push(Point { at: row.bucket, strand, quantity, events });
        }
    }
    let quantity = points.last().map_or(Decimal::ZERO, |point| point.quantity);
    let rows = u64::try_from(within.len()).unwrap_or(u64::MAX);
    Ok(Group { dimensions: BTreeMap::new(), rows, events: aggregate.events(), points, quantity })
}

/// Several meters side by side. The quantity, and what it came from, are the component's own.
fn capacity(source: &Source<'_>, meters: &[&str]) -> Result<Group, PriceError> {
    let mut strands = Vec::with_capacity(meters.len());
    let mut own = (Decimal::ZERO, 0, 0);
    for (strand, id) in meters.iter().enumerate() {
        let Some(meter) = source.meters.get(*id) else { continue };
        let group = so_far(source, meter, rows(source, meter).collect(), strand)?;
        if *id == source.meter.id {
            own = (group.quantity, group.rows, group.events);
        }
        strands.push(group);
    }
    let (quantity, rows, events) = own;
    Ok(Group { quantity, rows, events, ..together(strands)? })
}

/// Each rate's usage side by side.
fn matrix(source: &Source<'_>, model: &Matrix, rows: Vec<&Usage>) -> Result<Group, PriceError> {
    let mut by_rate: BTreeMap<usize, Vec<&Usage>> = BTreeMap::new();
    for row in rows {
        let rate = model.rate_for(&row.dimensions).unwrap_or(model.rates.len());
        by_rate.entry(rate).or_default().push(row);
    }
    let strands = by_rate.into_iter().map(|(rate, rows)| so_far(source, source.meter, rows, rate));
    together(strands.collect::<Result<_, _>>()?)
}

fn together(strands: Vec<Group>) -> Result<Group, PriceError> {
    let mut all = Group::default();
    for strand in strands {
        all.rows = all.rows.saturating_add(strand.rows);
        all.events = all.events.saturating_add(strand.events);
        all.quantity = exact::add(all.quantity, strand.quantity)?;
        all.points.extend(strand.points);
    }
    all.points.sort_by_key(|point| (point.at, point.strand));
    Ok(all)
}

/// Each window measured for itself, known when its last bucket is. The quantity is the sum of all.
fn windows(source: &Source<'_>, per: Each, rows: Vec<&Usage>) -> Result<Group, PriceError> {
    let (_, within) = in_time(source.meter, source.span, rows);
    let window = |row: &Usage| window(per, source.zone, row.bucket);
    let mut windows = Vec::new();
    // Where each event is a bucket, two of the same time are two.
    let are_events = per == Each::Bucket && source.meter.bucket == Bucket::Event;
    for rows in within.chunk_by(|a, b| window(a) == window(b) && (!are_events || a.item == b.item)) {
        let mut group = so_far(source, source.meter, rows.to_vec(), 0)?;
        group.points = group.points.pop().into_iter().collect();
        group.quantity = group.quantity.max(Decimal::ZERO);
        windows.push(group);
    }
    together(windows)
}

/// Which window an instant lies in.
fn window(per: Each, zone: &Zone, at: Instant) -> (Option<Date>, Option<Instant>) {
    let first_day = |per| (caps::window(per, at.date_in(zone)), None);
    match per {
        Each::Bucket => (None, Some(at)),
        Each::Day => first_day(CapWindow::Day),
        Each::Week => first_day(CapWindow::Week),
        Each::Month => first_day(CapWindow::Month),
    }
}

/// Units that come and go, those from before first. The quantity is what is there in the end.
fn changes(source: &Source<'_>, rows: Vec<&Usage>) -> Result<Group, PriceError> {
    let (before, within) = in_time(source.meter, source.span, rows);
    let is_change = |row: &&Usage| row.item != AREA;
    let mut all = Group::default();
    let mut carried = Decimal::ZERO;
    for row in before.into_iter().filter(is_change) {
        carried = exact::add(carried, row.value.decimal()?)?;
    }
    if !carried.is_zero() {
        all.points.push(Point { at: source.span.from(), strand: 0, quantity: carried, events: 0 });
    }
    all.quantity = carried;
    let within: Vec<&Usage> = within.into_iter().filter(is_change).collect();
    // What comes and what goes in the same moment is one change: who swaps a seat needs no second one.
    for rows in within.chunk_by(|a, b| a.bucket == b.bucket) {
        let mut units = Decimal::ZERO;
        for row in rows {
            units = exact::add(units, row.value.decimal()?)?;
            all.rows = all.rows.saturating_add(1);
            all.events = all.events.saturating_add(row.count);
        }
        all.quantity = exact::add(all.quantity, units)?;
        let at = rows.first().map_or(source.span.from(), |row| row.bucket);
        all.points.push(Point { at, strand: 0, quantity: units, events: all.events });
    }
    Ok(all)
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

    fn groups_of(meter: &Meter, span: Period, rows: Vec<Usage>) -> Vec<Group> {
        let usage = BTreeMap::from([(meter.id.clone(), rows)]);
        let model = Model::PerUnit { unit_amount: Decimal::ONE };
        let (meters, zone) = (BTreeMap::new(), Zone::utc());
        let source = Source {
            model: &model,
            meter,
            meters: &meters,
            usage: &usage,
            group_by: &[],
            milestones: None,
            span,
            life_from: span.from(),
            zone: &zone,
            every_point: true,
        };
        groups(&source).expect("has a quantity")
    }

    /// Hours 10 to 20.
    fn so_far(meter: &Meter, given: &[(i64, &str, i64)]) -> Vec<String> {
        let span = Period::new(hour(10), hour(20)).expect("a span");
        let groups = groups_of(meter, span, rows(given));
        assert_eq!(groups.len(), 1);
        groups[0].points.iter().map(|point| point.quantity.to_string()).collect()
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
        let span = Period::new(hour(10), hour(20)).expect("a span");
        assert_eq!(groups_of(&meter, span, rows(&[(3, "", 4), (4, "", -4)])), [Group::default()]);
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
