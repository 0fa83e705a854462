//! `/openapi.json`: what the handlers say of themselves, and what is the same for all of them.
//!
//! Handlers name what is their own: parameters, bodies, and the answers that only they give. Here every call gets the
//! answers that it shares with others (no key, a body that cannot be read, a store that is away), an id of its own,
//! and the shapes of what it answers with. Shapes that the domain has stand in `shapes.json`, since the domain knows
//! nothing of HTTP; a test holds real answers against them.

use axum::http::StatusCode;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use utoipa::openapi::OpenApi;

/// Deeper than any shape is.
const DEPTH_MAX: usize = 8;

/// What is found under each tag, in the order in which one meets it.
const TAGS: [(&str, &str); 15] = [
    ("events", "Events come in as CloudEvents. When the answer comes they are durable, and counted once."),
    ("quarantine", "Events that could not be taken and came with `?invalid=quarantine`: mend them, or try them again."),
    ("usage", "What meters measured, current to the last event that was acknowledged."),
    ("catalog", "Event types: what is counted, and what it means."),
    ("webhooks", "Where consumers want events delivered, how that is signed, and what did not arrive at once."),
    ("consumers", "Who is charged, paid, or both; and the statement that shows what came of it."),
    ("subscriptions", "Who is billed under which plan, and from when."),
    (
        "documents",
        "Closing turns a finished period into invoices and payout statements. They are final; payments and credit notes settle them.",
    ),
    ("credits", "Prepaid credit, bought or given, which closings use to pay invoices."),
    ("payouts", "Money that leaves: proposed with one key, approved with another, sent, and booked."),
    ("ledger", "The double-entry journal that every document is booked in."),
    (
        "exports",
        "What finance takes away, payouts as banks read them, and the journal as sealed batches: no two hold the same entry.",
    ),
    ("pricing", "Price books: published as versions that never change."),
    ("keys", "API keys. Only their hashes are kept."),
    ("health", "For whatever watches over the process."),
];

/// A call, the shape of its answer, and whether it is a list of them.
const ANSWERS: [(&str, &str, &str, bool); 62] = [
    ("get", "/v1/consumers", "Consumer", true),
    ("get", "/v1/consumers/{id}", "Consumer", false),
    ("put", "/v1/consumers/{id}", "Consumer", false),
    ("get", "/v1/consumers/{id}/statement", "Statement", false),
    ("get", "/v1/consumers/{id}/quota", "Quotas", false),
    ("get", "/v1/subscriptions", "Subscription", true),
    ("get", "/v1/subscriptions/{id}", "Subscription", false),
    ("post", "/v1/subscriptions", "Subscription", false),
    ("get", "/v1/invoices", "Invoice", true),
    ("get", "/v1/invoices/{id}", "Invoice", false),
    ("post", "/v1/invoices/{id}/finalize", "Invoice", false),
    ("post", "/v1/invoices/{id}/void", "Invoice", false),
    ("post", "/v1/invoices/{id}/uncollectible", "Invoice", false),
    ("post", "/v1/invoices/{id}/pay", "Payment", false),
    ("post", "/v1/payments", "Payment", false),
    ("get", "/v1/payments", "Payment", true),
    ("get", "/v1/payments/{id}", "Payment", false),
    ("post", "/v1/credit-notes", "CreditNote", false),
    ("get", "/v1/credit-notes", "CreditNote", true),
    ("get", "/v1/credit-notes/{id}", "CreditNote", false),
    ("post", "/v1/credits", "Credit", false),
    ("get", "/v1/credits", "Credit", true),
    ("get", "/v1/credits/{id}", "Credit", false),
    ("post", "/v1/credits/{id}/void", "Credit", false),
    ("get", "/v1/consumers/{id}/balance", "Balance", false),
    ("put", "/v1/consumers/{id}/top-up", "TopUp", false),
    ("get", "/v1/top-ups", "Low", true),
    ("post", "/v1/endpoints", "Endpoint", false),
    ("get", "/v1/endpoints", "Endpoint", true),
    ("get", "/v1/endpoints/{id}", "Endpoint", false),
    ("patch", "/v1/endpoints/{id}", "Endpoint", false),
    ("post", "/v1/endpoints/{id}/secret", "Endpoint", false),
    ("get", "/v1/endpoints/{id}/deliveries", "Delivery", true),
    ("get", "/v1/dunning", "Overdue", true),
    ("get", "/v1/payouts", "Payout", true),
    ("get", "/v1/payouts/{id}", "Payout", false),
    ("get", "/v1/invoices/{id}/lines/{n}/explain", "Explained", false),
    ("get", "/v1/payouts/{id}/lines/{n}/explain", "Explained", false),
    ("get", "/v1/payouts/money", "MoneyOut", true),
    ("post", "/v1/payouts/run", "PayoutRun", false),
    ("post", "/v1/payouts/{id}/approve", "MoneyOut", false),
    ("post", "/v1/payouts/{id}/send", "MoneyOut", false),
    ("post", "/v1/payouts/{id}/paid", "MoneyOut", false),
    ("post", "/v1/payouts/{id}/fail", "MoneyOut", false),
    ("post", "/v1/payouts/{id}/return", "MoneyOut", false),
    ("post", "/v1/payouts/{id}/cancel", "MoneyOut", false),
    ("post", "/v1/close", "Closed", false),
    ("get", "/v1/event-types", "EventType", true),
    ("get", "/v1/event-types/{type}", "EventType", false),
    ("get", "/v1/quarantine", "Quarantined", true),
    ("get", "/v1/ledger/accounts", "Standing", true),
    ("get", "/v1/ledger/entries", "Entry", true),
    ("get", "/v1/ledger/head", "Head", false),
    ("get", "/v1/ledger/journals", "Journal", true),
    ("post", "/v1/ledger/journals", "Journal", false),
    ("get", "/v1/ledger/journals/{id}", "Journal", false),
    ("post", "/v1/ledger/journals/{id}/approve", "Journal", false),
    ("post", "/v1/ledger/journals/{id}/reject", "Journal", false),
    ("post", "/v1/ledger/journals/{id}/reverse", "Journal", false),
    ("get", "/v1/exports/batches", "ExportBatch", true),
    ("get", "/v1/pricing/versions", "BookVersion", true),
    ("get", "/v1/keys", "Key", true),
];

/// One event, as it is sent.
fn event() -> Value {
    json!({
        "specversion": "1.0", "id": "1", "source": "/gate", "type": "flight.completed", "subject": "UA",
        "time": "2013-01-15T12:00:00Z", "data": { "origin": "EWR", "dest": "ORD", "distance": 719, "arr_delay": -5 },
    })
}

/// The description as it is served.
pub fn finished(described: &OpenApi) -> Value {
    let mut document = serde_json::to_value(described).unwrap_or_default();
    let tags = TAGS.map(|(name, description)| json!({ "name": name, "description": description }));
    document["tags"] = json!(tags);
    document["servers"] = json!([{ "url": "/", "description": "This server" }]);
    let mut shapes: Map<String, Value> = serde_json::from_str(include_str!("shapes.json")).unwrap_or_default();
    if let Some(Value::Object(own)) = document.pointer_mut("/components/schemas").map(Value::take) {
        shapes.extend(own);
    }
    shape_measured(&mut shapes);
    let forms = document.pointer_mut("/paths/~1v1~1events/post/requestBody/content");
    for (media, content) in forms.and_then(Value::as_object_mut).into_iter().flatten() {
        content["example"] = match media.as_str() {
            "application/cloudevents+json" => event(),
            "application/cloudevents-batch+json" => json!([event()]),
            _ => event().to_string().into(),
        };
    }
    for (path, calls) in document["paths"].as_object_mut().into_iter().flatten() {
        for (method, call) in calls.as_object_mut().into_iter().flatten() {
            finish_call(call, method, path, &shapes);
        }
    }
    document["components"]["schemas"] = Value::Object(shapes);
    document
}

/// The rows of usage are the metering room's own type.
fn shape_measured(shapes: &mut Map<String, Value>) {
    if let Some(rows) = shapes.get_mut("Usage").and_then(|usage| usage.pointer_mut("/properties/data")) {
        *rows = json!({ "type": "array", "items": reference("Measured") });
    }
}

fn finish_call(call: &mut Value, method: &str, path: &str, shapes: &Map<String, Value>) {
    let own = call["operationId"].as_str().unwrap_or(method).to_owned();
    let tag = call.pointer("/tags/0").and_then(Value::as_str).unwrap_or_default().to_owned();
    call["operationId"] = format!("{tag}_{own}").into();
    let shared = shared_answers(call, path);
    let Some(answers) = call["responses"].as_object_mut() else { return };
    for status in shared {
        answers.entry(status.as_str()).or_insert_with(|| json!({}));
    }
    let shape = ANSWERS.iter().find(|(of, at, ..)| *of == method && *at == path);
    for (status, answer) in answers.iter_mut() {
        describe_answer(answer, status);
        if let Some((_, _, name, is_list)) = shape.filter(|_| status.starts_with('2')) {
            answer["content"]["application/json"] = json!({ "schema": answered(name, *is_list) });
        }
    }
    for content in contents(call) {
        let example = content.get("schema").and_then(|schema| example(schema, shapes, DEPTH_MAX));
        if let Some(example) = example.filter(|_| content.get("example").is_none()) {
            content["example"] = example;
        }
    }
}

/// What this call can answer because of what it is, and not because of what it does.
fn shared_answers(call: &Value, path: &str) -> Vec<StatusCode> {
    let is_open = call.get("security").is_some();
    let takes_parameters = path.contains('{') || call.get("parameters").is_some();
    let takes_body = call.get("requestBody").is_some();
    let mut answers = vec![StatusCode::INTERNAL_SERVER_ERROR];
    if !is_open {
        answers.extend([StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::SERVICE_UNAVAILABLE]);
    }
    if takes_body {
        answers.extend([StatusCode::REQUEST_TIMEOUT, StatusCode::PAYLOAD_TOO_LARGE, StatusCode::TOO_MANY_REQUESTS]);
    }
    if takes_body || takes_parameters {
        answers.push(StatusCode::BAD_REQUEST);
    }
    answers
}

/// Says what the status means if the handler did not, and that errors are problems.
fn describe_answer(answer: &mut Value, status: &str) {
    let code = status.parse().ok().and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or_default();
    let is_described = answer["description"].as_str().is_some_and(|text| !text.is_empty());
    if !is_described {
        answer["description"] = usual_meaning(code).into();
    }
    if code.is_client_error() || code.is_server_error() {
        answer["content"] = json!({ "application/problem+json": { "schema": reference("Problem") } });
    }
}

fn usual_meaning(status: StatusCode) -> &'static str {
    match status {
        StatusCode::OK => "Done",
        StatusCode::CREATED => "Made",
        StatusCode::NO_CONTENT => "Done; there is nothing to say",
        StatusCode::BAD_REQUEST => "A parameter or the body cannot be read",
        StatusCode::UNAUTHORIZED => "There is no valid key with the call",
        StatusCode::FORBIDDEN => "The key may not do this",
        StatusCode::NOT_FOUND => "There is no such thing",
        StatusCode::REQUEST_TIMEOUT => "Nothing of the body came for too long",
        StatusCode::TOO_MANY_REQUESTS => "Too much is under way; try again after `Retry-After`",
        StatusCode::PAYLOAD_TOO_LARGE => "The body is too large",
        StatusCode::INTERNAL_SERVER_ERROR => "The server met something that it did not expect",
        StatusCode::SERVICE_UNAVAILABLE => "The store cannot be used right now; nothing was kept, try again",
        other => other.canonical_reason().unwrap_or_default(),
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn answered(name: &str, is_list: bool) -> Value {
    if !is_list {
        return reference(name);
    }
    json!({
        "type": "object",
        "required": ["data", "next_cursor"],
        "properties": {
            "data": { "type": "array", "items": reference(name) },
            "next_cursor": {
                "type": ["string", "null"],
                "description": "Where the next page begins, if there is one.",
                "example": null,
            },
        },
    })
}

/// Every body of a call, sent and answered.
fn contents(call: &mut Value) -> Vec<&mut Value> {
    let Some(call) = call.as_object_mut() else { return Vec::new() };
    let mut contents = Vec::new();
    for (part, value) in call.iter_mut() {
        let bodies: Vec<&mut Value> = match part.as_str() {
            "requestBody" => vec![value],
            "responses" => value.as_object_mut().into_iter().flat_map(|answers| answers.values_mut()).collect(),
            _ => continue,
        };
        for body in bodies {
            let forms = body.get_mut("content").and_then(Value::as_object_mut);
            let json = forms.into_iter().flatten().filter(|(media, _)| media.ends_with("json"));
            contents.extend(json.map(|(_, content)| content));
        }
    }
    contents
}

/// A value of a shape, put together from the examples of its parts.
fn example(schema: &Value, shapes: &Map<String, Value>, depth: usize) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    if let Some(example) = schema.get("example") {
        return Some(example.clone());
    }
    if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next()) {
        return example(shapes.get(name)?, shapes, depth);
    }
    if let Some(all) = schema.pointer("/allOf/0") {
        return example(all, shapes, depth);
    }
    if let Some(items) = schema.get("items") {
        return Some(Value::Array(example(items, shapes, depth).into_iter().collect()));
    }
    let properties = schema.get("properties")?.as_object()?;
    let filled = properties.iter().filter_map(|(name, of)| Some((name.clone(), example(of, shapes, depth)?)));
    Some(Value::Object(filled.collect()))
}
