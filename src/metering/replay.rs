//! Folds history into a meter that was published after it: each event that the meter did not count, exactly once.
//!
//! Promise: stored usage is at every moment, also after a crash, what one pass over the log up to `applied_seq` comes to,
//! where a meter counts the batches after the one it was published behind, and of those before it the events that its
//! rows in `replayed` name by batch and event time. So replays may repeat and overlap, and `verify` needs no more than
//! these rows.
//!
//! How: what the rows do not name yet is read in chunks of batches. A chunk is one transaction: the usage that it adds,
//! and the rows that say so. A kill between chunks loses nothing and a kill within one loses that chunk, which the next
//! replay then finds missing. Batches whose events all happened at other times are not read.
//!
//! Events that are taken back: the pass that usage must equal counts them and takes them back again, so those of which
//! stored usage knows that are left out. A retraction that comes while a chunk is being read finds that the meter does
//! not count the original, and takes nothing back; it is noted here, and taken into account when the chunk commits. The
//! writer does not append during that commit, so nothing comes in between.
//!
//! An event that a younger meter cannot measure adds nothing to it. These are counted and the first is named.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;

use hashbrown::DefaultHashBuilder;
use tokio::task::JoinSet;

use crate::domain::event::Fault;
use crate::domain::measure::delta::Delta;
use crate::domain::measure::delta::Key;
use crate::domain::measure::digest::KeyDigest;
use crate::domain::measure::item::Place;
use crate::domain::measure::tally;
use crate::domain::measure::tally::Tally;
use crate::domain::period::Period;
use crate::domain::period::PeriodError;
use crate::domain::shape::Shapes;
use crate::domain::time::Instant;
use crate::metering::Error;
use crate::metering::Metering;
use crate::metering::Shared;
use crate::metering::archive;
use crate::metering::aside::give_way;
use crate::metering::coverage::Coverage;
use crate::metering::coverage::Stretch;
use crate::metering::fold::add_to_stored;
use crate::metering::log;
use crate::metering::log::DamagedBatch;
use crate::metering::retract::RETRACTED;
use crate::metering::retract::Retracted;
use crate::metering::retract::Retraction;
use crate::metering::versions::Versions;
use crate::store::Db;
use crate::store::batches::Batch;
use crate::store::replayed::Replayed;

/// Events after which a chunk is committed: less than a second of reading, and so much memory. Few in tests, so that
/// there are many chunks.
const CHUNK_EVENTS_MAX: i64 = if cfg!(test) { 25 } else { 250_000 };

/// Retractions that were appended since a replay began, each with its batch.
type TakenBack = Mutex<Vec<(i64, Retraction)>>;

/// What is added to usage, a key perhaps more than once.
type Additions = Vec<(Key, Delta)>;

/// What the writer tells a replay, if there is one.
#[derive(Debug, Default)]
pub(in crate::metering) struct Replaying(Weak<TakenBack>);

impl Replaying {
    /// Notes what a batch takes back.
    pub fn note(&self, seq: i64, retractions: Vec<Retraction>) {
        if let Some(taken_back) = self.0.upgrade().filter(|_| !retractions.is_empty()) {
            let retractions = retractions.into_iter().map(|retraction| (seq, retraction));
            taken_back.lock().unwrap_or_else(PoisonError::into_inner).extend(retractions);
        }
    }
}

/// A replay that can begin. As long as it lives there is no other.
pub struct Replay {
    db: Db,
    shared: Arc<Shared>,
    versions: Arc<Versions>,
    meter: String,
    threads: usize,
    chunks: Vec<Chunk>,
    taken_back: Arc<TakenBack>,
    progress: Progress,
}

/// How far a replay has come, and what it has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Batches that must be read.
    pub batches: u64,
    pub batches_total: u64,
    /// Events of the wanted time in them.
    pub events: u64,
    /// Those that the meter counts now.
    pub counted: u64,
    /// Those that it would, had they not been taken back.
    pub taken_back: u64,
    pub not_measurable: u64,
    /// Why the first of them was not.
    pub first_fault: Option<String>,
}

/// Event times from one instant to another; without one, from the beginning or to the end of time.
pub fn period(from: Option<Instant>, to: Option<Instant>) -> Result<Period, PeriodError> {
    Period::new(from.unwrap_or(Instant::from_micros(i64::MIN)), to.unwrap_or(Instant::from_micros(i64::MAX)))
}

/// What is committed together.
struct Chunk {
    stretch: Stretch,
    /// Those that may hold events of its periods.
    batches: Vec<i64>,
}

/// What batches come to.
#[derive(Default)]
struct Found {
    deltas: HashMap<KeyDigest, (Key, Delta), DefaultHashBuilder>,
    progress: Progress,
}

/// What is needed to read a batch on a thread of its own.
struct Reading {
    shared: Arc<Shared>,
    versions: Arc<Versions>,
    meter: String,
    periods: Vec<Period>,
    /// Retractions up to this batch are looked up; later ones are noted by the writer.
    stored_seq: i64,
}

impl Metering {
    /// Gets ready to count, by a meter, what it did not count of the events that happened in a period. Until the replay
    /// is run nothing has changed.
    pub async fn replay(&self, meter: &str, period: Period, threads: NonZero<usize>) -> Result<Replay, Error> {
        let versions = self.versions();
        if versions.alone(meter).is_none() {
            return Err(Error::UnknownMeter(meter.to_owned()));
        }
        let taken_back = Arc::new(TakenBack::default());
        {
            let mut replaying = self.shared.replaying.lock().await;
            if replaying.0.strong_count() > 0 {
                return Err(Error::Replaying);
            }
            replaying.0 = Arc::downgrade(&taken_back);
        }
        // From here on retractions are noted; those before are stored, and known to the seen index.
        self.flush().await?;
        let stretches = self.shared.coverage.read().unwrap_or_else(PoisonError::into_inner).missing(meter, period);
        let chunks = chunks(&self.db, stretches).await?;
        let batches_total = chunks.iter().map(|chunk| chunk.batches.len() as u64).sum();
        Ok(Replay {
            db: self.db.clone(),
            shared: self.shared.clone(),
            versions,
            meter: meter.to_owned(),
            threads: threads.get(),
            chunks,
            taken_back,
            progress: Progress { batches_total, ..Progress::default() },
        })
    }
}

/// Cuts what is missing into parts of about the same number of events.
async fn chunks(db: &Db, stretches: Vec<Stretch>) -> Result<Vec<Chunk>, Error> {
    let mut chunks = Vec::new();
    let mut tx = db.read_log().await?;
    for stretch in stretches {
        let (first, last) = (stretch.periods.first(), stretch.periods.last());
        let Some(whole) = first.zip(last).and_then(|(first, last)| Period::new(first.from(), last.to()).ok()) else {
            continue;
        };
        let (mut batches, mut events) = (Vec::new(), 0_i64);
        let mut first_seq = stretch.first_seq;
        for head in tx.batches_between(stretch.first_seq, stretch.last_seq, whole).await? {
            let overlaps = |period: &Period| head.first_time < period.to() && period.from() <= head.last_time;
            if !stretch.periods.iter().any(overlaps) {
                continue;
            }
            batches.push(head.seq);
            events = events.saturating_add(head.event_count);
            if events >= CHUNK_EVENTS_MAX && head.seq < stretch.last_seq {
                let part = Stretch { first_seq, last_seq: head.seq, periods: stretch.periods.clone() };
                chunks.push(Chunk { stretch: part, batches: std::mem::take(&mut batches) });
                (first_seq, events) = (head.seq.saturating_add(1), 0);
            }
        }
        chunks.push(Chunk { stretch: Stretch { first_seq, ..stretch }, batches });
    }
    Ok(chunks)
}

/// Those of some meters that may not count everything that happened in a period: they are younger than batches which may
/// hold events of it, and it was not replayed.
pub async fn without_history(db: &Db, meters: &BTreeSet<&str>, period: Period) -> Result<Vec<String>, Error> {
    let coverage = Coverage::read(&mut db.read().await?, i64::MAX).await?;
    let mut without = Vec::new();
    for meter in meters {
        let chunks = chunks(db, coverage.missing(meter, period)).await?;
        if chunks.iter().any(|chunk| !chunk.batches.is_empty()) {
            without.push((*meter).to_owned());
        }
    }
    Ok(without)
}

impl Replay {
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Counts all of it. What is committed by the time of an error stays counted, and is not counted again.
    pub async fn run(mut self, mut watch: impl FnMut(&Progress)) -> Result<Progress, Error> {
        for chunk in std::mem::take(&mut self.chunks) {
            let found = self.read(&chunk, &mut watch).await?;
            self.commit(&chunk.stretch, &found).await?;
            let batches = self.progress.batches;
            self.progress.add(found.progress);
            self.progress.batches = batches.saturating_add(chunk.batches.len() as u64);
            watch(&self.progress);
        }
        Ok(self.progress)
    }

    /// Reads the batches of a chunk, some at once.
    async fn read(&self, chunk: &Chunk, watch: &mut impl FnMut(&Progress)) -> Result<Found, Error> {
        // Not while the writer is between counting a retraction and noting it: it would be taken into account twice.
        let writer_waits = self.shared.replaying.lock().await;
        let stored_seq = self.shared.fold.stored_seq();
        self.noted().retain(|(seq, _)| *seq > stored_seq);
        drop(writer_waits);
        let reading = Arc::new(Reading {
            shared: self.shared.clone(),
            versions: self.versions.clone(),
            meter: self.meter.clone(),
            periods: chunk.stretch.periods.clone(),
            stored_seq,
        });
        let mut found = Found::default();
        let mut readers: JoinSet<Result<Found, Error>> = JoinSet::new();
        let mut shown = self.progress.clone();
        for seq in &chunk.batches {
            if readers.len() >= self.threads {
                found.join(readers.join_next().await)?;
                shown.batches = shown.batches.saturating_add(1);
                watch(&shown);
            }
            // A transaction of its own: a long one would keep SQLite from ever copying its write-ahead log.
            let batch = archive::batch(&self.db, &mut self.db.read_log().await?, *seq).await?;
            let reading = reading.clone();
            readers.spawn_blocking(move || {
                give_way();
                reading.read(&batch)
            });
        }
        while !readers.is_empty() {
            found.join(readers.join_next().await)?;
        }
        Ok(found)
    }

    /// Adds a chunk to stored usage, and says so, in one transaction.
    async fn commit(&self, stretch: &Stretch, found: &Found) -> Result<(), Error> {
        let fold = &self.shared.fold;
        let _stored_stays = fold.hold_stored(&self.db).await?;
        let mut tx = self.db.write().await?;
        add_to_stored(&mut tx, found.deltas.values().map(|(key, delta)| (key, *delta)).collect()).await?;
        let mut last_id = tx.last_replayed().await?;
        for period in &stretch.periods {
            last_id = last_id.saturating_add(1);
            let Stretch { first_seq, last_seq, .. } = *stretch;
            let replayed = Replayed { id: last_id, meter: self.meter.clone(), first_seq, last_seq, period: *period };
            tx.record_replayed(&replayed).await?;
        }
        // In this order: readers may take long, and the writer waits for none of them.
        let _readers_wait = fold.hold_readers().await;
        let _writer_waits = self.shared.replaying.lock().await;
        let (stored, late) = self.taken_back_meanwhile(stretch)?;
        for (key, delta) in &stored {
            // One by one, since two of them may have one key.
            add_to_stored(&mut tx, vec![(key, *delta)]).await?;
        }
        let committed = tx.commit().await;
        // Whatever became of the commit: retractions must find what the store says.
        let coverage = Coverage::stored(&self.db).await;
        let is_stored = coverage.last_replayed() >= last_id;
        *self.shared.coverage.write().unwrap_or_else(PoisonError::into_inner) = coverage;
        if is_stored {
            fold.add_late(late)?;
            return Ok(());
        }
        Ok(committed?)
    }

    /// What was taken back of the chunk since its reading began: in batches that are stored, and in those that will be
    /// flushed.
    fn taken_back_meanwhile(&self, stretch: &Stretch) -> Result<(Additions, Additions), Error> {
        let stored_seq = self.shared.fold.stored_seq();
        let (mut stored, mut late) = (Vec::new(), Vec::new());
        for (seq, retraction) in self.noted().iter() {
            let counted = |meter: &str, original: i64, at| {
                meter == self.meter
                    && (stretch.first_seq..=stretch.last_seq).contains(&original)
                    && stretch.periods.iter().any(|period| period.contains(at))
            };
            let deltas = retraction.deltas(&self.versions, counted)?;
            if *seq <= stored_seq { stored.extend(deltas) } else { late.extend(deltas) }
        }
        Ok((stored, late))
    }

    fn noted(&self) -> std::sync::MutexGuard<'_, Vec<(i64, Retraction)>> {
        self.taken_back.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reading {
    fn read(&self, batch: &Batch) -> Result<Found, Error> {
        let meter = self.versions.alone(&self.meter).ok_or_else(|| Error::UnknownMeter(self.meter.clone()))?;
        let damaged = |faults: Vec<Fault>| DamagedBatch {
            seq: batch.seq,
            reason: faults.first().map(|fault| format!("an event in it: {}", fault.detail)).unwrap_or_default(),
        };
        let mut progress = Progress::default();
        let mut shapes = Shapes::default();
        let mut tally = Tally::new(*self.shared.fold.secret(), 0);
        // Of each event that adds something: the key under which a retraction of it is known, and where its additions end.
        let (mut marks, mut ends) = (Vec::new(), Vec::new());
        for (index, line) in (0..).zip(log::lines(batch)?.lines()) {
            let event = shapes.parse(line).map_err(damaged)?;
            let at = event.time.unwrap_or(batch.received_at);
            if event.kind == RETRACTED || !self.periods.iter().any(|period| period.contains(at)) {
                continue;
            }
            progress.events = progress.events.saturating_add(1);
            let before = tally.added();
            match meter.measure(&event, at, &mut tally) {
                Ok(()) if tally.added() > before => {
                    tally.place(before, Place { seq: batch.seq, index });
                    let (source, id) = (event.source.into_owned(), event.id.into_owned());
                    marks.push(Retracted { source, id }.mark(&self.shared.seen));
                    ends.push(tally.added());
                }
                Ok(()) => {}
                Err(faults) => {
                    progress.not_measurable = progress.not_measurable.saturating_add(1);
                    let said =
                        faults.first().map(|fault| format!("event {} of {}: {}", event.id, event.source, fault.detail));
                    progress.first_fault = progress.first_fault.or(said);
                }
            }
        }
        let (keys, added) = tally.into_parts();
        let mut totals = vec![Delta::default(); keys.len()];
        let mut start = 0;
        for (known, end) in self.shared.seen.find(&marks)?.into_iter().zip(ends) {
            let additions = added.get(std::mem::replace(&mut start, end)..end).unwrap_or_default();
            if known.is_some_and(|retraction| retraction.seq <= self.stored_seq) {
                progress.taken_back = progress.taken_back.saturating_add(1);
                continue;
            }
            progress.counted = progress.counted.saturating_add(1);
            for added in additions {
                if let Some(total) = totals.get_mut(added.key as usize) {
                    *total = total.merge(added.delta)?;
                }
            }
        }
        let deltas = tally::rows(keys, totals).map(|(digest, key, delta)| (digest, (key, delta))).collect();
        Ok(Found { deltas, progress })
    }
}

impl Found {
    /// Takes what a reader has found.
    fn join(&mut self, read: Option<Result<Result<Self, Error>, tokio::task::JoinError>>) -> Result<(), Error> {
        let Some(read) = read else { return Ok(()) };
        let read = read.map_err(|_| Error::Stopped)??;
        for (digest, (key, delta)) in read.deltas {
            let (_, known) = self.deltas.entry(digest).or_insert((key, Delta::default()));
            *known = known.merge(delta)?;
        }
        self.progress.add(read.progress);
        Ok(())
    }
}

impl Progress {
    fn add(&mut self, more: Self) {
        self.events = self.events.saturating_add(more.events);
        self.counted = self.counted.saturating_add(more.counted);
        self.taken_back = self.taken_back.saturating_add(more.taken_back);
        self.not_measurable = self.not_measurable.saturating_add(more.not_measurable);
        if self.first_fault.is_none() {
            self.first_fault = more.first_fault;
        }
    }
}
