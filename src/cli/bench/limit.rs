//! The limit: one thread that does what cannot be left out, and nothing else.
//!
//! It parses every event, compresses the body and makes it durable in a file. It checks nothing, finds no duplicate,
//! counts nothing and speaks no HTTP. The bodies are made beforehand.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use std::time::Instant as Stopwatch;

use anyhow::Context;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::cli::bench::report::Rate;

const ZSTD_LEVEL: i32 = 1;

/// An event with its attributes, all of it borrowed from the body.
#[derive(Deserialize)]
pub struct Line<'b> {
    pub id: &'b str,
    pub source: &'b str,
    #[serde(rename = "type")]
    pub kind: &'b str,
    pub subject: &'b str,
    pub time: &'b str,
    #[serde(borrow)]
    pub data: &'b RawValue,
}

/// Goes round the bodies until the time is over, but at least once.
pub fn limit(bodies: &[Vec<u8>], file: &Path, time: Duration) -> anyhow::Result<Rate> {
    let mut log = File::create(file).with_context(|| format!("{} cannot be written", file.display()))?;
    let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
    let watch = Stopwatch::now();
    let (mut events, mut checked) = (0_u64, 0_usize);
    for (number, body) in bodies.iter().cycle().enumerate() {
        if number >= bodies.len() && watch.elapsed() >= time {
            break;
        }
        for line in lines(body) {
            let Line { id, source, kind, subject, time, data } = line?;
            // Uses what was read, so that reading it cannot be left out.
            checked ^= id.len() ^ source.len() ^ kind.len() ^ subject.len() ^ time.len() ^ data.get().len();
            events += 1;
        }
        log.write_all(&compressor.compress(body)?)?;
        log.sync_data()?;
    }
    std::hint::black_box(checked);
    Ok(Rate::new(events, watch.elapsed().as_secs_f64()))
}

/// The events of a body, parsed.
pub fn lines(body: &[u8]) -> impl Iterator<Item = anyhow::Result<Line<'_>>> {
    body.split(|byte| *byte == b'\n').map(|line| serde_json::from_slice(line).context("an event cannot be read"))
}
