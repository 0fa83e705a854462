//! `tallystick verify`: everything recomputed from the log, and every difference named.

use std::io::IsTerminal;
use std::process::ExitCode;

use comfy_table::CellAlignment;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use serde_json::json;

use crate::billing::verify::Progress;
use crate::billing::verify::Verified;
use crate::billing::verify::verify;
use crate::cli::NO;
use crate::cli::place::DataArgs;
use crate::metering::versions::Versions;
use crate::store::Access;

#[derive(clap::Args)]
pub struct Args {
    /// Print what was found as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    data: DataArgs,
}

/// Reads only, so that it may run beside a server.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let db = args.data.open(Access::Reader).await?;
    let versions = Versions::load(&db).await?;
    let bar = progress_bar();
    let verified = verify(&db, &versions, |progress| show(&bar, progress)).await;
    bar.finish_and_clear();
    let verified = verified?;
    if args.json {
        println!("{}", as_json(&verified));
    } else {
        print!("{}", report(&verified));
    }
    Ok(if verified.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg:22} {bar:40} {pos}/{len}");
    ProgressBar::new(1).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn show(bar: &ProgressBar, progress: Progress) {
    let (message, position, length) = match progress {
        Progress::Log { batches, batches_total } => {
            ("reading the log", u64::try_from(batches).unwrap_or(0), u64::try_from(batches_total).unwrap_or(0))
        }
        Progress::Closings { closings, closings_total } => {
            ("repeating closings", closings as u64, closings_total as u64)
        }
    };
    bar.set_message(message);
    bar.set_length(length);
    bar.set_position(position);
}

fn as_json(verified: &Verified) -> serde_json::Value {
    json!({
        "batches": verified.batches,
        "usage_rows": verified.usage_rows,
        "closings": verified.closings,
        "documents": verified.documents,
        "entries": verified.entries,
        "exports": verified.exports,
        "differences": verified.differences.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn report(verified: &Verified) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    let rows = [
        ("batches of the log", verified.batches.to_string()),
        ("rows of usage", verified.usage_rows.to_string()),
        ("closings", verified.closings.to_string()),
        ("documents", verified.documents.to_string()),
        ("journal entries", verified.entries.to_string()),
        ("sealed exports", verified.exports.to_string()),
    ];
    for (what, count) in rows {
        table.add_row([what, count.as_str()]);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut text: String = table.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    match verified.differences.len() {
        0 => text.push_str("Everything is as it was recomputed from the log.\n"),
        count => text.push_str(&format!("{count} differences:\n")),
    }
    text.extend(verified.differences.iter().map(|difference| format!("- {difference}\n")));
    text
}
