//! `/v1/credits`: prepaid credit that consumers bought or were given; where a consumer's money stands; and who wants to buy more.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::response::Json;
use serde::Deserialize;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::billing::prepaid;
use crate::billing::prepaid::GrantRequest;
use crate::clock;
use crate::domain::credit::Source;
use crate::domain::credit::prepaid::Prepaid;
use crate::domain::credit::prepaid::TopUp;
use crate::domain::credit::prepaid::usable;
use crate::domain::ids::GrantId;
use crate::domain::money::Money;
use crate::domain::time::Instant;
use crate::domain::time::Zone;
use crate::http::App;
use crate::http::amount::Amount;
use crate::http::api::consumers::unknown_consumer;
use crate::http::api::consumers::unprocessable;
use crate::http::api::settle::Reason;
use crate::http::api::settle::act;
use crate::http::api::settle::nothing;
use crate::http::api::settle::reason;
use crate::http::api::settle::text;
use crate::http::auth::Caller;
use crate::http::auth::Role;
use crate::http::body::Body;
use crate::http::idempotency::idempotency_key;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::query::ListQuery;
use crate::http::query::Page;
use crate::http::query::Query;
use crate::http::query::page;
use crate::random;
use crate::store::prepaid::Wanted;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(grant, list))
        .routes(routes!(get))
        .routes(routes!(void))
        .routes(routes!(balance))
        .routes(routes!(put_top_up, delete_top_up))
        .routes(routes!(top_ups))
}

/// Credit that a consumer buys or is given.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreditRequest {
    consumer: String,
    #[schema(value_type = Object, example = json!({"amount": "100.00", "currency": "USD"}))]
    amount: Amount,
    /// `purchased`: the amount was paid. `granted`: it is given for nothing.
    #[schema(example = "purchased")]
    source: String,
    /// The lowest is used first.
    #[serde(default)]
    priority: i64,
    /// When it can first be used, RFC 3339 or a date in UTC; without it, now.
    #[schema(example = "2013-01-01")]
    effective_at: Option<String>,
    /// When it cannot be used any more; without it, never.
    #[schema(example = "2014-01-01")]
    expires_at: Option<String>,
    /// What the payer or the bank wrote.
    #[serde(default)]
    reference: String,
    #[schema(example = "yearly package")]
    reason: String,
    /// The accounting date; without it, today in UTC.
    date: Option<String>,
}

/// Prepaid credit, and what is left of it.
#[derive(Serialize)]
struct Credit {
    #[serde(flatten)]
    prepaid: Prepaid,
    left: Money,
}

/// What a consumer owes and has.
#[derive(Serialize)]
struct Balance {
    consumer: String,
    /// What is owed of its invoices.
    outstanding: Money,
    /// What it paid too much or was credited.
    credit: Money,
    /// What is left of prepaid credit that can be used now.
    prepaid: Money,
    /// When it wants to buy credit again.
    top_up: Option<TopUp>,
    /// Whether it is time to.
    is_low: bool,
}

/// When a consumer wants to buy credit again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TopUpRequest {
    /// As soon as less than this is left.
    #[schema(value_type = Object, example = json!({"amount": "20.00", "currency": "USD"}))]
    below: Amount,
    /// How much it wants to buy then.
    #[schema(value_type = Object, example = json!({"amount": "100.00", "currency": "USD"}))]
    amount: Amount,
}

/// A consumer that wants to buy credit now.
#[derive(Serialize)]
struct Low {
    #[serde(flatten)]
    top_up: TopUp,
    left: Money,
}

impl Credit {
    fn of(prepaid: Prepaid) -> Result<Self, Problem> {
        let left = prepaid.left().map_err(|_| Problem::internal())?;
        Ok(Self { prepaid, left })
    }
}

/// Record credit that a consumer bought, or give it some. The closings that follow pay its invoices with it.
#[utoipa::path(
    post, path = "/v1/credits", tag = "credits", request_body = CreditRequest,
    params(("idempotency-key" = Option<String>, Header, description = "The same key and body give the same answer")),
    responses(
        (status = 201, description = "The credit", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 409, description = "The ledger is locked at the same time", body = Problem),
        (status = 422, description = "A consumer, amount or time that cannot be", body = Problem),
    ),
)]
async fn grant(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Body(request): Body<CreditRequest>,
) -> Result<(StatusCode, Json<Credit>), Problem> {
    caller.require(&[Role::Finance])?;
    let act = act(&caller, request.date.as_deref(), "/date")?;
    let source = Source::parse(&request.source).ok_or_else(|| {
        let detail = format!("`{}` is neither purchased nor granted", request.source);
        unprocessable("/source", "unknown_source", detail, "write `purchased` if it was paid for, else `granted`")
    })?;
    let effective_at = request.effective_at.as_deref().map(|text| time("/effective_at", text)).transpose()?;
    let expires_at = request.expires_at.as_deref().map(|text| time("/expires_at", text)).transpose()?;
    if expires_at.is_some_and(|expires_at| expires_at <= effective_at.unwrap_or(act.now)) {
        let detail = "it would expire before it can be used";
        return Err(unprocessable(
            "/expires_at",
            "ends_before_it_starts",
            detail,
            "name a later time, or leave it out",
        ));
    }
    let request = GrantRequest {
        id: match idempotency_key(&headers) {
            Some(key) => GrantId::derive(Instant::from_micros(0), &[caller.key.as_str(), key]),
            None => GrantId::new(act.now, random::bytes()),
        },
        consumer: request.consumer,
        amount: request.amount.above_zero("/amount")?,
        source,
        priority: request.priority,
        effective_at,
        expires_at,
        reference: text(request.reference, "/reference")?,
        reason: reason(request.reason)?,
    };
    Ok((StatusCode::CREATED, Json(Credit::of(prepaid::grant(&app.db, request, &act).await?)?)))
}

/// Prepaid credit, newest first; a consumer's key sees its own.
#[utoipa::path(
    get, path = "/v1/credits", tag = "credits", params(ListQuery),
    responses(
        (status = 200, description = "A list of credits, each with what became of it", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    ),
)]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<Credit>>, Problem> {
    let (consumer, before, limit) = page(&caller, &query, |cursor| GrantId::parse(cursor).is_some())?;
    let found = app.db.read().await?.prepaid(Wanted::Page { consumer, before, limit }).await?;
    let data = found.into_iter().map(Credit::of).collect::<Result<Vec<_>, _>>()?;
    Ok(Json(Page::of(data, limit, |credit| credit.prepaid.id.to_string())))
}

/// One prepaid credit, with what became of it.
#[utoipa::path(
    get, path = "/v1/credits/{id}", tag = "credits", params(("id" = String, Path)),
    responses(
        (status = 200, description = "The credit", body = Object),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
    ),
)]
async fn get(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Json<Credit>, Problem> {
    let found = app.db.read().await?.prepaid(Wanted::Id(&id)).await?.pop();
    let prepaid = found.ok_or_else(|| nothing("unknown_credit", "credit", &id))?;
    caller.require_consumer(&prepaid.consumer, &[Role::Finance])?;
    Ok(Json(Credit::of(prepaid)?))
}

/// Take back what is left of a credit. What was paid for it is sent back.
#[utoipa::path(
    post, path = "/v1/credits/{id}/void", tag = "credits", params(("id" = String, Path)), request_body = Reason,
    responses(
        (status = 200, description = "The credit, of which nothing is left", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, description = "The ledger is locked at the same time", body = Problem),
        (status = 422, description = "A reason or date that cannot be", body = Problem),
    ),
)]
async fn void(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Body(request): Body<Reason>,
) -> Result<Json<Credit>, Problem> {
    caller.require(&[Role::Finance])?;
    let act = act(&caller, request.date.as_deref(), "/date")?;
    let unknown = || nothing("unknown_credit", "credit", &id);
    let known = GrantId::parse(&id).ok_or_else(unknown)?;
    let voided = prepaid::void(&app.db, &known, &reason(request.reason)?, &act).await?;
    Ok(Json(Credit::of(voided.ok_or_else(unknown)?)?))
}

/// What a consumer owes, and what it has: credit of its own, and prepaid credit.
#[utoipa::path(
    get, path = "/v1/consumers/{id}/balance", tag = "consumers", params(("id" = String, Path)),
    responses(
        (status = 200, description = "The balance", body = Object),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
    ),
)]
async fn balance(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Json<Balance>, Problem> {
    caller.require_consumer(&id, &[Role::Finance])?;
    let now = clock::now();
    let mut tx = app.db.read().await?;
    let currency = tx.consumer(&id).await?.ok_or_else(|| unknown_consumer(&id))?.currency;
    let owed = tx.owed(&id).await?.into_iter().map(|(_, amount)| amount);
    let credit = tx.customer_credit(Some(&id)).await?.into_iter().map(|(_, amount)| amount);
    let grants = tx.prepaid(Wanted::Left(Some(&id))).await?;
    let left = usable(&grants, currency, now).map_err(|_| Problem::internal())?;
    let top_up = tx.top_ups(Some(&id)).await?.pop();
    let is_low = top_up.as_ref().is_some_and(|top_up| left.minor() < top_up.below.minor());
    let sum = |amounts: &mut dyn Iterator<Item = Money>| {
        Money::sum(currency, amounts.filter(|amount| amount.currency() == currency)).map_err(|_| Problem::internal())
    };
    Ok(Json(Balance {
        consumer: id,
        outstanding: sum(&mut owed.into_iter())?,
        credit: sum(&mut credit.into_iter())?,
        prepaid: left,
        top_up,
        is_low,
    }))
}

/// Say when a consumer wants to buy prepaid credit again, and how much.
#[utoipa::path(
    put, path = "/v1/consumers/{id}/top-up", tag = "credits", params(("id" = String, Path)), request_body = TopUpRequest,
    responses(
        (status = 200, description = "When and how much", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 422, description = "Amounts that cannot be", body = Problem),
    ),
)]
async fn put_top_up(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Body(request): Body<TopUpRequest>,
) -> Result<Json<TopUp>, Problem> {
    caller.require_consumer(&id, &[Role::Finance])?;
    let mut tx = app.db.write().await?;
    let currency = tx.consumer(&id).await?.ok_or_else(|| unknown_consumer(&id))?.currency;
    let (below, amount) = (request.below.above_zero("/below")?, request.amount.above_zero("/amount")?);
    for (place, given) in [("/below/currency", below), ("/amount/currency", amount)] {
        if given.currency() != currency {
            let detail = format!("{id} is billed in {currency}");
            return Err(unprocessable(place, "other_currency", detail, &format!("write it in {currency}")));
        }
    }
    let top_up = TopUp { consumer: id, below, amount, updated_at: clock::now() };
    tx.put_top_up(&top_up).await?;
    tx.commit().await?;
    Ok(Json(top_up))
}

/// Ask no more for credit to be bought.
#[utoipa::path(
    delete, path = "/v1/consumers/{id}/top-up", tag = "credits", params(("id" = String, Path)),
    responses(
        (status = 204, description = "Nothing is asked for"),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
    ),
)]
async fn delete_top_up(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    caller.require_consumer(&id, &[Role::Finance])?;
    let mut tx = app.db.write().await?;
    if !tx.delete_top_up(&id).await? {
        return Err(unknown_consumer(&id));
    }
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who wants to buy credit now: less is left than it said. What is bought is recorded by `POST /v1/credits`.
#[utoipa::path(
    get, path = "/v1/top-ups", tag = "credits",
    responses(
        (status = 200, description = "A list of consumers, with how much they want", body = Object),
        (status = 401, body = Problem), (status = 403, body = Problem),
    ),
)]
async fn top_ups(State(app): State<App>, caller: Caller) -> Result<Json<Page<Low>>, Problem> {
    caller.require(&[Role::Finance])?;
    let now = clock::now();
    let mut tx = app.db.read().await?;
    let mut grants: BTreeMap<String, Vec<Prepaid>> = BTreeMap::new();
    for grant in tx.prepaid(Wanted::Left(None)).await? {
        grants.entry(grant.consumer.clone()).or_default().push(grant);
    }
    let mut data = Vec::new();
    for top_up in tx.top_ups(None).await? {
        let own = grants.get(&top_up.consumer).map_or(&[][..], Vec::as_slice);
        let left = usable(own, top_up.below.currency(), now).map_err(|_| Problem::internal())?;
        if left.minor() < top_up.below.minor() {
            data.push(Low { top_up, left });
        }
    }
    Ok(Json(Page { data, next_cursor: None }))
}

fn time(place: &str, text: &str) -> Result<Instant, Problem> {
    Instant::parse_in(text, &Zone::utc()).ok_or_else(|| {
        let detail = format!("`{text}` is neither a date nor an RFC 3339 time");
        unprocessable(place, "invalid_time", detail, "write it like 2013-01-31 or 2013-01-31T00:00:00Z")
    })
}
