//! Which periods end when, on both sides of a simulation. What follows a period is found when it is taken.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;

use crate::billing::close::CloseError;
use crate::billing::schedule::Through;
use crate::billing::simulate::SimulateError;
use crate::billing::simulate::Subscribed;
use crate::domain::book::version::BookVersion;
use crate::domain::document::closing::plan_of;
use crate::domain::period::Anchor;
use crate::domain::period::Period;
use crate::domain::period::PeriodError;
use crate::domain::simulation;
use crate::domain::simulation::Alike;
use crate::domain::simulation::Side;
use crate::domain::subscription::BillingPeriod;
use crate::domain::subscription::Subscription;
use crate::domain::time::Instant;
use crate::domain::time::Zone;
use crate::metering::versions::Versions;

/// A period on one side, and the price book that it is rated under.
#[derive(Clone, Debug)]
pub(in crate::billing::simulate) struct Half {
    pub period: BillingPeriod,
    pub version: Arc<BookVersion>,
}

/// What ends at one instant of one subscription.
pub(in crate::billing::simulate) struct Item {
    /// By its place among all.
    pub subscription: usize,
    pub before: Option<Half>,
    pub after: Option<Half>,
    pub overlap: Overlap,
}

/// What comes to the same on both sides, and is rated once.
#[derive(Clone, Debug)]
pub(in crate::billing::simulate) enum Overlap {
    None,
    Whole,
    Part(Arc<Part>),
}

#[derive(Debug)]
pub(in crate::billing::simulate) struct Part {
    /// By id.
    pub components: BTreeSet<String>,
    /// The book that is tried, with what else there is in the plan.
    pub rest: BookVersion,
}

impl Item {
    /// The time of which usage decides about it.
    pub fn period(&self) -> Option<Period> {
        let halves = || [&self.before, &self.after].into_iter().flatten().map(|half| half.period.covered);
        let from = halves().map(Period::from).min()?;
        let to = halves().map(Period::to).max()?;
        Period::new(from, to).ok()
    }
}

pub(in crate::billing::simulate) struct Agenda<'a> {
    subscribed: &'a [Subscribed],
    versions: &'a Versions,
    candidate: Arc<BookVersion>,
    from: Through,
    to: Through,
    now: Instant,
    due: BTreeMap<Instant, Vec<(usize, Side, Half)>>,
    /// Whole periods of calendars that are the same for everybody, by plan and an instant in them.
    known: HashMap<(usize, Instant), Period>,
    /// What of a plan comes to the same under a published version and the candidate.
    overlaps: HashMap<(String, String), Overlap>,
}

impl<'a> Agenda<'a> {
    pub fn new(
        subscribed: &'a [Subscribed],
        versions: &'a Versions,
        candidate: Arc<BookVersion>,
        (from, to): (Through, Through),
        now: Instant,
    ) -> Result<Self, SimulateError> {
        let (due, known, overlaps) = (BTreeMap::new(), HashMap::new(), HashMap::new());
        let mut agenda = Self { subscribed, versions, candidate, from, to, now, due, known, overlaps };
        for (index, Subscribed { subscription, .. }) in subscribed.iter().enumerate() {
            for side in [Side::Before, Side::After] {
                agenda.begin(index, subscription, side)?;
            }
        }
        Ok(agenda)
    }

    /// Subscriptions of which no period ends in this time. To be asked before anything is taken.
    pub fn without_period(&self) -> usize {
        let mut with: Vec<usize> = self.due.values().flatten().map(|(subscription, ..)| *subscription).collect();
        with.sort_unstable();
        with.dedup();
        self.subscribed.len().saturating_sub(with.len())
    }

    /// What ends next, in the order of subscriptions.
    pub fn pop(&mut self) -> Result<Option<(Instant, Vec<Item>)>, SimulateError> {
        let Some((at, mut halves)) = self.due.pop_first() else { return Ok(None) };
        halves.sort_by_key(|(subscription, side, _)| (*subscription, *side));
        let mut items: Vec<Item> = Vec::with_capacity(halves.len());
        for (index, side, half) in halves {
            self.follow(index, side, &half)?;
            if items.last().is_none_or(|last| last.subscription != index) {
                items.push(Item { subscription: index, before: None, after: None, overlap: Overlap::None });
            }
            let Some(item) = items.last_mut() else { continue };
            match side {
                Side::Before => item.before = Some(half),
                Side::After => item.after = Some(half),
            }
        }
        for item in &mut items {
            if let (Some(before), Some(after)) = (&item.before, &item.after)
                && before.period == after.period
            {
                let plan = self.subscribed[item.subscription].subscription.plan_at(before.period.covered.from());
                item.overlap = self.overlap(&before.version, plan);
            }
        }
        Ok(Some((at, items)))
    }

    fn overlap(&mut self, version: &BookVersion, plan: &str) -> Overlap {
        let candidate = &self.candidate;
        let overlap = || match simulation::alike(&version.book, &candidate.book, plan) {
            Alike::Whole => Overlap::Whole,
            Alike::Components(components) if components.is_empty() => Overlap::None,
            Alike::Components(components) => {
                let mut rest = BookVersion::clone(candidate);
                if let Some(plan) = rest.book.plans.get_mut(plan) {
                    plan.components.retain(|component| !components.contains(component.id()));
                }
                Overlap::Part(Arc::new(Part { components, rest }))
            }
        };
        self.overlaps.entry((version.id.clone(), plan.to_owned())).or_insert_with(overlap).clone()
    }

    /// Adds the first period of a subscription that ends after the beginning.
    fn begin(&mut self, index: usize, subscription: &Subscription, side: Side) -> Result<(), SimulateError> {
        let about = subscription.starts_at.max(self.from.in_zone(&Zone::utc()));
        if subscription.ends_at.is_some_and(|end| end <= about) {
            return Ok(());
        }
        let version = self.version(subscription, side, about)?;
        let plan = plan_of(subscription, about, &version)?;
        let first = self.from.in_zone(&plan.calendar.zone);
        let holding = subscription.period_holding(first.max(subscription.starts_at), &plan.calendar)?;
        self.add(index, side, holding.from().max(subscription.starts_at))
    }

    fn follow(&mut self, index: usize, side: Side, half: &Half) -> Result<(), SimulateError> {
        self.add(index, side, half.period.covered.to())
    }

    /// Adds the period that begins at `from`, if it ends in time.
    fn add(&mut self, index: usize, side: Side, from: Instant) -> Result<(), SimulateError> {
        let subscription = &self.subscribed[index].subscription;
        if subscription.ends_at.is_some_and(|end| end <= from) || from >= self.to.latest() {
            return Ok(());
        }
        let version = self.version(subscription, side, from)?;
        let whole = self.whole(subscription, &version, from)?;
        let Some(period) = subscription.part_from(from, whole)? else { return Ok(()) };
        let at = period.covered.to();
        let zone = &plan_of(subscription, from, &version)?.calendar.zone;
        if at <= self.from.in_zone(zone) {
            return self.add(index, side, at);
        }
        if at <= self.to.in_zone(zone).min(self.now) {
            self.due.entry(at).or_default().push((index, side, Half { period, version }));
        }
        Ok(())
    }

    fn version(&self, subscription: &Subscription, side: Side, at: Instant) -> Result<Arc<BookVersion>, CloseError> {
        match side {
            Side::After => Ok(self.candidate.clone()),
            Side::Before => {
                let no_book = || CloseError::NoBook { subscription: subscription.id.clone(), at };
                self.versions.at(at).cloned().ok_or_else(no_book)
            }
        }
    }

    /// The whole period that holds an instant. On the calendar's own boundaries it is the same for everybody, and asking
    /// the calendar costs as much as rating a line.
    fn whole(
        &mut self,
        subscription: &Subscription,
        version: &BookVersion,
        at: Instant,
    ) -> Result<Period, SimulateError> {
        let plan = plan_of(subscription, at, version)?;
        let of_calendar = || -> Result<Period, PeriodError> { subscription.whole_from(at, &plan.calendar) };
        if plan.calendar.anchor != Anchor::Calendar {
            return Ok(of_calendar()?);
        }
        // Plans live as long as their versions do, which are kept for the whole simulation.
        let key = (std::ptr::from_ref(plan).addr(), at);
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        let whole = of_calendar()?;
        self.known.insert(key, whole);
        Ok(whole)
    }
}
