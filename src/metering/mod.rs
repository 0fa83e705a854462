//! Takes events in, exactly once, and knows what was used. Knows no price.
//!
//! Promise: an event that was acknowledged is in the log and is counted once, whatever is repeated, reordered or
//! killed. Usage always equals one pass over the distinct events of a prefix of the log.
//!
//! How: [`ingest`] reads bodies in parallel; one [`writer`] finds duplicates in the [`seen`] index, appends a batch
//! to the [`log`] for everything that waits at that moment, and adds it to the [`fold`]; [`fold`] is flushed about
//! once a second, in one transaction with its position in the log; [`recover`] replays what was not flushed.

pub mod fold;
pub mod ingest;
pub mod log;
pub mod publish;
pub mod recover;
pub mod seen;
#[cfg(test)]
mod tests;
pub mod usage;
pub mod versions;
mod writer;

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::domain::book::version::BookVersion;
use crate::domain::event::Event;
use crate::domain::ids::QuarantineId;
use crate::domain::measure::delta::TooLarge;
use crate::domain::measure::meters::Contribution;
use crate::domain::time::Instant;
use crate::metering::fold::Fold;
use crate::metering::ingest::Faulty;
use crate::metering::ingest::Format;
use crate::metering::ingest::Invalid;
use crate::metering::ingest::Limits;
use crate::metering::ingest::Prepared;
use crate::metering::log::DamagedBatch;
use crate::metering::seen::Seen;
use crate::metering::versions::Versions;
use crate::metering::writer::Command;
use crate::metering::writer::Writer;
use crate::store;
use crate::store::Db;

/// Bodies that may wait for the writer. More are refused, so that memory stays bounded.
const WAITING_BODIES_MAX: usize = 256;
/// About a tenth of a millisecond's work.
const READ_INLINE_BYTES_MAX: usize = 16 << 10;
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// The meter of everything: open it once a process, and share it.
pub struct Metering {
    db: Db,
    limits: Limits,
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

/// What the writer and the readers both look at.
pub(in crate::metering) struct Shared {
    versions: RwLock<Arc<Versions>>,
    seen: Seen,
    fold: Fold,
}

/// What became of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    pub accepted: usize,
    pub duplicates: usize,
    /// Indexes of duplicates that say something else than the event that was first. Also counted in `duplicates`.
    pub conflicts: Vec<usize>,
    /// What was put into quarantine.
    pub rejected: Vec<Faulty>,
}

/// An event as it is kept.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    pub seq: i64,
    pub received_at: Instant,
    /// The event's JSON.
    pub text: String,
    /// Where it was counted: meter, party, bucket, dimensions.
    pub counted: Vec<Contribution>,
}

#[derive(Debug, Error)]
pub enum Error {
    /// Nothing of the body was stored.
    #[error("{} events cannot be taken", .0.len())]
    Invalid(Vec<Faulty>),
    #[error("too many bodies wait to be written")]
    Busy,
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Damaged(#[from] DamagedBatch),
    #[error(transparent)]
    Seen(#[from] seen::Error),
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    #[error("a published price book cannot be read: {0}")]
    Book(String),
    #[error("the fold's position was moved by another process")]
    Fenced,
    #[error("metering has stopped")]
    Stopped,
}

impl Metering {
    /// Opens the meter on a store that this process owns: reads the log's keys, and folds what was not flushed.
    pub async fn open(db: Db, limits: Limits, progress: impl FnMut(recover::Progress)) -> Result<Self, Error> {
        let versions = Versions::load(&db).await?;
        let recovered = recover::recover(&db, &versions, progress).await?;
        let shared =
            Arc::new(Shared { versions: RwLock::new(Arc::new(versions)), seen: recovered.seen, fold: recovered.fold });
        let (commands, waiting) = mpsc::channel(WAITING_BODIES_MAX);
        tokio::spawn(Writer::new(db.clone(), shared.clone(), recovered.last_seq).run(waiting));
        tokio::spawn(flush_regularly(db.clone(), Arc::downgrade(&shared)));
        Ok(Self { db, limits, commands, shared })
    }

    /// Takes a body of events. It is answered after the events are durable and counted.
    pub async fn ingest(
        &self,
        format: Format,
        body: Vec<u8>,
        invalid: Invalid,
        now: Instant,
    ) -> Result<Receipt, Error> {
        let body = Arc::new(body);
        loop {
            let (prepared, faulty) = self.prepare(format, &body, now).await?;
            if !faulty.is_empty() && invalid == Invalid::Reject {
                return Err(Error::Invalid(faulty.into_iter().map(|(faulty, _)| faulty).collect()));
            }
            let quarantined = faulty
                .iter()
                .map(|(faulty, text)| (QuarantineId::new(now, crate::random::bytes()), text.clone(), faulty.clone()))
                .collect();
            let prepared = Prepared { quarantined, ..prepared };
            match self.append(prepared).await? {
                // A price book was published in between: read the body again with its meters.
                None => continue,
                Some(mut receipt) => {
                    receipt.rejected = faulty.into_iter().map(|(faulty, _)| faulty).collect();
                    return Ok(receipt);
                }
            }
        }
    }

    /// Reads a body; a long one on a thread of its own, so that nobody else waits for it.
    async fn prepare(
        &self,
        format: Format,
        body: &Arc<Vec<u8>>,
        now: Instant,
    ) -> Result<(Prepared, Vec<(Faulty, String)>), Error> {
        let versions = self.versions();
        if body.len() <= READ_INLINE_BYTES_MAX {
            return Ok(ingest::prepare(format, body, &versions, &self.limits, now));
        }
        let (body, limits) = (body.clone(), self.limits.clone());
        let read = move || ingest::prepare(format, &body, &versions, &limits, now);
        tokio::task::spawn_blocking(read).await.map_err(|_| Error::Stopped)
    }

    async fn append(&self, prepared: Prepared) -> Result<Option<Receipt>, Error> {
        let (reply, answer) = oneshot::channel();
        self.commands.try_send(Command::Append { prepared, reply }).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => Error::Busy,
            mpsc::error::TrySendError::Closed(_) => Error::Stopped,
        })?;
        answer.await.map_err(|_| Error::Stopped)?
    }

    /// Publishes a price-book version. Its new meters count from here on; on an empty log, from the beginning.
    pub async fn publish(&self, version: BookVersion, by: &str, note: &str, now: Instant) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        let publication =
            writer::Publication { version: Box::new(version), by: by.to_owned(), note: note.to_owned(), now };
        self.commands.send(Command::Publish { publication, reply }).await.map_err(|_| Error::Stopped)?;
        answer.await.map_err(|_| Error::Stopped)?
    }

    /// Writes everything that is folded to the store.
    pub async fn flush(&self) -> Result<(), Error> {
        self.shared.fold.flush(&self.db).await
    }

    /// Every published price-book version.
    pub fn versions(&self) -> Arc<Versions> {
        self.shared.versions()
    }

    /// Finds an event by its key: one look-up, one batch.
    pub async fn event(&self, source: &str, id: &str) -> Result<Option<StoredEvent>, Error> {
        let key = self.shared.seen().key(source, id);
        let Some(seen) = self.shared.seen().get(key)? else { return Ok(None) };
        let Some(batch) = self.db.read_log().await?.batch(seen.seq).await? else { return Ok(None) };
        for line in log::lines(&batch)?.lines() {
            let Ok(event) = Event::parse(line) else { continue };
            if event.source == source && event.id == id {
                let at = event.time.unwrap_or(batch.received_at);
                let counted = self.versions().meters().measure(&event, at).unwrap_or_default();
                let (seq, received_at) = (batch.seq, batch.received_at);
                return Ok(Some(StoredEvent { seq, received_at, text: line.to_owned(), counted }));
            }
        }
        Ok(None)
    }

    /// How many distinct events are known.
    pub fn event_count(&self) -> usize {
        usize::try_from(self.shared.seen().len()).unwrap_or(usize::MAX)
    }
}

impl Shared {
    fn versions(&self) -> Arc<Versions> {
        self.versions.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn seen(&self) -> &Seen {
        &self.seen
    }
}

async fn flush_regularly(db: Db, shared: std::sync::Weak<Shared>) {
    let mut ticks = tokio::time::interval(FLUSH_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        if let Err(error) = shared.fold.flush(&db).await {
            tracing::error!("usage could not be flushed, and stays in memory: {error}");
        }
    }
}
