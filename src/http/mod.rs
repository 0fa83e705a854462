//! What Tallystick says over HTTP, to programs and to people. Computes no money.
//!
//! Every route is registered together with its description, so there is none that `/openapi.json` does not know.

mod accept;
mod amount;
pub mod api;
pub mod auth;
pub mod body;
mod codes;
mod counters;
mod decode;
mod description;
mod idempotency;
pub mod intake;
mod keyring;
pub mod listen;
mod memory;
mod pages;
pub mod path;
pub mod problem;
pub mod query;
mod router;
mod socket;

pub use router::description;
pub use router::router;

use std::ops::Deref;
use std::sync::Arc;

use crate::delivery::Delivery;
use crate::http::api::replay::LastReplay;
use crate::http::counters::Counters;
use crate::http::intake::Intake;
use crate::http::keyring::Keyring;
use crate::metering::Metering;
#[cfg(feature = "stripe")]
use crate::settlement::stripe::Stripe;
use crate::store::Db;

/// What the handlers work with. Cloned for every request, so it is one pointer.
#[derive(Clone)]
pub struct App(Arc<Parts>);

pub struct Parts {
    pub db: Db,
    pub metering: Arc<Metering>,
    pub delivery: Delivery,
    pub intake: Intake,
    pub(in crate::http) keyring: Keyring,
    pub(in crate::http) counters: Counters,
    pub(in crate::http) last_replay: LastReplay,
    #[cfg(feature = "stripe")]
    stripe: std::sync::OnceLock<Stripe>,
    /// Held by the simulation that runs: there is one at a time, so that events go on coming in.
    pub(in crate::http) simulating: tokio::sync::Mutex<()>,
}

impl App {
    pub fn new(db: Db, metering: Arc<Metering>, delivery: Delivery, limits: intake::Limits) -> Self {
        Self(Arc::new(Parts {
            db,
            metering,
            delivery,
            intake: Intake::new(limits),
            keyring: Keyring::default(),
            counters: Counters::default(),
            last_replay: LastReplay::default(),
            #[cfg(feature = "stripe")]
            stripe: std::sync::OnceLock::new(),
            simulating: tokio::sync::Mutex::default(),
        }))
    }

    /// Lets Stripe carry payouts.
    #[cfg(feature = "stripe")]
    pub fn carried_by(&self, stripe: Stripe) {
        self.stripe.get_or_init(|| stripe);
    }

    /// Stripe, if it carries payouts.
    #[cfg(feature = "stripe")]
    pub fn stripe(&self) -> Option<&Stripe> {
        self.stripe.get()
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
