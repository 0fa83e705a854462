//! `tallystick pricing plan`: what publishing a price book would change, in words and in the money of the last month.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use anyhow::bail;
use jiff::ToSpan;
use jiff::civil::Date;
use serde_json::Value;

use crate::billing::simulate::Simulated;
use crate::cli::NO;
use crate::cli::place::CannotOpen;
use crate::cli::place::PlaceArgs;
use crate::cli::place::Server;
use crate::cli::pricing::BookArgs;
use crate::cli::pricing::cliff_warnings;
use crate::cli::pricing::read_book;
use crate::cli::pricing::simulate;
use crate::cli::pricing::simulate::Asked;
use crate::cli::pricing::simulate::signed;
use crate::clock;
use crate::domain::book::Book;
use crate::domain::book::SourceFile;
use crate::domain::book::diff;
use crate::domain::book::diff::Change;
use crate::domain::book::version::BookVersion;
use crate::domain::document::Occasion;
use crate::domain::rating::cliff::Cliff;
use crate::domain::rating::cliff::cliffs;
use crate::domain::rating::line::LineKind;
use crate::domain::simulation::OfComponent;
use crate::domain::time::Instant;
use crate::metering::publish;
use crate::metering::versions::Versions;
use crate::store::Access;
use crate::store::Db;
use crate::store::documents::Wanted;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    book: BookArgs,
    /// Compare with the book in this folder instead of the published one; only in words
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// The month whose money is looked at, like 2013-03; the last one of which something was closed, if it is left out
    #[arg(long, value_name = "MONTH", value_parser = month)]
    month: Option<Date>,
    /// Print what would change as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What publishing a book would do.
struct Plan {
    changes: Vec<Change>,
    /// Why it cannot be published.
    refused: Vec<String>,
    cliffs: Vec<Cliff>,
    /// The month's first day, and what its money would have been; without it, why there is none.
    money: Result<(Date, Simulated), String>,
}

/// Where the published versions are.
enum Published {
    Here(Db),
    There(Server),
}

fn month(text: &str) -> Result<Date, String> {
    let first = format!("{text}-01").parse().ok().filter(|_| text.len() == 7);
    first.ok_or_else(|| "write a month like 2013-03".to_owned())
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let files = read_book(&args.book.pricing)?;
    let Ok(candidate) = BookVersion::new(files.clone(), Instant::BEGINNING) else { bail!("the book has mistakes") };
    let plan = match &args.against {
        Some(folder) => in_words(folder, &candidate.book)?,
        None => in_money(&args, files, &candidate.book).await?,
    };
    if args.json {
        println!("{}", json(&plan));
    } else {
        print!("{}", told(&plan));
    }
    for refused in &plan.refused {
        eprintln!("tallystick: {refused}");
    }
    Ok(if plan.refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

fn in_words(folder: &Path, book: &Book) -> anyhow::Result<Plan> {
    let Ok(before) = BookVersion::published(read_book(folder)?, Instant::BEGINNING) else { bail!("it has mistakes") };
    Ok(Plan {
        changes: diff::changes(&before.book, book),
        refused: diff::conflicts(&before.book, book).iter().map(ToString::to_string).collect(),
        cliffs: cliffs(book),
        money: Err("Only in words: two folders hold no usage to price".to_owned()),
    })
}

async fn in_money(args: &Args, files: Vec<SourceFile>, book: &Book) -> anyhow::Result<Plan> {
    let published = match args.place.server() {
        Some(server) => Published::There(server),
        None => Published::Here(args.place.data().open(Access::Reader).await.map_err(without_data)?),
    };
    let now = clock::now();
    let versions = published.versions().await?;
    let mut refused: Vec<String> = versions
        .iter()
        .flat_map(|earlier| diff::conflicts(&earlier.book, book))
        .map(|conflict| conflict.to_string())
        .collect();
    if let Published::Here(db) = &published {
        refused.extend(publish::breaks(db, &versions, book, now).await?);
    }
    let changes = match versions.iter().last() {
        Some(last) => diff::changes(&last.book, book),
        None => Vec::new(),
    };
    let month = match args.month {
        Some(month) => Some(month),
        None => published.last_month(book).await?,
    };
    let money = match month {
        _ if versions.iter().next().is_none() => {
            Err("Nothing is published yet, so there is nothing to compare with".to_owned())
        }
        _ if !refused.is_empty() => {
            Err("What the month would have been is not computed: the book cannot be published".to_owned())
        }
        None => Err("Only in words: nothing is closed yet; name a month with --month".to_owned()),
        Some(month) => {
            let to = month.checked_add(1.month()).context("the month is outside the calendar")?;
            let (from, to) = (month.to_string(), to.to_string());
            let asked = Asked { from: &from, to: &to, largest: 1, rows: false };
            Ok((month, simulate::ask(&args.place, files, asked).await?.simulated))
        }
    };
    Ok(Plan { changes, refused, cliffs: cliffs(book), money })
}

/// Without data there is nothing to compare with.
fn without_data(error: CannotOpen) -> anyhow::Error {
    anyhow::Error::from(error).context(
        "there is no published book to compare with: name one by --data, --database-url or --server, or another \
         folder by --against, for words only",
    )
}

impl Published {
    async fn versions(&self) -> anyhow::Result<Versions> {
        match self {
            Self::Here(db) => Ok(Versions::load(db).await?),
            Self::There(server) => {
                let text = tokio::task::block_in_place(|| server.get("/v1/pricing/versions"))?;
                let answer: Value = serde_json::from_str(&text)?;
                let mut versions = Vec::new();
                for version in answer["data"].as_array().into_iter().flatten() {
                    let files: Vec<SourceFile> = serde_json::from_value(version["files"].clone())?;
                    let from = version["effective_from"].as_str().and_then(Instant::parse);
                    let from = from.context("the server's answer cannot be read")?;
                    let Ok(version) = BookVersion::published(files, from) else { bail!("a version cannot be read") };
                    versions.push(std::sync::Arc::new(version));
                }
                Ok(Versions::new(versions))
            }
        }
    }

    /// The first day of the last month of which something was closed: before the end of the newest period, or where the fees
    /// of the newest opening begin.
    async fn last_month(&self, book: &Book) -> anyhow::Result<Option<Date>> {
        let ended = match self {
            Self::Here(db) => {
                let page = Wanted::Page { consumer: None, before: None, limit: 1 };
                let last = db.read().await?.invoices(page).await?.pop();
                last.map(|invoice| match invoice.occasion {
                    Occasion::Opening => invoice.totals.lines.first().map_or(invoice.period.from(), |fee| fee.from),
                    Occasion::Closing => invoice.period.to(),
                })
            }
            Self::There(server) => {
                let text = tokio::task::block_in_place(|| server.get("/v1/invoices?limit=1"))?;
                let answer: Value = serde_json::from_str(&text)?;
                let last = &answer["data"][0];
                let ended =
                    if last["occasion"] == "opening" { &last["lines"][0]["from"] } else { &last["period"]["to"] };
                ended.as_str().and_then(Instant::parse)
            }
        };
        let Some(ended) = ended else { return Ok(None) };
        let first = ended.date_in(&book.zone).first_of_month();
        Ok(Some(first.checked_sub(1.month()).context("the month is outside the calendar")?))
    }
}

fn told(plan: &Plan) -> String {
    let Plan { changes, cliffs, money, refused } = plan;
    let mut text = String::new();
    if changes.is_empty() && refused.is_empty() {
        text.push_str("Nothing changes.\n");
    }
    let effects: BTreeMap<String, String> = match money {
        Ok((_, simulated)) => simulated.outcome.components.iter().filter_map(effect).collect(),
        Err(_) => BTreeMap::new(),
    };
    let mut changes = changes.iter().peekable();
    while let Some(change) = changes.next() {
        text.push_str(&format!("{change}\n"));
        let subject = change.subject();
        if changes.peek().is_some_and(|next| next.subject() == subject) {
            continue;
        }
        if let Some(effect) = effects.get(&subject.to_string()) {
            text.push_str(&format!("    {effect}\n"));
        }
    }
    if money.is_err() {
        text.push_str(&cliff_warnings(cliffs));
    }
    match money {
        Ok((month, simulated)) => text.push_str(&sums(*month, simulated)),
        Err(why) => text.push_str(&format!("{why}.\n")),
    }
    text
}

/// `plan pro: component requests` → `412 consumers -1204.10 EUR, 3 consumers +12.00 EUR, largest -310.22 EUR acme`
fn effect(of: &OfComponent) -> Option<(String, String)> {
    let subject = match of.kind {
        LineKind::Minimum => format!("plan {}", of.plan),
        LineKind::Fee | LineKind::Charge | LineKind::Reward => format!("plan {}: component {}", of.plan, of.component),
    };
    let currency = of.amounts.change.currency();
    let moved = [&of.less, &of.more].into_iter().filter(|moved| moved.consumers > 0).map(|moved| {
        let consumers = if moved.consumers == 1 { "consumer" } else { "consumers" };
        format!("{} {consumers} {} {currency}", moved.consumers, signed(moved.change))
    });
    let mut parts: Vec<String> = moved.collect();
    if let Some(largest) = &of.largest {
        parts.push(format!("largest {} {currency} {}", signed(largest.amounts.change), largest.consumer));
    }
    if parts.is_empty() {
        parts.push("no consumer's amount changes".to_owned());
    }
    let what = if of.kind == LineKind::Reward { "rewards of that month" } else { "that month" };
    Some((subject, format!("{what}: {}", parts.join(", "))))
}

fn sums(month: Date, simulated: &Simulated) -> String {
    let month = month.strftime("%Y-%m");
    let mut text = simulate::warnings(simulated);
    if simulated.outcome.currencies.is_empty() {
        return format!("{text}No period of a subscription ended with {month}, so there is no money to compare.\n");
    }
    for all in &simulated.outcome.currencies {
        let [revenue, rewards, net] = [&all.revenue, &all.rewards, &all.net].map(|sum| signed(sum.change));
        let (currency, before, after) = (all.currency, all.net.before.decimal(), all.net.after.decimal());
        text.push_str(&format!(
            "All of {month}: revenue {revenue} {currency}, rewards {rewards} {currency}; net {before} → {after} \
             {currency} ({net})\n"
        ));
    }
    text
}

fn json(plan: &Plan) -> Value {
    let changes: Vec<String> = plan.changes.iter().map(ToString::to_string).collect();
    let (month, simulated, why) = match &plan.money {
        Ok((month, simulated)) => (Some(month.strftime("%Y-%m").to_string()), Some(simulated), None),
        Err(why) => (None, None, Some(why)),
    };
    serde_json::json!({
        "changes": changes, "refused": plan.refused, "cliffs": plan.cliffs,
        "month": month, "simulated": simulated, "without_money": why,
    })
}
