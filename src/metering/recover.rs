//! Reads the log: to rebuild what memory held, and to compute usage anew for `verify`.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::sync::Arc;

use crate::domain::book::meter::Meter;
use crate::domain::event::Event;
use crate::domain::measure::delta::Delta;
use crate::domain::measure::delta::Key;
use crate::domain::measure::meters::Contribution;
use crate::domain::measure::meters::Meters;
use crate::metering::Error;
use crate::metering::fold;
use crate::metering::fold::Deltas;
use crate::metering::fold::Fold;
use crate::metering::log;
use crate::metering::log::DamagedBatch;
use crate::metering::seen::Seen;
use crate::metering::seen::content_hash;
use crate::metering::versions::Versions;
use crate::store::Db;
use crate::store::Log;
use crate::store::Tx;
use crate::store::batches::Batch;

/// The memory of the seen index.
const SEEN_BYTES: usize = 256 << 20;

/// How far a reading of the log has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    pub batches: i64,
    pub batches_total: i64,
}

pub(in crate::metering) struct Recovered {
    pub seen: Seen,
    pub fold: Fold,
    pub last_seq: i64,
}

/// Rebuilds the seen index from the whole log, and the fold from where usage was flushed.
pub(in crate::metering) async fn recover(
    db: &Db,
    versions: &Versions,
    mut progress: impl FnMut(Progress),
) -> Result<Recovered, Error> {
    let applied = db.read().await?.applied_seq().await?;
    let folder = std::env::temp_dir().join(format!("tallystick-seen-{}", u64::from_le_bytes(crate::random::bytes())));
    let fold = Fold::new(applied);
    let mut tx = db.read_log().await?;
    let last_seq = tx.last_seq().await?;
    let (seen, _) = Seen::open(&folder, SEEN_BYTES, last_seq)?;
    for_each_batch(&mut tx, last_seq, |batch| {
        let unflushed = (batch.seq > applied).then_some(versions.meters());
        let mut entries = Vec::new();
        let contributions = new_events(unflushed, batch, |event, line| {
            let key = seen.key(&event.source, &event.id);
            entries.push((key, content_hash(line)));
            Ok(seen.get(key)?.is_none())
        })?;
        seen.insert(batch.seq, entries.into_iter());
        if batch.seq > applied {
            fold.add(batch.seq, contributions)?;
        }
        progress(Progress { batches: batch.seq, batches_total: last_seq });
        Ok(())
    })
    .await?;
    Ok(Recovered { seen, fold, last_seq })
}

/// Usage as one pass over the distinct events of the log gives it, up to and including batch `until_seq`.
pub async fn recompute(
    db: &Db,
    versions: &Versions,
    until_seq: i64,
    mut progress: impl FnMut(Progress),
) -> Result<BTreeMap<Key, Delta>, Error> {
    let mut meters = MetersByAge::new(db.read().await?.meters().await?, versions);
    let mut seen = HashSet::new();
    let mut usage = Deltas::new();
    let mut tx = db.read_log().await?;
    for_each_batch(&mut tx, until_seq, |batch| {
        for contribution in new_events(Some(meters.at(batch.seq)), batch, |event, _| {
            Ok(seen.insert((event.source.to_string(), event.id.to_string())))
        })? {
            fold::add(&mut usage, contribution.key, contribution.aggregation, contribution.delta)?;
        }
        progress(Progress { batches: batch.seq, batches_total: until_seq });
        Ok(())
    })
    .await?;
    Ok(usage.into_iter().map(|(key, (_, delta))| (key, delta)).collect())
}

async fn for_each_batch<Mode>(
    tx: &mut Tx<Mode, Log>,
    until_seq: i64,
    mut visit: impl FnMut(&Batch) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut seq = 0;
    while let Some(batch) = tx.batch_after(seq).await? {
        if batch.seq > until_seq {
            break;
        }
        if batch.seq != seq + 1 {
            let reason = format!("batch {} is missing before it", seq + 1);
            return Err(DamagedBatch { seq: batch.seq, reason }.into());
        }
        seq = batch.seq;
        visit(&batch)?;
    }
    Ok(())
}

/// The meters there were at each point of the log: one counts from the batch after the one it was published behind.
struct MetersByAge {
    /// Youngest last.
    by_age: Vec<(i64, Meter)>,
    known: usize,
    meters: Meters,
}

impl MetersByAge {
    fn new(after: BTreeMap<Arc<str>, i64>, versions: &Versions) -> Self {
        let meter = |(id, after_seq): (Arc<str>, i64)| Some((after_seq, versions.meter(&id)?.clone()));
        let mut by_age: Vec<(i64, Meter)> = after.into_iter().filter_map(meter).collect();
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

/// Enters a batch's events into the index; what the new ones among them add to usage by `meters`, if there are any.
fn new_events(
    meters: Option<&Meters>,
    batch: &Batch,
    mut is_new: impl FnMut(&Event, &str) -> Result<bool, Error>,
) -> Result<Vec<Contribution>, Error> {
    let damaged = |reason: &str| DamagedBatch { seq: batch.seq, reason: format!("an event in it: {reason}") };
    let mut contributions = Vec::new();
    for line in log::lines(batch)?.lines() {
        let event = Event::parse(line).map_err(|faults| damaged(&faults[0].detail))?;
        let new = is_new(&event, line)?;
        if let Some(meters) = meters.filter(|_| new) {
            let at = event.time.unwrap_or(batch.received_at);
            contributions.extend(meters.measure(&event, at).map_err(|faults| damaged(&faults[0].detail))?);
        }
    }
    Ok(contributions)
}
