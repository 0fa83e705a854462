//! Closing: from what falls due at one instant to its documents. Pure, so that a closing can be repeated.
//!
//! Everything that falls due together is rated together, because its rewards share the budgets of programs. When two
//! price-book versions meet, a program's budget is that of the later one; its hold is that of the period's own.

use std::collections::BTreeMap;

use jiff::ToSpan;
use thiserror::Error;

use crate::domain::book::Book;
use crate::domain::book::Tax;
use crate::domain::book::plan::Component;
use crate::domain::book::plan::Plan;
use crate::domain::book::program::Program;
use crate::domain::book::version::BookVersion;
use crate::domain::consumer::Consumer;
use crate::domain::cores::by_all_cores;
use crate::domain::document::Occasion;
use crate::domain::document::invoice;
use crate::domain::document::invoice::Totals;
use crate::domain::document::payout;
use crate::domain::document::payout::HoldError;
use crate::domain::document::share;
use crate::domain::document::share::Share;
use crate::domain::document::share::Sharing;
use crate::domain::document::share::Source;
use crate::domain::document::share::Terms;
use crate::domain::ids::InvoiceId;
use crate::domain::ids::PayoutId;
use crate::domain::ids::SubscriptionId;
use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::domain::period::PeriodError;
use crate::domain::rating;
use crate::domain::rating::Explained;
use crate::domain::rating::Inputs;
use crate::domain::rating::Life;
use crate::domain::rating::RatingError;
use crate::domain::rating::UnbudgetedReward;
use crate::domain::rating::line::Line;
use crate::domain::rating::line::LineKind;
use crate::domain::rating::line::Usage;
use crate::domain::subscription::BillingPeriod;
use crate::domain::subscription::Ending;
use crate::domain::subscription::Subscription;
use crate::domain::time::Instant;
use crate::domain::time::Zone;

/// A period that is to be closed, or to be opened by charging its fees in advance, and what that depends on.
#[derive(Clone, Copy, Debug)]
pub struct Due<'a> {
    pub subscription: &'a Subscription,
    pub consumer: &'a Consumer,
    /// What the consumer is subject to.
    pub tax: Option<&'a Tax>,
    pub occasion: Occasion,
    /// When it falls due: where its period ends, or where the fees begin that an opening charges.
    pub at: Instant,
    pub period: BillingPeriod,
    /// The price book in effect when the period begins.
    pub version: &'a BookVersion,
    /// Up to when fees in advance were charged on the document before, if they were.
    pub advance_through: Option<Instant>,
    /// The period that follows and its price book, whose fees in advance are due now; none at the end.
    pub next: Option<(BillingPeriod, &'a BookVersion)>,
    /// What corrects periods that were closed before.
    pub adjustments: &'a [Line],
    /// What the consumer used in the period, by meter, and before it as far as [`reaching_back`] says.
    pub usage: &'a BTreeMap<String, Vec<Usage>>,
}

/// What a period came to. Without an amount and without usage there is no document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Documents {
    pub invoice: Option<invoice::Draft>,
    pub payout: Option<payout::Draft>,
}

/// What everything that is due comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// In the order in which it was given.
    pub documents: Vec<Documents>,
    /// What producers get of the charges, or give back, whether they get a document now or not.
    pub shares: Vec<Share>,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClosingError {
    #[error("plan {plan} of subscription {subscription} is not in price book {version}; publish one that has it")]
    UnknownPlan { subscription: String, plan: String, version: String },
    #[error("consumer {consumer} is subject to tax {tax}, which no price book has")]
    UnknownTax { consumer: String, tax: String },
    #[error("subscription {subscription}: {source}")]
    Rating { subscription: String, source: RatingError },
    #[error("program {program}: {source}")]
    Budget { program: String, source: RatingError },
    #[error("subscription {subscription}: {source}")]
    Hold { subscription: String, source: HoldError },
    #[error("subscription {subscription}: {source}")]
    Period { subscription: String, source: PeriodError },
    #[error("subscription {subscription}: {source}")]
    Money { subscription: String, source: MoneyError },
}

impl<'a> Due<'a> {
    fn plan(&self) -> Result<&'a Plan, ClosingError> {
        plan_of(self.subscription, self.period.covered.from(), self.version)
    }

    /// What is rated of it; nothing where it only begins, is paused, or is over.
    fn inputs(&self) -> Result<Option<Inputs<'a>>, ClosingError> {
        let BillingPeriod { covered: period, whole } = self.period;
        if self.occasion == Occasion::Opening || !self.subscription.runs_at(period.from()) {
            return Ok(None);
        }
        let Book { plans: _, programs, meters, .. } = &self.version.book;
        let Subscription { starts_at: life_from, days, changes, quantities, .. } = self.subscription;
        let (plan, life_from, usage) = (self.plan()?, *life_from, self.usage);
        let carries_from = self.subscription.carries_from(period.from(), whole, &plan.calendar);
        let carries_from = carries_from.map_err(|source| self.rating(source.into()))?;
        Ok(Some(Inputs {
            plan,
            programs,
            meters,
            period,
            whole,
            life_from,
            carries_from,
            days,
            changes,
            quantities,
            usage,
        }))
    }

    /// What its charges are divided by.
    pub fn source(&self) -> Result<Source<'_>, ClosingError> {
        Ok(Source {
            subscription: &self.subscription.id,
            period: self.period.covered,
            plan: self.plan()?,
            book_version: &self.version.id,
            usage: self.usage,
        })
    }

    /// The lines of what others were charged.
    fn shares(&self, shares: &[&Share]) -> Result<Vec<Line>, ClosingError> {
        let plan = self.plan()?;
        let name = |id: &str| {
            let known = plan.components.iter().find_map(|component| match component {
                Component::Share(share) if share.id == id => Some(share.name.clone()),
                Component::Share(_) | Component::Fee(_) | Component::Usage(_) => None,
            });
            known.unwrap_or_else(|| id.to_owned())
        };
        share::lines(shares.iter().copied(), self.period.covered, &plan.calendar.zone, name)
            .map_err(|source| self.money(source))
    }

    fn rating(&self, source: RatingError) -> ClosingError {
        ClosingError::Rating { subscription: self.subscription.id.to_string(), source }
    }

    fn money(&self, source: MoneyError) -> ClosingError {
        ClosingError::Money { subscription: self.subscription.id.to_string(), source }
    }
}

/// The plan of a subscription at an instant, as a price-book version has it.
pub fn plan_of<'a>(
    subscription: &Subscription,
    at: Instant,
    version: &'a BookVersion,
) -> Result<&'a Plan, ClosingError> {
    let plan = subscription.plan_at(at);
    version.book.plans.get(plan).ok_or_else(|| ClosingError::UnknownPlan {
        subscription: subscription.id.to_string(),
        plan: plan.to_owned(),
        version: version.id.clone(),
    })
}

/// The meters of which the period of a subscription that begins at an instant needs usage from before it, and since when: all
/// of those whose value carries over; since the subscription began, those that a lifetime is counted by; and those whose
/// tiers carry on, since they are filled.
pub fn reaching_back<'a>(
    subscription: &Subscription,
    at: Instant,
    version: &'a BookVersion,
) -> Result<BTreeMap<&'a str, Instant>, ClosingError> {
    let plan = plan_of(subscription, at, version)?;
    let mut since: BTreeMap<&str, Instant> = BTreeMap::new();
    let carrying: Vec<&str> = rating::carrying_meters(plan).collect();
    if !carrying.is_empty() {
        let id = || subscription.id.to_string();
        let whole = subscription.whole_from(at, &plan.calendar);
        let from = whole.and_then(|whole| subscription.carries_from(at, whole, &plan.calendar));
        let from = from.map_err(|source| ClosingError::Period { subscription: id(), source })?;
        since.extend(carrying.into_iter().map(|id| (id, from)));
    }
    since.extend(plan.lifetime_meters().into_iter().map(|id| (id, subscription.starts_at)));
    let of_all_time = version.book.meters.values().filter(|meter| meter.carries_over());
    since.extend(of_all_time.map(|meter| (meter.id.as_str(), Instant::BEGINNING)));
    Ok(since)
}

/// What everything that is due comes to. `granted` is what programs have granted before, in the minor unit.
pub fn documents(due: &[Due<'_>], granted: &BTreeMap<String, i64>, sharing: &Sharing) -> Result<Closed, ClosingError> {
    let earned = earned(due, granted)?;
    let mut shares = sharing.corrected.clone();
    let mut invoices = Vec::with_capacity(due.len());
    for charged in by_all_cores(due, |due| charged(due, &sharing.terms)) {
        let Charged { invoice, shares: divided } = charged?;
        invoices.push(invoice);
        shares.extend(divided);
    }
    let mut unpaid = Unpaid::new(sharing.waiting.iter().chain(&shares));
    let mut documents = Vec::with_capacity(due.len());
    for ((due, invoice), earned) in due.iter().zip(invoices).zip(earned) {
        documents.push(Documents { invoice, payout: payout(due, earned, &unpaid.take(due))? });
    }
    Ok(Closed { documents, shares })
}

/// What is charged for a period.
pub struct Charged {
    pub invoice: Option<invoice::Draft>,
    /// What producers get of it.
    pub shares: Vec<Share>,
}

/// What is charged for a period that is due, whatever falls due together with it.
pub fn charged(due: &Due<'_>, terms: &Terms) -> Result<Charged, ClosingError> {
    let mut lines = charges(due, Explained::Yes)?;
    let shares = match due.occasion {
        Occasion::Opening => Vec::new(),
        Occasion::Closing => terms.divide(&due.source()?, &lines).map_err(|source| due.money(source))?,
    };
    lines.extend(due.adjustments.iter().filter(|line| line.kind != LineKind::Reward).cloned());
    Ok(Charged { invoice: invoice(due, lines)?, shares })
}

/// The rewards of everything that is due, each period's in the order in which they are given, out of the budgets that all of
/// them share.
pub fn earned(due: &[Due<'_>], granted: &BTreeMap<String, i64>) -> Result<Vec<Vec<Line>>, ClosingError> {
    let corrects =
        |due: &Due<'_>| due.adjustments.iter().filter(|line| line.kind == LineKind::Reward).cloned().collect();
    let mut earned: Vec<Vec<Line>> = due.iter().map(corrects).collect();
    let mut unsettled: BTreeMap<&str, Vec<(usize, UnbudgetedReward)>> = BTreeMap::new();
    for (index, rewards) in by_all_cores(due, |due| rewards(due, Explained::Yes)).into_iter().enumerate() {
        for (program, reward) in rewards? {
            unsettled.entry(program).or_default().push((index, reward));
        }
    }
    for (program, rewards) in unsettled {
        let versions = rewards.iter().filter_map(|(index, _)| due.get(*index)).map(|due| due.version);
        // Rewards are made from programs that their version has, so there is one.
        let Some(latest) = versions.max_by_key(|version| version.effective_from) else { continue };
        for (index, line) in settle(program, latest, rewards, granted)? {
            if let Some(lines) = earned.get_mut(index) {
                lines.push(line);
            }
        }
    }
    Ok(earned)
}

/// Shares that are on no payout statement yet, by the producer's subscription.
pub struct Unpaid<'a>(BTreeMap<&'a SubscriptionId, Vec<&'a Share>>);

impl<'a> Unpaid<'a> {
    pub fn new(shares: impl IntoIterator<Item = &'a Share>) -> Self {
        let mut by_producer: BTreeMap<&SubscriptionId, Vec<&Share>> = BTreeMap::new();
        for share in shares {
            by_producer.entry(&share.to).or_default().push(share);
        }
        Self(by_producer)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that the statement of a period pays.
    pub fn take(&mut self, due: &Due<'_>) -> Vec<&'a Share> {
        match due.occasion {
            Occasion::Opening => Vec::new(),
            Occasion::Closing => self.0.remove(&due.subscription.id).unwrap_or_default(),
        }
    }
}

/// The lines of an invoice, before what corrects closed periods.
pub fn charges(due: &Due<'_>, explained: Explained) -> Result<Vec<Line>, ClosingError> {
    let plan = due.plan()?;
    let (period, whole) = (due.period.covered, due.period.whole);
    let subscription = due.subscription;
    let life = Life { from: subscription.starts_at, quantities: &subscription.quantities };
    if due.occasion == Occasion::Opening {
        return match subscription.is_paused_at(period.from()) {
            true => Ok(Vec::new()),
            false => rating::advance_fees(plan, life, (period, whole)).map_err(|source| due.rating(source)),
        };
    }
    let mut lines = Vec::new();
    if let Some(inputs) = due.inputs()? {
        let settles = if subscription.ends_with(period) { subscription.ending } else { Ending::default() };
        if settles.charges {
            lines = rating::charges(&inputs, explained).map_err(|source| due.rating(source))?;
        }
        // Fees of what is left come back, or were not charged yet.
        let is_settled = |through| if period.to() < through { settles.credits } else { settles.charges };
        if let Some(through) = due.advance_through.filter(|through| is_settled(*through)) {
            let corrections = rating::advance_corrections(plan, life, (period, whole), through);
            lines.extend(corrections.map_err(|source| due.rating(source))?);
        }
    }
    if let Some((next, version)) = due.next {
        let plan = plan_of(subscription, next.covered.from(), version)?;
        let fees = rating::advance_fees(plan, life, (next.covered, next.whole));
        lines.extend(fees.map_err(|source| due.rating(source))?);
    }
    Ok(lines)
}

/// The rewards of programs that the consumer is eligible for, each with its program, before the rewards of all parties share
/// the budgets.
pub fn rewards<'a>(due: &Due<'a>, explained: Explained) -> Result<Vec<(&'a str, UnbudgetedReward)>, ClosingError> {
    let Some(inputs) = due.inputs()? else { return Ok(Vec::new()) };
    let rewards = rating::rewards(&inputs, explained).map_err(|source| due.rating(source))?;
    let eligible = |reward: &UnbudgetedReward| {
        let (id, program) = inputs.programs.get_key_value(reward.line.program.as_deref()?)?;
        rating::eligible(program, &|path| due.consumer.field(path)).then_some(id.as_str())
    };
    Ok(rewards.into_iter().filter_map(|reward| Some((eligible(&reward)?, reward))).collect())
}

/// Settles all rewards of one program that fall due together, by the program as the latest of their price books has it.
pub fn settle<K: Ord>(
    id: &str,
    latest: &BookVersion,
    rewards: Vec<(K, UnbudgetedReward)>,
    granted: &BTreeMap<String, i64>,
) -> Result<Vec<(K, Line)>, ClosingError> {
    let failed = |source| ClosingError::Budget { program: id.to_owned(), source };
    let Some(program) = latest.book.programs.get(id) else { return Ok(Vec::new()) };
    let left = left_of(program, granted.get(id).copied().unwrap_or(0)).map_err(|source| failed(source.into()))?;
    rating::settle_budget(program, left, rewards).map_err(failed)
}

/// What is left of a program's budget after it has granted so much; none if it has no limit.
pub fn left_of(program: &Program, granted: i64) -> Result<Option<Money>, MoneyError> {
    let Some(budget) = program.budget else { return Ok(None) };
    let budget = Money::round(budget, program.currency)?;
    budget.checked_sub(Money::from_minor(granted, program.currency)).map(Some)
}

fn invoice(due: &Due<'_>, lines: Vec<Line>) -> Result<Option<invoice::Draft>, ClosingError> {
    let totals = Totals::of(due.plan()?.currency, lines, due.tax).map_err(|source| due.money(source))?;
    if !totals.is_worth_recording() {
        return Ok(None);
    }
    let period = due.period.covered;
    let from = period.from().to_string();
    let parts = [due.subscription.id.as_str(), &from, due.occasion.as_str()];
    Ok(Some(invoice::Draft {
        id: InvoiceId::derive(due.at, &parts),
        consumer: due.consumer.id.clone(),
        subscription: due.subscription.id.clone(),
        occasion: due.occasion,
        period,
        book_version: due.version.id.clone(),
        totals,
    }))
}

/// The payout statement of a period: what it earned, and the shares that wait for it.
pub fn payout(due: &Due<'_>, mut lines: Vec<Line>, shares: &[&Share]) -> Result<Option<payout::Draft>, ClosingError> {
    lines.extend(due.shares(shares)?);
    let plan = due.plan()?;
    let total = Money::sum(plan.currency, lines.iter().map(|line| line.amount)).map_err(|source| due.money(source))?;
    if lines.iter().all(|line| line.amount.is_zero()) {
        return Ok(None);
    }
    let programs = &due.version.book.programs;
    let until = |program: &str| held_until(due.at, programs.get(program)?.hold_days, &plan.calendar.zone);
    let holds = payout::holds(plan.currency, &lines, until)
        .map_err(|source| ClosingError::Hold { subscription: due.subscription.id.to_string(), source })?;
    let from = due.period.covered.from().to_string();
    Ok(Some(payout::Draft {
        id: PayoutId::derive(due.at, &[due.subscription.id.as_str(), &from]),
        consumer: due.consumer.id.clone(),
        subscription: due.subscription.id.clone(),
        period: due.period.covered,
        book_version: due.version.id.clone(),
        lines,
        holds,
        total,
    }))
}

/// A hold lasts whole days of the plan's zone, from the end of the period in which the reward was earned.
fn held_until(earned_at: Instant, days: u32, zone: &Zone) -> Option<Instant> {
    let zoned = earned_at.timestamp().to_zoned_datetime(zone.jiff().clone());
    zoned.checked_add(i64::from(days).days()).ok().map(|zoned| zoned.timestamp().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_lasts_whole_days_across_daylight_saving() {
        let zone = Zone::named("America/New_York").expect("a zone");
        let march = Instant::parse("2013-03-01T05:00:00Z").expect("a time");
        let until = held_until(march, 14, &zone).expect("in the calendar");
        assert_eq!(until.to_string(), "2013-03-15T04:00:00Z");
        assert_eq!(held_until(march, 0, &zone), Some(march));
    }
}
