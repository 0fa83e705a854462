//! What came too late for its closing: which closed periods are rated again with the documents of now.
//!
//! Flushes and replays note what they add to times that are closed. A closing takes up the notes of its parties: periods of
//! subscriptions that get a document now are rated again, those of others wait for theirs.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::billing::close::CloseError;
use crate::billing::schedule::Item;
use crate::billing::schedule::period_under;
use crate::billing::sharing::Producers;
use crate::billing::usage::usage_of;
use crate::domain::document::Occasion;
use crate::domain::document::adjust::Adjusted;
use crate::domain::document::adjust::Past;
use crate::domain::document::adjust::adjust;
use crate::domain::document::adjust::budgets_of;
use crate::domain::document::closing::plan_of;
use crate::domain::document::closing::reaching_back;
use crate::domain::document::share::Share;
use crate::domain::document::share::Terms;
use crate::domain::ids::SubscriptionId;
use crate::domain::rating::line::Line;
use crate::domain::subscription::BillingPeriod;
use crate::domain::subscription::Subscription;
use crate::domain::time::Instant;
use crate::metering::versions::Versions;
use crate::store;
use crate::store::Read;
use crate::store::Tx;
use crate::store::Write;
use crate::store::closings::ClosedPeriod;
use crate::store::late::LateUsage;
use crate::store::shares::Which;

/// A closed period: of which subscription, and where it begins.
pub(in crate::billing) type Closed = (SubscriptionId, Instant);

/// What a closing makes of what came late.
#[derive(Default)]
pub(in crate::billing) struct Late {
    /// By subscription, for those that get a document now.
    pub lines: BTreeMap<SubscriptionId, Vec<Line>>,
    /// What producers get of what was corrected, or give back, and who they are.
    pub shares: Vec<Share>,
    pub terms: Terms,
    /// What programs have granted, as it comes to now.
    pub granted: BTreeMap<String, i64>,
    /// Notes that are taken up: of these parties, up to this one.
    parties: Vec<String>,
    noted: i64,
    /// Rated again, and still waiting.
    done: Vec<Closed>,
    waiting: Vec<Closed>,
}

impl Late {
    /// Rates again what changed of the subscriptions that get a document now.
    pub async fn read(
        tx: &mut Tx<Read>,
        versions: &Versions,
        items: &[Item],
        granted: BTreeMap<String, i64>,
    ) -> Result<Self, CloseError> {
        let closing = items.iter().filter(|item| item.occasion == Occasion::Closing);
        let due: BTreeMap<&SubscriptionId, &Arc<Subscription>> =
            closing.map(|item| (&item.subscription.id, &item.subscription)).collect();
        let parties: BTreeSet<&str> = due.values().map(|subscription| &*subscription.consumer).collect();
        let parties: Vec<&str> = parties.into_iter().collect();
        let (usage, noted) = tx.late_usage(&parties).await?;
        let pending = tx.pending_adjustments().await?;
        let mut late = Self { granted, noted, ..Self::default() };
        late.parties = parties.iter().map(|party| (*party).to_owned()).collect();
        // Those that are not due wait on, but what they take from a budget or leave of it counts from now on.
        let mut changed: BTreeSet<Closed> = pending.into_iter().collect();
        late.done.extend(changed.iter().filter(|(id, _)| due.contains_key(id)).cloned());
        for (id, from) in touched(tx, versions, &usage).await? {
            if due.contains_key(&id) {
                changed.insert((id, from))
            } else {
                late.waiting.push((id, from));
                true
            };
        }
        if changed.is_empty() {
            return Ok(late);
        }
        let past = past(tx, versions, &changed).await?;
        let mut producers = Producers::default();
        for past in past.iter().filter(|past| past.is_changed) {
            let covered = past.period.covered;
            let plan = plan_of(&past.subscription, covered.from(), &past.version)?;
            producers.add(&past.version, plan, covered.to(), &past.usage);
        }
        late.terms = producers.look_up(tx).await?;
        let Adjusted { lines, mut shares, granted } = adjust(&past, &late.granted, &late.terms)?;
        shares.retain(|share| due.contains_key(&share.charged));
        (late.shares, late.granted) = (shares, granted);
        for (past, lines) in past.iter().zip(lines).filter(|(_, lines)| !lines.is_empty()) {
            let id = past.subscription.id.clone();
            match due.contains_key(&id) {
                true => late.lines.entry(id).or_default().extend(lines),
                false => late.waiting.push((id, past.period.covered.from())),
            }
        }
        Ok(late)
    }

    /// Keeps what is done and what waits, with the documents that say it.
    pub async fn record(&self, tx: &mut Tx<Write>) -> store::Result<()> {
        let parties: Vec<&str> = self.parties.iter().map(String::as_str).collect();
        if self.noted > 0 {
            tx.drop_late(&parties, self.noted).await?;
        }
        for (subscription, from) in &self.done {
            tx.drop_adjustment(subscription, *from).await?;
        }
        for (subscription, from) in &self.waiting {
            tx.await_adjustment(subscription, *from).await?;
        }
        Ok(())
    }
}

/// The closed periods whose usage this is part of.
async fn touched(tx: &mut Tx<Read>, versions: &Versions, usage: &[LateUsage]) -> Result<Vec<Closed>, CloseError> {
    let mut by_party: BTreeMap<&str, Vec<&LateUsage>> = BTreeMap::new();
    for late in usage {
        by_party.entry(&late.party).or_default().push(late);
    }
    let mut touched = Vec::new();
    for (party, usage) in by_party {
        for subscription in tx.subscriptions(Some(party), None, i64::MAX).await? {
            let closed = tx.closed_periods_of(&subscription.id).await?;
            for (_, closed) in closed.into_iter().filter(|(_, closed)| !subscription.is_over_at(closed.period.from())) {
                let (from, version) = (closed.period.from(), versions.by_id(&closed.book_version));
                let since = version.map(|version| reaching_back(&subscription, from, version)).transpose()?;
                let measures = |meter: &str| version.is_none_or(|version| version.book.meters.contains_key(meter));
                let is_part = |late: &LateUsage| {
                    if !measures(&late.meter) {
                        return false;
                    }
                    let earliest = since.as_ref().and_then(|since| since.get(&*late.meter)).copied().unwrap_or(from);
                    earliest.min(from) <= late.bucket && late.bucket < closed.period.to()
                };
                if usage.iter().copied().any(is_part) {
                    touched.push((subscription.id.clone(), from));
                }
            }
        }
    }
    Ok(touched)
}

/// The periods that changed, and those that share a budget with them, in the order of their closings.
async fn past(tx: &mut Tx<Read>, versions: &Versions, changed: &BTreeSet<Closed>) -> Result<Vec<Past>, CloseError> {
    let mut known: BTreeMap<SubscriptionId, Arc<Subscription>> = BTreeMap::new();
    let mut past = Vec::new();
    let (mut budgets, mut first): (BTreeSet<String>, Option<i64>) = (BTreeSet::new(), None);
    for id in changed.iter().map(|(id, _)| id).collect::<BTreeSet<_>>() {
        for (closing, closed) in tx.closed_periods_of(id).await? {
            if !changed.contains(&(id.clone(), closed.period.from())) {
                continue;
            }
            let Some(one) = one(tx, versions, &mut known, (closing, closed), true).await? else { continue };
            let shared = budgets_of(&one.subscription, one.period, &one.version)?;
            if !shared.is_empty() {
                first = Some(first.map_or(closing, |first| first.min(closing)));
                budgets.extend(shared.into_iter().map(str::to_owned));
            }
            past.push(one);
        }
    }
    if let Some(first) = first {
        for closing in first..=tx.last_closing().await? {
            for closed in tx.closed_periods(closing).await? {
                let is_known = changed.contains(&(closed.subscription.clone(), closed.period.from()));
                if is_known || closed.occasion != Occasion::Closing {
                    continue;
                }
                let Some(one) = one(tx, versions, &mut known, (closing, closed), false).await? else { continue };
                if budgets_of(&one.subscription, one.period, &one.version)?.iter().any(|id| budgets.contains(*id)) {
                    past.push(one);
                }
            }
        }
    }
    past.sort_by(|a, b| (a.closing, &a.subscription.id).cmp(&(b.closing, &b.subscription.id)));
    Ok(past)
}

/// None if its subscription was over, and it corrected others.
async fn one(
    tx: &mut Tx<Read>,
    versions: &Versions,
    known: &mut BTreeMap<SubscriptionId, Arc<Subscription>>,
    (closing, closed): (i64, ClosedPeriod),
    is_changed: bool,
) -> Result<Option<Past>, CloseError> {
    let ClosedPeriod { subscription: id, period: covered, book_version, consumer, .. } = closed;
    let lost = || CloseError::NoBook { subscription: id.clone(), at: covered.from() };
    let subscription = match known.get(&id) {
        Some(known) => known.clone(),
        None => {
            let read = Arc::new(tx.subscription(&id).await?.ok_or_else(lost)?);
            known.insert(id.clone(), read.clone());
            read
        }
    };
    if subscription.is_over_at(covered.from()) {
        return Ok(None);
    }
    let version = versions.by_id(&book_version).ok_or_else(lost)?.clone();
    let whole = period_under(&subscription, covered.from(), &version)?.ok_or_else(lost)?.whole;
    let period = BillingPeriod { covered, whole };
    let since = reaching_back(&subscription, covered.from(), &version)?;
    let usage = usage_of(tx, &subscription.consumer, covered, &since).await?;
    let mut said = tx.said_of(&id, covered).await?;
    said.retain(|line| !line.is_share());
    let shared = tx.shares(Which::Of(&id, covered.from())).await?;
    Ok(Some(Past { closing, subscription, consumer, period, version, usage, said, shared, is_changed }))
}
