//! `tallystick key`: API keys. A key is shown once, when it is made.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use anyhow::bail;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Deserialize;
use serde::Serialize;

use crate::cli::place::PlaceArgs;
use crate::clock;
use crate::domain::ids::KeyId;
use crate::domain::time::Instant;
use crate::http::api::keys::parse_role;
use crate::http::auth::Role;
use crate::http::auth::create_key;
use crate::http::auth::hash;
use crate::store;
use crate::store::Access;
use crate::store::Db;
use crate::store::keys::ApiKey;

/// Sets the first operator key, instead of one that is made up.
const OPERATOR_KEY: &str = "TALLYSTICK_OPERATOR_KEY";
/// Shorter ones could be guessed.
const SECRET_LENGTH_MIN: usize = 16;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Make a key, and show it once
    Create {
        /// operator, finance, ingest, or consumer:ID
        #[arg(long, value_parser = role)]
        role: Role,
        /// What it is for
        #[arg(long, default_value = "")]
        name: String,
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// List all keys, without what they are made of
    List {
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Revoke a key: it stops working at once
    Revoke {
        id: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
}

fn role(text: &str) -> Result<Role, String> {
    parse_role(text).ok_or_else(|| "use operator, finance, ingest, or consumer:ID".to_owned())
}

/// A key as it is made or listed, by the server or here.
#[derive(Deserialize, Serialize)]
struct Shown {
    id: String,
    role: String,
    consumer: Option<String>,
    name: String,
    created_at: Instant,
    revoked_at: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl Shown {
    fn new(key: ApiKey, secret: Option<String>) -> Self {
        let ApiKey { id, name, role, created_at, revoked_at } = key;
        let consumer = role.consumer().map(str::to_owned);
        Self { id: id.to_string(), role: role.name().to_owned(), consumer, name, created_at, revoked_at, secret }
    }
}

pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Create { role, name, json, place } => {
            let made = create(role, &name, &place).await?;
            match json {
                true => println!("{}", serde_json::to_string(&made)?),
                false => println!("{}\n{} (it is not shown again)", made.id, made.secret.unwrap_or_default()),
            }
        }
        Command::List { json, place } => list(&place, json).await?,
        Command::Revoke { id, place } => {
            revoke(&id, &place).await?;
            println!("{id} is revoked");
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(role: Role, name: &str, place: &PlaceArgs) -> anyhow::Result<Shown> {
    if let Some(server) = place.server() {
        let role = match &role {
            Role::Consumer(consumer) => format!("consumer:{consumer}"),
            role => role.name().to_owned(),
        };
        let body = serde_json::json!({ "role": role, "name": name }).to_string();
        return tokio::task::block_in_place(|| server.post("/v1/keys", "application/json", body.as_bytes()));
    }
    let made = create_key(&place.data().open(Access::Owner).await?, role, name, None, clock::now()).await?;
    Ok(Shown::new(made.key, Some(made.secret)))
}

async fn revoke(id: &str, place: &PlaceArgs) -> anyhow::Result<()> {
    let known = KeyId::parse(id).with_context(|| format!("`{id}` is not the id of a key"))?;
    if let Some(server) = place.server() {
        return tokio::task::block_in_place(|| server.delete(&format!("/v1/keys/{known}")));
    }
    let mut tx = place.data().open(Access::Owner).await?.write().await?;
    match tx.revoke_key(&known, clock::now()).await {
        Err(store::Error::Missing) => bail!("there is no key {id} to revoke; `tallystick key list` shows them"),
        revoked => revoked?,
    }
    Ok(tx.commit().await?)
}

async fn keys(place: &PlaceArgs) -> anyhow::Result<Vec<Shown>> {
    #[derive(Deserialize)]
    struct List {
        data: Vec<Shown>,
    }
    if let Some(server) = place.server() {
        let text = tokio::task::block_in_place(|| server.get("/v1/keys"))?;
        return Ok(serde_json::from_str::<List>(&text)?.data);
    }
    let keys = place.data().open(Access::Reader).await?.read().await?.keys().await?;
    Ok(keys.into_iter().map(|key| Shown::new(key, None)).collect())
}

async fn list(place: &PlaceArgs, json: bool) -> anyhow::Result<()> {
    let keys = keys(place).await?;
    if json {
        println!("{}", serde_json::to_string(&keys)?);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["ID", "ROLE", "CONSUMER", "NAME", "CREATED", "REVOKED"]);
    for key in keys {
        let revoked = key.revoked_at.map(|at| at.to_string()).unwrap_or_default();
        let consumer = key.consumer.unwrap_or_default();
        table.add_row([key.id, key.role, consumer, key.name, key.created_at.to_string(), revoked]);
    }
    println!("{table}");
    Ok(())
}

/// Makes sure that there is an operator: with the key of the environment, or on new data with one that is made up,
/// which is then told once and kept in `DIR/operator.key`.
pub async fn first_operator_key(db: &Db, folder: Option<&Path>) -> anyhow::Result<Option<String>> {
    if let Ok(secret) = std::env::var(OPERATOR_KEY) {
        if secret.len() < SECRET_LENGTH_MIN || secret.contains(char::is_whitespace) {
            bail!("{OPERATOR_KEY} must have at least {SECRET_LENGTH_MIN} characters, and no spaces");
        }
        if db.read().await?.key_by_hash(&hash(&secret)).await?.is_none() {
            create_key(db, Role::Operator, OPERATOR_KEY, Some(&secret), clock::now()).await?;
        }
        return Ok(None);
    }
    if !db.read().await?.keys().await?.is_empty() {
        return Ok(None);
    }
    let made = create_key(db, Role::Operator, "first start", None, clock::now()).await?;
    if let Some(folder) = folder {
        let path = folder.join("operator.key");
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
        file.and_then(|mut file| writeln!(file, "{}", made.secret))
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(Some(made.secret))
}
