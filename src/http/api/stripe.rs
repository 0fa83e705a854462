//! `/v1/stripe/webhooks`, where Stripe tells what became of something; and payouts that it carries.

use axum::extract::Request;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use serde::Deserialize;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::billing::payouts;
use crate::clock;
use crate::domain::ids::InvoiceId;
use crate::domain::money::Money;
use crate::domain::payee::Method;
use crate::domain::payout::Payout;
use crate::domain::time::Instant;
use crate::http::App;
use crate::http::api::consumers::unknown_consumer;
use crate::http::api::consumers::unprocessable;
use crate::http::api::documents::unknown;
use crate::http::api::payouts::Told;
use crate::http::api::payouts::signed;
use crate::http::auth::Caller;
use crate::http::auth::Role;
use crate::http::body::Body;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::query::Page;
use crate::settlement::stripe::Error;
use crate::settlement::stripe::Stripe;
use crate::store;

/// Stripe's events are far shorter.
const EVENT_BYTES_MAX: usize = 1 << 20;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(webhooks))
        .routes(routes!(reverse))
        .routes(routes!(bank_payouts))
        .routes(routes!(collect))
        .routes(routes!(customer))
}

/// That an event was kept.
#[derive(Serialize, ToSchema)]
struct Kept {
    #[schema(example = "evt_1Nv0FGQ9RKHgCVdK")]
    kept: String,
}

/// Take an event of Stripe, signed by it. It is kept as it came, and then understood; the same again changes nothing.
#[utoipa::path(
    post, path = "/v1/stripe/webhooks", tag = "payouts", security(()), request_body = Object,
    params(("stripe-signature" = String, Header, description = "`t=…,v1=…`")),
    responses(
        (status = 200, description = "It is kept", body = Kept),
        (status = 400, description = "It is not signed, or not an event", body = Problem),
        (status = 409, description = "This server has no key of Stripe", body = Problem),
        (status = 503, description = "The store cannot be used", body = Problem),
    ),
)]
async fn webhooks(State(app): State<App>, request: Request) -> Result<Json<Kept>, Problem> {
    let stripe = stripe(&app)?;
    let (parts, body) = request.into_parts();
    let signature = parts.headers.get("stripe-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let body = app.intake.plain(body, EVENT_BYTES_MAX).await?;
    let event = stripe.take_in(&app.db, signature, &body.text, clock::now()).await?;
    // It is kept: if this does not go through, the next run catches up.
    if event.understood.is_none()
        && let Err(error) = stripe.understand(&app.db, &app.metering.versions(), &event, clock::now()).await
    {
        tracing::warn!("event {} of Stripe is not understood yet: {error}", event.id);
    }
    Ok(Json(Kept { kept: event.id }))
}

/// Take a payout back that Stripe paid: its transfer is reversed, and the money is the consumer's again. It stays `paid` until
/// Stripe has said so; asking again does no more than that.
#[utoipa::path(
    post, path = "/v1/payouts/{id}/reverse", tag = "payouts", params(("id" = String, Path)),
    responses(
        (status = 200, description = "The payout", body = Object),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, description = "It was not paid, or Stripe refuses", body = Problem),
    ),
)]
async fn reverse(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Json<Told>, Problem> {
    caller.require(&[Role::Finance])?;
    let id = named(&app, &id).await?.ok_or_else(|| payouts::PayoutError::Unknown(id))?.id;
    let payout = stripe(&app)?.take_back(&app.db, &app.metering.versions(), &id, clock::now()).await?;
    Ok(Json(payout.into()))
}

/// How far Stripe is with an invoice.
#[derive(Serialize, ToSchema)]
struct Collecting {
    #[schema(value_type = String, example = "inv_01m6a31yc0ynfhsj4qrzhe6hv5")]
    invoice: InvoiceId,
    /// Stripe's invoice, when it is final; null while that is unknown, and asked again.
    #[schema(example = "in_1Nv0FGQ9RKHgCVdK")]
    stripe_invoice: Option<String>,
}

/// Have Stripe collect what is outstanding of an invoice. That it was paid is recorded when Stripe says so. Asking again goes on
/// where it is.
#[utoipa::path(
    post, path = "/v1/invoices/{id}/collect", tag = "documents", params(("id" = String, Path)),
    responses(
        (status = 200, description = "How far it is", body = Collecting),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, description = "The invoice is not open, or Stripe refuses", body = Problem),
    ),
)]
async fn collect(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Json<Collecting>, Problem> {
    caller.require(&[Role::Finance])?;
    let invoice = InvoiceId::parse(&id).ok_or_else(|| unknown("invoice", &id))?;
    let stripe_invoice = stripe(&app)?.collect(&app.db, &app.metering.versions(), &invoice, clock::now()).await?;
    Ok(Json(Collecting { invoice, stripe_invoice }))
}

/// Who a consumer is at Stripe.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CustomerRequest {
    /// The id of a customer there, with a way to pay.
    #[schema(example = "cus_NffrFeUfNV2Hib")]
    customer: String,
}

/// Say which customer a consumer is at Stripe. Without it, the first invoice that Stripe collects makes one.
#[utoipa::path(
    put, path = "/v1/consumers/{id}/stripe-customer", tag = "consumers", params(("id" = String, Path)),
    request_body = CustomerRequest,
    responses(
        (status = 200, description = "It is known", body = CustomerRequest),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 422, description = "Not the id of a customer", body = Problem),
    ),
)]
async fn customer(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Body(request): Body<CustomerRequest>,
) -> Result<Json<CustomerRequest>, Problem> {
    caller.require(&[Role::Finance])?;
    let rest = request.customer.strip_prefix("cus_").unwrap_or_default();
    if rest.is_empty() || request.customer.len() > 64 || !rest.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        let detail = format!("`{}` is not the id of a customer at Stripe", request.customer);
        return Err(unprocessable("/customer", "unusable_id", detail, "write it like cus_NffrFeUfNV2Hib"));
    }
    let mut tx = app.db.write().await?;
    tx.consumer(&id).await?.ok_or_else(|| unknown_consumer(&id))?;
    tx.put_stripe_customer(&id, &request.customer).await?;
    tx.commit().await?;
    Ok(Json(request))
}

/// A payout from a consumer's account at Stripe to its bank. It moves nothing of the platform's.
#[derive(Serialize, ToSchema)]
struct BankPayout {
    #[schema(example = "po_1Nv0FGQ9RKHgCVdK")]
    id: String,
    #[schema(example = "acct_1Nv0FGQ9RKHgCVdK")]
    account: String,
    #[schema(value_type = Object, example = json!({"amount": "12.34", "currency": "EUR"}))]
    amount: Money,
    /// `pending`, `in_transit`, `paid`, `canceled` or `failed`.
    #[schema(example = "paid")]
    state: String,
    reason: Option<String>,
    #[schema(value_type = String, example = "2013-02-01T00:00:00Z")]
    at: Instant,
}

/// Payouts from connected accounts to banks, as far as Stripe has told of them, by account. One that is paid may still fail
/// some days later: its money is on the account then.
#[utoipa::path(
    get, path = "/v1/stripe/bank-payouts", tag = "payouts",
    responses(
        (status = 200, description = "All of them, as a list", body = Object),
        (status = 401, body = Problem), (status = 403, body = Problem),
    ),
)]
async fn bank_payouts(State(app): State<App>, caller: Caller) -> Result<Json<Page<BankPayout>>, Problem> {
    caller.require(&[Role::Finance])?;
    let known = app.db.read().await?.stripe_bank_payouts().await?.into_iter();
    let told = |known: store::stripe::BankPayout| {
        let store::stripe::BankPayout { id, account, amount, state, reason, at } = known;
        BankPayout { id, account, amount, state, reason, at }
    };
    Ok(Json(Page { data: known.map(told).collect(), next_cursor: None }))
}

/// Sends a payout if it goes by Stripe, and this server has its key.
pub(in crate::http::api) async fn sent(app: &App, caller: &Caller, id: &str) -> Result<Option<Payout>, Problem> {
    let by_stripe = named(app, id).await?.filter(|payout| matches!(payout.destination, Method::Stripe(_)));
    let Some(Payout { id, .. }) = by_stripe else { return Ok(None) };
    Ok(Some(stripe(app)?.send(&app.db, &app.metering.versions(), &id, signed(caller)).await?))
}

async fn named(app: &App, id: &str) -> Result<Option<Payout>, store::Error> {
    payouts::find(&mut app.db.read().await?, id).await
}

fn stripe(app: &App) -> Result<&Stripe, Problem> {
    app.stripe().ok_or_else(|| {
        let detail = "this server has no key of Stripe";
        Problem::new(StatusCode::CONFLICT, "stripe_not_set_up", detail)
            .fix("the operator sets TALLYSTICK_STRIPE_KEY and starts it again")
    })
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::NotByStripe(_) => Self::new(StatusCode::CONFLICT, "payout_not_ready", detail)
                .fix("say that it failed, or book it with a manual journal"),
            Error::OtherUnit(_) => {
                Self::new(StatusCode::CONFLICT, "stripe_refuses", detail).fix("cancel it, and pay it by another method")
            }
            Error::UnknownInvoice(id) => unknown("invoice", id.as_str()),
            Error::NotOpen(_) | Error::Settled(_) => Self::new(StatusCode::CONFLICT, "invoice_is_settled", detail)
                .fix("GET /v1/invoices/{id} says what settles it"),
            Error::Refused(_) => Self::new(StatusCode::CONFLICT, "stripe_refuses", detail)
                .fix("do at Stripe what it says, and try again"),
            Error::Unsigned(_) => Self::new(StatusCode::BAD_REQUEST, "stripe_signature", detail)
                .fix("only Stripe posts here; the operator checks TALLYSTICK_STRIPE_WEBHOOK_SECRET and the clock"),
            Error::NotAnEvent(_) => {
                Self::new(StatusCode::BAD_REQUEST, "invalid_body", detail).fix("only Stripe's events are posted here")
            }
            Error::Payout(error) => error.into(),
            Error::Settle(error) => error.into(),
            Error::Store(error) => error.into(),
            Error::Settings(_) | Error::NotYet(_) | Error::Money(_) => {
                tracing::error!("Stripe: {detail}");
                Self::internal()
            }
        }
    }
}
