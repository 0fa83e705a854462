//! Reads the log: to rebuild what memory held, and to compute usage anew for `verify`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::PoisonError;

use tokio::sync::mpsc;

use crate::domain::book::meter::Meter;
use crate::domain::event::Fault;
use crate::domain::measure::delta::Delta;
use crate::domain::measure::delta::Key;
use crate::domain::measure::digest::KeyDigest;
use crate::domain::measure::digest::Secret;
use crate::domain::measure::item::Place;
use crate::domain::measure::meters::Meters;
use crate::domain::measure::tally;
use crate::domain::measure::tally::Tally;
use crate::domain::period::Period;
use crate::domain::shape::Shapes;
use crate::metering::Error;
use crate::metering::Shared;
use crate::metering::archive;
use crate::metering::coverage::Coverage;
use crate::metering::distinct::Distinct;
use crate::metering::fold;
use crate::metering::fold::Deltas;
use crate::metering::fold::Fold;
use crate::metering::log;
use crate::metering::log::DamagedBatch;
use crate::metering::retract::RETRACTED;
use crate::metering::retract::Retraction;
use crate::metering::seen::Seen;
use crate::metering::seen::SeenKey;
use crate::metering::seen::content_hash;
use crate::metering::versions::Versions;
use crate::store::Db;
use crate::store::batches::Batch;

/// Batches that are read ahead of the one that is being folded.
const READ_AHEAD: usize = 4;

/// How far a reading of the log has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    pub batches: i64,
    pub batches_total: i64,
}

/// Reads what a crash took from memory: usage that was not flushed, and entries of the seen index that were not sealed.
/// So the time it takes depends on these, and not on how long the log is.
pub(in crate::metering) async fn recover(
    db: &Db,
    versions: &Versions,
    coverage: &Coverage,
    seen: &Seen,
    (last_seq, unseen): (i64, &[RangeInclusive<i64>]),
    mut progress: impl FnMut(Progress),
) -> Result<Fold, Error> {
    let applied = db.settled_applied_seq().await?;
    let fold = Fold::new(applied);
    let mut meters = MetersByAge::new(coverage, versions);
    let mut ranges = merged(unseen, applied.saturating_add(1)..=last_seq);
    ranges.retain(|range| !range.is_empty());
    let total: i64 = ranges.iter().map(|range| range.end() - range.start() + 1).sum();
    let mut done = 0;
    for range in ranges {
        let mut batches = read_ahead(db, range.clone());
        while let Some(batch) = batches.recv().await {
            let batch = batch?;
            let is_unseen = unseen.iter().any(|range| range.contains(&batch.seq));
            let mut reading = Reading::new(*fold.secret());
            let unflushed = batch.seq > applied;
            // What was replayed of it, if anything, is stored already.
            reading.read(&batch, is_unseen.then_some(seen), unflushed.then(|| meters.at(batch.seq)), &[])?;
            if is_unseen {
                seen.insert(batch.seq, reading.entries.iter().copied());
            }
            if unflushed {
                let deltas = reading.deltas(versions, coverage)?;
                fold.add(batch.seq, batch.event_count.unsigned_abs(), deltas)?;
            }
            if unseen.iter().any(|range| *range.end() == batch.seq) && batch.seq < last_seq {
                // A gap in the middle of history: what comes next does not adjoin it.
                seen.seal();
            }
            done += 1;
            progress(Progress { batches: done, batches_total: total });
        }
    }
    Ok(fold)
}

/// Takes in a batch that the log holds and memory does not know, since nobody answered that it was committed. Gives what it
/// takes back.
pub(in crate::metering) fn take_in(batch: &Batch, shared: &Shared) -> Result<Vec<Retraction>, Error> {
    let (versions, coverage) = (shared.versions(), shared.coverage.read().unwrap_or_else(PoisonError::into_inner));
    let mut reading = Reading::new(*shared.fold.secret());
    reading.read(batch, Some(&shared.seen), Some(MetersByAge::new(&coverage, &versions).at(batch.seq)), &[])?;
    shared.seen.insert(batch.seq, reading.entries.iter().copied());
    let retractions = reading.retractions.clone();
    shared.fold.add(batch.seq, batch.event_count.unsigned_abs(), reading.deltas(&versions, &coverage)?)?;
    Ok(retractions)
}

/// Usage as one pass over the events of the log gives it, up to and including batch `until_seq`, with the history that
/// was replayed up to and including `replayed`; a batch that holds an event again is damaged.
pub async fn recompute(
    db: &Db,
    versions: &Versions,
    (until_seq, replayed): (i64, i64),
    mut progress: impl FnMut(Progress),
) -> Result<BTreeMap<Key, Delta>, Error> {
    let coverage = Coverage::read(&mut db.read().await?, replayed).await?;
    let mut meters = MetersByAge::new(&coverage, versions);
    let mut usage = Deltas::default();
    let distinct = Distinct::new()?;
    let mut batches = read_ahead(db, 1..=until_seq);
    while let Some(batch) = batches.recv().await {
        let batch = batch?;
        let mut reading = Reading::new(Secret::default());
        let replayed = coverage.replayed_of(batch.seq);
        let replayed: Vec<_> = replayed.filter_map(|(meter, period)| Some((versions.alone(meter)?, period))).collect();
        reading.read(&batch, Some(distinct.seen()), Some(meters.at(batch.seq)), &replayed)?;
        distinct.take(batch.seq, &reading.entries)?;
        for (_, key, delta) in reading.deltas(versions, &coverage)? {
            fold::add(&mut usage, key, delta)?;
        }
        progress(Progress { batches: batch.seq, batches_total: until_seq });
    }
    usage.retain(|_, delta| !delta.is_nothing());
    Ok(usage.into_iter().collect())
}

/// The ranges that must be read: those of `some`, and `tail`, without reading a batch twice.
fn merged(some: &[RangeInclusive<i64>], tail: RangeInclusive<i64>) -> Vec<RangeInclusive<i64>> {
    let mut ranges: Vec<RangeInclusive<i64>> = some.iter().cloned().chain([tail]).collect();
    ranges.sort_by_key(|range| *range.start());
    let mut merged: Vec<RangeInclusive<i64>> = Vec::with_capacity(ranges.len());
    for range in ranges.into_iter().filter(|range| !range.is_empty()) {
        match merged.last_mut().filter(|last| *range.start() <= *last.end()) {
            Some(last) => *last = *last.start()..=*last.end().max(range.end()),
            None => merged.push(range),
        }
    }
    merged
}

/// The batches of a range in order, each checked to be there; read while those before them are folded.
pub(in crate::metering) fn read_ahead(db: &Db, range: RangeInclusive<i64>) -> mpsc::Receiver<Result<Batch, Error>> {
    let (sender, batches) = mpsc::channel(READ_AHEAD);
    let db = db.clone();
    tokio::spawn(async move {
        let read = async {
            let mut tx = db.read_log().await?;
            for seq in range {
                let batch = archive::batch(&db, &mut tx, seq).await?;
                if sender.send(Ok(batch)).await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        if let Err(error) = read.await {
            // Whoever is gone does not want to know.
            let _ = sender.send(Err(error)).await;
        }
    });
    batches
}

/// The meters there were at each point of the log: one counts from the batch after the one it was published behind.
struct MetersByAge {
    /// Youngest last.
    by_age: Vec<(i64, Meter)>,
    known: usize,
    meters: Meters,
}

impl MetersByAge {
    fn new(coverage: &Coverage, versions: &Versions) -> Self {
        let meter = |(id, after_seq): (&Arc<str>, i64)| Some((after_seq, versions.meter(id)?.clone()));
        let mut by_age: Vec<(i64, Meter)> = coverage.meters().filter_map(meter).collect();
        by_age.sort_by_key(|(after_seq, _)| *after_seq);
        Self { by_age, known: 0, meters: Meters::default() }
    }

    fn at(&mut self, seq: i64) -> &Meters {
        let known = self.by_age.partition_point(|(after_seq, _)| *after_seq < seq);
        if known != self.known {
            self.known = known;
            self.meters = self.by_age[..known].iter().map(|(_, meter)| meter.clone()).collect();
        }
        &self.meters
    }
}

/// What a batch holds.
struct Reading {
    secret: Secret,
    /// For the seen index.
    entries: Vec<(SeenKey, u32)>,
    tally: Tally,
    retractions: Vec<Retraction>,
}

impl Reading {
    fn new(secret: Secret) -> Self {
        Self { secret, entries: Vec::new(), tally: Tally::new(secret, 0), retractions: Vec::new() }
    }

    /// Reads every event of a batch: its key for the seen index, and what it adds to usage, each where it is wanted;
    /// to usage also of meters that were `replayed` over event times.
    fn read(
        &mut self,
        batch: &Batch,
        seen: Option<&Seen>,
        meters: Option<&Meters>,
        replayed: &[(&Meters, Period)],
    ) -> Result<(), Error> {
        let damaged = |faults: Vec<Fault>| {
            let reason = faults.first().map(|fault| format!("an event in it: {}", fault.detail));
            DamagedBatch { seq: batch.seq, reason: reason.unwrap_or_default() }
        };
        let mut shapes = Shapes::default();
        for (index, line) in (0..).zip(log::lines(batch)?.lines()) {
            let event = shapes.parse(line).map_err(damaged)?;
            if let Some(seen) = seen {
                self.entries.push((seen.key(&event.source, &event.id), content_hash(line)));
            }
            if event.kind == RETRACTED {
                let (retracted, retraction) = Retraction::kept(&event, batch.seq)?;
                self.entries.extend(seen.map(|seen| (retracted.mark(seen), 0)));
                self.retractions.push(retraction);
            } else if let Some(meters) = meters {
                let at = event.time.unwrap_or(batch.received_at);
                let added_before = self.tally.added();
                meters.measure(&event, at, &mut self.tally).map_err(damaged)?;
                for (meter, _) in replayed.iter().filter(|(_, period)| period.contains(at)) {
                    // What a meter cannot measure was left out then, and is now.
                    let _ = meter.measure(&event, at, &mut self.tally);
                }
                self.tally.place(added_before, Place { seq: batch.seq, index });
            }
        }
        Ok(())
    }

    fn deltas(self, versions: &Versions, coverage: &Coverage) -> Result<Vec<(KeyDigest, Key, Delta)>, Error> {
        let totals = self.tally.totals()?;
        let (keys, _) = self.tally.into_parts();
        let mut deltas: Vec<(KeyDigest, Key, Delta)> = tally::rows(keys, totals).collect();
        for retraction in &self.retractions {
            let counted = |meter: &str, seq, at| coverage.counted(meter, seq, at);
            let taken_back = retraction.deltas(versions, counted)?;
            deltas.extend(taken_back.into_iter().map(|(key, delta)| (KeyDigest::of(&self.secret, &key), key, delta)));
        }
        Ok(deltas)
    }
}
