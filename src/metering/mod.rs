//! Takes events in, exactly once, and knows what was used. Knows no price.
//!
//! Promise: an event that was acknowledged is in the log and is counted once, whatever is repeated, reordered or
//! killed. Usage always equals one pass over the distinct events of a prefix of the log.
//!
//! How: [`ingest`] reads bodies and looks their events up in parallel; one [`writer`] finds what is new in the [`group`] of
//! all that waits at that moment, appends it to the [`log`] as a batch, and adds it to the [`seen`] index and the [`fold`];
//! what a body needs to know of older events is read before, in [`originals`]; [`fold`] is flushed about once a second, in
//! one transaction with its position in the log; [`recover`] replays what a crash took from memory. The log holds every
//! event once, so that folding it needs no index. [`replay`] counts history by a younger meter; [`archive`] is where old
//! batches go, and from where they are read as if they had stayed.

pub mod archive;
mod aside;
mod coverage;
mod distinct;
mod flight;
pub mod fold;
mod group;
pub mod ingest;
pub mod log;
mod originals;
pub mod publish;
pub mod quarantine;
pub mod recover;
pub mod replay;
pub mod retract;
pub mod seen;
#[cfg(test)]
mod tests;
pub mod trace;
pub mod usage;
pub mod validate;
pub mod versions;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;

use crate::domain::book::version::BookVersion;
use crate::domain::event::Event;
use crate::domain::ids::QuarantineId;
use crate::domain::measure::delta::TooLarge;
use crate::domain::measure::meters::Contribution;
use crate::domain::time::Instant;
use crate::metering::aside::aside;
use crate::metering::coverage::Coverage;
use crate::metering::fold::Fold;
use crate::metering::group::Outcome;
use crate::metering::ingest::Faulty;
use crate::metering::ingest::Format;
use crate::metering::ingest::Invalid;
use crate::metering::ingest::Limits;
use crate::metering::ingest::Prepared;
use crate::metering::log::DamagedBatch;
use crate::metering::originals::Stored;
use crate::metering::replay::Replaying;
use crate::metering::retract::RETRACTED;
use crate::metering::retract::Retracted;
use crate::metering::seen::Seen;
use crate::metering::validate::Warned;
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
const FLUSH_LOOK: Duration = Duration::from_millis(100);
/// The pause after a flush, in times of how long it took.
const FLUSH_PAUSE_FACTOR: u32 = 9;
/// About two seconds of reading at the next start.
const UNFLUSHED_EVENTS_MAX: u64 = 3_000_000;

/// How metering is to work.
#[derive(Clone, Debug)]
pub struct Options {
    pub limits: Limits,
    /// The folder of the seen index; each log has one of its own there.
    pub seen: PathBuf,
    /// Bytes of memory for the seen index.
    pub seen_memory: usize,
}

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
    coverage: RwLock<Coverage>,
    /// Held by the writer while it appends what takes events back, and by a replay while it commits.
    replaying: Arc<tokio::sync::Mutex<Replaying>>,
    seen: Seen,
    fold: Fold,
    /// The number of the newest batch that is durable and counted.
    newest: watch::Sender<i64>,
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
    /// What was taken although it breaks its schema; duplicates too.
    pub warned: Warned,
}

/// An event as it is kept.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    pub seq: i64,
    pub received_at: Instant,
    /// The event's JSON.
    pub text: String,
    /// Where it was counted: meter, party, bucket, dimensions. Empty if it was taken back.
    pub counted: Vec<Contribution>,
    pub retracted: bool,
}

/// What an operator wants to know of the seen index.
#[derive(Clone, Copy, Debug)]
pub struct SeenFigures {
    pub events: u64,
    pub memory_bytes: usize,
    /// How often the writer had to wait for its disk.
    pub waits: u64,
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
    #[error("the log's writer cannot start: {0}")]
    Thread(#[source] std::io::Error),
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    #[error("there are more than {} windows in that time", usage::WINDOWS_MAX)]
    TooManyWindows,
    #[error("a published price book cannot be read: {0}")]
    Book(String),
    #[error(transparent)]
    Archive(#[from] archive::Unreadable),
    #[error("there is no meter {0:?}")]
    UnknownMeter(String),
    /// One replay at a time: each reads a lot, and the second would wait for the first anyway.
    #[error("history is being replayed already; try again when that is done")]
    Replaying,
    #[error("the fold's position was moved by another process")]
    Fenced,
    #[error("metering has stopped")]
    Stopped,
}

impl Metering {
    /// Opens the meter on a store that this process owns, and folds what was not flushed.
    pub async fn open(db: Db, options: Options, progress: impl FnMut(recover::Progress)) -> Result<Self, Error> {
        let versions = Versions::load(&db).await?;
        let coverage = Coverage::read(&mut db.read().await?, i64::MAX).await?;
        let last_seq = db.settled_last_seq().await?;
        let identity = db.read_log().await?.log_identity().await?;
        let (seen, unseen) = Seen::open(&options.seen.join(identity), options.seen_memory, last_seq)?;
        let fold = recover::recover(&db, &versions, &coverage, &seen, (last_seq, &unseen), progress).await?;
        let shared = Arc::new(Shared {
            versions: RwLock::new(Arc::new(versions)),
            coverage: RwLock::new(coverage),
            replaying: Arc::default(),
            seen,
            fold,
            newest: watch::Sender::new(last_seq),
        });
        let (commands, waiting) = mpsc::channel(WAITING_BODIES_MAX);
        let writer = Writer::new(db.clone(), shared.clone(), last_seq).map_err(Error::Thread)?.run(waiting);
        tokio::spawn(writer);
        tokio::spawn(flush_regularly(db.clone(), Arc::downgrade(&shared)));
        Ok(Self { db, limits: options.limits, commands, shared })
    }

    /// Takes a body of events. It is answered after the events are durable and counted.
    pub async fn ingest(
        &self,
        format: Format,
        body: Vec<u8>,
        invalid: Invalid,
        now: Instant,
    ) -> Result<Receipt, Error> {
        self.take(format, body, invalid, None, now).await
    }

    /// Takes a body of events, and with it something out of quarantine.
    async fn take(
        &self,
        format: Format,
        body: Vec<u8>,
        invalid: Invalid,
        released: Option<QuarantineId>,
        now: Instant,
    ) -> Result<Receipt, Error> {
        let bytes = body.len();
        let mut read = self.read(bytes, now, move |reading| ingest::prepare(format, body, reading)).await?;
        let mut rejected = Vec::new();
        loop {
            let (mut prepared, faulty) = read;
            if !faulty.is_empty() && invalid == Invalid::Reject {
                return Err(Error::Invalid(faulty.into_iter().map(|(faulty, _)| faulty).collect()));
            }
            for (faulty, text) in faulty {
                prepared.quarantined.push((QuarantineId::new(now, crate::random::bytes()), text, faulty.clone()));
                rejected.push(faulty);
            }
            prepared.released.clone_from(&released);
            match self.append(Box::new(prepared)).await? {
                // A price book was published in between: read the body again with its meters.
                Outcome::OutOfDate(prepared) => {
                    read = self.read(bytes, now, move |reading| ingest::prepare_again(*prepared, reading)).await?;
                }
                // Found invalid in the writer's turn: the others are read again, since what it added went with it.
                Outcome::Refused(mut prepared, faulty) if invalid == Invalid::Quarantine => {
                    let aside = prepared.set_aside(faulty);
                    read = self.read(bytes, now, move |reading| ingest::prepare_again(*prepared, reading)).await?;
                    read.1.extend(aside);
                }
                Outcome::Refused(_, faulty) => return Err(Error::Invalid(faulty)),
                // Outside of the writer's turn, which the body then waits for again.
                Outcome::NeedsLookUp(mut prepared, known) => {
                    self.shared.look_up(&self.db, &mut prepared, &known).await?;
                    read = (*prepared, Vec::new());
                }
                Outcome::Taken(receipt) => {
                    rejected.sort_by_key(|faulty| faulty.index);
                    return Ok(Receipt { rejected, ..receipt });
                }
            }
        }
    }

    /// Reads a body; a long one on a thread of its own, so that nobody else waits for it.
    async fn read<T: Send + 'static>(
        &self,
        bytes: usize,
        now: Instant,
        read: impl FnOnce(&ingest::Reading<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (versions, limits, shared) = (self.versions(), self.limits.clone(), self.shared.clone());
        let read = move || {
            let reading = ingest::Reading {
                versions: &versions,
                seen: &shared.seen,
                secret: shared.fold.secret(),
                limits: &limits,
                now,
            };
            read(&reading)
        };
        if bytes <= READ_INLINE_BYTES_MAX {
            return read();
        }
        aside(read).await?
    }

    async fn append(&self, prepared: Box<Prepared>) -> Result<Outcome, Error> {
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

    /// Writes everything that is folded to the store. It is a task of its own: who asks may hang up, and a flush that is
    /// left halfway would take what it was writing with it.
    pub async fn flush(&self) -> Result<(), Error> {
        let (db, shared) = (self.db.clone(), self.shared.clone());
        tokio::spawn(async move { shared.fold.flush(&db).await }).await.map_err(|_| Error::Stopped)?
    }

    /// Tells the number of the newest batch of the log, whenever there is one.
    pub fn newest(&self) -> watch::Receiver<i64> {
        self.shared.newest.subscribe()
    }

    /// Every published price-book version.
    pub fn versions(&self) -> Arc<Versions> {
        self.shared.versions()
    }

    /// Finds an event by its key: one look-up, one batch.
    pub async fn event(&self, source: &str, id: &str) -> Result<Option<StoredEvent>, Error> {
        let shared = &self.shared;
        let Some(stored) = shared.stored(&self.db, shared.seen.key(source, id)).await? else { return Ok(None) };
        let Stored { place, received_at, text } = stored;
        let mark = Retracted { source: source.to_owned(), id: id.to_owned() }.mark(&shared.seen);
        let retracted = shared.seen.get(mark)?.is_some();
        let counted = match Event::parse(&text) {
            Ok(event) if event.kind != RETRACTED && !retracted => {
                let at = event.time.unwrap_or(received_at);
                self.versions().contributions(&event, at, place, |meter| shared.counted(meter, place.seq, at))
            }
            _ => Vec::new(),
        };
        Ok(Some(StoredEvent { seq: place.seq, received_at, text: text.to_string(), counted, retracted }))
    }

    /// Writes everything that is only in memory, so that the next start has nothing to read again.
    pub async fn close(&self) -> Result<(), Error> {
        let flushed = self.flush().await;
        self.shared.seen.close();
        flushed
    }

    /// The seen index, in figures.
    pub fn seen_figures(&self) -> SeenFigures {
        let seen = &self.shared.seen;
        SeenFigures { events: seen.len(), memory_bytes: seen.memory(), waits: seen.waits() }
    }

    /// How many distinct events are known.
    pub fn event_count(&self) -> u64 {
        self.shared.seen.len()
    }
}

impl Shared {
    fn versions(&self) -> Arc<Versions> {
        self.versions.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a meter counts an event of a batch that happened at an instant.
    fn counted(&self, meter: &str, seq: i64, at: Instant) -> bool {
        self.coverage.read().unwrap_or_else(PoisonError::into_inner).counted(meter, seq, at)
    }
}

/// Flushes about once a second, but so that it takes a tenth of the time at most; and at the latest when reading again
/// what is not flushed would take seconds.
async fn flush_regularly(db: Db, shared: std::sync::Weak<Shared>) {
    let mut pause = FLUSH_EVERY;
    loop {
        let mut waited = Duration::ZERO;
        while waited < pause {
            tokio::time::sleep(FLUSH_LOOK).await;
            waited = waited.saturating_add(FLUSH_LOOK);
            let Some(shared) = shared.upgrade() else { return };
            if waited >= FLUSH_EVERY && shared.fold.unstored_events() >= UNFLUSHED_EVENTS_MAX {
                break;
            }
        }
        let Some(shared) = shared.upgrade() else { return };
        let began = std::time::Instant::now();
        let (db, runtime) = (db.clone(), Handle::current());
        // An error only when the process stops.
        let Ok(flushed) = aside(move || runtime.block_on(shared.fold.flush(&db))).await else { return };
        if let Err(error) = flushed {
            tracing::error!("usage could not be flushed, and stays in memory: {error}");
        }
        pause = began.elapsed().saturating_mul(FLUSH_PAUSE_FACTOR).max(FLUSH_EVERY);
    }
}
