//! Questions about usage: one consumer's month, again and again while the server is busy, and everybody's total.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant as Stopwatch;

use anyhow::Context;
use anyhow::bail;
use anyhow::ensure;
use rust_decimal::Decimal;
use serde::Deserialize;

use crate::cli::bench::client::Connection;
use crate::cli::bench::client::Target;
use crate::cli::bench::events::consumer_name;
use crate::cli::bench::events::drawn_consumer;
use crate::clock;
use crate::domain::time::Instant;

/// Rests between two questions, so that asking is not a load of its own.
const REST: Duration = Duration::from_millis(5);
const MONTH_MICROS: i64 = 30 * 24 * 60 * 60 * 1_000_000;

/// Somebody who asks on a thread of their own, so that making events does not delay the clock.
pub struct Asker {
    thread: JoinHandle<anyhow::Result<Vec<u32>>>,
    enough: Arc<AtomicBool>,
}

impl Asker {
    pub fn start(target: Target) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let told = enough.clone();
        Self { thread: std::thread::spawn(move || ask(&target, &told)), enough }
    }

    /// How long each answer took, in microseconds.
    pub fn stop(self) -> anyhow::Result<Vec<u32>> {
        self.enough.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(latencies) => latencies,
            Err(_) => bail!("the thread that asks for usage panicked"),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn ask(target: &Target, enough: &AtomicBool) -> anyhow::Result<Vec<u32>> {
    let mut connection = Connection::open(target).await?;
    let to = clock::now();
    let from = Instant::from_micros(to.micros().saturating_sub(MONTH_MICROS));
    let mut latencies = Vec::new();
    for question in 0.. {
        let consumer = consumer_name(drawn_consumer(question));
        let path =
            format!("/v1/usage?meter=requests&consumer={consumer}&from={from}&to={to}&window=day&group_by=status");
        let begun = Stopwatch::now();
        let answer = connection.get(&path).await.context("usage cannot be asked for")?;
        if answer.status != 200 {
            bail!("asked for usage, the server answers {}: {}", answer.status, String::from_utf8_lossy(answer.body));
        }
        latencies.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
        // Asks once at least.
        if enough.load(Ordering::Relaxed) {
            break;
        }
        tokio::time::sleep(REST).await;
    }
    Ok(latencies)
}

/// What one meter has measured of everybody, over all time: the sum of its values, and how many events those are.
pub async fn usage_total(target: &Target, meter: &str) -> anyhow::Result<(u64, u64)> {
    #[derive(Deserialize)]
    struct Usage {
        data: Vec<Row>,
    }
    #[derive(Deserialize)]
    struct Row {
        value: Decimal,
        count: u64,
    }
    let mut connection = Connection::open(target).await?;
    let answer = connection.get(&format!("/v1/usage?meter={meter}&window=total")).await?;
    ensure!(answer.status == 200, "the server answers {}: {}", answer.status, String::from_utf8_lossy(answer.body));
    let usage: Usage = serde_json::from_slice(answer.body).context("usage cannot be read")?;
    let value: Decimal = usage.data.iter().map(|row| row.value).sum();
    let count = usage.data.iter().map(|row| row.count).sum();
    let whole = u64::try_from(value).ok().filter(|whole| Decimal::from(*whole) == value);
    Ok((whole.with_context(|| format!("{meter} measured {value}, which is not whole"))?, count))
}
