//! `Idempotency-Key`: the name that whoever calls gives to a request, to repeat it safely.

use axum::http::HeaderMap;

/// The key of a call, if it has one.
pub fn idempotency_key(headers: &HeaderMap) -> Option<&str> {
    headers.get("idempotency-key").and_then(|key| key.to_str().ok())
}
