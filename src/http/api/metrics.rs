//! `/metrics`: what the server counts of its own work, for Prometheus.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::App;
use crate::http::auth::Caller;
use crate::http::auth::Role;
use crate::http::problem::Problem;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(metrics))
}

/// What the server counts of its own work, in the text format of Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "health",
    responses(
        (status = 200, description = "Counters, gauges and a histogram", body = String, content_type = "text/plain"),
        (status = 401, body = Problem), (status = 403, body = Problem),
    ),
)]
async fn metrics(State(app): State<App>, caller: Caller) -> Result<impl IntoResponse, Problem> {
    caller.require(&[Role::Finance])?;
    let quarantined = app.db.read_log().await?.quarantine_size().await?.unsigned_abs();
    let text = app.counters.text(app.intake.memory(), app.metering.seen_figures(), quarantined);
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4")], text))
}
