//! `/v1/quarantine`: events that were set aside by `?invalid=quarantine`. They are read, mended, sent again or discarded.

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
use crate::domain::ids::QuarantineId;
use crate::domain::time::Instant;
use crate::http::App;
use crate::http::api::events::Answer;
use crate::http::api::events::answer;
use crate::http::api::events::is_of_one_event;
use crate::http::auth::Caller;
use crate::http::path::Path;
use crate::http::problem::Place;
use crate::http::problem::Problem;
use crate::http::query::Page;
use crate::http::query::Query;
use crate::http::query::limit;
use crate::metering;
use crate::metering::quarantine::Filter;
use crate::metering::quarantine::Resubmitted;
use crate::store;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(resubmit_some))
        .routes(routes!(get, discard))
        .routes(routes!(resubmit))
}

/// An event in quarantine.
#[derive(Serialize, ToSchema)]
struct Quarantined {
    #[schema(value_type = String, example = "quar_01m851tykeqxfybfqthswmkj6b")]
    id: QuarantineId,
    #[schema(value_type = String, format = DateTime, example = "2026-11-23T18:30:00Z")]
    received_at: Instant,
    /// The event's type, where it can be read.
    #[serde(rename = "type")]
    #[schema(example = "flight.completed")]
    kind: Option<String>,
    /// What is wrong with it; `at` is a JSON pointer into the event.
    #[schema(value_type = Vec<Place>)]
    faults: Box<RawValue>,
    /// As it was sent. It may be no JSON.
    event: String,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PageQuery {
    /// At most so many, 100 if it is left out; a page of long events has fewer.
    limit: Option<String>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ResubmitQuery {
    /// Only events of this type.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Only events with a fault of this code.
    code: Option<String>,
    /// At most so many are looked at, 100 if it is left out.
    limit: Option<String>,
    /// The `next_cursor` of the call before.
    cursor: Option<String>,
}

/// What became of the events that were tried again.
#[derive(Serialize, ToSchema)]
struct Tried {
    /// Stored and counted now, and out of quarantine.
    #[schema(example = 12)]
    accepted: usize,
    /// Stored before, and out of quarantine.
    #[schema(example = 1)]
    duplicates: usize,
    /// Duplicates that said something else than the first event with their key; the first one stands.
    #[schema(value_type = Vec<String>)]
    conflicts: Vec<QuarantineId>,
    /// Still invalid, and still in quarantine, with what is wrong with them by now.
    #[schema(example = 3)]
    invalid: usize,
    /// Where to go on, if there is more.
    #[schema(value_type = Option<String>)]
    next_cursor: Option<QuarantineId>,
}

/// Every event in quarantine, oldest first.
#[utoipa::path(
    get, path = "/v1/quarantine", tag = "quarantine", params(PageQuery),
    responses(
        (status = 200, description = "A list of events", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    ),
)]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Quarantined>>, Problem> {
    caller.require(&[])?;
    let limit = limit(query.limit.as_deref())?;
    let after = query.cursor.unwrap_or_default();
    let (rows, more) = app.db.read_log().await?.quarantined_after(&after, limit).await?;
    let next_cursor = rows.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(Json(Page { data: rows.into_iter().map(shown).collect::<Result<_, _>>()?, next_cursor }))
}

/// One event in quarantine.
#[utoipa::path(
    get, path = "/v1/quarantine/{id}", tag = "quarantine", params(("id" = String, Path)),
    responses(
        (status = 200, description = "The event, and what is wrong with it", body = Quarantined),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
    ),
)]
async fn get(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Json<Quarantined>, Problem> {
    caller.require(&[])?;
    let id = known(&id)?;
    let row = app.db.read_log().await?.quarantined(&id).await?;
    shown(row.ok_or_else(|| unknown(id.as_str()))?).map(Json)
}

/// Try an event again: mended, if there is a body, else as it is.
///
/// Once it is stored, or turns out to be stored already, it is out of quarantine, in the same transaction. An event
/// without `time` keeps the time at which it was received first.
#[utoipa::path(
    post, path = "/v1/quarantine/{id}/resubmit", tag = "quarantine", params(("id" = String, Path)),
    request_body(
        description = "The mended event; nothing, to try the event as it is",
        content((Option<serde_json::Value> = "application/cloudevents+json")),
    ),
    responses(
        (status = 200, description = "It is out of quarantine", body = Answer),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, description = "It is not in quarantine, or not any more", body = Problem),
        (status = 408, body = Problem), (status = 413, body = Problem),
        (status = 415, description = "The body is not one CloudEvent", body = Problem),
        (status = 422, description = "It is still invalid, and stays", body = Problem),
        (status = 429, body = Problem),
    ),
)]
async fn resubmit(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<Answer>, Problem> {
    caller.require(&[])?;
    let id = known(&id)?;
    let (head, body) = request.into_parts();
    let received = app.intake.events(&head.headers, body).await?;
    let mended = Some(received.text).filter(|text| !text.trim_ascii().is_empty());
    if mended.is_some() {
        check_form(&head.headers)?;
    }
    match app.metering.resubmit(&id, mended, clock::now()).await {
        Ok(receipt) => {
            app.counters.taken(&receipt);
            Ok(Json(answer(receipt)))
        }
        Err(metering::Error::Invalid(faulty)) => {
            let faults = faulty.into_iter().flat_map(|faulty| faulty.errors);
            let detail = format!("the event is invalid, and {id} stays in quarantine");
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_events", detail)
                .fix("send the whole event, mended, as the body of this call")
                .with(faults.map(|fault| Place::new(&fault.at, fault.code, fault.detail, fault.fix))))
        }
        Err(error) => Err(gone(error, &id)),
    }
}

/// Try events again as they are: after the catalog has changed, or when what they take back has arrived.
///
/// One call looks at `limit` events at most; go on with `cursor` until there is no `next_cursor`.
#[utoipa::path(
    post, path = "/v1/quarantine/resubmit", tag = "quarantine", params(ResubmitQuery),
    responses(
        (status = 200, description = "Tried", body = Tried),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 429, body = Problem),
    ),
)]
async fn resubmit_some(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ResubmitQuery>,
) -> Result<Json<Tried>, Problem> {
    caller.require(&[])?;
    let limit = limit(query.limit.as_deref())?;
    let filter = Filter { kind: query.kind, code: query.code };
    let after = query.cursor.unwrap_or_default();
    let Resubmitted { mut receipt, tried, next } =
        app.metering.resubmit_some(&filter, &after, limit, clock::now()).await?;
    let invalid = std::mem::take(&mut receipt.rejected).len();
    app.counters.taken(&receipt);
    Ok(Json(Tried {
        accepted: receipt.accepted,
        duplicates: receipt.duplicates,
        conflicts: receipt.conflicts.iter().filter_map(|index| tried.get(*index).cloned()).collect(),
        invalid,
        next_cursor: next,
    }))
}

/// Discard an event for good. It was never counted.
#[utoipa::path(
    delete, path = "/v1/quarantine/{id}", tag = "quarantine", params(("id" = String, Path)),
    responses(
        (status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 429, body = Problem),
    ),
)]
async fn discard(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    caller.require(&[])?;
    let id = known(&id)?;
    app.metering.discard(&id, clock::now()).await.map_err(|error| gone(error, &id))?;
    tracing::warn!("{} discarded the event {id} of the quarantine", caller.key);
    Ok(StatusCode::NO_CONTENT)
}

fn shown(row: store::quarantine::Quarantined) -> Result<Quarantined, Problem> {
    let kind = row.kind();
    let store::quarantine::Quarantined { id, received_at, event, faults } = row;
    let faults = RawValue::from_string(faults).map_err(|_| Problem::internal())?;
    Ok(Quarantined { id, received_at, kind, faults, event })
}

fn known(id: &str) -> Result<QuarantineId, Problem> {
    QuarantineId::parse(id).ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown_quarantined", format!("there is no {id} in quarantine"))
        .fix("GET /v1/quarantine lists what there is; what was taken or discarded is gone")
}

fn gone(error: metering::Error, id: &QuarantineId) -> Problem {
    match error {
        metering::Error::Store(store::Error::Missing) => unknown(id.as_str()),
        error => error.into(),
    }
}

fn check_form(headers: &HeaderMap) -> Result<(), Problem> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if is_of_one_event(content_type) {
        return Ok(());
    }
    let detail = format!("`{content_type}` is not the content type of one event");
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
        .fix("send the mended event as application/cloudevents+json, or no body at all"))
}
