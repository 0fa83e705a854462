//! `POST /v1/pricing/simulate`: what a price book would have made of real usage.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use serde::Deserialize;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::billing::close::Through;
use crate::billing::simulate;
use crate::billing::simulate::Request;
use crate::billing::simulate::SimulateError;
use crate::billing::simulate::Simulated;
use crate::clock;
use crate::domain::book::SourceFile;
use crate::domain::book::version::BookVersion;
use crate::domain::simulation::Row;
use crate::domain::time::Instant;
use crate::http::App;
use crate::http::api::consumers::unprocessable;
use crate::http::api::pricing::breaks_of;
use crate::http::api::pricing::refusal;
use crate::http::api::replay::threads;
use crate::http::auth::Caller;
use crate::http::body::Body;
use crate::http::problem::Problem;
use crate::metering::publish::Refused;

/// Consumers that are named each way, if the caller does not say how many.
const LARGEST: usize = 10;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(simulate_pricing))
}

/// A price book to try, and on which time.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SimulateRequest {
    /// Path → text of every file.
    #[schema(value_type = Object)]
    files: BTreeMap<String, String>,
    /// Periods that end after it: a date, read in each plan's time zone, or an RFC 3339 time.
    #[schema(example = "2013-01-01")]
    from: String,
    /// Periods that end by it.
    #[schema(example = "2013-04-01")]
    to: String,
    /// How many consumers are named whose amounts change most, each way; 10 if it is left out.
    #[schema(example = 10)]
    largest: Option<usize>,
    /// Give back every consumer's components too.
    #[serde(default)]
    rows: bool,
}

/// What it came to, and if they were asked for, every consumer's components.
#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    simulated: Simulated,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<Vec<Row>>,
}

/// What a price book would have made of real usage, beside what the published ones make of it. Nothing is written.
///
/// Both sides are rated from usage as it is counted now, for every period that ends in this time; amounts are without
/// tax. One simulation runs at a time.
#[utoipa::path(
    post, path = "/v1/pricing/simulate", tag = "pricing", request_body = SimulateRequest,
    responses(
        (status = 200, description = "Revenue, rewards and net before and after by currency, who pays more and who less, \
                                      and each component", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 409, description = "Another simulation is running", body = Problem),
        (status = 422, description = "The book has mistakes, running subscriptions would break, or the time is none",
         body = Problem),
    ),
)]
async fn simulate_pricing(
    State(app): State<App>,
    caller: Caller,
    Body(request): Body<SimulateRequest>,
) -> Result<Json<Answer>, Problem> {
    caller.require(&[])?;
    let SimulateRequest { files, from, to, largest, rows } = request;
    let (from, to) = (time("/from", &from)?, time("/to", &to)?);
    let files = files.into_iter().map(|(path, text)| SourceFile { path, text }).collect();
    let candidate =
        BookVersion::new(files, Instant::BEGINNING).map_err(|mistakes| refusal(Refused::Mistakes(mistakes)))?;
    let Ok(_running) = app.simulating.try_lock() else {
        let detail = "another simulation is running";
        return Err(Problem::new(StatusCode::CONFLICT, "simulating_already", detail).fix("ask again when it is done"));
    };
    app.metering.flush().await?;
    let request = Request { candidate, from, to, largest: largest.unwrap_or(LARGEST), threads: threads() };
    let versions = app.metering.versions();
    let (simulated, tally) = simulate::simulate(&app.db, &versions, request, clock::now(), |_| {}).await?;
    let rows = match rows {
        true => Some(tally.rows().collect::<Result<_, _>>().map_err(SimulateError::from)?),
        false => None,
    };
    Ok(Json(Answer { simulated, rows }))
}

fn time(at: &str, text: &str) -> Result<Through, Problem> {
    Through::parse(text).ok_or_else(|| {
        let detail = format!("`{text}` is neither a date nor an RFC 3339 time");
        unprocessable(at, "invalid_time", detail, "write it like 2013-02-01")
    })
}

impl From<SimulateError> for Problem {
    fn from(error: SimulateError) -> Self {
        let detail = error.to_string();
        match error {
            SimulateError::Breaks(breaks) => breaks_of(breaks),
            SimulateError::Empty => unprocessable("/to", "invalid_time", detail, "periods end after from, and by to"),
            SimulateError::Store(error) => error.into(),
            SimulateError::Metering(error) => error.into(),
            SimulateError::Close(error) => error.into(),
            SimulateError::Stopped | SimulateError::Closing(_) | SimulateError::Period(_) | SimulateError::Money(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "cannot_simulate", detail)
                    .fix("mend what it names in the price book; nothing was changed")
            }
        }
    }
}
