//! What the server counts of its own work, and how Prometheus reads it (text format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::StatusCode;

use crate::http::memory::Memory;
use crate::metering::Receipt;
use crate::metering::SeenFigures;

/// What a body of events is answered with; anything else is counted as `other`.
const STATUSES: [u16; 12] = [200, 400, 401, 403, 408, 413, 415, 422, 429, 500, 503, 0];

/// Upper ends of the buckets of durations: microseconds, and seconds as they are shown.
const BOUNDS: [(u64, &str); 14] = [
    (250, "0.00025"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (5_000_000, "5"),
    (30_000_000, "30"),
];

/// Since the process began.
#[derive(Default)]
pub struct Counters {
    accepted: AtomicU64,
    duplicates: AtomicU64,
    conflicts: AtomicU64,
    rejected: AtomicU64,
    /// By event type, and only those of the catalog. Locked only when there is something to count.
    warned: Mutex<BTreeMap<String, u64>>,
    bodies: [AtomicU64; STATUSES.len()],
    wire_bytes: AtomicU64,
    text_bytes: AtomicU64,
    /// How many took no longer than each bound, and longer than the one before.
    within: [AtomicU64; BOUNDS.len()],
    micros: AtomicU64,
    connections: AtomicU64,
    connections_ended: AtomicU64,
}

/// A connection that is counted as open until this is dropped.
pub struct Open<'c>(&'c Counters);

fn add(counter: &AtomicU64, count: usize) {
    // A count of its own: it orders nothing.
    counter.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
}

impl Counters {
    /// A body of events that was there to its end.
    pub fn received(&self, wire_bytes: usize, text_bytes: usize) {
        add(&self.wire_bytes, wire_bytes);
        add(&self.text_bytes, text_bytes);
    }

    /// What became of its events.
    pub fn taken(&self, receipt: &Receipt) {
        add(&self.accepted, receipt.accepted);
        add(&self.duplicates, receipt.duplicates);
        add(&self.conflicts, receipt.conflicts.len());
        add(&self.rejected, receipt.rejected.len());
        if receipt.warned.counts.is_empty() {
            return;
        }
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        for (kind, count) in &receipt.warned.counts {
            let all = warned.entry(kind.clone()).or_default();
            *all = all.saturating_add(u64::try_from(*count).unwrap_or(u64::MAX));
        }
    }

    /// Events for which a body was refused.
    pub fn refused(&self, count: usize) {
        add(&self.rejected, count);
    }

    /// How it was answered, and how long that took from its head on.
    pub fn answered(&self, status: StatusCode, took: Duration) {
        let place = STATUSES.iter().position(|known| *known == status.as_u16()).unwrap_or(STATUSES.len() - 1);
        add(&self.bodies[place], 1);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        if let Some(bucket) = BOUNDS.iter().position(|(bound, _)| micros <= *bound) {
            add(&self.within[bucket], 1);
        }
    }

    pub fn open(&self) -> Open<'_> {
        add(&self.connections, 1);
        Open(self)
    }

    /// Everything, as Prometheus reads it.
    pub fn text(&self, memory: &Memory, seen: SeenFigures, quarantined: u64) -> String {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut text = Text(String::with_capacity(4096));
        let events_total = "events_total";
        text.about(events_total, "counter", "Events that were sent, by what became of them.");
        for (outcome, counter) in
            [("accepted", &self.accepted), ("duplicate", &self.duplicates), ("rejected", &self.rejected)]
        {
            text.sample(events_total, &format!("{{outcome=\"{outcome}\"}}"), read(counter));
        }
        let conflicts = "Duplicates that say something else than the first event with their key did.";
        text.single("event_conflicts_total", "counter", conflicts, read(&self.conflicts));
        let warned = "event_schema_warnings_total";
        text.about(warned, "counter", "Events that were taken although their data breaks the schema of their type.");
        for (kind, count) in &*self.warned.lock().unwrap_or_else(PoisonError::into_inner) {
            text.sample(warned, &format!("{{type=\"{kind}\"}}"), count);
        }
        text.single("quarantined_events", "gauge", "Events that wait in quarantine.", quarantined);
        let known = "Distinct events that are known.";
        text.single("events_known", "gauge", known, seen.events);

        let bodies = "event_bodies_total";
        text.about(bodies, "counter", "Bodies of events, by the status that they were answered with.");
        for (status, counter) in STATUSES.iter().zip(&self.bodies) {
            let status = if *status == 0 { "other".to_owned() } else { status.to_string() };
            text.sample(bodies, &format!("{{status=\"{status}\"}}"), read(counter));
        }
        let wire = "Bytes of bodies of events, as they came over the wire.";
        text.single("event_body_bytes_total", "counter", wire, read(&self.wire_bytes));
        let decoded = "Bytes of bodies of events, once decompressed.";
        text.single("event_body_decoded_bytes_total", "counter", decoded, read(&self.text_bytes));
        self.durations(&mut text);

        let gauge = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        let waits = "How often the log's writer waited for the disk of the seen index.";
        text.single("seen_waits_total", "counter", waits, seen.waits);
        text.single("seen_memory_bytes", "gauge", "Memory of the seen index.", gauge(seen.memory_bytes));
        let in_use = "Memory of bodies that are under way.";
        text.single("ingest_memory_bytes", "gauge", in_use, gauge(memory.in_use()));
        let most = "What bodies that are under way may take, all together.";
        text.single("ingest_memory_bytes_max", "gauge", most, gauge(memory.bytes_max()));
        let (begun, ended) = (read(&self.connections), read(&self.connections_ended));
        text.single("connections_open", "gauge", "Connections that are open.", begun.saturating_sub(ended));
        text.single("connections_total", "counter", "Connections that were opened.", begun);
        text.0
    }

    fn durations(&self, text: &mut Text) {
        let name = "event_body_seconds";
        text.about(name, "histogram", "From the head of a body of events to its answer.");
        let mut count: u64 = 0;
        for ((_, bound), within) in BOUNDS.iter().zip(&self.within) {
            count = count.saturating_add(within.load(Ordering::Relaxed));
            text.sample(&format!("{name}_bucket"), &format!("{{le=\"{bound}\"}}"), count);
        }
        let all = self.bodies.iter().fold(0_u64, |sum, count| sum.saturating_add(count.load(Ordering::Relaxed)));
        // The counts are read one after the other while others go on counting: no bucket may hold more than all.
        let all = all.max(count);
        text.sample(&format!("{name}_bucket"), "{le=\"+Inf\"}", all);
        let micros = self.micros.load(Ordering::Relaxed);
        let seconds = format_args!("{}.{:06}", micros / 1_000_000, micros % 1_000_000).to_string();
        text.sample(&format!("{name}_sum"), "", seconds);
        text.sample(&format!("{name}_count"), "", all);
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        add(&self.0.connections_ended, 1);
    }
}

struct Text(String);

impl Text {
    fn about(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP tallystick_{name} {help}\n# TYPE tallystick_{name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "tallystick_{name}{labels} {value}");
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.about(name, kind, help);
        self.sample(name, "", value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_everything_up_to_their_bound() {
        let counters = Counters::default();
        for (status, micros) in [(StatusCode::OK, 250), (StatusCode::OK, 251), (StatusCode::IM_A_TEAPOT, 40_000_000)] {
            counters.answered(status, Duration::from_micros(micros));
        }
        let text = counters.text(&Memory::new(1), SeenFigures { events: 3, memory_bytes: 5, waits: 7 }, 2);
        for line in [
            "tallystick_event_body_seconds_bucket{le=\"0.00025\"} 1",
            "tallystick_event_body_seconds_bucket{le=\"0.0005\"} 2",
            "tallystick_event_body_seconds_bucket{le=\"30\"} 2",
            "tallystick_event_body_seconds_bucket{le=\"+Inf\"} 3",
            "tallystick_event_body_seconds_sum 40.000501",
            "tallystick_event_body_seconds_count 3",
            "tallystick_event_bodies_total{status=\"200\"} 2",
            "tallystick_event_bodies_total{status=\"other\"} 1",
        ] {
            assert!(text.lines().any(|written| written == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn every_sample_is_explained_before_it() {
        let text = Counters::default().text(&Memory::new(1), SeenFigures { events: 3, memory_bytes: 5, waits: 7 }, 2);
        let mut explained = "";
        for line in text.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(rest) => explained = rest.split(' ').next().expect("a name"),
                None => assert!(line.starts_with("# HELP ") || line.starts_with(explained), "{line}"),
            }
        }
    }
}
