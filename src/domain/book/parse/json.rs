//! JSON in a book: schema files, and JSON written as TOML.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Map;
use serde_json::Number;
use serde_json::Value as Json;
use serde_json::value::RawValue;
use toml::de::DeValue;

use crate::domain::book::SourceFile;
use crate::domain::book::mistake::Mistakes;
use crate::domain::book::mistake::nearest;
use crate::domain::book::parse::is_json;
use crate::domain::book::parse::reader::Source;
use crate::domain::book::parse::value::Value;
use crate::domain::book::schema::Schema;
use crate::domain::book::schema::Unusable;

const MEND_JSON: &str = "look for a comma, a quote or a bracket too few or too many, here or just before";
const MEND_SCHEMA: &str = "write it as JSON Schema 2020-12 has it, or as the draft that `$schema` names; patterns have no \
                           look-around and no back references";
const MEND_REFERENCE: &str = "copy what it needs under `$defs`, and refer to it as \"#/$defs/…\"";

/// The JSON files of the book, by path.
pub struct JsonFiles<'a>(BTreeMap<&'a str, JsonFile<'a>>);

struct JsonFile<'a> {
    file: &'a SourceFile,
    /// Nothing if it is no JSON, which is noted.
    schema: Option<Schema>,
    used: bool,
}

impl<'a> JsonFiles<'a> {
    pub fn read(files: &'a [SourceFile], mistakes: &Mistakes) -> Self {
        let read = |file: &'a SourceFile| {
            let schema = read_schema(Source { file, mistakes });
            (file.path.as_str(), JsonFile { file, schema, used: false })
        };
        Self(files.iter().filter(|file| is_json(file)).map(read).collect())
    }

    /// The schema that a `file = "…"` names: beside the file that names it, or else from the top of the book.
    pub fn schema(&mut self, name: Value<'_>) -> Option<Schema> {
        let text = name.clone().text()?;
        let folder = name.source.file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let beside = format!("{folder}/{text}");
        let path = if self.0.contains_key(beside.as_str()) { beside.as_str() } else { text };
        if let Some(found) = self.0.get_mut(path) {
            found.used = true;
            return found.schema.clone();
        }
        let fix = match nearest(text, self.0.keys().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("add {beside}"),
        };
        name.wrong("missing_file", format!("there is no file {text} in the price book"), fix)
    }

    pub fn note_unused(&self, mistakes: &Mistakes) {
        for JsonFile { file, .. } in self.0.values().filter(|json| !json.used) {
            let message = format!("no event type uses {}", file.path);
            let fix = "name it as a schema = { file = … }, or delete it";
            Source { file, mistakes }.note_file("unused_file", message, fix);
        }
    }
}

fn read_schema(source: Source<'_>) -> Option<Schema> {
    let schema: Json = match serde_json::from_str(&source.file.text) {
        Ok(schema) => schema,
        Err(error) => {
            let before = source.file.text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len);
            let at = before.fold(error.column().saturating_sub(1), usize::saturating_add);
            source.note(at..at, "", "invalid_json", format!("not JSON: {error}"), MEND_JSON);
            return None;
        }
    };
    if !schema.is_object() && !schema.is_boolean() {
        source.note_file(
            "invalid_schema",
            "a JSON Schema is an object".to_owned(),
            "write { \"type\": \"object\", … }",
        );
        return None;
    }
    Some(compiled(source, schema, |pointer| place_of(&source.file.text, pointer)))
}

/// Compiles a schema. If it cannot be, that is noted where `place` says that a JSON pointer into it leads.
pub fn compiled(source: Source<'_>, json: Json, place: impl Fn(&str) -> Range<usize>) -> Schema {
    match Schema::compile(json.clone()) {
        Ok(schema) => return schema,
        Err(Unusable::Refers(to)) => {
            let quoted = source.file.text.find(&format!("\"{to}\""));
            let span = quoted.map_or_else(|| place(""), |at| at..at.saturating_add(to.len()).saturating_add(2));
            let message = format!("the schema refers to {to}, which is not in it, and nothing is fetched");
            source.note(span, "schema", "remote_reference", message, MEND_REFERENCE);
        }
        Err(Unusable::Wrong { at, reason }) => {
            let message = match at.as_str() {
                "" => format!("this schema cannot be used: {reason}"),
                at => format!("this schema cannot be used: at {at}, {reason}"),
            };
            source.note(place(&at), "schema", "invalid_schema", message, MEND_SCHEMA);
        }
    }
    Schema::unusable(json)
}

/// Where the value that a JSON pointer leads to stands in a text.
fn place_of(text: &str, pointer: &str) -> Range<usize> {
    let mut value = text.trim();
    for token in pointer.split('/').skip(1) {
        let name = token.replace("~1", "/").replace("~0", "~");
        let member = serde_json::from_str::<BTreeMap<String, &RawValue>>(value).ok();
        let member = member.and_then(|members| members.get(&name).copied());
        let item = || {
            let items: Vec<&RawValue> = serde_json::from_str(value).ok()?;
            items.get(name.parse::<usize>().ok()?).copied()
        };
        let Some(inner) = member.or_else(item) else { break };
        value = inner.get();
    }
    let start = value.as_ptr().addr().saturating_sub(text.as_ptr().addr());
    start..start.saturating_add(value.len())
}

/// TOML as the JSON it stands for. Here numbers are JSON's own, since this is somebody's data.
pub fn to_json(value: Value<'_>) -> Option<Json> {
    Some(match value.raw {
        DeValue::String(text) => Json::from(text.as_ref()),
        DeValue::Boolean(flag) => Json::from(*flag),
        DeValue::Datetime(at) => Json::from(at.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Json::from(number),
            Err(_) => return no_json_number(&value, number.as_str()),
        },
        DeValue::Float(number) => match number.as_str().trim_start_matches('+').parse::<Number>() {
            Ok(number) => Json::from(number),
            Err(_) => return no_json_number(&value, number.as_str()),
        },
        DeValue::Array(_) => Json::Array(value.items()?.into_iter().filter_map(to_json).collect()),
        DeValue::Table(_) => {
            let pair = |value: Value<'_>| Some((value.key.to_owned(), to_json(value)?));
            Json::Object(value.pairs()?.into_iter().filter_map(pair).collect::<Map<_, _>>())
        }
    })
}

fn no_json_number<T>(value: &Value<'_>, number: &str) -> Option<T> {
    value.wrong("not_json", format!("{number} cannot be written as JSON"), "put it in quotes, or use another number")
}
