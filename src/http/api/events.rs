//! `/v1/events`: events in, in every mode of CloudEvents over HTTP, and one event back out.
//!
//! Source of the modes: CloudEvents HTTP protocol binding 1.0.2, sections 3.1 (binary), 3.2 (structured), 3.3 (batched).

use std::time::Instant as Stopwatch;

use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::Json;
use serde::Deserialize;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::IntoParams;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::clock;
use crate::domain::event::Fault;
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::auth::Role;
use crate::http::path::Path;
use crate::http::problem::Place;
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::metering;
use crate::metering::Receipt;
use crate::metering::ingest::Faulty;
use crate::metering::ingest::Format;
use crate::metering::ingest::Invalid;
use crate::metering::validate::Warned;

/// Longer ones are taken in by a task of their own, which goes on with its memory even if the caller goes away.
const CALLER_BYTES_MAX: usize = 64 << 10;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(ingest)).routes(routes!(event))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct IngestQuery {
    /// `reject` (the default) stores nothing of a body with an invalid event; `quarantine` stores the good ones and
    /// keeps the others aside.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    invalid: WhenInvalid,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WhenInvalid {
    #[default]
    Reject,
    Quarantine,
}

/// What became of a body of events.
#[derive(Serialize, ToSchema)]
#[schema(as = Taken)]
pub(in crate::http::api) struct Answer {
    /// Events that are stored and counted now.
    accepted: usize,
    /// Events that were stored before.
    duplicates: usize,
    /// Indexes of duplicates that say something else than the first event with their key did; the first one stands.
    conflicts: Vec<usize>,
    /// Events that went into quarantine.
    rejected: Vec<Place>,
    /// How many events were taken although their data breaks the schema of their type; left out if it is none.
    #[serde(skip_serializing_if = "is_zero")]
    warned: usize,
    /// What is wrong with the first of these; left out if it is nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

/// Something that breaks the schema of an event type that only warns.
#[derive(Serialize, ToSchema)]
struct Warning {
    /// Of the event in the body.
    index: usize,
    /// A JSON pointer into the event.
    #[schema(example = "/data/distance")]
    at: String,
    #[schema(example = "schema_violation")]
    code: &'static str,
    detail: String,
    fix: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Take events in. They are durable and counted when the answer comes.
#[utoipa::path(
    post, path = "/v1/events", tag = "events", params(IngestQuery),
    request_body(description = "One CloudEvent, a JSON array of them, or one a line", content(
        (serde_json::Value = "application/cloudevents+json"),
        (Vec<serde_json::Value> = "application/cloudevents-batch+json"),
        (String = "application/x-ndjson"),
    )),
    responses(
        (status = 200, description = "All of it is stored, or was before", body = Answer),
        (status = 400, description = "The body cannot be read", body = Problem),
        (status = 401, description = "No key, or not a valid one", body = Problem),
        (status = 403, description = "This key may not send events", body = Problem),
        (status = 408, description = "Nothing of the body came for too long; nothing is stored", body = Problem),
        (status = 413, description = "The body is too large, or holds too many events", body = Problem),
        (status = 415, description = "Neither CloudEvents nor NDJSON, or an unknown encoding", body = Problem),
        (status = 422, description = "Some events cannot be taken; nothing is stored", body = Problem),
        (status = 429, description = "Too much is under way; try again after `Retry-After`", body = Problem),
        (status = 503, description = "The log cannot be written; try again", body = Problem),
    ),
)]
async fn ingest(
    State(app): State<App>,
    caller: Result<Caller, Problem>,
    query: Result<Query<IngestQuery>, Problem>,
    request: Request,
) -> Result<Json<Answer>, Problem> {
    let watch = Stopwatch::now();
    // Boxed, since all that this waits for would otherwise be moved from layer to layer.
    let taken = Box::pin(take(&app, caller, query, request)).await;
    let status = taken.as_ref().map_or_else(Problem::status, |_| StatusCode::OK);
    app.counters.answered(status, watch.elapsed());
    taken.map(|receipt| Json(answer(receipt)))
}

async fn take(
    app: &App,
    caller: Result<Caller, Problem>,
    query: Result<Query<IngestQuery>, Problem>,
    request: Request,
) -> Result<Receipt, Problem> {
    caller?.require(&[Role::Ingest])?;
    let invalid = match query?.0.invalid {
        WhenInvalid::Reject => Invalid::Reject,
        WhenInvalid::Quarantine => Invalid::Quarantine,
    };
    let (head, body) = request.into_parts();
    let form = Form::of(&head.headers)?;
    let received = app.intake.events(&head.headers, body).await?;
    app.counters.received(received.wire_bytes, received.text.len());
    let (format, text) = match form {
        Form::Structured(format) => (format, received.text),
        Form::Binary => (Format::Single, structured(&head.headers, &received.text)?),
    };
    app.intake.check_count(format, &text)?;
    let taken = match text.len() <= CALLER_BYTES_MAX {
        true => app.metering.ingest(format, text, invalid, clock::now()).await,
        false => {
            let (metering, reserved) = (app.metering.clone(), received.reserved);
            let ingest = async move {
                let taken = metering.ingest(format, text, invalid, clock::now()).await;
                drop(reserved);
                taken
            };
            tokio::spawn(ingest).await.map_err(|_| Problem::internal())?
        }
    };
    match &taken {
        Ok(receipt) => app.counters.taken(receipt),
        Err(metering::Error::Invalid(faulty)) => app.counters.refused(faulty.len()),
        Err(_) => {}
    }
    Ok(taken?)
}

pub(in crate::http::api) fn answer(receipt: Receipt) -> Answer {
    let Receipt { accepted, duplicates, conflicts, rejected, warned } = receipt;
    let Warned { counts, named } = warned;
    let warning = |index: usize, fault: Fault| {
        let Fault { at, code, detail, fix } = fault;
        Warning { index, at, code, detail, fix }
    };
    let warnings = named
        .into_iter()
        .flat_map(|Faulty { index, errors }| errors.into_iter().map(move |fault| warning(index, fault)));
    Answer {
        accepted,
        duplicates,
        conflicts,
        rejected: rejected.into_iter().flat_map(Place::of_event).collect(),
        warned: counts.values().sum(),
        warnings: warnings.collect(),
    }
}

/// How a body says what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Whole events.
    Structured(Format),
    /// The data of one event, whose attributes are in `ce-` headers.
    Binary,
}

impl Form {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let content_type = content_type(headers);
        for (media_type, format) in [
            ("application/cloudevents+json", Format::Single),
            ("application/cloudevents-batch+json", Format::Batch),
            ("application/x-ndjson", Format::Ndjson),
            ("application/ndjson", Format::Ndjson),
            ("application/jsonl", Format::Ndjson),
        ] {
            if media_type_of(content_type).eq_ignore_ascii_case(media_type) {
                return Ok(Self::Structured(format));
            }
        }
        if headers.contains_key("ce-id") || headers.contains_key("ce-specversion") {
            return Ok(Self::Binary);
        }
        let detail = format!("`{content_type}` is not a content type for events");
        let fix = "use application/cloudevents+json for one event, application/cloudevents-batch+json for an \
                   array, application/x-ndjson for one a line, or ce- headers with a JSON body";
        Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail).fix(fix))
    }
}

/// Whether a content type is that of one event in structured mode.
pub(in crate::http::api) fn is_of_one_event(content_type: &str) -> bool {
    media_type_of(content_type).eq_ignore_ascii_case("application/cloudevents+json")
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// A content type without its parameters.
fn media_type_of(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// Puts an event in binary mode, attributes in `ce-` headers, into one JSON object.
fn structured(headers: &HeaderMap, body: &[u8]) -> Result<Vec<u8>, Problem> {
    let mut event = serde_json::Map::new();
    for (name, value) in headers {
        if let Some(attribute) = name.as_str().strip_prefix("ce-") {
            let value = percent_decoded(value.as_bytes());
            event.insert(attribute.to_owned(), String::from_utf8_lossy(&value).into_owned().into());
        }
    }
    let mut text = serde_json::Value::Object(event).to_string();
    if !body.is_empty() {
        let media_type = media_type_of(content_type(headers)).to_ascii_lowercase();
        let is_json = media_type.is_empty() || media_type == "application/json" || media_type.ends_with("+json");
        if !is_json {
            let detail = format!("the data of an event in binary mode is `{media_type}`");
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
                .fix("send the data as application/json"));
        }
        // Kept as it is written, so that no number is changed on the way.
        let data: &RawValue = serde_json::from_slice(body).map_err(|error| {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_events", "the event cannot be taken").at(
                "/0/data",
                "invalid_json",
                format!("the body is not JSON: {error}"),
                "mend the JSON",
            )
        })?;
        text.truncate(text.len().saturating_sub(1));
        let comma = if text.len() > 1 { "," } else { "" };
        text.push_str(&format!("{comma}\"data\":{}}}", data.get()));
    }
    Ok(text.into_bytes())
}

/// Undoes the percent-encoding that the HTTP binding prescribes for header values.
fn percent_decoded(value: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                decoded.push(byte);
                rest = &after[2..];
            }
            None => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    decoded
}

/// An event as it is kept, and where it was counted.
#[derive(Serialize, ToSchema)]
struct StoredEvent {
    #[schema(value_type = Object)]
    event: Box<RawValue>,
    #[schema(value_type = String)]
    received_at: crate::domain::time::Instant,
    /// The batch of the log that holds it.
    batch: i64,
    counted: Vec<Counted>,
    /// Whether it was taken back by a `tallystick.event.retracted`.
    retracted: bool,
}

/// One row of usage that an event is part of.
#[derive(Serialize, ToSchema)]
struct Counted {
    meter: String,
    consumer: String,
    /// Start of the bucket.
    #[schema(value_type = String)]
    bucket: crate::domain::time::Instant,
    #[schema(value_type = Object)]
    dimensions: Box<RawValue>,
    value: String,
}

/// One event as it is kept, and where it was counted.
#[utoipa::path(
    get, path = "/v1/events/{source}/{id}", tag = "events",
    params(("source" = String, Path, description = "percent-encoded"), ("id" = String, Path)),
    responses(
        (status = 200, body = StoredEvent),
        (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, description = "No such event", body = Problem),
    ),
)]
async fn event(
    State(app): State<App>,
    caller: Caller,
    Path((source, id)): Path<(String, String)>,
) -> Result<Json<StoredEvent>, Problem> {
    caller.require(&[Role::Finance])?;
    let Some(stored) = app.metering.event(&source, &id).await? else {
        let detail = format!("there is no event with source `{source}` and id `{id}`");
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown_event", detail).fix("check both, and their encoding"));
    };
    let raw = |text: String| RawValue::from_string(text).map_err(|_| Problem::internal());
    let mut counted = Vec::with_capacity(stored.counted.len());
    for contribution in stored.counted {
        counted.push(Counted {
            meter: contribution.key.meter.to_string(),
            consumer: contribution.key.party.to_string(),
            bucket: contribution.key.bucket,
            dimensions: raw(contribution.key.dimensions.to_string())?,
            value: contribution.delta.value.to_string(),
        });
    }
    let (received_at, batch, retracted) = (stored.received_at, stored.seq, stored.retracted);
    Ok(Json(StoredEvent { event: raw(stored.text)?, received_at, batch, counted, retracted }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_in_binary_mode_becomes_one_in_structured_mode() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("ce-id", "1"), ("ce-source", "/caf%C3%A9"), ("ce-specversion", "1.0"), ("ce-type", "t")]
        {
            headers.insert(name, value.parse().expect("a header"));
        }
        let text = structured(&headers, br#"{"price": 1.50}"#).expect("is put together");
        assert_eq!(
            String::from_utf8(text).expect("text"),
            r#"{"id":"1","source":"/café","specversion":"1.0","type":"t","data":{"price": 1.50}}"#
        );
    }
}
