//! `tallystick events replay`: history into a meter that was published after it.

use std::io::IsTerminal;
use std::num::NonZero;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use anyhow::bail;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use serde::Deserialize;
use serde::Serialize;
use serde_json::json;

use crate::cli::place::PlaceArgs;
use crate::cli::place::Server;
use crate::cli::serve::open_metering;
use crate::clock;
use crate::domain::time::Instant;
use crate::http::path::encoded;
use crate::metering;
use crate::metering::ingest::Limits;
use crate::metering::replay::Progress;
use crate::metering::replay::period;
use crate::store::Access;

/// How often a server is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(300);

#[derive(clap::Args)]
pub struct Args {
    /// The meter, by its id in the price book
    #[arg(long, value_name = "ID")]
    meter: String,
    /// Only events that happened from then on: a date in the price book's time zone, or an RFC 3339 time
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only events that happened before then
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Print what was counted as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What a replay came to, here or at a server.
#[derive(Deserialize, Serialize)]
struct Replayed {
    meter: String,
    from: Option<Instant>,
    to: Option<Instant>,
    batches: u64,
    batches_total: u64,
    events: u64,
    counted: u64,
    taken_back: u64,
    not_measurable: u64,
    first_fault: Option<String>,
}

/// What a server says of it meanwhile.
#[derive(Deserialize)]
struct Job {
    state: String,
    failure: Option<String>,
    #[serde(flatten)]
    replayed: Replayed,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let replayed = match args.place.server() {
        Some(server) => tokio::task::block_in_place(|| replay_there(&args, &server))?,
        None => replay_here(&args).await?,
    };
    if args.json {
        println!("{}", serde_json::to_string(&replayed)?);
    } else {
        print!("{}", report(&replayed));
    }
    Ok(ExitCode::SUCCESS)
}

async fn replay_here(args: &Args) -> anyhow::Result<Replayed> {
    let db = args.place.data().open(Access::Owner).await?;
    let metering = open_metering(db, args.place.data().metering(Limits::default())).await?;
    let versions = metering.versions();
    let zone = versions.zone_at(clock::now());
    let instant = |text: &String| {
        Instant::parse_in(text, &zone)
            .with_context(|| format!("`{text}` is no time; write it like 2013-01-31 or 2013-01-31T00:00:00Z"))
    };
    let from = args.from.as_ref().map(instant).transpose()?;
    let to = args.to.as_ref().map(instant).transpose()?;
    let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let replay = match metering.replay(&args.meter, period(from, to)?, threads).await {
        Ok(replay) => replay,
        Err(error @ metering::Error::UnknownMeter(_)) => {
            let known: Vec<&str> = versions
                .iter()
                .last()
                .map(|version| version.book.meters.keys().map(String::as_str).collect())
                .unwrap_or_default();
            bail!("{error}; the price book has {}", known.join(", "));
        }
        Err(error) => return Err(error.into()),
    };
    let bar = progress_bar();
    let progress = replay.run(|progress| show(&bar, progress.batches, progress.batches_total)).await;
    bar.finish_and_clear();
    let progress = progress.context("what was counted by then stays counted; run it again for the rest");
    metering.close().await?;
    let Progress { batches, batches_total, events, counted, taken_back, not_measurable, first_fault } = progress?;
    let meter = args.meter.clone();
    Ok(Replayed { meter, from, to, batches, batches_total, events, counted, taken_back, not_measurable, first_fault })
}

fn replay_there(args: &Args, server: &Server) -> anyhow::Result<Replayed> {
    let path = format!("/v1/meters/{}/replay", encoded(&args.meter));
    let body = json!({ "from": args.from, "to": args.to }).to_string();
    let mut job: Job = server.post(&path, "application/json", body.as_bytes())?;
    let bar = progress_bar();
    while job.state == "running" {
        show(&bar, job.replayed.batches, job.replayed.batches_total);
        std::thread::sleep(ASK_EVERY);
        job = serde_json::from_str(&server.get(&path)?).context("the server's answer cannot be read")?;
    }
    bar.finish_and_clear();
    match job.failure {
        Some(failure) => bail!("{failure}\nWhat was counted by then stays counted; run it again for the rest."),
        None => Ok(job.replayed),
    }
}

fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("replaying {bar:40} {pos}/{len} batches {eta}");
    ProgressBar::new(1).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn show(bar: &ProgressBar, batches: u64, batches_total: u64) {
    bar.set_length(batches_total);
    bar.set_position(batches);
}

fn report(replayed: &Replayed) -> String {
    let Replayed { meter, batches, events, counted, taken_back, not_measurable, .. } = replayed;
    if *events == 0 {
        return format!("Nothing to replay: {meter} counts all there is of that time.\n");
    }
    let mut text =
        format!("{meter} counts {counted} events more, of {events} that it did not count, in {batches} batches.\n");
    if *taken_back > 0 {
        text.push_str(&format!("{taken_back} were left out: they are taken back.\n"));
    }
    if *not_measurable > 0 {
        let first = replayed.first_fault.as_deref().unwrap_or_default();
        text.push_str(&format!("{not_measurable} cannot be measured by it and add nothing; the first is {first}.\n"));
    }
    text.push_str("Documents that are closed stay as they are.\n");
    text
}
