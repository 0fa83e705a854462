//! `tallystick export`: the journal in the formats that finance reads, to a file or to standard output.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;
use jiff::civil::Date;
use jiff::civil::date;

use crate::billing::export;
use crate::billing::export::Kind;
use crate::cli::place::CannotOpen;
use crate::cli::place::PlaceArgs;
use crate::store::Access;

#[derive(clap::Args)]
pub struct Args {
    /// What to export
    #[arg(value_parser = kinds())]
    kind: Kind,
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

fn kinds() -> impl TypedValueParser<Value = Kind> {
    PossibleValuesParser::new(Kind::ALL.map(Kind::name))
        .try_map(|name| Kind::named(&name).ok_or_else(|| format!("`{name}` is not an export")))
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { kind, from, to, output, place } = args;
    let text = match place.server() {
        Some(server) => server.get(&format!("/v1/exports/{}?from={from}&to={to}", kind.name()))?,
        None => {
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
