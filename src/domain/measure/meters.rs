//! The meters of a price book, compiled so that each event is walked over once, whatever they ask for.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use hashbrown::DefaultHashBuilder;

use crate::domain::book::Book;
use crate::domain::book::expression::Expression;
use crate::domain::book::meter::Aggregation;
use crate::domain::book::meter::Meter;
use crate::domain::book::meter::Operation;
use crate::domain::book::meter::Path;
use crate::domain::book::meter::TypePattern;
use crate::domain::book::meter::Value;
use crate::domain::event::Event;
use crate::domain::event::Fault;
use crate::domain::measure::delta::Delta;
use crate::domain::measure::delta::Key;
use crate::domain::measure::delta::TooLarge;
use crate::domain::measure::digest::Secret;
use crate::domain::measure::field::Field;
use crate::domain::measure::field::Found;
use crate::domain::measure::item;
use crate::domain::measure::item::Change;
use crate::domain::measure::item::Entry;
use crate::domain::measure::item::Item;
use crate::domain::measure::item::Place;
use crate::domain::measure::item::VALUE_BYTES_MAX;
use crate::domain::measure::item::ValueTooLong;
use crate::domain::measure::nano::NANO_DECIMALS;
use crate::domain::measure::nano::Nano;
use crate::domain::measure::tally::Added;
use crate::domain::measure::tally::Row;
use crate::domain::measure::tally::Tally;
use crate::domain::measure::test::Field as Tested;
use crate::domain::measure::test::holds;
use crate::domain::time::Instant;

/// What one event adds to one row of usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contribution {
    pub key: Key,
    pub delta: Delta,
}

/// Meters compiled for one pass over each event, found by its type.
#[derive(Clone, Debug, Default)]
pub struct Meters {
    of_type: HashMap<String, Vec<Compiled>, DefaultHashBuilder>,
    /// For types that no meter names: those that count by prefix.
    of_others: Vec<Compiled>,
}

/// A meter with its paths ready to be followed.
#[derive(Clone, Debug)]
struct Compiled {
    id: Arc<str>,
    meter: Arc<Meter>,
    /// Whether every event has one row, without an item.
    only_adds: bool,
    /// The fields of its value, in their order.
    value: Vec<Field>,
    operation: Option<Field>,
    party: Field,
    tests: Vec<(Field, Operation)>,
    /// Each with the text that opens it in the key: `"region":`.
    dimensions: Vec<(String, Field)>,
}

impl Meters {
    pub fn of(book: &Book) -> Self {
        Self::from_iter(book.meters.values().cloned())
    }

    /// Adds what an event that happened at `at` adds to usage, or says why it cannot be measured.
    pub fn measure(&self, event: &Event<'_>, at: Instant, tally: &mut Tally) -> Result<(), Vec<Fault>> {
        let (meters, all_match) = match self.of_type.get(&*event.kind) {
            Some(meters) => (meters, true),
            None => (&self.of_others, false),
        };
        let before = tally.added();
        let mut faults: Vec<Fault> = Vec::new();
        for compiled in meters {
            if !all_match && !compiled.meter.event_type.matches(&event.kind) {
                continue;
            }
            match compiled.measure(event, at, tally) {
                Ok(()) => {}
                Err(fault) if faults.iter().any(|known| known.at == fault.at) => {}
                Err(fault) => faults.push(fault),
            }
        }
        if faults.is_empty() {
            return Ok(());
        }
        tally.truncate(before);
        Err(faults)
    }

    /// What one event, at its place in the log, adds to usage, row by row.
    pub fn contributions(&self, event: &Event<'_>, at: Instant, place: Place) -> Result<Vec<Contribution>, Vec<Fault>> {
        let mut tally = Tally::new(Secret::default(), 1);
        self.measure(event, at, &mut tally)?;
        tally.place(0, place);
        let (keys, added) = tally.into_parts();
        let contribution = |added: Added| {
            let (_, key) = keys.get(added.key as usize)?;
            Some(Contribution { key: key.clone(), delta: added.delta })
        };
        Ok(added.into_iter().filter_map(contribution).collect())
    }
}

impl FromIterator<Meter> for Meters {
    fn from_iter<I: IntoIterator<Item = Meter>>(meters: I) -> Self {
        let meters: Vec<Arc<Meter>> = meters.into_iter().map(Arc::new).collect();
        let mut compiled = Self::default();
        for meter in &meters {
            match &meter.event_type {
                TypePattern::Exact(kind) if !compiled.of_type.contains_key(kind) => {
                    let matching = meters.iter().filter(|meter| meter.event_type.matches(kind));
                    compiled.of_type.insert(kind.clone(), matching.map(Compiled::of).collect());
                }
                TypePattern::Exact(_) => {}
                TypePattern::Prefix(_) => compiled.of_others.push(Compiled::of(meter)),
            }
        }
        compiled
    }
}

impl Compiled {
    fn of(meter: &Arc<Meter>) -> Self {
        Self {
            id: meter.id.as_str().into(),
            only_adds: item::only_adds(meter.aggregation, meter.bucket),
            value: match &meter.value {
                None => Vec::new(),
                Some(Value::Path(path)) => vec![Field::of(path)],
                Some(Value::Expression(value)) => value.paths().iter().map(Field::of).collect(),
            },
            operation: meter.operation.as_ref().map(Field::of),
            party: Field::of(&meter.party),
            tests: meter.tests.iter().map(|test| (Field::of(&test.field), test.operation.clone())).collect(),
            dimensions: meter
                .dimensions
                .iter()
                .map(|(name, path)| (format!("{}:", quoted(name)), Field::of(path)))
                .collect(),
            meter: meter.clone(),
        }
    }

    fn measure(&self, event: &Event<'_>, at: Instant, tally: &mut Tally) -> Result<(), Fault> {
        let passes = |(field, operation): &(Field, Operation)| match field.find(event) {
            Some(found) => holds(operation, Some(Tested::Text(&found.text()))),
            None => holds(operation, None),
        };
        if !self.tests.iter().all(passes) {
            return Ok(());
        }
        let meter = &*self.meter;
        let fields = self.value.iter().map(|field| field.find(event));
        let said = match &meter.value {
            None => Said::Number(Nano::ONE),
            Some(Value::Path(path)) if meter.aggregation == Aggregation::Unique => {
                let found = fields.flatten().next().ok_or_else(|| missing(meter, path))?;
                Said::Value(found.text(), self.change(event)?)
            }
            Some(Value::Path(path)) => Said::Number(value(meter, path, fields.flatten().next())?),
            Some(Value::Expression(expression)) => Said::Number(computed(meter, expression, fields)?),
        };
        let party = self.party.find(event).map(Found::text);
        let Some(party) = party.filter(|party| !party.is_empty()) else {
            let detail = format!("meter {} counts for {}, which is missing", meter.id, meter.party);
            return Err(Fault::new(&pointer(&meter.party), "missing_party", detail, "say whose usage this is"));
        };
        let bucket = meter.bucket.floor(at);
        let mut add = |entry: Entry<'_>| self.add(tally, &party, bucket, event, entry);
        match said {
            // Nearly every meter: nothing to keep apart, one row.
            Said::Number(value) if self.only_adds => {
                let row = Row { meter: &self.id, party: &party, bucket, item: "" };
                tally.add(row, |text| self.write_dimensions(event, text), Delta { value, count: 1 });
            }
            Said::Number(number) => {
                let event = (&*event.source, &*event.id);
                let entries = item::of_number(meter.aggregation, meter.bucket, number, at, event);
                entries.map_err(|TooLarge| level_out_of_range(meter, number))?.for_each(add);
            }
            Said::Value(value, change) => add(item::of_value(&value, at, change).map_err(|ValueTooLong| {
                let detail = format!("meter {} counts a value of {} bytes", meter.id, value.len());
                let fix = format!("send one of at most {VALUE_BYTES_MAX} bytes, such as its hash");
                Fault::new(&pointer_of(meter), "value_too_long", detail, fix)
            })?),
        }
        Ok(())
    }

    fn add(&self, tally: &mut Tally, party: &str, bucket: Instant, event: &Event<'_>, entry: Entry<'_>) {
        let waits_for_place = matches!(entry.item, Item::AtPosition { .. });
        let item = entry.item.text(Place { seq: 0, index: 0 });
        let row = Row { meter: &self.id, party, bucket, item: &item };
        let dimensions = |text: &mut Vec<u8>| self.write_dimensions(event, text);
        match waits_for_place {
            true => tally.add_unplaced(row, dimensions, entry.delta),
            false => tally.add(row, dimensions, entry.delta),
        }
    }

    /// What the event does to its value; without saying so it adds it.
    fn change(&self, event: &Event<'_>) -> Result<Option<Change>, Fault> {
        let (Some(field), Some(path)) = (&self.operation, &self.meter.operation) else { return Ok(None) };
        let Some(text) = field.find(event).map(Found::text) else { return Ok(Some(Change::Added)) };
        Change::named(&text).map(Some).ok_or_else(|| {
            let detail = format!("{path} is `{text}`, which meter {} does not know", self.meter.id);
            Fault::new(
                &pointer(path),
                "unknown_operation",
                detail,
                "send \"add\" or \"remove\", or leave it out to add",
            )
        })
    }

    /// Appends a JSON object with sorted keys and text values. A dimension that the event does not have is left out.
    fn write_dimensions(&self, event: &Event<'_>, text: &mut Vec<u8>) {
        text.push(b'{');
        let mut is_first = true;
        for (opening, field) in &self.dimensions {
            let Some(found) = field.find(event) else { continue };
            if !std::mem::take(&mut is_first) {
                text.push(b',');
            }
            text.extend_from_slice(opening.as_bytes());
            match found {
                // A JSON string without escapes stands here as it stands there, and a number between quotes.
                Found::Data(json) if json.starts_with('"') && memchr::memchr(b'\\', json.as_bytes()).is_none() => {
                    text.extend_from_slice(json.as_bytes());
                }
                Found::Data(json) if json.starts_with(|first: char| first.is_ascii_digit()) => {
                    text.push(b'"');
                    text.extend_from_slice(json.as_bytes());
                    text.push(b'"');
                }
                found => text.extend_from_slice(quoted(&found.text()).as_bytes()),
            }
        }
        text.push(b'}');
    }
}

/// What an event brings to a meter.
enum Said<'a> {
    Number(Nano),
    Value(Cow<'a, str>, Option<Change>),
}

fn computed<'f>(
    meter: &Meter,
    expression: &Expression,
    fields: impl Iterator<Item = Option<Found<'f>>>,
) -> Result<Nano, Fault> {
    let mut numbers = Vec::with_capacity(expression.paths().len());
    for (path, found) in expression.paths().iter().zip(fields) {
        numbers.push(value(meter, path, found)?.decimal().map_err(|TooLarge| out_of_range(meter, "too large"))?);
    }
    let number = expression.eval(&numbers).map_err(|fault| {
        let detail = format!("meter {} cannot compute {expression}: {fault}", meter.id);
        Fault::new(&pointer_of(meter), "value_not_computable", detail, "send numbers that it can be computed from")
    })?;
    let nano = Nano::from_decimal(number).filter(|number| number.fits_an_event());
    nano.ok_or_else(|| out_of_range(meter, &number.to_string()))
}

fn missing(meter: &Meter, path: &Path) -> Fault {
    let detail = format!("meter {} needs {path}, which is missing", meter.id);
    let fix = match meter.aggregation {
        Aggregation::Unique => "send the value there; nothing is left uncounted",
        _ => "send a number there; nothing is counted as zero",
    };
    Fault::new(&pointer(path), "missing_value", detail, fix)
}

fn out_of_range(meter: &Meter, number: &str) -> Fault {
    let detail = format!("the value of meter {} is {number}, which cannot be added up exactly", meter.id);
    let fix = format!("send a number below 10^12 with at most {NANO_DECIMALS} decimals");
    Fault::new(&pointer_of(meter), "value_out_of_range", detail, fix)
}

fn level_out_of_range(meter: &Meter, number: Nano) -> Fault {
    let detail =
        format!("the value of meter {} is {number}, too large a step to be averaged over its bucket", meter.id);
    let fix = "send the level in a larger unit, or have the operator give the meter a smaller bucket";
    Fault::new(&pointer_of(meter), "value_out_of_range", detail, fix)
}

/// Where the value of a meter is, or the first field that it is computed from.
fn pointer_of(meter: &Meter) -> String {
    match &meter.value {
        Some(Value::Path(path)) => pointer(path),
        Some(Value::Expression(expression)) => expression.paths().first().map(pointer).unwrap_or_default(),
        None => String::new(),
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn value(meter: &Meter, path: &Path, found: Option<Found<'_>>) -> Result<Nano, Fault> {
    let at = || pointer(path);
    let found = found.ok_or_else(|| missing(meter, path))?;
    if let Some(number) = found.nano().filter(|number| number.fits_an_event()) {
        return Ok(number);
    }
    if found.number().is_none() {
        let detail = format!("meter {} adds up {path}, and `{}` is not a number", meter.id, found.text());
        return Err(Fault::new(&at(), "not_a_number", detail, "send a JSON number, or a decimal as text"));
    }
    let detail = format!("{path} is {}, which cannot be added up exactly", found.text());
    let fix = format!("send a number below 10^12 with at most {NANO_DECIMALS} decimals");
    Err(Fault::new(&at(), "value_out_of_range", detail, fix))
}

fn pointer(path: &Path) -> String {
    path.parts().iter().map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1"))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rust_decimal::Decimal;

    use super::*;
    use crate::domain::book::meter::Test;
    use crate::domain::time::Bucket;

    fn path(text: &str) -> Path {
        Path::parse(text).expect("a path")
    }

    fn miles() -> Meter {
        Meter {
            tests: vec![Test { field: path("data.delay"), operation: Operation::Le(Decimal::ZERO) }],
            dimensions: BTreeMap::from([("origin".to_owned(), path("data.origin"))]),
            ..Meter::example(Aggregation::Sum)
        }
    }

    fn measure(data: &str) -> Result<Vec<Contribution>, Vec<Fault>> {
        let text = format!(
            r#"{{"specversion":"1.0","id":"1","source":"/s","type":"flight.completed","subject":"UA","data":{data}}}"#
        );
        let event = Event::parse(&text).expect("is an event");
        let at = Instant::parse("2013-01-01T10:17:00Z").expect("a time");
        Meters::from_iter([miles()]).contributions(&event, at, Place { seq: 1, index: 0 })
    }

    #[test]
    fn an_event_adds_its_value_to_its_bucket() {
        let measured = measure(r#"{"origin":"EWR","distance":1400,"delay":-3}"#).expect("is measured");
        let [contribution] = measured.as_slice() else { panic!("one: {measured:?}") };
        assert_eq!(contribution.delta, Delta { value: Nano::from(1400), count: 1 });
        assert_eq!((&*contribution.key.party, &*contribution.key.dimensions), ("UA", r#"{"origin":"EWR"}"#));
        assert_eq!(contribution.key.bucket.to_string(), "2013-01-01T10:00:00Z");
    }

    #[test]
    fn an_event_that_fails_a_test_adds_nothing_and_a_missing_field_fails() {
        assert_eq!(measure(r#"{"distance":1400,"delay":1}"#), Ok(Vec::new()));
        assert_eq!(measure(r#"{"distance":1400,"delay":null}"#), Ok(Vec::new()));
        assert_eq!(measure(r#"{"distance":1400}"#), Ok(Vec::new()));
    }

    #[test]
    fn a_value_that_is_no_number_is_a_fault_at_its_place() {
        for (data, code) in [
            (r#"{"distance":"far","delay":0}"#, "not_a_number"),
            (r#"{"delay":0}"#, "missing_value"),
            (r#"{"distance":1e12,"delay":0}"#, "value_out_of_range"),
            (r#"{"distance":0.0000000001,"delay":0}"#, "value_out_of_range"),
        ] {
            let faults = measure(data).expect_err("is refused");
            assert_eq!((faults[0].at.as_str(), faults[0].code), ("/data/distance", code), "{data}");
        }
    }

    fn items(meter: Meter, data: &str) -> Result<Vec<(String, String, i64)>, &'static str> {
        let text = format!(
            r#"{{"specversion":"1.0","id":"1","source":"/s","type":"flight.completed","subject":"UA","data":{data}}}"#
        );
        let event = Event::parse(&text).expect("is an event");
        let at = Instant::parse("2013-01-01T10:17:00Z").expect("a time");
        let measured = Meters::from_iter([meter])
            .contributions(&event, at, Place { seq: 1, index: 0 })
            .map_err(|faults| faults[0].code)?;
        let item = |row: Contribution| (row.key.item.to_string(), row.delta.value.to_string(), row.delta.count);
        Ok(measured.into_iter().map(item).collect())
    }

    #[test]
    fn a_value_can_be_computed_and_what_cannot_is_a_fault() {
        let expression = Expression::parse("data.fare / data.seats * 2").expect("an expression");
        let meter = || Meter { value: Some(Value::Expression(expression.clone())), ..Meter::example(Aggregation::Max) };
        let items = |data| items(meter(), data);
        assert_eq!(items(r#"{"fare":"10.5","seats":3}"#), Ok(vec![("7".to_owned(), "7".to_owned(), 1)]));
        assert_eq!(items(r#"{"fare":10,"seats":0}"#), Err("value_not_computable"));
        assert_eq!(items(r#"{"fare":10}"#), Err("missing_value"));
        assert_eq!(items(r#"{"fare":"many","seats":1}"#), Err("not_a_number"));
        assert_eq!(items(r#"{"fare":900000000000,"seats":"0.1"}"#), Err("value_out_of_range"));
    }

    #[test]
    fn a_distinct_value_is_an_item_and_may_be_added_or_removed() {
        let unique = || Meter { value: Some(Value::Path(path("data.tail"))), ..Meter::example(Aggregation::Unique) };
        let long = format!(r#"{{"tail":"{}"}}"#, "x".repeat(513));
        let row = |item: &str| Ok(vec![(item.to_owned(), "1".to_owned(), 1)]);
        assert_eq!(items(unique(), r#"{"tail":"N1"}"#), row("N1"));
        assert_eq!(items(unique(), r#"{"op":"add"}"#), Err("missing_value"));
        assert_eq!(items(unique(), &long), Err("value_too_long"));
        let changed = || Meter { operation: Some(path("data.op")), ..unique() };
        let ends_with = |data, end: &str| items(changed(), data).is_ok_and(|rows| rows[0].0.ends_with(end));
        assert!(ends_with(r#"{"tail":"N1"}"#, "+N1") && ends_with(r#"{"tail":"N1","op":"remove"}"#, "-N1"));
        assert_eq!(items(changed(), r#"{"tail":"N1","op":"sell"}"#), Err("unknown_operation"));
    }

    #[test]
    fn a_bucket_of_one_event_is_known_by_its_time_and_event() {
        let meter = Meter { bucket: crate::domain::time::Bucket::Event, ..Meter::example(Aggregation::Sum) };
        let row = ("/s\n1".to_owned(), "3".to_owned(), 1);
        assert_eq!(items(meter, r#"{"distance":3}"#), Ok(vec![row]));
    }

    #[test]
    fn a_step_that_a_flood_of_events_could_overflow_with_is_refused() {
        let level = |bucket| Meter { aggregation: Aggregation::WeightedSum, tests: Vec::new(), bucket, ..miles() };
        let step = r#"{"distance":900000000}"#;
        assert_eq!(items(level(Bucket::Day), step), Err("value_out_of_range"));
        assert_eq!(items(level(Bucket::Hour), step).map(|rows| rows.len()), Ok(2));
    }
}
