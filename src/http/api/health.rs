//! `/healthz` and `/readyz`: is the process alive, and can it do its work.

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::App;
use crate::http::problem::Problem;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(healthz)).routes(routes!(readyz))
}

/// The process is alive.
#[utoipa::path(get, path = "/healthz", tag = "health", security(()), responses((status = 200, body = String)))]
async fn healthz() -> &'static str {
    "ok\n"
}

/// The books and the log can be read.
#[utoipa::path(
    get, path = "/readyz", tag = "health", security(()),
    responses((status = 200, body = String), (status = 503, description = "The store cannot be used", body = Problem)),
)]
async fn readyz(State(app): State<App>) -> Result<&'static str, Problem> {
    app.db.read().await?.applied_seq().await?;
    app.db.read_log().await?.last_seq().await?;
    Ok("ready\n")
}
