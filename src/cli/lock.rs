//! `tallystick lock`: close the books through a day, open them again for a reason, or show how they stand.

use std::process::ExitCode;

use jiff::civil::Date;
use serde::Deserialize;
use serde::Serialize;
use serde_json::json;

use crate::cli::place::PlaceArgs;
use crate::domain::ledger::lock::Lock;
use crate::store::Access;

const PATH: &str = "/v1/ledger/lock";

#[derive(clap::Args)]
pub struct Args {
    /// Close the books through this day; without it, only say how they stand
    #[arg(long, value_name = "DATE")]
    through: Option<Date>,
    /// Why days are opened again: needed where the day is before the one through which the books are closed
    #[arg(long, value_name = "TEXT", requires = "through")]
    reason: Option<String>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// As the server answers.
#[derive(Deserialize, Serialize)]
struct Standing {
    through: Option<String>,
    history: Vec<Locked>,
}

#[derive(Deserialize, Serialize)]
struct Locked {
    seq: i64,
    through: String,
    locked_at: String,
    locked_by: String,
    reason: Option<String>,
}

impl From<&Lock> for Locked {
    fn from(lock: &Lock) -> Self {
        Self {
            seq: lock.seq,
            through: lock.through.to_string(),
            locked_at: lock.locked_at.to_string(),
            locked_by: lock.locked_by.to_string(),
            reason: lock.reason.clone(),
        }
    }
}

/// A lock names the key that set it, so it is set through a server only.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let standing: Standing = match (args.place.server(), args.through) {
        (Some(server), Some(through)) => {
            let body = json!({ "through": through.to_string(), "reason": args.reason }).to_string();
            tokio::task::block_in_place(|| server.post(PATH, "application/json", body.as_bytes()))?
        }
        (Some(server), None) => serde_json::from_str(&tokio::task::block_in_place(|| server.get(PATH))?)?,
        (None, Some(_)) => anyhow::bail!("a lock names the key that set it: say --server URL and --key KEY"),
        (None, None) => {
            let locks = args.place.data().open(Access::Reader).await?.read().await?.ledger_locks().await?;
            Standing {
                through: locks.last().map(|last| last.through.to_string()),
                history: locks.all().iter().map(Locked::from).collect(),
            }
        }
    };
    if args.json {
        println!("{}", serde_json::to_string(&standing)?);
    } else {
        print!("{}", report(&standing));
    }
    Ok(ExitCode::SUCCESS)
}

fn report(standing: &Standing) -> String {
    let mut text = match &standing.through {
        Some(through) => format!("The books are closed through {through}.\n"),
        None => "No day is closed.\n".to_owned(),
    };
    for lock in &standing.history {
        let reason = lock.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        text.push_str(&format!("{}  through {} by {}{reason}\n", lock.locked_at, lock.through, lock.locked_by));
    }
    text
}
