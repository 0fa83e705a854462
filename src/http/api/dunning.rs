//! `GET /v1/dunning`: which invoices are overdue, and which reminder of each is due.

use axum::extract::State;
use axum::response::Json;
use jiff::civil::Date;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::clock;
use crate::domain::document::dunning::Stage;
use crate::domain::document::dunning::stage;
use crate::domain::ids::InvoiceId;
use crate::domain::time::Zone;
use crate::http::App;
use crate::http::api::ledger::date;
use crate::http::auth::Caller;
use crate::http::auth::Role;
use crate::http::problem::Problem;
use crate::http::query::Page;
use crate::http::query::Query;
use crate::http::query::invalid;
use crate::http::query::limit;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(overdue))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct DunningQuery {
    consumer: Option<String>,
    /// The day on which to look; without it, today in the price book's time zone.
    on: Option<String>,
    /// 1 to 1000; 100 if it is left out.
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Invoices that are overdue, the oldest first, with how many of the price book's reminders are due of each and when the next is.
#[utoipa::path(
    get, path = "/v1/dunning", tag = "documents", params(DunningQuery),
    responses(
        (status = 200, description = "A list of overdue invoices", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    ),
)]
async fn overdue(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<DunningQuery>,
) -> Result<Json<Page<Stage>>, Problem> {
    let consumer = caller.sees(query.consumer.as_deref(), &[Role::Finance])?;
    let limit = limit(query.limit.as_deref())?;
    let after = query.cursor.as_deref().map(cursor).transpose()?;
    let now = clock::now();
    let versions = app.metering.versions();
    let book = versions.at(now).map(|version| &version.book);
    let zone = book.map_or(Zone::utc(), |book| book.zone.clone());
    let on = query.on.as_deref().map_or(Ok(now.date_in(&zone)), |text| date("on", text))?;
    let reminders = book.map_or(&[][..], |book| &book.reminders);
    let overdue = app.db.read().await?.overdue(on, consumer, after.as_ref(), limit).await?;
    let data = overdue.into_iter().map(|overdue| stage(overdue, on, reminders)).collect();
    Ok(Json(Page::of(data, limit, |last| format!("{}.{}", last.overdue.due_on, last.overdue.invoice))))
}

/// After which invoice a page begins.
fn cursor(text: &str) -> Result<(Date, InvoiceId), Problem> {
    let parts = text.split_once('.').and_then(|(date, id)| Some((date.parse().ok()?, InvoiceId::parse(id)?)));
    parts.ok_or_else(|| invalid("cursor", &format!("`{text}` is not a cursor"), "use next_cursor as it was given"))
}
