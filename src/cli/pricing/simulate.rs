//! `tallystick pricing simulate`: what a price book would have made of real usage, beside what the published one makes.

use std::io::IsTerminal;
use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use comfy_table::CellAlignment;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::json;

use crate::billing::close::Through;
use crate::billing::csv::harmless;
use crate::billing::simulate::Progress;
use crate::billing::simulate::Request;
use crate::billing::simulate::Simulated;
use crate::billing::simulate::simulate;
use crate::cli::place::CannotOpen;
use crate::cli::place::PlaceArgs;
use crate::cli::pricing::BookArgs;
use crate::cli::pricing::cliff_warnings;
use crate::cli::pricing::files_body;
use crate::cli::pricing::read_book;
use crate::clock;
use crate::domain::book::SourceFile;
use crate::domain::book::version::BookVersion;
use crate::domain::money::Money;
use crate::domain::rating::line::LineKind;
use crate::domain::simulation::Difference;
use crate::domain::simulation::LeftOut;
use crate::domain::simulation::Mover;
use crate::domain::simulation::OfComponent;
use crate::domain::simulation::OfCurrency;
use crate::domain::simulation::Row;
use crate::domain::time::Instant;
use crate::metering::versions::Versions;
use crate::store::Access;

#[derive(clap::Args)]
pub struct Args {
    /// Periods that end after this date (in the zone of each plan) or RFC 3339 time
    #[arg(long, value_name = "DATE", value_parser = time)]
    from: String,
    /// Periods that end by this date or time
    #[arg(long, value_name = "DATE", value_parser = time)]
    to: String,
    #[command(flatten)]
    book: BookArgs,
    /// How many consumers to name whose amounts change most, each way
    #[arg(long, value_name = "N", default_value_t = 5)]
    largest: usize,
    /// Write every consumer's components into this file as CSV
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Print what it comes to as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What came of it, here or at a server, with the rows if they were asked for.
#[derive(Deserialize)]
pub(in crate::cli::pricing) struct Answer {
    #[serde(flatten)]
    pub simulated: Simulated,
    rows: Option<Vec<Row>>,
}

/// A time to simulate, as it was typed.
#[derive(Clone, Copy)]
pub(in crate::cli::pricing) struct Asked<'a> {
    pub from: &'a str,
    pub to: &'a str,
    pub largest: usize,
    pub rows: bool,
}

/// Kept as it was typed, so that a server reads the same.
fn time(text: &str) -> Result<String, String> {
    match Through::parse(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("write a date like 2013-04-01, or a time like 2013-04-01T00:00:00Z".to_owned()),
    }
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let files = read_book(&args.book.pricing)?;
    let asked = Asked { from: &args.from, to: &args.to, largest: args.largest, rows: args.csv.is_some() };
    let Answer { simulated, rows } = ask(&args.place, files, asked).await?;
    if let Some(file) = &args.csv {
        write_csv(file, &rows.unwrap_or_default())?;
    }
    if args.json {
        println!("{}", serde_json::to_string(&simulated)?);
    } else {
        print!("{}", report(&simulated, &args.book.pricing));
    }
    Ok(ExitCode::SUCCESS)
}

/// Simulates here, or asks a server to.
pub(in crate::cli::pricing) async fn ask(
    place: &PlaceArgs,
    files: Vec<SourceFile>,
    asked: Asked<'_>,
) -> anyhow::Result<Answer> {
    let Asked { from, to, largest, rows } = asked;
    let Some(server) = place.server() else { return simulate_here(place, files, asked).await };
    let body = json!({ "files": files_body(files), "from": from, "to": to, "largest": largest, "rows": rows });
    let body = body.to_string();
    tokio::task::block_in_place(|| server.post("/v1/pricing/simulate", "application/json", body.as_bytes()))
}

async fn simulate_here(place: &PlaceArgs, files: Vec<SourceFile>, asked: Asked<'_>) -> anyhow::Result<Answer> {
    let time = |text| Through::parse(text).with_context(|| format!("`{text}` is not a date"));
    let candidate = BookVersion::new(files, Instant::BEGINNING);
    let Ok(candidate) = candidate else { anyhow::bail!("the price book has mistakes") };
    let db = place.data().open(Access::Reader).await?;
    let versions = Versions::load(&db).await?;
    let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let (from, to) = (time(asked.from)?, time(asked.to)?);
    let request = Request { candidate, from, to, largest: asked.largest, threads };
    let bar = progress_bar();
    let done = simulate(&db, &versions, request, clock::now(), |progress| show(&bar, progress)).await;
    bar.finish_and_clear();
    let (simulated, tally) = done?;
    let rows = if asked.rows { Some(tally.rows().collect::<Result<_, _>>()?) } else { None };
    Ok(Answer { simulated, rows })
}

fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} simulating {bar:40} {msg}");
    let bar = ProgressBar::new(1).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// The bar goes over the time that is simulated.
fn show(bar: &ProgressBar, progress: Progress) {
    let since = |at: i64| u64::try_from(at.saturating_sub(progress.from.micros())).unwrap_or(0);
    bar.set_length(since(progress.to.micros()));
    bar.set_position(since(progress.at.micros()));
    bar.set_message(format!("{} periods, to {}", progress.periods, progress.at));
}

fn write_csv(file: &Path, rows: &[Row]) -> anyhow::Result<()> {
    let cannot = |error: csv::Error| CannotOpen::File { path: file.display().to_string(), reason: error.to_string() };
    let mut writer = csv::Writer::from_path(file).map_err(cannot)?;
    let header = ["consumer", "plan", "component", "kind", "currency", "before", "after", "change"];
    writer.write_record(header).map_err(cannot)?;
    for Row { consumer, plan, component, kind, amounts } in rows {
        let Difference { before, after, change } = amounts;
        let [before, after, difference] = [before, after, change].map(|money| money.decimal().to_string());
        let currency = change.currency();
        let row = [consumer, plan, component, name(*kind), currency.code(), &before, &after, &difference];
        writer.write_record(row.map(|cell| harmless(cell).into_owned())).map_err(cannot)?;
    }
    writer.flush().map_err(|error| cannot(error.into()))?;
    Ok(())
}

pub(in crate::cli::pricing) fn name(kind: LineKind) -> &'static str {
    match kind {
        LineKind::Fee => "fee",
        LineKind::Charge => "charge",
        LineKind::Minimum => "minimum",
        LineKind::Reward => "reward",
    }
}

fn report(simulated: &Simulated, folder: &Path) -> String {
    let Simulated { periods, without_period, outcome, .. } = simulated;
    if periods.before == 0 && periods.after == 0 {
        return "No period of a subscription ends in this time, so there is nothing to compare.\n".to_owned();
    }
    let mut text = match periods.before == periods.after {
        true => format!("{} periods, as published and under {}", periods.before, folder.display()),
        false => {
            format!("{} periods as published, {} under {}", periods.before, periods.after, folder.display())
        }
    };
    text.push_str("; without tax.\n");
    if *without_period > 0 {
        text.push_str(&format!("{without_period} subscriptions have no period that ends in this time.\n"));
    }
    text.push_str(&warnings(simulated));
    for currency in &outcome.currencies {
        text.push('\n');
        text.push_str(&of_currency(currency));
    }
    if !outcome.components.is_empty() {
        text.push('\n');
        text.push_str(&of_components(&outcome.components));
    }
    text
}

/// What the figures do not hold.
pub(in crate::cli::pricing) fn warnings(simulated: &Simulated) -> String {
    let mut text = String::new();
    for LeftOut { plan, component, meter } in &simulated.left_out {
        text.push_str(&format!(
            "Left out: {plan}/{component}. Meter {meter} has no history counted; publish it first, in a book that \
             does not price it yet, and then `tallystick events replay --meter {meter}`.\n"
        ));
    }
    for meter in &simulated.partly_counted {
        text.push_str(&format!(
            "Meter {meter} is younger than some events of this time, and may lack them: `tallystick events replay \
             --meter {meter}`.\n"
        ));
    }
    text.push_str(&cliff_warnings(&simulated.cliffs));
    text
}

fn of_currency(all: &OfCurrency) -> String {
    let mut sums = table([all.currency.code(), "before", "after", "change", ""]);
    for (what, sum) in [("revenue", &all.revenue), ("rewards", &all.rewards), ("net", &all.net)] {
        let [before, after, change] = amounts(sum);
        sums.add_row([what.to_owned(), before, after, change, percent(sum)]);
    }
    let mut text = printed(sums);
    let mut bands = table(["what a consumer pays", "consumers", "change", "", ""]);
    for band in &all.distribution {
        let change = if band.change.is_zero() { String::new() } else { signed(band.change) };
        bands.add_row([band.band.label().to_owned(), band.consumers.to_string(), change]);
    }
    text.push('\n');
    text.push_str(&printed(bands));
    for (what, movers) in [("pays more or gets less", &all.pay_more), ("pays less or gets more", &all.pay_less)] {
        if movers.is_empty() {
            continue;
        }
        let mut named = table([what, "before", "after", "change", ""]);
        for Mover { consumer, amounts: of } in movers {
            let [before, after, change] = amounts(of);
            named.add_row([consumer.clone(), before, after, change, percent(of)]);
        }
        text.push('\n');
        text.push_str(&printed(named));
    }
    text
}

fn of_components(components: &[OfComponent]) -> String {
    let mut table = table(["component", "kind", "currency", "before", "after", "change", "", "less", "more"]);
    table.column_iter_mut().skip(1).take(2).for_each(|column| {
        column.set_cell_alignment(CellAlignment::Left);
    });
    for of in components {
        let [before, after, change] = amounts(&of.amounts);
        table.add_row([
            format!("{}/{}", of.plan, of.component),
            name(of.kind).to_owned(),
            of.amounts.before.currency().code().to_owned(),
            before,
            after,
            change,
            percent(&of.amounts),
            of.less.consumers.to_string(),
            of.more.consumers.to_string(),
        ]);
    }
    printed(table)
}

fn amounts(of: &Difference) -> [String; 3] {
    [of.before.decimal().to_string(), of.after.decimal().to_string(), signed(of.change)]
}

/// `+12.00`, `-0.10`, `0.00`
pub(in crate::cli::pricing) fn signed(money: Money) -> String {
    let sign = if money.minor() > 0 { "+" } else { "" };
    format!("{sign}{}", money.decimal())
}

/// `+1.3 %` of what it was; nothing where it was nothing.
fn percent(of: &Difference) -> String {
    let (change, before) = (of.change.decimal(), of.before.decimal().abs());
    let share = change.checked_mul(Decimal::ONE_HUNDRED).and_then(|hundredfold| hundredfold.checked_div(before));
    match share.map(|share| share.round_dp(1)) {
        Some(share) if !share.is_zero() => format!("{share:+.1} %"),
        _ => String::new(),
    }
}

/// Columns of numbers, after a first one of words.
fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(header);
    table.column_iter_mut().skip(1).for_each(|column| {
        column.set_cell_alignment(CellAlignment::Right);
    });
    table
}

fn printed(table: Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
