//! `GET /v1/usage`: what was used, current to the last acknowledged event.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use serde::Deserialize;
use serde::Serialize;
use utoipa::IntoParams;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::clock;
use crate::domain::time::Instant;
use crate::http;
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::auth::Role;
use crate::http::problem::Problem;
use crate::http::query::instant;
use crate::http::query::invalid;
use crate::http::query::period;
use crate::metering::usage::Measured;
use crate::metering::usage::Query;
use crate::metering::usage::Window;
use crate::metering::versions::Versions;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(usage))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct UsageQuery {
    meter: String,
    /// Whose; everybody's if it is left out.
    consumer: Option<String>,
    /// RFC 3339, or a date in the price book's time zone. From the beginning if it is left out.
    from: Option<String>,
    /// Exclusive. To the present if it is left out.
    to: Option<String>,
    /// `hour`, `day`, `month` or `total`.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    window: Window,
    /// Dimensions to keep apart, with commas between them.
    group_by: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Usage)]
struct Answer {
    meter: String,
    #[schema(value_type = Vec<Object>, example = json!([{
        "consumer": "UA", "from": "2013-01-01T05:00:00Z", "to": "2013-02-01T05:00:00Z",
        "dimensions": {"origin": "JFK"}, "value": "12.5", "count": 3
    }]))]
    data: Vec<Measured>,
    #[schema(value_type = String)]
    as_of: Instant,
}

/// What a meter measured, by consumer, window and dimensions.
#[utoipa::path(
    get, path = "/v1/usage", tag = "usage", params(UsageQuery),
    responses(
        (status = 200, body = Answer),
        (status = 400, description = "A parameter cannot be read", body = Problem),
        (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, description = "No such meter", body = Problem),
    ),
)]
async fn usage(
    State(app): State<App>,
    caller: Caller,
    http::query::Query(query): http::query::Query<UsageQuery>,
) -> Result<Json<Answer>, Problem> {
    let consumer = caller.sees(query.consumer.as_deref(), &[Role::Finance])?;
    let versions = app.metering.versions();
    let meter = versions.meter(&query.meter).ok_or_else(|| unknown_meter(&versions, &query.meter))?;
    let now = clock::now();
    let zone = versions.zone_at(now);
    let from = query.from.as_deref().map_or(Ok(Instant::BEGINNING), |text| instant("from", text, &zone))?;
    let to = query.to.as_deref().map_or(Ok(present(now)), |text| instant("to", text, &zone))?;
    let period = period(from, to)?;
    let group_by: Vec<String> = query.group_by.iter().flat_map(|names| names.split(',')).map(str::to_owned).collect();
    if let Some(unknown) = group_by.iter().find(|name| !meter.dimensions.contains_key(*name)) {
        let known: Vec<&str> = meter.dimensions.keys().map(String::as_str).collect();
        let detail = format!("meter {} has no dimension `{unknown}`; it has: {}", meter.id, known.join(", "));
        return Err(invalid("group_by", &detail, "put names of dimensions, with commas between them"));
    }
    let window = query.window;
    let data = app.metering.usage(&Query { meter, consumer, period, window, zone, group_by: &group_by }).await?;
    Ok(Json(Answer { meter: query.meter, data, as_of: now }))
}

/// A day ahead: events may be a little ahead of the clock, and what was acknowledged is shown.
fn present(now: Instant) -> Instant {
    Instant::from_micros(now.micros().saturating_add(86_400_000_000))
}

fn unknown_meter(versions: &Versions, id: &str) -> Problem {
    let known: Vec<&str> = versions
        .iter()
        .last()
        .map(|version| version.book.meters.keys().map(String::as_str).collect())
        .unwrap_or_default();
    Problem::new(StatusCode::NOT_FOUND, "unknown_meter", format!("there is no meter `{id}`"))
        .fix(format!("ask for one of: {}", known.join(", ")))
}
