//! `/v1/events`: events in, in every mode of CloudEvents over HTTP, and one event back out.
//!
//! Source of the modes: CloudEvents HTTP protocol binding 1.0.2, sections 3.1 (binary), 3.2 (structured), 3.3 (batched).

use std::borrow::Cow;
use std::io::Read;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::CONTENT_ENCODING;
use axum::http::header::CONTENT_TYPE;
use axum::response::Json;
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::IntoParams;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::clock;
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::auth::Role;
use crate::http::path::Path;
use crate::http::problem::Place;
use crate::http::problem::Problem;
use crate::metering::Receipt;
use crate::metering::ingest::Format;
use crate::metering::ingest::Invalid;

/// A body may not be longer, as it comes over the wire.
const BODY_BYTES_MAX: usize = 32 << 20;
/// And not longer than this once decompressed: a small body must not become a large one.
const DECODED_BYTES_MAX: u64 = 128 << 20;

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
struct Answer {
    /// Events that are stored and counted now.
    accepted: usize,
    /// Events that were stored before.
    duplicates: usize,
    /// Indexes of duplicates that say something else than the first event with their key did; the first one stands.
    conflicts: Vec<usize>,
    /// Events that went into quarantine.
    rejected: Vec<Place>,
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
        (status = 413, description = "The body is too large", body = Problem),
        (status = 415, description = "Neither CloudEvents nor NDJSON", body = Problem),
        (status = 422, description = "Some events cannot be taken; nothing is stored", body = Problem),
        (status = 429, description = "Too many bodies wait; try again", body = Problem),
        (status = 503, description = "The log cannot be written; try again", body = Problem),
    ),
)]
async fn ingest(
    State(app): State<App>,
    caller: Caller,
    crate::http::query::Query(query): crate::http::query::Query<IngestQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Answer>, Problem> {
    caller.require(&[Role::Ingest])?;
    let body = axum::body::to_bytes(body, BODY_BYTES_MAX).await.map_err(|error| {
        let detail = format!("the body is cut off, or longer than {BODY_BYTES_MAX} bytes: {error}");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail).fix("send the events in smaller bodies")
    })?;
    let invalid = match query.invalid {
        WhenInvalid::Reject => Invalid::Reject,
        WhenInvalid::Quarantine => Invalid::Quarantine,
    };
    let (format, body) = read_body(&headers, &body)?;
    let receipt = app.metering.ingest(format, body.into_owned(), invalid, clock::now()).await?;
    Ok(Json(answer(receipt)))
}

fn answer(receipt: Receipt) -> Answer {
    let Receipt { accepted, duplicates, conflicts, rejected } = receipt;
    Answer { accepted, duplicates, conflicts, rejected: rejected.into_iter().flat_map(Place::of_event).collect() }
}

/// The layout of a body and its bytes, decompressed; an event in binary mode is put into structured mode.
fn read_body<'b>(headers: &HeaderMap, body: &'b [u8]) -> Result<(Format, Cow<'b, [u8]>), Problem> {
    let body = decoded(headers, body)?;
    let content_type = header(headers, CONTENT_TYPE.as_str()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media_type.as_str() {
        "application/cloudevents+json" => Ok((Format::Single, body)),
        "application/cloudevents-batch+json" => Ok((Format::Batch, body)),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Ok((Format::Ndjson, body)),
        _ if headers.contains_key("ce-id") || headers.contains_key("ce-specversion") => {
            Ok((Format::Single, Cow::Owned(structured(headers, &media_type, &body)?)))
        }
        _ => {
            let detail = format!("`{content_type}` is not a content type for events");
            let fix = "use application/cloudevents+json for one event, application/cloudevents-batch+json for an \
                       array, application/x-ndjson for one a line, or ce- headers with a JSON body";
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail).fix(fix))
        }
    }
}

fn decoded<'b>(headers: &HeaderMap, body: &'b [u8]) -> Result<Cow<'b, [u8]>, Problem> {
    let encoding = header(headers, CONTENT_ENCODING.as_str()).unwrap_or_default().trim().to_ascii_lowercase();
    let mut decoder: Box<dyn Read + '_> = match encoding.as_str() {
        "" | "identity" => return Ok(Cow::Borrowed(body)),
        "gzip" => Box::new(MultiGzDecoder::new(body)),
        "zstd" => Box::new(zstd::stream::read::Decoder::new(body).map_err(|error| broken(&encoding, &error))?),
        other => {
            let detail = format!("`{other}` is not a content encoding that is understood");
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", detail)
                .fix("send gzip, zstd or no encoding"));
        }
    };
    let mut text = Vec::new();
    let limit = DECODED_BYTES_MAX.saturating_add(1);
    let read = decoder.by_ref().take(limit).read_to_end(&mut text).map_err(|error| broken(&encoding, &error))?;
    if u64::try_from(read).is_ok_and(|read| read > DECODED_BYTES_MAX) {
        let detail = format!("the body is longer than {DECODED_BYTES_MAX} bytes once decompressed");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
            .fix("send the events in smaller bodies"));
    }
    Ok(Cow::Owned(text))
}

fn broken(encoding: &str, error: &std::io::Error) -> Problem {
    let detail = format!("the body is not valid {encoding}: {error}");
    Problem::new(StatusCode::BAD_REQUEST, "broken_encoding", detail).fix("compress the whole body, and send all of it")
}

/// Puts an event in binary mode, attributes in `ce-` headers, into one JSON object.
fn structured(headers: &HeaderMap, media_type: &str, body: &[u8]) -> Result<Vec<u8>, Problem> {
    let mut event = serde_json::Map::new();
    for (name, value) in headers {
        if let Some(attribute) = name.as_str().strip_prefix("ce-") {
            let value = percent_decoded(value.as_bytes());
            event.insert(attribute.to_owned(), String::from_utf8_lossy(&value).into_owned().into());
        }
    }
    let mut text = serde_json::Value::Object(event).to_string();
    if !body.is_empty() {
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

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
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
        let text = structured(&headers, "application/json", br#"{"price": 1.50}"#).expect("is put together");
        assert_eq!(
            String::from_utf8(text).expect("text"),
            r#"{"id":"1","source":"/café","specversion":"1.0","type":"t","data":{"price": 1.50}}"#
        );
    }

    #[test]
    fn a_small_body_cannot_become_a_huge_one() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, "zstd".parse().expect("a header"));
        let zeros = vec![0; usize::try_from(DECODED_BYTES_MAX).expect("fits") + 1];
        let bomb = zstd::bulk::compress(&zeros, 1).expect("compresses");
        assert_eq!(decoded(&headers, &bomb).expect_err("is refused").code(), "body_too_large");
    }
}
