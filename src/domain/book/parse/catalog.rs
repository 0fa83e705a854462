//! `catalog/*.toml`: event types.

use crate::domain::book::catalog::Audience;
use crate::domain::book::catalog::EventType;
use crate::domain::book::catalog::Lifecycle;
use crate::domain::book::catalog::Validation;
use crate::domain::book::parse::json::JsonFiles;
use crate::domain::book::parse::json::compiled;
use crate::domain::book::parse::json::to_json;
use crate::domain::book::parse::named::Named;
use crate::domain::book::parse::reader::Table;
use crate::domain::book::parse::value::Value;
use crate::domain::book::schema::Schema;

const LIFECYCLES: [(&str, Lifecycle); 4] = [
    ("draft", Lifecycle::Draft),
    ("published", Lifecycle::Published),
    ("deprecated", Lifecycle::Deprecated),
    ("retired", Lifecycle::Retired),
];
const AUDIENCES: [(&str, Audience); 2] = [("own", Audience::Own), ("public", Audience::Public)];
const VALIDATIONS: [(&str, Validation); 3] =
    [("off", Validation::Off), ("warn", Validation::Warn), ("enforce", Validation::Enforce)];
/// An example that breaks its schema is one mistake, and this much of it is told.
const TOLD_MAX: usize = 3;

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
    let audience = table.optional("audience", |value| value.one_of(&AUDIENCES, &[]));
    let policy = table.get("validation");
    let validation = policy.clone().and_then(|value| value.one_of(&VALIDATIONS, &[])).unwrap_or(Validation::Off);
    let has_schema = table.has("schema");
    if let Some(policy) = policy.filter(|_| validation != Validation::Off && !has_schema) {
        let fix = "add `schema = { file = \"schemas/….json\" }`, or leave `validation` out";
        let message = "there is no schema that data could be held against".to_owned();
        policy.wrong::<()>("validation_without_schema", message, fix);
    }
    let schema = table.optional("schema", |value| schema(value, json));
    let example = table.optional("example", |value| example(value, schema.as_ref()));
    let id = id?.raw_text()?;
    Some(EventType {
        title: title.unwrap_or_else(|| id.clone()),
        id,
        description,
        lifecycle: lifecycle.unwrap_or(Lifecycle::Published),
        owner,
        audience: audience.unwrap_or(Audience::Own),
        validation,
        schema,
        example,
    })
}

/// `{ file = "schemas/a.json" }`, or the schema itself.
fn schema(value: Value<'_>, json: &mut JsonFiles<'_>) -> Option<Schema> {
    let is_file = value.raw.as_table().is_some_and(|table| table.contains_key("file"));
    if is_file {
        return value.table("schema", |table| table.required("file", |name| json.schema(name)));
    }
    value.clone().pairs()?;
    let read = to_json(value.clone())?;
    Some(compiled(value.source, read, |_| value.span.clone()))
}

/// What stands for the data of an event must be what the schema says, whatever the policy: people copy it.
fn example(value: Value<'_>, schema: Option<&Schema>) -> Option<serde_json::Value> {
    let example = to_json(value.clone())?;
    if let Some(Err(faults)) = schema.map(|schema| schema.hold_json(&example, TOLD_MAX)) {
        let told: Vec<String> = faults
            .iter()
            .map(|fault| format!("{}: {}", fault.at.strip_prefix("/data/").unwrap_or("the whole"), fault.detail))
            .collect();
        let fix = faults.into_iter().next().map(|fault| fault.fix).unwrap_or_default();
        value.wrong::<()>("example_breaks_schema", format!("the example breaks the schema: {}", told.join("; ")), fix);
    }
    Some(example)
}
