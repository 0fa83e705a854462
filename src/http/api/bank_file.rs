//! `/v1/exports/pain.001.xml`: approved payouts in the form that banks read. POST makes a file, GET reads what was made.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_DISPOSITION;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::billing::payouts::bank;
use crate::billing::payouts::bank::BankFileError;
use crate::clock;
use crate::http::App;
use crate::http::api::ledger::date;
use crate::http::auth::Caller;
use crate::http::auth::Role;
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::store::payouts::BankFile;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(made, make))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Message {
    /// The id of a file that was made before, to have it again.
    message: Option<String>,
    /// A file has what is approved, whenever that was.
    from: Option<String>,
    to: Option<String>,
}

/// A bank file that was made before, as it was given out: the last one, or the one with this id. Makes nothing.
#[utoipa::path(
    get, path = "/v1/exports/pain.001.xml", tag = "exports", params(Message),
    responses(
        (status = 200, description = "The file", body = String, content_type = "application/xml"),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, description = "No such file, or none yet", body = Problem),
    ),
)]
async fn made(State(app): State<App>, caller: Caller, Query(asked): Query<Message>) -> Result<Response, Problem> {
    caller.require(&[Role::Finance])?;
    for (name, text) in [("from", &asked.from), ("to", &asked.to)] {
        text.as_deref().map(|text| date(name, text)).transpose()?;
    }
    Ok(answer(bank::made(&app.db, asked.message.as_deref()).await?))
}

/// Make the bank file: approved SEPA payouts as pain.001.001.09. Each payout stands in one file; until another is approved, the
/// last file is given again as it was.
#[utoipa::path(
    post, path = "/v1/exports/pain.001.xml", tag = "exports",
    responses(
        (status = 200, description = "The file", body = String, content_type = "application/xml"),
        (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 409, description = "Nothing is approved, or the price book has no account to pay from", body = Problem),
    ),
)]
async fn make(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    caller.require(&[Role::Finance])?;
    Ok(answer(bank::make(&app.db, &app.metering.versions(), clock::now()).await?))
}

fn answer(file: BankFile) -> Response {
    let disposition = format!("attachment; filename=\"pain.001-{}.xml\"", file.id);
    let headers = [(CONTENT_TYPE, "application/xml; charset=utf-8".to_owned()), (CONTENT_DISPOSITION, disposition)];
    (headers, file.body).into_response()
}

impl From<BankFileError> for Problem {
    fn from(error: BankFileError) -> Self {
        let detail = error.to_string();
        match error {
            BankFileError::Nothing => Self::new(StatusCode::CONFLICT, "nothing_to_send", detail)
                .fix("approve payouts whose method is sepa; those whose destination changed are proposed again"),
            BankFileError::NoDebtor => Self::new(StatusCode::CONFLICT, "no_debtor", detail)
                .fix("write [payouts.debtor] with name and iban into book.toml, and publish it"),
            BankFileError::NoneYet => Self::new(StatusCode::NOT_FOUND, "unknown_export", detail)
                .fix("POST /v1/exports/pain.001.xml makes one of the payouts that are approved"),
            BankFileError::Unknown(_) => {
                Self::new(StatusCode::NOT_FOUND, "unknown_export", detail).fix("leave `message` out for the last file")
            }
            BankFileError::Overtaken => Self::new(StatusCode::CONFLICT, "changed_meanwhile", detail).fix("try again"),
            BankFileError::Store(error) => error.into(),
        }
    }
}
