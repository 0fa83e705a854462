//! `/v1/event-types`: the catalog of events.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::book::catalog::EventType;
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::query::Page;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(event_types)).routes(routes!(event_type))
}

/// Every event type that the platform vouches for.
#[utoipa::path(
    get, path = "/v1/event-types", tag = "catalog",
    responses((status = 200, description = "A list of event types", body = Object), (status = 401, body = Problem)),
)]
async fn event_types(State(app): State<App>, _: Caller) -> Json<Page<EventType>> {
    let data = app.metering.versions().event_types().values().cloned().collect();
    Json(Page { data, next_cursor: None })
}

/// One event type: what it means, its schema, an example.
#[utoipa::path(
    get, path = "/v1/event-types/{type}", tag = "catalog", params(("type" = String, Path)),
    responses(
        (status = 200, description = "The event type", body = Object),
        (status = 401, body = Problem), (status = 404, body = Problem),
    ),
)]
async fn event_type(State(app): State<App>, _: Caller, Path(id): Path<String>) -> Result<Json<EventType>, Problem> {
    match app.metering.versions().event_types().get(&id) {
        Some(event_type) => Ok(Json(event_type.clone())),
        None => {
            let detail = format!("`{id}` is not in the catalog");
            Err(Problem::new(StatusCode::NOT_FOUND, "unknown_event_type", detail).fix("GET /v1/event-types lists it"))
        }
    }
}
