//! `tallystick demo`: a whole platform in one command. It publishes the example price book, takes in the events of some
//! months, closes every month that is over, says what came of it, and goes on serving.

mod platform;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant as Stopwatch;

use comfy_table::CellAlignment;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use jiff::ToSpan;
use jiff::civil::Date;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::billing::close::Through;
use crate::billing::close::close;
use crate::billing::settle;
use crate::billing::settle::Act;
use crate::billing::settle::PaymentRequest;
use crate::billing::settle::Pays;
use crate::billing::statement::statement;
use crate::billing::subscribe;
use crate::billing::subscribe::subscribe;
use crate::cli::demo::platform::MEMBERS;
use crate::cli::serve;
use crate::cli::webhooks::WebhookArgs;
use crate::clock;
use crate::domain::book::SourceFile;
use crate::domain::consumer::Consumer;
use crate::domain::ids::PaymentId;
use crate::domain::ids::SubscriptionId;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::time::Instant;
use crate::domain::time::Zone;
use crate::http::App;
use crate::http::auth::Role;
use crate::http::auth::create_key;
use crate::http::intake;
use crate::http::listen;
use crate::metering::Metering;
use crate::metering::Options;
use crate::metering::ingest::Format;
use crate::metering::ingest::Invalid;
use crate::metering::ingest::Limits;
use crate::store::Access;
use crate::store::Db;
use crate::store::Target;

const MONTHS: i64 = 3;
const BODIES_AT_ONCE: usize = 2;

macro_rules! book_files {
    ($($path:literal),+ $(,)?) => {
        [$(($path, include_str!(concat!("../../../pricing/", $path)))),+]
    };
}

/// The example price book, so that the demo runs wherever the binary is.
const BOOK: [(&str, &str); 14] = book_files![
    "book.toml",
    "catalog/directory.toml",
    "catalog/platform.toml",
    "catalog/schemas/api.request.json",
    "catalog/schemas/import.completed.json",
    "catalog/schemas/listing.verified.json",
    "catalog/schemas/organization.created.json",
    "catalog/schemas/service.updated.json",
    "meters/directory.toml",
    "meters/platform.toml",
    "plans/community.toml",
    "plans/contributor.toml",
    "plans/pro.toml",
    "programs/contributors.toml",
];

#[derive(clap::Args)]
pub struct Args {
    /// Folder to keep the data in; without it, a temporary one that is removed at the end
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address to listen on; port 0 takes any that is free
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Exit when everything is closed
    #[arg(long)]
    no_serve: bool,
    /// Print links, key and totals as JSON
    #[arg(long)]
    json: bool,
}

/// What came of it.
#[derive(Serialize)]
struct Told {
    events: u64,
    invoices: usize,
    payouts: usize,
    month: String,
    members: Vec<Row>,
    links: BTreeMap<&'static str, String>,
    operator_key: String,
    seconds: f32,
}

/// One member's last closed month.
#[derive(Serialize)]
struct Row {
    consumer: &'static str,
    name: &'static str,
    plan: &'static str,
    charged: Money,
    tax: Money,
    rewarded: Money,
    net: Money,
    /// What it owes of all its invoices, now.
    outstanding: Money,
}

/// A folder that is removed when it is not needed any more.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // It lies among the system's temporary files: if this fails, it is removed with them.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let watch = Stopwatch::now();
    let (folder, _temporary) = match args.data {
        Some(folder) => (folder, None),
        None => {
            let folder = std::env::temp_dir()
                .join(format!("tallystick-demo-{:016x}", u64::from_be_bytes(crate::random::bytes())));
            (folder.clone(), Some(Temporary(folder)))
        }
    };
    // Before the work, so that an address that is taken is said at once.
    let listener = if args.no_serve { None } else { Some(serve::bind(args.listen).await?) };
    let db =
        Db::open(&Target::Folder(folder.clone()), Access::Owner).await.map_err(crate::cli::place::CannotOpen::Data)?;
    let metering = serve::open_metering(
        db.clone(),
        Options { limits: Limits::default(), seen: folder.join("seen"), seen_memory: 64 << 20 },
    )
    .await?;
    let now = clock::now();
    let (events, (invoices, payouts)) = fill(&db, &metering, now).await?;
    let key = create_key(&db, Role::Operator, "demo", None, now).await?;
    let base = match &listener {
        Some(listener) => format!("http://{}", listener.local_addr()?),
        None => format!("http://{}", args.listen),
    };
    let (month, _) = months(now);
    let told = Told {
        events,
        invoices,
        payouts,
        members: rows(&db, &metering, &month, now).await?,
        links: links(&base, &month),
        month,
        operator_key: key.secret,
        seconds: watch.elapsed().as_secs_f32(),
    };
    let signals = serve::Signals::new()?;
    match args.json {
        true => println!("{}", serde_json::to_string(&told)?),
        false => tell(&told, &folder, listener.is_some()),
    }
    if let Some(listener) = listener {
        let delivery = WebhookArgs::default().start(db.clone(), metering.clone(), Some(&folder))?;
        let app = App::new(db, metering, delivery, intake::Limits::default());
        serve::serve(listener, app, listen::Limits::default(), signals).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the platform, unless the folder holds it already. Says how many events, invoices and payouts there are.
async fn fill(db: &Db, metering: &Arc<Metering>, now: Instant) -> anyhow::Result<(u64, (usize, usize))> {
    if metering.event_count() == 0 {
        let files = BOOK.map(|(path, text)| SourceFile { path: path.to_owned(), text: text.to_owned() }).to_vec();
        serve::publish_first(metering, files).await?;
        let first = first_day(now);
        for member in &MEMBERS {
            enrol(db, metering, member, first, now).await?;
        }
        ingest(metering, first, now).await?;
    }
    metering.flush().await?;
    let closed = close(db, &metering.versions(), Through::Instant(now), now, |_| {}).await?;
    if !closed.closings.is_empty() {
        for member in &MEMBERS {
            pay(db, member.id, now).await?;
        }
    }
    let count = |of: fn(&crate::billing::close::Summary) -> usize| closed.closings.iter().map(of).sum();
    Ok((metering.event_count(), (count(|closing| closing.invoices), count(|closing| closing.payouts))))
}

/// A member pays everything that it owes, but for its last invoice.
async fn pay(db: &Db, member: &str, now: Instant) -> anyhow::Result<()> {
    let owed = db.read().await?.owed(member).await?;
    let Some(((_, last), before)) = owed.split_last() else { return Ok(()) };
    let amount = Money::sum(last.currency(), before.iter().map(|(_, amount)| *amount))?;
    if !amount.is_zero() {
        let request = PaymentRequest {
            id: PaymentId::new(now, crate::random::bytes()),
            pays: Pays::Consumer(member.to_owned(), amount),
            method: "bank".to_owned(),
            reference: "demo".to_owned(),
            stripe_fee: None,
        };
        settle::pay(db, request, &Act { by: "demo".to_owned(), on: None, now }).await?;
    }
    Ok(())
}

/// The first day of the demo: of the month that lies [`MONTHS`] back.
fn first_day(now: Instant) -> Date {
    let this_month = now.date_in(&Zone::utc()).first_of_month();
    this_month.saturating_sub(MONTHS.months())
}

/// The last month that is over, and the one that runs, as `2026-10`.
fn months(now: Instant) -> (String, String) {
    let this_month = now.date_in(&Zone::utc()).first_of_month();
    let name = |day: Date| format!("{:04}-{:02}", day.year(), day.month());
    (name(this_month.saturating_sub(1.month())), name(this_month))
}

async fn enrol(
    db: &Db,
    metering: &Metering,
    member: &platform::Member,
    first: Date,
    now: Instant,
) -> anyhow::Result<()> {
    let currency = Currency::from_code("EUR").ok_or_else(|| anyhow::anyhow!("EUR is not known"))?;
    let consumer = Consumer {
        id: member.id.to_owned(),
        name: member.name.to_owned(),
        email: None,
        currency,
        tax: member.tax.map(str::to_owned),
        tags: BTreeMap::new(),
        spend_cap: None,
        alerts: Vec::new(),
        created_at: now,
        updated_at: now,
    };
    let mut tx = db.write().await?;
    tx.put_consumer(&consumer).await?;
    tx.commit().await?;
    let request = subscribe::Request {
        consumer: member.id.to_owned(),
        plan: member.plan.to_owned(),
        start: first.to_string(),
        end: None,
        anchor_day: None,
        quantity: None,
    };
    let id = SubscriptionId::new(now, crate::random::bytes());
    subscribe(db, &metering.versions(), id, request, now).await?;
    Ok(())
}

/// A day is one body; two are read at once, on two cores.
async fn ingest(metering: &Arc<Metering>, first: Date, now: Instant) -> anyhow::Result<()> {
    let today = now.date_in(&Zone::utc());
    let bar = progress_bar(first.until(today)?.get_days().unsigned_abs().into());
    let mut under_way = JoinSet::new();
    let mut day = first;
    while day <= today {
        let metering = metering.clone();
        under_way.spawn(async move {
            let body = platform::events_of(day, months_between(first, day), now);
            metering.ingest(Format::Ndjson, body.into_bytes(), Invalid::Reject, now).await
        });
        if under_way.len() >= BODIES_AT_ONCE {
            under_way.join_next().await.transpose()?.transpose()?;
            bar.inc(1);
        }
        day = day.tomorrow()?;
    }
    while let Some(done) = under_way.join_next().await {
        done??;
    }
    bar.finish_and_clear();
    Ok(())
}

fn months_between(first: Date, day: Date) -> u32 {
    let count = |day: Date| i32::from(day.year()) * 12 + i32::from(day.month());
    (count(day) - count(first)).unsigned_abs()
}

fn progress_bar(days: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("taking events in {bar:40} day {pos}/{len}");
    ProgressBar::new(days).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

async fn rows(db: &Db, metering: &Metering, month: &str, now: Instant) -> anyhow::Result<Vec<Row>> {
    let versions = metering.versions();
    let mut rows = Vec::with_capacity(MEMBERS.len());
    for member in &MEMBERS {
        let owed = db.read().await?.owed(member.id).await?;
        let shown = statement(db, &versions, member.id, Some(month), now).await?;
        rows.push(Row {
            consumer: member.id,
            name: member.name,
            plan: member.plan,
            charged: shown.charged,
            tax: shown.tax,
            rewarded: shown.rewarded,
            net: shown.net,
            outstanding: Money::sum(shown.net.currency(), owed.into_iter().map(|(_, amount)| amount))?,
        });
    }
    Ok(rows)
}

fn links(base: &str, month: &str) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("login", format!("{base}/login")),
        ("charged", format!("{base}/v1/consumers/utrecht/statement?period={month}")),
        ("paid", format!("{base}/v1/consumers/bilal/statement?period={month}")),
        ("api", format!("{base}/docs")),
    ])
}

fn tell(told: &Told, folder: &Path, serving: bool) {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["", "PLAN", "CHARGED", "TAX", "REWARDED", "OWES US", "UNPAID"]);
    for row in &told.members {
        let money = [row.charged, row.tax, row.rewarded, row.net, row.outstanding].map(|money| match money.is_zero() {
            true => "·".to_owned(),
            false => money.to_string(),
        });
        let [charged, tax, rewarded, net, unpaid] = money;
        table.add_row([row.name.to_owned(), row.plan.to_owned(), charged, tax, rewarded, net, unpaid]);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!(
        "{} events, {} invoices and {} payout statements, in {:.1} s. In {}:\n\n{table}\n",
        told.events, told.invoices, told.payouts, told.seconds, told.month
    );
    println!("  a statement that charges   {}", told.links["charged"]);
    println!("  a statement that pays      {}", told.links["paid"]);
    println!("  the API                    {}", told.links["api"]);
    println!("  operator key, to sign in   {}", told.operator_key);
    println!("  data                       {}", folder.display());
    if serving {
        println!("\nServing until Ctrl-C.");
    }
}
