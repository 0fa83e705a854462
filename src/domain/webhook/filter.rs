//! Which events an endpoint asks for: the filter dialects of the CloudEvents Subscriptions API (0.1-wip, section 3.2.4):
//! `exact`, `prefix`, `suffix`, `all`, `any` and `not`. Any other dialect is refused, as the specification demands.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::HashMap;

use serde_json::Map;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::domain::event::Event;
use crate::domain::event::Fault;

/// Filters within filters: deeper ones are nobody's intention.
const DEPTH_MAX: usize = 8;
/// Filters of one endpoint, those within others too.
const FILTERS_MAX: usize = 100;
/// Bytes of a value that attributes are compared with: none of an event's names is longer.
const VALUE_BYTES_MAX: usize = 512;
/// CloudEvents 1.0.2, section 3.1: attribute names should not be longer.
const NAME_BYTES_MAX: usize = 20;

const DIALECTS: &str = "exact, prefix, suffix, all, any, not";

/// What an event must be like. A list of filters means all of them; an empty list lets everything pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    Exact(BTreeMap<String, String>),
    Prefix(BTreeMap<String, String>),
    Suffix(BTreeMap<String, String>),
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
}

/// An event with the text that it was read from, where its extension attributes stand.
#[derive(Clone, Copy, Debug)]
pub struct Described<'e> {
    pub event: &'e Event<'e>,
    pub text: &'e str,
}

/// Reads the `filters` of an endpoint. Every fault is returned; `at` is the JSON pointer of the list.
pub fn parse(filters: &Value, at: &str) -> Result<Vec<Filter>, Vec<Fault>> {
    let mut reader = Reader::default();
    let filters = reader.list(filters, at, 0);
    match filters {
        Some(filters) if reader.faults.is_empty() => Ok(filters),
        _ => Err(reader.faults),
    }
}

impl Filter {
    /// Whether an event passes.
    pub fn lets_pass(&self, described: Described<'_>) -> bool {
        let each = |expected: &BTreeMap<String, String>, holds: fn(&str, &str) -> bool| {
            expected.iter().all(|(name, expected)| {
                described.attribute(name).is_some_and(|attribute| holds(attribute.as_ref(), expected))
            })
        };
        match self {
            Self::Exact(expected) => each(expected, |attribute, expected| attribute == expected),
            Self::Prefix(expected) => each(expected, |attribute, expected| attribute.starts_with(expected)),
            Self::Suffix(expected) => each(expected, |attribute, expected| attribute.ends_with(expected)),
            Self::All(filters) => filters.iter().all(|filter| filter.lets_pass(described)),
            Self::Any(filters) => filters.iter().any(|filter| filter.lets_pass(described)),
            Self::Not(filter) => !filter.lets_pass(described),
        }
    }

    /// The filter as it is written.
    pub fn to_json(&self) -> Value {
        let attributes = |dialect: &str, expected: &BTreeMap<String, String>| {
            let expected = expected.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
            one(dialect, Value::Object(expected.collect()))
        };
        match self {
            Self::Exact(expected) => attributes("exact", expected),
            Self::Prefix(expected) => attributes("prefix", expected),
            Self::Suffix(expected) => attributes("suffix", expected),
            Self::All(filters) => one("all", filters.iter().map(Self::to_json).collect()),
            Self::Any(filters) => one("any", filters.iter().map(Self::to_json).collect()),
            Self::Not(filter) => one("not", filter.to_json()),
        }
    }
}

fn one(dialect: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(dialect.to_owned(), value)]))
}

impl<'e> Described<'e> {
    /// A context attribute in its canonical string form (CloudEvents 1.0.2, section 3.1.1).
    fn attribute(&self, name: &str) -> Option<Cow<'e, str>> {
        let Event { source, id, kind, subject, .. } = self.event;
        match name {
            "source" => Some(Cow::Borrowed(source.as_ref())),
            "id" => Some(Cow::Borrowed(id.as_ref())),
            "type" => Some(Cow::Borrowed(kind.as_ref())),
            "subject" => subject.as_deref().map(Cow::Borrowed),
            _ => self.extension(name),
        }
    }

    fn extension(&self, name: &str) -> Option<Cow<'e, str>> {
        let attributes: HashMap<Cow<'e, str>, &'e RawValue> = serde_json::from_str(self.text).ok()?;
        let raw = attributes.get(name)?.get();
        match raw.as_bytes().first()? {
            b'"' => serde_json::from_str(raw).ok(),
            b'n' | b'{' | b'[' => None,
            _ => Some(Cow::Borrowed(raw)),
        }
    }
}

/// Reads filters, and notes what is wrong.
#[derive(Default)]
struct Reader {
    filters: usize,
    faults: Vec<Fault>,
}

impl Reader {
    fn fault(&mut self, at: &str, code: &'static str, detail: String, fix: &str) {
        self.faults.push(Fault::new(at, code, detail, fix));
    }

    fn list(&mut self, filters: &Value, at: &str, depth: usize) -> Option<Vec<Filter>> {
        let Value::Array(filters) = filters else {
            let fix = "write a list, such as [{\"exact\": {\"type\": \"order.paid\"}}]";
            self.fault(at, "invalid_filter", "filters are a list".to_owned(), fix);
            return None;
        };
        let read =
            filters.iter().enumerate().map(|(index, filter)| self.filter(filter, &format!("{at}/{index}"), depth));
        // All of them, so that every fault is found.
        let read: Vec<Option<Filter>> = read.collect();
        read.into_iter().collect()
    }

    fn filter(&mut self, filter: &Value, at: &str, depth: usize) -> Option<Filter> {
        self.filters = self.filters.saturating_add(1);
        if depth >= DEPTH_MAX || self.filters > FILTERS_MAX {
            let detail =
                format!("there are more than {FILTERS_MAX} filters, or more than {DEPTH_MAX} within each other");
            self.fault(at, "too_many_filters", detail, "say it with fewer; `prefix` stands for many types");
            return None;
        }
        let (dialect, value) = match filter.as_object().map(|filter| (filter.len(), filter.iter().next())) {
            Some((1, Some(only))) => only,
            _ => {
                let fix = format!("write one of {DIALECTS}, and nothing beside it");
                self.fault(at, "invalid_filter", "a filter is an object with one member".to_owned(), &fix);
                return None;
            }
        };
        let within = format!("{at}/{dialect}");
        let inner = depth.saturating_add(1);
        match dialect.as_str() {
            "exact" => self.attributes(value, &within).map(Filter::Exact),
            "prefix" => self.attributes(value, &within).map(Filter::Prefix),
            "suffix" => self.attributes(value, &within).map(Filter::Suffix),
            "all" => self.some(value, &within, inner).map(Filter::All),
            "any" => self.some(value, &within, inner).map(Filter::Any),
            "not" => self.filter(value, &within, inner).map(|filter| Filter::Not(Box::new(filter))),
            unknown => {
                let detail = format!("the filter dialect `{unknown}` is not known");
                self.fault(&within, "unknown_filter_dialect", detail, &format!("use one of {DIALECTS}"));
                None
            }
        }
    }

    fn some(&mut self, filters: &Value, at: &str, depth: usize) -> Option<Vec<Filter>> {
        if filters.as_array().is_some_and(Vec::is_empty) {
            self.fault(at, "invalid_filter", "the list is empty".to_owned(), "name at least one filter");
            return None;
        }
        self.list(filters, at, depth)
    }

    fn attributes(&mut self, value: &Value, at: &str) -> Option<BTreeMap<String, String>> {
        let named = value.as_object().filter(|named| !named.is_empty());
        let Some(named) = named else {
            let fix = "name at least one, such as {\"type\": \"order.paid\"}";
            self.fault(at, "invalid_filter", "attributes and their values are expected".to_owned(), fix);
            return None;
        };
        let mut attributes = BTreeMap::new();
        for (name, expected) in named {
            let at = format!("{at}/{name}");
            let is_name = (1..=NAME_BYTES_MAX).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
            if !is_name || name == "data" {
                let detail = format!("`{name}` is not the name of an attribute");
                let fix = "attributes are such as type, source, subject, or an extension; data is not one";
                self.fault(&at, "invalid_filter", detail, fix);
                continue;
            }
            match expected.as_str() {
                Some(expected) if (1..=VALUE_BYTES_MAX).contains(&expected.len()) => {
                    attributes.insert(name.clone(), expected.to_owned());
                }
                _ => {
                    let detail = format!("it is compared with a text of 1 to {VALUE_BYTES_MAX} bytes");
                    self.fault(&at, "invalid_filter", detail, "write a text, in quotes");
                }
            }
        }
        (attributes.len() == named.len()).then_some(attributes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ORDER: &str = r#"{"specversion": "1.0", "id": "7", "source": "/shop/eu", "type": "com.shop.order.paid",
        "subject": "UA", "tenant": "north", "weight": 3, "urgent": true, "data": {"type": "x"}}"#;

    fn lets_pass(filters: &Value) -> bool {
        let filters = parse(filters, "/filters").expect("are filters");
        let event = Event::parse(ORDER).expect("is an event");
        filters.iter().all(|filter| filter.lets_pass(Described { event: &event, text: ORDER }))
    }

    #[test]
    fn an_event_passes_what_the_dialects_say() {
        let cases = [
            (json!([]), true),
            (json!([{"exact": {"type": "com.shop.order.paid"}}]), true),
            (json!([{"exact": {"type": "com.shop.order"}}]), false),
            (json!([{"exact": {"type": "COM.SHOP.ORDER.PAID"}}]), false),
            (json!([{"exact": {"type": "com.shop.order.paid", "subject": "UA"}}]), true),
            (json!([{"exact": {"type": "com.shop.order.paid", "subject": "BB"}}]), false),
            (json!([{"prefix": {"type": "com.shop.order."}}]), true),
            (json!([{"prefix": {"type": "com.shop.cart."}}]), false),
            (json!([{"suffix": {"source": "/eu"}}]), true),
            (json!([{"suffix": {"source": "/us"}}]), false),
            // Extensions, in their canonical string form.
            (json!([{"exact": {"tenant": "north", "weight": "3", "urgent": "true"}}]), true),
            // An attribute that is not there is not equal to anything.
            (json!([{"exact": {"region": "north"}}]), false),
            (json!([{"not": {"exact": {"region": "north"}}}]), true),
            (json!([{"not": {"prefix": {"type": "com.shop."}}}]), false),
            (json!([{"any": [{"exact": {"id": "8"}}, {"exact": {"id": "7"}}]}]), true),
            (json!([{"all": [{"exact": {"id": "8"}}, {"exact": {"id": "7"}}]}]), false),
            // A list means all of them.
            (json!([{"prefix": {"type": "com."}}, {"exact": {"subject": "BB"}}]), false),
        ];
        for (filters, expected) in cases {
            assert_eq!(lets_pass(&filters), expected, "{filters}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused_and_its_place_named() {
        let cases = [
            (json!({}), "/filters invalid_filter"),
            (json!([{"exact": {"type": "a"}, "prefix": {"type": "b"}}]), "/filters/0 invalid_filter"),
            (json!([{"sql": "type = 'a'"}]), "/filters/0/sql unknown_filter_dialect"),
            (json!([{"exact": {}}]), "/filters/0/exact invalid_filter"),
            (json!([{"exact": {"type": ""}}]), "/filters/0/exact/type invalid_filter"),
            (json!([{"exact": {"type": 7}}]), "/filters/0/exact/type invalid_filter"),
            (json!([{"exact": {"Type": "a"}}]), "/filters/0/exact/Type invalid_filter"),
            (json!([{"exact": {"data": "a"}}]), "/filters/0/exact/data invalid_filter"),
            (json!([{"any": []}]), "/filters/0/any invalid_filter"),
            (json!([{"not": [{"exact": {"type": "a"}}]}]), "/filters/0/not invalid_filter"),
            (json!([{"not": {"not": {"regex": {}}}}]), "/filters/0/not/not/regex unknown_filter_dialect"),
        ];
        for (filters, expected) in cases {
            let faults = parse(&filters, "/filters").expect_err("is refused");
            let said: Vec<String> = faults.iter().map(|fault| format!("{} {}", fault.at, fault.code)).collect();
            assert_eq!(said, [expected], "{filters}");
        }
        let all = parse(&json!([{"sql": "1"}, {"exact": {"type": 1, "id": 2}}]), "").expect_err("are refused");
        assert_eq!(all.len(), 3, "each fault is named: {all:?}");
    }

    #[test]
    fn filters_have_limits() {
        let deep = (0..DEPTH_MAX).fold(json!({"exact": {"type": "a"}}), |inner, _| json!({ "not": inner }));
        assert_eq!(parse(&json!([deep]), "").expect_err("is too deep")[0].code, "too_many_filters");
        let wide = vec![json!({"exact": {"type": "a"}}); FILTERS_MAX + 1];
        assert_eq!(parse(&Value::Array(wide), "").expect_err("are too many")[0].code, "too_many_filters");
    }

    fn any_filter() -> impl Strategy<Value = Filter> {
        let attributes = prop::collection::btree_map("type|source|subject|tenant", "[a-z/.]{1,6}", 1..3);
        let leaf = (0..3, attributes).prop_map(|(dialect, attributes)| match dialect {
            0 => Filter::Exact(attributes),
            1 => Filter::Prefix(attributes),
            _ => Filter::Suffix(attributes),
        });
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..3).prop_map(Filter::All),
                prop::collection::vec(inner.clone(), 1..3).prop_map(Filter::Any),
                inner.prop_map(|filter| Filter::Not(Box::new(filter))),
            ]
        })
    }

    proptest! {
        /// What is written is what was read.
        #[test]
        fn a_filter_is_read_back_as_it_is_written(filter in any_filter()) {
            let read = parse(&Value::Array(vec![filter.to_json()]), "").expect("is a filter");
            prop_assert_eq!(read, [filter]);
        }

        /// `not` turns the answer round, and `any` is `not` of all that are `not` (De Morgan).
        #[test]
        fn not_any_and_all_belong_together(filters in prop::collection::vec(any_filter(), 1..4)) {
            let event = Event::parse(ORDER).expect("is an event");
            let lets_pass = |filter: &Filter| filter.lets_pass(Described { event: &event, text: ORDER });
            let not = |filter: &Filter| Filter::Not(Box::new(filter.clone()));
            let all_not = Filter::All(filters.iter().map(not).collect());
            prop_assert_eq!(lets_pass(&Filter::Any(filters)), !lets_pass(&all_not));
        }
    }
}
