//! What was measured: as JSON, and as tables for people. Rates are floats: nothing is billed by them.

use comfy_table::CellAlignment;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Serialize;

use crate::cli::bench::machine::Machine;
use crate::cli::bench::machine::Memory;

/// All figures of a run. What was not measured is left out.
#[derive(Serialize)]
pub struct Report {
    pub machine: Machine,
    pub seed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Rate>,
    /// Making events, by the processor's time: all loads share the cores with that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator: Option<Rate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub naive: Option<Rate>,
    /// In the last fifth of its time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub naive_near_end: Option<Rate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub large: Option<Figures>,
    /// The load of `large` on a handler that does nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub large_empty: Option<Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub medium: Option<Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub single: Option<Figures>,
    /// The load of `single` on a handler that does nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub single_empty: Option<Figures>,
    /// The ingest that ran while questions were asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paced: Option<Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<Percentiles>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// Of the server, before it was killed.
    pub memory: Memory,
    pub disk: Disk,
    pub counts: Counts,
}

/// How fast something went.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rate {
    pub events: u64,
    pub seconds: f64,
    pub events_per_second: f64,
}

/// How fast a server took events.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    pub connections: usize,
    pub events_a_body: u64,
    pub events: u64,
    pub requests: usize,
    /// Requests that were answered 429, and sent again.
    pub refused: u64,
    pub seconds: f64,
    pub events_per_second: f64,
    /// How long the first and the last stretch are: a minute, or half of what is shorter than two.
    pub window_seconds: f64,
    pub first_events_per_second: f64,
    pub last_events_per_second: f64,
    /// Of a request, until its events are durable and counted.
    pub latency: Percentiles,
    /// Processor time per time, of the server and of this program.
    pub server_cores: f64,
    pub client_cores: f64,
}

/// Of the times that something took.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Percentiles {
    pub samples: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

/// A start after the server was killed.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Restart {
    pub listens_after_seconds: f64,
    pub ready_after_seconds: f64,
    pub memory: Memory,
}

/// What the data takes on disk, everything included.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Disk {
    /// What this run added.
    pub bytes: u64,
    pub bytes_per_event: f64,
}

/// What was sent, and what the server says of it. All of it must agree.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Counts {
    pub sent: u64,
    pub distinct: u64,
    pub duplicates: u64,
    pub accepted: u64,
    pub duplicates_found: u64,
    pub counted: u64,
    pub bytes_sent: u64,
    pub bytes_counted: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted_after_restart: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_counted_after_restart: Option<u64>,
    pub agree: bool,
}

impl Rate {
    pub fn new(events: u64, seconds: f64) -> Self {
        Self { events, seconds, events_per_second: events as f64 / seconds }
    }
}

impl Percentiles {
    /// Of times in microseconds, which are sorted by this.
    pub fn of(micros: &mut [u32]) -> Self {
        micros.sort_unstable();
        // The smallest time that this share of all do not exceed.
        let at = |percent: usize| {
            let rank = (micros.len() * percent).div_ceil(100).max(1);
            micros.get(rank - 1).map_or(0.0, |micros| f64::from(*micros) / 1_000.0)
        };
        Self { samples: micros.len(), p50_ms: at(50), p99_ms: at(99), max_ms: at(100) }
    }
}

impl Counts {
    /// Compares everything with what was sent.
    pub fn compared(mut self) -> Self {
        self.agree = self.accepted == self.distinct
            && self.duplicates_found == self.duplicates
            && self.counted == self.distinct
            && self.bytes_counted == self.bytes_sent
            && self.counted_after_restart.is_none_or(|counted| counted == self.distinct)
            && self.bytes_counted_after_restart.is_none_or(|bytes| bytes == self.bytes_sent);
        self
    }
}

impl Report {
    /// One in which nothing is measured yet.
    pub fn new(machine: Machine, seed: u64) -> Self {
        Self {
            machine,
            seed,
            limit: None,
            generator: None,
            naive: None,
            naive_near_end: None,
            large: None,
            large_empty: None,
            medium: None,
            single: None,
            single_empty: None,
            paced: None,
            query: None,
            restart: None,
            memory: Memory::default(),
            disk: Disk::default(),
            counts: Counts::default(),
        }
    }

    /// For people: where, how fast, and whether everything was counted.
    pub fn print(&self) {
        let Machine { cores, cpu, memory_bytes, file_system, optimised } = &self.machine;
        println!("{cores} cores, {cpu}, {} GiB, {file_system}; seed {}", gibibytes(*memory_bytes), self.seed);
        if !optimised {
            println!("Built without optimisation: these figures say nothing. Use `cargo run --release`.");
        }
        println!("\n{}\n\n{}", self.rates(), self.others());
    }

    fn rates(&self) -> Table {
        let mut table = table(&[
            "",
            "CONNECTIONS",
            "EVENTS/BODY",
            "EVENTS",
            "EVENTS/S",
            "% OF LIMIT",
            "P50 MS",
            "P99 MS",
            "SERVER CORES",
            "CLIENT CORES",
        ]);
        let of_limit = |rate: f64| self.limit.map_or_else(String::new, |limit| percent(rate, limit.events_per_second));
        for (name, rate) in [
            ("limit, one thread", self.limit),
            ("a row an event, SQLite", self.naive),
            ("the same, last fifth", self.naive_near_end),
        ] {
            let Some(Rate { events, events_per_second: rate, .. }) = rate else { continue };
            let [connections, body] = [String::new(), String::new()];
            table.add_row([name.to_owned(), connections, body, grouped(events), whole(rate), of_limit(rate)]);
        }
        for (name, figures) in [
            ("large bodies", &self.large),
            ("the same, empty handler", &self.large_empty),
            ("medium bodies", &self.medium),
            ("single events", &self.single),
            ("the same, empty handler", &self.single_empty),
            ("large at half speed", &self.paced),
        ] {
            let Some(figures) = figures else { continue };
            table.add_row([
                name.to_owned(),
                figures.connections.to_string(),
                grouped(figures.events_a_body),
                grouped(figures.events),
                whole(figures.events_per_second),
                of_limit(figures.events_per_second),
                format!("{:.2}", figures.latency.p50_ms),
                format!("{:.2}", figures.latency.p99_ms),
                format!("{:.2}", figures.server_cores),
                format!("{:.2}", figures.client_cores),
            ]);
        }
        table
    }

    fn others(&self) -> Table {
        let mut table = table(&["WHAT", "FIGURE", "UNIT"]);
        let mut row = |what: &str, figure: String, unit: &str| {
            table.add_row([what.to_owned(), figure, unit.to_owned()]);
        };
        if let Some(large) = &self.large {
            let window = format!("{:.1}", large.window_seconds);
            row(&format!("large bodies, the first {window} s"), whole(large.first_events_per_second), "events/s");
            row(&format!("large bodies, the last {window} s"), whole(large.last_events_per_second), "events/s");
        }
        if let (Some(single), Some(empty)) = (&self.single, &self.single_empty) {
            let ratio = percent(single.events_per_second, empty.events_per_second);
            row("single events against the empty handler", ratio, "%");
        }
        if let Some(query) = &self.query {
            row("a consumer's month at half speed, p50", format!("{:.2}", query.p50_ms), "ms");
            row("the same, p99", format!("{:.2}", query.p99_ms), "ms");
            row("the same, asked", grouped(query.samples as u64), "times");
        }
        if let Some(generator) = &self.generator {
            row("making an event", format!("{:.0}", 1e9 / generator.events_per_second), "ns");
        }
        let loads = [&self.large, &self.medium, &self.single, &self.paced];
        let refused = loads.into_iter().flatten().map(|figures| figures.refused).sum();
        row("answered 429, and sent again", grouped(refused), "requests");
        row("memory of the server, peak", mebibytes(self.memory.peak_bytes), "MiB");
        row("memory of the server, at the end", mebibytes(self.memory.now_bytes), "MiB");
        row("disk, everything", mebibytes(self.disk.bytes), "MiB");
        row("disk an event", format!("{:.1}", self.disk.bytes_per_event), "bytes");
        if let Some(restart) = &self.restart {
            row("restart after kill -9, until it listens", format!("{:.2}", restart.listens_after_seconds), "s");
            row("restart after kill -9, until it is ready", format!("{:.2}", restart.ready_after_seconds), "s");
            row("memory after the restart, peak", mebibytes(restart.memory.peak_bytes), "MiB");
        }
        let counts = &self.counts;
        row("distinct events sent", grouped(counts.distinct), "");
        row("accepted", grouped(counts.accepted), "");
        row("counted", grouped(counts.counted), "");
        if let Some(counted) = counts.counted_after_restart {
            row("counted after the restart", grouped(counted), "");
        }
        row("duplicates sent", grouped(counts.duplicates), "");
        row("duplicates found", grouped(counts.duplicates_found), "");
        row("sum of data.bytes, sent", grouped(counts.bytes_sent), "");
        row("sum of data.bytes, counted", grouped(counts.bytes_counted), "");
        row("everything was counted once", if counts.agree { "yes" } else { "NO" }.to_owned(), "");
        table
    }
}

/// An empty table; its first column is text.
fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(columns);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn percent(part: f64, whole: f64) -> String {
    format!("{:.1}", part / whole * 100.0)
}

fn whole(number: f64) -> String {
    grouped(number.round() as u64)
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

fn gibibytes(bytes: u64) -> String {
    format!("{:.0}", bytes as f64 / f64::from(1 << 30))
}

/// `1,234,567`
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_time_that_was_measured() {
        let mut micros: Vec<u32> = (1..=200).rev().map(|number| number * 1_000).collect();
        let Percentiles { samples, p50_ms, p99_ms, max_ms } = Percentiles::of(&mut micros);
        assert_eq!((samples, p50_ms, p99_ms, max_ms), (200, 100.0, 198.0, 200.0));
        assert_eq!(Percentiles::of(&mut [7_000]).p99_ms, 7.0);
        assert_eq!(Percentiles::of(&mut []).samples, 0);
    }

    #[test]
    fn counts_agree_only_if_every_event_was_counted_once() {
        let right = Counts {
            sent: 11,
            distinct: 10,
            duplicates: 1,
            accepted: 10,
            duplicates_found: 1,
            counted: 10,
            bytes_sent: 500,
            bytes_counted: 500,
            counted_after_restart: Some(10),
            ..Counts::default()
        };
        assert!(right.compared().agree);
        assert!(!Counts { counted: 11, ..right }.compared().agree);
        assert!(!Counts { bytes_counted: 499, ..right }.compared().agree);
        assert!(!Counts { counted_after_restart: Some(9), ..right }.compared().agree);
    }

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
