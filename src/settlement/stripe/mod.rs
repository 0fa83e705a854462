//! Stripe: transfers to connected accounts, invoices that it collects, and what it tells of them.
//!
//! Whatever moves money is written down first, under the idempotency key that Stripe is then asked with ([`crate::store::stripe`]).
//! As long as the outcome is unknown it is asked again with the same key. Stripe may forget a key after a day, and would then
//! do the same again: so after that it is asked what it did, and not to do it ([`transfers`]).
//!
//! What Stripe tells is signed ([`signature`]), and kept as it came before it is understood ([`inbox`]): once each, in any order.

pub mod asking;
pub mod collect;
pub mod inbox;
pub mod paid;
pub mod reconcile;
pub mod signature;
pub mod transfers;

use std::time::Duration;

use thiserror::Error;

use crate::billing::payouts::PayoutError;
use crate::billing::settle;
use crate::domain::ids::InvoiceId;
use crate::domain::ids::PayId;
use crate::domain::money::Currency;
use crate::domain::money::MoneyError;
use crate::domain::time::Instant;
use crate::metering::versions::Versions;
use crate::settlement::stripe::signature::Unsigned;
use crate::store;
use crate::store::Db;

/// Where Stripe is.
pub const URL: &str = "https://api.stripe.com/";

/// Currencies that Stripe counts in another unit than ISO 4217 does, or only in tens of it.
const OTHER_UNITS: [&str; 8] = ["BHD", "ISK", "JOD", "KWD", "MGA", "OMR", "TND", "UGX"];

/// Whose name stands under what Stripe did.
const STRIPE: &str = "stripe";

/// How Stripe is reached, and how what it tells is known to be its own.
pub struct Settings {
    /// `sk_…` or `rk_…`
    pub key: String,
    /// `whsec_…`: of the platform's own events, and of those of connected accounts, as far as they have come.
    pub webhook_secrets: Vec<String>,
    pub url: String,
    /// For which an answer is waited.
    pub timeout: Duration,
}

/// Stripe, as it is asked.
pub struct Stripe {
    client: stripe::Client,
    webhook_secrets: Vec<String>,
}

#[derive(Debug, Error)]
pub enum Error {
    #[error("payout {0} does not go by Stripe")]
    NotByStripe(PayId),
    #[error("Stripe counts {0} in another unit than its smallest coin")]
    OtherUnit(Currency),
    #[error("Stripe refuses: {0}")]
    Refused(String),
    #[error("there is no invoice {0}")]
    UnknownInvoice(InvoiceId),
    #[error("nothing is outstanding of invoice {0}")]
    NotOpen(String),
    #[error(
        "something of invoice {0} was settled since it was put to Stripe: delete its draft there, and collect the rest by hand"
    )]
    Settled(String),
    #[error("Stripe has not said enough yet: {0}")]
    NotYet(String),
    #[error("Stripe cannot be used like this: {0}")]
    Settings(String),
    #[error(transparent)]
    Unsigned(#[from] Unsigned),
    #[error("this is not an event of Stripe: {0}")]
    NotAnEvent(String),
    #[error(transparent)]
    Payout(#[from] PayoutError),
    #[error(transparent)]
    Settle(#[from] settle::Error),
    #[error(transparent)]
    Money(#[from] MoneyError),
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Stripe {
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let Settings { key, webhook_secrets, mut url, timeout } = settings;
        let is_here = ["http://127.0.0.1:", "http://localhost:", "http://[::1]:"].iter().any(|to| url.starts_with(to));
        if !is_here && !url.starts_with("https://") {
            return Err(Error::Settings(format!("{url} is neither https nor this machine, and the key would be read")));
        }
        // The library appends `v1/…` to it as it is.
        if !url.ends_with('/') {
            url.push('/');
        }
        let client = stripe::ClientBuilder::new(key).url(url).timeout(timeout).build();
        let client = client.map_err(|error| Error::Settings(error.to_string()))?;
        Ok(Self { client, webhook_secrets })
    }

    /// Asks again for everything whose outcome is unknown, and tries to understand what is not understood yet. One that does
    /// not go through keeps no other back.
    pub async fn catch_up(&self, db: &Db, versions: &Versions, now: Instant) -> Result<(), Error> {
        self.ask_again(db, versions, now).await?;
        self.collect_on(db, versions, now).await?;
        self.understand_all(db, versions, now).await
    }
}
