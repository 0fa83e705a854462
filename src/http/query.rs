//! Query parameters whose mistakes are answered as problems.

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use crate::domain::period::Period;
use crate::domain::time::Instant;
use crate::domain::time::Zone;
use crate::http::auth::Caller;
use crate::http::auth::Role;
use crate::http::problem::Problem;

/// How many rows a list has if nobody says, and at most.
const LIMIT_DEFAULT: i64 = 100;
const LIMIT_MAX: i64 = 1000;

/// `axum::extract::Query`, with a problem for an answer when a parameter cannot be read.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match axum::extract::Query::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(error) => Err(invalid("", &error.body_text(), "see /docs for the parameters of this call")),
        }
    }
}

/// One page of a list, and where the next one begins.
#[derive(Debug, Serialize)]
pub struct Page<T> {
    pub data: Vec<T>,
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A page of rows that were asked for with a limit; a full one may have a next.
    pub fn of(data: Vec<T>, limit: i64, cursor: impl Fn(&T) -> String) -> Self {
        let full = i64::try_from(data.len()).is_ok_and(|count| count >= limit);
        let next_cursor = data.last().filter(|_| full).map(cursor);
        Self { data, next_cursor }
    }
}

/// A page of a list, of one consumer or of all.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    pub consumer: Option<String>,
    /// 1 to 1000; 100 if it is left out.
    pub limit: Option<String>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// Whose, from where on, and how many.
pub fn page<'q>(
    caller: &'q Caller,
    query: &'q ListQuery,
    is_cursor: impl Fn(&str) -> bool,
) -> Result<(Option<&'q str>, Option<&'q str>, i64), Problem> {
    let consumer = caller.sees(query.consumer.as_deref(), &[Role::Finance])?;
    let limit = limit(query.limit.as_deref())?;
    let before = query.cursor.as_deref();
    if let Some(cursor) = before.filter(|cursor| !is_cursor(cursor)) {
        return Err(invalid("cursor", &format!("`{cursor}` is not a cursor"), "use next_cursor as it was given"));
    }
    Ok((consumer, before, limit))
}

/// Reads `limit`, which must be a number from 1 to 1000.
pub fn limit(text: Option<&str>) -> Result<i64, Problem> {
    let Some(text) = text else { return Ok(LIMIT_DEFAULT) };
    match text.parse() {
        Ok(limit @ 1..=LIMIT_MAX) => Ok(limit),
        _ => Err(invalid("limit", &format!("`{text}` is not a number from 1 to {LIMIT_MAX}"), "leave it out for 100")),
    }
}

/// Reads an instant: RFC 3339, or a date, which stands for its beginning in `zone`.
pub fn instant(name: &str, text: &str, zone: &Zone) -> Result<Instant, Problem> {
    Instant::parse_in(text, zone).ok_or_else(|| {
        let detail = format!("`{text}` is neither an RFC 3339 time nor a date");
        invalid(name, &detail, "write it like 2013-01-31 or 2013-01-31T00:00:00Z")
    })
}

/// Makes a period of two instants.
pub fn period(from: Instant, to: Instant) -> Result<Period, Problem> {
    Period::new(from, to).map_err(|error| invalid("to", &error.to_string(), "to is exclusive, and comes after from"))
}

/// A parameter that cannot be read.
pub fn invalid(name: &str, detail: &str, fix: &str) -> Problem {
    let what = if name.is_empty() { "a parameter".to_owned() } else { format!("the parameter {name}") };
    Problem::new(StatusCode::BAD_REQUEST, "invalid_parameter", format!("{what} cannot be read: {detail}")).at(
        name,
        "invalid_parameter",
        detail,
        fix,
    )
}
