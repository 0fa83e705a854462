//! The body of a batch: events as NDJSON, compressed, with a checksum that names a damaged batch.

use std::io::Read;

use flate2::Crc;
use thiserror::Error;

use crate::domain::time::Instant;
use crate::store::batches::Batch;

/// The fastest level: the log is written once and read seldom.
const ZSTD_LEVEL: i32 = 1;

/// Events that are about to become one batch.
#[derive(Debug)]
pub struct Draft {
    lines: Vec<u8>,
    event_count: i64,
    first_time: Instant,
    last_time: Instant,
}

/// Bytes of a draft that are worth a second thread: about half a millisecond's work.
const HALVED_BYTES_MIN: usize = 1 << 19;

/// Makes batches of drafts. Its working memory is kept from one to the next.
pub struct Sealer {
    compressor: zstd::bulk::Compressor<'static>,
    /// For the second half of a long draft.
    second: zstd::bulk::Compressor<'static>,
}

#[derive(Debug, Error)]
#[error("batch {seq} of the event log is damaged: {reason}. Restore events.db from a backup")]
pub struct DamagedBatch {
    pub seq: i64,
    pub reason: String,
}

impl Default for Draft {
    fn default() -> Self {
        let (first_time, last_time) = (Instant::from_micros(i64::MAX), Instant::from_micros(i64::MIN));
        Self { lines: Vec::new(), event_count: 0, first_time, last_time }
    }
}

impl Draft {
    /// Adds one event: its JSON without a line break, and when it happened.
    pub fn push(&mut self, line: &[u8], time: Instant) {
        self.lines.extend_from_slice(line);
        self.lines.push(b'\n');
        self.event_count = self.event_count.saturating_add(1);
        self.first_time = self.first_time.min(time);
        self.last_time = self.last_time.max(time);
    }

    pub fn event_count(&self) -> u64 {
        self.event_count.unsigned_abs()
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The events so far, one a line.
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// An empty draft with the room that this one has.
    pub fn emptied(mut self) -> Self {
        self.lines.clear();
        Self { lines: self.lines, ..Self::default() }
    }
}

impl Sealer {
    pub fn new() -> std::io::Result<Self> {
        let compressor = || zstd::bulk::Compressor::new(ZSTD_LEVEL);
        Ok(Self { compressor: compressor()?, second: compressor()? })
    }

    /// Compresses the events into a batch. A long one becomes two frames, which are read like one.
    pub fn seal(&mut self, draft: &Draft, seq: i64, received_at: Instant) -> std::io::Result<Batch> {
        let middle = if draft.lines.len() < HALVED_BYTES_MIN { 0 } else { draft.lines.len() / 2 };
        let (first, rest) = draft.lines.split_at(middle);
        let Self { compressor, second } = self;
        let body = match first.is_empty() {
            true => compressor.compress(rest)?,
            false => std::thread::scope(|scope| {
                let rest = std::thread::Builder::new().spawn_scoped(scope, || second.compress(rest))?;
                let mut body = compressor.compress(first)?;
                body.extend(rest.join().map_err(|_| std::io::Error::other("zstd has panicked"))??);
                std::io::Result::Ok(body)
            })?,
        };
        Ok(Batch {
            seq,
            received_at,
            event_count: draft.event_count,
            first_time: draft.first_time,
            last_time: draft.last_time,
            checksum: checksum(&body),
            body,
        })
    }
}

/// An error if a single bit of a batch was changed.
pub fn check(batch: &Batch) -> Result<(), DamagedBatch> {
    match checksum(&batch.body) == batch.checksum {
        true => Ok(()),
        false => Err(DamagedBatch { seq: batch.seq, reason: "its checksum does not match".to_owned() }),
    }
}

/// The events of a batch, one a line; an error if a single bit of it was changed.
pub fn lines(batch: &Batch) -> Result<String, DamagedBatch> {
    check(batch)?;
    let damaged = |reason: String| DamagedBatch { seq: batch.seq, reason };
    let mut text = String::new();
    zstd::stream::read::Decoder::new(batch.body.as_slice())
        .and_then(|mut decoder| decoder.read_to_string(&mut text))
        .map_err(|error| damaged(format!("it cannot be decompressed: {error}")))?;
    Ok(text)
}

fn checksum(body: &[u8]) -> i64 {
    let mut crc = Crc::new();
    crc.update(body);
    i64::from(crc.sum())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn draft(lines: &[String]) -> Draft {
        let mut draft = Draft::default();
        for (index, line) in lines.iter().enumerate() {
            draft.push(line.as_bytes(), Instant::from_micros(i64::try_from(index).expect("small")));
        }
        draft
    }

    fn seal(draft: &Draft) -> Batch {
        Sealer::new().and_then(|mut sealer| sealer.seal(draft, 7, Instant::from_micros(0))).expect("seals")
    }

    proptest! {
        /// A batch gives back exactly the lines that went in.
        #[test]
        fn a_batch_keeps_its_lines(texts in prop::collection::vec("[^\n\r]{1,80}", 1..50)) {
            let batch = seal(&draft(&texts));
            let read = lines(&batch).expect("is whole");
            prop_assert_eq!(read.lines().map(str::to_owned).collect::<Vec<_>>(), texts);
        }

        /// A long one is compressed in two halves, wherever they meet.
        #[test]
        fn a_long_batch_keeps_its_lines(text in "[a-z\u{e9}]{1,300}", more in 0_usize..400) {
            let lines_of = |count: usize| (0..count).map(|line| format!("{line}{text}")).collect::<Vec<_>>();
            let texts = lines_of(HALVED_BYTES_MIN / text.len() + more);
            let batch = seal(&draft(&texts));
            let read = lines(&batch).expect("is whole");
            prop_assert_eq!(read.lines().map(str::to_owned).collect::<Vec<_>>(), texts);
        }

        /// Any flipped bit is found, and the batch is named.
        #[test]
        fn a_flipped_bit_is_found(texts in prop::collection::vec("[a-z]{1,40}", 1..20), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let mut batch = seal(&draft(&texts));
            let place = at.index(batch.body.len());
            batch.body[place] ^= 1 << bit;
            prop_assert_eq!(lines(&batch).expect_err("is damaged").seq, 7);
        }
    }
}
