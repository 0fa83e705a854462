//! `/v1/ledger`: the journal, and what stands on each account.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use jiff::civil::Date;
use serde::Deserialize;
use serde::Serialize;
use serde_json::json;
use utoipa::IntoParams;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::ledger::account::Side;
use crate::domain::time::Instant;
use crate::domain::time::Zone;
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::auth::Role;
use crate::http::problem::Problem;
use crate::http::query::Page;
use crate::http::query::Query;
use crate::http::query::instant;
use crate::http::query::invalid;
use crate::http::query::limit;
use crate::store::balances::AccountTotal;
use crate::store::balances::AsOf;
use crate::store::journal::Booked;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(accounts))
        .routes(routes!(entries))
        .routes(routes!(trial_balance))
        .routes(routes!(head))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct AtQuery {
    /// The end of this day, by accounting date; without it, everything.
    at: Option<String>,
    /// What was written down by this time: RFC 3339, or a date, which stands for its end in UTC; without it, everything.
    recorded_by: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PageQuery {
    /// 1 to 1000; 100 if it is left out.
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// What stands on each account at the end of a day, as far as it was written down by some time.
#[derive(Serialize, ToSchema)]
struct TrialBalance {
    at: Option<String>,
    recorded_by: Option<String>,
    accounts: Vec<Standing>,
}

/// One account of a trial balance. A balance is on one side, the other is zero.
#[derive(Serialize, ToSchema)]
struct Standing {
    #[schema(example = "1100:UA:USD")]
    id: String,
    #[schema(example = "1100")]
    account: String,
    name: &'static str,
    /// Whose, for accounts that are kept by party.
    party: Option<String>,
    /// The component, program or jurisdiction, for accounts that are kept by one.
    purpose: Option<String>,
    currency: &'static str,
    #[schema(example = "1.00")]
    debit: String,
    credit: String,
}

/// Every account that something was ever posted to, with all its debits and all its credits.
#[utoipa::path(
    get, path = "/v1/ledger/accounts", tag = "ledger",
    responses(
        (status = 200, description = "A list of accounts", body = Object),
        (status = 401, body = Problem), (status = 403, body = Problem),
    ),
)]
async fn accounts(State(app): State<App>, caller: Caller) -> Result<Json<Page<Standing>>, Problem> {
    caller.require(&[Role::Finance])?;
    let totals = app.db.read().await?.trial_balance(AsOf::NOW).await?;
    let data = totals.into_iter().map(|total| {
        let (debit, credit) = (total.debit.decimal().to_string(), total.credit.decimal().to_string());
        standing(&total, debit, credit)
    });
    Ok(Json(Page { data: data.collect(), next_cursor: None }))
}

/// What stands on each account: debits and credits are equal in each currency.
#[utoipa::path(
    get, path = "/v1/ledger/trial-balance", tag = "ledger", params(AtQuery),
    responses(
        (status = 200, body = TrialBalance),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    ),
)]
async fn trial_balance(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<AtQuery>,
) -> Result<Json<TrialBalance>, Problem> {
    caller.require(&[Role::Finance])?;
    let mut as_of = AsOf::NOW;
    if let Some(at) = &query.at {
        as_of.effective_on = date("at", at)?;
    }
    if let Some(by) = &query.recorded_by {
        as_of.recorded_before = after(by)?;
    }
    let mut accounts = Vec::new();
    for total in app.db.read().await?.trial_balance(as_of).await? {
        let balance = total.debit.checked_sub(total.credit).map_err(|_| Problem::internal())?;
        let zero = crate::domain::money::Money::zero(balance.currency());
        let (debit, credit) = match balance.is_negative() {
            true => (zero, balance.checked_neg().map_err(|_| Problem::internal())?),
            false => (balance, zero),
        };
        accounts.push(standing(&total, debit.decimal().to_string(), credit.decimal().to_string()));
    }
    Ok(Json(TrialBalance { at: query.at, recorded_by: query.recorded_by, accounts }))
}

fn standing(total: &AccountTotal, debit: String, credit: String) -> Standing {
    let account = &total.account;
    Standing {
        id: account.to_string(),
        account: account.chart().code().to_string(),
        name: account.chart().name(),
        party: account.party().map(str::to_owned),
        purpose: account.purpose().map(str::to_owned),
        currency: account.currency().code(),
        debit,
        credit,
    }
}

/// The journal, in the order in which it was posted.
#[utoipa::path(
    get, path = "/v1/ledger/entries", tag = "ledger", params(PageQuery),
    responses(
        (status = 200, description = "A list of entries with their postings", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    ),
)]
async fn entries(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<serde_json::Value>>, Problem> {
    caller.require(&[Role::Finance])?;
    let after: i64 = match &query.cursor {
        None => 0,
        Some(cursor) => cursor.parse().map_err(|_| {
            invalid("cursor", &format!("`{cursor}` is not a cursor"), "use next_cursor as it was given")
        })?,
    };
    let limit = limit(query.limit.as_deref())?;
    let booked = app.db.read().await?.journal_entries(after, limit).await?;
    let Page { data, next_cursor } = Page::of(booked, limit, |last| last.seq.to_string());
    Ok(Json(Page { data: data.iter().map(entry).collect(), next_cursor }))
}

fn entry(booked: &Booked) -> serde_json::Value {
    let entry = &booked.entry;
    let heading = entry.heading();
    let postings: Vec<serde_json::Value> = entry
        .postings()
        .iter()
        .map(|posting| {
            let side = if posting.side == Side::Debit { "debit" } else { "credit" };
            json!({ "account": posting.account.to_string(), "side": side, "amount": posting.amount })
        })
        .collect();
    json!({
        "seq": booked.seq,
        "id": entry.id().as_str(),
        "kind": heading.kind.to_string(),
        "key": heading.key,
        "effective_on": heading.effective_on.to_string(),
        "recorded_at": heading.recorded_at,
        "description": heading.description,
        "reverses": heading.reverses.as_ref().map(|id| id.as_str()),
        "postings": postings,
    })
}

/// The head of the chain: one hash that everything in the journal is known by. Keep it somewhere else.
#[utoipa::path(
    get, path = "/v1/ledger/head", tag = "ledger",
    responses(
        (status = 200, description = "Batch, last entry and hash", body = Object),
        (status = 401, body = Problem), (status = 403, body = Problem),
    ),
)]
async fn head(State(app): State<App>, caller: Caller) -> Result<Json<serde_json::Value>, Problem> {
    caller.require(&[Role::Finance])?;
    let head = app.db.read().await?.journal_head().await?;
    Ok(Json(json!({ "batch": head.batch, "last_entry": head.last_entry, "head": head.head.to_string() })))
}

/// The first moment after a time, or after a day in UTC.
fn after(text: &str) -> Result<Instant, Problem> {
    let next = text.parse::<Date>().ok().and_then(|day| day.tomorrow().ok());
    match next.and_then(|next| Instant::start_of(next, &Zone::utc())) {
        Some(after) => Ok(after),
        None => {
            let by = instant("recorded_by", text, &Zone::utc())?;
            Ok(Instant::from_micros(by.micros().saturating_add(1)))
        }
    }
}

/// Reads a date of a query.
pub fn date(name: &str, text: &str) -> Result<Date, Problem> {
    text.parse().map_err(|_| {
        let detail = format!("`{text}` is not a date");
        Problem::new(StatusCode::BAD_REQUEST, "invalid_parameter", format!("the parameter {name} cannot be read")).at(
            name,
            "invalid_parameter",
            detail,
            "write it like 2013-01-31",
        )
    })
}
