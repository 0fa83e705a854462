//! `tallystick stripe reconcile`, and how Stripe is reached: options of whatever talks to it. Its secrets come from the
//! environment alone, so that they stand in no list of processes.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use jiff::civil::Date;

use crate::cli::NO;
use crate::cli::place::DataArgs;
use crate::domain::time::Instant;
use crate::domain::time::Zone;
use crate::settlement::stripe::Settings;
use crate::settlement::stripe::Stripe;
use crate::settlement::stripe::URL;
use crate::settlement::stripe::reconcile::Difference;
use crate::settlement::stripe::reconcile::Reconciled;
use crate::settlement::stripe::reconcile::Sum;
use crate::store::Access;

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
}

#[derive(clap::Subcommand)]
pub enum Command {
    /// Hold what went over the balance at Stripe against what is booked, and name every difference
    Reconcile(ReconcileArgs),
}

#[derive(clap::Args)]
pub struct ReconcileArgs {
    /// First day, in UTC; without it, from the beginning
    #[arg(long, value_name = "DATE")]
    from: Option<Date>,
    /// The day to stop before; without it, to the end
    #[arg(long, value_name = "DATE")]
    to: Option<Date>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    stripe: StripeArgs,
    #[command(flatten)]
    data: DataArgs,
}

/// Exits with 1 if there is a difference.
pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    let Command::Reconcile(args) = command;
    let key = secret(KEY)?.with_context(|| format!("{KEY} is not set"))?;
    let stripe = args.stripe.with(key, Vec::new())?;
    let start = |day: Date| Instant::start_of(day, &Zone::utc()).with_context(|| format!("{day} cannot be used"));
    let (from, to) = (args.from.map(start).transpose()?, args.to.map(start).transpose()?);
    // It reads beside a server that may be writing.
    let db = args.data.open(Access::Reader).await?;
    let reconciled = stripe.reconcile(&db, from, to).await?;
    if args.json {
        println!("{}", serde_json::to_string(&reconciled)?);
    } else {
        print!("{}", report(&reconciled));
    }
    Ok(if reconciled.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

fn report(reconciled: &Reconciled) -> String {
    let mut text = String::new();
    for Difference { object, kind, at_stripe, booked } in &reconciled.differences {
        let said = match (at_stripe, booked) {
            (Some(at_stripe), Some(booked)) => format!("{at_stripe} at Stripe, and {booked} booked"),
            (Some(at_stripe), None) => format!("{at_stripe} at Stripe, and not booked"),
            (None, Some(booked)) => format!("{booked} booked, and not at Stripe"),
            (None, None) => continue,
        };
        text.push_str(&format!("{object} ({kind}): {said}\n"));
    }
    for Sum { at_stripe, booked } in &reconciled.sums {
        text.push_str(&format!("in all {at_stripe} at Stripe, and {booked} booked\n"));
    }
    let (same, different) = (reconciled.same, reconciled.differences.len());
    text.push_str(&format!("{same} the same on both sides, {different} not\n"));
    text
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
        // Without one nothing would be heard of what is reversed.
        let secrets = secret(WEBHOOK_SECRET)?.with_context(|| {
            format!(
                "{WEBHOOK_SECRET} is not set: Stripe shows it (whsec_…) where the address of the webhooks is entered"
            )
        })?;
        let secrets = secrets.split(',').map(str::trim).filter(|secret| !secret.is_empty());
        self.with(key, secrets.map(str::to_owned).collect()).map(Some)
    }

    fn with(&self, key: String, webhook_secrets: Vec<String>) -> anyhow::Result<Stripe> {
        if !(key.starts_with("sk_") || key.starts_with("rk_")) {
            anyhow::bail!("{KEY} is not a secret key of Stripe, which begins with sk_ or rk_");
        }
        let (url, timeout) = (self.stripe_url.clone(), Duration::from_secs(self.stripe_timeout));
        Ok(Stripe::new(Settings { key, webhook_secrets, url, timeout })?)
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
