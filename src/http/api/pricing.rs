//! `/v1/pricing/versions`: what is published, and publishing.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use serde::Deserialize;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::clock;
use crate::domain::book::SourceFile;
use crate::domain::time::Instant;
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::auth::Role;
use crate::http::body::Body;
use crate::http::problem::Place;
use crate::http::problem::Problem;
use crate::http::query::Page;
use crate::metering::publish;
use crate::metering::publish::Published;
use crate::metering::publish::Refused;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(versions, publish_version))
}

/// A price book to publish.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Publication {
    /// Path → text of every file.
    #[schema(value_type = Object)]
    files: BTreeMap<String, String>,
    /// From when it applies, on an hour; the next hour if it is left out.
    #[schema(value_type = Option<String>)]
    effective_from: Option<Instant>,
    /// Why.
    #[serde(default)]
    note: String,
}

/// What became of it.
#[derive(Serialize, ToSchema)]
#[schema(as = Published)]
struct Answer {
    id: String,
    /// False if this very book was published before.
    new: bool,
    #[schema(value_type = String)]
    effective_from: Instant,
    /// What it changes against the version before it, in words.
    changes: Vec<String>,
}

/// Every version: who published it, when, why, and from when it applies.
#[utoipa::path(
    get, path = "/v1/pricing/versions", tag = "pricing",
    responses(
        (status = 200, description = "A list of versions with their files", body = Object),
        (status = 401, body = Problem), (status = 403, body = Problem),
    ),
)]
async fn versions(State(app): State<App>, caller: Caller) -> Result<Json<Page<serde_json::Value>>, Problem> {
    caller.require(&[Role::Finance])?;
    let published = app.db.read().await?.book_versions().await?;
    let data = published.into_iter().map(|version| {
        let files: serde_json::Value = serde_json::from_str(&version.files).unwrap_or_default();
        json!({
            "id": version.id, "hash": version.hash, "effective_from": version.effective_from,
            "published_at": version.published_at, "published_by": version.published_by, "note": version.note,
            "files": files,
        })
    });
    Ok(Json(Page { data: data.collect(), next_cursor: None }))
}

/// Publish a price book as a new version.
#[utoipa::path(
    post, path = "/v1/pricing/versions", tag = "pricing", request_body = Publication,
    responses(
        (status = 200, body = Answer),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 422, description = "The book has mistakes, or cannot follow the version before it", body = Problem),
    ),
)]
async fn publish_version(
    State(app): State<App>,
    caller: Caller,
    Body(publication): Body<Publication>,
) -> Result<Json<Answer>, Problem> {
    caller.require(&[Role::Finance])?;
    let Publication { files, effective_from, note } = publication;
    let files = files.into_iter().map(|(path, text)| SourceFile { path, text }).collect();
    let by = caller.key.as_str();
    let published = publish::publish(&app.metering, files, effective_from, by, &note, clock::now()).await;
    match published {
        Ok(Published { id, new, effective_from, changes }) => Ok(Json(Answer { id, new, effective_from, changes })),
        Err(publish::Error::Metering(error)) => Err(error.into()),
        Err(publish::Error::Refused(refused)) => Err(refusal(refused)),
    }
}

/// Subscriptions that a book would leave without a plan.
pub(in crate::http) fn breaks_of(breaks: Vec<String>) -> Problem {
    let detail = "running subscriptions would break under the price book";
    let fix = "keep the plan, or end the subscriptions first";
    let places = breaks.into_iter().map(|text| Place::new("", "subscription_breaks", text, fix));
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "subscriptions_break", detail).with(places)
}

/// What stands in the way of a book.
pub(in crate::http) fn refusal(refused: Refused) -> Problem {
    let problem = |code, detail: &str| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail);
    match refused {
        Refused::Mistakes(mistakes) => problem("price_book_has_mistakes", "the price book cannot be published").with(
            mistakes.into_iter().map(|mistake| {
                let at = format!("{}:{}", mistake.file, mistake.line);
                Place::new(&at, mistake.code, mistake.message, mistake.fix.unwrap_or_default())
            }),
        ),
        Refused::Conflicts(conflicts) => problem("price_book_conflicts", "the price book changes what must stay")
            .with(conflicts.into_iter().map(|text| Place::new("", "meaning_changed", text, "give it a new id"))),
        Refused::Breaks(breaks) => breaks_of(breaks),
        Refused::NotOnTheHour(at) => problem("not_on_the_hour", &format!("{at} is not on an hour"))
            .fix("a version takes effect where a usage bucket begins"),
        Refused::NotAfter(last) => {
            problem("not_after_the_last", &format!("the version before it takes effect at {last}"))
                .fix("choose a later time: published prices are never changed afterwards")
        }
    }
}
