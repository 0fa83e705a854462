//! Every route, and what all of them share: problems for what does not exist, safe headers, and no panic that ends
//! more than its own request.

use std::any::Any;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::Method;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header::CONTENT_TYPE;
use axum::middleware;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use serde_json::Value;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa::openapi::security::HttpAuthScheme;
use utoipa::openapi::security::HttpBuilder;
use utoipa::openapi::security::SecurityScheme;
use utoipa_axum::router::OpenApiRouter;

use crate::http::App;
use crate::http::api;
use crate::http::description::finished;
use crate::http::pages;
use crate::http::problem::Problem;

/// Nothing is fetched from elsewhere, nothing runs, nothing is framed.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

#[derive(OpenApi)]
#[openapi(
    info(title = "Tallystick", description = "Events in, exactly once; charges and rewards out, explained to the cent."),
    security(("key" = []))
)]
struct Description;

/// The whole server.
pub fn router(app: App) -> Router {
    let (routes, described) = described().split_for_parts();
    let description = finished(&described);
    let pages = pages::routes(&description);
    let json = Bytes::from(description.to_string());
    routes
        .route("/openapi.json", get(async move || ([(CONTENT_TYPE, "application/json")], json)))
        .merge(pages)
        .fallback(unknown_address)
        .method_not_allowed_fallback(wrong_method)
        .layer(CatchPanicLayer::custom(after_panic))
        .layer(middleware::from_fn(with_safe_headers))
        .with_state(app)
}

/// What the server says of itself, without a server.
pub fn description() -> Value {
    finished(described().get_openapi())
}

fn described() -> OpenApiRouter<App> {
    let mut description = Description::openapi();
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API key")).build();
    description
        .components
        .get_or_insert_default()
        .security_schemes
        .insert("key".to_owned(), SecurityScheme::Http(scheme).into());
    OpenApiRouter::with_openapi(description).merge(api::routes())
}

async fn unknown_address(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown_address", format!("there is nothing at {}", uri.path()))
        .fix("see /docs for what there is")
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} does not take {method}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", detail).fix("see /docs for what it takes")
}

/// The outermost layer: everything that is answered passes it, also what a panic is answered with.
async fn with_safe_headers(request: Request, next: Next) -> Response {
    let mut response = pages::for_people(request, next).await;
    for (name, value) in [
        ("content-security-policy", CONTENT_SECURITY_POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
    ] {
        response.headers_mut().entry(HeaderName::from_static(name)).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// A bug: the request that met it is answered, the log has the rest, and everybody else goes on.
fn after_panic(panic: Box<dyn Any + Send>) -> Response {
    let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!("a request panicked: {}", said.unwrap_or("without a word"));
    Problem::internal().into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_is_openapi_3_1_and_every_call_says_what_it_answers() {
        let description = description();
        assert_eq!(description["openapi"].as_str().map(|version| &version[..3]), Some("3.1"));
        let paths = description["paths"].as_object().expect("paths");
        assert!(paths.len() > 10, "{} paths", paths.len());
        for (path, calls) in paths {
            for (method, call) in calls.as_object().expect("calls") {
                let answers = call["responses"].as_object().expect("answers");
                assert!(answers.keys().any(|status| status.starts_with('2')), "{method} {path}");
                assert!(call["summary"].is_string(), "{method} {path} has no summary");
            }
        }
    }
}
