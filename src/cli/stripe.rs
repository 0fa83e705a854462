//! How Stripe is reached: options of whatever talks to it. Its secrets come from the environment alone, so that they stand in
//! no list of processes.

use std::time::Duration;

use anyhow::Context;

use crate::settlement::stripe::Settings;
use crate::settlement::stripe::Stripe;
use crate::settlement::stripe::URL;

const KEY: &str = "TALLYSTICK_STRIPE_KEY";
const WEBHOOK_SECRET: &str = "TALLYSTICK_STRIPE_WEBHOOK_SECRET";

#[derive(clap::Args)]
pub struct StripeArgs {
    /// Where Stripe is. Its secrets are read from TALLYSTICK_STRIPE_KEY and TALLYSTICK_STRIPE_WEBHOOK_SECRET
    #[arg(long, value_name = "URL", env = "TALLYSTICK_STRIPE_URL", default_value = URL)]
    stripe_url: String,
    /// Time for which an answer of Stripe is waited, in seconds
    #[arg(long, value_name = "SECONDS", env = "TALLYSTICK_STRIPE_TIMEOUT", default_value_t = 20,
          value_parser = clap::value_parser!(u64).range(1..=600))]
    stripe_timeout: u64,
    /// Time after which Stripe is asked again what became of something, in seconds
    #[arg(long, value_name = "SECONDS", env = "TALLYSTICK_STRIPE_EVERY", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    stripe_every: u64,
}

impl StripeArgs {
    /// Stripe, if the environment has its key.
    pub fn stripe(&self) -> anyhow::Result<Option<Stripe>> {
        let Some(key) = secret(KEY)? else {
            return match secret(WEBHOOK_SECRET)? {
                Some(_) => anyhow::bail!("{WEBHOOK_SECRET} is set, and {KEY} is not: set both, or neither"),
                None => Ok(None),
            };
        };
        if !(key.starts_with("sk_") || key.starts_with("rk_")) {
            anyhow::bail!("{KEY} is not a secret key of Stripe, which begins with sk_ or rk_");
        }
        // Without one nothing would be heard of what is reversed.
        let secrets = secret(WEBHOOK_SECRET)?.with_context(|| {
            format!(
                "{WEBHOOK_SECRET} is not set: Stripe shows it (whsec_…) where the address of the webhooks is entered"
            )
        })?;
        let settings = Settings {
            key,
            webhook_secrets: secrets.split(',').map(|secret| secret.trim().to_owned()).collect(),
            url: self.stripe_url.clone(),
            timeout: Duration::from_secs(self.stripe_timeout),
        };
        Ok(Some(Stripe::new(settings)?))
    }

    /// How often it is asked again.
    pub fn every(&self) -> Duration {
        Duration::from_secs(self.stripe_every)
    }
}

/// None if it is not set, or empty.
fn secret(name: &str) -> anyhow::Result<Option<String>> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value.trim().to_owned()).filter(|value| !value.is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(error @ std::env::VarError::NotUnicode(_)) => Err(error).with_context(|| format!("{name} cannot be read")),
    }
}
