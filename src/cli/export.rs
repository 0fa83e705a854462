//! `tallystick export`: the journal in the formats that finance reads, or the bank file of approved payouts, to a file or to
//! standard output.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;
use jiff::civil::Date;
use jiff::civil::date;

use crate::billing::export;
use crate::billing::export::Kind;
use crate::billing::payouts::bank::bank_file;
use crate::cli::place::CannotOpen;
use crate::cli::place::PlaceArgs;
use crate::clock;
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
    /// File to write; without it, standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Clone, Copy)]
enum Export {
    Journal(Kind),
    /// Whatever is approved, of any date.
    BankFile,
}

const BANK_FILE: &str = "pain.001.xml";

fn exports() -> impl TypedValueParser<Value = Export> {
    let names = Kind::ALL.into_iter().map(Kind::name).chain([BANK_FILE]);
    PossibleValuesParser::new(names).try_map(|name| match Kind::named(&name) {
        Some(kind) => Ok(Export::Journal(kind)),
        None if name == BANK_FILE => Ok(Export::BankFile),
        None => Err(format!("`{name}` is not an export")),
    })
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { export, from, to, output, place } = args;
    let text = match (export, place.server()) {
        (Export::BankFile, Some(server)) => server.get(&format!("/v1/exports/{BANK_FILE}"))?,
        (Export::BankFile, None) => {
            let db = place.data().open(Access::Owner).await?;
            bank_file(&db, &Versions::load(&db).await?, None, clock::now()).await?.body
        }
        (Export::Journal(kind), Some(server)) => {
            server.get(&format!("/v1/exports/{}?from={from}&to={to}", kind.name()))?
        }
        (Export::Journal(kind), None) => {
            let db = place.data().open(Access::Reader).await?;
            export::export(&db, kind, from, to).await.map_err(CannotOpen::Data)?
        }
    };
    match output {
        Some(path) => std::fs::write(&path, text)
            .map_err(|error| CannotOpen::File { path: path.display().to_string(), reason: error.to_string() })?,
        None => std::io::stdout().write_all(text.as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}
