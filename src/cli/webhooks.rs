//! Webhooks as options of `serve`, and the key that endpoints' secrets are encrypted with.

use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use anyhow::bail;
use ipnet::IpNet;

use crate::delivery::Delivery;
use crate::delivery::client::Client;
use crate::delivery::client::system_resolver;
use crate::delivery::endpoints::Endpoints;
use crate::domain::hex::hex;
use crate::domain::hex::unhex;
use crate::domain::webhook::vault::Vault;
use crate::metering::Metering;
use crate::random;
use crate::store::Db;

/// Keys of secrets: the first one encrypts, those behind it only decrypt.
const KEYS: &str = "TALLYSTICK_WEBHOOK_KEYS";
const TIMEOUT_SECONDS: u64 = 15;

#[derive(clap::Args, Debug)]
pub struct WebhookArgs {
    /// Network that webhooks may reach though it is not public, such as 10.1.0.0/16; then http URLs are taken too
    #[arg(long, value_name = "CIDR", env = "TALLYSTICK_WEBHOOK_ALLOW", value_delimiter = ',')]
    webhook_allow: Vec<IpNet>,
    /// Time for which an endpoint may take to answer, in seconds
    #[arg(
        long, value_name = "SECONDS", env = "TALLYSTICK_WEBHOOK_TIMEOUT", default_value_t = TIMEOUT_SECONDS,
        value_parser = clap::value_parser!(u64).range(1..=60),
    )]
    webhook_timeout: u64,
}

impl Default for WebhookArgs {
    fn default() -> Self {
        Self { webhook_allow: Vec::new(), webhook_timeout: TIMEOUT_SECONDS }
    }
}

impl WebhookArgs {
    /// Begins to deliver. The key is that of the environment, or `FOLDER/webhook.key`, which is made if it is missing.
    pub fn start(&self, db: Db, metering: Arc<Metering>, folder: Option<&Path>) -> anyhow::Result<Delivery> {
        let vault = match (std::env::var(KEYS), folder) {
            (Ok(keys), _) => Some(of_environment(&keys)?),
            (Err(_), Some(folder)) => Some(Vault::new(&of_file(&folder.join("webhook.key"))?, &[])),
            (Err(_), None) => None,
        };
        let allowed: Arc<[IpNet]> = self.webhook_allow.clone().into();
        let takes_http = !allowed.is_empty();
        let client = Client::new(allowed, Duration::from_secs(self.webhook_timeout), system_resolver);
        let endpoints = Endpoints::new(db.clone(), vault, client.clone(), takes_http);
        Ok(Delivery::start(db, metering, client, endpoints))
    }
}

fn key(text: &str) -> Option<[u8; Vault::KEY_BYTES]> {
    unhex(text.trim())?.try_into().ok()
}

fn of_environment(keys: &str) -> anyhow::Result<Vault> {
    let keys: Option<Vec<_>> = keys.split(',').map(key).collect();
    match keys.as_deref() {
        Some([first, older @ ..]) => Ok(Vault::new(first, older)),
        _ => {
            bail!("{KEYS} must be keys of 64 hexadecimal digits, separated by commas; `openssl rand -hex 32` makes one")
        }
    }
}

fn of_file(path: &Path) -> anyhow::Result<[u8; Vault::KEY_BYTES]> {
    let said = || path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => key(&text).with_context(|| {
            format!("{} does not hold a key of 64 hexadecimal digits; put it back from a copy", said())
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made: [u8; Vault::KEY_BYTES] = random::bytes();
            let mut options = OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o600).open(path);
            file.and_then(|mut file| writeln!(file, "{}", hex(&made)).and_then(|()| file.sync_all()))
                .with_context(|| format!("{} cannot be written", said()))?;
            Ok(made)
        }
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", said())),
    }
}
