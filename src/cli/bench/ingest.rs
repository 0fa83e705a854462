//! `tallystick bench ingest`: how fast events are taken in, beside the limit of the machine, and that all are counted.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;
use std::time::Instant as Stopwatch;

use anyhow::Context;
use anyhow::bail;
use anyhow::ensure;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::task::LocalSet;

use crate::cli::NO;
use crate::cli::bench::client::Connection;
use crate::cli::bench::client::Target;
use crate::cli::bench::events::SEEDS;
use crate::cli::bench::events::Stream;
use crate::cli::bench::events::Totals;
use crate::cli::bench::limit::limit;
use crate::cli::bench::load::Load;
use crate::cli::bench::load::Loaded;
use crate::cli::bench::load::Until;
use crate::cli::bench::load::drive;
use crate::cli::bench::machine::Machine;
use crate::cli::bench::machine::Memory;
use crate::cli::bench::machine::disk_bytes;
use crate::cli::bench::machine::thread_seconds;
use crate::cli::bench::naive::naive;
use crate::cli::bench::question::Asker;
use crate::cli::bench::question::usage_total;
use crate::cli::bench::report::Counts;
use crate::cli::bench::report::Disk;
use crate::cli::bench::report::Figures;
use crate::cli::bench::report::Percentiles;
use crate::cli::bench::report::Rate;
use crate::cli::bench::report::Report;
use crate::cli::bench::report::Restart;
use crate::cli::bench::server::Server;

const MEDIUM_BODY: u64 = 100;
/// Small bodies gain from the group commit, so more of them are under way.
const MEDIUM_CONNECTIONS: usize = 16;
const SINGLE_CONNECTIONS: usize = 64;
/// The limit goes round this many bodies.
const LIMIT_BODIES: usize = 16;
/// Sent before questions are asked about a month, so that there is one to ask about.
const HISTORY_EVENTS_MAX: u64 = 300_000;
const READY_RETRY: Duration = Duration::from_millis(1);

#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Send large bodies for this long; the other loads take a quarter of it each, limit and baseline a sixth
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = seconds)]
    seconds: f64,
    /// Send this many events in large bodies, whatever it takes; a tenth as many in bodies of 100, a hundredth singly
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    events: Option<u64>,
    /// Events in a large body
    #[arg(long, value_name = "EVENTS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    body: u64,
    /// Memory of the server for its seen index, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    seen_memory: usize,
    /// Connections that send large bodies
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    connections: u16,
    /// What to measure
    #[arg(
        long,
        value_name = "PHASES",
        value_delimiter = ',',
        default_value = "limit,naive,large,medium,single,query,restart"
    )]
    phases: Vec<Phase>,
    /// Folder to keep the data in; without it, a temporary one that is removed at the end
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// What makes the events, so that a run can be repeated; on data that is kept, use a new one each time
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(..SEEDS))]
    seed: Option<u64>,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Phase {
    /// One thread that parses, compresses and makes durable, and nothing else
    Limit,
    /// A row an event in SQLite
    Naive,
    /// Large bodies on a few connections, and the same load on a handler that does nothing
    Large,
    /// Bodies of 100
    Medium,
    /// Single events on 64 connections, and the same load on a handler that does nothing
    Single,
    /// A consumer's month, asked for while large bodies come at half speed
    Query,
    /// kill -9, and the next start
    Restart,
}

/// A folder that is removed when it is not needed any more.
struct Temporary(PathBuf);

/// A run: the server, what is sent to it, and what it has answered so far.
struct Run {
    args: Args,
    server: Server,
    stream: Rc<RefCell<Stream>>,
    accepted: u64,
    duplicates: u64,
    bar: ProgressBar,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // What is left of it can be removed by hand; there is nobody to tell any more.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=86_400.0).contains(seconds));
    seconds.ok_or_else(|| "use a number of seconds from 0.1 to 86400".to_owned())
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.phases.contains(&Phase::Query) && !args.phases.contains(&Phase::Large) {
        bail!("query runs at half the speed of large, which is not measured: add large to --phases");
    }
    let json = args.json;
    let report = tokio::task::spawn_blocking(move || on_one_thread(args)).await.context("the benchmark panicked")??;
    match json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => report.print(),
    }
    Ok(if report.counts.agree { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

/// Everything but the server and the questions runs on this thread. When it is told to stop, it drops what it has: the
/// server is killed, and the temporary folder removed.
fn on_one_thread(args: Args) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            report = measure(args) => report,
            _ = tokio::signal::ctrl_c() => bail!("stopped before the end"),
            _ = terminate.recv() => bail!("stopped before the end"),
        }
    })
}

async fn measure(args: Args) -> anyhow::Result<Report> {
    let seed = args.seed.unwrap_or_else(|| u64::from_be_bytes(crate::random::bytes()) % SEEDS);
    let (folder, _temporary) = match &args.data {
        Some(folder) => (folder.clone(), None),
        None => {
            let name = format!("tallystick-bench-{:016x}", u64::from_be_bytes(crate::random::bytes()));
            let folder = std::env::temp_dir().join(name);
            (folder.clone(), Some(Temporary(folder)))
        }
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let mut report = Report::new(Machine::here(&folder), seed);
    alone(&args, &folder, &mut report).await?;
    let disk_before = disk_bytes(&folder)?;
    let mut run = Run::start(args, &folder, seed)?;
    let before = counted(&run.server.target).await?;
    run.loads(&mut report).await?;
    report.counts = run.counts(before).await?;
    report.memory = Memory::of(run.server.process())?;
    let bytes = disk_bytes(&folder)?.saturating_sub(disk_before);
    report.disk = Disk { bytes, bytes_per_event: bytes as f64 / report.counts.distinct as f64 };
    if run.args.does(Phase::Restart) {
        let (server, restart) = restarted(run.server, &folder, run.args.seen_memory).await?;
        let (counted, bytes_counted) = counted(&server.target).await?;
        report.restart = Some(restart);
        report.counts.counted_after_restart = Some(counted.saturating_sub(before.0));
        report.counts.bytes_counted_after_restart = Some(bytes_counted.saturating_sub(before.1));
    }
    report.counts = report.counts.compared();
    Ok(report)
}

/// What is measured without a server.
async fn alone(args: &Args, folder: &Path, report: &mut Report) -> anyhow::Result<()> {
    // On the disk that is measured, and gone before the data is weighed.
    let scratch = Temporary(folder.join("bench-scratch"));
    std::fs::create_dir_all(&scratch.0)?;
    let (time, events_max) = (args.share(6.0), args.events.unwrap_or(u64::MAX));
    if args.does(Phase::Limit) {
        let mut stream = Stream::new(report.seed + 1);
        let mut bodies = vec![Vec::new(); LIMIT_BODIES];
        bodies.iter_mut().for_each(|body| stream.fill(args.body, body));
        report.generator = Some(generator(&mut stream, args.body, &mut bodies)?);
        report.limit = Some(limit(&bodies, &scratch.0.join("limit.log"), time)?);
    }
    if args.does(Phase::Naive) {
        let mut stream = Stream::new(report.seed + 2);
        let baseline = naive(&mut stream, args.body, &scratch.0.join("naive.db"), time, events_max).await?;
        report.naive = Some(baseline.whole);
        report.naive_near_end = Some(baseline.near_end);
    }
    Ok(())
}

/// How fast events are made, by the processor's time, in memory that is there already.
fn generator(stream: &mut Stream, events_a_body: u64, bodies: &mut [Vec<u8>]) -> anyhow::Result<Rate> {
    let before = thread_seconds()?;
    bodies.iter_mut().for_each(|body| stream.fill(events_a_body, body));
    Ok(Rate::new(events_a_body.saturating_mul(bodies.len() as u64), thread_seconds()? - before))
}

/// Kills the server and starts it again on its data.
async fn restarted(server: Server, folder: &Path, seen_memory: usize) -> anyhow::Result<(Server, Restart)> {
    let key = server.target.key.clone();
    server.kill()?;
    let watch = Stopwatch::now();
    let server = Server::start(folder, &key, seen_memory)?;
    let listens_after_seconds = watch.elapsed().as_secs_f64();
    let mut connection = Connection::open(&server.target).await?;
    while connection.get("/readyz").await?.status != 200 {
        tokio::time::sleep(READY_RETRY).await;
    }
    let ready_after_seconds = watch.elapsed().as_secs_f64();
    let memory = Memory::of(server.process())?;
    Ok((server, Restart { listens_after_seconds, ready_after_seconds, memory }))
}

/// What the server has counted so far: events, and the sum of their `data.bytes`.
async fn counted(target: &Target) -> anyhow::Result<(u64, u64)> {
    let (_, events) = usage_total(target, "requests").await?;
    let (bytes, events_with_bytes) = usage_total(target, "bytes").await?;
    ensure!(events == events_with_bytes, "one meter counts {events} events, the other {events_with_bytes}");
    Ok((events, bytes))
}

impl Args {
    fn does(&self, phase: Phase) -> bool {
        self.phases.contains(&phase)
    }

    /// A part of the time of the large bodies.
    fn share(&self, divisor: f64) -> Duration {
        Duration::from_secs_f64(self.seconds / divisor)
    }

    /// A part of the events of the large bodies if their number is given, else a quarter of the time.
    fn until(&self, events_divisor: u64) -> Until {
        match self.events {
            Some(events) => Until::Events(events.div_ceil(events_divisor)),
            None => Until::Time(self.share(4.0)),
        }
    }
}

impl Run {
    fn start(args: Args, folder: &Path, seed: u64) -> anyhow::Result<Self> {
        let key = format!("ts_operator_{:032x}", u128::from_be_bytes(crate::random::bytes()));
        let server = Server::start(folder, &key, args.seen_memory)?;
        let stream = Rc::new(RefCell::new(Stream::new(seed)));
        let bar = match std::io::stderr().is_terminal() {
            true => ProgressBar::new_spinner().with_style(
                ProgressStyle::with_template("{spinner} {msg}: {human_pos} events, {per_sec}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            ),
            false => ProgressBar::hidden(),
        };
        Ok(Self { args, server, stream, accepted: 0, duplicates: 0, bar })
    }

    async fn loads(&mut self, report: &mut Report) -> anyhow::Result<()> {
        let large = Load {
            connections: self.args.connections.into(),
            events_a_body: self.args.body,
            until: self.args.events.map_or(Until::Time(self.args.share(1.0)), Until::Events),
            pace: None,
            to_empty: false,
        };
        if self.args.does(Phase::Large) {
            report.large = Some(self.load("large bodies", large).await?);
            report.large_empty = Some(self.empty(report.seed + 3, Load { until: self.args.until(4), ..large }).await?);
        }
        if self.args.does(Phase::Medium) {
            let (connections, until) = (MEDIUM_CONNECTIONS, self.args.until(10));
            let medium = Load { connections, events_a_body: MEDIUM_BODY, until, ..large };
            report.medium = Some(self.load("bodies of 100", medium).await?);
        }
        if self.args.does(Phase::Single) {
            let (connections, until) = (SINGLE_CONNECTIONS, self.args.until(100));
            let single = Load { connections, events_a_body: 1, until, ..large };
            report.single = Some(self.load("single events", single).await?);
            report.single_empty = Some(self.empty(report.seed + 4, single).await?);
        }
        if let Some(measured) = report.large.as_ref().filter(|_| self.args.does(Phase::Query)) {
            let pace = Some(measured.events_per_second / 2.0);
            let (paced, query) =
                self.question(Load { until: Until::Time(self.args.share(4.0)), pace, ..large }).await?;
            report.paced = Some(paced);
            report.query = Some(query);
        }
        self.bar.finish_and_clear();
        Ok(())
    }

    async fn load(&mut self, name: &'static str, load: Load) -> anyhow::Result<Figures> {
        self.bar.reset();
        self.bar.set_message(name);
        let Loaded { figures, accepted, duplicates } = drive(&self.server, &self.stream, load, &self.bar).await?;
        self.accepted += accepted;
        self.duplicates += duplicates;
        Ok(figures)
    }

    /// The same load on the handler that does nothing. Its events are never counted, so they are not this run's.
    async fn empty(&mut self, seed: u64, load: Load) -> anyhow::Result<Figures> {
        self.bar.reset();
        self.bar.set_message("empty handler");
        let stream = Rc::new(RefCell::new(Stream::new(seed)));
        Ok(drive(&self.server, &stream, Load { to_empty: true, ..load }, &self.bar).await?.figures)
    }

    /// Asks for usage while events come at their pace. A month's events are sent before, as fast as can be.
    async fn question(&mut self, paced: Load) -> anyhow::Result<(Figures, Percentiles)> {
        let history = self.args.events.map_or(HISTORY_EVENTS_MAX, |events| events.min(HISTORY_EVENTS_MAX));
        self.stream.borrow_mut().history_next(history);
        self.load("a month's events", Load { until: Until::Events(history), pace: None, ..paced }).await?;
        let asker = Asker::start(self.server.target.clone());
        let figures = self.load("a consumer's month", paced).await?;
        Ok((figures, Percentiles::of(&mut asker.stop()?)))
    }

    async fn counts(&self, before: (u64, u64)) -> anyhow::Result<Counts> {
        let (counted, bytes_counted) = counted(&self.server.target).await?;
        let Totals { distinct, duplicates, bytes } = self.stream.borrow().totals();
        Ok(Counts {
            sent: distinct + duplicates,
            distinct,
            duplicates,
            accepted: self.accepted,
            duplicates_found: self.duplicates,
            counted: counted.saturating_sub(before.0),
            bytes_sent: bytes,
            bytes_counted: bytes_counted.saturating_sub(before.1),
            ..Counts::default()
        })
    }
}
