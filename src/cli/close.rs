//! `tallystick close`: every period that ended by a date into invoices, payout statements and entries.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use comfy_table::CellAlignment;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use serde_json::json;

use crate::billing::close::Closed;
use crate::billing::close::Progress;
use crate::billing::close::Summary;
use crate::billing::close::Through;
use crate::billing::close::close;
use crate::cli::place::PlaceArgs;
use crate::clock;
use crate::domain::money::Money;
use crate::metering::Metering;
use crate::metering::ingest::Limits;
use crate::store::Access;

#[derive(clap::Args)]
pub struct Args {
    /// Close periods that ended by this date (in the zone of each plan) or RFC 3339 time
    #[arg(long, value_name = "DATE", value_parser = through)]
    through: String,
    /// Print what was closed as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Kept as it was typed, so that a server reads the same.
fn through(text: &str) -> Result<String, String> {
    match Through::parse(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("write a date like 2013-04-01, or a time like 2013-04-01T00:00:00Z".to_owned()),
    }
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let closed = match args.place.server() {
        Some(server) => {
            let body = json!({ "through": args.through }).to_string();
            tokio::task::block_in_place(|| server.post("/v1/close", "application/json", body.as_bytes()))?
        }
        None => close_here(&args).await?,
    };
    if args.json {
        println!("{}", serde_json::to_string(&closed)?);
    } else {
        print!("{}", report(&closed));
    }
    Ok(ExitCode::SUCCESS)
}

async fn close_here(args: &Args) -> anyhow::Result<Closed> {
    let Some(through) = Through::parse(&args.through) else { anyhow::bail!("`{}` is not a date", args.through) };
    let db = args.place.data().open(Access::Owner).await?;
    let metering = Metering::open(db.clone(), args.place.data().metering(Limits::default()), |_| {}).await?;
    metering.flush().await?;
    let bar = progress_bar();
    let closed = close(&db, &metering.versions(), through, clock::now(), |progress| show(&bar, progress)).await;
    bar.finish_and_clear();
    Ok(closed?)
}

fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} closing {bar:40} {msg}");
    let bar = ProgressBar::new(1).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// The bar goes over the time that is closed: how many periods there are shows only on the way.
fn show(bar: &ProgressBar, progress: Progress) {
    let since = |at: i64| u64::try_from(at.saturating_sub(progress.from.micros())).unwrap_or(0);
    bar.set_length(since(progress.to.micros()));
    bar.set_position(since(progress.at.micros()));
    bar.set_message(format!("{} periods, to {}", progress.periods, progress.at));
}

fn report(closed: &Closed) -> String {
    if closed.closings.is_empty()
        && closed.holds_passed == 0
        && closed.credits_expired == 0
        && closed.invoices_netted == 0
    {
        return "Nothing is due: every period that ended by then is closed.\n".to_owned();
    }
    let mut text = String::new();
    if !closed.closings.is_empty() {
        text.push_str(&table(&closed.closings));
        text.push('\n');
    }
    if closed.holds_passed > 0 {
        text.push_str(&format!("Holds that passed: {}\n", closed.holds_passed));
    }
    if closed.credits_expired > 0 {
        text.push_str(&format!("Prepaid credits that expired: {}\n", closed.credits_expired));
    }
    if closed.invoices_netted > 0 {
        text.push_str(&format!("Invoices that rewards paid for: {}\n", closed.invoices_netted));
    }
    text
}

fn table(closings: &[Summary]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["due", "periods", "invoices", "invoiced", "payouts", "rewarded"]);
    for closing in closings {
        table.add_row([
            closing.due_at.to_string(),
            closing.periods.to_string(),
            closing.invoices.to_string(),
            amounts(&closing.invoiced),
            closing.payouts.to_string(),
            amounts(&closing.rewarded),
        ]);
    }
    table.column_iter_mut().skip(1).for_each(|column| {
        column.set_cell_alignment(CellAlignment::Right);
    });
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn amounts(amounts: &[Money]) -> String {
    amounts.iter().map(Money::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::Currency;
    use crate::domain::time::Instant;

    #[test]
    fn what_was_closed_is_an_aligned_table() {
        let usd = |minor| Money::from_minor(minor, Currency::from_code("USD").expect("USD exists"));
        let closing = |due_at: &str, minor| Summary {
            due_at: Instant::parse(due_at).expect("a time"),
            periods: 16,
            invoices: 16,
            payouts: 2,
            invoiced: vec![usd(minor)],
            rewarded: vec![usd(5)],
        };
        let closings = vec![closing("2013-02-01T05:00:00Z", 123_456), closing("2013-03-01T05:00:00Z", 99)];
        let report = report(&Closed { closings, holds_passed: 3, credits_expired: 0, invoices_netted: 0 });
        let lines: Vec<&str> = report.lines().collect();
        assert_eq!(lines.len(), 5, "{report}");
        assert!(lines[1].contains("1234.56 USD") && lines[2].contains("   0.99 USD"), "{report}");
        assert_eq!(lines[4], "Holds that passed: 3");
        assert!(super::report(&Closed::default()).starts_with("Nothing is due"));
    }
}
