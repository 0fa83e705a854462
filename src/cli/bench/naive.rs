//! The baseline: what a platform would write first, a row an event.

use std::path::Path;
use std::time::Duration;
use std::time::Instant as Stopwatch;

use anyhow::Context;

use crate::cli::bench::events::Stream;
use crate::cli::bench::limit::lines;
use crate::cli::bench::report::Rate;
use crate::domain::time::Instant;
use crate::store::naive::NaiveLog;
use crate::store::naive::Row;

/// How fast the table takes events, and how fast in the last fifth of the time: it grows slower as it grows.
pub struct Baseline {
    pub whole: Rate,
    pub near_end: Rate,
}

/// Writes a body a transaction until the time is over or the events are written, whichever comes first.
pub async fn naive(
    stream: &mut Stream,
    events_a_body: u64,
    file: &Path,
    time: Duration,
    events_max: u64,
) -> anyhow::Result<Baseline> {
    let log = NaiveLog::open(file).await?;
    let mut body = Vec::new();
    let mut bodies: Vec<(u64, Duration)> = Vec::new();
    let (mut events, mut passed) = (0, Duration::ZERO);
    while passed < time && events < events_max {
        let count = events_a_body.min(events_max - events);
        stream.fill(count, &mut body);
        let watch = Stopwatch::now();
        let rows = lines(&body)
            .map(|line| {
                let line = line?;
                let time = Instant::parse(line.time).context("an event's time cannot be read")?;
                let (source, id, kind) = (line.source, line.id, line.kind);
                Ok(Row { source, id, kind, subject: line.subject, time, data: line.data.get() })
            })
            .collect::<anyhow::Result<Vec<Row<'_>>>>()?;
        log.append(&rows).await?;
        let took = watch.elapsed();
        bodies.push((count, took));
        events += count;
        passed += took;
    }
    let last = bodies.len().div_ceil(5);
    Ok(Baseline { whole: rate(&bodies), near_end: rate(&bodies[bodies.len() - last..]) })
}

fn rate(bodies: &[(u64, Duration)]) -> Rate {
    let events = bodies.iter().map(|(events, _)| events).sum();
    Rate::new(events, bodies.iter().map(|(_, took)| took).sum::<Duration>().as_secs_f64())
}
