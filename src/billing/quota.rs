//! Quotas: what a consumer has used so far of what it may, and has spent beside its spend cap; current to the last
//! acknowledged event, without a flush. It reads the consumer's own usage of the periods that run, and nothing of the log.
//!
//! Nothing is refused because of it: an event that happened is counted. Whoever wants to stop somebody asks here first.

use serde::Serialize;
use thiserror::Error;

use crate::billing::close::CloseError;
use crate::billing::schedule::period_at;
use crate::billing::statement::StatementError;
use crate::domain::consumer::Consumer;
use crate::domain::document::closing::ClosingError;
use crate::domain::document::closing::plan_of;
use crate::domain::document::closing::reaching_back;
use crate::domain::ids::SubscriptionId;
use crate::domain::money::Money;
use crate::domain::period::Period;
use crate::domain::rating;
use crate::domain::rating::Inputs;
use crate::domain::rating::quota::Quota;
use crate::domain::rating::quota::Quotas;
use crate::domain::rating::quota::quotas;
use crate::domain::spend::Spend;
use crate::domain::subscription::Subscription;
use crate::domain::time::Instant;
use crate::metering;
use crate::metering::Metering;
use crate::metering::versions::Versions;
use crate::store::Db;

/// Where a consumer stands.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    pub consumer: String,
    pub as_of: Instant,
    pub spend: Spend,
    /// Those that run.
    pub subscriptions: Vec<Running>,
}

/// A subscription in its running period.
#[derive(Clone, Debug, Serialize)]
pub struct Running {
    pub subscription: SubscriptionId,
    pub plan: String,
    pub period: Period,
    /// What its fees and charges come to so far, without tax; fees in advance in the period that they are for.
    pub spent: Money,
    pub components: Vec<Quota>,
}

#[derive(Debug, Error)]
pub enum QuotaError {
    #[error(transparent)]
    Statement(#[from] StatementError),
    #[error(transparent)]
    Metering(#[from] metering::Error),
}

impl From<CloseError> for QuotaError {
    fn from(error: CloseError) -> Self {
        Self::Statement(error.into())
    }
}

/// Where a consumer stands at this moment.
pub async fn quota(db: &Db, metering: &Metering, consumer: &str, now: Instant) -> Result<Standing, QuotaError> {
    let versions = metering.versions();
    let mut tx = db.read().await.map_err(StatementError::from)?;
    let known = tx.consumer(consumer).await.map_err(StatementError::from)?;
    let consumer = known.ok_or_else(|| StatementError::UnknownConsumer(consumer.to_owned()))?;
    let subscribed = tx.subscriptions(Some(&consumer.id), None, i64::MAX).await.map_err(StatementError::from)?;
    drop(tx);
    let mut subscriptions = Vec::new();
    for subscription in &subscribed {
        subscriptions.extend(running(metering, &versions, &consumer, subscription, now).await?);
    }
    let spent = Money::sum(consumer.currency, subscriptions.iter().map(|running| running.spent));
    let spend = spent.and_then(|spent| Spend::of(spent, consumer.spend_cap, &consumer.alerts));
    Ok(Standing { spend: spend.map_err(CloseError::from)?, consumer: consumer.id, as_of: now, subscriptions })
}

async fn running(
    metering: &Metering,
    versions: &Versions,
    consumer: &Consumer,
    subscription: &Subscription,
    now: Instant,
) -> Result<Option<Running>, QuotaError> {
    let Some((period, version)) = period_at(subscription, now, versions)? else { return Ok(None) };
    let covered = period.covered;
    if subscription.is_paused_at(covered.from()) {
        return Ok(None);
    }
    let plan = plan_of(subscription, covered.from(), &version).map_err(CloseError::from)?;
    let since = reaching_back(subscription, covered.from(), &version).map_err(CloseError::from)?;
    let read = |meter| {
        let from = since.get(meter).map_or(covered.from(), |since| covered.from().min(*since));
        Period::new(from, covered.to()).map(|period| (meter, period))
    };
    let meters = plan.meters().into_iter().map(read).collect::<Result<Vec<_>, _>>().map_err(CloseError::from)?;
    let usage = metering.usage_of(&consumer.id, meters).await?;
    let carries_from = subscription.carries_from(covered.from(), period.whole, &plan.calendar);
    let carries_from = carries_from.map_err(CloseError::from)?;
    let inputs = Inputs {
        plan,
        programs: &version.book.programs,
        meters: &version.book.meters,
        period: covered,
        whole: period.whole,
        life_from: subscription.starts_at,
        carries_from,
        days: &subscription.days,
        changes: &subscription.changes,
        quantities: &subscription.quantities,
        usage: &usage,
    };
    let rated = quotas(&inputs, now, |program| rating::eligible(program, &|path| consumer.field(path)));
    let failed = |source| ClosingError::Rating { subscription: subscription.id.to_string(), source };
    let Quotas { components, spent } = rated.map_err(failed).map_err(CloseError::from)?;
    let (subscription, plan) = (subscription.id.clone(), plan.id.clone());
    Ok(Some(Running { subscription, plan, period: covered, spent, components }))
}
