//! `/v1/meters/{id}/replay`: history into a meter that was published after it, as a job that can be watched.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use serde::Deserialize;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::clock;
use crate::domain::time::Instant;
use crate::domain::time::Zone;
use crate::http::App;
use crate::http::api::consumers::unprocessable;
use crate::http::auth::Caller;
use crate::http::auth::Role;
use crate::http::body::Body;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::metering::replay;
use crate::metering::replay::Progress;
use crate::metering::replay::Replay;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(start_replay, show_replay))
}

/// The replay that was asked for last. What it did is in the store; this is only what can be watched of it.
#[derive(Default)]
pub(in crate::http) struct LastReplay(Mutex<Option<Job>>);

impl LastReplay {
    fn job(&self) -> MutexGuard<'_, Option<Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Job)) {
        if let Some(job) = &mut *self.job() {
            change(job);
        }
    }
}

/// Which part of history.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReplayRequest {
    /// Events that happened from then on: RFC 3339, or a date in the price book's time zone. From the beginning if it is
    /// left out.
    #[schema(example = "2013-01-01")]
    from: Option<String>,
    /// Exclusive. To the end if it is left out.
    #[schema(example = "2013-02-01")]
    to: Option<String>,
}

/// A replay, how far it is, and what it found.
#[derive(Clone, Serialize, ToSchema)]
#[schema(as = Replay)]
struct Job {
    #[schema(example = "miles")]
    meter: String,
    /// None is the beginning.
    #[schema(value_type = Option<String>, format = DateTime, example = "2013-01-01T05:00:00Z")]
    from: Option<Instant>,
    /// None is the end.
    #[schema(value_type = Option<String>, format = DateTime, example = "2013-02-01T05:00:00Z")]
    to: Option<Instant>,
    state: JobState,
    #[schema(value_type = String, format = DateTime, example = "2013-03-01T05:00:00Z")]
    started_at: Instant,
    #[schema(value_type = Option<String>, format = DateTime, example = "2013-03-01T05:00:09Z")]
    ended_at: Option<Instant>,
    /// Why it failed. What was counted by then stays counted; ask again for the rest.
    #[schema(example = json!(null))]
    failure: Option<String>,
    /// Batches of the log that were read.
    #[schema(example = 12)]
    batches: u64,
    #[schema(example = 12)]
    batches_total: u64,
    /// Events of that time which the meter did not count before.
    #[schema(example = 120_000)]
    events: u64,
    /// Those that it counts now. The others are of types that it does not ask for, or fail its tests.
    #[schema(example = 118_500)]
    counted: u64,
    /// Those that it would count, had they not been taken back.
    #[schema(example = 3)]
    taken_back: u64,
    /// Those that it cannot measure. They add nothing.
    #[schema(example = 0)]
    not_measurable: u64,
    /// Why the first of these cannot be measured.
    #[schema(example = json!(null))]
    first_fault: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(example = "done")]
enum JobState {
    Running,
    Done,
    Failed,
}

impl Job {
    fn show(&mut self, progress: &Progress) {
        self.batches = progress.batches;
        self.batches_total = progress.batches_total;
        self.events = progress.events;
        self.counted = progress.counted;
        self.taken_back = progress.taken_back;
        self.not_measurable = progress.not_measurable;
        self.first_fault.clone_from(&progress.first_fault);
    }
}

/// Count history with a meter that was published after it. Each event counts once, however often this is asked.
///
/// Events of periods that are closed already change usage and no document, as late events do. Watch it with GET; one
/// replay runs at a time.
#[utoipa::path(
    post, path = "/v1/meters/{id}/replay", tag = "usage", request_body = ReplayRequest,
    params(("id" = String, Path, description = "of the meter")),
    responses(
        (status = 202, description = "It has begun", body = Job),
        (status = 404, description = "No such meter", body = Problem),
        (status = 409, description = "Another replay is running", body = Problem),
        (status = 422, description = "Not a time, or no time between", body = Problem),
    ),
)]
async fn start_replay(
    State(app): State<App>,
    caller: Caller,
    Path(meter): Path<String>,
    Body(request): Body<ReplayRequest>,
) -> Result<(StatusCode, Json<Job>), Problem> {
    caller.require(&[Role::Finance])?;
    let now = clock::now();
    let zone = app.metering.versions().zone_at(now);
    let from = request.from.map(|text| instant("/from", &text, &zone)).transpose()?;
    let to = request.to.map(|text| instant("/to", &text, &zone)).transpose()?;
    let period = replay::period(from, to).map_err(|error| {
        unprocessable("/to", "invalid_time", error.to_string(), "to is exclusive, and comes after from")
    })?;
    let ready = app.metering.replay(&meter, period, threads()).await?;
    let mut job = Job {
        meter,
        from,
        to,
        state: JobState::Running,
        started_at: now,
        ended_at: None,
        failure: None,
        batches: 0,
        batches_total: 0,
        events: 0,
        counted: 0,
        taken_back: 0,
        not_measurable: 0,
        first_fault: None,
    };
    job.show(ready.progress());
    *app.last_replay.job() = Some(job.clone());
    tokio::spawn(run(app, ready));
    Ok((StatusCode::ACCEPTED, Json(job)))
}

/// Half of the machine: events come in meanwhile.
pub(in crate::http) fn threads() -> NonZero<usize> {
    let all = std::thread::available_parallelism().map_or(1, NonZero::get);
    NonZero::new(all / 2).unwrap_or(NonZero::<usize>::MIN)
}

async fn run(app: App, ready: Replay) {
    let watching = app.clone();
    let watch = move |progress: &Progress| watching.last_replay.change(|job| job.show(progress));
    // On a task of its own, so that a panic of it is a failure like another.
    let ended = tokio::spawn(ready.run(watch)).await;
    app.last_replay.change(|job| {
        job.ended_at = Some(clock::now());
        job.state = JobState::Failed;
        match ended {
            Ok(Ok(progress)) => {
                job.show(&progress);
                job.state = JobState::Done;
            }
            Ok(Err(error)) => {
                tracing::error!("a replay of meter {}: {error}", job.meter);
                job.failure = Some(error.to_string());
            }
            Err(_) => job.failure = Some("the server met something it did not expect; its log says more".to_owned()),
        }
    });
}

/// The replay of a meter that was asked for last, and how far it is.
#[utoipa::path(
    get, path = "/v1/meters/{id}/replay", tag = "usage",
    params(("id" = String, Path, description = "of the meter")),
    responses(
        (status = 200, body = Job),
        (status = 404, description = "None since the server started", body = Problem),
    ),
)]
async fn show_replay(State(app): State<App>, caller: Caller, Path(meter): Path<String>) -> Result<Json<Job>, Problem> {
    caller.require(&[Role::Finance])?;
    let job = app.last_replay.job().clone().filter(|job| job.meter == meter);
    job.map(Json).ok_or_else(|| {
        let detail = format!("no replay of meter `{meter}` was the last one since this server started");
        Problem::new(StatusCode::NOT_FOUND, "unknown_replay", detail)
            .fix("what was replayed is counted; to have the rest counted, POST here")
    })
}

fn instant(at: &str, text: &str, zone: &Zone) -> Result<Instant, Problem> {
    Instant::parse_in(text, zone).ok_or_else(|| {
        let detail = format!("`{text}` is neither an RFC 3339 time nor a date");
        unprocessable(at, "invalid_time", detail, "write it like 2013-01-31 or 2013-01-31T00:00:00Z")
    })
}
