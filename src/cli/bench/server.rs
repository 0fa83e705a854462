//! The server that is measured: a process of its own, so that its memory and its time are its alone.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitCode;
use std::process::Stdio;

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::cli::bench::client::Target;
use crate::cli::key;
use crate::cli::place::CannotOpen;
use crate::cli::serve;
use crate::cli::webhooks::WebhookArgs;
use crate::domain::book::SourceFile;
use crate::http;
use crate::http::App;
use crate::http::intake;
use crate::http::listen;
use crate::metering::Options;
use crate::metering::ingest::Limits;
use crate::store::Access;
use crate::store::Db;

/// Answers as `/v1/events` answers an accepted event, and does nothing: what HTTP alone costs.
pub const EMPTY_PATH: &str = "/bench/empty";
const EMPTY_ANSWER: &str = r#"{"accepted":1,"duplicates":0,"conflicts":[],"rejected":[]}"#;

/// What is counted: requests by how they went, and what they carried by where it went.
pub const BOOK: [(&str, &str); 3] = [
    ("book.toml", "name = \"Benchmark\"\ncurrency = \"EUR\"\ntimezone = \"UTC\"\n"),
    (
        "catalog/gateway.toml",
        r#"
[[event_type]]
type = "api.request"
title = "API request"
description = "A gateway has answered a request."
lifecycle = "published"
"#,
    ),
    (
        "meters/gateway.toml",
        r#"
[[meter]]
id = "requests"
event_type = "api.request"
aggregation = "count"
dimensions = { status = "data.status" }
bucket = "1h"

[[meter]]
id = "bytes"
event_type = "api.request"
aggregation = "sum"
value = "data.bytes"
dimensions = { region = "data.region" }
bucket = "1h"
"#,
    ),
];

/// What the process that is measured is told.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Folder of the data
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Memory for the seen index, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    seen_memory: usize,
}

/// A server that runs, until this is dropped.
pub struct Server {
    child: Child,
    pub target: Target,
}

/// Serves until its standard input ends, which it does at the latest with the process that started it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let db =
        Db::open(&crate::store::Target::Folder(args.data.clone()), Access::Owner).await.map_err(CannotOpen::Data)?;
    let metering = {
        let seen_memory = args.seen_memory.saturating_mul(1 << 20);
        let options = Options { limits: Limits::default(), seen: args.data.join("seen"), seen_memory };
        serve::open_metering(db.clone(), options).await?
    };
    let files = BOOK.map(|(path, text)| SourceFile { path: path.to_owned(), text: text.to_owned() });
    serve::publish_first(&metering, files.to_vec()).await?;
    key::first_operator_key(&db, Some(&args.data)).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);
    let delivery = WebhookArgs::default().start(db.clone(), metering.clone(), Some(&args.data))?;
    let app = App::new(db, metering, delivery, intake::Limits::default());
    // Bodies of any size, and none of what all other routes share.
    let empty = Router::new().route(EMPTY_PATH, post(empty).layer(DefaultBodyLimit::disable()));
    let router = http::router(app.clone()).merge(empty);
    let ended = async {
        let _ = end_of_input().await;
    };
    listen::serve(listener, app, router, listen::Limits::default(), ended, std::future::ready(())).await;
    Ok(ExitCode::SUCCESS)
}

async fn empty(_: Bytes) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], EMPTY_ANSWER)
}

fn end_of_input() -> oneshot::Receiver<()> {
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || {
        // Whether it ends well or badly, it has ended.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = ended.send(());
    });
    end
}

impl Server {
    /// Starts a server on this data, and waits until it listens.
    pub fn start(data: &Path, key: &str, seen_memory: usize) -> anyhow::Result<Self> {
        let binary = std::env::current_exe().context("this program's own file cannot be found")?;
        let child = Command::new(&binary)
            .args(["bench", "serve", "--seen-memory", &seen_memory.to_string(), "--data"])
            .arg(data)
            .env("TALLYSTICK_OPERATOR_KEY", key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} cannot be started", binary.display()))?;
        // From here on, dropping it ends it.
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self { child, target: Target { address, key: key.to_owned() } };
        let mut said = BufReader::new(server.child.stdout.take().context("the server has no standard output")?);
        let mut line = String::new();
        said.read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on ").and_then(|address| address.parse().ok());
        server.target.address = address.with_context(|| match line.as_str() {
            "" => "the server ended before it listened; what went wrong stands above".to_owned(),
            line => format!("the server says `{}` instead of where it listens", line.trim()),
        })?;
        Ok(server)
    }

    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: it can write nothing down any more.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
