//! The command line: one file a command. Exit codes: 0 done, 1 the answer is no, 2 wrong usage, 3 cannot reach or open.

mod archive;
pub mod bench;
mod book_files;
mod close;
mod demo;
mod events;
mod export;
mod import;
mod key;
mod limits;
mod lock;
mod payouts;
mod place;
mod pricing;
mod quarantine;
mod replay;
mod serve;
#[cfg(feature = "stripe")]
mod stripe;
mod verify;
mod webhooks;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use clap::Subcommand;

use crate::cli::place::CannotOpen;

/// The answer is no: a check failed, an input was refused.
const NO: u8 = 1;
/// Something could not be reached or opened.
const CANNOT_OPEN: u8 = 3;

#[derive(Parser)]
#[command(name = "tallystick", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A whole platform in one command: temporary data, the example price book, events, closed periods, pages
    Demo(demo::Args),
    /// Serve the API and the pages
    Serve(serve::Args),
    /// The price book: check it, publish it, show what is published
    #[command(subcommand)]
    Pricing(pricing::Command),
    /// Events: import files, mend what was set aside, replay history into a new meter, archive old ones
    #[command(subcommand)]
    Events(events::Command),
    /// Close and finalise every period that ended by a date
    Close(close::Args),
    /// Recompute usage, documents and journal from the log, check the chain, and name every difference
    Verify(verify::Args),
    /// Payouts: propose them for everybody who is due
    #[command(subcommand)]
    Payouts(payouts::Command),
    /// Stripe: hold its balance against what is booked
    #[cfg(feature = "stripe")]
    #[command(subcommand)]
    Stripe(stripe::Command),
    /// Close the books through a day, or show how they stand
    Lock(lock::Args),
    /// Export the journal, documents and usage for finance, and approved payouts for the bank
    Export(export::Args),
    /// API keys: create, list, revoke
    #[command(subcommand)]
    Key(key::Command),
    /// Measure this machine and this build
    #[command(subcommand)]
    Bench(bench::Command),
}

/// Parses the arguments, runs the command, and says how it went.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::WARN)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    match runtime.block_on(run(cli.command)) {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Demo(args) => demo::run(args).await,
        Command::Serve(args) => serve::run(args).await,
        Command::Pricing(command) => pricing::run(command).await,
        Command::Events(command) => events::run(command).await,
        Command::Close(args) => close::run(args).await,
        Command::Verify(args) => verify::run(args).await,
        Command::Payouts(command) => payouts::run(command).await,
        #[cfg(feature = "stripe")]
        Command::Stripe(command) => stripe::run(command).await,
        Command::Lock(args) => lock::run(args).await,
        Command::Export(args) => export::run(args).await,
        Command::Key(command) => key::run(command).await,
        Command::Bench(command) => bench::run(command).await,
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("tallystick: {error:#}");
    match error.downcast_ref::<CannotOpen>() {
        Some(_) => ExitCode::from(CANNOT_OPEN),
        None => ExitCode::from(NO),
    }
}
