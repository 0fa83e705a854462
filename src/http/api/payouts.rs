//! `/v1/payouts/{id}/…` and `/v1/payouts/run`: money that leaves, proposed by one key and approved by another.
//!
//! Every step can be asked for by the id of a payout, or of a payout statement that it pays.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use serde::Deserialize;
use serde::Serialize;
use utoipa::IntoParams;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::billing::payouts;
use crate::billing::payouts::PayoutError;
use crate::billing::payouts::propose;
use crate::billing::payouts::propose::Run;
use crate::clock;
use crate::domain::ids::PayId;
use crate::domain::payee::Method;
use crate::domain::payout::Action;
use crate::domain::payout::Note;
use crate::domain::payout::Payout;
use crate::domain::payout::Refusal;
use crate::domain::payout::Signed;
use crate::domain::payout::State as PayoutState;
use crate::http::App;
use crate::http::api::consumers::unknown_consumer;
use crate::http::auth::Caller;
use crate::http::auth::Role;
use crate::http::body::MaybeBody;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::query::ListQuery;
use crate::http::query::Page;
use crate::http::query::Query;
use crate::http::query::invalid;
use crate::http::query::page;
use crate::store::payouts::Sought;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(run))
        .routes(routes!(approve))
        .routes(routes!(send))
        .routes(routes!(paid))
        .routes(routes!(fail))
        .routes(routes!(returned))
        .routes(routes!(cancel))
}

/// A payout, and what is to be done next.
#[derive(Serialize)]
pub(in crate::http::api) struct Told {
    #[serde(flatten)]
    payout: Payout,
    next: &'static str,
}

impl From<Payout> for Told {
    fn from(payout: Payout) -> Self {
        let next = match payout.state {
            PayoutState::Proposed => "proposed: another key must approve it",
            PayoutState::Approved => "approved: its money is set apart; send it, and say so",
            PayoutState::Sent if matches!(payout.destination, Method::Stripe(_)) => {
                "sent: Stripe has not said what became of it, and is asked again"
            }
            PayoutState::Sent => "sent: say `paid` when the bank has booked it, or `fail` when it comes back",
            PayoutState::Paid if matches!(payout.destination, Method::Stripe(_)) => {
                "paid: nothing is left to do; say `reverse` to take it back"
            }
            PayoutState::Paid => "paid: nothing is left to do, unless the bank sends it back: then say `return`",
            PayoutState::Failed => "failed: the money is the consumer's again, and the next payout takes it",
            PayoutState::Cancelled => "cancelled: the next payout takes what it was made of",
        };
        Self { payout, next }
    }
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RunRequest {
    /// Only this one.
    consumer: Option<String>,
}

/// What the bank, or whoever carries the money, says.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct StepRequest {
    /// By which it is known there.
    reference: Option<String>,
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct FailRequest {
    /// What the bank says, for people to read.
    #[schema(example = "account closed")]
    reason: Option<String>,
    reference: Option<String>,
    /// Whether it is tried again as it is: the payout stays approved, and the next try is another attempt. Else the money is
    /// the consumer's again, and is paid by another payout, which is approved anew.
    #[serde(default)]
    retry: bool,
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReturnRequest {
    /// What the bank says, for people to read.
    #[schema(example = "account closed")]
    reason: Option<String>,
}

/// Propose a payout for everybody who is due, or for one consumer. Says who waits, and for what. Asking again proposes
/// nothing more.
#[utoipa::path(
    post, path = "/v1/payouts/run", tag = "payouts", request_body = RunRequest,
    responses(
        (status = 200, description = "What was proposed, and who waits", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, description = "No such consumer", body = Problem),
        (status = 409, description = "Somebody else proposes at the same time", body = Problem),
        (status = 422, description = "No price book is in effect", body = Problem),
    ),
)]
async fn run(
    State(app): State<App>,
    caller: Caller,
    MaybeBody(request): MaybeBody<RunRequest>,
) -> Result<Json<Run>, Problem> {
    caller.require(&[Role::Finance])?;
    if let Some(consumer) = &request.consumer
        && app.db.read().await?.consumer(consumer).await?.is_none()
    {
        return Err(unknown_consumer(consumer));
    }
    let versions = app.metering.versions();
    Ok(Json(propose::run(&app.db, &versions, request.consumer.as_deref(), &signed(&caller)).await?))
}

/// Approve a payout. On a payout statement that is in none, propose one of everything that is available to its consumer: then
/// another key approves it.
#[utoipa::path(
    post, path = "/v1/payouts/{id}/approve", tag = "payouts", params(("id" = String, Path)),
    responses(
        (status = 200, description = "The payout: `proposed`, or `approved` by a second key", body = Object),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, description = "It is too far, proposed with this key, or cannot be paid out: every reason", body = Problem),
        (status = 422, description = "No price book is in effect", body = Problem),
    ),
)]
async fn approve(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Json<Told>, Problem> {
    act(&app, &caller, &id, Action::Approve, Note::default()).await
}

/// Say that an approved payout was sent; one that goes by Stripe is sent now, and comes back `paid` when its transfer is made,
/// `sent` while that is unknown, and otherwise with the reason why not. Refused if its destination has changed since it was proposed.
#[utoipa::path(
    post, path = "/v1/payouts/{id}/send", tag = "payouts", params(("id" = String, Path)), request_body = StepRequest,
    responses(
        (status = 200, description = "The payout", body = Object),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, description = "It is not approved, or may not go there any more", body = Problem),
    ),
)]
async fn send(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    MaybeBody(request): MaybeBody<StepRequest>,
) -> Result<Json<Told>, Problem> {
    caller.require(&[Role::Finance])?;
    #[cfg(feature = "stripe")]
    if let Some(payout) = crate::http::api::stripe::sent(&app, &caller, &id).await? {
        return Ok(Json(payout.into()));
    }
    act(&app, &caller, &id, Action::Send, Note { reference: request.reference, reason: None }).await
}

/// Say that the bank has booked a payout that was sent.
#[utoipa::path(
    post, path = "/v1/payouts/{id}/paid", tag = "payouts", params(("id" = String, Path)), request_body = StepRequest,
    responses(
        (status = 200, description = "The payout", body = Object),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, description = "It was not sent, or is at its end", body = Problem),
    ),
)]
async fn paid(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    MaybeBody(request): MaybeBody<StepRequest>,
) -> Result<Json<Told>, Problem> {
    act(&app, &caller, &id, Action::Pay, Note { reference: request.reference, reason: None }).await
}

/// Say that a payout that was sent came back: for good, or to be tried again.
#[utoipa::path(
    post, path = "/v1/payouts/{id}/fail", tag = "payouts", params(("id" = String, Path)), request_body = FailRequest,
    responses(
        (status = 200, description = "The payout", body = Object),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, description = "It was not sent, or is at its end", body = Problem),
    ),
)]
async fn fail(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    MaybeBody(request): MaybeBody<FailRequest>,
) -> Result<Json<Told>, Problem> {
    let action = if request.retry { Action::Retry } else { Action::Fail };
    let FailRequest { reason, reference, .. } = request;
    act(&app, &caller, &id, action, Note { reference, reason }).await
}

/// Say that the bank sent back a payout that it had booked before. The money is the consumer's again, and the next payout takes
/// it.
#[utoipa::path(
    post, path = "/v1/payouts/{id}/return", tag = "payouts", params(("id" = String, Path)), request_body = ReturnRequest,
    responses(
        (status = 200, description = "The payout", body = Object),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, description = "It was not paid", body = Problem),
    ),
)]
async fn returned(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    MaybeBody(request): MaybeBody<ReturnRequest>,
) -> Result<Json<Told>, Problem> {
    act(&app, &caller, &id, Action::Return, Note { reference: None, reason: request.reason }).await
}

/// Cancel a payout that was not sent. What it was made of is taken by the next one.
#[utoipa::path(
    post, path = "/v1/payouts/{id}/cancel", tag = "payouts", params(("id" = String, Path)),
    responses(
        (status = 200, description = "The payout", body = Object),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, description = "It was sent, or stands in a bank file", body = Problem),
    ),
)]
async fn cancel(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Json<Told>, Problem> {
    act(&app, &caller, &id, Action::Cancel, Note::default()).await
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct StateQuery {
    /// `proposed`, `approved`, `sent`, `paid`, `failed` or `cancelled`; all of them if it is left out.
    state: Option<String>,
}

/// Payouts of money, newest first, with what each is made of and every try; a consumer's key sees its own. What they pay, the
/// payout statements, `GET /v1/payouts` lists.
#[utoipa::path(
    get, path = "/v1/payouts/money", tag = "payouts", params(StateQuery, ListQuery),
    responses(
        (status = 200, description = "A list of payouts", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    ),
)]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(of): Query<StateQuery>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<Told>>, Problem> {
    let (consumer, before, limit) = page(&caller, &query, |cursor| PayId::parse(cursor).is_some())?;
    let state = of.state.as_deref().map(state).transpose()?;
    let sought = Sought::Newest { consumer, state, before, limit };
    let payouts = app.db.read().await?.payouts_of_money(sought).await?;
    Ok(Json(Page::of(payouts.into_iter().map(Told::from).collect(), limit, |told| told.payout.id.to_string())))
}

fn state(text: &str) -> Result<PayoutState, Problem> {
    let fix = format!("write one of {}", PayoutState::ALL.map(PayoutState::as_str).join(", "));
    PayoutState::parse(text).ok_or_else(|| invalid("state", &format!("`{text}` is not a state of a payout"), &fix))
}

pub(in crate::http::api) fn signed(caller: &Caller) -> Signed {
    Signed { at: clock::now(), by: caller.key.to_string() }
}

async fn act(app: &App, caller: &Caller, id: &str, action: Action, note: Note) -> Result<Json<Told>, Problem> {
    caller.require(&[Role::Finance])?;
    let versions = app.metering.versions();
    let payout = payouts::act(&app.db, &versions, id, action, (signed(caller), note)).await?;
    Ok(Json(payout.into()))
}

impl From<PayoutError> for Problem {
    fn from(error: PayoutError) -> Self {
        let detail = error.to_string();
        let conflict_problem = |code, fix: &str| Self::new(StatusCode::CONFLICT, code, detail.clone()).fix(fix);
        match error {
            PayoutError::Unknown(_) => Self::new(StatusCode::NOT_FOUND, "unknown_payout", detail)
                .fix("GET /v1/payouts lists payout statements, GET /v1/payouts/money payouts"),
            PayoutError::NotUnderWay { .. } => {
                conflict_problem("payout_not_ready", "GET /v1/payouts/{id} says where its money is")
            }
            PayoutError::Blocked { .. } | PayoutError::Refused(Refusal::Gated { .. }) => conflict_problem(
                "payout_blocked",
                "PUT /v1/consumers/{id} says how it is paid, and that it is verified; the price book has the threshold",
            ),
            PayoutError::Refused(Refusal::NotNow { .. }) => {
                conflict_problem("payout_not_ready", "GET /v1/payouts/{id} says how far it is")
            }
            PayoutError::Refused(Refusal::SameKey { .. }) => {
                conflict_problem("needs_another_key", "ask somebody else to approve it, with a key of their own")
            }
            PayoutError::Refused(Refusal::OtherDestination { .. }) => {
                conflict_problem("destination_changed", "cancel it, and propose it again")
            }
            PayoutError::Refused(Refusal::InFile { .. }) => conflict_problem(
                "in_bank_file",
                "say that it was sent, and that it failed if the bank does not take it",
            ),
            PayoutError::ByStripe(_) => conflict_problem(
                "payout_by_stripe",
                "POST /v1/payouts/{id}/send makes the transfer, and `reverse` takes it back, on a server that has Stripe's key",
            ),
            PayoutError::NotCovered { .. } => conflict_problem("payout_not_covered", "cancel it, and propose it again"),
            PayoutError::Overtaken => conflict_problem("changed_meanwhile", "look at it, and try again"),
            PayoutError::NoBook => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "no_price_book", detail)
                .fix("publish a price book that applies now"),
            PayoutError::Store(error) => error.into(),
            PayoutError::Booking(_) | PayoutError::Period(_) | PayoutError::Money(_) => {
                tracing::error!("payout: {detail}");
                Self::internal()
            }
        }
    }
}
