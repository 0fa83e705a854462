//! JSON Schemas of event types, compiled: which data breaks them, and how, in words.
//!
//! Promise: nothing is ever fetched, neither from the network nor from a file: a schema that refers to anything outside
//! of itself cannot be compiled. No data takes more than linear time in a pattern, since patterns that would need
//! backtracking (look-around, back references) are refused too.
//!
//! The draft is what `$schema` names, and 2020-12 without one. An event without `data` is held against its schema as
//! `null`, so a schema with `"type": "object"` refuses it. `format` is checked where its draft says so: up to draft 7.

use std::fmt;
use std::sync::Arc;

use jsonschema::JsonType;
use jsonschema::PatternOptions;
use jsonschema::ReferencingError;
use jsonschema::ValidationError;
use jsonschema::Validator;
use jsonschema::error::TypeKind;
use jsonschema::error::ValidationErrorKind as Kind;
use serde::Serialize;
use serde::Serializer;
use serde_json::Value as Json;

use crate::domain::event::Fault;

/// The code of everything that breaks a schema.
const CODE: &str = "schema_violation";
/// Of data that is longer only the first violation is looked for, so that a list of a million wrong numbers does not
/// become a million errors.
const CLOSELY_BYTES_MAX: usize = 16 << 10;
/// Longer pointers, which long keys make, are not repeated to who sent them.
const POINTER_BYTES_MAX: usize = 512;
/// What a message shows of a value, and of what the schema wants.
const SHOWN_CHARS_MAX: usize = 60;
const WANTED_CHARS_MAX: usize = 300;

/// A JSON Schema, ready to hold data against.
#[derive(Clone)]
pub struct Schema {
    json: Json,
    /// Nothing in a book that was published before its schemas were looked at, and would not be taken now.
    compiled: Option<Arc<Validator>>,
}

/// Why a schema cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It refers to something that is not in it.
    Refers(String),
    /// What is wrong, and the JSON pointer to where.
    Wrong { at: String, reason: String },
}

impl Schema {
    pub fn compile(json: Json) -> Result<Self, Unusable> {
        let options = jsonschema::options().offline().with_pattern_options(PatternOptions::regex());
        let compiled = options.build(&json).map_err(|error| unusable(&error))?;
        Ok(Self { json, compiled: Some(Arc::new(compiled)) })
    }

    /// A schema that no data breaks, since it cannot be compiled.
    pub fn unusable(json: Json) -> Self {
        Self { json, compiled: None }
    }

    pub fn is_usable(&self) -> bool {
        self.compiled.is_some()
    }

    /// Holds the `data` of an event, JSON text, against the schema. Names the first `most` things that break it.
    pub fn hold(&self, data: Option<&str>, most: usize) -> Result<(), Vec<Fault>> {
        let text = data.unwrap_or("null");
        let data: Json = serde_json::from_str(text).map_err(|error| {
            let detail = format!("data cannot be held against its schema: {error}");
            vec![Fault::new("/data", CODE, detail, "nest it less deeply, and use numbers that fit 64 bits")]
        })?;
        let most = if text.len() > CLOSELY_BYTES_MAX { most.min(1) } else { most };
        self.hold_json(&data, most)
    }

    /// The same for data that is read already.
    pub fn hold_json(&self, data: &Json, most: usize) -> Result<(), Vec<Fault>> {
        let Some(compiled) = self.compiled.as_ref().filter(|compiled| !compiled.is_valid(data)) else { return Ok(()) };
        Err(match most {
            0 => Vec::new(),
            1 => compiled.validate(data).err().iter().map(fault).collect(),
            _ => {
                let mut errors = compiled.iter_errors(data);
                let mut faults: Vec<Fault> = errors.by_ref().take(most).map(|error| fault(&error)).collect();
                let rest = errors.count();
                if rest > 0 {
                    let detail = format!("{rest} more places break the schema");
                    faults.push(Fault::new("/data", CODE, detail, "mend those that are named first"));
                }
                faults
            }
        })
    }
}

fn unusable(error: &ValidationError<'_>) -> Unusable {
    let wrong = |reason: String| Unusable::Wrong { at: error.instance_path().as_str().to_owned(), reason };
    match error.kind() {
        Kind::Referencing(ReferencingError::Unretrievable { uri, .. }) => {
            // A relative reference is resolved against a base that the library makes up.
            Unusable::Refers(uri.strip_prefix("json-schema:///").unwrap_or(uri).to_owned())
        }
        Kind::Referencing(ReferencingError::UnknownSpecification { specification }) => {
            Unusable::Refers(specification.clone())
        }
        Kind::Format { format } if format == "regex" => {
            wrong(format!("{} is not a pattern that can be used", shown(error.instance())))
        }
        _ => wrong(cut(&error.masked_with(shown(error.instance())).to_string(), WANTED_CHARS_MAX)),
    }
}

/// A violation in the words of an event's faults.
fn fault(error: &ValidationError<'_>) -> Fault {
    let mut at = format!("/data{}", error.instance_path().as_str());
    let is = shown(error.instance());
    let (detail, fix) = match error.kind() {
        Kind::Type { kind } => (format!("{is} is not {}", types(kind)), format!("send {}", types(kind))),
        Kind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
            (format!("{} is missing", cut(name, SHOWN_CHARS_MAX)), "add it: the schema requires it".to_owned())
        }
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let names = cut(&unexpected.join(", "), WANTED_CHARS_MAX);
            (format!("the schema does not know {names}"), "leave it out, or add it to the schema".to_owned())
        }
        Kind::Enum { options } => {
            (format!("{is} is none of the values that the schema allows"), format!("send one of {}", wanted(options)))
        }
        Kind::Constant { expected_value } => {
            (format!("{is} is not the one value that the schema allows"), format!("send {}", wanted(expected_value)))
        }
        Kind::Minimum { limit } => (format!("{is} is too small"), format!("send at least {limit}")),
        Kind::Maximum { limit } => (format!("{is} is too large"), format!("send at most {limit}")),
        Kind::ExclusiveMinimum { limit } => (format!("{is} is too small"), format!("send more than {limit}")),
        Kind::ExclusiveMaximum { limit } => (format!("{is} is too large"), format!("send less than {limit}")),
        Kind::MultipleOf { multiple_of } => {
            (format!("{is} is not a multiple of {multiple_of}"), format!("send a multiple of {multiple_of}"))
        }
        Kind::MinLength { limit } => {
            (format!("{is} is too short"), format!("send at least {}", many(*limit, "character")))
        }
        Kind::MaxLength { limit } => {
            (format!("{is} is too long"), format!("send at most {}", many(*limit, "character")))
        }
        Kind::MinItems { limit } => {
            ("the list is too short".to_owned(), format!("send at least {}", many(*limit, "item")))
        }
        Kind::MaxItems { limit } => {
            ("the list is too long".to_owned(), format!("send at most {}", many(*limit, "item")))
        }
        Kind::UniqueItems => ("the list has an item twice".to_owned(), "send each item once".to_owned()),
        Kind::Pattern { pattern } => {
            let pattern = cut(pattern, WANTED_CHARS_MAX);
            (format!("{is} does not match the pattern {pattern}"), "write it as the pattern says".to_owned())
        }
        Kind::Format { format } => (format!("{is} is not a {format}"), format!("write it as a {format}")),
        Kind::FalseSchema => ("the schema allows no value here".to_owned(), "leave it out".to_owned()),
        _ => {
            let detail = cut(&error.masked_with(is).to_string(), WANTED_CHARS_MAX);
            (detail, format!("see {} in the schema", cut(error.schema_path().as_str(), WANTED_CHARS_MAX)))
        }
    };
    if at.len() > POINTER_BYTES_MAX {
        "/data".clone_into(&mut at);
    }
    Fault::new(&at, CODE, detail, fix)
}

/// A value as a message shows it: itself if it is short, else what it is.
fn shown(value: &Json) -> String {
    match value {
        Json::Object(_) => "an object".to_owned(),
        Json::Array(_) => "a list".to_owned(),
        Json::String(text) => format!("\"{}\"", cut(text, SHOWN_CHARS_MAX)),
        plain => plain.to_string(),
    }
}

fn wanted(value: &Json) -> String {
    match value {
        Json::Array(options) => {
            let options: Vec<String> = options.iter().map(ToString::to_string).collect();
            cut(&options.join(", "), WANTED_CHARS_MAX)
        }
        one => cut(&one.to_string(), WANTED_CHARS_MAX),
    }
}

fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn many(count: u64, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

fn types(kind: &TypeKind) -> String {
    let named = |kind: JsonType| match kind {
        JsonType::Null => "null",
        JsonType::Boolean => "true or false",
        JsonType::Integer => "a whole number",
        JsonType::Number => "a number",
        JsonType::String => "a text",
        JsonType::Array => "a list",
        JsonType::Object => "an object",
    };
    match kind {
        TypeKind::Single(one) => named(*one).to_owned(),
        TypeKind::Multiple(some) => {
            let (null, others): (Vec<_>, Vec<_>) = some.iter().partition(|kind| *kind == JsonType::Null);
            others.into_iter().chain(null).map(named).collect::<Vec<_>>().join(" or ")
        }
    }
}

/// Two schemas are the same if they say the same.
impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.json == other.json
    }
}

impl Eq for Schema {}

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(serializer)
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.json.fmt(f)
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.json.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn schema(json: Json) -> Schema {
        Schema::compile(json.clone()).unwrap_or_else(|why| panic!("{json}: {why:?}"))
    }

    /// In whatever order the schema's keywords are looked at.
    fn told(schema: &Schema, data: &str) -> BTreeSet<String> {
        let faults = schema.hold(Some(data), 10).err().unwrap_or_default();
        assert!(faults.iter().all(|fault| fault.code == CODE));
        faults.into_iter().map(|fault| format!("{}: {}; {}", fault.at, fault.detail, fault.fix)).collect()
    }

    fn lines(lines: &[&str]) -> BTreeSet<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn what_breaks_a_schema_is_said_in_plain_words_at_its_place() {
        let flight = schema(json!({
            "type": "object",
            "required": ["distance", "origin"],
            "additionalProperties": false,
            "properties": {
                "distance": { "type": "integer", "minimum": 1, "maximum": 20000 },
                "origin": { "type": "string", "pattern": "^[A-Z]{3}$" },
                "cabin": { "enum": ["economy", "business"] },
                "fare": { "multipleOf": 0.01, "exclusiveMinimum": 0 },
                "gates": { "type": "array", "maxItems": 2, "uniqueItems": true, "items": { "type": ["string", "null"] } },
                "a/b": { "const": 7 },
            },
        }));
        // 1.15 is a multiple of 0.01, though not in floats.
        assert_eq!(told(&flight, r#"{"distance":719,"origin":"EWR","fare":1.15,"gates":["A",null]}"#), lines(&[]));
        assert_eq!(
            told(&flight, r#"{"distance":"far","cabin":"first","fare":-1.155,"a/b":8,"seat":1}"#),
            lines(&[
                "/data/fare: -1.155 is too small; send more than 0",
                "/data/fare: -1.155 is not a multiple of 0.01; send a multiple of 0.01",
                "/data/a~1b: 8 is not the one value that the schema allows; send 7",
                "/data/cabin: \"first\" is none of the values that the schema allows; send one of \"economy\", \"business\"",
                "/data/distance: \"far\" is not a whole number; send a whole number",
                "/data: the schema does not know seat; leave it out, or add it to the schema",
                "/data/origin: origin is missing; add it: the schema requires it",
            ])
        );
        assert_eq!(
            told(&flight, r#"{"distance":20001,"origin":"ewr","gates":["A","A",1]}"#),
            lines(&[
                "/data/distance: 20001 is too large; send at most 20000",
                "/data/gates: the list is too long; send at most 2 items",
                "/data/gates: the list has an item twice; send each item once",
                "/data/gates/2: 1 is not a text or null; send a text or null",
                "/data/origin: \"ewr\" does not match the pattern ^[A-Z]{3}$; write it as the pattern says",
            ])
        );
        assert_eq!(flight.hold(None, 10).expect_err("is refused")[0].detail, "null is not an object");
    }

    #[test]
    fn many_violations_and_long_values_are_not_repeated_whole() {
        let numbers = schema(json!({ "type": "array", "items": { "type": "integer" } }));
        let faults = numbers.hold(Some(&json!(vec!["x"; 50]).to_string()), 10).expect_err("is refused");
        assert_eq!((faults.len(), &*faults[10].detail), (11, "40 more places break the schema"));
        let long = json!(["y".repeat(100_000)]).to_string();
        let faults = numbers.hold(Some(&long), 10).expect_err("is refused");
        assert!(faults.len() == 1 && faults[0].detail.len() < 200, "{faults:?}");
        let key = "k".repeat(5_000);
        let objects = schema(json!({ "additionalProperties": { "type": "object" } }));
        let faults = objects.hold(Some(&json!({ &*key: 1 }).to_string()), 10).expect_err("is refused");
        assert_eq!(faults[0].at, "/data");
        assert_eq!(numbers.hold(Some("7"), 0), Err(Vec::new()));
    }

    #[test]
    fn nothing_is_fetched_and_what_a_schema_has_itself_is_found() {
        for inside in [
            json!({ "$ref": "#/$defs/miles", "$defs": { "miles": { "type": "integer" } } }),
            json!({ "$id": "https://example.com/flight", "$ref": "https://example.com/flight#/$defs/miles",
                    "$defs": { "miles": { "type": "integer" } } }),
            json!({ "$ref": "#miles", "$defs": { "m": { "$anchor": "miles", "type": "integer" } } }),
        ] {
            assert_eq!(told(&schema(inside), "1.5"), lines(&["/data: 1.5 is not a whole number; send a whole number"]));
        }
        for (remote, to) in [
            (json!({ "$ref": "https://example.com/a.json" }), "https://example.com/a.json"),
            (json!({ "$ref": "http://127.0.0.1:9/a" }), "http://127.0.0.1:9/a"),
            (json!({ "properties": { "a": { "$ref": "other.json#/x" } } }), "other.json#/x"),
            (json!({ "$defs": { "unused": { "$ref": "file:///etc/passwd" } } }), "file:///etc/passwd"),
            (json!({ "$schema": "https://example.com/meta", "type": "object" }), "https://example.com/meta"),
        ] {
            assert_eq!(Schema::compile(remote).err(), Some(Unusable::Refers(to.to_owned())));
        }
    }

    #[test]
    fn a_schema_that_cannot_be_compiled_says_where_and_why() {
        for (wrong, at, why) in [
            (json!({ "properties": { "a": { "type": "integr" } } }), "/properties/a/type", "\"integr\""),
            (json!({ "properties": { "a": { "pattern": "(" } } }), "/properties/a/pattern", "\"(\" is not a pattern"),
            (json!({ "pattern": "^(?!x)" }), "/pattern", "is not a pattern"),
            (json!({ "pattern": "(a)\\1" }), "/pattern", "is not a pattern"),
            (json!({ "$ref": "#/$defs/none" }), "", "'/$defs/none' does not exist"),
            (json!({ "minimum": "1" }), "/minimum", "\"1\""),
        ] {
            match Schema::compile(wrong.clone()) {
                Err(Unusable::Wrong { at: found, reason }) => {
                    assert!(found == at && reason.contains(why), "{wrong}: at {found}: {reason}");
                }
                other => panic!("{wrong}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_draft_is_the_one_that_the_schema_names() {
        let tuple = json!({ "items": [{ "type": "integer" }], "additionalItems": false });
        let mut draft7 = tuple.clone();
        draft7["$schema"] = json!("http://json-schema.org/draft-07/schema#");
        assert!(schema(draft7).hold(Some("[1, 2]"), 10).is_err());
        assert!(Schema::compile(tuple).is_err(), "2020-12 has prefixItems for this");
        assert!(
            schema(json!({ "prefixItems": [{ "type": "integer" }], "items": false })).hold(Some("[1,2]"), 1).is_err()
        );
    }

    #[test]
    fn no_data_makes_a_pattern_slow_or_the_stack_overflow() {
        let slow = schema(json!({ "pattern": "^(a+)+$" }));
        let began = std::time::Instant::now();
        assert!(slow.hold(Some(&format!("\"{}!\"", "a".repeat(100_000))), 10).is_err());
        assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
        let list = schema(json!({
            "$ref": "#/$defs/nested",
            "$defs": { "nested": { "allOf": [{ "anyOf": [
                { "type": "integer" }, { "type": "array", "items": { "$ref": "#/$defs/nested" } }
            ] }] } },
        }));
        let nested = |depth: usize, inner: &str| format!("{}{inner}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(list.hold(Some(&nested(120, "1")), 10), Ok(()));
        assert!(list.hold(Some(&nested(120, "true")), 10).is_err());
        let deep = list.hold(Some(&nested(100_000, "1")), 10).expect_err("is refused");
        assert!(deep[0].detail.contains("recursion limit"), "{deep:?}");
    }

    proptest! {
        /// For objects of two fields, the verdict is that of a check that was written down by hand.
        #[test]
        fn the_verdict_is_that_of_a_naive_check(
            (least, most, length) in (-3_i64..3, -3_i64..6, 0_usize..4),
            (needs_n, needs_s, others) in any::<(bool, bool, bool)>(),
            n in prop::option::of(prop_oneof![(-5_i64..8).prop_map(Json::from), Just(json!(1.5)), Just(json!("1"))]),
            s in prop::option::of(prop_oneof!["[ab]{0,5}".prop_map(Json::from), Just(json!(null))]),
            other in any::<bool>(),
        ) {
            let required: Vec<&str> = [("n", needs_n), ("s", needs_s)].iter().filter(|(_, is)| *is).map(|(n, _)| *n).collect();
            let schema = schema(json!({
                "type": "object", "required": required, "additionalProperties": others,
                "properties": {
                    "n": { "type": "integer", "minimum": least, "maximum": most },
                    "s": { "type": "string", "maxLength": length, "pattern": "^a*$" },
                },
            }));
            let mut data = serde_json::Map::new();
            data.extend(n.clone().map(|n| ("n".to_owned(), n)));
            data.extend(s.clone().map(|s| ("s".to_owned(), s)));
            data.extend(other.then(|| ("x".to_owned(), json!(1))));
            let n_fits = n.map_or(!needs_n, |n| n.as_i64().is_some_and(|n| least <= n && n <= most));
            let s_fits = s.map_or(!needs_s, |s| {
                s.as_str().is_some_and(|s| s.len() <= length && s.bytes().all(|byte| byte == b'a'))
            });
            let fits = n_fits && s_fits && (others || !other);
            let data = Json::Object(data).to_string();
            prop_assert_eq!(schema.hold(Some(&data), 10).is_ok(), fits, "{:?} {}", schema, data);
            prop_assert_eq!(schema.hold(Some(&data), 1).map_err(|faults| faults.len()), if fits { Ok(()) } else { Err(1) });
        }
    }
}
