//! What the server takes, as options of `serve`: every limit has a flag and a variable.

use std::time::Duration;

use crate::http;
use crate::metering;

#[derive(clap::Args, Debug)]
pub struct LimitArgs {
    /// How far ahead of the clock an event's time may be, in seconds
    #[arg(long, value_name = "SECONDS", env = "TALLYSTICK_MAX_FUTURE", default_value_t = 3600)]
    max_future: u32,
    /// Longest event: bytes, or with KiB, MiB or GiB
    #[arg(long, value_name = "BYTES", env = "TALLYSTICK_MAX_EVENT", default_value = "1MiB", value_parser = bytes)]
    max_event: usize,
    /// Longest body of events as it comes over the wire: bytes, or with KiB, MiB or GiB
    #[arg(long, value_name = "BYTES", env = "TALLYSTICK_MAX_BODY", default_value = "32MiB", value_parser = bytes)]
    max_body: usize,
    /// Longest body of events once decompressed, and at most 7/8 of --ingest-memory: bytes, or with KiB, MiB or GiB
    #[arg(long, value_name = "BYTES", env = "TALLYSTICK_MAX_DECODED", default_value = "128MiB", value_parser = bytes)]
    max_decoded: usize,
    /// Most events in one body
    #[arg(long, value_name = "EVENTS", env = "TALLYSTICK_MAX_BATCH", default_value = "100000", value_parser = count)]
    max_batch: usize,
    /// Memory for all bodies that are under way, of which an eighth is for those of up to 64 KiB; a body that gets none
    /// is answered 429 at once: bytes, or with KiB, MiB or GiB
    #[arg(long, value_name = "BYTES", env = "TALLYSTICK_INGEST_MEMORY", default_value = "256MiB", value_parser = bytes)]
    ingest_memory: usize,
    /// Time from the first byte of a request until its head is there, in seconds
    #[arg(long, value_name = "SECONDS", env = "TALLYSTICK_HEADER_TIMEOUT", default_value = "10", value_parser = seconds)]
    header_timeout: Duration,
    /// Time for which a connection may idle between two requests, in seconds
    #[arg(long, value_name = "SECONDS", env = "TALLYSTICK_IDLE_TIMEOUT", default_value = "75", value_parser = seconds)]
    idle_timeout: Duration,
    /// Time for which a body may pause, or a client may leave an answer unread, in seconds
    #[arg(long, value_name = "SECONDS", env = "TALLYSTICK_BODY_TIMEOUT", default_value = "20", value_parser = seconds)]
    body_timeout: Duration,
    /// Most open connections; more wait in the system's queue. Keep it below what `ulimit -n` says
    #[arg(
        long, value_name = "CONNECTIONS", env = "TALLYSTICK_MAX_CONNECTIONS", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000),
    )]
    max_connections: u32,
}

impl LimitArgs {
    pub fn of_events(&self) -> metering::ingest::Limits {
        metering::ingest::Limits {
            event_bytes_max: self.max_event,
            future_micros_max: i64::from(self.max_future).saturating_mul(1_000_000),
        }
    }

    pub fn of_bodies(&self) -> http::intake::Limits {
        http::intake::Limits {
            body_bytes_max: self.max_body,
            decoded_bytes_max: self.max_decoded,
            events_max: self.max_batch,
            memory_bytes_max: self.ingest_memory,
        }
    }

    pub fn of_connections(&self) -> http::listen::Limits {
        http::listen::Limits {
            connections_max: self.max_connections,
            header_timeout: self.header_timeout,
            idle_timeout: self.idle_timeout,
            body_timeout: self.body_timeout,
        }
    }
}

/// Reads `65536` or `64KiB`.
fn bytes(text: &str) -> Result<usize, String> {
    let units = [("KiB", 1_usize << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let with_unit = units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)));
    let (number, unit) = with_unit.unwrap_or((text, 1));
    let read = number.trim().parse::<usize>().ok().and_then(|number| number.checked_mul(unit));
    read.filter(|bytes| *bytes > 0).ok_or_else(|| "write a number of bytes like 65536, 64KiB, 32MiB or 1GiB".to_owned())
}

/// A day is longer than anybody waits.
fn seconds(text: &str) -> Result<Duration, String> {
    let read = text.parse().ok().filter(|seconds| (1..=86_400).contains(seconds));
    read.map(Duration::from_secs).ok_or_else(|| "write a number of seconds from 1 to 86400".to_owned())
}

fn count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "write a number of at least 1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_may_have_a_unit() {
        for (text, expected) in [("1", 1), ("64KiB", 65_536), ("32 MiB", 33_554_432), ("1GiB", 1 << 30)] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "0", "-1", "1.5MiB", "1MB", "MiB", "99999999999GiB"] {
            assert!(bytes(text).is_err_and(|fix| fix.contains("64KiB")), "{text}");
        }
    }
}
