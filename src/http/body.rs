//! JSON bodies whose mistakes are answered as problems.

use axum::body::to_bytes;
use axum::extract::FromRequest;
use axum::extract::Request;
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use crate::http::problem::Problem;

/// Far more than any call but `/v1/events` needs.
const BYTES_MAX: usize = 4 << 20;

/// A body of JSON.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let bytes = to_bytes(request.into_body(), BYTES_MAX).await.map_err(|_| {
            let detail = format!("the body is cut off, or longer than {BYTES_MAX} bytes");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
        })?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
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
}
