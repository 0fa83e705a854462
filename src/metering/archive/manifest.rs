//! The manifest of one file of the archive: JSON that says what is in it, for whoever has no database beside it.

use serde::Deserialize;
use serde::Serialize;

use crate::domain::time::Instant;
use crate::store::archive::ArchivedBatch;

/// How every manifest begins.
pub const FORMAT: &str = "tallystick event archive";
pub const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: String,
    pub version: u32,
    /// The identity of the log.
    pub log: String,
    /// 1, 2, 3: a number that is not there is a file that is missing.
    pub number: i64,
    /// SHA-256 of the manifest before this one, as it is on disk.
    pub previous: Option<String>,
    pub file: String,
    pub first_batch: i64,
    pub last_batch: i64,
    pub events: i64,
    pub bytes: i64,
    /// Of the file.
    pub sha256: String,
    /// In the order of the log and of the file. Not every number is there: a batch stays in the log if one of its events
    /// is too young.
    pub batches: Vec<Entry>,
}

/// One batch, a zstd frame by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub seq: i64,
    pub received_at: Instant,
    pub events: i64,
    pub first_time: Instant,
    pub last_time: Instant,
    /// Of the frame.
    pub crc32: i64,
    pub first_byte: i64,
    pub bytes: i64,
}

pub fn name_of(number: i64) -> String {
    format!("events-{number:06}.json")
}

pub fn data_name_of(number: i64) -> String {
    format!("events-{number:06}.ndjson.zst")
}

impl Entry {
    /// The same as the database keeps it.
    pub fn archived(&self, file: i64) -> ArchivedBatch {
        let Self { seq, received_at, events, first_time, last_time, crc32, first_byte, bytes } = *self;
        ArchivedBatch {
            seq,
            received_at,
            event_count: events,
            first_time,
            last_time,
            checksum: crc32,
            file,
            first_byte,
            bytes,
        }
    }
}
