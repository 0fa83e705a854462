//! Subscribing a consumer to a plan: what must hold before it is kept.

use thiserror::Error;

use crate::domain::ids::SubscriptionId;
use crate::domain::money::Currency;
use crate::domain::subscription::Subscription;
use crate::domain::time::Bucket;
use crate::domain::time::Instant;
use crate::metering::versions::Versions;
use crate::store;
use crate::store::Db;

/// What is asked for. Dates are read in the plan's time zone.
#[derive(Clone, Debug)]
pub struct Request {
    pub consumer: String,
    pub plan: String,
    pub start: String,
    pub end: Option<String>,
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
    #[error("no price book applies at {0}")]
    NoBook(Instant),
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
    let Request { consumer, plan, start, end } = request;
    let mut tx = db.write().await?;
    let known = tx.consumer(&consumer).await?.ok_or_else(|| Error::UnknownConsumer(consumer.clone()))?;
    let (starts_at, ends_at) = times(versions, &plan, &start, end.as_deref())?;
    let book = &versions.at(starts_at).ok_or(Error::NoBook(starts_at))?.book;
    let currency = book.plans.get(&plan).ok_or_else(|| unknown(versions, &plan))?.currency;
    if currency != known.currency {
        return Err(Error::OtherCurrency { plan: currency, consumer: known.currency });
    }
    let subscription =
        Subscription { id, consumer, plan, starts_at, ends_at, created_at: now, closed_through: starts_at };
    if let Some(known) = tx.subscription(&subscription.id).await? {
        return if is_same(&known, &subscription) { Ok(known) } else { Err(Error::OtherRequest(known.id)) };
    }
    tx.create_subscription(&subscription).await?;
    tx.commit().await?;
    Ok(subscription)
}

fn is_same(known: &Subscription, asked: &Subscription) -> bool {
    let what = |it: &Subscription| (it.consumer.clone(), it.plan.clone(), it.starts_at, it.ends_at);
    what(known) == what(asked)
}

fn times(versions: &Versions, plan: &str, start: &str, end: Option<&str>) -> Result<(Instant, Option<Instant>), Error> {
    let newest = versions.iter().rev().find_map(|version| version.book.plans.get(plan));
    let zone = &newest.ok_or_else(|| unknown(versions, plan))?.calendar.zone;
    let read = |text: &str| {
        let at = Instant::parse_in(text, zone).ok_or_else(|| Error::NotATime(text.to_owned()))?;
        if Bucket::Hour.floor(at) == at { Ok(at) } else { Err(Error::NotOnTheHour(at)) }
    };
    let (start, end) = (read(start)?, end.map(read).transpose()?);
    if end.is_some_and(|end| end <= start) {
        return Err(Error::EndsBeforeItStarts);
    }
    Ok((start, end))
}

fn unknown(versions: &Versions, plan: &str) -> Error {
    let newest = versions.iter().last();
    let plans = newest.map(|version| version.book.plans.keys().map(String::as_str).collect::<Vec<_>>());
    Error::UnknownPlan { plan: plan.to_owned(), known: plans.unwrap_or_default().join(", ") }
}
