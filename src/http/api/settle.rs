//! Settling invoices: `POST /v1/invoices/{id}/pay` and its kin, `/v1/payments` and `/v1/credit-notes`.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::VARY;
use axum::response::IntoResponse;
use axum::response::Json;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::billing::settle;
use crate::billing::settle::Act;
use crate::billing::settle::CreditNoteRequest;
use crate::billing::settle::Paid;
use crate::billing::settle::PaymentRequest;
use crate::billing::settle::Pays;
use crate::clock;
use crate::domain::document::credit_note;
use crate::domain::document::credit_note::CreditNote;
use crate::domain::document::invoice::Invoice;
use crate::domain::ids::CreditNoteId;
use crate::domain::ids::InvoiceId;
use crate::domain::ids::PaymentId;
use crate::domain::time::Instant;
use crate::http::App;
use crate::http::accept::Form;
use crate::http::accept::form;
use crate::http::amount::Amount;
use crate::http::api::consumers::unprocessable;
use crate::http::api::documents::DocumentQuery;
use crate::http::api::documents::FORMS;
use crate::http::api::documents::unknown;
use crate::http::api::lock::day;
use crate::http::api::paper;
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
use crate::store::documents;
use crate::store::settlements::Wanted;

const TEXT_BYTES_MAX: usize = 1_000;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(finalize))
        .routes(routes!(pay))
        .routes(routes!(void))
        .routes(routes!(uncollectible))
        .routes(routes!(record_payment, payments))
        .routes(routes!(payment))
        .routes(routes!(issue, credit_notes))
        .routes(routes!(credit_note))
}

/// Money that came in for an invoice.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PayRequest {
    /// What came in; without it, what is outstanding of the invoice. What is too much becomes the consumer's credit.
    #[schema(value_type = Option<Object>, example = json!({"amount": "119.00", "currency": "EUR"}))]
    amount: Option<Amount>,
    /// How it came, in your words.
    #[serde(default = "bank")]
    #[schema(example = "bank")]
    method: String,
    /// What the payer or the bank wrote.
    #[serde(default)]
    #[schema(example = "2013-02 UA")]
    reference: String,
    /// The day on which it came; without it, today in UTC.
    #[schema(example = "2013-02-14")]
    received_on: Option<String>,
}

/// Money that came in from a consumer, for its oldest invoices.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PaymentOfConsumer {
    consumer: String,
    #[schema(value_type = Object, example = json!({"amount": "119.00", "currency": "EUR"}))]
    amount: Amount,
    #[serde(default = "bank")]
    #[schema(example = "bank")]
    method: String,
    #[serde(default)]
    reference: String,
    #[schema(example = "2013-02-14")]
    received_on: Option<String>,
}

/// Why an invoice is taken back or given up.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http::api) struct Reason {
    #[schema(example = "billed twice")]
    pub reason: String,
    /// The accounting date; without it, today in UTC.
    pub date: Option<String>,
}

/// What is credited of an invoice.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct IssueRequest {
    invoice: String,
    /// Some of its lines; without them, everything that is left.
    lines: Option<Vec<LineRequest>>,
    #[schema(example = "outage on the 3rd")]
    reason: String,
    /// Whether what is paid already is sent back. Otherwise it becomes the consumer's credit, and pays for its next invoices.
    #[serde(default)]
    refund: bool,
    /// The accounting date; without it, today in UTC.
    date: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LineRequest {
    /// Counted from 1.
    line: i64,
    /// Without tax, which follows; without an amount, what is left of the line.
    #[schema(value_type = Option<Object>, example = json!({"amount": "10.00", "currency": "EUR"}))]
    amount: Option<Amount>,
}

fn bank() -> String {
    "bank".to_owned()
}

/// An invoice is final when a closing makes it: gives the invoice as it stands.
#[utoipa::path(
    post, path = "/v1/invoices/{id}/finalize", tag = "documents", params(("id" = String, Path)),
    responses(
        (status = 200, description = "The invoice", body = Object),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
    ),
)]
async fn finalize(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Json<Invoice>, Problem> {
    caller.require(&[Role::Finance])?;
    let found = app.db.read().await?.invoices(documents::Wanted::Id(&id)).await?.pop();
    found.map(Json).ok_or_else(|| unknown("invoice", &id))
}

/// Record money that came in for an invoice.
#[utoipa::path(
    post, path = "/v1/invoices/{id}/pay", tag = "documents", request_body = PayRequest,
    params(
        ("id" = String, Path),
        ("idempotency-key" = Option<String>, Header, description = "The same key and body give the same answer"),
    ),
    responses(
        (status = 200, description = "The payment, and what it settles", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, description = "The invoice is not open", body = Problem),
        (status = 422, description = "An amount or date that cannot be", body = Problem),
    ),
)]
async fn pay(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Path(id): Path<String>,
    Body(request): Body<PayRequest>,
) -> Result<Json<Paid>, Problem> {
    caller.require(&[Role::Finance])?;
    let PayRequest { amount, method, reference, received_on } = request;
    let act = act(&caller, received_on.as_deref(), "/received_on")?;
    let amount = amount.map(|amount| amount.above_zero("/amount")).transpose()?;
    let id = InvoiceId::parse(&id).ok_or_else(|| unknown("invoice", &id))?;
    let request = PaymentRequest {
        id: payment_id(&caller, &headers, act.now),
        pays: Pays::Invoice(id, amount),
        method: text(method, "/method")?,
        reference: text(reference, "/reference")?,
        stripe_fee: None,
    };
    Ok(Json(settle::pay(&app.db, request, &act).await?))
}

/// Record money that came in from a consumer: it pays for what was due first.
#[utoipa::path(
    post, path = "/v1/payments", tag = "documents", request_body = PaymentOfConsumer,
    params(("idempotency-key" = Option<String>, Header, description = "The same key and body give the same answer")),
    responses(
        (status = 200, description = "The payment, and what it settles", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 409, description = "The ledger is locked at the same time", body = Problem),
        (status = 422, description = "A consumer, amount or date that cannot be", body = Problem),
    ),
)]
async fn record_payment(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Body(request): Body<PaymentOfConsumer>,
) -> Result<Json<Paid>, Problem> {
    caller.require(&[Role::Finance])?;
    let PaymentOfConsumer { consumer, amount, method, reference, received_on } = request;
    let act = act(&caller, received_on.as_deref(), "/received_on")?;
    let request = PaymentRequest {
        id: payment_id(&caller, &headers, act.now),
        pays: Pays::Consumer(consumer, amount.above_zero("/amount")?),
        method: text(method, "/method")?,
        reference: text(reference, "/reference")?,
        stripe_fee: None,
    };
    Ok(Json(settle::pay(&app.db, request, &act).await?))
}

/// Payments, newest first; a consumer's key sees its own.
#[utoipa::path(
    get, path = "/v1/payments", tag = "documents", params(ListQuery),
    responses(
        (status = 200, description = "A list of payments, each with what it settles", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    ),
)]
async fn payments(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<Paid>>, Problem> {
    let (wanted, limit) = wanted(&caller, &query, |cursor| PaymentId::parse(cursor).is_some())?;
    let data = settle::payments(&app.db, wanted).await?;
    Ok(Json(Page::of(data, limit, |paid| paid.payment.id.to_string())))
}

/// One payment, with what it settles.
#[utoipa::path(
    get, path = "/v1/payments/{id}", tag = "documents", params(("id" = String, Path)),
    responses(
        (status = 200, description = "The payment", body = Object),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
    ),
)]
async fn payment(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Json<Paid>, Problem> {
    let found = settle::payments(&app.db, Wanted::Id(&id)).await?.pop();
    let paid = found.ok_or_else(|| nothing("unknown_payment", "payment", &id))?;
    caller.require_consumer(&paid.payment.consumer, &[Role::Finance])?;
    Ok(Json(paid))
}

/// Take back an invoice that should not have been. Nothing of it may be settled; then a credit note is the way.
#[utoipa::path(
    post, path = "/v1/invoices/{id}/void", tag = "documents", params(("id" = String, Path)), request_body = Reason,
    responses(
        (status = 200, description = "The invoice, void", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, description = "The invoice is not open", body = Problem),
        (status = 422, description = "A reason or date that cannot be", body = Problem),
    ),
)]
async fn void(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Body(request): Body<Reason>,
) -> Result<Json<Invoice>, Problem> {
    caller.require(&[Role::Finance])?;
    let act = act(&caller, request.date.as_deref(), "/date")?;
    let id = InvoiceId::parse(&id).ok_or_else(|| unknown("invoice", &id))?;
    Ok(Json(settle::void(&app.db, &id, &reason(request.reason)?, &act).await?))
}

/// Give up on what is outstanding of an invoice.
#[utoipa::path(
    post, path = "/v1/invoices/{id}/uncollectible", tag = "documents", params(("id" = String, Path)),
    request_body = Reason,
    responses(
        (status = 200, description = "The invoice, uncollectible", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, description = "The invoice is not open", body = Problem),
        (status = 422, description = "A reason or date that cannot be", body = Problem),
    ),
)]
async fn uncollectible(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Body(request): Body<Reason>,
) -> Result<Json<Invoice>, Problem> {
    caller.require(&[Role::Finance])?;
    let act = act(&caller, request.date.as_deref(), "/date")?;
    let id = InvoiceId::parse(&id).ok_or_else(|| unknown("invoice", &id))?;
    Ok(Json(settle::give_up(&app.db, &id, &reason(request.reason)?, &act).await?))
}

/// Credit an invoice, or some of its lines, with their tax.
#[utoipa::path(
    post, path = "/v1/credit-notes", tag = "documents", request_body = IssueRequest,
    params(("idempotency-key" = Option<String>, Header, description = "The same key and body give the same answer")),
    responses(
        (status = 201, description = "The credit note", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem),
        (status = 409, description = "The ledger is locked at the same time", body = Problem),
        (status = 422, description = "Lines, an amount or a date that cannot be", body = Problem),
    ),
)]
async fn issue(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Body(request): Body<IssueRequest>,
) -> Result<(StatusCode, Json<CreditNote>), Problem> {
    caller.require(&[Role::Finance])?;
    let act = act(&caller, request.date.as_deref(), "/date")?;
    let line = |(index, line): (usize, LineRequest)| {
        let amount = line.amount.map(|amount| amount.any(&format!("/lines/{index}/amount"))).transpose()?;
        Ok((line.line, amount))
    };
    let wanted = match request.lines {
        None => credit_note::Wanted::Whole,
        Some(lines) => {
            let lines = lines.into_iter().enumerate().map(line).collect::<Result<_, Problem>>()?;
            credit_note::Wanted::Lines(lines)
        }
    };
    let id = match idempotency_key(&headers) {
        Some(key) => CreditNoteId::derive(Instant::from_micros(0), &[caller.key.as_str(), key]),
        None => CreditNoteId::new(act.now, random::bytes()),
    };
    let request = CreditNoteRequest {
        id,
        invoice: InvoiceId::parse(&request.invoice).ok_or_else(|| unknown("invoice", &request.invoice))?,
        wanted,
        refund: request.refund,
        reason: reason(request.reason)?,
    };
    Ok((StatusCode::CREATED, Json(settle::credit(&app.db, request, &act).await?)))
}

/// Credit notes, newest first; a consumer's key sees its own.
#[utoipa::path(
    get, path = "/v1/credit-notes", tag = "documents", params(ListQuery),
    responses(
        (status = 200, description = "A list of credit notes", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    ),
)]
async fn credit_notes(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<CreditNote>>, Problem> {
    let (wanted, limit) = wanted(&caller, &query, |cursor| CreditNoteId::parse(cursor).is_some())?;
    let data = app.db.read().await?.credit_notes(wanted).await?;
    Ok(Json(Page::of(data, limit, |note| note.id.to_string())))
}

/// One credit note.
#[utoipa::path(
    get, path = "/v1/credit-notes/{id}", tag = "documents", params(("id" = String, Path), DocumentQuery),
    responses(
        (status = 200, description = "The credit note", content(
            (Object = "application/json"), (Vec<u8> = "application/pdf"),
        )),
        (status = 400, description = "Not a format", body = Problem),
        (status = 406, description = "None of the forms is accepted", body = Problem),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
    ),
)]
async fn credit_note(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<DocumentQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let found = app.db.read().await?.credit_notes(Wanted::Id(&id)).await?.pop();
    let note = found.ok_or_else(|| nothing("unknown_credit_note", "credit note", &id))?;
    caller.require_consumer(&note.consumer, &[Role::Finance])?;
    let response = match form(&headers, query.format.as_deref(), "a credit note", &FORMS)? {
        Form::Pdf => paper::credit_note(&app, note).await?,
        _ => Json(note).into_response(),
    };
    Ok(([(VARY, "accept")], response).into_response())
}

fn wanted<'q>(
    caller: &'q Caller,
    query: &'q ListQuery,
    is_cursor: impl Fn(&str) -> bool,
) -> Result<(Wanted<'q>, i64), Problem> {
    let (consumer, before, limit) = page(caller, query, is_cursor)?;
    Ok((Wanted::Page { consumer, before, limit }, limit))
}

/// Who acts, and on which day.
pub(in crate::http::api) fn act(caller: &Caller, date: Option<&str>, place: &str) -> Result<Act, Problem> {
    let on = date.map(|text| day(place, text)).transpose()?;
    Ok(Act { by: caller.key.to_string(), on, now: clock::now() })
}

/// An idempotency key names what is made: the same key can only ever make the same, also after a crash.
fn payment_id(caller: &Caller, headers: &HeaderMap, now: Instant) -> PaymentId {
    match idempotency_key(headers) {
        Some(key) => PaymentId::derive(Instant::from_micros(0), &[caller.key.as_str(), key]),
        None => PaymentId::new(now, random::bytes()),
    }
}

pub(in crate::http::api) fn text(text: String, place: &str) -> Result<String, Problem> {
    if text.len() > TEXT_BYTES_MAX || text.contains('\0') {
        let detail = format!("the text is longer than {TEXT_BYTES_MAX} bytes, or has a zero byte");
        return Err(unprocessable(place, "unusable_text", detail, "shorten it"));
    }
    Ok(text)
}

pub(in crate::http::api) fn reason(reason: String) -> Result<String, Problem> {
    if reason.trim().is_empty() {
        return Err(unprocessable("/reason", "unusable_text", "the reason is empty", "say why: auditors will ask"));
    }
    text(reason, "/reason")
}

pub(in crate::http::api) fn nothing(code: &'static str, what: &str, id: &str) -> Problem {
    let list = what.replace(' ', "-");
    Problem::new(StatusCode::NOT_FOUND, code, format!("there is no {what} {id}"))
        .fix(format!("GET /v1/{list}s lists them"))
}

impl From<settle::Error> for Problem {
    fn from(error: settle::Error) -> Self {
        let detail = error.to_string();
        match error {
            settle::Error::UnknownInvoice(id) => unknown("invoice", id.as_str()),
            settle::Error::UnknownConsumer(id) => {
                let fix = format!("PUT /v1/consumers/{id} makes it");
                unprocessable("/consumer", "unknown_consumer", detail, &fix)
            }
            settle::Error::Settlement { .. } => Self::new(StatusCode::CONFLICT, "invoice_is_settled", detail)
                .fix("GET it to see what settled it; a credit note takes back what is paid"),
            settle::Error::CreditNote { .. } => {
                let fix = "GET /v1/credit-notes shows what was credited before; name lines and amounts that are left";
                unprocessable("/lines", "cannot_credit", detail, fix)
            }
            settle::Error::Payment(..) => {
                unprocessable("/amount", "unusable_amount", detail, "write it in the currency of what it pays for")
            }
            settle::Error::OtherRequest(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", detail)
                    .fix("use a new key for a new request")
            }
            settle::Error::Future(_) => unprocessable("", "invalid_time", detail, "name the day on which it happened"),
            settle::Error::Locked => {
                Self::new(StatusCode::CONFLICT, "changed_meanwhile", detail).fix("try again; nothing was changed")
            }
            settle::Error::Store(error) => error.into(),
            settle::Error::Credit(_) | settle::Error::Entry(_) | settle::Error::Money(_) => {
                tracing::error!("settling: {detail}");
                Self::internal()
            }
        }
    }
}
