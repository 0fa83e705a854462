//! From a measured quantity back to the events that made it: read from the log, where usage no longer knows them.
//!
//! Promise: the rows are exactly those that a closing saw, and those that there are now, each as one pass over the log
//! gives it; the events are those that add to one of them, in the order of the log, with what each adds. Both come by
//! page, and a page needs memory for itself and for one batch, whatever the history.
//!
//! How: a batch knows from when to when its events happened, so only those are read that can hold some of the wanted
//! time. What a closing saw follows from how far the log was folded then, which replays there had been, and for a
//! retraction from its own place in the log, which the seen index knows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::PoisonError;

use crate::domain::book::meter::Meter;
use crate::domain::event::Event;
use crate::domain::event::Fault;
use crate::domain::measure::delta::Delta;
use crate::domain::measure::delta::Key;
use crate::domain::measure::digest::Secret;
use crate::domain::measure::item::Place;
use crate::domain::measure::tally::Tally;
use crate::domain::period::Period;
use crate::domain::shape::Shapes;
use crate::domain::time::Instant;
use crate::metering::Error;
use crate::metering::Metering;
use crate::metering::Shared;
use crate::metering::archive;
use crate::metering::aside::aside;
use crate::metering::coverage::Coverage;
use crate::metering::log;
use crate::metering::log::DamagedBatch;
use crate::metering::retract::RETRACTED;
use crate::metering::retract::Retracted;
use crate::metering::versions::Versions;
use crate::store::batches::Batch;
use crate::store::batches::Head;

/// Events that are read for one page, about a second's work. Few in tests, so that there are many pages.
const READ_EVENTS_MAX: i64 = if cfg!(test) { 60 } else { 1_000_000 };
/// Batches of which something is known at a time.
const HEADS_AT_ONCE: i64 = 50_000;

/// Which usage is traced.
#[derive(Clone, Debug)]
pub struct Question {
    pub meter: Meter,
    pub party: String,
    /// Dimensions that tell the wanted rows from others, and the values that these have. A dimension without a value is
    /// one that they do not have.
    pub group_by: Vec<String>,
    pub dimensions: BTreeMap<String, String>,
    /// In which the rows' buckets begin.
    pub span: Period,
    /// What was folded when the rows were rated.
    pub saw: Saw,
}

/// How far usage stood.
#[derive(Clone, Copy, Debug)]
pub struct Saw {
    /// The last batch in it.
    pub seq: i64,
    /// The last replay of history in it.
    pub replayed: i64,
}

/// Where a row stands among the others of a question.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowKey {
    pub bucket: Instant,
    /// JSON, or empty before all of the bucket.
    pub dimensions: Arc<str>,
    pub item: Arc<str>,
}

/// A row of usage as it was seen, and as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedRow {
    pub key: RowKey,
    pub saw: Delta,
    pub now: Delta,
}

/// An event, and what it adds to the rows of a question.
#[derive(Clone, Debug)]
pub struct TracedEvent {
    pub place: Place,
    pub source: String,
    pub id: String,
    pub kind: String,
    pub at: Instant,
    pub received_at: Instant,
    pub added: Vec<(Key, Delta)>,
    /// Whether it is in what was seen, and in what there is now; never in neither.
    pub saw: bool,
    pub now: bool,
}

/// What is needed to read batches on a thread of their own.
struct Reading {
    question: Question,
    versions: Arc<Versions>,
    shared: Arc<Shared>,
    /// What was counted then, and is now.
    then: Coverage,
    now: Coverage,
}

impl Metering {
    /// The rows of a question that come after one of them, in the order of their buckets, and the last of these if there may
    /// be more. A page may have fewer than it could: then much had to be read for it.
    pub async fn rows_behind(
        &self,
        question: &Question,
        after: Option<RowKey>,
        limit: usize,
    ) -> Result<(Vec<TracedRow>, Option<RowKey>), Error> {
        let from = after.as_ref().map_or(question.span.from(), |after| after.bucket);
        let Ok(left) = Period::new(from, question.span.to()) else { return Ok((Vec::new(), None)) };
        let period = self.readable(&question.meter, left).await?;
        let reading = self.reading(question).await?;
        let mut rows: BTreeMap<RowKey, (Delta, Delta)> = BTreeMap::new();
        let last_seq = self.db.read_log().await?.last_seq().await?;
        let mut heads = Heads::new(1, last_seq, period, &question.meter);
        while let Some(head) = heads.next(self).await? {
            let found = self.found_in(&reading, head.seq).await?;
            let added = found.iter().flat_map(|event| event.added.iter().map(move |added| (event, added)));
            for (event, (key, delta)) in added.filter(|(_, (key, _))| period.contains(key.bucket)) {
                let Key { bucket, dimensions, item, .. } = key.clone();
                let row = RowKey { bucket, dimensions, item };
                if after.as_ref().is_some_and(|after| row <= *after) {
                    continue;
                }
                let (saw, now) = rows.entry(row).or_default();
                *saw = if event.saw { saw.merge(*delta)? } else { *saw };
                *now = if event.now { now.merge(*delta)? } else { *now };
                // The last of too many is on a later page, whatever else is added to it.
                if rows.len() > limit.saturating_add(1) {
                    rows.pop_last();
                }
            }
        }
        let row = |(key, (saw, now))| TracedRow { key, saw, now };
        let mut rows: Vec<TracedRow> = rows.into_iter().map(row).collect();
        let next = if rows.len() > limit {
            rows.truncate(limit);
            rows.last().map(|row| row.key.clone())
        } else {
            let (bucket, nothing) = (period.to(), Arc::<str>::from(""));
            (bucket < question.span.to()).then(|| RowKey { bucket, dimensions: nothing.clone(), item: nothing })
        };
        Ok((rows, next))
    }

    /// The events of a question from a place of the log on, and the place of the next if there may be more. A page may have
    /// fewer than it could: then much had to be read for it.
    pub async fn events_behind(
        &self,
        question: &Question,
        from: Place,
        limit: usize,
    ) -> Result<(Vec<TracedEvent>, Option<Place>), Error> {
        let reading = self.reading(question).await?;
        let last_seq = self.db.read_log().await?.last_seq().await?;
        let mut heads = Heads::new(from.seq.max(1), last_seq, question.span, &question.meter);
        let mut events = Vec::new();
        let mut read: i64 = 0;
        while let Some(head) = heads.next(self).await? {
            if read >= READ_EVENTS_MAX {
                return Ok((events, Some(Place { seq: head.seq, index: 0 })));
            }
            read = read.saturating_add(head.event_count);
            for event in self.found_in(&reading, head.seq).await? {
                if event.place < from {
                    continue;
                }
                if events.len() >= limit {
                    return Ok((events, Some(event.place)));
                }
                events.push(event);
            }
        }
        Ok((events, None))
    }

    /// As much from the beginning of a period as can be read for one page; at least one bucket.
    async fn readable(&self, meter: &Meter, mut period: Period) -> Result<Period, Error> {
        let last_seq = self.db.read_log().await?.last_seq().await?;
        loop {
            let mut heads = Heads::new(1, last_seq, period, meter);
            let mut events: i64 = 0;
            while let Some(head) = heads.next(self).await? {
                events = events.saturating_add(head.event_count);
                if events > READ_EVENTS_MAX {
                    break;
                }
            }
            let (from, to) = (period.from().micros(), period.to().micros());
            let middle = meter.bucket.floor(Instant::from_micros(from.midpoint(to)));
            match Period::new(period.from(), middle) {
                Ok(half) if events > READ_EVENTS_MAX => period = half,
                _ => return Ok(period),
            }
        }
    }

    async fn reading(&self, question: &Question) -> Result<Arc<Reading>, Error> {
        let then = Coverage::read(&mut self.db.read().await?, question.saw.replayed).await?;
        let shared = self.shared.clone();
        let now = shared.coverage.read().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Arc::new(Reading { question: question.clone(), versions: self.versions(), shared, then, now }))
    }

    async fn found_in(&self, reading: &Arc<Reading>, seq: i64) -> Result<Vec<TracedEvent>, Error> {
        // A transaction of its own: a long one would keep SQLite from ever copying its write-ahead log.
        let batch = archive::batch(&self.db, &mut self.db.read_log().await?, seq).await?;
        let reading = reading.clone();
        aside(move || reading.read(&batch)).await?
    }
}

/// The batches that may hold events of a period, in the order of the log; known a part of the log at a time.
struct Heads {
    known: std::vec::IntoIter<Head>,
    next_seq: i64,
    last_seq: i64,
    period: Period,
}

impl Heads {
    /// From batch to batch, for buckets that begin in the period.
    fn new(first_seq: i64, last_seq: i64, period: Period, meter: &Meter) -> Self {
        let last = Instant::from_micros(period.to().micros().saturating_sub(1));
        let end = meter.bucket.end(meter.bucket.floor(last)).max(period.to());
        let period = Period::new(period.from(), end).unwrap_or(period);
        Self { known: Vec::new().into_iter(), next_seq: first_seq, last_seq, period }
    }

    async fn next(&mut self, metering: &Metering) -> Result<Option<Head>, Error> {
        loop {
            if let Some(head) = self.known.next() {
                return Ok(Some(head));
            }
            if self.next_seq > self.last_seq {
                return Ok(None);
            }
            let until = self.next_seq.saturating_add(HEADS_AT_ONCE - 1).min(self.last_seq);
            let mut tx = metering.db.read_log().await?;
            self.known = tx.batches_between(self.next_seq, until, self.period).await?.into_iter();
            self.next_seq = until.saturating_add(1);
        }
    }
}

impl Reading {
    /// The events of a batch that add to the question's rows, then or now.
    fn read(&self, batch: &Batch) -> Result<Vec<TracedEvent>, Error> {
        let Question { meter, party, span, saw, .. } = &self.question;
        let alone = self.versions.alone(&meter.id).ok_or_else(|| Error::UnknownMeter(meter.id.clone()))?;
        let damaged = |faults: Vec<Fault>| DamagedBatch {
            seq: batch.seq,
            reason: faults.first().map(|fault| format!("an event in it: {}", fault.detail)).unwrap_or_default(),
        };
        let mut shapes = Shapes::default();
        let mut tally = Tally::new(Secret::default(), 0);
        let lines = log::lines(batch)?;
        // Of each event that adds something: where it stands, and where its additions end.
        let mut adding: Vec<(u32, &str, usize)> = Vec::new();
        for (index, line) in (0..).zip(lines.lines()) {
            let event = shapes.parse(line).map_err(damaged)?;
            let at = event.time.unwrap_or(batch.received_at);
            if event.kind == RETRACTED || !span.contains(meter.bucket.floor(at)) {
                continue;
            }
            let before = tally.added();
            // One that a younger meter cannot measure adds nothing to it.
            if alone.measure(&event, at, &mut tally).is_ok() && tally.added() > before {
                tally.place(before, Place { seq: batch.seq, index });
                adding.push((index, line, tally.added()));
            }
        }
        let (keys, added) = tally.into_parts();
        let (mut events, mut marks) = (Vec::new(), Vec::new());
        let mut start = 0;
        for (index, line, end) in adding {
            let additions = added.get(std::mem::replace(&mut start, end)..end).unwrap_or_default();
            let additions = additions.iter().filter_map(|added| Some((&keys.get(added.key as usize)?.1, added.delta)));
            let additions: Vec<(Key, Delta)> = additions
                .filter(|(key, _)| *key.party == **party && self.is_wanted(key))
                .map(|(key, delta)| (key.clone(), delta))
                .collect();
            if additions.is_empty() {
                continue;
            }
            let event = Event::parse(line).map_err(damaged)?;
            let at = event.time.unwrap_or(batch.received_at);
            let retracted = Retracted { source: event.source.into_owned(), id: event.id.into_owned() };
            marks.push(retracted.mark(&self.shared.seen));
            events.push(TracedEvent {
                place: Place { seq: batch.seq, index },
                source: retracted.source,
                id: retracted.id,
                kind: event.kind.into_owned(),
                at,
                received_at: batch.received_at,
                added: additions,
                saw: batch.seq <= saw.seq && self.then.counted(&meter.id, batch.seq, at),
                now: self.now.counted(&meter.id, batch.seq, at),
            });
        }
        for (event, retraction) in events.iter_mut().zip(self.shared.seen.find(&marks)?) {
            if let Some(retraction) = retraction {
                event.saw &= retraction.seq > saw.seq;
                event.now = false;
            }
        }
        events.retain(|event| event.saw || event.now);
        Ok(events)
    }

    /// Whether a row has the values that are asked for.
    fn is_wanted(&self, key: &Key) -> bool {
        let Question { group_by, dimensions, .. } = &self.question;
        if group_by.is_empty() {
            return true;
        }
        let has: BTreeMap<String, String> = serde_json::from_str(&key.dimensions).unwrap_or_default();
        group_by.iter().all(|name| has.get(name) == dimensions.get(name))
    }
}
