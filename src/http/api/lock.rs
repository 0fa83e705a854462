//! `/v1/ledger/lock`: through which day the books are closed.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use jiff::civil::Date;
use serde::Deserialize;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::billing::lock::LockError;
use crate::billing::lock::lock;
use crate::clock;
use crate::domain::ids::KeyId;
use crate::domain::ledger::lock::Lock;
use crate::domain::ledger::lock::Locks;
use crate::domain::time::Instant;
use crate::http::App;
use crate::http::api::consumers::unprocessable;
use crate::http::auth::Caller;
use crate::http::auth::Role;
use crate::http::body::Body;
use crate::http::problem::Problem;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(locked, close_books))
}

/// Through which day the books are to be closed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LockRequest {
    /// The last day that is locked.
    #[schema(example = "2013-01-31")]
    through: String,
    /// Why days are opened again: needed where `through` is before the day through which the books are closed.
    reason: Option<String>,
}

/// Through which day the books are closed, and how that came.
#[derive(Serialize, ToSchema)]
struct LedgerLock {
    /// Nothing that is dated on this day or before is let in.
    #[schema(example = "2013-01-31")]
    through: Option<String>,
    /// Oldest first; the last one is in force.
    history: Vec<Locked>,
}

/// Who locked the ledger through which day, or opened it again.
#[derive(Serialize, ToSchema)]
struct Locked {
    seq: i64,
    #[schema(example = "2013-01-31")]
    through: String,
    #[schema(value_type = String)]
    locked_at: Instant,
    /// The key with which it was done.
    #[schema(value_type = String)]
    locked_by: KeyId,
    reason: Option<String>,
}

fn shown(locks: &Locks) -> Json<LedgerLock> {
    let history = locks.all().iter().map(|lock| {
        let Lock { seq, through, locked_at, locked_by, reason } = lock.clone();
        Locked { seq, through: through.to_string(), locked_at, locked_by, reason }
    });
    Json(LedgerLock { through: locks.last().map(|last| last.through.to_string()), history: history.collect() })
}

/// Through which day the books are closed.
#[utoipa::path(
    get, path = "/v1/ledger/lock", tag = "ledger",
    responses((status = 200, body = LedgerLock), (status = 401, body = Problem), (status = 403, body = Problem)),
)]
async fn locked(State(app): State<App>, caller: Caller) -> Result<Json<LedgerLock>, Problem> {
    caller.require(&[Role::Finance])?;
    Ok(shown(&app.db.read().await?.ledger_locks().await?))
}

/// Close the books through a day: nothing that is dated then or before is posted any more. What documents come to later counts
/// on the first day that is open.
#[utoipa::path(
    post, path = "/v1/ledger/lock", tag = "ledger", request_body = LockRequest,
    responses(
        (status = 200, body = LedgerLock),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 409, description = "Somebody else locks at the same time", body = Problem),
        (status = 422, description = "Not a day that can be locked, or a reason is missing", body = Problem),
    ),
)]
async fn close_books(
    State(app): State<App>,
    caller: Caller,
    Body(request): Body<LockRequest>,
) -> Result<Json<LedgerLock>, Problem> {
    caller.require(&[Role::Finance])?;
    let through = day("/through", &request.through)?;
    let reason = request.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty());
    Ok(shown(&lock(&app.db, through, reason, &caller.key, clock::now()).await?))
}

/// Reads a day of a body.
pub fn day(at: &str, text: &str) -> Result<Date, Problem> {
    let not_a_day =
        |_| unprocessable(at, "invalid_time", format!("`{text}` is not a date"), "write it like 2013-01-31");
    text.parse().map_err(not_a_day)
}

impl From<LockError> for Problem {
    fn from(error: LockError) -> Self {
        let detail = error.to_string();
        match error {
            LockError::NotOver { .. } => {
                unprocessable("/through", "day_has_not_ended", detail, "lock through a day that has ended in UTC")
            }
            LockError::MovesBack { .. } => {
                unprocessable("/reason", "reason_is_missing", detail, "say why in `reason`, or name a later day")
            }
            LockError::Store(crate::store::Error::Taken) => {
                Self::new(StatusCode::CONFLICT, "changed_meanwhile", detail).fix("try again; nothing was changed")
            }
            LockError::Store(error) => error.into(),
        }
    }
}
