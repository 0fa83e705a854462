//! `tallystick payouts run`: propose payouts for everybody who is due, and say who waits for what.

use std::process::ExitCode;

use serde_json::json;

use crate::billing::payouts::propose;
use crate::billing::payouts::propose::Run;
use crate::cli::place::PlaceArgs;
use crate::clock;
use crate::domain::payout::Signed;
use crate::metering::versions::Versions;
use crate::store::Access;

/// Whose name stands under what is proposed here: a key approves it.
const COMMAND: &str = "tallystick payouts run";

#[derive(clap::Subcommand)]
pub enum Command {
    /// Propose a payout for everybody who is due; each waits for a key to approve it
    Run(Args),
}

#[derive(clap::Args)]
pub struct Args {
    /// Only this consumer
    #[arg(long, value_name = "ID")]
    consumer: Option<String>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    let Command::Run(args) = command;
    let run: Run = match args.place.server() {
        Some(server) => {
            let body = json!({ "consumer": args.consumer }).to_string();
            tokio::task::block_in_place(|| server.post("/v1/payouts/run", "application/json", body.as_bytes()))?
        }
        None => {
            let db = args.place.data().open(Access::Owner).await?;
            let versions = Versions::load(&db).await?;
            let signed = Signed { at: clock::now(), by: COMMAND.to_owned() };
            propose::run(&db, &versions, args.consumer.as_deref(), &signed).await?
        }
    };
    if args.json {
        println!("{}", serde_json::to_string(&run)?);
    } else {
        print!("{}", report(&run));
    }
    Ok(ExitCode::SUCCESS)
}

fn report(run: &Run) -> String {
    let mut text = String::new();
    for of in &run.proposed {
        text.push_str(&format!(
            "{}  {}  {}: proposed, another key must approve it\n",
            of.payout, of.consumer, of.amount
        ));
    }
    for of in &run.waiting {
        text.push_str(&format!("{}  {} waits: {}\n", of.consumer, of.available, of.why.join(", and ")));
    }
    if text.is_empty() {
        text.push_str("Nothing is available that is not in a payout.\n");
    }
    text
}
