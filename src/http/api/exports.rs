//! `/v1/exports`: what finance takes away, and the journal as sealed batches.

use axum::extract::State;
use axum::http::HeaderName;
use axum::http::StatusCode;
use axum::http::header::CONTENT_DISPOSITION;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::response::Json;
use axum::response::Response;
use jiff::civil::Date;
use serde::Deserialize;
use serde::Serialize;
use utoipa::IntoParams;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::billing::export;
use crate::billing::export::ExportError;
use crate::billing::export::Format;
use crate::billing::export::Kind;
use crate::billing::export::batches;
use crate::billing::export::batches::SealError;
use crate::clock;
use crate::domain::ids::ExportId;
use crate::domain::ledger::chain::Head;
use crate::domain::money::Money;
use crate::domain::time::Instant;
use crate::http::App;
use crate::http::api::consumers::unprocessable;
use crate::http::api::ledger::date;
use crate::http::auth::Caller;
use crate::http::auth::Role;
use crate::http::body::Body;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::query::Page;
use crate::http::query::Query;
use crate::http::query::invalid;
use crate::http::query::limit;
use crate::store::exports::ExportBatch;

/// What everything in the journal was known by when the export was made.
const LEDGER_HEAD: HeaderName = HeaderName::from_static("tallystick-ledger-head");

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(export)).routes(routes!(seal, list)).routes(routes!(again))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Range {
    /// First accounting date; from the beginning if it is left out.
    from: Option<String>,
    /// The accounting date to stop before; to the end if it is left out. `aging.csv` is as of the day before it, at the
    /// latest of today.
    to: Option<String>,
    /// Of this consumer alone: invoices, payouts, usage and the statement.
    consumer: Option<String>,
}

/// An export: the journal (`journal.csv`, `journal.hledger`, `journal.beancount`), its days for accounting tools
/// (`quickbooks.csv`, `xero.csv`), documents (`invoices.csv`, `payouts.csv`, `statement.xlsx`), `usage.csv`, and what
/// auditors ask for (`aging.csv`, `rewards-rollforward.csv`).
///
/// The header `Tallystick-Ledger-Head` is the head of the chain at that moment. To import the journal regularly and
/// nothing twice, seal batches.
#[utoipa::path(
    get, path = "/v1/exports/{kind}", tag = "exports", params(("kind" = String, Path), Range),
    responses(
        (status = 200, description = "The file", content(
            (String = "text/csv"), (String = "text/plain"),
            (String = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        )),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, description = "No such export", body = Problem),
    ),
)]
async fn export(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Query(range): Query<Range>,
) -> Result<Response, Problem> {
    caller.require(&[Role::Finance])?;
    let kind = Kind::named(&name).ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "unknown_export", format!("there is no export `{name}`"))
            .fix(one_of(&[Kind::ALL.map(Kind::name).as_slice(), &["pain.001.xml"]].concat()))
    })?;
    let consumer = range.consumer.as_deref();
    if consumer.is_some() && !kind.is_by_consumer() {
        return Err(invalid("consumer", &format!("{name} is not kept by consumer"), "leave it out"));
    }
    let from = range.from.as_deref().map_or(Ok(Date::MIN), |text| date("from", text))?;
    let to = range.to.as_deref().map_or(Ok(Date::MAX), |text| date("to", text))?;
    if kind == Kind::Usage {
        app.metering.flush().await?;
    }
    let range = export::Range { from, to, consumer };
    let made = export::export(&app.db, &app.metering.versions(), kind, range, clock::now()).await?;
    Ok(file(kind, kind.name().to_owned(), made.head, made.bytes))
}

/// What a batch takes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BatchRequest {
    /// A form of the journal: `journal.csv`, `journal.hledger`, `journal.beancount`, `quickbooks.csv` or `xero.csv`.
    #[schema(example = "quickbooks.csv")]
    kind: String,
    /// The last accounting date.
    #[schema(example = "2013-01-31")]
    through: String,
}

/// An export of the journal that was sealed: no other batch of its kind has the same entries.
#[derive(Serialize, ToSchema)]
#[schema(as = ExportBatch)]
struct Shown {
    #[schema(value_type = String, example = "exp_01m851tyke0khayy7m3m4wtkmm")]
    id: ExportId,
    #[schema(example = "quickbooks.csv")]
    kind: String,
    /// 1, 2, 3 within its kind.
    number: i64,
    #[schema(example = "2013-01-31")]
    through: String,
    /// The lowest and the highest number in the journal of what it took.
    first_entry: i64,
    last_entry: i64,
    entries: i64,
    /// What all entries debit, and so credit, by currency.
    #[schema(value_type = Vec<Object>, example = json!([{"amount": "12.34", "currency": "USD"}]))]
    totals: Vec<Money>,
    /// Head of the chain when it was sealed.
    head: String,
    /// Of the file, in hex.
    sha256: String,
    #[schema(value_type = String)]
    sealed_at: Instant,
}

impl From<ExportBatch> for Shown {
    fn from(batch: ExportBatch) -> Self {
        Self {
            id: batch.id,
            kind: batch.kind,
            number: batch.number,
            through: batch.through.to_string(),
            first_entry: batch.first_entry,
            last_entry: batch.last_entry,
            entries: batch.entries,
            totals: batch.totals,
            head: batch.head.to_string(),
            sha256: batch.sha256,
            sealed_at: batch.sealed_at,
        }
    }
}

/// Seal a batch: every entry that is dated through a day and that no batch of this kind took before.
///
/// What is booked late into days that were exported already is in the next batch.
#[utoipa::path(
    post, path = "/v1/exports/batches", tag = "exports", request_body = BatchRequest,
    responses(
        (status = 201, description = "The batch; its file is had by its id", body = Shown),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 409, description = "Nothing is left to take, or others seal at the same time", body = Problem),
        (status = 422, description = "Not a form of the journal, or not a date", body = Problem),
    ),
)]
async fn seal(
    State(app): State<App>,
    caller: Caller,
    Body(request): Body<BatchRequest>,
) -> Result<(StatusCode, Json<Shown>), Problem> {
    caller.require(&[Role::Finance])?;
    let format = Format::named(&request.kind).ok_or_else(|| {
        let fix = one_of(&Format::ALL.map(Format::name));
        unprocessable("/kind", "unknown_export", format!("`{}` is not a form of the journal", request.kind), &fix)
    })?;
    let through = request.through.parse().map_err(|_| {
        let detail = format!("`{}` is not a date", request.through);
        unprocessable("/through", "invalid_time", detail, "write it like 2013-01-31")
    })?;
    // In a task of its own, so that it is finished even for a caller that goes away in the middle.
    let sealed = tokio::spawn(async move { batches::seal(&app.db, format, through, clock::now()).await });
    let sealed = sealed.await.map_err(|_| Problem::internal())??;
    Ok((StatusCode::CREATED, Json(sealed.batch.into())))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// `quickbooks.csv`, say; of every kind if it is left out.
    kind: Option<String>,
    /// 1 to 1000; 100 if it is left out.
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Sealed batches, newest first.
#[utoipa::path(
    get, path = "/v1/exports/batches", tag = "exports", params(ListQuery),
    responses(
        (status = 200, description = "A list of batches", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    ),
)]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<Shown>>, Problem> {
    caller.require(&[Role::Finance])?;
    let limit = limit(query.limit.as_deref())?;
    let (kind, before) = (query.kind.as_deref(), query.cursor.as_deref());
    let batches = app.db.read().await?.export_batches(kind, before, limit).await?;
    let Page { data, next_cursor } = Page::of(batches, limit, |last| last.id.to_string());
    Ok(Json(Page { data: data.into_iter().map(Shown::from).collect(), next_cursor }))
}

/// The file of a sealed batch: the same bytes whenever it is asked for.
#[utoipa::path(
    get, path = "/v1/exports/batches/{id}", tag = "exports", params(("id" = String, Path)),
    responses(
        (status = 200, description = "The file", content((String = "text/csv"), (String = "text/plain"))),
        (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, description = "No such batch", body = Problem),
    ),
)]
async fn again(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    caller.require(&[Role::Finance])?;
    let found = match ExportId::parse(&id) {
        Some(id) => batches::sealed(&app.db, &id).await?,
        None => None,
    };
    let sealed = found.ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "unknown_export_batch", format!("there is no export batch {id}"))
            .fix("GET /v1/exports/batches lists them")
    })?;
    let (stem, extension) = sealed.batch.kind.split_once('.').unwrap_or((&sealed.batch.kind, "txt"));
    let name = format!("{stem}-{}.{extension}", sealed.batch.number);
    let kind = Kind::named(&sealed.batch.kind).unwrap_or(Kind::Journal(Format::Csv));
    Ok(file(kind, name, sealed.batch.head, sealed.bytes))
}

fn file(kind: Kind, name: String, head: Head, bytes: Vec<u8>) -> Response {
    let headers = [
        (CONTENT_TYPE, kind.media_type().to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        (LEDGER_HEAD, head.to_string()),
    ];
    (headers, bytes).into_response()
}

fn one_of(names: &[&str]) -> String {
    format!("ask for one of: {}", names.join(", "))
}

impl From<ExportError> for Problem {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Store(error) => error.into(),
            ExportError::Usage(error) => error.into(),
            ExportError::Money(_) | ExportError::File(_) => {
                tracing::error!("exporting: {error}");
                Self::internal()
            }
        }
    }
}

impl From<SealError> for Problem {
    fn from(error: SealError) -> Self {
        let detail = error.to_string();
        match error {
            SealError::Nothing { .. } => Self::new(StatusCode::CONFLICT, "nothing_to_export", detail)
                .fix("GET /v1/exports/batches lists the batches, each with its file"),
            SealError::Overtaken(_) => Self::new(StatusCode::CONFLICT, "changed_meanwhile", detail).fix("try again"),
            SealError::Store(error) => error.into(),
            SealError::Money(_) | SealError::File(_) => {
                tracing::error!("sealing an export: {detail}");
                Self::internal()
            }
        }
    }
}
