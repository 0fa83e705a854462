//! `/v1/subscriptions`: consumer × plan × time.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::response::Json;
use serde::Deserialize;
use serde::Deserializer;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::billing::subscribe;
use crate::billing::subscribe::subscribe;
use crate::clock;
use crate::domain::ids::SubscriptionId;
use crate::domain::subscription::Ending;
use crate::domain::subscription::Subscription;
use crate::domain::time::Instant;
use crate::http::App;
use crate::http::api::consumers::unprocessable;
use crate::http::auth::Caller;
use crate::http::auth::Role;
use crate::http::body::Body;
use crate::http::idempotency::idempotency_key;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::query::ListQuery;
use crate::http::query::Page;
use crate::http::query::Query;
use crate::http::query::invalid;
use crate::http::query::limit;
use crate::random;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(get, change))
}

/// Who is billed under which plan, and from when.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SubscriptionRequest {
    consumer: String,
    plan: String,
    /// RFC 3339, or a date in the plan's time zone. On an hour, where usage buckets begin.
    #[schema(example = "2013-01-01")]
    start: String,
    /// Exclusive. Without it, until further notice.
    end: Option<String>,
    /// The day of the month on which its periods begin, instead of the plan's `anchor_day`: for plans with
    /// `anchor = "subscription"` and an interval of months.
    #[schema(value_type = Option<i8>, minimum = 1, maximum = 31, example = 15)]
    anchor_day: Option<Number>,
    /// How many units it is for, such as seats: what a fee with a `unit_amount` is multiplied by. One, if it is left out.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 1_000_000_000, example = 5)]
    quantity: Option<Number>,
}

/// A day of the month or a quantity: a number, or a text as in a plan.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Number(i64),
    Text(String),
}

impl From<Number> for String {
    fn from(number: Number) -> Self {
        match number {
            Number::Number(number) => number.to_string(),
            Number::Text(number) => number,
        }
    }
}

/// What is to be otherwise: the plan, the billing day, the quantity, or whether it is paused, from some time on; or the end.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangeRequest {
    /// Billed under this plan from `at` on. Without it and without a billing day under the same plan, as the price book of
    /// then has it.
    plan: Option<String>,
    /// RFC 3339, or a date in the plan's time zone. On an hour, and after what is closed.
    #[schema(example = "2013-02-10")]
    at: Option<String>,
    /// The day of the month on which periods begin that come after the one which runs at `at`; `null`, and it is the plan's.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i8>, minimum = 1, maximum = 31, example = 15)]
    anchor_day: Option<Option<Number>>,
    /// For so many units from `at` on. What a fee for each of them comes to more or less in the period that runs then is on
    /// the document that closes it.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 1_000_000_000, example = 8)]
    quantity: Option<Number>,
    /// `true`: from `at` on nothing is owed, neither fees nor usage, until it goes on with `false`. The running period ends
    /// there, and the fees in advance of its rest are credited.
    #[schema(example = true)]
    paused: Option<bool>,
    /// When it ends, exclusive; `null`, and it runs until further notice. Fees in advance of what is not used are credited.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    end: Option<Option<String>>,
    /// With an end, `false`: usage and fees in arrears of the last period are not charged.
    end_charges: Option<bool>,
    /// With an end, `false`: fees in advance are not credited.
    end_credits: Option<bool>,
}

/// Tells `null` from what is left out.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Subscribe a consumer to a plan. A start in the past prices what is in the log already.
#[utoipa::path(
    post, path = "/v1/subscriptions", tag = "subscriptions", request_body = SubscriptionRequest,
    params(("idempotency-key" = Option<String>, Header, description = "The same key and body give the same answer")),
    responses(
        (status = 201, description = "The subscription", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 422, description = "A consumer, plan, time, billing day or quantity that cannot be", body = Problem),
    ),
)]
async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Body(request): Body<SubscriptionRequest>,
) -> Result<(StatusCode, Json<Subscription>), Problem> {
    caller.require(&[Role::Finance])?;
    let now = clock::now();
    // An idempotency key names the subscription: the same key can only ever make the same one, also after a crash.
    let id = match idempotency_key(&headers) {
        Some(key) => SubscriptionId::derive(Instant::from_micros(0), &[caller.key.as_str(), key]),
        None => SubscriptionId::new(now, random::bytes()),
    };
    let SubscriptionRequest { consumer, plan, start, end, anchor_day, quantity } = request;
    let (anchor_day, quantity) = (anchor_day.map(Number::into), quantity.map(Number::into));
    let request = subscribe::Request { consumer, plan, start, end, anchor_day, quantity };
    let made = subscribe(&app.db, &app.metering.versions(), id, request, now).await;
    Ok((StatusCode::CREATED, Json(made?)))
}

impl From<subscribe::Error> for Problem {
    fn from(error: subscribe::Error) -> Self {
        let detail = error.to_string();
        match error {
            subscribe::Error::UnknownConsumer(id) => {
                let fix = format!("PUT /v1/consumers/{id} makes it");
                unprocessable("/consumer", "unknown_consumer", detail, &fix)
            }
            subscribe::Error::UnknownPlan { .. } => {
                unprocessable("/plan", "unknown_plan", detail, "choose one of them, or publish a book that has it")
            }
            subscribe::Error::UnknownSubscription(_) => {
                Problem::new(StatusCode::NOT_FOUND, "unknown_subscription", detail)
                    .fix("GET /v1/subscriptions lists them")
            }
            subscribe::Error::Closed { .. } => {
                unprocessable("/at", "period_is_closed", detail, "choose a later time; what is invoiced stays as it is")
            }
            subscribe::Error::Ended { .. } => {
                unprocessable("/at", "subscription_has_ended", detail, "choose an earlier time, or set end first")
            }
            subscribe::Error::Over(_) => {
                unprocessable("", "subscription_is_over", detail, "make a new subscription for what comes after it")
            }
            subscribe::Error::PlanGoes { .. } => {
                let fix = "end it by then, let it change to another plan by then, or publish a book that has the plan";
                unprocessable("/plan", "plan_goes", detail, fix)
            }
            subscribe::Error::NotATime(_) => {
                unprocessable("/start", "invalid_time", detail, "write it like 2013-01-31 or 2013-01-31T00:00:00Z")
            }
            subscribe::Error::NotOnTheHour(_) => {
                unprocessable("/start", "not_on_the_hour", detail, "start and end on a full hour")
            }
            subscribe::Error::EndsBeforeItStarts => unprocessable(
                "/end",
                "ends_before_it_starts",
                detail,
                "the end is exclusive, and comes after the start",
            ),
            subscribe::Error::OtherCurrency { .. } => {
                unprocessable("/plan", "other_currency", detail, "choose a plan in the consumer's currency")
            }
            subscribe::Error::OtherRequest(_) => {
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", detail)
                    .fix("use a new key for a new request")
            }
            subscribe::Error::NoBook(_) => {
                unprocessable("/start", "no_price_book", detail, "publish a price book that applies by then")
            }
            subscribe::Error::NotADay(_) => {
                unprocessable("/anchor_day", "unusable_anchor_day", detail, "name a day from 1 to 31, or leave it out")
            }
            subscribe::Error::FixedDay(_) => {
                let fix = "leave it out, or choose a plan with anchor = \"subscription\" and an interval of months";
                unprocessable("/anchor_day", "anchor_day_is_fixed", detail, fix)
            }
            subscribe::Error::NotAQuantity(_) => {
                unprocessable("/quantity", "unusable_quantity", detail, "name a whole number, or leave it out for one")
            }
            subscribe::Error::Overtaken(_) => {
                Problem::new(StatusCode::CONFLICT, "changed_meanwhile", detail).fix("try again; nothing was changed")
            }
            subscribe::Error::Store(error) => error.into(),
        }
    }
}

/// Bill a subscription under another plan from some time on, move it to the price book of then, give it another billing day or
/// quantity, pause it and let it go on, or end it.
///
/// What is closed stays as it is. A running period ends with a change of plan, and the fees in advance of its rest are
/// credited. With another billing day alone it ends as it was to, and the one after it on that day.
#[utoipa::path(
    patch, path = "/v1/subscriptions/{id}", tag = "subscriptions", params(("id" = String, Path)),
    request_body = ChangeRequest,
    responses(
        (status = 200, description = "The subscription", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, description = "Others change it at the same time", body = Problem),
        (status = 422, description = "A plan, time, billing day or quantity that cannot be", body = Problem),
    ),
)]
async fn change(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Body(request): Body<ChangeRequest>,
) -> Result<Json<Subscription>, Problem> {
    caller.require(&[Role::Finance])?;
    let id = SubscriptionId::parse(&id).ok_or_else(|| unknown(&id))?;
    let change = change_of(request)?;
    Ok(Json(subscribe::change(&app.db, &app.metering.versions(), &id, change, clock::now()).await?))
}

/// One change at a time, so that each is made or none.
fn change_of(request: ChangeRequest) -> Result<subscribe::Change, Problem> {
    let ChangeRequest { plan, at, anchor_day, quantity, paused, end, end_charges, end_credits } = request;
    let settles = end_charges.is_some() || end_credits.is_some();
    let change = match (at, anchor_day, quantity, paused, end) {
        (Some(at), None, None, None, None) if !settles => Some(subscribe::Change::Plan { plan, at }),
        (Some(at), Some(day), None, None, None) if !settles => {
            Some(subscribe::Change::Day { day: day.map(Number::into), plan, at })
        }
        (Some(at), None, Some(quantity), None, None) if plan.is_none() && !settles => {
            Some(subscribe::Change::Quantity { quantity: quantity.into(), at })
        }
        (Some(at), None, None, Some(paused), None) if plan.is_none() && !settles => {
            Some(subscribe::Change::Pause { paused, at })
        }
        (None, None, None, None, Some(end)) if plan.is_none() && (end.is_some() || !settles) => {
            let ending = Ending { charges: end_charges.unwrap_or(true), credits: end_credits.unwrap_or(true) };
            Some(subscribe::Change::End { end, ending })
        }
        _ => None,
    };
    change.ok_or_else(|| {
        let detail = "a change is a plan, a billing day, a quantity or a pause with the time from which it applies, or an end";
        let fix = r#"send {"plan": …, "at": …}, {"anchor_day": …, "at": …}, {"quantity": …, "at": …}, {"paused": …, "at": …}, {"at": …} or {"end": …}"#;
        unprocessable("", "unclear_change", detail.to_owned(), fix)
    })
}

fn unknown(id: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown_subscription", format!("there is no subscription {id}"))
        .fix("GET /v1/subscriptions lists them")
}

/// Subscriptions, by id; a consumer's key sees its own.
#[utoipa::path(
    get, path = "/v1/subscriptions", tag = "subscriptions", params(ListQuery),
    responses(
        (status = 200, description = "A list of subscriptions", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    ),
)]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<Subscription>>, Problem> {
    let consumer = caller.sees(query.consumer.as_deref(), &[Role::Finance])?;
    let limit = limit(query.limit.as_deref())?;
    let after = match &query.cursor {
        Some(cursor) => Some(SubscriptionId::parse(cursor).ok_or_else(|| {
            invalid("cursor", &format!("`{cursor}` is not a cursor"), "use next_cursor as it was given")
        })?),
        None => None,
    };
    let data = app.db.read().await?.subscriptions(consumer, after.as_ref(), limit).await?;
    Ok(Json(Page::of(data, limit, |subscription| subscription.id.to_string())))
}

/// One subscription.
#[utoipa::path(
    get, path = "/v1/subscriptions/{id}", tag = "subscriptions", params(("id" = String, Path)),
    responses(
        (status = 200, description = "The subscription", body = Object),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
    ),
)]
async fn get(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Json<Subscription>, Problem> {
    let known = SubscriptionId::parse(&id).ok_or_else(|| unknown(&id))?;
    let subscription = app.db.read().await?.subscription(&known).await?.ok_or_else(|| unknown(&id))?;
    caller.require_consumer(&subscription.consumer, &[Role::Finance])?;
    Ok(Json(subscription))
}
