//! What Tallystick says over HTTP, to programs and to people. Computes no money.
//!
//! Every route is registered together with its description, so there is none that `/openapi.json` does not know.

mod accept;
pub mod api;
pub mod auth;
pub mod body;
mod codes;
mod description;
mod pages;
pub mod path;
pub mod problem;
pub mod query;
mod router;

pub use router::description;
pub use router::router;

use std::sync::Arc;

use crate::metering::Metering;
use crate::store::Db;

/// What the handlers work with.
#[derive(Clone)]
pub struct App {
    pub db: Db,
    pub metering: Arc<Metering>,
}

impl App {
    pub fn new(db: Db, metering: Arc<Metering>) -> Self {
        Self { db, metering }
    }
}
