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

use crate::cli::place::DataArgs;
use crate::clock;
use crate::domain::ids::KeyId;
use crate::http::api::keys::parse_role;
use crate::http::auth::Role;
use crate::http::auth::create_key;
use crate::http::auth::hash;
use crate::store;
use crate::store::Access;
use crate::store::Db;

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
        data: DataArgs,
    },
    /// List all keys, without what they are made of
    List {
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Revoke a key: it stops working at once
    Revoke {
        id: String,
        #[command(flatten)]
        data: DataArgs,
    },
}

fn role(text: &str) -> Result<Role, String> {
    parse_role(text).ok_or_else(|| "use operator, finance, ingest, or consumer:ID".to_owned())
}

pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Create { role, name, json, data } => {
            let made = create_key(&data.open(Access::Owner).await?, role, &name, None, clock::now()).await?;
            match json {
                true => println!("{}", serde_json::json!({ "id": made.key.id, "secret": made.secret })),
                false => println!("{}\n{} (it is not shown again)", made.key.id, made.secret),
            }
        }
        Command::List { json, data } => list(&data.open(Access::Reader).await?, json).await?,
        Command::Revoke { id, data } => {
            let known = KeyId::parse(&id).with_context(|| format!("`{id}` is not the id of a key"))?;
            let mut tx = data.open(Access::Owner).await?.write().await?;
            match tx.revoke_key(&known, clock::now()).await {
                Err(store::Error::Missing) => bail!("there is no key {id} to revoke; `tallystick key list` shows them"),
                revoked => revoked?,
            }
            tx.commit().await?;
            println!("{id} is revoked");
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(db: &Db, json: bool) -> anyhow::Result<()> {
    let keys = db.read().await?.keys().await?;
    if json {
        let rows = keys.iter().map(|key| {
            serde_json::json!({
                "id": key.id, "role": key.role.name(), "consumer": key.role.consumer(), "name": key.name,
                "created_at": key.created_at, "revoked_at": key.revoked_at,
            })
        });
        println!("{}", serde_json::Value::from_iter(rows));
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["ID", "ROLE", "CONSUMER", "NAME", "CREATED", "REVOKED"]);
    for key in keys {
        let revoked = key.revoked_at.map(|at| at.to_string()).unwrap_or_default();
        let consumer = key.role.consumer().unwrap_or_default().to_owned();
        let created = key.created_at.to_string();
        table.add_row([key.id.as_str(), key.role.name(), &consumer, &key.name, &created, &revoked]);
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
