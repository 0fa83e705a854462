//! Signing in: a key is exchanged for a session, whose secret only the browser's cookie holds.

use askama::Template;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::extract::Form;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::IntoResponse;
use axum::response::Redirect;
use axum::response::Response;
use axum::routing::get;
use axum::routing::post;
use serde::Deserialize;

use crate::clock;
use crate::domain::hex::hex;
use crate::domain::time::Instant;
use crate::http::App;
use crate::http::auth::SESSION_COOKIE;
use crate::http::auth::from_elsewhere;
use crate::http::auth::hash;
use crate::http::auth::is_same_origin;
use crate::http::auth::session;
use crate::http::pages::Frame;
use crate::http::pages::render;
use crate::http::path::encoded;
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::random;

/// A working day, and then some.
const SESSION_SECONDS: i64 = 12 * 3600;

/// Anybody may send a form here: a key and an address are not long.
const FORM_BYTES_MAX: usize = 16 << 10;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/login", get(form).post(sign_in))
        .route("/logout", post(sign_out))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
}

#[derive(Template)]
#[template(path = "login.html")]
struct Page<'p> {
    frame: Frame,
    next: &'p str,
    is_wrong: bool,
}

#[derive(Deserialize)]
struct Next {
    next: Option<String>,
}

#[derive(Deserialize)]
struct Credentials {
    key: String,
    next: Option<String>,
}

/// Where to sign in to see a page of this server.
pub fn address(next: &str) -> String {
    format!("/login?next={}", encoded(next))
}

/// A path of this server, or the start page: nobody is sent elsewhere by a link to this page.
fn local(next: Option<&str>) -> &str {
    let is_local = |path: &&str| {
        path.starts_with('/') && !path.starts_with("//") && !path.contains('\\') && !path.contains(char::is_control)
    };
    next.filter(is_local).unwrap_or("/")
}

async fn form(Query(query): Query<Next>) -> Result<Response, Problem> {
    render(&Page { frame: Frame::of(None), next: local(query.next.as_deref()), is_wrong: false })
}

async fn sign_in(
    State(app): State<App>,
    headers: HeaderMap,
    credentials: Result<Form<Credentials>, FormRejection>,
) -> Result<Response, Problem> {
    let Form(credentials) = credentials.map_err(|error| unreadable(&error))?;
    if !is_same_origin(&headers) {
        return Err(from_elsewhere());
    }
    let next = local(credentials.next.as_deref());
    let Some(cookie) = open_session(&app, credentials.key.trim(), is_encrypted(&headers)).await? else {
        let page = render(&Page { frame: Frame::of(None), next, is_wrong: true })?;
        return Ok((StatusCode::UNAUTHORIZED, page).into_response());
    };
    Ok(([(SET_COOKIE, cookie)], Redirect::to(next)).into_response())
}

/// Opens a session for the holder of a key; the cookie that names it, or none if there is no such key.
async fn open_session(app: &App, key: &str, encrypted: bool) -> Result<Option<String>, Problem> {
    // Whoever has no key makes nobody wait who writes.
    let Some(key) = app.db.read().await?.key_by_hash(&hash(key)).await? else { return Ok(None) };
    let now = clock::now();
    let until = Instant::from_micros(now.micros().saturating_add(SESSION_SECONDS.saturating_mul(1_000_000)));
    let secret = hex(&random::bytes::<32>());
    let mut tx = app.db.write().await?;
    tx.open_session(&hash(&secret), &key.id, now, until).await?;
    tx.commit().await?;
    Ok(Some(cookie(&secret, SESSION_SECONDS, encrypted)))
}

fn unreadable(error: &FormRejection) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_body", format!("the form cannot be read: {error}"))
        .fix("send `key`, and `next` if you like, as application/x-www-form-urlencoded")
}

async fn sign_out(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    if !is_same_origin(&headers) {
        return Err(from_elsewhere());
    }
    if let Some(secret) = session(&headers) {
        let mut tx = app.db.write().await?;
        tx.end_session(&hash(secret)).await?;
        tx.commit().await?;
    }
    Ok(([(SET_COOKIE, cookie("", 0, is_encrypted(&headers)))], Redirect::to("/login")).into_response())
}

fn cookie(secret: &str, seconds: i64, encrypted: bool) -> String {
    let secure = if encrypted { "; Secure" } else { "" };
    format!("{SESSION_COOKIE}={secret}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

/// Whether a proxy before us says that the browser talks to it through TLS. Whoever says so wrongly gets a cookie
/// that his own browser does not send back, and nothing else.
fn is_encrypted(headers: &HeaderMap) -> bool {
    headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_only_sent_on_to_pages_of_this_server() {
        let statement = "/v1/consumers/UA/statement?period=2013-01";
        assert_eq!(local(Some(statement)), statement);
        for elsewhere in ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "", "/a\r\nb"] {
            assert_eq!(local(Some(elsewhere)), "/", "{elsewhere}");
        }
        assert_eq!(address("/a?b=c&d=é"), "/login?next=%2Fa%3Fb%3Dc%26d%3D%C3%A9");
    }

    #[test]
    fn the_cookie_is_out_of_reach_of_scripts_and_other_sites() {
        let cookie = cookie("s", 60, true);
        for attribute in ["Path=/", "Max-Age=60", "HttpOnly", "SameSite=Strict", "Secure"] {
            assert!(cookie.split("; ").any(|one| one == attribute), "{attribute} is in {cookie}");
        }
    }
}
