//! The meters of a price book, ready to be applied to events.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use rust_decimal::Decimal;

use crate::domain::book::Book;
use crate::domain::book::meter::Aggregation;
use crate::domain::book::meter::Meter;
use crate::domain::book::meter::Operation;
use crate::domain::book::meter::Path;
use crate::domain::book::meter::TypePattern;
use crate::domain::event::Event;
use crate::domain::event::Fault;
use crate::domain::measure::delta::Delta;
use crate::domain::measure::delta::Key;
use crate::domain::measure::field::find;
use crate::domain::measure::test::Field;
use crate::domain::measure::test::holds;
use crate::domain::time::Instant;

/// Values are kept to this many decimals and below this size, so that a sum of 10^7 of the largest is still exact.
const VALUE_DECIMALS_MAX: u32 = 9;
const VALUE_LIMIT: Decimal = Decimal::from_parts(3_567_587_328, 232, 0, false, 0);

/// What one event adds to one row of usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contribution {
    pub key: Key,
    pub aggregation: Aggregation,
    pub delta: Delta,
}

/// A book's meters, found by event type.
#[derive(Clone, Debug, Default)]
pub struct Meters {
    exact: HashMap<String, Vec<Arc<Meter>>>,
    prefixed: Vec<Arc<Meter>>,
}

impl Meters {
    pub fn of(book: &Book) -> Self {
        Self::from_iter(book.meters.values().cloned())
    }

    /// What an event that happened at `at` adds to usage, or why it cannot be measured.
    pub fn measure(&self, event: &Event<'_>, at: Instant) -> Result<Vec<Contribution>, Vec<Fault>> {
        let prefixed = self.prefixed.iter().filter(|meter| meter.event_type.matches(&event.kind));
        let exact = self.exact.get(&*event.kind).into_iter().flatten();
        let mut contributions = Vec::new();
        let mut faults: Vec<Fault> = Vec::new();
        for meter in exact.chain(prefixed) {
            match measure(meter, event, at) {
                Ok(contribution) => contributions.extend(contribution),
                Err(fault) if faults.iter().any(|known| known.at == fault.at) => {}
                Err(fault) => faults.push(fault),
            }
        }
        if faults.is_empty() { Ok(contributions) } else { Err(faults) }
    }
}

impl FromIterator<Meter> for Meters {
    fn from_iter<I: IntoIterator<Item = Meter>>(meters: I) -> Self {
        let mut sorted = Self::default();
        for meter in meters {
            match &meter.event_type {
                TypePattern::Exact(kind) => sorted.exact.entry(kind.clone()).or_default().push(Arc::new(meter)),
                TypePattern::Prefix(_) => sorted.prefixed.push(Arc::new(meter)),
            }
        }
        sorted
    }
}

fn measure(meter: &Meter, event: &Event<'_>, at: Instant) -> Result<Option<Contribution>, Fault> {
    if !meter.tests.iter().all(|test| passes(event, &test.field, &test.operation)) {
        return Ok(None);
    }
    let value = match &meter.value {
        Some(path) => value(meter, event, path)?,
        None => Decimal::ONE,
    };
    let party = find(event, &meter.party).map(|found| found.text());
    let Some(party) = party.filter(|party| !party.is_empty()) else {
        let detail = format!("meter {} counts for {}, which is missing", meter.id, meter.party);
        return Err(Fault::new(&pointer(&meter.party), "missing_party", detail, "say whose usage this is"));
    };
    let key = Key {
        meter: meter.id.as_str().into(),
        party: party.as_ref().into(),
        bucket: meter.bucket.floor(at),
        dimensions: dimensions(meter, event).into(),
    };
    Ok(Some(Contribution { key, aggregation: meter.aggregation, delta: Delta { value, count: 1 } }))
}

fn passes(event: &Event<'_>, path: &Path, operation: &Operation) -> bool {
    let Some(found) = find(event, path) else { return holds(operation, None) };
    holds(operation, Some(Field::Text(&found.text())))
}

fn value(meter: &Meter, event: &Event<'_>, path: &Path) -> Result<Decimal, Fault> {
    let at = pointer(path);
    let Some(found) = find(event, path) else {
        let detail = format!("meter {} adds up {path}, which is missing", meter.id);
        return Err(Fault::new(&at, "missing_value", detail, "send a number there; nothing is counted as zero"));
    };
    let Some(number) = found.number() else {
        let detail = format!("meter {} adds up {path}, and `{}` is not a number", meter.id, found.text());
        return Err(Fault::new(&at, "not_a_number", detail, "send a JSON number, or a decimal as text"));
    };
    if number.abs() >= VALUE_LIMIT || number.normalize().scale() > VALUE_DECIMALS_MAX {
        let detail = format!("{path} is {number}, which cannot be added up exactly");
        let fix = format!("send a number below 10^12 with at most {VALUE_DECIMALS_MAX} decimals");
        return Err(Fault::new(&at, "value_out_of_range", detail, fix));
    }
    Ok(number.normalize())
}

/// A JSON object with sorted keys. A dimension that the event does not have is left out.
fn dimensions(meter: &Meter, event: &Event<'_>) -> String {
    if meter.dimensions.is_empty() {
        return "{}".to_owned();
    }
    let values: BTreeMap<&str, String> = meter
        .dimensions
        .iter()
        .filter_map(|(name, path)| Some((name.as_str(), find(event, path)?.text().into_owned())))
        .collect();
    serde_json::Value::from_iter(values).to_string()
}

fn pointer(path: &Path) -> String {
    path.parts().iter().map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::book::meter::Test;
    use crate::domain::time::Bucket;

    fn path(text: &str) -> Path {
        Path::parse(text).expect("a path")
    }

    fn miles() -> Meter {
        Meter {
            id: "miles".to_owned(),
            event_type: TypePattern::Exact("flight.completed".to_owned()),
            aggregation: Aggregation::Sum,
            value: Some(path("data.distance")),
            party: path("subject"),
            tests: vec![Test { field: path("data.delay"), operation: Operation::Le(Decimal::ZERO) }],
            dimensions: BTreeMap::from([("origin".to_owned(), path("data.origin"))]),
            bucket: Bucket::Hour,
        }
    }

    fn measure(data: &str) -> Result<Vec<Contribution>, Vec<Fault>> {
        let text = format!(
            r#"{{"specversion":"1.0","id":"1","source":"/s","type":"flight.completed","subject":"UA","data":{data}}}"#
        );
        let event = Event::parse(&text).expect("is an event");
        let at = Instant::parse("2013-01-01T10:17:00Z").expect("a time");
        Meters::from_iter([miles()]).measure(&event, at)
    }

    #[test]
    fn the_limit_of_a_value_is_ten_to_the_twelfth() {
        assert_eq!(VALUE_LIMIT, Decimal::from(1_000_000_000_000_i64));
    }

    #[test]
    fn an_event_adds_its_value_to_its_bucket() {
        let measured = measure(r#"{"origin":"EWR","distance":1400,"delay":-3}"#).expect("is measured");
        let [contribution] = measured.as_slice() else { panic!("one: {measured:?}") };
        assert_eq!(contribution.delta, Delta { value: Decimal::from(1400), count: 1 });
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
}
