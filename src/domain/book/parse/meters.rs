//! `meters/*.toml`: what is counted.

use std::collections::BTreeMap;

use crate::domain::book::catalog::EventType;
use crate::domain::book::catalog::Lifecycle;
use crate::domain::book::meter::Aggregation;
use crate::domain::book::meter::Meter;
use crate::domain::book::meter::Path;
use crate::domain::book::meter::TypePattern;
use crate::domain::book::parse::fields::event_field;
use crate::domain::book::parse::fields::tests;
use crate::domain::book::parse::named::Named;
use crate::domain::book::parse::reader::Table;
use crate::domain::book::parse::value::Value;
use crate::domain::time::Bucket;

const AGGREGATIONS: [(&str, Aggregation); 3] =
    [("count", Aggregation::Count), ("sum", Aggregation::Sum), ("max", Aggregation::Max)];
const LATER_AGGREGATIONS: [&str; 5] = ["avg", "latest", "unique", "weighted_sum", "percentile"];
const BUCKETS: [(&str, Bucket); 4] =
    [("5m", Bucket::FiveMinutes), ("15m", Bucket::QuarterHour), ("1h", Bucket::Hour), ("1d", Bucket::Day)];

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
    let aggregation = table.required("aggregation", |value| value.one_of(&AGGREGATIONS, &LATER_AGGREGATIONS));
    let value = value(table, aggregation);
    let party = table.optional_exact("party", event_field);
    let tests = tests(table, "where", event_field);
    let dimensions = table.optional("dimensions", dimensions).unwrap_or_default();
    let bucket = table.optional("bucket", |value| value.one_of(&BUCKETS, &["event"]));
    Some(Meter {
        id: id?.raw_text()?,
        event_type: event_type?,
        aggregation: aggregation?,
        value,
        party: party?.or_else(|| Path::parse("subject"))?,
        tests,
        dimensions,
        bucket: bucket.unwrap_or(Bucket::Hour),
    })
}

/// The field that is aggregated: needed for everything but a count.
fn value(table: &mut Table<'_>, aggregation: Option<Aggregation>) -> Option<Path> {
    match aggregation {
        Some(Aggregation::Count) => {
            let fix = "leave it out, or use aggregation = \"sum\"";
            table.refuse("value", "value_of_a_count", "a count adds one for each event", fix);
            None
        }
        Some(Aggregation::Sum | Aggregation::Max) => table.required("value", event_field),
        None => table.optional("value", event_field),
    }
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
