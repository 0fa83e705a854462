//! `tallystick events`: what there is to do with events. A file for each.

use std::process::ExitCode;

use crate::cli::archive;
use crate::cli::import;
use crate::cli::quarantine;
use crate::cli::replay;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Import NDJSON files of CloudEvents, plain or compressed (gzip, zstd); `-` reads standard input
    Import(import::Args),
    /// Events that could not be taken and were set aside: look at them, try them again, discard them
    #[command(subcommand)]
    Quarantine(quarantine::Command),
    /// Count history with a meter that was published after it, each event once however often this is run
    Replay(replay::Args),
    /// Move old batches of events out of the database into compressed files, which are still read when needed
    Archive(archive::Args),
}

pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Import(args) => import::run(args).await,
        Command::Quarantine(command) => quarantine::run(command).await,
        Command::Replay(args) => replay::run(args).await,
        Command::Archive(args) => archive::run(args).await,
    }
}
