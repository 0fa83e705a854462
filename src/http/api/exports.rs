//! `/v1/exports/{kind}`: the journal in the formats that finance reads.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_DISPOSITION;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::response::Response;
use jiff::civil::Date;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::billing::export;
use crate::billing::export::Kind;
use crate::http::App;
use crate::http::api::ledger::date;
use crate::http::auth::Caller;
use crate::http::auth::Role;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::query::Query;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(export))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Range {
    /// First accounting date; from the beginning if it is left out.
    from: Option<String>,
    /// The accounting date to stop before; to the end if it is left out.
    to: Option<String>,
}

/// An export: `journal.csv`, `journal.hledger` or `journal.beancount`.
#[utoipa::path(
    get, path = "/v1/exports/{kind}", tag = "exports", params(("kind" = String, Path), Range),
    responses(
        (status = 200, description = "The file", body = String),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, description = "No such export", body = Problem),
    ),
)]
async fn export(
    State(app): State<App>,
    caller: Caller,
    Path(kind): Path<String>,
    Query(range): Query<Range>,
) -> Result<Response, Problem> {
    caller.require(&[Role::Finance])?;
    let Some(kind) = Kind::named(&kind) else {
        let known = Kind::ALL.map(Kind::name).join(", ");
        let detail = format!("there is no export `{kind}`");
        return Err(
            Problem::new(StatusCode::NOT_FOUND, "unknown_export", detail).fix(format!("ask for one of: {known}"))
        );
    };
    let from = range.from.as_deref().map_or(Ok(Date::MIN), |text| date("from", text))?;
    let to = range.to.as_deref().map_or(Ok(Date::MAX), |text| date("to", text))?;
    let text = export::export(&app.db, kind, from, to).await?;
    let disposition = format!("attachment; filename=\"{}\"", kind.name());
    Ok(([(CONTENT_TYPE, kind.media_type().to_owned()), (CONTENT_DISPOSITION, disposition)], text).into_response())
}
