//! `/v1/invoices` and `/v1/payouts`: what closings made.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::document::invoice::Invoice;
use crate::domain::document::payout::Payout;
use crate::domain::ids::InvoiceId;
use crate::domain::ids::PayoutId;
use crate::http::App;
use crate::http::api::settle::ListQuery;
use crate::http::api::settle::page;
use crate::http::auth::Caller;
use crate::http::auth::Role;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::query::Page;
use crate::http::query::Query;
use crate::store::documents::Wanted;

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
    get, path = "/v1/invoices/{id}", tag = "documents", params(("id" = String, Path)),
    responses(
        (status = 200, description = "The invoice", body = Object),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
    ),
)]
async fn invoice(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Json<Invoice>, Problem> {
    let found = app.db.read().await?.invoices(Wanted::Id(&id)).await?.pop();
    let invoice = found.ok_or_else(|| unknown("invoice", &id))?;
    caller.require_consumer(&invoice.consumer, &[Role::Finance])?;
    Ok(Json(invoice))
}

/// One payout statement, each line with its explanation.
#[utoipa::path(
    get, path = "/v1/payouts/{id}", tag = "documents", params(("id" = String, Path)),
    responses(
        (status = 200, description = "The payout statement", body = Object),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
    ),
)]
async fn payout(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Json<Payout>, Problem> {
    let found = app.db.read().await?.payouts(Wanted::Id(&id)).await?.pop();
    let payout = found.ok_or_else(|| unknown("payout", &id))?;
    caller.require_consumer(&payout.consumer, &[Role::Finance])?;
    Ok(Json(payout))
}

pub(in crate::http::api) fn unknown(what: &str, id: &str) -> Problem {
    let code = if what == "invoice" { "unknown_invoice" } else { "unknown_payout" };
    Problem::new(StatusCode::NOT_FOUND, code, format!("there is no {what} {id}"))
        .fix(format!("GET /v1/{what}s lists them"))
}
