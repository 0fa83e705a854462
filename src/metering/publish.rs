//! Publishing a price book: what must hold before it becomes a version.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::domain::book::Book;
use crate::domain::book::Mistake;
use crate::domain::book::SourceFile;
use crate::domain::book::diff;
use crate::domain::book::version::BookVersion;
use crate::domain::time::Bucket;
use crate::domain::time::Instant;
use crate::metering;
use crate::metering::Metering;
use crate::metering::versions::Versions;
use crate::store::Db;

/// Subscriptions that are named of those that a book would break.
const NAMED_MAX: i64 = 3;

/// What became of a book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub id: String,
    /// False if this very book was published before.
    pub new: bool,
    pub effective_from: Instant,
    /// What it changes against the version before it, in words.
    pub changes: Vec<String>,
}

/// Why a book cannot be published.
#[derive(Debug, Error)]
pub enum Refused {
    #[error("the price book has {} mistakes", .0.len())]
    Mistakes(Vec<Mistake>),
    #[error("the price book changes what must stay: {}", .0.join("; "))]
    Conflicts(Vec<String>),
    /// Each names subscriptions.
    #[error("running subscriptions would break: {}", .0.join("; "))]
    Breaks(Vec<String>),
    #[error("{0} is not on an hour, where usage buckets begin")]
    NotOnTheHour(Instant),
    #[error("the version before it takes effect at {0}: choose a later time")]
    NotAfter(Instant),
}

#[derive(Debug, Error)]
pub enum Error {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Metering(#[from] metering::Error),
}

/// Publishes a book. The first one applies from the beginning of time, so that history can be priced; later ones from
/// `effective_from`, or from the next hour.
pub async fn publish(
    metering: &Metering,
    files: Vec<SourceFile>,
    effective_from: Option<Instant>,
    by: &str,
    note: &str,
    now: Instant,
) -> Result<Published, Error> {
    let versions = metering.versions();
    let last = versions.iter().last();
    let effective_from = effective_from.unwrap_or(match last {
        None => Instant::BEGINNING,
        Some(_) => next_hour(now),
    });
    let version = BookVersion::new(files, effective_from).map_err(Refused::Mistakes)?;
    if let Some(same) = versions.by_id(&version.id) {
        let effective_from = same.effective_from;
        return Ok(Published { id: version.id, new: false, effective_from, changes: Vec::new() });
    }
    if Bucket::Hour.floor(effective_from) != effective_from {
        return Err(Refused::NotOnTheHour(effective_from).into());
    }
    let mut changes = Vec::new();
    if let Some(last) = last {
        if effective_from <= last.effective_from {
            return Err(Refused::NotAfter(last.effective_from).into());
        }
        changes = diff::changes(&last.book, &version.book).iter().map(ToString::to_string).collect();
    }
    let conflicts: Vec<String> = versions
        .iter()
        .flat_map(|earlier| diff::conflicts(&earlier.book, &version.book))
        .map(|conflict| conflict.to_string())
        .collect();
    if !conflicts.is_empty() {
        return Err(Refused::Conflicts(conflicts).into());
    }
    let breaks = breaks(&metering.db, &versions, &version.book, effective_from).await?;
    if !breaks.is_empty() {
        return Err(Refused::Breaks(breaks).into());
    }
    let id = version.id.clone();
    metering.publish(version, by, note, now).await?;
    Ok(Published { id, new: true, effective_from, changes })
}

/// What a book would break: subscriptions that run at or after `from`, by what they run on. Closing could not go on there.
pub async fn breaks(db: &Db, versions: &Versions, book: &Book, from: Instant) -> Result<Vec<String>, metering::Error> {
    let plans: BTreeSet<&str> =
        versions.iter().flat_map(|version| version.book.plans.keys()).map(String::as_str).collect();
    let mut breaks = Vec::new();
    let mut tx = db.read().await?;
    for plan in plans {
        let newest = versions.iter().rev().find_map(|version| version.book.plans.get(plan));
        let what = match (newest, book.plans.get(plan)) {
            (Some(before), Some(after)) if before.currency != after.currency => {
                format!("plan {plan} would be in {} instead of {}", after.currency, before.currency)
            }
            (_, Some(_)) => continue,
            (_, None) => format!("plan {plan} is removed"),
        };
        let (count, some) = tx.subscriptions_running_on(plan, from, NAMED_MAX).await?;
        if count > 0 {
            let named: Vec<String> = some.iter().map(|(id, consumer)| format!("{id} of {consumer}")).collect();
            let rest = usize::try_from(count).unwrap_or(0).saturating_sub(named.len());
            let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
            breaks.push(format!("{what}, on which {}{more} run", named.join(", ")));
        }
    }
    Ok(breaks)
}

fn next_hour(now: Instant) -> Instant {
    Bucket::Hour.floor(Instant::from_micros(now.micros().saturating_add(Bucket::Hour.micros())))
}
