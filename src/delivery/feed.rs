//! Reading the log for all workers at once: a batch is read and taken apart once, however many endpoints follow it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::sync::watch;

use crate::delivery::notice::ACKNOWLEDGED;
use crate::domain::book::catalog::Audience;
use crate::domain::event::Event;
use crate::domain::time::Instant;
use crate::domain::webhook::filter::Described;
use crate::domain::webhook::filter::Filter;
use crate::metering;
use crate::metering::Metering;
use crate::metering::archive;
use crate::metering::log;
use crate::metering::versions::Versions;
use crate::store::Db;

/// Batches that are kept for those who follow closely, and their bytes; the newest is, whatever it has.
const RECENT_MAX: usize = 256;
const RECENT_BYTES_MAX: usize = 16 << 20;

pub(in crate::delivery) struct Feed {
    db: Db,
    metering: Arc<Metering>,
    /// Newest last.
    recent: Mutex<VecDeque<Arc<ReadBatch>>>,
}

/// A batch of the log, as text.
pub(in crate::delivery) struct ReadBatch {
    pub seq: i64,
    pub received_at: Instant,
    text: String,
    /// Where each event stands in it.
    lines: Vec<Range<usize>>,
}

impl Feed {
    pub fn new(db: Db, metering: Arc<Metering>) -> Self {
        Self { db, metering, recent: Mutex::default() }
    }

    /// Tells the number of the newest batch, whenever there is one.
    pub fn newest(&self) -> watch::Receiver<i64> {
        self.metering.newest()
    }

    pub async fn batch(&self, seq: i64) -> Result<Arc<ReadBatch>, metering::Error> {
        // Kept while one reads, so that the others get what was read instead of reading it too.
        let mut recent = self.recent.lock().await;
        if let Some(batch) = recent.iter().find(|batch| batch.seq == seq) {
            return Ok(batch.clone());
        }
        let is_old = recent.front().is_some_and(|oldest| seq < oldest.seq);
        if is_old {
            // Of one who is far behind: it is not worth a place, nor that others wait.
            drop(recent);
            return Ok(Arc::new(self.read(seq).await?));
        }
        let batch = Arc::new(self.read(seq).await?);
        recent.push_back(batch.clone());
        let mut bytes: usize = recent.iter().map(|batch| batch.text.len()).sum();
        while (bytes > RECENT_BYTES_MAX || recent.len() > RECENT_MAX)
            && recent.len() > 1
            && let Some(oldest) = recent.pop_front()
        {
            bytes = bytes.saturating_sub(oldest.text.len());
        }
        Ok(batch)
    }

    async fn read(&self, seq: i64) -> Result<ReadBatch, metering::Error> {
        let stored = archive::batch(&self.db, &mut self.db.read_log().await?, seq).await?;
        let received_at = stored.received_at;
        let text = log::lines(&stored)?;
        let mut from = 0_usize;
        let lines = text.split_inclusive('\n').map(|line| {
            let line = from..from.saturating_add(line.trim_end_matches('\n').len());
            from = line.end.saturating_add(1);
            line
        });
        let lines = lines.collect();
        Ok(ReadBatch { seq, received_at, text, lines })
    }
}

impl ReadBatch {
    /// The places of events that an endpoint of this consumer gets.
    pub fn places(&self, consumer: &str, filters: &[Filter], versions: &Versions) -> Vec<usize> {
        let is_wanted = |line: &Range<usize>| {
            let Some(text) = self.text.get(line.clone()) else { return false };
            // What is in the log was read before it got there.
            let Ok(event) = Event::parse(text) else { return false };
            let is_own = event.subject.as_deref() == Some(consumer);
            let catalogued = versions.event_types().get(event.kind.as_ref());
            let is_public = catalogued.is_some_and(|event_type| event_type.audience == Audience::Public);
            event.kind != ACKNOWLEDGED
                && (is_own || is_public)
                && filters.iter().all(|filter| filter.lets_pass(Described { event: &event, text }))
        };
        (0..).zip(&self.lines).filter(|(_, line)| is_wanted(line)).map(|(place, _)| place).collect()
    }

    /// The JSON of the event at a place.
    pub fn event(&self, place: usize) -> Option<&str> {
        self.text.get(self.lines.get(place)?.clone())
    }
}
