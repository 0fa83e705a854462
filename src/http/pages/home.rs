//! The start page: where one can go from here.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;

use crate::domain::consumer::Consumer;
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::auth::Role;
use crate::http::pages::Frame;
use crate::http::pages::render;
use crate::http::path::encoded;
use crate::http::problem::Problem;
use crate::http::query::Page as Listed;
use crate::http::query::Query;

/// Consumers a page.
const CONSUMERS: i64 = 50;

pub fn routes() -> Router<App> {
    Router::new().route("/", get(home))
}

#[derive(Template)]
#[template(path = "home.html")]
struct Page {
    frame: Frame,
    /// The consumer who is looking.
    own: Option<String>,
    reads_all: bool,
    consumers: Vec<Consumer>,
    more: Option<String>,
}

#[derive(Deserialize)]
struct After {
    cursor: Option<String>,
}

async fn home(
    State(app): State<App>,
    caller: Result<Caller, Problem>,
    Query(after): Query<After>,
) -> Result<Response, Problem> {
    let caller = caller.ok();
    let reads_all = caller.as_ref().is_some_and(|caller| caller.require(&[Role::Finance]).is_ok());
    let listed = match reads_all {
        true => {
            let consumers = app.db.read().await?.consumers(after.cursor.as_deref(), CONSUMERS).await?;
            Listed::of(consumers, CONSUMERS, |last| last.id.clone())
        }
        false => Listed { data: Vec::new(), next_cursor: None },
    };
    render(&Page {
        frame: Frame::of(caller.as_ref()),
        own: caller.as_ref().and_then(Caller::consumer).map(str::to_owned),
        reads_all,
        consumers: listed.data,
        more: listed.next_cursor.map(|cursor| format!("/?cursor={}", encoded(&cursor))),
    })
}

impl Page {
    fn statement(&self, consumer: &str) -> String {
        format!("/v1/consumers/{}/statement", encoded(consumer))
    }
}
