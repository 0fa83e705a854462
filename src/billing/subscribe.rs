//! Subscribing a consumer to a plan, changing it and ending it: what must hold before it is kept.

use std::sync::Arc;

use thiserror::Error;

use crate::domain::book::plan::Plan;
use crate::domain::book::version::BookVersion;
use crate::domain::days::DayChange;
use crate::domain::ids::SubscriptionId;
use crate::domain::money::Currency;
use crate::domain::quantity::QUANTITY_MAX;
use crate::domain::quantity::QuantityChange;
use crate::domain::subscription::Ending;
use crate::domain::subscription::Subscription;
use crate::domain::time::Bucket;
use crate::domain::time::Instant;
use crate::domain::time::Zone;
use crate::metering::versions::Versions;
use crate::store;
use crate::store::Db;

/// How often a change is tried while others change the same subscription.
const TRIES_MAX: usize = 8;

/// What is asked for. Dates are read in the plan's time zone.
#[derive(Clone, Debug)]
pub struct Request {
    pub consumer: String,
    pub plan: String,
    pub start: String,
    pub end: Option<String>,
    /// A billing day of its own, from 1 to 31, instead of the plan's.
    pub anchor_day: Option<String>,
    /// How many units it is for; one, if it is left out.
    pub quantity: Option<String>,
}

#[derive(Debug, Error)]
pub enum Error {
    #[error("there is no consumer `{0}`")]
    UnknownConsumer(String),
    #[error("there is no plan `{plan}`; there are: {known}")]
    UnknownPlan { plan: String, known: String },
    #[error("`{0}` is neither an RFC 3339 time nor a date")]
    NotATime(String),
    #[error("{0} is not on an hour, where usage buckets begin")]
    NotOnTheHour(Instant),
    #[error("the subscription would end before it starts")]
    EndsBeforeItStarts,
    #[error("the plan is in {plan}, and the consumer in {consumer}")]
    OtherCurrency { plan: Currency, consumer: Currency },
    #[error("the idempotency key stands for another subscription, {0}")]
    OtherRequest(SubscriptionId),
    #[error("there is no subscription {0}")]
    UnknownSubscription(SubscriptionId),
    #[error("{at} is not after {closed_through}, up to when it is closed")]
    Closed { at: Instant, closed_through: Instant },
    #[error("{at} is not before {end}, when it ends")]
    Ended { at: Instant, end: Instant },
    #[error("it ended at {0}, and is closed to its end")]
    Over(Instant),
    #[error("the price book from {from} on has no plan `{plan}` in {currency}, and the subscription would run on it")]
    PlanGoes { plan: String, currency: Currency, from: Instant },
    #[error("no price book applies at {0}")]
    NoBook(Instant),
    #[error("others change subscription {0} at the same time, or close it")]
    Overtaken(SubscriptionId),
    #[error("`{0}` is not a day of the month, from 1 to 31")]
    NotADay(String),
    #[error("the periods of plan `{0}` do not begin on a day of the month that could be another")]
    FixedDay(String),
    #[error("`{0}` is not a whole number of units, from 0 to {QUANTITY_MAX}")]
    NotAQuantity(String),
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Keeps a subscription under an id that is given, and gives it back. Asking again with the same id changes nothing.
pub async fn subscribe(
    db: &Db,
    versions: &Versions,
    id: SubscriptionId,
    request: Request,
    now: Instant,
) -> Result<Subscription, Error> {
    let Request { consumer, plan, start, end, anchor_day, quantity } = request;
    let mut tx = db.write().await?;
    let known = tx.consumer(&consumer).await?.ok_or_else(|| Error::UnknownConsumer(consumer.clone()))?;
    let (starts_at, ends_at) = times(versions, &plan, &start, end.as_deref())?;
    let book = &versions.at(starts_at).ok_or(Error::NoBook(starts_at))?.book;
    let of_plan = book.plans.get(&plan).ok_or_else(|| unknown(versions, &plan))?;
    let known_currency = known.currency;
    if of_plan.currency != known_currency {
        return Err(Error::OtherCurrency { plan: of_plan.currency, consumer: known_currency });
    }
    let first_day = anchor_day.map(|day| day_of(&day, of_plan)).transpose()?;
    let mut subscription = Subscription::new(id, consumer, plan, (starts_at, ends_at), now);
    subscription.days.first = first_day;
    if let Some(quantity) = quantity {
        subscription.quantities.first = quantity_of(&quantity)?;
    }
    if let Some(known) = tx.subscription(&subscription.id).await? {
        return if is_same(&known, &subscription) { Ok(known) } else { Err(Error::OtherRequest(known.id)) };
    }
    runs_through(&subscription, known_currency, versions)?;
    tx.create_subscription(&subscription).await?;
    tx.commit().await?;
    Ok(subscription)
}

/// What is to be otherwise. Dates are read in the zone of the plan that applies.
#[derive(Clone, Debug)]
pub enum Change {
    /// From some time on it is billed under a plan, as the price book of then has it. That may be the plan that it is
    /// billed under already: then it moves to that price book before its next period. What was to change at or after that
    /// time does not any more.
    Plan { plan: Option<String>, at: String },
    /// Its periods that begin from some time on are counted by another day of the month, or by the plan's again; with a plan,
    /// it is billed under that from then on too. What was to be its day from that time or later is not any more.
    Day { day: Option<String>, plan: Option<String>, at: String },
    /// It is paused from some time on, or runs again.
    Pause { paused: bool, at: String },
    /// It is for so many units from some time on. What it was to be for from that time or later is not any more.
    Quantity { quantity: String, at: String },
    /// It ends, or runs until further notice.
    End { end: Option<String>, ending: Ending },
}

/// Changes a subscription where nothing of it is closed, and gives it back.
pub async fn change(
    db: &Db,
    versions: &Versions,
    id: &SubscriptionId,
    change: Change,
    now: Instant,
) -> Result<Subscription, Error> {
    for _ in 0..TRIES_MAX {
        match try_change(db, versions, id, change.clone(), now).await {
            Err(Error::Store(store::Error::Taken)) => {}
            done => return done,
        }
    }
    Err(Error::Overtaken(id.clone()))
}

/// The same, with `Taken` if somebody else changes it at the same time, or closes it.
async fn try_change(
    db: &Db,
    versions: &Versions,
    id: &SubscriptionId,
    change: Change,
    now: Instant,
) -> Result<Subscription, Error> {
    let mut tx = db.write().await?;
    let mut subscription = tx.subscription(id).await?.ok_or_else(|| Error::UnknownSubscription(id.clone()))?;
    if let Some(end) = subscription.ends_at.filter(|end| *end <= subscription.closed_through) {
        return Err(Error::Over(end));
    }
    let consumer = tx.consumer(&subscription.consumer).await?;
    let consumer = consumer.ok_or_else(|| Error::UnknownConsumer(subscription.consumer.clone()))?;
    match change {
        Change::Plan { plan, at } => {
            let (at, plan) = open_at(&subscription, versions, consumer.currency, (&at, plan), now)?;
            subscription.replan(at, &plan.id, now);
        }
        Change::Day { day, plan, at } => {
            let is_replanned = plan.is_some();
            let (at, plan) = open_at(&subscription, versions, consumer.currency, (&at, plan), now)?;
            let day = day.map(|day| day_of(&day, plan)).transpose()?;
            if is_replanned {
                subscription.replan(at, &plan.id, now);
            }
            subscription.days.changes.retain(|change| change.at < at);
            subscription.days.changes.push(DayChange { at, day, made_at: now });
        }
        Change::Pause { paused, at } => {
            let (at, _) = open_at(&subscription, versions, consumer.currency, (&at, None), now)?;
            subscription.pause(at, paused, now);
        }
        Change::Quantity { quantity, at } => {
            let quantity = quantity_of(&quantity)?;
            let (at, _) = open_at(&subscription, versions, consumer.currency, (&at, None), now)?;
            subscription.quantities.changes.retain(|change| change.at < at);
            subscription.quantities.changes.push(QuantityChange { at, quantity, made_at: now });
        }
        Change::End { end, ending } => {
            let zone = zone_of(versions, subscription.plan_at(now.max(subscription.starts_at)))?;
            subscription.ends_at = end.map(|end| time(&end, zone)).transpose()?;
            subscription.ending = ending;
            if let Some(end) = subscription.ends_at {
                is_open(&subscription, end)?;
                subscription.changes.retain(|change| change.at < end);
                subscription.days.changes.retain(|change| change.at < end);
                subscription.quantities.changes.retain(|change| change.at < end);
            }
        }
    }
    runs_through(&subscription, consumer.currency, versions)?;
    tx.reschedule_subscription(&subscription).await?;
    let changed = tx.subscription(id).await?.ok_or_else(|| Error::UnknownSubscription(id.clone()))?;
    tx.commit().await?;
    Ok(changed)
}

/// A time from which something can be otherwise, and the plan that the subscription is billed under from then on: one that is
/// named, or the one of then, in whose zone the time is read.
fn open_at<'v>(
    subscription: &Subscription,
    versions: &'v Versions,
    currency: Currency,
    (at, plan): (&str, Option<String>),
    now: Instant,
) -> Result<(Instant, &'v Plan), Error> {
    let of_now = subscription.plan_at(now.max(subscription.starts_at)).to_owned();
    let read = time(at, zone_of(versions, plan.as_ref().unwrap_or(&of_now))?)?;
    let named = plan.unwrap_or_else(|| subscription.plan_at(read).to_owned());
    let at = time(at, zone_of(versions, &named)?)?;
    is_open(subscription, at)?;
    if let Some(end) = subscription.ends_at.filter(|end| *end <= at) {
        return Err(Error::Ended { at, end });
    }
    let book = &versions.at(at).ok_or(Error::NoBook(at))?.book;
    let plan = book.plans.get(&named).ok_or_else(|| unknown(versions, &named))?;
    match plan.currency == currency {
        true => Ok((at, plan)),
        false => Err(Error::OtherCurrency { plan: plan.currency, consumer: currency }),
    }
}

fn quantity_of(text: &str) -> Result<i64, Error> {
    let quantity = text.parse().ok().filter(|quantity| (0..=QUANTITY_MAX).contains(quantity));
    quantity.ok_or_else(|| Error::NotAQuantity(text.to_owned()))
}

/// A billing day, where the plan's periods can begin on one.
fn day_of(text: &str, plan: &Plan) -> Result<i8, Error> {
    let day = text.parse().ok().filter(|day| (1..=31).contains(day));
    let day = day.ok_or_else(|| Error::NotADay(text.to_owned()))?;
    if plan.calendar.takes_a_day() { Ok(day) } else { Err(Error::FixedDay(plan.id.clone())) }
}

/// What is not closed of a subscription must have its plan in every price book that it comes under: without one, nothing of
/// anybody could be closed.
fn runs_through(subscription: &Subscription, currency: Currency, versions: &Versions) -> Result<(), Error> {
    let mut from = subscription.closed_through;
    loop {
        let to = subscription.changes.iter().map(|change| change.at).find(|at| *at > from).or(subscription.ends_at);
        let plan = subscription.plan_at(from);
        let applies = |version: &&Arc<BookVersion>| {
            from < version.effective_from && to.is_none_or(|to| version.effective_from < to)
        };
        let has_it =
            |version: &Arc<BookVersion>| version.book.plans.get(plan).is_some_and(|plan| plan.currency == currency);
        if let Some(without) = versions.iter().filter(applies).find(|version| !has_it(version)) {
            let (plan, from) = (plan.to_owned(), without.effective_from);
            return Err(Error::PlanGoes { plan, currency, from });
        }
        match to {
            Some(to) if subscription.ends_at.is_none_or(|end| to < end) => from = to,
            _ => return Ok(()),
        }
    }
}

fn is_open(subscription: &Subscription, at: Instant) -> Result<(), Error> {
    let closed_through = subscription.closed_through;
    if closed_through < at { Ok(()) } else { Err(Error::Closed { at, closed_through }) }
}

fn is_same(known: &Subscription, asked: &Subscription) -> bool {
    let what = |it: &Subscription| {
        let (consumer, plan, first) = (it.consumer.clone(), it.plan.clone(), (it.days.first, it.quantities.first));
        (consumer, plan, first, it.starts_at, it.ends_at)
    };
    what(known) == what(asked)
}

fn times(versions: &Versions, plan: &str, start: &str, end: Option<&str>) -> Result<(Instant, Option<Instant>), Error> {
    let zone = zone_of(versions, plan)?;
    let (start, end) = (time(start, zone)?, end.map(|end| time(end, zone)).transpose()?);
    if end.is_some_and(|end| end <= start) {
        return Err(Error::EndsBeforeItStarts);
    }
    Ok((start, end))
}

/// The time zone of a plan, as it was published last.
fn zone_of<'a>(versions: &'a Versions, plan: &str) -> Result<&'a Zone, Error> {
    let newest = versions.iter().rev().find_map(|version| version.book.plans.get(plan));
    Ok(&newest.ok_or_else(|| unknown(versions, plan))?.calendar.zone)
}

fn time(text: &str, zone: &Zone) -> Result<Instant, Error> {
    let at = Instant::parse_in(text, zone).ok_or_else(|| Error::NotATime(text.to_owned()))?;
    if Bucket::Hour.floor(at) == at { Ok(at) } else { Err(Error::NotOnTheHour(at)) }
}

fn unknown(versions: &Versions, plan: &str) -> Error {
    let newest = versions.iter().last();
    let plans = newest.map(|version| version.book.plans.keys().map(String::as_str).collect::<Vec<_>>());
    Error::UnknownPlan { plan: plan.to_owned(), known: plans.unwrap_or_default().join(", ") }
}
