//! `tallystick bench ledger`: postings a second, checked and chained, beside the same rows in tables without a key or a rule.
//!
//! Entries of invoices are made first. Then they are posted in batches, each in a durable transaction, and then their rows are
//! inserted as they are, in as many and as large transactions. At the end the journal is verified.

use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant as Stopwatch;

use anyhow::Context;
use anyhow::bail;
use comfy_table::CellAlignment;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use jiff::civil::date;
use serde::Serialize;

use crate::cli::bench::machine::Machine;
use crate::cli::bench::report::grouped;
use crate::clock;
use crate::domain::ids::InvoiceId;
use crate::domain::ledger::entry::Entry;
use crate::domain::ledger::templates::Dates;
use crate::domain::ledger::templates::InvoiceTotals;
use crate::domain::ledger::templates::invoice_finalized;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::store::Access;
use crate::store::Db;
use crate::store::Target;
use crate::store::plain::PlainJournal;

/// Invoices are of so many consumers: most are met again and again.
const CONSUMERS: u64 = 10_000;

#[derive(clap::Args)]
pub struct Args {
    /// Entries, of four postings each
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    entries: u64,
    /// Entries in one batch, which is one transaction
    #[arg(long, value_name = "N", default_value_t = 4_096, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: u32,
    /// A new Postgres database to measure too; what is posted there stays
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    machine: Machine,
    entries: u64,
    postings: u64,
    batch: u32,
    sqlite: Figures,
    postgres: Option<Figures>,
}

#[derive(Serialize)]
struct Figures {
    seconds: f64,
    postings_per_second: f64,
    /// The same rows without keys and rules.
    plain_seconds: f64,
    plain_postings_per_second: f64,
    /// What of the plain rate is left: 0.4 is wanted.
    ratio: f64,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let folder =
        std::env::temp_dir().join(format!("tallystick-bench-{:016x}", u64::from_be_bytes(crate::random::bytes())));
    let report = measured(&args, &folder).await;
    // What is left of it can be removed by hand; there is nobody to tell any more.
    let _ = std::fs::remove_dir_all(&folder);
    let report = report?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", told(&report));
    }
    Ok(ExitCode::SUCCESS)
}

async fn measured(args: &Args, folder: &Path) -> anyhow::Result<Report> {
    let entries = (0..args.entries).map(entry).collect::<anyhow::Result<Vec<Entry>>>()?;
    let postings = entries.iter().map(|entry| entry.postings().len() as u64).sum();
    let sqlite = figures(Target::Folder(PathBuf::from(folder)), &entries, postings, args.batch).await?;
    let postgres = match &args.database_url {
        Some(url) => Some(figures(Target::Url(url.clone()), &entries, postings, args.batch).await?),
        None => None,
    };
    let machine = Machine::here(folder);
    Ok(Report { machine, entries: args.entries, postings, batch: args.batch, sqlite, postgres })
}

/// An invoice of two components with tax.
fn entry(number: u64) -> anyhow::Result<Entry> {
    let currency = Currency::from_code("EUR").context("EUR is a currency")?;
    let money = |minor: u64| Ok::<_, anyhow::Error>(Money::from_minor(i64::try_from(minor)?, currency));
    let id = InvoiceId::parse(&format!("inv_{number:010}")).context("an id")?;
    let (name, party) = (format!("INV-{number:010}"), format!("consumer-{:08}", number * 7_919 % CONSUMERS));
    let net = vec![("requests", money(1_000 + number % 977)?), ("storage", money(200 + number % 89)?)];
    let totals = InvoiceTotals { id: &id, number: &name, party: &party, net, tax: vec![("NL", money(252)?)] };
    let dates = Dates { effective_on: date(2025, 1, 31), recorded_at: clock::now() };
    invoice_finalized(&totals, dates)?.context("an invoice that owes something")
}

async fn figures(target: Target, entries: &[Entry], postings: u64, batch: u32) -> anyhow::Result<Figures> {
    let db = Db::open(&target, Access::Owner).await?;
    if db.read().await?.journal_head().await?.batch > 0 {
        bail!("there is a journal in this database already, and nothing is ever taken out of one; name a new database");
    }
    let batch = usize::try_from(batch)?;
    let watch = Stopwatch::now();
    for entries in entries.chunks(batch) {
        let mut tx = db.write().await?;
        tx.post(entries).await?;
        tx.commit().await?;
    }
    let seconds = watch.elapsed().as_secs_f64();
    let mut plain = PlainJournal::make(&db).await?;
    let watch = Stopwatch::now();
    for entries in entries.chunks(batch) {
        plain.insert(entries).await?;
    }
    let plain_seconds = watch.elapsed().as_secs_f64();
    plain.remove().await?;
    let differences = db.read().await?.verify_journal().await?;
    if let Some(difference) = differences.first() {
        bail!("the journal is not sound: {difference}");
    }
    let (postings_per_second, plain_postings_per_second) = (postings as f64 / seconds, postings as f64 / plain_seconds);
    let ratio = plain_seconds / seconds;
    Ok(Figures { seconds, postings_per_second, plain_seconds, plain_postings_per_second, ratio })
}

fn told(report: &Report) -> String {
    let Report { machine, entries, postings, batch, sqlite, postgres } = report;
    let mut text = format!(
        "{} cores, {}, {}{}; {} entries of {} postings, {} a batch.\n\n",
        machine.cores,
        machine.cpu,
        machine.file_system,
        if machine.optimised { "" } else { ", not optimised" },
        grouped(*entries),
        grouped(*postings),
        grouped(u64::from(*batch)),
    );
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["", "postings a second", "plain rows", "ratio"]);
    for (name, figures) in [("SQLite", Some(sqlite)), ("Postgres", postgres.as_ref())] {
        let Some(figures) = figures else { continue };
        let whole = |number: f64| grouped(number.round() as u64);
        table.add_row([
            name.to_owned(),
            whole(figures.postings_per_second),
            whole(figures.plain_postings_per_second),
            format!("{:.2}", figures.ratio),
        ]);
    }
    table.column_iter_mut().skip(1).for_each(|column| {
        column.set_cell_alignment(CellAlignment::Right);
    });
    text.extend(table.lines().map(|line| format!("{}\n", line.trim_end())));
    text
}
