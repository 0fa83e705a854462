//! `/docs`: the API to read, made from its description when the server starts.

use askama::Template;
use axum::Router;
use axum::response::Html;
use axum::routing::get;
use serde_json::Value;

use crate::http::App;
use crate::http::codes::CODES;
use crate::http::pages::Frame;

pub fn routes(description: &Value) -> Router<App> {
    let page = axum::body::Bytes::from(rendered(description));
    Router::new().route("/docs", get(async move || Html(page)))
}

#[derive(Template)]
#[template(path = "docs.html")]
struct Page<'d> {
    frame: Frame,
    version: &'d str,
    groups: Vec<Group<'d>>,
    shapes: Vec<Shape<'d>>,
    codes: &'static [(&'static str, &'static str)],
}

/// The calls under one tag.
struct Group<'d> {
    name: &'d str,
    about: &'d str,
    calls: Vec<Call<'d>>,
}

struct Call<'d> {
    id: &'d str,
    method: String,
    path: &'d str,
    summary: &'d str,
    about: &'d str,
    needs_key: bool,
    parameters: Vec<Field<'d>>,
    sends: Vec<Content<'d>>,
    answers: Vec<Answer<'d>>,
    /// The first form of the first answer that says yes, as an example.
    example: Option<String>,
}

/// A parameter, or a field of a shape.
struct Field<'d> {
    name: &'d str,
    /// `path`, `query` or `header`, of a parameter.
    place: &'d str,
    kind: String,
    /// The shape that it links to.
    shape: Option<&'d str>,
    is_required: bool,
    about: &'d str,
    choices: Vec<&'d str>,
}

struct Content<'d> {
    media: &'d str,
    kind: String,
    shape: Option<&'d str>,
    example: Option<String>,
}

struct Answer<'d> {
    status: &'d str,
    is_good: bool,
    about: &'d str,
    contents: Vec<Content<'d>>,
}

struct Shape<'d> {
    name: &'d str,
    about: &'d str,
    fields: Vec<Field<'d>>,
}

fn rendered(description: &Value) -> String {
    let page = Page {
        frame: Frame { viewer: None },
        version: text(&description["info"], "version"),
        groups: groups(description),
        shapes: shapes(description),
        codes: &CODES,
    };
    page.render().unwrap_or_else(|error| {
        tracing::error!("rendering the reading page: {error}");
        String::new()
    })
}

fn text<'d>(value: &'d Value, name: &str) -> &'d str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A text with `code` in it, in parts, and which of them are code.
pub fn parts(text: &str) -> Vec<(bool, &str)> {
    text.split('`').enumerate().map(|(place, part)| (place % 2 == 1, part)).collect()
}

fn groups(description: &Value) -> Vec<Group<'_>> {
    let tags = description["tags"].as_array().into_iter().flatten();
    let group = |tag| {
        let name = text(tag, "name");
        Group { name, about: text(tag, "description"), calls: calls(description, name) }
    };
    tags.map(group).collect()
}

fn calls<'d>(description: &'d Value, tag: &str) -> Vec<Call<'d>> {
    let paths = description["paths"].as_object().into_iter().flatten();
    let calls = paths.flat_map(|(path, calls)| {
        let calls = calls.as_object().into_iter().flatten();
        calls.map(move |(method, of)| (method.as_str(), path.as_str(), of))
    });
    let of_tag = |(.., of): &(&str, &str, &Value)| of.pointer("/tags/0").and_then(Value::as_str) == Some(tag);
    let mut calls: Vec<_> = calls.filter(of_tag).collect();
    // Within a resource: what makes it before what reads it, the whole list before the one.
    let order = |method: &str| ["post", "put", "get", "patch", "delete"].iter().position(|known| *known == method);
    calls.sort_by_key(|(method, path, _)| (*path, order(method)));
    calls.into_iter().map(|(method, path, of)| call(method, path, of)).collect()
}

fn call<'d>(method: &str, path: &'d str, of: &'d Value) -> Call<'d> {
    let parameters = of["parameters"].as_array().into_iter().flatten();
    let answers: Vec<Answer<'d>> =
        of["responses"].as_object().into_iter().flatten().map(|(status, of)| answer(status, of)).collect();
    let sends = contents(&of["requestBody"]);
    let good = answers.iter().find(|answer| answer.is_good);
    Call {
        id: text(of, "operationId"),
        method: method.to_uppercase(),
        path,
        summary: text(of, "summary"),
        about: text(of, "description"),
        needs_key: of.get("security").is_none(),
        parameters: parameters.map(parameter).collect(),
        example: good.and_then(|answer| answer.contents.iter().find_map(|content| content.example.clone())),
        sends,
        answers,
    }
}

fn parameter(of: &Value) -> Field<'_> {
    let schema = &of["schema"];
    Field {
        name: text(of, "name"),
        place: text(of, "in"),
        kind: kind(schema),
        shape: None,
        is_required: of["required"] == true,
        about: text(of, "description"),
        choices: choices(schema),
    }
}

fn answer<'d>(status: &'d str, of: &'d Value) -> Answer<'d> {
    Answer { status, is_good: status.starts_with('2'), about: text(of, "description"), contents: contents(of) }
}

fn contents(body: &Value) -> Vec<Content<'_>> {
    let example = |of: &Value| match of.get("example")? {
        Value::String(text) => Some(text.clone()),
        other => serde_json::to_string_pretty(other).ok(),
    };
    let forms = body["content"].as_object().into_iter().flatten();
    forms
        .map(|(media, of)| {
            let schema = &of["schema"];
            Content { media, kind: kind(schema), shape: shape_of(schema), example: example(of) }
        })
        .collect()
}

fn shapes(description: &Value) -> Vec<Shape<'_>> {
    let shapes = description["components"]["schemas"].as_object().into_iter().flatten();
    shapes.map(|(name, of)| Shape { name, about: text(of, "description"), fields: fields(of) }).collect()
}

fn fields(schema: &Value) -> Vec<Field<'_>> {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties
        .map(|(name, of)| Field {
            name,
            place: "",
            kind: kind(of),
            shape: shape_of(of),
            is_required: required.iter().any(|one| one == name),
            about: text(of, "description"),
            choices: choices(of),
        })
        .collect()
}

fn choices(schema: &Value) -> Vec<&str> {
    schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// What a schema says of a value, in words: `text`, `list of Line`, `time or null`.
fn kind(schema: &Value) -> String {
    if let Some(name) = shape_of(schema) {
        let is_list = schema.get("items").is_some() || schema.pointer("/properties/data").is_some();
        return if is_list { format!("list of {name}") } else { name.to_owned() };
    }
    if let Some(items) = schema.get("items") {
        return format!("list of {}", kind(items));
    }
    let named = |kind: &str| match (kind, text(schema, "format")) {
        ("string", "date-time") => "time",
        ("string", "date") => "date",
        ("string", _) => "text",
        ("integer", _) => "whole number",
        ("boolean", _) => "true or false",
        ("null", _) => "null",
        _ => "object",
    };
    match &schema["type"] {
        Value::String(kind) => named(kind).to_owned(),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).map(named).collect::<Vec<_>>().join(" or "),
        _ => "any JSON".to_owned(),
    }
}

/// The shape that a schema names, as it is or in a list.
fn shape_of(schema: &Value) -> Option<&str> {
    let reference = schema
        .get("$ref")
        .or_else(|| schema.pointer("/items/$ref"))
        .or_else(|| schema.pointer("/properties/data/items/$ref"))
        .or_else(|| schema.pointer("/allOf/0/$ref"))?;
    reference.as_str()?.rsplit('/').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_every_call_every_shape_and_every_code() {
        let description = crate::http::description();
        let page = rendered(&description);
        for (path, calls) in description["paths"].as_object().expect("paths") {
            for (_, call) in calls.as_object().expect("calls") {
                let id = call["operationId"].as_str().expect("an id");
                assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), 1, "{path} is at #{id}, once");
            }
        }
        for (name, _) in description["components"]["schemas"].as_object().expect("shapes") {
            assert!(page.contains(&format!("id=\"shape-{name}\"")), "{name}");
        }
        for (code, _) in CODES {
            assert!(page.contains(&format!("id=\"{code}\"")), "{code}");
        }
        assert!(!page.contains('`'), "code is shown as code");
    }
}
