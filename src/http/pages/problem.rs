//! Problems as people meet them: a page that says what is wrong and what to do, and the way to sign in.

use askama::Template;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Redirect;
use axum::response::Response;

use crate::http::accept;
use crate::http::pages::Frame;
use crate::http::pages::login;
use crate::http::pages::render;
use crate::http::problem::Problem;

#[derive(Template)]
#[template(path = "problem.html")]
struct Page<'p> {
    frame: Frame,
    status: u16,
    problem: &'p Problem,
}

/// Answers a browser's problems with a page, and sends it to sign in where that is what is missing.
pub async fn for_people(request: Request, next: Next) -> Response {
    if !accept::is_for_people(request.headers()) {
        return next.run(request).await;
    }
    let asked = request.method().is_safe().then(|| request.uri().clone());
    let response = next.run(request).await;
    let Some(problem) = response.extensions().get::<Problem>() else { return response };
    if problem.status() == StatusCode::UNAUTHORIZED
        && let Some(asked) = asked
    {
        let path = asked.path_and_query().map_or("/", |asked| asked.as_str());
        return Redirect::to(&login::address(path)).into_response();
    }
    let page = Page { frame: Frame { viewer: None }, status: problem.status().as_u16(), problem };
    match render(&page) {
        Ok(page) => (problem.status(), page).into_response(),
        Err(_) => response,
    }
}
