//! Paths to fields of events and consumers, and the conditions on them.

use crate::domain::book::meter::Operand;
use crate::domain::book::meter::Operation;
use crate::domain::book::meter::Path;
use crate::domain::book::meter::Test;
use crate::domain::book::mistake::either;
use crate::domain::book::mistake::nearest;
use crate::domain::book::parse::reader::Table;
use crate::domain::book::parse::value::Value;

/// Attributes of an event that a path can name; anything else is inside `data`.
const EVENT_ATTRIBUTES: [&str; 4] = ["subject", "source", "type", "id"];
/// What a condition can ask of a consumer, beside its tags.
const CONSUMER_FIELDS: [&str; 5] = ["id", "name", "email", "currency", "tax"];
const OPERATIONS: [&str; 9] = ["eq", "ne", "in", "gt", "ge", "lt", "le", "exists", "prefix"];

/// `subject`, or a path into the event's data such as `data.distance`.
pub fn event_field(value: Value<'_>) -> Option<Path> {
    let path = path(&value)?;
    match path.parts() {
        [data, _, ..] if data == "data" => return Some(path),
        [attribute] if EVENT_ATTRIBUTES.contains(&attribute.as_str()) => return Some(path),
        _ => {}
    }
    let written = path.to_string();
    let fix = match nearest(&written, EVENT_ATTRIBUTES) {
        Some(attribute) => format!("did you mean \"{attribute}\"?"),
        None => format!("use \"data.{written}\" for a field of its data, or {}", either(EVENT_ATTRIBUTES)),
    };
    value.wrong("unknown_field", format!("an event has no `{written}`"), fix)
}

/// `consumer.id`, `consumer.tags.tier`.
pub fn consumer_field(value: Value<'_>) -> Option<Path> {
    let path = path(&value)?;
    let parts: Vec<&str> = path.parts().iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["consumer", "tags", _] => return Some(path),
        ["consumer", field] if CONSUMER_FIELDS.contains(field) => return Some(path),
        _ => {}
    }
    let known = either(CONSUMER_FIELDS.map(|field| format!("consumer.{field}")).iter().map(String::as_str));
    value.wrong("unknown_field", format!("a consumer has no `{path}`"), format!("use `consumer.tags.…`, {known}"))
}

fn path(value: &Value<'_>) -> Option<Path> {
    let text = value.clone().text()?;
    if text.contains([' ', '*', '+', '/', '(']) {
        let message = format!("`{text}` is an expression, and `{}` names one field", value.key);
        return value.wrong("invalid_path", message, "name one field, such as \"data.amount\"");
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    let path = Path::parse(text).filter(|path| path.parts().iter().all(|part| part.chars().all(plain)));
    path.or_else(|| {
        value.wrong("invalid_path", format!("`{text}` is not a path"), "join names by points, like \"data.origin\"")
    })
}

/// Conditions under `key`, of which all must hold. One table can hold several on the same field.
pub fn tests<'a>(table: &mut Table<'a>, key: &'static str, field: fn(Value<'a>) -> Option<Path>) -> Vec<Test> {
    let read = |value: Value<'a>| value.table("condition", |condition| Some(conditions(condition, field)));
    table.each(key, read).into_iter().flatten().collect()
}

fn conditions<'a>(table: &mut Table<'a>, field: fn(Value<'a>) -> Option<Path>) -> Vec<Test> {
    let field = table.required("field", field);
    let asked = OPERATIONS.map(|name| Some((name, table.get(name)?)));
    let asked: Vec<(&str, Value<'_>)> = asked.into_iter().flatten().collect();
    if asked.is_empty() {
        table.lacks("eq", format!("add what must hold: {}", either(OPERATIONS)));
    }
    let operations = asked.into_iter().filter_map(|(name, value)| operation(name, value));
    let tests = operations.filter_map(|operation| Some(Test { field: field.clone()?, operation }));
    tests.collect()
}

fn operation(name: &str, value: Value<'_>) -> Option<Operation> {
    Some(match name {
        "eq" => Operation::Eq(operand(value)?),
        "ne" => Operation::Ne(operand(value)?),
        "in" => Operation::In(operands(value)?),
        "gt" => Operation::Gt(value.decimal()?),
        "ge" => Operation::Ge(value.decimal()?),
        "lt" => Operation::Lt(value.decimal()?),
        "le" => Operation::Le(value.decimal()?),
        "exists" => Operation::Exists(value.flag()?),
        _ => Operation::Prefix(value.owned_text()?),
    })
}

fn operands(list: Value<'_>) -> Option<Vec<Operand>> {
    let items = list.clone().items()?;
    if items.is_empty() {
        return list.wrong("empty_list", "`in` lists nothing, so nothing can hold".to_owned(), "list the values");
    }
    Some(items.into_iter().filter_map(operand).collect())
}

/// A text, a number in quotes, or true or false.
fn operand(value: Value<'_>) -> Option<Operand> {
    match value.raw.as_bool() {
        Some(flag) => Some(Operand::new(if flag { "true" } else { "false" })),
        None => value.scalar().map(Operand::new),
    }
}
