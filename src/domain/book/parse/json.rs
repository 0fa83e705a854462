//! JSON in a book: schema files, and JSON written as TOML.

use std::collections::BTreeMap;

use serde_json::Map;
use serde_json::Number;
use serde_json::Value as Json;
use toml::de::DeValue;

use crate::domain::book::SourceFile;
use crate::domain::book::mistake::Mistakes;
use crate::domain::book::mistake::nearest;
use crate::domain::book::parse::is_json;
use crate::domain::book::parse::reader::Source;
use crate::domain::book::parse::value::Value;

const MEND_JSON: &str = "look for a comma, a quote or a bracket too few or too many, here or just before";

/// The JSON files of the book, by path.
pub struct JsonFiles<'a>(BTreeMap<&'a str, JsonFile<'a>>);

struct JsonFile<'a> {
    file: &'a SourceFile,
    /// Nothing if it is no JSON, which is noted.
    schema: Option<Json>,
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
    pub fn schema(&mut self, name: Value<'_>) -> Option<Json> {
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

fn read_schema(source: Source<'_>) -> Option<Json> {
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
    Some(schema)
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
