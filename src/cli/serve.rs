//! `tallystick serve`: the API and the pages, until it is told to stop.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
#[cfg(feature = "stripe")]
use std::time::Duration;

use anyhow::Context;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use tokio::net::TcpListener;
use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use crate::cli::key;
use crate::cli::limits::LimitArgs;
use crate::cli::place::CannotOpen;
use crate::cli::place::DataArgs;
use crate::cli::pricing;
#[cfg(feature = "stripe")]
use crate::cli::stripe::StripeArgs;
use crate::cli::webhooks::WebhookArgs;
use crate::clock;
use crate::domain::book::SourceFile;
use crate::http;
use crate::http::App;
use crate::http::listen;
use crate::metering::Metering;
use crate::metering::Options;
use crate::metering::publish::publish;
use crate::store::Access;
use crate::store::Db;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// Address to listen on; port 0 takes any that is free
    #[arg(long, value_name = "ADDRESS", env = "TALLYSTICK_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Price book to publish if none is yet, effective from the beginning of time
    #[arg(long, value_name = "DIR", env = "TALLYSTICK_PRICING")]
    pricing: Option<PathBuf>,
    #[command(flatten)]
    limits: LimitArgs,
    #[cfg(feature = "stripe")]
    #[command(flatten)]
    stripe: StripeArgs,
    /// Time after which Stripe is asked again what became of something, in seconds
    #[cfg(feature = "stripe")]
    #[arg(long, value_name = "SECONDS", env = "TALLYSTICK_STRIPE_EVERY", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    stripe_every: u64,
    #[command(flatten)]
    webhooks: WebhookArgs,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    // Before anything is touched, so that a book with a mistake leaves nothing behind.
    let book = args.pricing.as_deref().map(pricing::read_book).transpose()?;
    #[cfg(feature = "stripe")]
    let stripe = args.stripe.stripe()?;
    let db = args.data.open(Access::Owner).await?;
    let metering = open_metering(db.clone(), args.data.metering(args.limits.of_events())).await?;
    if let Some(files) = book {
        publish_first(&metering, files).await?;
    }
    if let Some(created) = key::first_operator_key(&db, args.data.folder().map(PathBuf::as_path)).await? {
        println!("{created}");
    }
    let delivery = args.webhooks.start(db.clone(), metering.clone(), args.data.folder().map(PathBuf::as_path))?;
    let listener = bind(args.listen).await?;
    let signals = Signals::new()?;
    println!("listening on http://{}", listener.local_addr()?);
    let app = App::new(db, metering, delivery, args.limits.of_bodies());
    #[cfg(feature = "stripe")]
    let catching_up = stripe.map(|stripe| {
        app.carried_by(stripe);
        tokio::spawn(catch_up(app.clone(), Duration::from_secs(args.stripe_every)))
    });
    let served = serve(listener, app, args.limits.of_connections(), signals).await;
    // Whatever is cut off is asked for again at the next start.
    #[cfg(feature = "stripe")]
    if let Some(catching_up) = catching_up {
        catching_up.abort();
    }
    served?;
    Ok(ExitCode::SUCCESS)
}

/// Asks Stripe again and again what became of what is not known yet.
#[cfg(feature = "stripe")]
async fn catch_up(app: App, every: Duration) {
    while let Some(stripe) = app.stripe() {
        if let Err(error) = stripe.catch_up(&app.db, &app.metering.versions(), clock::now()).await {
            tracing::warn!("Stripe: {error}");
        }
        tokio::time::sleep(every).await;
    }
}

/// Opens the meter, with a bar on a terminal while it reads the log.
pub async fn open_metering(db: Db, options: Options) -> anyhow::Result<Arc<Metering>> {
    let bar = match std::io::stderr().is_terminal() {
        true => ProgressBar::new(0).with_style(
            ProgressStyle::with_template("reading the log {bar:40} {pos}/{len} batches {eta}")
                .unwrap_or_else(|_| ProgressStyle::default_bar()),
        ),
        false => ProgressBar::hidden(),
    };
    let metering = Metering::open(db, options, |progress| {
        bar.set_length(progress.batches_total.unsigned_abs());
        bar.set_position(progress.batches.unsigned_abs());
    })
    .await?;
    bar.finish_and_clear();
    Ok(Arc::new(metering))
}

/// Publishes a book as the first version, effective from the beginning, unless one is published already.
pub async fn publish_first(metering: &Metering, files: Vec<SourceFile>) -> anyhow::Result<()> {
    if metering.versions().iter().next().is_none() {
        publish(metering, files, None, "serve --pricing", "first version", clock::now()).await?;
    }
    Ok(())
}

pub async fn bind(listen: SocketAddr) -> Result<TcpListener, CannotOpen> {
    TcpListener::bind(listen)
        .await
        .map_err(|error| CannotOpen::Server { url: format!("http://{listen}"), reason: error.to_string() })
}

/// Answers requests until SIGINT or SIGTERM; then finishes those under way, unless told again, and flushes.
pub async fn serve(listener: TcpListener, app: App, limits: listen::Limits, signals: Signals) -> anyhow::Result<()> {
    let metering = app.metering.clone();
    let router = http::router(app.clone());
    listen::serve(listener, app.clone(), router, limits, signals.told(), told_again()).await;
    app.delivery.close().await;
    metering.close().await.context("usage could not be flushed; it will be folded again at the next start")
}

/// The signals that end the server. Make it before anybody is told that the server is there: from then on a signal
/// lets it finish, where it would have ended the process before.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn told(mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Hears only what comes after it is first asked, which is when the server was told for the first time.
async fn told_again() {
    match Signals::new() {
        Ok(signals) => signals.told().await,
        Err(_) => std::future::pending().await,
    }
}
