//! `/v1/endpoints`: where consumers want events delivered, and what did not arrive at once.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use utoipa::IntoParams;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::clock;
use crate::delivery::endpoints::Asked;
use crate::delivery::endpoints::Error;
use crate::domain::ids::EndpointId;
use crate::domain::time::Instant;
use crate::domain::webhook::retry::Answer;
use crate::http::App;
use crate::http::api::consumers::unknown_consumer;
use crate::http::api::consumers::unprocessable;
use crate::http::api::settle::nothing;
use crate::http::auth::Caller;
use crate::http::body::Body;
use crate::http::path::Path;
use crate::http::problem::Place;
use crate::http::problem::Problem;
use crate::http::query::ListQuery;
use crate::http::query::Page;
use crate::http::query::Query;
use crate::http::query::invalid;
use crate::http::query::limit;
use crate::http::query::page;
use crate::store::endpoints::Delivery;
use crate::store::endpoints::Endpoint;
use crate::store::endpoints::Which;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(add, list))
        .routes(routes!(get, change, remove))
        .routes(routes!(renew_secret))
        .routes(routes!(test))
        .routes(routes!(deliveries))
}

/// Where a consumer wants events delivered.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EndpointRequest {
    /// Without it, the one whose key it is.
    #[schema(example = "UA")]
    consumer: Option<String>,
    #[schema(example = "https://example.com/hooks")]
    url: String,
    #[serde(default)]
    description: String,
    /// What events must be like: all of them, in the dialects exact, prefix, suffix, all, any and not. Without any, all events
    /// that the consumer may see: its own, and those of public types.
    #[schema(value_type = Option<Vec<Object>>, example = json!([{"exact": {"type": "order.paid"}}]))]
    filters: Option<Value>,
}

/// What to change of an endpoint. What is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EndpointChange {
    url: Option<String>,
    description: Option<String>,
    #[schema(value_type = Option<Vec<Object>>)]
    filters: Option<Value>,
    /// `paused`: nothing is delivered; what happens meanwhile is when it is `active` again.
    #[schema(example = "paused")]
    state: Option<String>,
}

/// An endpoint.
#[derive(Serialize)]
struct Shown {
    id: EndpointId,
    consumer: String,
    url: String,
    description: String,
    filters: Value,
    state: &'static str,
    /// Why it is not active.
    reason: Option<String>,
    made_at: Instant,
    changed_at: Instant,
    /// The first attempt that failed since one was acknowledged.
    failing_since: Option<Instant>,
    /// How many batches of the log it is behind.
    behind: i64,
    /// What deliveries are signed with (Standard Webhooks); shown once, when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// An event that was not acknowledged at once.
#[derive(Serialize)]
struct Waiting {
    id: String,
    event_type: String,
    /// `waiting` to be tried again, or `given_up`.
    state: &'static str,
    attempts: i64,
    next_at: Option<Instant>,
    first_at: Instant,
    last_at: Instant,
    status: Option<i64>,
    failure: String,
}

/// What came of a test.
#[derive(Serialize)]
struct Tested {
    is_acknowledged: bool,
    status: Option<u16>,
    latency_ms: u64,
    /// Why it was not.
    failure: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct DeliveriesQuery {
    /// 1 to 1000; 100 if it is left out.
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl Shown {
    fn of(app: &App, endpoint: Endpoint, secret: Option<String>) -> Self {
        let newest = *app.metering.newest().borrow();
        let Endpoint {
            id,
            consumer,
            url,
            description,
            filters,
            state,
            reason,
            made_at,
            changed_at,
            through,
            failing_since,
        } = endpoint;
        Self {
            id,
            consumer,
            url,
            description,
            filters: serde_json::from_str(&filters).unwrap_or_default(),
            state: state.as_str(),
            reason,
            made_at,
            changed_at,
            failing_since,
            behind: newest.saturating_sub(through).max(0),
            secret,
        }
    }
}

impl From<Delivery> for Waiting {
    fn from(delivery: Delivery) -> Self {
        let Delivery { id, event_type, attempts, next_at, first_at, last_at, status, failure, .. } = delivery;
        let state = if next_at.is_some() { "waiting" } else { "given_up" };
        Self { id: id.to_string(), event_type, state, attempts, next_at, first_at, last_at, status, failure }
    }
}

fn problem_of(id: &str, error: Error) -> Problem {
    match error {
        Error::Faulty(faults) => {
            let places = faults.into_iter().map(|fault| Place::new(&fault.at, fault.code, fault.detail, fault.fix));
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_endpoint", "the endpoint cannot be so").with(places)
        }
        Error::Missing => nothing("unknown_endpoint", "endpoint", id),
        Error::NoConsumer => unknown_consumer(id),
        Error::NoKey => {
            let detail = "this server has no key to encrypt the secrets of endpoints with";
            let fix = "start it with TALLYSTICK_WEBHOOK_KEYS, 32 bytes as 64 hexadecimal digits";
            Problem::new(StatusCode::CONFLICT, "no_webhook_key", detail).fix(fix)
        }
        Error::Store(error) => error.into(),
    }
}

/// An endpoint that the caller may see.
async fn found(app: &App, caller: &Caller, id: &str) -> Result<Endpoint, Problem> {
    let endpoint = app.db.read().await?.endpoints(Which::Id(id)).await?.pop();
    let endpoint = endpoint.ok_or_else(|| problem_of(id, Error::Missing))?;
    caller.require_consumer(&endpoint.consumer, &[])?;
    Ok(endpoint)
}

/// Have events delivered to a URL, from now on. The answer holds the secret that they are signed with, once.
#[utoipa::path(
    post, path = "/v1/endpoints", tag = "webhooks", request_body = EndpointRequest,
    responses(
        (status = 201, description = "The endpoint, with its secret", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, description = "This server has no key for secrets", body = Problem),
        (status = 422, description = "A URL or filters that cannot be", body = Problem),
    ),
)]
async fn add(
    State(app): State<App>,
    caller: Caller,
    Body(request): Body<EndpointRequest>,
) -> Result<(StatusCode, Json<Shown>), Problem> {
    let EndpointRequest { consumer, url, description, filters } = request;
    let Some(consumer) = consumer.or_else(|| caller.consumer().map(str::to_owned)) else {
        let detail = "whose endpoint is it?";
        return Err(unprocessable("/consumer", "invalid_body", detail, "name the consumer"));
    };
    caller.require_consumer(&consumer, &[])?;
    let asked = Asked { url: Some(url), description: Some(description), filters, is_active: None };
    let newest = *app.metering.newest().borrow();
    let added = app.delivery.endpoints.add(&consumer, asked, newest, clock::now()).await;
    let (endpoint, secret) = added.map_err(|error| problem_of(&consumer, error))?;
    app.delivery.look_again();
    Ok((StatusCode::CREATED, Json(Shown::of(&app, endpoint, Some(secret.to_text())))))
}

/// Endpoints, newest first; a consumer's key sees its own.
#[utoipa::path(
    get, path = "/v1/endpoints", tag = "webhooks", params(ListQuery),
    responses(
        (status = 200, description = "A list of endpoints", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    ),
)]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<Shown>>, Problem> {
    let (consumer, before, limit) = page(&caller, &query, |cursor| EndpointId::parse(cursor).is_some())?;
    let found = app.db.read().await?.endpoints(Which::Page { consumer, before, limit }).await?;
    let data = found.into_iter().map(|endpoint| Shown::of(&app, endpoint, None)).collect();
    Ok(Json(Page::of(data, limit, |endpoint| endpoint.id.to_string())))
}

/// One endpoint.
#[utoipa::path(
    get, path = "/v1/endpoints/{id}", tag = "webhooks", params(("id" = String, Path)),
    responses(
        (status = 200, description = "The endpoint", body = Object),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
    ),
)]
async fn get(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Json<Shown>, Problem> {
    let endpoint = found(&app, &caller, &id).await?;
    Ok(Json(Shown::of(&app, endpoint, None)))
}

/// Change an endpoint, pause it, or let one that was paused or disabled go on where it was.
#[utoipa::path(
    patch, path = "/v1/endpoints/{id}", tag = "webhooks", params(("id" = String, Path)), request_body = EndpointChange,
    responses(
        (status = 200, description = "The endpoint as it is now", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 422, description = "A URL, filters or state that cannot be", body = Problem),
    ),
)]
async fn change(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Body(change): Body<EndpointChange>,
) -> Result<Json<Shown>, Problem> {
    found(&app, &caller, &id).await?;
    let EndpointChange { url, description, filters, state } = change;
    let is_active = match state.as_deref() {
        None => None,
        Some("active") => Some(true),
        Some("paused") => Some(false),
        Some(other) => {
            let detail = format!("`{other}` is no state that an endpoint can be put into");
            let fix = "write `paused` or `active`";
            return Err(unprocessable("/state", "invalid_body", detail, fix));
        }
    };
    let asked = Asked { url, description, filters, is_active };
    let changed = app.delivery.endpoints.change(&id, asked, clock::now()).await;
    let endpoint = changed.map_err(|error| problem_of(&id, error))?;
    app.delivery.look_again();
    Ok(Json(Shown::of(&app, endpoint, None)))
}

/// Have nothing delivered there any more.
#[utoipa::path(
    delete, path = "/v1/endpoints/{id}", tag = "webhooks", params(("id" = String, Path)),
    responses(
        (status = 204, description = "It is gone"),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
    ),
)]
async fn remove(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    found(&app, &caller, &id).await?;
    let removed = app.delivery.endpoints.remove(&id, caller.key.as_str(), clock::now()).await;
    removed.map_err(|error| problem_of(&id, error))?;
    app.delivery.look_again();
    Ok(StatusCode::NO_CONTENT)
}

/// Give an endpoint another secret. The one before signs too for a day more, so that the receiver can change over.
#[utoipa::path(
    post, path = "/v1/endpoints/{id}/secret", tag = "webhooks", params(("id" = String, Path)),
    responses(
        (status = 200, description = "The endpoint, with its new secret", body = Object),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, description = "This server has no key for secrets", body = Problem),
    ),
)]
async fn renew_secret(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Json<Shown>, Problem> {
    found(&app, &caller, &id).await?;
    let renewed = app.delivery.endpoints.renew_secret(&id, clock::now()).await;
    let secret = renewed.map_err(|error| problem_of(&id, error))?;
    app.delivery.look_again();
    let endpoint = found(&app, &caller, &id).await?;
    Ok(Json(Shown::of(&app, endpoint, Some(secret.to_text()))))
}

/// Send an endpoint an event of the type `tallystick.endpoint.tested`, at once and once, and say what it answered.
#[utoipa::path(
    post, path = "/v1/endpoints/{id}/test", tag = "webhooks", params(("id" = String, Path)),
    responses(
        (status = 200, description = "What came of it", body = Object),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, description = "This server has no key for secrets", body = Problem),
    ),
)]
async fn test(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Json<Tested>, Problem> {
    let endpoint = found(&app, &caller, &id).await?;
    let attempt = app.delivery.test(&endpoint, clock::now()).await.map_err(|error| problem_of(&id, error))?;
    let status = match attempt.answer {
        Answer::Status { code, .. } => Some(code),
        Answer::None => None,
    };
    let is_acknowledged = status.is_some_and(|status| (200..300).contains(&status));
    let latency_ms = u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX);
    let failure = (!is_acknowledged).then_some(attempt.failure);
    Ok(Json(Tested { is_acknowledged, status, latency_ms, failure }))
}

/// What an endpoint did not acknowledge at once, and has not since, in the order of the log.
#[utoipa::path(
    get, path = "/v1/endpoints/{id}/deliveries", tag = "webhooks", params(("id" = String, Path), DeliveriesQuery),
    responses(
        (status = 200, description = "A list of deliveries", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem),
    ),
)]
async fn deliveries(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<DeliveriesQuery>,
) -> Result<Json<Page<Waiting>>, Problem> {
    let endpoint = found(&app, &caller, &id).await?;
    let limit = limit(query.limit.as_deref())?;
    let after = match query.cursor.as_deref() {
        None => (0, 0),
        Some(cursor) => place(cursor).ok_or_else(|| {
            invalid("cursor", &format!("`{cursor}` is not a cursor"), "use next_cursor as it was given")
        })?,
    };
    let found = app.db.read().await?.deliveries(&endpoint.id, after, limit).await?;
    let last = found.last().map(|last| format!("{}-{}", last.batch, last.place));
    let data = found.into_iter().map(Waiting::from).collect();
    Ok(Json(Page::of(data, limit, |_| last.clone().unwrap_or_default())))
}

/// A place in the log, as a cursor has it.
fn place(cursor: &str) -> Option<(i64, i64)> {
    let (batch, place) = cursor.split_once('-')?;
    Some((batch.parse().ok()?, place.parse().ok()?))
}
