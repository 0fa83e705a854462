//! `tallystick events import`: files of events into the log. Safe to run twice.

use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::io::IsTerminal;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use flate2::read::MultiGzDecoder;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use serde::Deserialize;
use serde::Serialize;

use crate::cli::NO;
use crate::cli::place::CannotOpen;
use crate::cli::place::PlaceArgs;
use crate::cli::place::Server;
use crate::clock;
use crate::domain::event::Fault;
use crate::metering;
use crate::metering::Metering;
use crate::metering::ingest::Faulty;
use crate::metering::ingest::Format;
use crate::metering::ingest::Invalid;
use crate::metering::ingest::Limits;
use crate::store::Access;

/// A body is sent when it has this many events or bytes.
const BODY_EVENTS_MAX: usize = 10_000;
const BODY_BYTES_MAX: usize = 8 << 20;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

#[derive(clap::Args)]
pub struct Args {
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Keep events that cannot be taken in quarantine, and go on
    #[arg(long)]
    quarantine: bool,
    /// Print the counts as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What became of the files.
#[derive(Default, Serialize)]
struct Imported {
    accepted: usize,
    duplicates: usize,
    conflicts: usize,
    rejected: Vec<Rejected>,
    /// Events that were taken although their data breaks their schema; said only if there are any, as by the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    warned: Option<usize>,
    /// What is wrong with the first of these of each body.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Rejected>,
}

/// Something that is wrong with a line of a file.
#[derive(Serialize)]
struct Rejected {
    /// `FILE:LINE`, and where in the event.
    at: String,
    code: String,
    detail: String,
    fix: String,
}

enum Sink {
    Data(Metering),
    Server(Server),
}

/// Lines that go into the log together, and where in the file each came from.
#[derive(Default)]
struct Body {
    text: Vec<u8>,
    lines: Vec<usize>,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let sink = match args.place.server() {
        Some(server) => Sink::Server(server),
        None => {
            let db = args.place.data().open(Access::Owner).await?;
            Sink::Data(Metering::open(db, args.place.data().metering(Limits::default()), |_| {}).await?)
        }
    };
    let mut imported = Imported::default();
    for file in &args.files {
        if !import_file(file, &sink, args.quarantine, &mut imported).await? {
            break;
        }
    }
    if let Sink::Data(metering) = &sink {
        metering.flush().await?;
    }
    report(&imported, args.json, args.quarantine)
}

/// Says whether to go on with the next file.
async fn import_file(path: &Path, sink: &Sink, quarantine: bool, imported: &mut Imported) -> anyhow::Result<bool> {
    let cannot =
        |error: std::io::Error| CannotOpen::File { path: path.display().to_string(), reason: error.to_string() };
    let bar = progress_bar(path);
    let raw: Box<dyn Read + Send> = match path.as_os_str() == "-" {
        true => Box::new(std::io::stdin()),
        false => Box::new(bar.wrap_read(File::open(path).map_err(cannot)?)),
    };
    let mut lines = decompressed(raw).map_err(cannot)?;
    let mut body = Body::default();
    let mut number = 0;
    loop {
        let before = body.text.len();
        let read = lines.read_until(b'\n', &mut body.text).map_err(cannot)?;
        number += 1;
        if read > 0 && !body.text[before..].trim_ascii().is_empty() {
            body.lines.push(number);
        }
        let full = body.lines.len() >= BODY_EVENTS_MAX || body.text.len() >= BODY_BYTES_MAX;
        if (full || read == 0) && !body.lines.is_empty() {
            let body = std::mem::take(&mut body);
            if !send(path, body, sink, quarantine, imported).await? && !quarantine {
                return Ok(false);
            }
        }
        if read == 0 {
            bar.finish_and_clear();
            return Ok(true);
        }
    }
}

fn progress_bar(path: &Path) -> ProgressBar {
    let Some(size) = std::fs::metadata(path).ok().filter(|_| std::io::stderr().is_terminal()) else {
        return ProgressBar::hidden();
    };
    let style = ProgressStyle::with_template("{msg} {bar:40} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(size.len()).with_style(style).with_message(path.display().to_string())
}

/// Recognises compression by its first bytes, not by the file's name.
fn decompressed(raw: Box<dyn Read + Send>) -> std::io::Result<Box<dyn BufRead + Send>> {
    let mut raw = BufReader::with_capacity(1 << 18, raw);
    let start = raw.fill_buf()?;
    if start.starts_with(&ZSTD_MAGIC) {
        return Ok(Box::new(BufReader::with_capacity(1 << 18, zstd::stream::read::Decoder::with_buffer(raw)?)));
    }
    if start.starts_with(&GZIP_MAGIC) {
        return Ok(Box::new(BufReader::with_capacity(1 << 18, MultiGzDecoder::new(raw))));
    }
    Ok(Box::new(raw))
}

/// Sends one body. Says whether all of it was taken.
async fn send(path: &Path, body: Body, sink: &Sink, quarantine: bool, imported: &mut Imported) -> anyhow::Result<bool> {
    let answer = match sink {
        Sink::Data(metering) => ingest(metering, body.text, quarantine).await?,
        Sink::Server(server) => post(server, &body.text, quarantine)?,
    };
    imported.accepted += answer.accepted;
    imported.duplicates += answer.duplicates;
    imported.conflicts += answer.conflicts.len();
    if answer.warned > 0 {
        *imported.warned.get_or_insert_default() += answer.warned;
    }
    let all_taken = answer.rejected.is_empty();
    let placed = |index: Option<usize>, inside: &str| {
        let line = index.and_then(|index| body.lines.get(index)).copied().unwrap_or_default();
        let inside = if inside.is_empty() { String::new() } else { format!(" {inside}") };
        format!("{}:{line}{inside}", path.display())
    };
    for PlacedFault { at, code, detail, fix } in answer.rejected {
        let at = at.trim_start_matches('/');
        let (index, inside) = at.split_at(at.find('/').unwrap_or(at.len()));
        imported.rejected.push(Rejected { at: placed(index.parse().ok(), inside), code, detail, fix });
    }
    for Warning { index, fault: PlacedFault { at, code, detail, fix } } in answer.warnings {
        imported.warnings.push(Rejected { at: placed(Some(index), &at), code, detail, fix });
    }
    Ok(all_taken)
}

/// The answer of the server, and the shape that a local ingest is brought into.
#[derive(Default, Deserialize)]
struct Answer {
    #[serde(default)]
    accepted: usize,
    #[serde(default)]
    duplicates: usize,
    #[serde(default)]
    conflicts: Vec<usize>,
    #[serde(default)]
    rejected: Vec<PlacedFault>,
    #[serde(default)]
    warned: usize,
    #[serde(default)]
    warnings: Vec<Warning>,
}

#[derive(Deserialize)]
struct Warning {
    index: usize,
    #[serde(flatten)]
    fault: PlacedFault,
}

#[derive(Deserialize)]
struct PlacedFault {
    at: String,
    code: String,
    detail: String,
    fix: String,
}

async fn ingest(metering: &Metering, body: Vec<u8>, quarantine: bool) -> anyhow::Result<Answer> {
    let invalid = if quarantine { Invalid::Quarantine } else { Invalid::Reject };
    let (receipt, faulty) = match metering.ingest(Format::Ndjson, body, invalid, clock::now()).await {
        Ok(receipt) => (receipt.clone(), receipt.rejected),
        Err(metering::Error::Invalid(faulty)) => (metering::Receipt::default(), faulty),
        Err(error) => return Err(error.into()),
    };
    let placed = |fault: Fault, before: &str| PlacedFault {
        at: format!("{before}{}", fault.at),
        code: fault.code.to_owned(),
        detail: fault.detail,
        fix: fault.fix,
    };
    let rejected = faulty
        .into_iter()
        .flat_map(|Faulty { index, errors }| errors.into_iter().map(move |fault| placed(fault, &format!("/{index}"))));
    let warnings = receipt.warned.named.into_iter().flat_map(|Faulty { index, errors }| {
        errors.into_iter().map(move |fault| Warning { index, fault: placed(fault, "") })
    });
    Ok(Answer {
        accepted: receipt.accepted,
        duplicates: receipt.duplicates,
        conflicts: receipt.conflicts,
        rejected: rejected.collect(),
        warned: receipt.warned.counts.values().sum(),
        warnings: warnings.collect(),
    })
}

fn post(server: &Server, body: &[u8], quarantine: bool) -> anyhow::Result<Answer> {
    let path = if quarantine { "/v1/events?invalid=quarantine" } else { "/v1/events" };
    // The connection is blocking; nothing else runs in this process.
    let (status, text) = tokio::task::block_in_place(|| server.post_raw(path, "application/x-ndjson", body))?;
    match status {
        200 => serde_json::from_str(&text).context("the server's answer cannot be read"),
        422 => {
            #[derive(Deserialize)]
            struct Problem {
                errors: Vec<PlacedFault>,
            }
            let problem: Problem = serde_json::from_str(&text).context("the server's answer cannot be read")?;
            Ok(Answer { rejected: problem.errors, ..Answer::default() })
        }
        _ => anyhow::bail!("the server answers {status}: {}", crate::cli::place::problem_text(&text).unwrap_or(text)),
    }
}

fn report(imported: &Imported, json: bool, quarantine: bool) -> anyhow::Result<ExitCode> {
    if json {
        println!("{}", serde_json::to_string(imported)?);
    } else {
        let warned = imported.warned.map(|warned| format!("  warned {warned}")).unwrap_or_default();
        println!(
            "accepted {}  duplicates {}  conflicts {}  rejected {}{warned}",
            imported.accepted,
            imported.duplicates,
            imported.conflicts,
            imported.rejected.len()
        );
        for warning in &imported.warnings {
            eprintln!("{}: warning: {}\n  fix: {}", warning.at, warning.detail, warning.fix);
        }
        for rejected in &imported.rejected {
            eprintln!("{}: {}\n  fix: {}", rejected.at, rejected.detail, rejected.fix);
        }
        if !imported.rejected.is_empty() && !quarantine {
            eprintln!(
                "Stopped there: the events before it are in, the body of up to {BODY_EVENTS_MAX} events around it is not.\n\
                 Mend the lines and import again (what is in already counts once), or use --quarantine."
            );
        }
    }
    Ok(if imported.rejected.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}
