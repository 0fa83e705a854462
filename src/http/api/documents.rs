//! `/v1/invoices` and `/v1/payouts`: what closings made, for programs and on paper.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::VARY;
use axum::response::IntoResponse;
use axum::response::Json;
use axum::response::Response;
use serde::Deserialize;
use serde::Serialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::billing::payouts::look;
use crate::clock;
use crate::domain::document::invoice::Invoice;
use crate::domain::document::payout::Payout;
use crate::domain::ids::InvoiceId;
use crate::domain::ids::PayId;
use crate::domain::ids::PayoutId;
use crate::domain::payout::standing::Standing;
use crate::http::App;
use crate::http::accept::Form;
use crate::http::accept::form;
use crate::http::api::paper;
use crate::http::api::payouts::Told;
use crate::http::auth::Caller;
use crate::http::auth::Role;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::query::ListQuery;
use crate::http::query::Page;
use crate::http::query::Query;
use crate::http::query::page;
use crate::store::documents::Wanted;
use crate::store::payouts::Sought;

/// Of one document; a list is for programs.
pub(in crate::http::api) const FORMS: [Form; 2] = [Form::Json, Form::Pdf];

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(invoices))
        .routes(routes!(invoice))
        .routes(routes!(payouts))
        .routes(routes!(payout))
}

/// Invoices, newest period first; a consumer's key sees its own.
#[utoipa::path(
    get, path = "/v1/invoices", tag = "documents", params(ListQuery),
    responses(
        (status = 200, description = "A list of invoices with their lines", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    ),
)]
async fn invoices(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<Invoice>>, Problem> {
    let (wanted, limit) = wanted(&caller, &query, |cursor| InvoiceId::parse(cursor).is_some())?;
    let data = app.db.read().await?.invoices(wanted).await?;
    Ok(Json(Page::of(data, limit, |invoice| invoice.id.to_string())))
}

/// Payout statements, newest period first; a consumer's key sees its own.
#[utoipa::path(
    get, path = "/v1/payouts", tag = "documents", params(ListQuery),
    responses(
        (status = 200, description = "A list of payout statements with their lines and holds", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    ),
)]
async fn payouts(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<Payout>>, Problem> {
    let (wanted, limit) = wanted(&caller, &query, |cursor| PayoutId::parse(cursor).is_some())?;
    let data = app.db.read().await?.payouts(wanted).await?;
    Ok(Json(Page::of(data, limit, |payout| payout.id.to_string())))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http::api) struct DocumentQuery {
    /// `json` or `pdf`, whatever the `Accept` header says.
    pub format: Option<String>,
}

fn wanted<'q>(
    caller: &'q Caller,
    query: &'q ListQuery,
    is_cursor: impl Fn(&str) -> bool,
) -> Result<(Wanted<'q>, i64), Problem> {
    let (consumer, before, limit) = page(caller, query, is_cursor)?;
    Ok((Wanted::Page { consumer, before, limit }, limit))
}

/// One invoice, each line with its explanation.
#[utoipa::path(
    get, path = "/v1/invoices/{id}", tag = "documents", params(("id" = String, Path), DocumentQuery),
    responses(
        (status = 200, description = "The invoice", content(
            (Object = "application/json"), (Vec<u8> = "application/pdf"),
        )),
        (status = 400, description = "Not a format", body = Problem),
        (status = 406, description = "None of the forms is accepted", body = Problem),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
    ),
)]
async fn invoice(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<DocumentQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let found = app.db.read().await?.invoices(Wanted::Id(&id)).await?.pop();
    let invoice = found.ok_or_else(|| unknown("invoice", &id))?;
    caller.require_consumer(&invoice.consumer, &[Role::Finance])?;
    let response = match form(&headers, query.format.as_deref(), "an invoice", &FORMS)? {
        Form::Pdf => paper::invoice(&app, invoice).await?,
        _ => Json(invoice).into_response(),
    };
    Ok(([(VARY, "accept")], response).into_response())
}

/// A payout statement, and where its money is.
#[derive(Serialize)]
struct Statement {
    #[serde(flatten)]
    statement: Payout,
    payment: Standing,
}

/// One payout statement, each line with its explanation, and where its money is. With the id of a payout (`pay_…`): the payout,
/// as the calls that move it answer.
#[utoipa::path(
    get, path = "/v1/payouts/{id}", tag = "documents", params(("id" = String, Path), DocumentQuery),
    responses(
        (status = 200, description = "The payout statement", content(
            (Object = "application/json"), (Vec<u8> = "application/pdf"),
        )),
        (status = 400, description = "Not a format", body = Problem),
        (status = 406, description = "None of the forms is accepted", body = Problem),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
    ),
)]
async fn payout(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<DocumentQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut tx = app.db.read().await?;
    if let Some(id) = PayId::parse(&id) {
        let found = tx.payouts_of_money(Sought::Id(&id)).await?.pop();
        let payout = found.ok_or_else(|| unknown("payout", id.as_str()))?;
        caller.require_consumer(&payout.consumer, &[Role::Finance])?;
        return Ok(Json(Told::from(payout)).into_response());
    }
    let found = tx.payouts(Wanted::Id(&id)).await?.pop();
    let statement = found.ok_or_else(|| unknown("payout", &id))?;
    caller.require_consumer(&statement.consumer, &[Role::Finance])?;
    let response = match form(&headers, query.format.as_deref(), "a payout statement", &FORMS)? {
        Form::Pdf => {
            drop(tx);
            paper::payout(&app, statement).await?
        }
        _ => {
            let payment = look::standing(&mut tx, &app.metering.versions(), &statement, clock::now()).await?;
            Json(Statement { statement, payment }).into_response()
        }
    };
    Ok(([(VARY, "accept")], response).into_response())
}

pub(in crate::http::api) fn unknown(what: &str, id: &str) -> Problem {
    let code = if what == "invoice" { "unknown_invoice" } else { "unknown_payout" };
    Problem::new(StatusCode::NOT_FOUND, code, format!("there is no {what} {id}"))
        .fix(format!("GET /v1/{what}s lists them"))
}
