//! `tallystick bench`: measures this machine and this build, the limit beside the figure. Never a test of either.

mod client;
mod close;
pub mod events;
mod ingest;
mod ledger;
mod limit;
mod load;
mod machine;
mod naive;
mod question;
mod report;
pub mod server;

use std::process::ExitCode;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Events in, over HTTP: how many a second, what they cost on disk and in memory, and that each is counted once
    Ingest(ingest::Args),
    /// Closing: documents and lines a second, durable, and simulating a changed price book over a year
    Close(close::Args),
    /// The ledger: postings a second in batches, checked and chained, beside plain inserts of the same rows
    Ledger(ledger::Args),
    /// The server that the others start and measure
    #[command(hide = true)]
    Serve(server::Args),
}

pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Ingest(args) => ingest::run(args).await,
        Command::Close(args) => close::run(args).await,
        Command::Ledger(args) => ledger::run(args).await,
        Command::Serve(args) => server::run(args).await,
    }
}
