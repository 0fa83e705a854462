//! `meters/*.toml`: what is counted.

use std::collections::BTreeMap;

use crate::domain::book::catalog::EventType;
use crate::domain::book::catalog::Lifecycle;
use crate::domain::book::expression::Expression;
use crate::domain::book::meter;
use crate::domain::book::meter::Aggregation;
use crate::domain::book::meter::Meter;
use crate::domain::book::meter::Path;
use crate::domain::book::meter::Rank;
use crate::domain::book::meter::TypePattern;
use crate::domain::book::parse::fields::event_field;
use crate::domain::book::parse::fields::tests;
use crate::domain::book::parse::named::Named;
use crate::domain::book::parse::reader::Table;
use crate::domain::book::parse::value::Value;
use crate::domain::time::Bucket;

/// A percentile has nothing here: its rank stands under a key of its own.
const AGGREGATIONS: [(&str, Option<Aggregation>); 8] = [
    ("count", Some(Aggregation::Count)),
    ("sum", Some(Aggregation::Sum)),
    ("avg", Some(Aggregation::Avg)),
    ("max", Some(Aggregation::Max)),
    ("latest", Some(Aggregation::Latest)),
    ("unique", Some(Aggregation::Unique)),
    ("weighted_sum", Some(Aggregation::WeightedSum)),
    ("percentile", None),
];
const BUCKETS: [(&str, Bucket); 5] = [
    ("5m", Bucket::FiveMinutes),
    ("15m", Bucket::QuarterHour),
    ("1h", Bucket::Hour),
    ("1d", Bucket::Day),
    ("event", Bucket::Event),
];

pub fn read(root: &mut Table<'_>, event_types: &Named<EventType>, meters: &mut Named<Meter>) {
    root.each("meter", |value| {
        value.table("meter", |table| {
            let id = table.required("id", Some);
            let meter = meter(table, id.as_ref(), event_types);
            meters.define(id, meter);
            Some(())
        })
    });
}

fn meter(table: &mut Table<'_>, id: Option<&Value<'_>>, event_types: &Named<EventType>) -> Option<Meter> {
    let event_type = table.required("event_type", |value| type_pattern(value, event_types));
    let aggregation = aggregation(table);
    let value = value(table, aggregation);
    let operation = operation(table, aggregation);
    let party = table.optional_exact("party", event_field);
    let tests = tests(table, "where", event_field);
    let dimensions = table.optional("dimensions", dimensions).unwrap_or_default();
    let bucket = table.optional("bucket", |value| bucket(value, aggregation));
    Some(Meter {
        id: id?.raw_text()?,
        event_type: event_type?,
        aggregation: aggregation?,
        value,
        operation: operation?,
        party: party?.or_else(|| Path::parse("subject"))?,
        tests,
        dimensions,
        bucket: bucket.unwrap_or(Bucket::Hour),
    })
}

fn aggregation(table: &mut Table<'_>) -> Option<Aggregation> {
    match table.required("aggregation", |value| value.one_of(&AGGREGATIONS, &[])) {
        Some(Some(aggregation)) => {
            let fix = "leave it out, or use aggregation = \"percentile\"";
            table.refuse("percentile", "rank_without_percentile", "only a percentile has a rank", fix);
            Some(aggregation)
        }
        Some(None) => table.required("percentile", rank).map(Aggregation::Percentile),
        None => {
            table.optional("percentile", rank);
            None
        }
    }
}

fn rank(value: Value<'_>) -> Option<Rank> {
    let percent = value.clone().decimal()?;
    Rank::of_percent(percent).or_else(|| {
        let message = format!("`{}` is {percent}, which is no rank", value.key);
        value.wrong("rank_out_of_range", message, "write a number above 0 and at most 100, such as \"95\"")
    })
}

/// What is aggregated: needed for everything but a count.
fn value(table: &mut Table<'_>, aggregation: Option<Aggregation>) -> Option<meter::Value> {
    match aggregation {
        Some(Aggregation::Count) => {
            let fix = "leave it out, or use aggregation = \"sum\"";
            table.refuse("value", "value_of_a_count", "a count adds one for each event", fix);
            None
        }
        Some(Aggregation::Unique) => table.required("value", event_field).map(meter::Value::Path),
        Some(_) => table.required("value", number),
        None => table.optional("value", number),
    }
}

/// A field, or an expression of fields.
fn number(value: Value<'_>) -> Option<meter::Value> {
    let text = value.clone().text()?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    // `data.a-data.b` was meant as a difference, though it could be a strange name.
    let is_path = text.starts_with(|c: char| !c.is_ascii_digit()) && text.chars().all(is_name);
    if is_path && !text.contains("-data.") {
        return event_field(value).map(meter::Value::Path);
    }
    match Expression::parse(text) {
        Ok(expression) => Some(match expression.as_path() {
            Some(path) => meter::Value::Path(path.clone()),
            None => meter::Value::Expression(expression),
        }),
        Err(mistake) => value.wrong_at(text, mistake.at, mistake.code, mistake.message, mistake.fix),
    }
}

/// Where the event says whether its value is added or removed.
fn operation(table: &mut Table<'_>, aggregation: Option<Aggregation>) -> Option<Option<Path>> {
    if !matches!(aggregation, None | Some(Aggregation::Unique)) {
        let why = "only what is counted once can be added and removed";
        table.refuse("operation", "operation_without_unique", why, "leave it out, or use aggregation = \"unique\"");
        return Some(None);
    }
    table.optional_exact("operation", event_field)
}

/// With buckets of one event its row is known by the event, so that it cannot be known by anything else.
fn bucket(value: Value<'_>, aggregation: Option<Aggregation>) -> Option<Bucket> {
    let bucket = value.clone().one_of(&BUCKETS, &[])?;
    let exact = match aggregation {
        Some(Aggregation::Unique) => "every value",
        Some(Aggregation::Latest) => "the order of events",
        _ => return Some(bucket),
    };
    if bucket != Bucket::Event {
        return Some(bucket);
    }
    let message = "this aggregation does not go with rows of single events".to_owned();
    value.wrong("bucket_of_events", message, format!("use \"1h\" or another width: {exact} is kept in each of them"))
}

/// An event type of the catalog, or a prefix that some event type of the catalog has.
fn type_pattern(value: Value<'_>, event_types: &Named<EventType>) -> Option<TypePattern> {
    let text = value.clone().text()?;
    if let Some(prefix) = text.strip_suffix('*').filter(|prefix| prefix.ends_with('.')) {
        if event_types.complete && !event_types.ids().any(|id| id.starts_with(prefix)) {
            return event_types.unknown(&value, text);
        }
        return Some(TypePattern::Prefix(prefix.to_owned()));
    }
    if text.contains('*') {
        let message = format!("`{text}` is neither an event type nor a prefix");
        return value.wrong("invalid_pattern", message, "end a prefix with \".*\", like \"flight.*\"");
    }
    let (id, event_type) = event_types.known(value.clone())?;
    if event_type.is_some_and(|event_type| event_type.lifecycle == Lifecycle::Retired) {
        let message = format!("event type `{id}` is retired: no event of it comes any more");
        return value.wrong("retired_event_type", message, "delete the meter, or count another event type");
    }
    Some(TypePattern::Exact(id.to_owned()))
}

/// `{ origin = "data.origin" }`
fn dimensions(value: Value<'_>) -> Option<BTreeMap<String, Path>> {
    let dimension = |value: Value<'_>| {
        let name = value.key_as_id();
        let path = event_field(value);
        Some((name?.to_owned(), path?))
    };
    Some(value.pairs()?.into_iter().filter_map(dimension).collect())
}
