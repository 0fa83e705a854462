//! Parts of a path whose mistakes are answered as problems.

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::http::problem::Problem;

/// `axum::extract::Path`, with a problem for an answer when a part cannot be read.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(path)) => Ok(Self(path)),
            Err(error) => Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_address", error.body_text())
                .fix("percent-encode each part of the path as UTF-8")),
        }
    }
}
