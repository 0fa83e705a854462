//! `tallystick pricing`: check a price book, try it on history, publish it, show what is published.

mod plan;
mod simulate;

use std::io::IsTerminal;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use anyhow::bail;
use comfy_table::Table;
use comfy_table::presets::NOTHING;

use crate::cli::NO;
use crate::cli::book_files;
use crate::cli::place::CannotOpen;
use crate::cli::place::PlaceArgs;
use crate::cli::serve;
use crate::clock;
use crate::domain::book::Book;
use crate::domain::book::Mistake;
use crate::domain::book::SourceFile;
use crate::domain::book::catalog::EventType;
use crate::domain::book::catalog::Validation;
use crate::domain::book::parse;
use crate::domain::book::version;
use crate::domain::book::version::files_from_json;
use crate::domain::rating::cliff::Cliff;
use crate::domain::rating::cliff::cliffs;
use crate::domain::time::Instant;
use crate::metering::ingest::Limits;
use crate::metering::publish;
use crate::metering::publish::Refused;
use crate::store::Access;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Read a price book, and name every mistake at once
    Check {
        #[command(flatten)]
        book: BookArgs,
        #[arg(long)]
        json: bool,
    },
    /// What publishing a price book would change, in words and in the money of the last month
    Plan(plan::Args),
    /// What a price book would have made of real usage, beside what the published one makes of it
    Simulate(simulate::Args),
    /// Publish a price book as a new version
    Apply {
        #[command(flatten)]
        book: BookArgs,
        /// When it takes effect, on a full hour; the next hour if it is left out
        #[arg(long, value_name = "TIME", value_parser = instant)]
        effective: Option<Instant>,
        /// Why
        #[arg(long, default_value = "")]
        note: String,
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Show the published versions, or write the files of one into a folder
    Show {
        /// A version's id; without it, all are listed
        id: Option<String>,
        /// Write the version's files into this folder
        #[arg(short, long, value_name = "DIR", requires = "id")]
        output: Option<PathBuf>,
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: PlaceArgs,
    },
}

#[derive(clap::Args)]
pub struct BookArgs {
    /// Folder of the price book
    #[arg(long, value_name = "DIR", env = "TALLYSTICK_PRICING", default_value = "pricing")]
    pricing: PathBuf,
}

fn instant(text: &str) -> Result<Instant, String> {
    Instant::parse(text).ok_or_else(|| "write it like 2026-12-01T00:00:00Z".to_owned())
}

pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Check { book, json } => check(&book.pricing, json),
        Command::Plan(args) => plan::run(args).await,
        Command::Simulate(args) => simulate::run(args).await,
        Command::Apply { book, effective, note, json, place } => {
            let files = read_book(&book.pricing)?;
            apply(files, effective, &note, json, &place).await
        }
        Command::Show { id, output, json, place } => show(id.as_deref(), output.as_deref(), json, &place).await,
    }
}

/// The files of a book that is to be published or served. Its mistakes are the error.
pub fn read_book(folder: &Path) -> anyhow::Result<Vec<SourceFile>> {
    let files = read_files(folder)?;
    match parse(&files) {
        Ok(_) => Ok(files),
        Err(mistakes) => bail!("the price book in {} has mistakes\n\n{}", folder.display(), told(&files, &mistakes)),
    }
}

fn read_files(folder: &Path) -> Result<Vec<SourceFile>, CannotOpen> {
    book_files::read(folder)
        .map_err(|error| CannotOpen::File { path: folder.display().to_string(), reason: error.to_string() })
}

fn check(folder: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let files = read_files(folder)?;
    let (book, mistakes) = match parse(&files) {
        Ok(book) => (Some(book), Vec::new()),
        Err(mistakes) => (None, mistakes),
    };
    if json {
        let cliffs = book.as_ref().map(cliffs).unwrap_or_default();
        println!("{}", serde_json::json!({ "errors": mistakes, "cliffs": cliffs }));
    } else if let Some(book) = &book {
        println!("{}", summary(&files, book));
        print!("{}", cliff_warnings(&cliffs(book)));
    } else {
        eprint!("{}", told(&files, &mistakes));
    }
    Ok(if mistakes.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

/// An event type, and what becomes of data that breaks its schema.
fn named(event_type: &EventType) -> String {
    match event_type.validation {
        Validation::Off => event_type.id.clone(),
        Validation::Warn => format!("{} (warn)", event_type.id),
        Validation::Enforce => format!("{} (enforce)", event_type.id),
    }
}

fn summary(files: &[SourceFile], book: &Book) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    let mut row = |what: &str, names: Vec<&String>| {
        let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
        table.add_row([what.to_owned(), names.len().to_string(), names.join(", ")]);
    };
    let event_types: Vec<String> = book.event_types.values().map(named).collect();
    row("event types", event_types.iter().collect());
    row("meters", book.meters.keys().collect());
    row("plans", book.plans.keys().collect());
    row("programs", book.programs.keys().collect());
    row("taxes", book.taxes.keys().collect());
    let id = version::id(&version::hash(files));
    format!("{}: no mistakes. {}, {}; as a version it is {id}\n{table}", book.name, book.currency, book.zone.name())
}

/// Prices that fall where there is one unit more: allowed, and seldom meant.
fn cliff_warnings(cliffs: &[Cliff]) -> String {
    cliffs.iter().map(|cliff| format!("Warning: more costs less. {cliff}\n")).collect()
}

/// Each mistake with the line it is in and a mark under what is meant.
fn told(files: &[SourceFile], mistakes: &[Mistake]) -> String {
    let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (bold, red, plain) = match coloured {
        true => ("\x1b[1m", "\x1b[31m", "\x1b[0m"),
        false => ("", "", ""),
    };
    let mut text = String::new();
    for mistake in mistakes {
        let Mistake { file, line, column, width, message, fix, .. } = mistake;
        text.push_str(&format!("{bold}{file}:{line}{plain}: {message}\n"));
        let source = files.iter().find(|source| source.path == *file);
        if let Some(source) = source.and_then(|source| source.text.lines().nth(line.saturating_sub(1))) {
            let gutter = line.to_string();
            // A tab stays a tab, so that the mark stands under its word however wide tabs are.
            let blank = |c: char| if c == '\t' { '\t' } else { ' ' };
            let before: String = source.chars().take(column.saturating_sub(1)).map(blank).collect();
            let mark = "^".repeat(*width);
            text.push_str(&format!("  {gutter} | {source}\n"));
            text.push_str(&format!("  {} | {before}{red}{mark}{plain}\n", " ".repeat(gutter.len())));
        }
        if let Some(fix) = fix {
            text.push_str(&format!("  fix: {fix}\n"));
        }
        text.push('\n');
    }
    let count = mistakes.len();
    text.push_str(&format!("{count} {}\n", if count == 1 { "mistake" } else { "mistakes" }));
    text
}

async fn apply(
    files: Vec<SourceFile>,
    effective: Option<Instant>,
    note: &str,
    json: bool,
    place: &PlaceArgs,
) -> anyhow::Result<ExitCode> {
    let answer: serde_json::Value = match place.server() {
        Some(server) => {
            let body = serde_json::json!({ "files": files_body(files), "effective_from": effective, "note": note })
                .to_string();
            tokio::task::block_in_place(|| server.post("/v1/pricing/versions", "application/json", body.as_bytes()))?
        }
        None => {
            let db = place.data().open(Access::Owner).await?;
            let metering = serve::open_metering(db, place.data().metering(Limits::default())).await?;
            match publish::publish(&metering, files, effective, "command line", note, clock::now()).await {
                Ok(published) => serde_json::json!({
                    "id": published.id, "new": published.new, "effective_from": published.effective_from,
                    "changes": published.changes,
                }),
                Err(publish::Error::Refused(refused)) => return Ok(refuse(&refused)),
                Err(publish::Error::Metering(error)) => return Err(error.into()),
            }
        }
    };
    if json {
        println!("{answer}");
        return Ok(ExitCode::SUCCESS);
    }
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    match answer["new"].as_bool() {
        Some(true) => println!("{} is published, and takes effect at {}", text("id"), text("effective_from")),
        _ => println!("{} was published before; nothing changed", text("id")),
    }
    for change in answer["changes"].as_array().into_iter().flatten() {
        println!("  {}", change.as_str().unwrap_or_default());
    }
    Ok(ExitCode::SUCCESS)
}

fn refuse(refused: &Refused) -> ExitCode {
    eprintln!("tallystick: {refused}");
    ExitCode::from(NO)
}

/// The files of a book as the API takes them: path → text.
fn files_body(files: Vec<SourceFile>) -> serde_json::Map<String, serde_json::Value> {
    files.into_iter().map(|file| (file.path, file.text.into())).collect()
}

async fn show(id: Option<&str>, output: Option<&Path>, json: bool, place: &PlaceArgs) -> anyhow::Result<ExitCode> {
    let versions = place.data().open(Access::Reader).await?.read().await?.book_versions().await?;
    let Some(id) = id else {
        if json {
            let rows = versions.iter().map(|version| {
                serde_json::json!({
                    "id": version.id, "effective_from": version.effective_from, "note": version.note,
                    "published_at": version.published_at, "published_by": version.published_by,
                })
            });
            println!("{}", serde_json::Value::from_iter(rows));
            return Ok(ExitCode::SUCCESS);
        }
        let mut table = Table::new();
        table.load_style(NOTHING).set_header(["VERSION", "EFFECTIVE FROM", "PUBLISHED", "BY", "NOTE"]);
        for version in versions {
            let (from, at) = (version.effective_from.to_string(), version.published_at.to_string());
            table.add_row([version.id, from, at, version.published_by, version.note]);
        }
        println!("{table}");
        return Ok(ExitCode::SUCCESS);
    };
    let Some(version) = versions.into_iter().find(|version| version.id == id) else {
        bail!("there is no version {id}; `tallystick pricing show` lists them");
    };
    let files = files_from_json(&version.files).context("the version's files cannot be read")?;
    for file in files {
        match output {
            Some(folder) => write(&folder.join(&file.path), &file.text)?,
            None => println!("# {}\n{}", file.path, file.text),
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}
