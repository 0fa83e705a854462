//! `tallystick export`: what finance takes away, to a file or to standard output.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;
use jiff::civil::Date;
use jiff::civil::date;
use serde::Deserialize;
use serde_json::json;

use crate::billing::export;
use crate::billing::export::Format;
use crate::billing::export::Kind;
use crate::billing::export::Range;
use crate::billing::export::batches;
use crate::billing::payouts::bank;
use crate::cli::place::CannotOpen;
use crate::cli::place::PlaceArgs;
use crate::cli::place::Server;
use crate::clock;
use crate::domain::ids::ExportId;
use crate::metering::versions::Versions;
use crate::store::Access;

#[derive(clap::Args)]
pub struct Args {
    /// What to export
    #[arg(value_parser = exports())]
    export: Export,
    /// First accounting date; without it, from the beginning
    #[arg(long, value_name = "DATE", default_value_t = date(1, 1, 1), hide_default_value = true)]
    from: Date,
    /// The accounting date to stop before; without it, to the end
    #[arg(long, value_name = "DATE", default_value_t = Date::MAX, hide_default_value = true)]
    to: Date,
    /// Of this consumer alone: invoices, payouts, usage, statement
    #[arg(long, value_name = "ID")]
    consumer: Option<String>,
    /// Seal a batch of the journal: what is dated through --through and in no batch of this kind yet
    #[arg(long, requires = "through", conflicts_with_all = ["from", "to", "consumer"])]
    batch: bool,
    /// The last accounting date that the batch takes
    #[arg(long, value_name = "DATE", requires = "batch")]
    through: Option<Date>,
    /// The file of a sealed batch once more, by the batch's id
    #[arg(long, value_name = "ID", conflicts_with_all = ["from", "to", "consumer", "batch"])]
    again: Option<String>,
    /// File to write; without it, standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Clone, Copy)]
enum Export {
    Of(Kind),
    /// Whatever is approved, of any date.
    BankFile,
}

const BANK_FILE: &str = "pain.001.xml";

fn exports() -> impl TypedValueParser<Value = Export> {
    let names = Kind::ALL.into_iter().map(Kind::name).chain([BANK_FILE]);
    PossibleValuesParser::new(names).try_map(|name| match Kind::named(&name) {
        Some(kind) => Ok(Export::Of(kind)),
        None if name == BANK_FILE => Ok(Export::BankFile),
        None => Err(format!("`{name}` is not an export")),
    })
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let bytes = match (args.export, args.through, &args.again) {
        (Export::BankFile, None, None) => for_the_bank(&args.place).await?.into_bytes(),
        (Export::BankFile, ..) => anyhow::bail!("{BANK_FILE} is not a form of the journal: it is kept as it is made"),
        (Export::Of(kind), Some(through), _) => sealed(&args, kind, through).await?,
        (Export::Of(kind), None, Some(id)) => again(&args, kind, id).await?,
        (Export::Of(kind), None, None) => exported(&args, kind).await?,
    };
    match args.output {
        Some(path) => std::fs::write(&path, bytes)
            .map_err(|error| CannotOpen::File { path: path.display().to_string(), reason: error.to_string() })?,
        None => std::io::stdout().write_all(&bytes)?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn for_the_bank(place: &PlaceArgs) -> anyhow::Result<String> {
    if let Some(server) = place.server() {
        return server.post_for_text(&format!("/v1/exports/{BANK_FILE}"), "application/json", b"");
    }
    let db = place.data().open(Access::Owner).await?;
    Ok(bank::make(&db, &Versions::load(&db).await?, clock::now()).await?.body)
}

async fn exported(Args { from, to, consumer, place, .. }: &Args, kind: Kind) -> anyhow::Result<Vec<u8>> {
    if consumer.is_some() && !kind.is_by_consumer() {
        anyhow::bail!("{} is not kept by consumer: leave --consumer out", kind.name());
    }
    if let Some(server) = place.server() {
        let mut path = format!("/v1/exports/{}?from={from}&to={to}", kind.name());
        if let Some(consumer) = consumer {
            path.push_str("&consumer=");
            consumer.bytes().for_each(|byte| _ = write!(path, "%{byte:02X}"));
        }
        return server.get_file(&path);
    }
    let db = place.data().open(Access::Reader).await?;
    let versions = Versions::load(&db).await?;
    let range = Range { from: *from, to: *to, consumer: consumer.as_deref() };
    Ok(export::export(&db, &versions, kind, range, clock::now()).await?.bytes)
}

/// Seals a batch, and says on standard error what it holds.
async fn sealed(Args { place, .. }: &Args, kind: Kind, through: Date) -> anyhow::Result<Vec<u8>> {
    let Kind::Journal(format) = kind else {
        let forms = Format::ALL.map(Format::name).join(", ");
        anyhow::bail!("{} is not a form of the journal; batches are sealed of {forms}", kind.name());
    };
    if let Some(server) = place.server() {
        return sealed_there(&server, format, through);
    }
    let db = place.data().open(Access::Owner).await?;
    let sealed = batches::seal(&db, format, through, clock::now()).await?;
    say(sealed.batch.id.as_str(), sealed.batch.number, sealed.batch.entries);
    Ok(sealed.bytes)
}

async fn again(Args { place, .. }: &Args, kind: Kind, id: &str) -> anyhow::Result<Vec<u8>> {
    let unknown = || anyhow::anyhow!("there is no batch {id} of {}", kind.name());
    let id = ExportId::parse(id).ok_or_else(unknown)?;
    if let Some(server) = place.server() {
        return server.get_file(&format!("/v1/exports/batches/{id}"));
    }
    let found = batches::sealed(&place.data().open(Access::Reader).await?, &id).await?;
    Ok(found.filter(|sealed| sealed.batch.kind == kind.name()).ok_or_else(unknown)?.bytes)
}

#[derive(Deserialize)]
struct Batch {
    id: String,
    number: i64,
    entries: i64,
}

fn sealed_there(server: &Server, format: Format, through: Date) -> anyhow::Result<Vec<u8>> {
    let body = json!({ "kind": format.name(), "through": through.to_string() }).to_string();
    let batch: Batch = server.post("/v1/exports/batches", "application/json", body.as_bytes())?;
    let bytes = server.get_file(&format!("/v1/exports/batches/{}", batch.id))?;
    say(&batch.id, batch.number, batch.entries);
    Ok(bytes)
}

fn say(id: &str, number: i64, entries: i64) {
    eprintln!("Batch {number} ({id}): {entries} entries.");
}
