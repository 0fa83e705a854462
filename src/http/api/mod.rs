//! The API: one file a resource, each handler beside its description.

pub mod bank_file;
pub mod catalog;
pub mod close;
pub mod consumers;
pub mod credits;
pub mod documents;
pub mod dunning;
pub mod endpoints;
pub mod events;
pub mod explain;
pub mod exports;
pub mod general_ledger;
pub mod health;
pub mod journals;
pub mod keys;
pub mod ledger;
pub mod lock;
pub mod metrics;
mod paper;
pub mod payouts;
pub mod pricing;
pub mod quarantine;
pub mod quota;
pub mod replay;
pub mod settle;
pub mod simulate;
pub mod statement;
#[cfg(feature = "stripe")]
pub mod stripe;
pub mod subscriptions;
pub mod usage;

use utoipa_axum::router::OpenApiRouter;

use crate::http::App;

/// Every resource.
pub fn routes() -> OpenApiRouter<App> {
    #[cfg(feature = "stripe")]
    let routes = stripe::routes();
    #[cfg(not(feature = "stripe"))]
    let routes = OpenApiRouter::new();
    routes
        .merge(events::routes())
        .merge(quarantine::routes())
        .merge(catalog::routes())
        .merge(usage::routes())
        .merge(replay::routes())
        .merge(consumers::routes())
        .merge(statement::routes())
        .merge(quota::routes())
        .merge(subscriptions::routes())
        .merge(documents::routes())
        .merge(settle::routes())
        .merge(credits::routes())
        .merge(dunning::routes())
        .merge(endpoints::routes())
        .merge(payouts::routes())
        .merge(explain::routes())
        .merge(close::routes())
        .merge(ledger::routes())
        .merge(general_ledger::routes())
        .merge(lock::routes())
        .merge(journals::routes())
        .merge(exports::routes())
        .merge(bank_file::routes())
        .merge(pricing::routes())
        .merge(simulate::routes())
        .merge(keys::routes())
        .merge(health::routes())
        .merge(metrics::routes())
}
