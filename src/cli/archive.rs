//! `tallystick events archive`: old batches out of the database, into files.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use serde_json::json;

use crate::cli::place::CannotOpen;
use crate::cli::place::DataArgs;
use crate::cli::serve::open_metering;
use crate::clock;
use crate::domain::time::Instant;
use crate::metering::archive::write::Archived;
use crate::metering::archive::write::Progress;
use crate::metering::archive::write::Wanted;
use crate::metering::archive::write::archive;
use crate::metering::ingest::Limits;
use crate::store;
use crate::store::Access;

#[derive(clap::Args)]
pub struct Args {
    /// Archive batches whose events all happened before then: a date in the price book's time zone, or an RFC 3339 time
    #[arg(long, value_name = "DATE")]
    before: String,
    /// Folder of the archive. Keep it: duplicates, replays and `verify` read it
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    /// About how large a file gets, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    file_size: u64,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    data: DataArgs,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let db = match args.data.open(Access::Owner).await {
        Err(error @ CannotOpen::Data(store::Error::InUse(_))) => {
            return Err(error)
                .context("events archive works on the data alone: stop the server, and start it again after");
        }
        opened => opened?,
    };
    let metering = open_metering(db.clone(), args.data.metering(Limits::default())).await?;
    let versions = metering.versions();
    let zone = versions.zone_at(clock::now());
    let before = Instant::parse_in(&args.before, &zone)
        .with_context(|| format!("`{}` is no time; write it like 2013-01-31 or 2013-01-31T00:00:00Z", args.before))?;
    // What is not flushed could not be archived.
    metering.close().await?;
    drop(metering);
    let bytes_before = db.log_bytes_on_disk().await?;
    let wanted = Wanted { before, folder: args.to, file_bytes: args.file_size << 20 };
    let bar = progress_bar();
    let archived = archive(&db, &wanted, |progress| show(&bar, progress)).await;
    bar.finish_and_clear();
    let archived = archived?;
    let compacted = db.compact_log().await;
    let bytes_after = db.log_bytes_on_disk().await?;
    if let Err(error) = compacted {
        eprintln!("The space was not given back to the disk, and is used for new events: {error}");
    }
    if args.json {
        println!("{}", as_json(&archived, bytes_before, bytes_after));
    } else {
        print!("{}", report(&archived, before, bytes_before, bytes_after));
    }
    Ok(ExitCode::SUCCESS)
}

fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("archiving {bar:40} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}");
    ProgressBar::new(1).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_length(progress.bytes_total);
    bar.set_position(progress.bytes);
}

fn as_json(archived: &Archived, bytes_before: i64, bytes_after: i64) -> serde_json::Value {
    json!({
        "files": archived.files,
        "batches": archived.batches,
        "events": archived.events,
        "bytes": archived.bytes,
        "batches_with_younger_events": archived.batches_across,
        "batches_not_in_usage": archived.unflushed,
        "log_bytes_before": bytes_before,
        "log_bytes_after": bytes_after,
    })
}

fn report(archived: &Archived, before: Instant, bytes_before: i64, bytes_after: i64) -> String {
    let Archived { files, batches, events, bytes, batches_across, unflushed } = archived;
    let mut text = match batches {
        0 => format!("Nothing to archive: no batch of the log has only events from before {before}.\n"),
        _ => format!(
            "Archived {events} events in {batches} batches, {} in {} files, each read back and whole.\n\
             The log in the database went from {} to {}.\n",
            mib(bytes.cast_signed()),
            files.len(),
            mib(bytes_before),
            mib(bytes_after),
        ),
    };
    if *batches_across > 0 {
        text.push_str(&format!("{batches_across} batches stay: they also have events that are younger.\n"));
    }
    if *unflushed > 0 {
        text.push_str(&format!(
            "{unflushed} batches stay: they are not in stored usage yet. Start and stop the server once.\n"
        ));
    }
    text
}

fn mib(bytes: i64) -> String {
    let tenths = bytes.saturating_mul(10) / (1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}
