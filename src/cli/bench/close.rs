//! `tallystick bench close`: what closing and simulating cost on SQLite, with everything durable.
//!
//! Usage is put into the store as a flush would, a row a meter and month for each subscription. Then one month is closed,
//! the rows that this made are copied into tables without a key or a rule (the limit: what writing them costs at least), a
//! changed book is simulated over all months, and some of the same usage is rated by one thread alone.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant as Stopwatch;

use anyhow::Context;
use anyhow::bail;
use comfy_table::CellAlignment;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use serde::Serialize;

use crate::billing::close::Through;
use crate::billing::close::close;
use crate::billing::simulate::Request;
use crate::billing::simulate::simulate;
use crate::cli::bench::machine::Machine;
use crate::cli::bench::machine::Memory;
use crate::cli::bench::report::grouped;
use crate::clock;
use crate::domain::book::SourceFile;
use crate::domain::book::version::BookVersion;
use crate::domain::consumer::Consumer;
use crate::domain::days::BillingDays;
use crate::domain::ids::SubscriptionId;
use crate::domain::measure::delta::Delta;
use crate::domain::measure::delta::Key;
use crate::domain::measure::nano::Nano;
use crate::domain::money::Currency;
use crate::domain::period::Period;
use crate::domain::quantity::Quantities;
use crate::domain::rating::Explained;
use crate::domain::rating::Inputs;
use crate::domain::rating::rate;
use crate::domain::subscription::Subscription;
use crate::domain::time::Instant;
use crate::metering::Metering;
use crate::metering::Options;
use crate::metering::ingest::Limits;
use crate::metering::versions::Versions;
use crate::store::Access;
use crate::store::Db;
use crate::store::Target;
use crate::store::naive::copy_plainly;

/// Rows of one transaction while the data is made.
const ROWS_A_TRANSACTION: usize = 50_000;
/// Subscriptions that one thread rates alone.
const RATED_ALONE: usize = 10_000;

const BOOK: [(&str, &str); 5] = [
    ("book.toml", "name = \"Bench\"\ncurrency = \"EUR\"\ntimezone = \"UTC\"\n"),
    ("catalog/used.toml", "[[event_type]]\ntype = \"used\"\n"),
    (
        "meters/used.toml",
        r#"
        [[meter]]
        id = "requests"
        event_type = "used"
        aggregation = "count"
        [[meter]]
        id = "bytes"
        event_type = "used"
        aggregation = "sum"
        value = "data.bytes"
        [[meter]]
        id = "answers"
        event_type = "used"
        aggregation = "count"
        "#,
    ),
    (
        "plans/bench.toml",
        r#"
        [plan]
        id = "bench"
        interval = "month"
        [[plan.component]]
        id = "base"
        kind = "fee"
        amount = "10.00"
        when = "arrears"
        [[plan.component]]
        id = "requests"
        kind = "charge"
        meter = "requests"
        model = "graduated"
        free_quantity = "100"
        tiers = [
            { up_to = "1000", unit_amount = "0.0100" },
            { up_to = "10000", unit_amount = "0.0080" },
            { unit_amount = "0.0050" },
        ]
        [[plan.component]]
        id = "storage"
        kind = "charge"
        meter = "bytes"
        model = "volume"
        transform = { divide_by = "1000000", round = "up" }
        tiers = [{ up_to = "1000", unit_amount = "0.10" }, { unit_amount = "0.08" }]
        [[plan.component]]
        id = "packages"
        kind = "charge"
        meter = "requests"
        model = "package"
        package_size = "1000"
        package_amount = "1.50"
        [[plan.component]]
        id = "traffic"
        kind = "charge"
        meter = "bytes"
        model = "per_unit"
        unit_amount = "0.00000001"
        maximum_amount = "50.00"
        [[plan.component]]
        id = "help"
        kind = "reward"
        meter = "answers"
        model = "per_unit"
        unit_amount = "0.05"
        program = "help"
        "#,
    ),
    (
        "programs/help.toml",
        r#"
        [[program]]
        id = "help"
        from = "2025-01-01"
        to = "2026-01-01"
        budget = "100000000.00"
        exhausted = "partial"
        hold = "14d"
        accounting = "expense"
        "#,
    ),
];
/// What the simulated book has instead.
const CHANGE: [&str; 2] = ["unit_amount = \"0.0080\"", "unit_amount = \"0.0075\""];
const METERS: [&str; 3] = ["requests", "bytes", "answers"];

#[derive(clap::Args)]
pub struct Args {
    /// Subscriptions, each of a consumer of its own, on a plan of six components
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    subscriptions: u32,
    /// Months that are simulated; the first of them is closed
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=12))]
    months: u32,
    /// Folder to keep the data in, which must be new; without it, a temporary one that is removed at the end
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// All figures of a run.
#[derive(Serialize)]
struct Report {
    machine: Machine,
    subscriptions: u32,
    months: u32,
    usage_rows: u64,
    closing: Closing,
    /// The same rows, copied into tables without keys and rules.
    limit: Limit,
    rating: Rating,
    simulation: Simulation,
    memory: Memory,
}

#[derive(Serialize)]
struct Closing {
    documents: u64,
    lines: u64,
    seconds: f64,
    documents_per_second: f64,
    lines_per_second: f64,
}

#[derive(Serialize)]
struct Limit {
    rows: u64,
    seconds: f64,
    rows_per_second: f64,
    documents_per_second: f64,
}

/// On one thread, from usage in memory to lines with their explanations.
#[derive(Serialize)]
struct Rating {
    lines: u64,
    seconds: f64,
    lines_per_second: f64,
}

#[derive(Serialize)]
struct Simulation {
    /// On both sides together.
    periods: u64,
    seconds: f64,
    periods_per_second: f64,
}

/// A folder that is removed when it is not needed any more.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // What is left of it can be removed by hand; there is nobody to tell any more.
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (folder, _temporary) = match &args.data {
        Some(folder) if folder.exists() => bail!("{} is there already; name a new folder", folder.display()),
        Some(folder) => (folder.clone(), None),
        None => {
            let name = format!("tallystick-bench-{:016x}", u64::from_be_bytes(crate::random::bytes()));
            let folder = std::env::temp_dir().join(name);
            (folder.clone(), Some(Temporary(folder)))
        }
    };
    let report = measured(&args, &folder).await?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", told(&report));
    }
    Ok(ExitCode::SUCCESS)
}

async fn measured(args: &Args, folder: &Path) -> anyhow::Result<Report> {
    let db = Db::open(&Target::Folder(folder.to_owned()), Access::Owner).await?;
    let options = Options { limits: Limits::default(), seen: folder.join("seen"), seen_memory: 1 << 20 };
    let metering = Metering::open(db.clone(), options, |_| {}).await?;
    let book = book(None)?;
    metering.publish(book.clone(), "bench", "", clock::now()).await?;
    let bar = progress_bar();
    let usage_rows = make(&db, args, &bar).await?;
    let versions = metering.versions();

    bar.set_message("closing");
    let closing = closed(&db, &versions).await?;
    bar.set_message("copying");
    let limit = limit(folder, &closing).await?;
    bar.set_message("rating");
    let rating = rated(&db, &book, args).await?;
    bar.set_message("simulating");
    let simulation = simulated(&db, &versions, args).await?;
    bar.finish_and_clear();
    let memory = Memory::of(std::process::id())?;
    metering.close().await?;
    let (subscriptions, months) = (args.subscriptions, args.months);
    let machine = Machine::here(folder);
    Ok(Report { machine, subscriptions, months, usage_rows, closing, limit, rating, simulation, memory })
}

/// The book, perhaps with its change.
fn book(change: Option<[&str; 2]>) -> anyhow::Result<BookVersion> {
    let files = BOOK.map(|(path, text)| {
        let text = change.map_or_else(|| text.to_owned(), |[from, to]| text.replace(from, to));
        SourceFile { path: path.to_owned(), text }
    });
    match BookVersion::new(files.to_vec(), Instant::BEGINNING) {
        Ok(version) => Ok(version),
        Err(mistakes) => bail!("the book of the benchmark has mistakes: {mistakes:?}"),
    }
}

/// The first moment of a month of 2025; the thirteenth is the next January.
fn month(number: u32) -> anyhow::Result<Instant> {
    let text = if number > 12 { "2026-01-01".to_owned() } else { format!("2025-{number:02}-01") };
    Instant::parse(&format!("{text}T00:00:00Z")).context("a month of 2025")
}

fn consumer(number: u32) -> String {
    format!("consumer-{number:08}")
}

/// Consumers, subscriptions and usage. Gives the number of usage rows.
async fn make(db: &Db, args: &Args, bar: &ProgressBar) -> anyhow::Result<u64> {
    bar.set_length(u64::from(args.subscriptions) * (1 + u64::from(args.months)));
    let starts_at = month(1)?;
    let currency = Currency::from_code("EUR").context("EUR is a currency")?;
    let numbers: Vec<u32> = (0..args.subscriptions).collect();
    bar.set_message("making consumers");
    for numbers in numbers.chunks(ROWS_A_TRANSACTION) {
        let mut tx = db.write().await?;
        for number in numbers {
            let id = consumer(*number);
            let subscription = SubscriptionId::parse(&format!("sub_{number:08}")).context("an id")?;
            let plan = "bench".to_owned();
            let subscription = Subscription::new(subscription, id.clone(), plan, (starts_at, None), starts_at);
            tx.put_consumer(&Consumer {
                name: id.clone(),
                id,
                email: None,
                currency,
                tax: None,
                tags: BTreeMap::new(),
                spend_cap: None,
                alerts: Vec::new(),
                created_at: starts_at,
                updated_at: starts_at,
            })
            .await?;
            tx.create_subscription(&subscription).await?;
            bar.inc(1);
        }
        tx.commit().await?;
    }
    bar.set_message("making usage");
    let mut rows = 0;
    let (empty, meters): (Arc<str>, [Arc<str>; 3]) = ("".into(), METERS.map(Arc::from));
    let no_dimensions: Arc<str> = "{}".into();
    for at in 1..=args.months {
        let bucket = Instant::from_micros(month(at)?.micros() + 36_000_000_000);
        for numbers in numbers.chunks(ROWS_A_TRANSACTION / METERS.len()) {
            let mut keys = Vec::with_capacity(numbers.len() * METERS.len());
            for number in numbers {
                let party: Arc<str> = consumer(*number).into();
                for meter in &meters {
                    let key = Key {
                        meter: meter.clone(),
                        party: party.clone(),
                        bucket,
                        dimensions: no_dimensions.clone(),
                        item: empty.clone(),
                    };
                    // From some to many, so that all tiers are met.
                    let events = i64::from((number * 7 + at * 13) % 20_000);
                    let value = if &**meter == "bytes" { events * 123_457 } else { events };
                    keys.push((key, Delta { value: Nano::from(value), count: events }));
                }
            }
            let put: Vec<(&Key, Delta)> = keys.iter().map(|(key, delta)| (key, *delta)).collect();
            let mut tx = db.write().await?;
            tx.put_usage(&put).await?;
            tx.commit().await?;
            rows += put.len() as u64;
            bar.inc(numbers.len() as u64);
        }
    }
    Ok(rows)
}

async fn closed(db: &Db, versions: &Versions) -> anyhow::Result<Closing> {
    let watch = Stopwatch::now();
    let closed = close(db, versions, Through::Instant(month(2)?), clock::now(), |_| {}).await?;
    let seconds = watch.elapsed().as_secs_f64();
    let documents: usize = closed.closings.iter().map(|closing| closing.invoices + closing.payouts).sum();
    let lines = db.read().await?.count_lines().await?;
    let (documents, lines) = (documents as u64, u64::try_from(lines)?);
    let (documents_per_second, lines_per_second) = (documents as f64 / seconds, lines as f64 / seconds);
    Ok(Closing { documents, lines, seconds, documents_per_second, lines_per_second })
}

async fn limit(folder: &Path, closing: &Closing) -> anyhow::Result<Limit> {
    let to = folder.join("plain.db");
    let watch = Stopwatch::now();
    let rows = copy_plainly(&folder.join("tallystick.db"), &to).await?;
    let seconds = watch.elapsed().as_secs_f64();
    let (rows_per_second, documents_per_second) = (rows as f64 / seconds, closing.documents as f64 / seconds);
    Ok(Limit { rows, seconds, rows_per_second, documents_per_second })
}

async fn rated(db: &Db, version: &BookVersion, args: &Args) -> anyhow::Result<Rating> {
    let period = Period::new(month(1)?, month(2)?)?;
    let plan = version.book.plans.get("bench").context("the plan of the benchmark")?;
    let ids: Vec<String> = (0..args.subscriptions).take(RATED_ALONE).map(consumer).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let usage = db.read().await?.usage_of_parties(&ids, &METERS, period).await?;
    tokio::task::block_in_place(|| {
        let mut lines = 0;
        let watch = Stopwatch::now();
        for usage in usage.values() {
            let (programs, meters) = (&version.book.programs, &version.book.meters);
            let (whole, life_from, days) = (period, period.from(), &BillingDays::default());
            let (carries_from, changes, quantities) = (period.from(), &[], &Quantities::default());
            let inputs = Inputs {
                plan,
                programs,
                meters,
                period,
                whole,
                life_from,
                carries_from,
                days,
                changes,
                quantities,
                usage,
            };
            let rated = rate(&inputs, Explained::Yes)?;
            lines += (rated.lines.len() + rated.rewards.len()) as u64;
        }
        let seconds = watch.elapsed().as_secs_f64();
        Ok(Rating { lines, seconds, lines_per_second: lines as f64 / seconds })
    })
}

async fn simulated(db: &Db, versions: &Versions, args: &Args) -> anyhow::Result<Simulation> {
    let request = Request {
        candidate: book(Some(CHANGE))?,
        from: Through::Instant(month(1)?),
        to: Through::Instant(month(args.months + 1)?),
        largest: 10,
        threads: std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN),
    };
    let watch = Stopwatch::now();
    let (simulated, _) = simulate(db, versions, request, clock::now(), |_| {}).await?;
    let seconds = watch.elapsed().as_secs_f64();
    let periods = simulated.periods.before + simulated.periods.after;
    let expected = 2 * u64::from(args.subscriptions) * u64::from(args.months);
    if periods != expected {
        bail!("{periods} periods were simulated instead of {expected}");
    }
    Ok(Simulation { periods, seconds, periods_per_second: periods as f64 / seconds })
}

fn progress_bar() -> ProgressBar {
    if !std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {msg} {bar:40} {eta}");
    ProgressBar::new(1).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn told(report: &Report) -> String {
    let Report { machine, closing, limit, rating, simulation, memory, .. } = report;
    let mut text = format!(
        "{} cores, {}, {}{}; {} subscriptions on six components, {} usage rows.\n\n",
        machine.cores,
        machine.cpu,
        machine.file_system,
        if machine.optimised { "" } else { ", not optimised" },
        grouped(u64::from(report.subscriptions)),
        grouped(report.usage_rows),
    );
    let whole = |number: f64| grouped(number.round() as u64);
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["", "what", "seconds", "a second"]);
    let mut row = |name: &str, what: String, seconds: f64, rate: String| {
        table.add_row([name.to_owned(), what, format!("{seconds:.2}"), rate]);
    };
    row(
        "closing a month",
        format!("{} documents", grouped(closing.documents)),
        closing.seconds,
        format!("{} documents", whole(closing.documents_per_second)),
    );
    row(
        "",
        format!("{} lines", grouped(closing.lines)),
        closing.seconds,
        format!("{} lines", whole(closing.lines_per_second)),
    );
    row(
        "limit: the same rows, copied",
        format!("{} rows", grouped(limit.rows)),
        limit.seconds,
        format!("{} documents", whole(limit.documents_per_second)),
    );
    row(
        "rating, one thread",
        format!("{} lines", grouped(rating.lines)),
        rating.seconds,
        format!("{} lines", whole(rating.lines_per_second)),
    );
    row(
        &format!("simulating {} months", report.months),
        format!("{} periods, both sides", grouped(simulation.periods)),
        simulation.seconds,
        format!("{} periods", whole(simulation.periods_per_second)),
    );
    table.column_iter_mut().skip(1).for_each(|column| {
        column.set_cell_alignment(CellAlignment::Right);
    });
    text.extend(table.lines().map(|line| format!("{}\n", line.trim_end())));
    text.push_str(&format!("\nMemory at its peak: {} MiB\n", memory.peak_bytes >> 20));
    text
}
