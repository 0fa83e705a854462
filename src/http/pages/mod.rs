//! Pages for people: rendered on the server, readable without JavaScript, and fetching nothing from elsewhere.

use std::sync::Arc;

use axum::Router;
use utoipa::openapi::OpenApi;

use crate::http::App;

pub fn routes(_description: Arc<OpenApi>) -> Router<App> {
    Router::new()
}
