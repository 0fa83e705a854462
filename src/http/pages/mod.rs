//! Pages for people: rendered on the server, readable without JavaScript, and fetching nothing from elsewhere.
//!
//! There is one style sheet, and one layout that every page extends. Templates lie in `templates/` and are checked when
//! this is compiled; they are given text that is ready to be shown, and decide nothing.

mod chart;
mod docs;
mod home;
mod login;
mod problem;
pub mod statement;

pub use problem::for_people;

use askama::Template;
use axum::Router;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::http::header::CONTENT_TYPE;
use axum::http::header::ETAG;
use axum::http::header::IF_NONE_MATCH;
use axum::response::Html;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use serde_json::Value;

use crate::http::App;
use crate::http::auth::Caller;
use crate::http::auth::hash;
use crate::http::problem::Problem;

const STYLE: &str = include_str!("style.css");
const ICON: &str = include_str!("icon.svg");

pub fn routes(description: &Value) -> Router<App> {
    Router::new()
        .route("/style.css", get(async |headers: HeaderMap| asset(&headers, "text/css; charset=utf-8", STYLE)))
        .route("/icon.svg", get(async |headers: HeaderMap| asset(&headers, "image/svg+xml", ICON)))
        .merge(home::routes())
        .merge(login::routes())
        .merge(docs::routes(description))
}

/// What every page shows around its content.
struct Frame {
    /// Who is signed in: `finance`, or the name of a consumer.
    viewer: Option<String>,
}

impl Frame {
    fn of(caller: Option<&Caller>) -> Self {
        let name = |caller: &Caller| caller.consumer().unwrap_or(caller.role.name()).to_owned();
        Self { viewer: caller.map(name) }
    }
}

fn render(page: &impl Template) -> Result<Response, Problem> {
    page.render().map(|text| Html(text).into_response()).map_err(|error| {
        tracing::error!("rendering a page: {error}");
        Problem::internal()
    })
}

/// A file that is part of the binary. A browser asks each time whether it still has the right one.
fn asset(headers: &HeaderMap, media_type: &'static str, text: &'static str) -> Response {
    let tag = format!("\"{:.16}\"", hash(text));
    let known = headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let about = [(CONTENT_TYPE, media_type.to_owned()), (CACHE_CONTROL, "no-cache".to_owned()), (ETAG, tag)];
    match known {
        true => (StatusCode::NOT_MODIFIED, about).into_response(),
        false => (about, text).into_response(),
    }
}
