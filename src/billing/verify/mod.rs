//! Recomputes everything from the log up, and names every difference.
//!
//! Usage from the log, documents from usage and price books ([`again`]), the journal from documents ([`entries`]), the
//! chain over the journal, and what was exported of it ([`exports`]). A closing is repeated with what it saw: the log as far as it was folded then, the
//! consumers as they were, the price books that it named, and what programs had granted before. So an event that
//! came later, or was replayed later, is no difference. Descriptions and the sentences of explanations are not compared: they are words, and
//! may be put better by a newer program; every number behind them is.

mod again;
mod entries;
mod exports;
mod history;
mod manual;
mod payouts;
mod settled;

use std::collections::BTreeMap;

use thiserror::Error;

use crate::domain::ids::SubscriptionId;
use crate::domain::ledger::audit;
use crate::domain::measure::delta::Delta;
use crate::domain::measure::delta::Key;
use crate::domain::measure::nano::Nano;
use crate::domain::time::Instant;
use crate::metering;
use crate::metering::archive;
use crate::metering::archive::Unreadable;
use crate::metering::log::DamagedBatch;
use crate::metering::recover::recompute;
use crate::metering::versions::Versions;
use crate::store;
use crate::store::Db;

/// What was looked at, and what was found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Batches of the log.
    pub batches: i64,
    pub usage_rows: usize,
    pub closings: usize,
    pub documents: usize,
    pub entries: usize,
    /// Sealed batches of exports.
    pub exports: usize,
    pub differences: Vec<Difference>,
}

/// How far it has come.
#[derive(Clone, Copy, Debug)]
pub enum Progress {
    /// Reading the log.
    Log { batches: i64, batches_total: i64 },
    /// Repeating closings.
    Closings { closings: usize, closings_total: usize },
}

/// Something that is not as it should be.
#[derive(Debug, Error)]
pub enum Difference {
    #[error("{0}")]
    Log(DamagedBatch),
    #[error("{0}")]
    Archive(Unreadable),
    #[error("usage of {meter} by {party} at {bucket} {dimensions}: stored {stored}, recomputed {recomputed}")]
    Usage { meter: String, party: String, bucket: Instant, dimensions: String, stored: Measured, recomputed: Measured },
    #[error("closing {closing} cannot be repeated: {why}")]
    NotRepeatable { closing: i64, why: String },
    #[error("closing {closing}, subscription {subscription}: {what} is {stored}, recomputed {recomputed}")]
    Period { closing: i64, subscription: SubscriptionId, what: &'static str, stored: String, recomputed: String },
    #[error("{document} is recorded, but there is nothing that it is for")]
    DocumentNotDue { document: String },
    #[error("{document} of subscription {subscription} is missing from closing {closing}")]
    DocumentMissing { document: &'static str, subscription: SubscriptionId, closing: i64 },
    #[error("{document}: {what} is {stored}, recomputed {recomputed}")]
    Document { document: String, what: String, stored: String, recomputed: String },
    #[error("closing {closing}, share {of}: stored {stored}, recomputed {recomputed}")]
    Share { closing: i64, of: String, stored: String, recomputed: String },
    #[error("the entry {key} of {document} is missing from the journal")]
    EntryMissing { document: String, key: String },
    #[error("entry {seq} of the journal, {key}, is not what {document} comes to")]
    EntryDiffers { seq: i64, key: String, document: String },
    #[error("entry {seq} of the journal, {key}, belongs to no document")]
    EntryOfNothing { seq: i64, key: String },
    #[error("{document} cannot be booked again: {why}")]
    NotBookable { document: String, why: String },
    #[error("invoice {invoice}: what is kept as outstanding is {kept} in the minor unit, recomputed {recomputed}")]
    Outstanding { invoice: String, kept: i64, recomputed: i64 },
    #[error("export batch {batch}: {what} is {stored}, recomputed {recomputed}")]
    Export { batch: String, what: &'static str, stored: String, recomputed: String },
    #[error("an export batch of {kind} is missing: there are {count}, and the last one is number {highest}")]
    ExportMissing { kind: String, count: i64, highest: i64 },
    #[error("an export batch cannot be read: {0}")]
    ExportUnreadable(String),
    #[error(transparent)]
    Journal(audit::Difference),
}

/// What stands in a bucket, or that nothing does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured(Option<(Nano, i64)>);

#[derive(Debug, Error)]
pub enum VerifyError {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Metering(#[from] metering::Error),
}

/// Goes through everything that is stored.
pub async fn verify(db: &Db, versions: &Versions, mut progress: impl FnMut(Progress)) -> Result<Verified, VerifyError> {
    let mut verified = Verified::default();
    let mut tx = db.read().await?;
    let applied = tx.applied_seq().await?;
    let replayed = tx.last_replayed().await?;
    let stored = tx.usage_all().await?;
    (verified.batches, verified.usage_rows) = (applied, stored.len());
    let unreadable = archive::check(db).await?;
    verified.differences.extend(unreadable.into_iter().map(Difference::Archive));
    if let Some(recomputed) =
        from_log(db, versions, (applied, replayed), &mut verified.differences, &mut progress).await?
    {
        verified.differences.extend(usage(&stored, &recomputed));
        again::repeat(db, &mut tx, versions, ((applied, replayed), recomputed), &mut verified, &mut progress).await?;
    }
    entries::compare(&mut tx, versions, &mut verified).await?;
    verified.differences.extend(tx.verify_journal().await?.into_iter().map(Difference::Journal));
    let wrong = tx.wrong_outstanding().await?.into_iter();
    verified.differences.extend(wrong.map(|(invoice, kept, recomputed)| Difference::Outstanding {
        invoice,
        kept,
        recomputed,
    }));
    exports::compare(&mut tx, &mut verified).await?;
    Ok(verified)
}

/// Usage from the log up to a batch, with what was replayed up to an id; none, and a difference, if the log is damaged.
async fn from_log(
    db: &Db,
    versions: &Versions,
    until: (i64, i64),
    differences: &mut Vec<Difference>,
    progress: &mut impl FnMut(Progress),
) -> Result<Option<BTreeMap<Key, Delta>>, VerifyError> {
    let show = |read: metering::recover::Progress| {
        progress(Progress::Log { batches: read.batches, batches_total: read.batches_total });
    };
    match recompute(db, versions, until, show).await {
        Ok(usage) => Ok(Some(usage)),
        Err(metering::Error::Damaged(damaged)) => {
            differences.push(Difference::Log(damaged));
            Ok(None)
        }
        Err(metering::Error::Archive(unreadable)) => {
            differences.push(Difference::Archive(unreadable));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn usage<'a>(
    stored: &'a BTreeMap<Key, Delta>,
    recomputed: &'a BTreeMap<Key, Delta>,
) -> impl Iterator<Item = Difference> + 'a {
    let missing = recomputed.keys().filter(|key| !stored.contains_key(key));
    stored.keys().chain(missing).filter_map(|key| {
        let measured = |usage: &BTreeMap<Key, Delta>| Measured(usage.get(key).map(|delta| (delta.value, delta.count)));
        let (stored, recomputed) = (measured(stored), measured(recomputed));
        (stored != recomputed).then(|| Difference::Usage {
            meter: key.meter.to_string(),
            party: key.party.to_string(),
            bucket: key.bucket,
            dimensions: key.dimensions.to_string(),
            stored,
            recomputed,
        })
    })
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some((value, count)) => write!(f, "{value} from {count} events"),
            None => f.write_str("nothing"),
        }
    }
}
