//! `GET /v1/consumers/{id}/quota`: what is used of what is included, and what is spent of what may be.

use axum::extract::State;
use axum::response::Json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::billing::quota::QuotaError;
use crate::billing::quota::Standing;
use crate::billing::quota::quota;
use crate::clock;
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::auth::Role;
use crate::http::path::Path;
use crate::http::problem::Problem;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(standing))
}

/// Where a consumer stands in the billing periods that run: usage beside what is included, caps, and spend.
///
/// Current to the last acknowledged event. `spend.state` is what to ask before letting somebody go on: `over` once
/// nothing is left of the spend cap. Nothing is refused because of it: an event that happened is counted.
#[utoipa::path(
    get, path = "/v1/consumers/{id}/quota", tag = "consumers", params(("id" = String, Path)),
    responses(
        (status = 200, description = "Where the consumer stands", body = Object),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 422, description = "No price book applies now", body = Problem),
        (status = 500, description = "What is open cannot be rated", body = Problem),
    ),
)]
async fn standing(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Json<Standing>, Problem> {
    caller.require_consumer(&id, &[Role::Finance])?;
    Ok(Json(quota(&app.db, &app.metering, &id, clock::now()).await?))
}

impl From<QuotaError> for Problem {
    fn from(error: QuotaError) -> Self {
        match error {
            QuotaError::Statement(error) => error.into(),
            QuotaError::Metering(error) => error.into(),
        }
    }
}
