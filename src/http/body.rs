//! JSON bodies whose mistakes are answered as problems.

use axum::extract::FromRequest;
use axum::extract::Request;
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use crate::http::App;
use crate::http::problem::Problem;

/// Far more than any call but `/v1/events` needs.
const BYTES_MAX: usize = 4 << 20;

/// A body of JSON.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let received = app.intake.plain(request.into_body(), BYTES_MAX).await?;
        read(&received.text).map(Self)
    }
}

/// A body of JSON that may be left out: nothing is said then.
pub struct MaybeBody<T>(pub T);

impl<T: DeserializeOwned + Default> FromRequest<App> for MaybeBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let received = app.intake.plain(request.into_body(), BYTES_MAX).await?;
        if received.text.is_empty() { Ok(Self(T::default())) } else { read(&received.text).map(Self) }
    }
}

fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(text).map_err(|error| {
        let (code, fix) = match error.classify() {
            serde_json::error::Category::Data => ("invalid_body", "see /docs for the fields of this call"),
            _ => ("invalid_json", "mend the JSON"),
        };
        let at = format!("line {} column {}", error.line(), error.column());
        Problem::new(StatusCode::BAD_REQUEST, code, format!("the body cannot be read: {error}")).at(
            &at,
            code,
            error.to_string(),
            fix,
        )
    })
}
