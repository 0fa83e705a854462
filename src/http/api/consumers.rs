//! `/v1/consumers`: who is charged, paid, or both. Their ids are the platform's own.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use utoipa::IntoParams;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::clock;
use crate::domain::bank::BankAccount;
use crate::domain::bank::Bic;
use crate::domain::bank::Iban;
use crate::domain::consumer::Consumer;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::payee::ConnectedAccount;
use crate::domain::payee::Method;
use crate::domain::payee::Payee;
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
    /// How it is paid: by hand (`manual`), by SEPA to an account (`sepa`), or by a transfer to a connected account at Stripe
    /// (`stripe`, with its `account`). Left out, it stays; null takes it away.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<Object>, example = json!({"method": "sepa", "name": "Jan Jansen", "iban": "DE89370400440532013000", "bic": "COBADEFFXXX"}))]
    payout: Option<Option<PayoutMethod>>,
    /// Whether somebody made sure that it is who it says. Left out, this and the next two stay as they are; of a new
    /// consumer they are false.
    verified: Option<bool>,
    /// Whether its tax form is on file, or none is needed.
    tax_form: Option<bool>,
    /// Whether it stands on a list of those who must not be paid.
    sanctioned: Option<bool>,
}

/// A payout method, before it is known to be one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PayoutMethod {
    method: String,
    name: Option<String>,
    iban: Option<String>,
    bic: Option<String>,
    account: Option<String>,
}

/// Null is something that is said, too.
fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A consumer, and what must be known before it is paid.
#[derive(Serialize)]
struct Known {
    #[serde(flatten)]
    consumer: Consumer,
    #[serde(flatten)]
    payee: Payee,
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
) -> Result<Json<Known>, Problem> {
    caller.require(&[Role::Finance])?;
    let now = clock::now();
    let currency = checked(&app, &id, &request)?;
    let spend_cap = request.spend_cap.as_ref().map(|cap| checked_cap(cap, currency)).transpose()?;
    let alerts = checked_alerts(&request.alerts, spend_cap)?;
    let method = match &request.payout {
        None => None,
        Some(None) => Some(None),
        Some(Some(method)) => Some(Some(checked_method(method, currency)?)),
    };
    let (verified, tax_form, sanctioned) = (request.verified, request.tax_form, request.sanctioned);
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
    let before = tx.payees(&[&consumer.id]).await?.remove(&consumer.id).unwrap_or_default();
    let payee = Payee {
        method: method.unwrap_or(before.method.clone()),
        verified: verified.unwrap_or(before.verified),
        tax_form: tax_form.unwrap_or(before.tax_form),
        sanctioned: sanctioned.unwrap_or(before.sanctioned),
    };
    if payee != before {
        tx.put_payee(&consumer.id, &payee, now).await?;
    }
    tx.commit().await?;
    Ok(Json(Known { consumer, payee }))
}

fn checked_method(method: &PayoutMethod, currency: Currency) -> Result<Method, Problem> {
    let wrong = |at: &str, detail: String, fix: &str| {
        unprocessable(&format!("/payout{at}"), "unusable_payout_method", detail, fix)
    };
    let has_bank_account = method.name.is_some() || method.iban.is_some() || method.bic.is_some();
    match &*method.method {
        "manual" | "sepa" if method.account.is_some() => {
            Err(wrong("/account", "this is for Stripe".to_owned(), "leave it out, or use the method stripe"))
        }
        "stripe" if has_bank_account => {
            Err(wrong("", "Stripe knows the bank account".to_owned(), "leave name, iban and bic out"))
        }
        "stripe" => {
            let account = ConnectedAccount::parse(method.account.as_deref().unwrap_or_default());
            let fix = "write the id of the consumer's connected account at Stripe, acct_…";
            account
                .map(Method::Stripe)
                .ok_or_else(|| wrong("/account", "this is not the id of an account at Stripe".to_owned(), fix))
        }
        "manual" if !has_bank_account => Ok(Method::Manual),
        "manual" => Err(wrong("", "by hand there is no account".to_owned(), "leave name, iban and bic out")),
        "sepa" if currency.code() != "EUR" => {
            Err(wrong("/method", format!("SEPA moves euros, not {currency}"), "use the method manual"))
        }
        "sepa" => {
            let name = method.name.as_deref().map(str::trim).filter(|name| !name.is_empty());
            let name =
                name.ok_or_else(|| wrong("/name", "the account has no name".to_owned(), "write whose account it is"))?;
            let iban = method.iban.as_deref().unwrap_or_default();
            let iban = Iban::parse(iban).map_err(|why| wrong("/iban", why.to_string(), "ask for it again"))?;
            let bic = method.bic.as_deref().map(Bic::parse).transpose();
            let bic = bic.map_err(|why| wrong("/bic", why.to_string(), "leave it out: the IBAN is enough"))?;
            Ok(Method::Sepa(BankAccount { name: name.to_owned(), iban, bic }))
        }
        other => Err(wrong("/method", format!("there is no payout method `{other}`"), "use manual, sepa or stripe")),
    }
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
async fn get(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Json<Known>, Problem> {
    caller.require_consumer(&id, &[Role::Finance])?;
    let mut tx = app.db.read().await?;
    let consumer = tx.consumer(&id).await?.ok_or_else(|| unknown_consumer(&id))?;
    let payee = tx.payees(&[&id]).await?.remove(&id).unwrap_or_default();
    Ok(Json(Known { consumer, payee }))
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
) -> Result<Json<Page<Known>>, Problem> {
    caller.require(&[Role::Finance])?;
    let limit = limit(query.limit.as_deref())?;
    let mut tx = app.db.read().await?;
    let consumers = tx.consumers(query.cursor.as_deref(), limit).await?;
    let mut payees = tx.payees(&consumers.iter().map(|consumer| &*consumer.id).collect::<Vec<_>>()).await?;
    let known = |consumer: Consumer| Known { payee: payees.remove(&consumer.id).unwrap_or_default(), consumer };
    let data = consumers.into_iter().map(known).collect();
    Ok(Json(Page::of(data, limit, |known: &Known| known.consumer.id.clone())))
}
