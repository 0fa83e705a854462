//! `/v1/consumers`: who is charged, paid, or both. Their ids are the platform's own.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use rust_decimal::Decimal;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::clock;
use crate::domain::consumer::Consumer;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::http::App;
use crate::http::amount::Amount;
use crate::http::auth::Caller;
use crate::http::auth::Role;
use crate::http::body::Body;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::query::Page;
use crate::http::query::Query;
use crate::http::query::limit;

/// The same as for the subject of an event.
const ID_BYTES_MAX: usize = 512;
const ALERTS_MAX: usize = 20;
/// Of a spend cap: ten times as much.
const PERCENT_MAX: Decimal = Decimal::ONE_THOUSAND;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(put, get)).routes(routes!(list))
}

/// A consumer, as the platform knows it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConsumerRequest {
    name: String,
    email: Option<String>,
    /// ISO 4217
    #[schema(example = "EUR")]
    currency: String,
    /// The id of a `[[tax]]` of the price book, if the consumer is subject to one.
    tax: Option<String>,
    /// What programs look at to see who is eligible.
    #[serde(default)]
    tags: BTreeMap<String, String>,
    /// What it is not meant to spend more than in its billing periods, in its currency. Nothing is refused because of it:
    /// `GET /v1/consumers/{id}/quota` says when it is reached.
    #[schema(value_type = Option<Object>, example = json!({"amount": "500.00", "currency": "EUR"}))]
    spend_cap: Option<Amount>,
    /// Percentages of the spend cap at which the quota says so.
    #[serde(default)]
    #[schema(example = json!(["50", "80", "100"]))]
    alerts: Vec<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PageQuery {
    /// 1 to 1000; 100 if it is left out.
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Make a consumer, or change what is known of one.
#[utoipa::path(
    put, path = "/v1/consumers/{id}", tag = "consumers", params(("id" = String, Path)), request_body = ConsumerRequest,
    responses(
        (status = 200, description = "The consumer as it is now", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 422, description = "A currency or tax that is not known, or a spend cap or alert that cannot be", body = Problem),
    ),
)]
async fn put(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Body(request): Body<ConsumerRequest>,
) -> Result<Json<Consumer>, Problem> {
    caller.require(&[Role::Finance])?;
    let now = clock::now();
    let currency = checked(&app, &id, &request)?;
    let spend_cap = request.spend_cap.as_ref().map(|cap| checked_cap(cap, currency)).transpose()?;
    let alerts = checked_alerts(&request.alerts, spend_cap)?;
    let ConsumerRequest { name, email, tax, tags, .. } = request;
    let mut tx = app.db.write().await?;
    let known = tx.consumer(&id).await?;
    if let Some(known) = known.as_ref().filter(|known| known.currency != currency) {
        let has_plans = !tx.subscriptions(Some(&id), None, 1).await?.is_empty();
        if has_plans {
            let detail = format!("{id} is billed in {} already", known.currency);
            return Err(unprocessable("/currency", "currency_is_fixed", detail, "make another consumer for it"));
        }
    }
    let created_at = known.map_or(now, |known| known.created_at);
    let consumer = Consumer { id, name, email, currency, tax, tags, spend_cap, alerts, created_at, updated_at: now };
    tx.put_consumer(&consumer).await?;
    tx.commit().await?;
    Ok(Json(consumer))
}

fn checked(app: &App, id: &str, request: &ConsumerRequest) -> Result<Currency, Problem> {
    if id.len() > ID_BYTES_MAX || id.contains(char::is_control) {
        let detail = format!("the id is {} bytes long, or has control characters", id.len());
        return Err(unprocessable("/id", "unusable_id", detail, "use the subject of the consumer's events"));
    }
    if request.name.trim().is_empty() {
        return Err(unprocessable("/name", "empty_name", "the name is empty", "give it one: it stands on documents"));
    }
    if let Some(tax) = &request.tax {
        let versions = app.metering.versions();
        let taxes = versions.at(clock::now()).map(|version| version.book.taxes.keys().cloned().collect::<Vec<_>>());
        let taxes = taxes.unwrap_or_default();
        if !taxes.contains(tax) {
            let detail = format!("the price book has no tax `{tax}`");
            let fix = format!("use one of: {}; or leave it out for no tax", taxes.join(", "));
            return Err(unprocessable("/tax", "unknown_tax", detail, &fix));
        }
    }
    Currency::from_code(&request.currency).ok_or_else(|| {
        let detail = format!("`{}` is not an ISO 4217 currency", request.currency);
        unprocessable("/currency", "unknown_currency", detail, "write it like EUR")
    })
}

fn checked_cap(cap: &Amount, currency: Currency) -> Result<Money, Problem> {
    if cap.currency() != currency.code() {
        let detail = format!("a spend cap in {} cannot be held against what is billed in {currency}", cap.currency());
        let fix = format!("write it in {currency}");
        return Err(unprocessable("/spend_cap/currency", "other_currency", detail, &fix));
    }
    cap.above_zero("/spend_cap")
}

fn checked_alerts(alerts: &[String], cap: Option<Money>) -> Result<Vec<Decimal>, Problem> {
    if alerts.len() > ALERTS_MAX {
        let detail = format!("there are {} alerts, more than {ALERTS_MAX}", alerts.len());
        return Err(unprocessable("/alerts", "unusable_alert", detail, "name fewer percentages"));
    }
    if cap.is_none() && !alerts.is_empty() {
        let detail = "there is no spend cap that alerts are percentages of".to_owned();
        return Err(unprocessable("/alerts", "unusable_alert", detail, "set spend_cap too, or leave alerts out"));
    }
    let mut percentages = BTreeSet::new();
    for (index, text) in alerts.iter().enumerate() {
        let percent = Decimal::from_str_exact(text).ok().map(|percent| percent.normalize());
        let percent =
            percent.filter(|percent| *percent > Decimal::ZERO && *percent <= PERCENT_MAX && percent.scale() <= 2);
        let is_new = percent.is_some_and(|percent| percentages.insert(percent));
        if !is_new {
            let detail = format!("`{text}` is not a percentage above 0 and up to {PERCENT_MAX}, or stands here twice");
            let (at, fix) = (format!("/alerts/{index}"), "write it like 80, with at most two decimals");
            return Err(unprocessable(&at, "unusable_alert", detail, fix));
        }
    }
    Ok(percentages.into_iter().collect())
}

/// Something in the body that is well formed but cannot be.
pub fn unprocessable(at: &str, code: &'static str, detail: impl Into<String>, fix: &str) -> Problem {
    let detail = detail.into();
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail.clone()).fix(fix).at(at, code, detail, fix)
}

/// One consumer.
#[utoipa::path(
    get, path = "/v1/consumers/{id}", tag = "consumers", params(("id" = String, Path)),
    responses(
        (status = 200, description = "The consumer", body = Object),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
    ),
)]
async fn get(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Json<Consumer>, Problem> {
    caller.require_consumer(&id, &[Role::Finance])?;
    let consumer = app.db.read().await?.consumer(&id).await?;
    consumer.map(Json).ok_or_else(|| unknown_consumer(&id))
}

/// A consumer that nobody has told about.
pub fn unknown_consumer(id: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown_consumer", format!("there is no consumer `{id}`"))
        .fix(format!("PUT /v1/consumers/{id} makes it"))
}

/// Every consumer, by id.
#[utoipa::path(
    get, path = "/v1/consumers", tag = "consumers", params(PageQuery),
    responses(
        (status = 200, description = "A list of consumers", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    ),
)]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Consumer>>, Problem> {
    caller.require(&[Role::Finance])?;
    let limit = limit(query.limit.as_deref())?;
    let data = app.db.read().await?.consumers(query.cursor.as_deref(), limit).await?;
    Ok(Json(Page::of(data, limit, |consumer| consumer.id.clone())))
}
