//! `GET /v1/consumers/{id}/statement`: what a consumer was charged, was rewarded and used, and why.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::CONTENT_DISPOSITION;
use axum::http::header::CONTENT_TYPE;
use axum::http::header::VARY;
use axum::response::IntoResponse;
use axum::response::Json;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::billing::close::CloseError;
use crate::billing::statement::StatementError;
use crate::billing::statement::csv;
use crate::billing::statement::statement;
use crate::clock;
use crate::domain::document::statement::Statement;
use crate::http::App;
use crate::http::accept::Form;
use crate::http::accept::form;
use crate::http::api::consumers::unknown_consumer;
use crate::http::api::paper;
use crate::http::auth::Caller;
use crate::http::auth::Role;
use crate::http::pages;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::http::query::invalid;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(show))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct StatementQuery {
    /// A month (`2013-01`), a year (`2013`), a day of a billing period (`2013-01-15`), or the days from one to before
    /// another (`2013-01-01..2013-02-15`), in the time zone of the consumer's plan. The current billing period if it is
    /// left out.
    #[param(example = "2013-01")]
    period: Option<String>,
    /// `json`, `csv`, `html` or `pdf`, whatever the `Accept` header says.
    format: Option<String>,
}

/// A consumer's statement: charges, rewards, tax and net, each line with its explanation, and usage by day.
///
/// Of a period that is closed it shows the documents; what is not closed yet is rated as it stands at this moment.
/// Which form it has is said by `Accept`, or by `format`.
#[utoipa::path(
    get, path = "/v1/consumers/{id}/statement", tag = "consumers", params(("id" = String, Path), StatementQuery),
    responses(
        (status = 200, description = "The statement", content(
            (Object = "application/json"), (String = "text/csv"), (String = "text/html"), (Vec<u8> = "application/pdf"),
        )),
        (status = 303, description = "A browser without a session is sent to sign in"),
        (status = 400, description = "Not a period, or not a format", body = Problem),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 406, description = "None of the forms is accepted", body = Problem),
        (status = 422, description = "No price book applies then", body = Problem),
        (status = 500, description = "What is open cannot be rated", body = Problem),
    ),
)]
async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<StatementQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.require_consumer(&id, &[Role::Finance])?;
    let forms = [Form::Json, Form::Csv, Form::Html, Form::Pdf];
    let form = form(&headers, query.format.as_deref(), "a statement", &forms)?;
    app.metering.flush().await?;
    let now = clock::now();
    let shown = statement(&app.db, &app.metering.versions(), &id, query.period.as_deref(), now).await?;
    let response = match form {
        Form::Json => Json(shown).into_response(),
        Form::Csv => file(&shown, csv(&shown)),
        Form::Pdf => paper::statement(&app, shown, now).await?,
        Form::Html => pages::statement::page(&app, &caller, shown, now).await?,
    };
    Ok(([(VARY, "accept, cookie")], response).into_response())
}

fn file(statement: &Statement, text: String) -> Response {
    let name = format!("attachment; filename=\"{}.csv\"", paper::name_of(statement));
    let headers = [(CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()), (CONTENT_DISPOSITION, name)];
    (headers, text).into_response()
}

impl From<StatementError> for Problem {
    fn from(error: StatementError) -> Self {
        let detail = error.to_string();
        match error {
            StatementError::UnknownConsumer(id) => unknown_consumer(&id),
            StatementError::NotAPeriod(_) => {
                invalid("period", &detail, "write it like 2013-01, 2013-01-15, or 2013-01-01..2013-02-15")
            }
            StatementError::SoFar(CloseError::Period(_)) => {
                invalid("period", &detail, "ask for a period between the years 1 and 9999")
            }
            StatementError::SoFar(error @ (CloseError::Store(_) | CloseError::NoBook { .. })) => error.into(),
            StatementError::SoFar(_) => {
                tracing::error!("rating what is open: {detail}");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "cannot_rate", detail)
                    .fix("what is named has to be mended by an operator; closed periods can still be asked for")
            }
            StatementError::Store(error) => error.into(),
        }
    }
}
