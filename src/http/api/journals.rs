//! `/v1/ledger/journals`: manual journals, which one key drafts and another approves.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::response::Json;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;
use utoipa::IntoParams;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::billing::manual::Draft;
use crate::billing::manual::JournalError;
use crate::billing::manual::approve;
use crate::billing::manual::draft;
use crate::billing::manual::reject;
use crate::billing::manual::reverse;
use crate::clock;
use crate::domain::ids::JournalId;
use crate::domain::ledger::account::Account;
use crate::domain::ledger::account::Side;
use crate::domain::ledger::entry::Posting;
use crate::domain::ledger::manual::JournalState;
use crate::domain::ledger::manual::ManualJournal;
use crate::domain::ledger::templates::manual::manual_journal_entry;
use crate::domain::money::Money;
use crate::domain::time::Instant;
use crate::http::App;
use crate::http::api::consumers::unprocessable;
use crate::http::api::lock::day;
use crate::http::auth::Caller;
use crate::http::auth::Role;
use crate::http::body::Body;
use crate::http::idempotency::idempotency_key;
use crate::http::path::Path;
use crate::http::problem::Place;
use crate::http::problem::Problem;
use crate::http::query::Page;
use crate::http::query::Query;
use crate::http::query::invalid;
use crate::http::query::limit;
use crate::random;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(journals, draft_journal))
        .routes(routes!(journal))
        .routes(routes!(approve_journal))
        .routes(routes!(reject_journal))
        .routes(routes!(reverse_journal))
}

/// What is to be posted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct JournalRequest {
    /// The accounting date.
    #[schema(example = "2013-01-31")]
    effective_on: String,
    #[schema(example = "Bank charges of January")]
    description: String,
    /// Debits equal credits in each currency.
    postings: Vec<PostingRequest>,
}

/// A debit or a credit, in the currency of its account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PostingRequest {
    #[schema(example = "5100:USD")]
    account: String,
    /// `debit` or `credit`
    #[schema(example = "debit")]
    side: String,
    /// Above zero.
    #[schema(example = "12.50")]
    amount: String,
}

/// Why a draft is turned down.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RejectRequest {
    #[schema(example = "Booked twice")]
    reason: String,
}

/// When a journal is taken back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReverseRequest {
    /// The accounting date.
    #[schema(example = "2013-02-28")]
    effective_on: String,
    description: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct JournalsQuery {
    /// `draft`, `posted` or `rejected`; without it, all.
    state: Option<String>,
    /// 1 to 1000; 100 if it is left out.
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

fn shown(journal: &ManualJournal) -> Value {
    let posting = |posting: &Posting| json!({ "account": posting.account.to_string(), "side": posting.side.as_str(), "amount": posting.amount });
    let entry = match &journal.state {
        JournalState::Posted(decision) => Some(manual_journal_entry(&journal.id, decision.at)),
        JournalState::Draft | JournalState::Rejected { .. } => None,
    };
    json!({
        "id": journal.id,
        "state": journal.state.name(),
        "effective_on": journal.effective_on.to_string(),
        "description": journal.description,
        "postings": journal.postings.iter().map(posting).collect::<Vec<_>>(),
        "reverses": journal.reverses,
        "made_by": journal.made_by,
        "made_at": journal.made_at,
        "decided_by": journal.state.decision().map(|decision| &decision.by),
        "decided_at": journal.state.decision().map(|decision| decision.at),
        "reason": journal.state.reason(),
        "entry": entry,
    })
}

/// Manual journals, by state or all.
#[utoipa::path(
    get, path = "/v1/ledger/journals", tag = "ledger", params(JournalsQuery),
    responses(
        (status = 200, description = "A list of journals", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    ),
)]
async fn journals(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<JournalsQuery>,
) -> Result<Json<Page<Value>>, Problem> {
    caller.require(&[Role::Finance])?;
    let state = query.state.as_deref();
    if let Some(state) = state.filter(|state| !["draft", "posted", "rejected"].contains(state)) {
        return Err(invalid("state", &format!("`{state}` is not a state"), "use draft, posted or rejected"));
    }
    let not_a_cursor =
        |text: &str| invalid("cursor", &format!("`{text}` is not a cursor"), "use next_cursor as it was given");
    let after = query.cursor.as_deref().map(|text| JournalId::parse(text).ok_or_else(|| not_a_cursor(text)));
    let limit = limit(query.limit.as_deref())?;
    let found = app.db.read().await?.manual_journals(state, after.transpose()?.as_ref(), limit).await?;
    let Page { data, next_cursor } = Page::of(found, limit, |last| last.id.to_string());
    Ok(Json(Page { data: data.iter().map(shown).collect(), next_cursor }))
}

/// Draft a journal. It is posted when another key approves it.
#[utoipa::path(
    post, path = "/v1/ledger/journals", tag = "ledger", request_body = JournalRequest,
    params(("idempotency-key" = Option<String>, Header, description = "The same key and body give the same answer")),
    responses(
        (status = 201, description = "The draft", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 409, description = "Its date is locked", body = Problem),
        (status = 422, description = "Not a journal; each fault is named", body = Problem),
    ),
)]
async fn draft_journal(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Body(request): Body<JournalRequest>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.require(&[Role::Finance])?;
    let now = clock::now();
    let asked = read(request)?;
    let made = draft(&app.db, new_id(&headers, &caller, now), asked, &caller.key, now).await?;
    Ok((StatusCode::CREATED, Json(shown(&made))))
}

/// One manual journal.
#[utoipa::path(
    get, path = "/v1/ledger/journals/{id}", tag = "ledger", params(("id" = String, Path)),
    responses(
        (status = 200, description = "The journal", body = Object),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
    ),
)]
async fn journal(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    caller.require(&[Role::Finance])?;
    let id = known(&id)?;
    let journal = app.db.read().await?.manual_journal(&id).await?;
    Ok(Json(shown(&journal.ok_or(JournalError::Unknown(id))?)))
}

/// Approve a draft of somebody else: it is posted.
#[utoipa::path(
    post, path = "/v1/ledger/journals/{id}/approve", tag = "ledger", params(("id" = String, Path)),
    responses(
        (status = 200, description = "The journal", body = Object),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, description = "Not a draft any more, the caller's own, or its date is locked", body = Problem),
    ),
)]
async fn approve_journal(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    caller.require(&[Role::Finance])?;
    Ok(Json(shown(&approve(&app.db, &known(&id)?, &caller.key, clock::now()).await?)))
}

/// Reject a draft of somebody else, with a reason.
#[utoipa::path(
    post, path = "/v1/ledger/journals/{id}/reject", tag = "ledger", request_body = RejectRequest,
    params(("id" = String, Path)),
    responses(
        (status = 200, description = "The journal", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem),
        (status = 409, description = "Not a draft any more, or the caller's own", body = Problem),
        (status = 422, description = "No reason", body = Problem),
    ),
)]
async fn reject_journal(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Body(request): Body<RejectRequest>,
) -> Result<Json<Value>, Problem> {
    caller.require(&[Role::Finance])?;
    if request.reason.trim().is_empty() {
        return Err(unprocessable("/reason", "reason_is_missing", "a draft is rejected for a reason", "say why"));
    }
    Ok(Json(shown(&reject(&app.db, &known(&id)?, request.reason, &caller.key, clock::now()).await?)))
}

/// Draft what takes a posted journal back, once. Another key approves it as any other.
#[utoipa::path(
    post, path = "/v1/ledger/journals/{id}/reverse", tag = "ledger", request_body = ReverseRequest,
    params(
        ("id" = String, Path),
        ("idempotency-key" = Option<String>, Header, description = "The same key and body give the same answer"),
    ),
    responses(
        (status = 201, description = "The draft", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem),
        (status = 409, description = "Not posted, taken back already, or the date is locked", body = Problem),
        (status = 422, description = "Not a date", body = Problem),
    ),
)]
async fn reverse_journal(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Path(id): Path<String>,
    Body(request): Body<ReverseRequest>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.require(&[Role::Finance])?;
    let now = clock::now();
    let original = known(&id)?;
    let asked = (day("/effective_on", &request.effective_on)?, request.description);
    let made = reverse(&app.db, new_id(&headers, &caller, now), &original, asked, &caller.key, now).await?;
    Ok((StatusCode::CREATED, Json(shown(&made))))
}

/// An idempotency key names the journal: the same key can only ever make the same one.
fn new_id(headers: &HeaderMap, caller: &Caller, now: Instant) -> JournalId {
    match idempotency_key(headers) {
        Some(key) => JournalId::derive(Instant::from_micros(0), &[caller.key.as_str(), key]),
        None => JournalId::new(now, random::bytes()),
    }
}

fn known(id: &str) -> Result<JournalId, Problem> {
    JournalId::parse(id).ok_or_else(|| unknown(format!("there is no journal {id}")))
}

fn unknown(detail: String) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown_journal", detail).fix("GET /v1/ledger/journals lists them")
}

/// Every fault of a request at once.
fn read(request: JournalRequest) -> Result<Draft, Problem> {
    let effective_on = day("/effective_on", &request.effective_on)?;
    let mut faults = Vec::new();
    let mut postings = Vec::with_capacity(request.postings.len());
    if request.description.trim().is_empty() {
        let fix = "say what it is for";
        faults.push(Place::new("/description", "empty_description", "a journal needs a description", fix));
    }
    for (index, posting) in request.postings.iter().enumerate() {
        match read_posting(index, posting) {
            Ok(posting) => postings.push(posting),
            Err(found) => faults.extend(found),
        }
    }
    if !faults.is_empty() {
        let detail = "the journal cannot be read";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_journal", detail)
            .fix("mend what is named below")
            .with(faults));
    }
    Ok(Draft { effective_on, description: request.description, postings })
}

fn read_posting(index: usize, posting: &PostingRequest) -> Result<Posting, Vec<Place>> {
    let fault = |field: &str, code: &str, detail: String, fix: &str| {
        Place::new(&format!("/postings/{index}/{field}"), code, detail, fix)
    };
    let account = Account::parse(&posting.account).map_err(|error| {
        let detail = format!("`{}`: {error}", posting.account);
        fault("account", "not_an_account", detail, "write it like 1000:USD or 1100:UA:USD")
    });
    let side = Side::parse(&posting.side)
        .ok_or_else(|| fault("side", "not_a_side", format!("`{}` is not a side", posting.side), "use debit or credit"));
    let amount = account.as_ref().ok().map(|account| {
        let exact = Decimal::from_str_exact(&posting.amount).ok();
        exact.and_then(|exact| Money::exact(exact, account.currency())).filter(|money| money.minor() > 0).ok_or_else(
            || {
                let detail = format!("`{}` is not an amount of {} above zero", posting.amount, account.currency());
                fault("amount", "not_an_amount", detail, "write it like 12.50; the side says which way")
            },
        )
    });
    match (account, side, amount) {
        (Ok(account), Ok(side), Some(Ok(amount))) => Ok(Posting { account, side, amount }),
        (account, side, amount) => {
            Err([account.err(), side.err(), amount.and_then(Result::err)].into_iter().flatten().collect())
        }
    }
}

impl From<JournalError> for Problem {
    fn from(error: JournalError) -> Self {
        let detail = error.to_string();
        match error {
            JournalError::Entry(_) => {
                unprocessable("/postings", "invalid_journal", detail, "debits equal credits in each currency")
            }
            JournalError::Floor(_) => {
                unprocessable("/postings", "account_has_a_floor", detail, "post to another account, or make a document")
            }
            JournalError::Locked { .. } => Self::new(StatusCode::CONFLICT, "day_is_locked", detail)
                .fix("choose a later day, or open the day again with POST /v1/ledger/lock and a reason"),
            JournalError::Unknown(_) => unknown(detail),
            JournalError::Decided { .. } => Self::new(StatusCode::CONFLICT, "journal_is_decided", detail)
                .fix("draft another one; what is decided stays as it is"),
            JournalError::Own(_) => Self::new(StatusCode::CONFLICT, "journal_is_your_own", detail)
                .fix("somebody else decides on it, with another key"),
            JournalError::NotPosted { .. } => Self::new(StatusCode::CONFLICT, "journal_is_not_posted", detail)
                .fix("reject a draft that is not wanted"),
            JournalError::TakenBack(_) => Self::new(StatusCode::CONFLICT, "taken_back_already", detail)
                .fix("GET /v1/ledger/journals shows what takes it back"),
            JournalError::OtherRequest(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", detail)
                    .fix("use a new key for a new request")
            }
            JournalError::Store(error) => error.into(),
        }
    }
}
