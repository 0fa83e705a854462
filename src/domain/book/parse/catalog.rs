//! `catalog/*.toml`: event types.

use crate::domain::book::catalog::EventType;
use crate::domain::book::catalog::Lifecycle;
use crate::domain::book::parse::json::JsonFiles;
use crate::domain::book::parse::json::to_json;
use crate::domain::book::parse::named::Named;
use crate::domain::book::parse::reader::Table;
use crate::domain::book::parse::value::Value;

const LIFECYCLES: [(&str, Lifecycle); 4] = [
    ("draft", Lifecycle::Draft),
    ("published", Lifecycle::Published),
    ("deprecated", Lifecycle::Deprecated),
    ("retired", Lifecycle::Retired),
];
/// Data is not held against its schema yet, so a book that counts on it is refused.
const VALIDATIONS: [(&str, ()); 1] = [("off", ())];
const VALIDATIONS_LATER: [&str; 2] = ["warn", "enforce"];

pub fn read(root: &mut Table<'_>, json: &mut JsonFiles<'_>, event_types: &mut Named<EventType>) {
    root.each("event_type", |value| {
        value.table("event type", |table| {
            let id = table.required("type", Some);
            let event_type = event_type(table, id.as_ref(), json);
            event_types.define(id, event_type);
            Some(())
        })
    });
}

fn event_type(table: &mut Table<'_>, id: Option<&Value<'_>>, json: &mut JsonFiles<'_>) -> Option<EventType> {
    let title = table.optional("title", Value::owned_text);
    let description = table.optional("description", Value::owned_text).unwrap_or_default();
    let lifecycle = table.optional("lifecycle", |value| value.one_of(&LIFECYCLES, &[]));
    let owner = table.optional("owner", Value::owned_text);
    table.optional("validation", |value| value.one_of(&VALIDATIONS, &VALIDATIONS_LATER));
    let schema = table.optional("schema", |value| schema(value, json));
    let example = table.optional("example", to_json);
    let id = id?.raw_text()?;
    Some(EventType {
        title: title.unwrap_or_else(|| id.clone()),
        id,
        description,
        lifecycle: lifecycle.unwrap_or(Lifecycle::Published),
        owner,
        schema,
        example,
    })
}

/// `{ file = "schemas/a.json" }`, or the schema itself.
fn schema(value: Value<'_>, json: &mut JsonFiles<'_>) -> Option<serde_json::Value> {
    let is_file = value.raw.as_table().is_some_and(|table| table.contains_key("file"));
    if is_file {
        return value.table("schema", |table| table.required("file", |name| json.schema(name)));
    }
    value.clone().pairs()?;
    to_json(value)
}
