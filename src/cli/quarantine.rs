//! `tallystick events quarantine`: events that were set aside: look at them, try them again, discard them.

use std::io::IsTerminal;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use anyhow::bail;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use indicatif::ProgressBar;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value as Json;

use crate::cli::NO;
use crate::cli::place::CannotOpen;
use crate::cli::place::PlaceArgs;
use crate::cli::place::Server;
use crate::cli::serve;
use crate::clock;
use crate::domain::ids::QuarantineId;
use crate::domain::time::Instant;
use crate::http::path::encoded;
use crate::metering;
use crate::metering::Metering;
use crate::metering::ingest::Limits;
use crate::metering::quarantine::Filter;
use crate::store;
use crate::store::Access;
use crate::store::quarantine::Quarantined;

/// Events that are read, or tried again, at once.
const PAGE: i64 = 500;
const EVENT_TYPE: &str = "application/cloudevents+json";

#[derive(clap::Subcommand)]
pub enum Command {
    /// List the events in quarantine, oldest first
    List {
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Show one event, and everything that is wrong with it
    Show {
        id: String,
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Try events again: one, mended or as it is, or all, by type or by code
    Resubmit {
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        id: Option<String>,
        /// The mended event; '-' reads standard input. Without it the event is tried as it is
        #[arg(long, value_name = "FILE", requires = "id")]
        event: Option<PathBuf>,
        /// Every event, or those that --type and --code leave
        #[arg(long)]
        all: bool,
        /// Only events of this type
        #[arg(long = "type", value_name = "TYPE", requires = "all")]
        kind: Option<String>,
        /// Only events with a fault of this code
        #[arg(long, requires = "all")]
        code: Option<String>,
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Discard events for good: they were never counted
    Discard {
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        place: PlaceArgs,
    },
}

/// An event as it is shown, by the server or here.
#[derive(Deserialize, Serialize)]
struct Shown {
    id: QuarantineId,
    received_at: Instant,
    #[serde(rename = "type")]
    kind: Option<String>,
    faults: Vec<Fault>,
    event: String,
}

#[derive(Deserialize, Serialize)]
struct Fault {
    at: String,
    code: String,
    detail: String,
    fix: String,
}

/// What became of events that were tried again.
#[derive(Default, Deserialize, Serialize)]
struct Tried {
    accepted: usize,
    duplicates: usize,
    /// Ids of duplicates that said something else than what was first.
    #[serde(default)]
    conflicts: Vec<Json>,
    #[serde(default)]
    invalid: usize,
    #[serde(default, skip_serializing)]
    next_cursor: Option<String>,
}

/// The quarantine, of data that is opened here or of a server.
enum Place {
    Data(Arc<Metering>),
    Server(Server),
}

pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List { limit, json, place } => list(limit, json, &place).await,
        Command::Show { id, json, place } => show(&id, json, &place).await,
        Command::Resubmit { id: Some(id), event, json, place, .. } => {
            resubmit(&known(&id)?, event.as_deref(), json, &place).await
        }
        Command::Resubmit { id: None, kind, code, json, place, .. } => {
            resubmit_all(&Filter { kind, code }, json, &place).await
        }
        Command::Discard { ids, place } => {
            let ids = ids.iter().map(|id| known(id)).collect::<anyhow::Result<Vec<_>>>()?;
            let place = Place::open(&place).await?;
            for id in ids {
                place.discard(&id).await?;
                println!("{id} is discarded");
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn list(limit: usize, json: bool, place: &PlaceArgs) -> anyhow::Result<ExitCode> {
    let (mut shown, mut more) = (Vec::new(), true);
    while more && shown.len() < limit {
        let rest = i64::try_from(limit - shown.len()).unwrap_or(PAGE).min(PAGE);
        let after = shown.last().map(|last: &Shown| last.id.to_string()).unwrap_or_default();
        let (page, follows) = page(&after, rest, place).await?;
        shown.extend(page);
        more = follows;
    }
    if json {
        println!("{}", serde_json::to_string(&shown)?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["ID", "RECEIVED", "TYPE", "AT", "CODE", "WHAT IS WRONG"]);
    for Shown { id, received_at, kind, faults, .. } in shown {
        let others = faults.len().saturating_sub(1);
        let (at, code, detail) =
            faults.into_iter().next().map(|fault| (fault.at, fault.code, fault.detail)).unwrap_or_default();
        let detail = if others > 0 { format!("{detail} (and {others} more)") } else { detail };
        table.add_row([id.to_string(), received_at.to_string(), kind.unwrap_or_default(), at, code, detail]);
    }
    println!("{table}");
    if more {
        eprintln!("There are more: --limit shows them.");
    }
    Ok(ExitCode::SUCCESS)
}

/// Some events, and whether more follow.
async fn page(after: &str, limit: i64, place: &PlaceArgs) -> anyhow::Result<(Vec<Shown>, bool)> {
    #[derive(Deserialize)]
    struct List {
        data: Vec<Shown>,
        next_cursor: Option<String>,
    }
    if let Some(server) = place.server() {
        let path = format!("/v1/quarantine?limit={limit}&cursor={after}");
        let list: List = serde_json::from_str(&tokio::task::block_in_place(|| server.get(&path))?)?;
        return Ok((list.data, list.next_cursor.is_some()));
    }
    let db = place.data().open(Access::Reader).await?;
    let (rows, more) = db.read_log().await?.quarantined_after(after, limit).await?;
    Ok((rows.into_iter().map(shown).collect::<Result<_, _>>()?, more))
}

async fn show(id: &str, json: bool, place: &PlaceArgs) -> anyhow::Result<ExitCode> {
    let id = known(id)?;
    let event = match place.server() {
        Some(server) => {
            serde_json::from_str(&tokio::task::block_in_place(|| server.get(&format!("/v1/quarantine/{id}")))?)?
        }
        None => {
            let row = place.data().open(Access::Reader).await?.read_log().await?.quarantined(&id).await?;
            shown(row.with_context(|| gone(&id))?)?
        }
    };
    if json {
        println!("{}", serde_json::to_string(&event)?);
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}  received {}", event.id, event.received_at);
    for Fault { at, code, detail, fix } in &event.faults {
        let at = if at.is_empty() { "the event" } else { at };
        println!("{at}: {detail} ({code})\n  fix: {fix}");
    }
    println!("\n{}", event.event.trim_end());
    Ok(ExitCode::SUCCESS)
}

async fn resubmit(id: &QuarantineId, event: Option<&Path>, json: bool, place: &PlaceArgs) -> anyhow::Result<ExitCode> {
    let mended = event.map(read).transpose()?;
    let tried = match Place::open(place).await? {
        Place::Server(server) => {
            let path = format!("/v1/quarantine/{id}/resubmit");
            let body = mended.unwrap_or_default();
            tokio::task::block_in_place(|| server.post(&path, EVENT_TYPE, &body))?
        }
        Place::Data(metering) => {
            let taken = metering.resubmit(id, mended, clock::now()).await;
            metering.close().await?;
            match taken {
                Ok(receipt) => {
                    let conflicts = receipt.conflicts.iter().map(|index| Json::from(*index)).collect();
                    let (accepted, duplicates) = (receipt.accepted, receipt.duplicates);
                    Tried { accepted, duplicates, conflicts, ..Tried::default() }
                }
                Err(metering::Error::Invalid(faulty)) => {
                    let mut text = format!("the event is invalid, and {id} stays in quarantine");
                    for fault in faulty.iter().flat_map(|faulty| &faulty.errors) {
                        text.push_str(&format!("\n  {}: {}. {}", fault.at, fault.detail, fault.fix));
                    }
                    bail!("{text}");
                }
                Err(error) => return Err(said(error, id)),
            }
        }
    };
    report(&tried, json)
}

async fn resubmit_all(filter: &Filter, json: bool, place: &PlaceArgs) -> anyhow::Result<ExitCode> {
    let place = Place::open(place).await?;
    let bar = match std::io::stderr().is_terminal() {
        true => ProgressBar::new_spinner(),
        false => ProgressBar::hidden(),
    };
    let mut all = Tried::default();
    let mut after = String::new();
    loop {
        let Tried { accepted, duplicates, conflicts, invalid, next_cursor } =
            place.resubmit_some(filter, &after).await?;
        all.accepted += accepted;
        all.duplicates += duplicates;
        all.conflicts.extend(conflicts);
        all.invalid += invalid;
        bar.set_message(format!("{} taken, {} still invalid", all.accepted + all.duplicates, all.invalid));
        bar.tick();
        match next_cursor {
            Some(next) => after = next,
            None => break,
        }
    }
    bar.finish_and_clear();
    if let Place::Data(metering) = &place {
        metering.close().await?;
    }
    report(&all, json)
}

fn report(tried: &Tried, json: bool) -> anyhow::Result<ExitCode> {
    let Tried { accepted, duplicates, conflicts, invalid, .. } = tried;
    match json {
        true => println!("{}", serde_json::to_string(tried)?),
        false => println!(
            "accepted {accepted}  duplicates {duplicates}  conflicts {}  still invalid {invalid}",
            conflicts.len()
        ),
    }
    Ok(if *invalid == 0 { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

impl Place {
    async fn open(place: &PlaceArgs) -> anyhow::Result<Self> {
        if let Some(server) = place.server() {
            return Ok(Self::Server(server));
        }
        let db = place.data().open(Access::Owner).await?;
        Ok(Self::Data(serve::open_metering(db, place.data().metering(Limits::default())).await?))
    }

    async fn resubmit_some(&self, filter: &Filter, after: &str) -> anyhow::Result<Tried> {
        let metering = match self {
            Self::Data(metering) => metering,
            Self::Server(server) => {
                let mut path = format!("/v1/quarantine/resubmit?limit={PAGE}&cursor={after}");
                for (name, value) in [("type", &filter.kind), ("code", &filter.code)] {
                    if let Some(value) = value {
                        path.push_str(&format!("&{name}={}", encoded(value)));
                    }
                }
                return tokio::task::block_in_place(|| server.post(&path, EVENT_TYPE, b""));
            }
        };
        let tried = metering.resubmit_some(filter, after, PAGE, clock::now()).await?;
        let id = |index: &usize| tried.tried.get(*index).map(|id| Json::from(id.as_str()));
        Ok(Tried {
            accepted: tried.receipt.accepted,
            duplicates: tried.receipt.duplicates,
            conflicts: tried.receipt.conflicts.iter().filter_map(id).collect(),
            invalid: tried.receipt.rejected.len(),
            next_cursor: tried.next.map(|next| next.to_string()),
        })
    }

    async fn discard(&self, id: &QuarantineId) -> anyhow::Result<()> {
        match self {
            Self::Server(server) => tokio::task::block_in_place(|| server.delete(&format!("/v1/quarantine/{id}"))),
            Self::Data(metering) => {
                metering.discard(id, clock::now()).await.map_err(|error| said(error, id))?;
                tracing::warn!("the command line discarded the event {id} of the quarantine");
                Ok(())
            }
        }
    }
}

fn shown(row: Quarantined) -> anyhow::Result<Shown> {
    let kind = row.kind();
    let Quarantined { id, received_at, event, faults } = row;
    let faults = serde_json::from_str(&faults).with_context(|| format!("what is wrong with {id} cannot be read"))?;
    Ok(Shown { id, received_at, kind, faults, event })
}

fn known(id: &str) -> anyhow::Result<QuarantineId> {
    QuarantineId::parse(id).with_context(|| format!("`{id}` is not the id of an event in quarantine"))
}

fn gone(id: &QuarantineId) -> String {
    format!("there is no {id} in quarantine; `tallystick events quarantine list` shows what there is")
}

fn said(error: metering::Error, id: &QuarantineId) -> anyhow::Error {
    match error {
        metering::Error::Store(store::Error::Missing) => anyhow::anyhow!(gone(id)),
        error => error.into(),
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let read = match path.as_os_str() == "-" {
        true => std::io::read_to_string(std::io::stdin()).map(String::into_bytes),
        false => std::fs::read(path),
    };
    Ok(read.map_err(|error| CannotOpen::File { path: path.display().to_string(), reason: error.to_string() })?)
}
