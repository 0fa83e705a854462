//! What falls due, in order: the oldest instant first, and at each instant everything together.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Date;

use crate::billing::close::CloseError;
use crate::domain::book::plan::Component;
use crate::domain::book::plan::Plan;
use crate::domain::book::plan::When;
use crate::domain::book::version::BookVersion;
use crate::domain::document::Occasion;
use crate::domain::document::closing::plan_of;
use crate::domain::period::Period;
use crate::domain::subscription::BillingPeriod;
use crate::domain::subscription::Subscription;
use crate::domain::time::Instant;
use crate::domain::time::Zone;
use crate::metering::versions::Versions;
use crate::store::Db;
use crate::store::closings::ClosedPeriod;

/// How far to close. A date is its beginning in the zone of each plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Through {
    Date(Date),
    Instant(Instant),
}

/// A period to close, or a subscription to open.
#[derive(Clone, Debug)]
pub(in crate::billing) struct Item {
    pub subscription: Arc<Subscription>,
    pub occasion: Occasion,
    pub period: BillingPeriod,
    /// Up to when fees in advance were charged on the document before, if they were.
    pub advance_through: Option<Instant>,
    pub version: Arc<BookVersion>,
    pub next: Option<Next>,
}

/// The period that follows one, and its price book.
#[derive(Clone, Debug)]
pub(in crate::billing) struct Next {
    pub period: BillingPeriod,
    pub version: Arc<BookVersion>,
    /// Up to when its fees in advance are charged before it begins: its end, or its start if they are due later.
    pub charged_through: Instant,
}

/// Everything that is due by some time. What follows an item is added when the item is closed.
pub(in crate::billing) struct Schedule<'a> {
    versions: &'a Versions,
    through: Through,
    now: Instant,
    due: BTreeMap<Instant, Vec<Item>>,
}

impl Item {
    /// Whether it closes a time in which the subscription runs.
    pub fn runs(&self) -> bool {
        !self.subscription.is_over_at(self.period.covered.from())
    }

    /// The period after it, if its closing charges the fees in advance of that.
    pub fn charged_next(&self) -> Option<(BillingPeriod, &BookVersion)> {
        self.next.as_ref().filter(|next| next.is_charged()).map(|next| (next.period, &*next.version))
    }
}

impl Next {
    pub fn is_charged(&self) -> bool {
        self.charged_through > self.period.covered.from()
    }
}

impl Through {
    /// Reads a date or RFC 3339.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse()
            .ok()
            .map(Self::Date)
            .filter(|_| text.len() == 10)
            .or_else(|| Instant::parse(text).map(Self::Instant))
    }

    pub fn in_zone(self, zone: &Zone) -> Instant {
        match self {
            Self::Instant(at) => at,
            Self::Date(date) => Instant::start_of(date, zone).unwrap_or(Instant::BEGINNING),
        }
    }

    /// Not before what it is in any zone: no zone is a day behind UTC.
    pub fn latest(self) -> Instant {
        const DAY: i64 = 24 * 3_600_000_000;
        match self {
            Self::Instant(at) => at,
            Self::Date(_) => Instant::from_micros(self.in_zone(&Zone::utc()).micros().saturating_add(DAY)),
        }
    }
}

impl<'a> Schedule<'a> {
    /// Finds what is due by `through`. What has not ended by `now` is not due, whatever `through` says.
    pub async fn read(db: &Db, versions: &'a Versions, through: Through, now: Instant) -> Result<Self, CloseError> {
        let mut schedule = Self { versions, through, now, due: BTreeMap::new() };
        let mut tx = db.read().await?;
        let opened = tx.opened(None).await?;
        for subscription in tx.unfinished_subscriptions(through.latest().min(now)).await? {
            let (from, advance_through) = (subscription.closed_through, subscription.advance_through);
            let is_opened = opened.contains(&subscription.id);
            schedule.add(&Arc::new(subscription), from, (advance_through, is_opened))?;
        }
        for subscription in tx.subscriptions_to_correct().await? {
            let last = tx.closed_periods_of(&subscription.id).await?.pop();
            schedule.add_correction(subscription, last.map(|(_, closed)| closed))?;
        }
        Ok(schedule)
    }

    /// The oldest of what is due, sorted by subscription.
    pub fn pop(&mut self) -> Option<(Instant, Vec<Item>)> {
        let (at, mut items) = self.due.pop_first()?;
        items.sort_by(|a, b| a.subscription.id.cmp(&b.subscription.id));
        Some((at, items))
    }

    /// The span of time over which something is due.
    pub fn span(&self) -> Option<(Instant, Instant)> {
        let (first, _) = self.due.first_key_value()?;
        Some((*first, self.through.latest().min(self.now).max(*first)))
    }

    /// Adds what comes after items that were closed.
    pub fn follow(&mut self, closed: Vec<Item>) -> Result<(), CloseError> {
        for item in closed.into_iter().filter(|item| item.occasion == Occasion::Closing) {
            let advance_through = item.next.map(|next| next.charged_through);
            self.add(&item.subscription, item.period.covered.to(), (advance_through, false))?;
        }
        Ok(())
    }

    /// Adds the period that begins at `from`: its opening, if that is to charge its fees in advance, and its closing.
    fn add(
        &mut self,
        subscription: &Arc<Subscription>,
        from: Instant,
        charged: (Option<Instant>, bool),
    ) -> Result<(), CloseError> {
        let Some((period, version)) = period_from(subscription, from, self.versions)? else { return Ok(()) };
        let zone = &plan_of(subscription, from, &version)?.calendar.zone;
        let opens_at = opens_at(subscription, period, &version, charged)?;
        let (at, advance_through) = (period.covered.to(), opens_at.map_or(charged.0, |_| Some(period.covered.to())));
        let item = |occasion, advance_through, next| {
            let (subscription, version) = (subscription.clone(), version.clone());
            Item { subscription, occasion, period, advance_through, version, next }
        };
        if let Some(at) = opens_at.filter(|at| self.is_due(*at, zone)) {
            self.due.entry(at).or_default().push(item(Occasion::Opening, None, None));
        }
        if self.is_due(at, zone) {
            let next = next_from(subscription, at, self.versions)?;
            self.due.entry(at).or_default().push(item(Occasion::Closing, advance_through, next));
        }
        Ok(())
    }

    /// What came late for a subscription that is over gets a document of its own, for the time since its last one.
    fn add_correction(&mut self, subscription: Subscription, last: Option<ClosedPeriod>) -> Result<(), CloseError> {
        let Some(last) = last else { return Ok(()) };
        let from = last.period.to();
        let lost = || CloseError::NoBook { subscription: subscription.id.clone(), at: last.period.from() };
        let version = self.versions.by_id(&last.book_version).ok_or_else(lost)?.clone();
        let at = self.through.in_zone(&plan_of(&subscription, from, &version)?.calendar.zone).min(self.now);
        let Ok(covered) = Period::new(from, at) else { return Ok(()) };
        let period = BillingPeriod { covered, whole: covered };
        let (subscription, occasion) = (Arc::new(subscription), Occasion::Closing);
        let item = Item { subscription, occasion, period, advance_through: None, version, next: None };
        self.due.entry(at).or_default().push(item);
        Ok(())
    }

    fn is_due(&self, at: Instant, zone: &Zone) -> bool {
        at <= self.through.in_zone(zone) && at <= self.now
    }
}

/// The billing period that begins at `from`, and the price book that it is rated under: the one in effect when it begins, as
/// was known when its fees in advance were charged.
pub(in crate::billing) fn period_from(
    subscription: &Subscription,
    from: Instant,
    versions: &Versions,
) -> Result<Option<(BillingPeriod, Arc<BookVersion>)>, CloseError> {
    if subscription.is_over_at(from) {
        return Ok(None);
    }
    let no_book = || CloseError::NoBook { subscription: subscription.id.clone(), at: from };
    let pinned = subscription.book_version.as_deref().filter(|_| from == subscription.closed_through);
    let version = pinned.map_or_else(|| versions.at(from), |id| versions.by_id(id)).ok_or_else(no_book)?;
    Ok(period_under(subscription, from, version)?.map(|period| (period, version.clone())))
}

/// The period that begins where one ends. Its fees in advance are charged with that, unless a trial goes on, or it is paused.
pub(in crate::billing) fn next_from(
    subscription: &Subscription,
    from: Instant,
    versions: &Versions,
) -> Result<Option<Next>, CloseError> {
    let Some((period, version)) = period_from(subscription, from, versions)? else { return Ok(None) };
    let owed = plan_of(subscription, from, &version)?.after_trial(subscription.starts_at, period.covered);
    let is_charged = owed.is_some_and(|owed| owed.from() == from) && !subscription.is_paused_at(from);
    let charged_through = if is_charged { period.covered.to() } else { from };
    Ok(Some(Next { period, version, charged_through }))
}

/// When the fees in advance of a period are due on a document of their own: where the subscription begins, or where its trial
/// ends within the period. None if a closing charges them, or if they are charged: up to an instant, or by such a document.
pub(in crate::billing) fn opens_at(
    subscription: &Subscription,
    period: BillingPeriod,
    version: &BookVersion,
    (advance_through, is_opened): (Option<Instant>, bool),
) -> Result<Option<Instant>, CloseError> {
    let plan = plan_of(subscription, period.covered.from(), version)?;
    let is_open = has_advance_fees(plan) && !is_opened && !subscription.is_paused_at(period.covered.from());
    let owed = plan.after_trial(subscription.starts_at, period.covered).filter(|_| is_open);
    let is_first = period.covered.from() == subscription.starts_at;
    // What was charged of the trial alone, because the period was to end within it, is nothing.
    let is_free = |at: Instant| advance_through.map_or(is_first, |through| through <= at);
    Ok(owed.map(Period::from).filter(|at| is_free(*at)))
}

/// The billing period that an instant lies in, where it is not closed, and its price book; none where the subscription does
/// not run then.
pub(in crate::billing) fn period_at(
    subscription: &Subscription,
    at: Instant,
    versions: &Versions,
) -> Result<Option<(BillingPeriod, Arc<BookVersion>)>, CloseError> {
    let mut from = subscription.closed_through;
    while from <= at {
        let Some((period, version)) = period_from(subscription, from, versions)? else { break };
        if period.covered.contains(at) {
            return Ok(Some((period, version)));
        }
        from = period.covered.to();
    }
    Ok(None)
}

/// The billing period that begins at `from`, by the calendar that a price book gives the plan.
pub(in crate::billing) fn period_under(
    subscription: &Subscription,
    from: Instant,
    version: &BookVersion,
) -> Result<Option<BillingPeriod>, CloseError> {
    let plan = plan_of(subscription, from, version)?;
    Ok(subscription.period_from(from, &plan.calendar)?)
}

fn has_advance_fees(plan: &Plan) -> bool {
    plan.components.iter().any(|component| matches!(component, Component::Fee(fee) if fee.when == When::Advance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_its_beginning_in_each_zone_and_never_later_than_the_latest() {
        let through = Through::parse("2013-04-01").expect("a date");
        for (zone, begins) in
            [("America/New_York", "2013-04-01T04:00:00Z"), ("Pacific/Kiritimati", "2013-03-31T10:00:00Z")]
        {
            let at = through.in_zone(&Zone::named(zone).expect("a zone"));
            assert_eq!(at.to_string(), begins);
            assert!(at <= through.latest());
        }
        let at = Instant::parse("2013-04-01T04:00:00Z").expect("a time");
        assert_eq!(Through::parse("2013-04-01T00:00:00-04:00"), Some(Through::Instant(at)));
        for wrong in ["soon", "2013-04", "2013-13-01", "20130401", ""] {
            assert_eq!(Through::parse(wrong), None, "{wrong}");
        }
    }
}
