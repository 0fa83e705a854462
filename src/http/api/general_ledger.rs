//! `/v1/ledger/accounts/{id}/postings`: the general ledger of one account, with its running balance.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use jiff::civil::Date;
use serde::Deserialize;
use serde::Serialize;
use utoipa::IntoParams;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::ledger::account::Account;
use crate::domain::ledger::account::Side;
use crate::domain::money::Money;
use crate::domain::time::Instant;
use crate::http::App;
use crate::http::api::ledger::date;
use crate::http::auth::Caller;
use crate::http::auth::Role;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::query::Page;
use crate::http::query::Query;
use crate::http::query::invalid;
use crate::http::query::limit;
use crate::store::balances::Place;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(account_postings))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PostingsQuery {
    /// The first day, by accounting date; without it, from the beginning.
    from: Option<String>,
    /// The day after the last one; without it, to the end.
    to: Option<String>,
    /// 1 to 1000; 100 if it is left out.
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page of an account's postings, by accounting date. Balances are debits less credits, or credits less debits where the
/// account grows on that side.
#[derive(Serialize, ToSchema)]
struct AccountPostings {
    #[schema(example = "1100:UA:USD")]
    account: String,
    name: &'static str,
    /// The side on which the account grows.
    normal_side: &'static str,
    currency: &'static str,
    /// What stands on it before the first posting of this page.
    #[schema(example = "0.00")]
    opening: String,
    data: Vec<PostingLine>,
    next_cursor: Option<String>,
}

/// One posting, and what stands on the account with it.
#[derive(Serialize, ToSchema)]
struct PostingLine {
    #[schema(example = "2013-01-31")]
    effective_on: String,
    #[schema(value_type = String)]
    recorded_at: Instant,
    /// The id of its entry, and the entry's number.
    entry: String,
    seq: i64,
    #[schema(example = "invoice_finalized")]
    kind: &'static str,
    #[schema(example = "Invoice INV-7 to UA")]
    description: String,
    side: &'static str,
    #[schema(example = "12.10")]
    amount: String,
    #[schema(example = "12.10")]
    balance: String,
}

/// Every posting of one account with the entry that it is of, and the balance after it.
#[utoipa::path(
    get, path = "/v1/ledger/accounts/{id}/postings", tag = "ledger",
    params(("id" = String, Path, description = "Such as 1100:UA:USD"), PostingsQuery),
    responses(
        (status = 200, body = AccountPostings),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, description = "Not the id of an account", body = Problem),
    ),
)]
async fn account_postings(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<PostingsQuery>,
) -> Result<Json<AccountPostings>, Problem> {
    caller.require(&[Role::Finance])?;
    let account = Account::parse(&id).map_err(|error| {
        Problem::new(StatusCode::NOT_FOUND, "unknown_account", format!("there is no account {id}: {error}"))
            .fix("GET /v1/ledger/accounts lists them")
    })?;
    let day = |name, text: &Option<String>| text.as_deref().map(|text| date(name, text)).transpose();
    let (from, to) = (day("from", &query.from)?.unwrap_or(Date::MIN), day("to", &query.to)?.unwrap_or(Date::MAX));
    let after = match &query.cursor {
        None => Place::start_of(from),
        Some(text) => place(text).ok_or_else(|| {
            invalid("cursor", &format!("`{text}` is not a cursor"), "use next_cursor as it was given")
        })?,
    };
    let limit = limit(query.limit.as_deref())?;
    let mut tx = app.db.read().await?;
    let opening = tx.account_balance(&account, after).await?;
    let found = tx.account_postings(&account, after, to, limit).await?;
    let Page { data: found, next_cursor } = Page::of(found, limit, |last| {
        let Place { effective_on, entry, line } = last.place;
        format!("{effective_on}.{entry}.{line}")
    });
    let side = account.chart().normal_side();
    let mut balance = opening;
    let mut data = Vec::with_capacity(found.len());
    for posting in found {
        let debit = match posting.side {
            Side::Debit => Ok(posting.amount),
            Side::Credit => posting.amount.checked_neg(),
        };
        balance = debit.and_then(|debit| balance.checked_add(debit)).map_err(|_| Problem::internal())?;
        data.push(PostingLine {
            effective_on: posting.place.effective_on.to_string(),
            recorded_at: posting.recorded_at,
            entry: posting.entry.to_string(),
            seq: posting.place.entry,
            kind: posting.kind.as_str(),
            description: posting.description,
            side: posting.side.as_str(),
            amount: posting.amount.decimal().to_string(),
            balance: shown(balance, side)?,
        });
    }
    Ok(Json(AccountPostings {
        account: id,
        name: account.chart().name(),
        normal_side: side.as_str(),
        currency: account.currency().code(),
        opening: shown(opening, side)?,
        data,
        next_cursor,
    }))
}

/// Debits less credits, as it grows on the account's side.
fn shown(balance: Money, side: Side) -> Result<String, Problem> {
    let balance = match side {
        Side::Debit => balance,
        Side::Credit => balance.checked_neg().map_err(|_| Problem::internal())?,
    };
    Ok(balance.decimal().to_string())
}

fn place(cursor: &str) -> Option<Place> {
    let mut parts = cursor.split('.');
    let (day, entry, line) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Place { effective_on: day.parse().ok()?, entry: entry.parse().ok()?, line: line.parse().ok()? })
        .filter(|_| parts.next().is_none())
}
