//! The golden aggregation cases, from events through items and rows to numbers. Disputed cases follow the baseline.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use rust_decimal::RoundingStrategy;
use rust_decimal::RoundingStrategy::MidpointAwayFromZero;
use serde::Deserialize;

use crate::domain::book::expression::Expression;
use crate::domain::book::meter::Aggregation;
use crate::domain::book::meter::Meter;
use crate::domain::book::meter::Path;
use crate::domain::book::meter::Rank;
use crate::domain::golden::cases::every_case;
use crate::domain::measure::aggregate::Aggregate;
use crate::domain::measure::aggregate::Row;
use crate::domain::measure::delta::Delta;
use crate::domain::measure::item;
use crate::domain::measure::item::Change;
use crate::domain::measure::item::Place;
use crate::domain::measure::nano::Nano;
use crate::domain::measure::peaks;
use crate::domain::measure::prorate;
use crate::domain::period::Period;
use crate::domain::time::Bucket;
use crate::domain::time::Instant;
use crate::domain::time::Zone;

/// Unknown fields are refused, so that no case passes by being half read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    id: String,
    model: String,
    parameters: Parameters,
    input: Input,
    expected: Expected,
    #[serde(rename = "source")]
    _source: Option<String>,
    #[serde(rename = "kind")]
    _kind: Option<String>,
    #[serde(rename = "notes")]
    _notes: Option<String>,
    #[serde(rename = "disputed")]
    _disputed: Option<bool>,
    #[serde(rename = "alternatives")]
    _alternatives: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    #[serde(rename = "aggregation")]
    _aggregation: Option<String>,
    filter: Option<Filter>,
    #[serde(default)]
    group_by: Vec<String>,
    #[serde(default)]
    recurring: bool,
    deduplicate: Option<Deduplicate>,
    rounding: Option<Rounding>,
    multiplier: Option<String>,
    #[serde(default)]
    floor_zero: bool,
    percentile: Option<Decimal>,
    method: Option<String>,
    bucket: Option<Width>,
    #[serde(default)]
    bucket_group_by: Vec<String>,
    full_period_days: Option<i64>,
    timezone: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    #[serde(default)]
    include: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    exclude: Vec<BTreeMap<String, Vec<String>>>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Deduplicate {
    First,
    Last,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rounding {
    function: Function,
    precision: i32,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Function {
    Round,
    Ceil,
    Floor,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Width {
    Hour,
    Day,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    period: Span,
    events: Vec<Event>,
    initial_value: Option<Decimal>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Span {
    start: String,
    end: String,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    timestamp: String,
    value: Option<String>,
    id: Option<String>,
    key: Option<String>,
    operation: Option<String>,
    #[serde(default)]
    dimensions: BTreeMap<String, Option<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    value: Option<Decimal>,
    count: Option<Decimal>,
    final_level: Option<Decimal>,
    full_value: Option<Decimal>,
    buckets: Option<Vec<Decimal>>,
    groups: Option<Vec<Group>>,
    scale: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    dimensions: BTreeMap<String, Option<String>>,
    value: Option<Decimal>,
    count: Option<Decimal>,
    final_level: Option<Decimal>,
}

/// What the events of a case, or of one of its groups, come to.
#[derive(Default)]
struct Numbers {
    value: Decimal,
    count: i64,
    final_level: Option<Decimal>,
    full_value: Option<Decimal>,
    buckets: Option<Vec<Decimal>>,
}

/// An event that counts, with its number or value.
struct Said<'c> {
    at: Instant,
    place: Place,
    number: Nano,
    value: &'c str,
    change: Change,
    event: &'c Event,
}

/// A date alone is a day of the case's zone.
fn instant(text: &str, zone: &Zone) -> Instant {
    Instant::parse_in(text, zone).unwrap_or_else(|| panic!("{text} is no time"))
}

impl Filter {
    fn lets_through(&self, event: &Event) -> bool {
        let is_one_of = |(key, values): (&String, &Vec<String>)| {
            event.dimensions.get(key).cloned().flatten().is_some_and(|value| values.contains(&value))
        };
        self.include.iter().all(is_one_of) && !self.exclude.iter().any(|entry| entry.iter().all(is_one_of))
    }
}

impl Rounding {
    fn apply(self, number: Decimal) -> Decimal {
        let strategy = match self.function {
            Function::Round => MidpointAwayFromZero,
            Function::Ceil => RoundingStrategy::ToPositiveInfinity,
            Function::Floor => RoundingStrategy::ToNegativeInfinity,
        };
        match u32::try_from(self.precision) {
            Ok(decimals) => number.round_dp_with_strategy(decimals, strategy),
            Err(_) => {
                let unit = Decimal::from(10_i64.pow(self.precision.unsigned_abs()));
                (number / unit).round_dp_with_strategy(0, strategy) * unit
            }
        }
    }
}

impl Case {
    fn zone(&self) -> Zone {
        self.parameters.timezone.as_ref().map_or(Zone::utc(), |name| Zone::named(name).expect("a zone"))
    }

    fn period(&self) -> Period {
        let zone = self.zone();
        Period::new(instant(&self.input.period.start, &zone), instant(&self.input.period.end, &zone)).expect("a period")
    }

    fn aggregation(&self) -> Aggregation {
        match self.model.as_str() {
            "count" => Aggregation::Count,
            "sum" | "prorated_sum" => Aggregation::Sum,
            "avg" => Aggregation::Avg,
            "max" | "bucketed_max" => Aggregation::Max,
            "latest" => Aggregation::Latest,
            "unique_count" | "prorated_unique_count" => Aggregation::Unique,
            "weighted_sum" => Aggregation::WeightedSum,
            "percentile" => {
                assert!(self.parameters.method.as_ref().is_none_or(|method| method == "nearest_rank"), "{}", self.id);
                let rank = Rank::of_percent(self.parameters.percentile.expect("a rank")).expect("a rank");
                Aggregation::Percentile(rank)
            }
            other => panic!("{}: {other} is not measured here", self.id),
        }
    }

    fn meter(&self) -> Meter {
        let aggregation = self.aggregation();
        Meter {
            operation: (aggregation == Aggregation::Unique).then(|| Path::parse("data.operation").expect("a path")),
            bucket: match (self.model.as_str(), self.parameters.bucket, aggregation) {
                ("bucketed_max", Some(Width::Hour), _) => Bucket::Hour,
                ("bucketed_max", Some(Width::Day), _) => Bucket::Day,
                (_, _, Aggregation::Latest | Aggregation::Unique | Aggregation::WeightedSum) => Bucket::FiveMinutes,
                _ => Bucket::Event,
            },
            ..Meter::example(aggregation)
        }
    }

    /// The events that count, as the seen index, the filters and the meter's own checks leave them.
    fn said(&self) -> Vec<Said<'_>> {
        let zone = self.zone();
        let period = self.period();
        let mut events: Vec<&Event> = self.input.events.iter().collect();
        if let Some(kept) = self.parameters.deduplicate {
            events.retain(|event| {
                let mut same = self.input.events.iter().filter(|other| other.id == event.id);
                let kept = if kept == Deduplicate::First { same.next() } else { same.next_back() };
                event.id.is_none() || kept.is_some_and(|kept| std::ptr::eq(kept, *event))
            });
        }
        let multiplied = self
            .parameters
            .multiplier
            .as_ref()
            .map(|multiplier| Expression::parse(&format!("data.value * {multiplier}")).expect("an expression"));
        let needs_number = !matches!(self.aggregation(), Aggregation::Count | Aggregation::Unique);
        let said = (0..).zip(events).filter_map(|(index, event)| {
            let at = instant(&event.timestamp, &zone);
            let counts = at < period.to() && (self.parameters.recurring || at >= period.from());
            if !counts || self.parameters.filter.as_ref().is_some_and(|filter| !filter.lets_through(event)) {
                return None;
            }
            let number = match needs_number {
                true => {
                    let number = Decimal::from_str_exact(event.value.as_ref()?).ok()?;
                    let number = multiplied.as_ref().map_or(number, |by| by.eval(&[number]).expect("fits"));
                    Nano::from_decimal(number).expect("nine decimals")
                }
                false => Nano::ONE,
            };
            let change = event.operation.as_deref().map_or(Some(Change::Added), Change::named).expect("an operation");
            let value = event.key.as_deref().unwrap_or_default();
            Some(Said { at, place: Place { seq: 1, index }, number, value, change, event })
        });
        said.collect()
    }

    fn numbers(&self, said: &[&Said<'_>]) -> Numbers {
        let meter = self.meter();
        let mut numbers = match self.model.as_str() {
            "prorated_sum" => self.prorated_sum(said),
            "prorated_unique_count" => self.prorated_unique(said),
            "bucketed_max" => self.bucketed_max(&meter, said),
            _ => self.aggregated(&meter, said),
        };
        if self.parameters.floor_zero {
            numbers.value = numbers.value.max(Decimal::ZERO);
        }
        if let Some(rounding) = self.parameters.rounding {
            numbers.value = rounding.apply(numbers.value);
            numbers.full_value = numbers.full_value.map(|value| rounding.apply(value));
        }
        numbers
    }

    fn aggregated(&self, meter: &Meter, said: &[&Said<'_>]) -> Numbers {
        let mut period = self.period();
        if self.parameters.recurring && !meter.carries_over() {
            period = Period::new(Instant::BEGINNING, period.to()).expect("a period");
        }
        let mut rows: BTreeMap<(Instant, String), Delta> = BTreeMap::new();
        let mut add = |bucket, item: String, delta| {
            let row = rows.entry((bucket, item)).or_default();
            *row = row.merge(delta).expect("fits");
        };
        for said in said {
            let bucket = meter.bucket.floor(said.at);
            if meter.aggregation == Aggregation::Unique {
                let entry = item::of_value(said.value, said.at, Some(said.change)).expect("is short");
                add(bucket, entry.item.text(said.place).into_owned(), entry.delta);
                continue;
            }
            let id = said.place.index.to_string();
            let entries = item::of_number(meter.aggregation, meter.bucket, said.number, said.at, ("/s", &id));
            for entry in entries.expect("fits") {
                add(bucket, entry.item.text(said.place).into_owned(), entry.delta);
            }
        }
        if let Some(initial) = self.input.initial_value {
            let value = Nano::from_decimal(initial).expect("nine decimals");
            add(Instant::BEGINNING, String::new(), Delta { value, count: 1 });
        }
        let mut aggregate = Aggregate::new(meter, period);
        for ((bucket, item), delta) in &rows {
            aggregate.add(Row { bucket: *bucket, item, delta: *delta }).expect("fits");
        }
        let level = rows.iter().filter(|((_, item), _)| item.is_empty()).map(|(_, delta)| delta.value);
        let level = level.fold(Nano::ZERO, |level, value| level.checked_add(value).expect("fits"));
        Numbers {
            value: aggregate.number().expect("fits"),
            count: aggregate.events(),
            final_level: Some(level.decimal().expect("fits")),
            ..Numbers::default()
        }
    }

    fn days<'z>(&self, zone: &'z Zone) -> prorate::Days<'z> {
        let period = self.period();
        let full = self.parameters.full_period_days.unwrap_or_else(|| period.days(zone));
        prorate::Days { period, zone, full }
    }

    fn prorated_sum(&self, said: &[&Said<'_>]) -> Numbers {
        let sum = |numbers: &mut dyn Iterator<Item = Nano>| {
            numbers.fold(Nano::ZERO, |sum, number| sum.checked_add(number).expect("fits"))
        };
        let zone = self.zone();
        let days = self.days(&zone);
        let (before, within): (Vec<&Said<'_>>, Vec<&Said<'_>>) =
            said.iter().partition(|said| said.at < days.period.from());
        let before = sum(&mut before.iter().map(|said| said.number));
        let numbers = within.iter().map(|said| (said.at, said.number));
        Numbers {
            value: prorate::sum(days, before, numbers).expect("fits"),
            count: i64::try_from(said.len()).expect("fits"),
            full_value: Some(sum(&mut said.iter().map(|said| said.number)).decimal().expect("fits")),
            ..Numbers::default()
        }
    }

    fn prorated_unique(&self, said: &[&Said<'_>]) -> Numbers {
        let mut changes: Vec<_> = said.iter().map(|said| (said.value, said.at, said.change)).collect();
        changes.sort_by_key(|(_, at, _)| *at);
        let zone = self.zone();
        let value = prorate::presence(self.days(&zone), changes).expect("fits");
        Numbers { value, count: i64::try_from(said.len()).expect("fits"), ..Numbers::default() }
    }

    fn bucketed_max(&self, meter: &Meter, said: &[&Said<'_>]) -> Numbers {
        let group = |event: &Event| event.dimensions_of(&self.parameters.bucket_group_by);
        let numbers = said.iter().map(|said| (meter.bucket.floor(said.at), group(said.event), said.number));
        let peaks = peaks::by_bucket(numbers).expect("fits");
        let buckets: Vec<Decimal> = peaks.into_values().map(|peak| peak.decimal().expect("fits")).collect();
        Numbers {
            value: buckets.iter().sum(),
            count: i64::try_from(said.len()).expect("fits"),
            buckets: Some(buckets),
            ..Numbers::default()
        }
    }

    /// What differs from the expected numbers, in words; nothing if all agree.
    fn differences(&self) -> Vec<String> {
        let said = self.said();
        let all: Vec<&Said<'_>> = said.iter().collect();
        let expected = &self.expected;
        let Some(groups) = &expected.groups else {
            let got = self.numbers(&all);
            let wanted = [
                ("value", expected.value, Some(got.value)),
                ("count", expected.count, Some(Decimal::from(got.count))),
                ("final_level", expected.final_level, got.final_level),
                ("full_value", expected.full_value, got.full_value),
            ];
            let mut differences = self.compare(&wanted);
            if expected.buckets.is_some() && expected.buckets != got.buckets {
                differences.push(format!("buckets: expected {:?}, got {:?}", expected.buckets, got.buckets));
            }
            return differences;
        };
        let mut found: BTreeMap<BTreeMap<String, Option<String>>, Vec<&Said<'_>>> = BTreeMap::new();
        for said in all {
            found.entry(said.event.dimensions_of(&self.parameters.group_by)).or_default().push(said);
        }
        let mut differences = Vec::new();
        for Group { dimensions, value, count, final_level } in groups {
            let got = self.numbers(&found.remove(dimensions).unwrap_or_default());
            let count = ("count", *count, Some(Decimal::from(got.count)));
            let level = ("final_level", *final_level, got.final_level);
            differences.extend(self.compare(&[("value", *value, Some(got.value)), count, level]));
        }
        differences.extend(found.into_keys().map(|dimensions| format!("group {dimensions:?} is not expected")));
        differences
    }

    fn compare(&self, numbers: &[(&str, Option<Decimal>, Option<Decimal>)]) -> Vec<String> {
        let scaled = |number: Decimal| match self.expected.scale {
            Some(scale) => number.round_dp_with_strategy(scale, MidpointAwayFromZero),
            None => number,
        };
        let differs = |(name, expected, got): &(&str, Option<Decimal>, Option<Decimal>)| {
            let is_same = expected.is_none() || expected.map(scaled) == got.map(scaled);
            (!is_same).then(|| format!("{name}: expected {expected:?}, got {got:?}"))
        };
        numbers.iter().filter_map(differs).collect()
    }
}

impl Event {
    /// The values of some dimensions; nothing for one that it does not have.
    fn dimensions_of(&self, keys: &[String]) -> BTreeMap<String, Option<String>> {
        keys.iter().map(|key| (key.clone(), self.dimensions.get(key).cloned().flatten())).collect()
    }
}

#[test]
fn every_aggregation_case_comes_to_its_numbers() {
    every_case("aggregation.jsonl", 77, |case| {
        Ok(Case::deserialize(case).unwrap_or_else(|error| panic!("{error}")).differences())
    });
}
