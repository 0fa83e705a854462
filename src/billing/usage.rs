//! The usage that a period is rated from: its own, and what was before it of meters that reach back.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;

use crate::domain::book::version::BookVersion;
use crate::domain::document::closing::ClosingError;
use crate::domain::document::closing::reaching_back;
use crate::domain::period::Period;
use crate::domain::rating::line::Usage;
use crate::domain::subscription::Subscription;
use crate::domain::time::Instant;
use crate::store;
use crate::store::Tx;

/// By meter. `since` says which reach back, and how far. Usage that is not flushed is not seen.
pub(in crate::billing) async fn usage_of<Mode>(
    tx: &mut Tx<Mode>,
    consumer: &str,
    period: Period,
    since: &BTreeMap<&str, Instant>,
) -> store::Result<BTreeMap<String, Vec<Usage>>> {
    let mut usage = tx.usage_of(consumer, period).await?;
    for (meter, since) in since {
        let Ok(before) = Period::new(*since, period.from()) else { continue };
        let before = tx.usage_in(meter, Some(consumer), before).await?;
        if !before.is_empty() {
            let rows = before.iter().map(|(key, delta)| Usage::of(key, *delta));
            usage.entry((*meter).to_owned()).or_default().extend(rows);
        }
    }
    Ok(usage)
}

/// By consumer and meter. Consumers without usage are left out.
pub(in crate::billing) type UsageOfAll = HashMap<String, BTreeMap<String, Vec<Usage>>>;

/// Consumers whose usage of one period is read at once: to ask for each alone costs more than to rate it.
#[derive(Default)]
pub(in crate::billing) struct Together<'a> {
    consumers: BTreeSet<&'a str>,
    meters: BTreeSet<&'a str>,
    /// Meters that reach back before the period, and how far.
    since: BTreeMap<&'a str, Instant>,
}

impl<'a> Together<'a> {
    /// Adds the consumer of a subscription whose period begins at `from`, and of the price book the meters that are `wanted`.
    pub fn add(
        &mut self,
        subscription: &'a Subscription,
        from: Instant,
        version: &'a BookVersion,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<(), ClosingError> {
        self.consumers.insert(&subscription.consumer);
        self.meters.extend(version.book.meters.keys().map(String::as_str).filter(|meter| wanted(meter)));
        for (meter, since) in reaching_back(subscription, from, version)? {
            if wanted(meter) {
                let earliest = self.since.entry(meter).or_insert(since);
                *earliest = since.min(*earliest);
            }
        }
        Ok(())
    }

    pub async fn read<Mode>(&self, tx: &mut Tx<Mode>, period: Period) -> store::Result<UsageOfAll> {
        let consumers: Vec<&str> = self.consumers.iter().copied().collect();
        let meters: Vec<&str> = self.meters.iter().copied().collect();
        let mut usage = tx.usage_of_parties(&consumers, &meters, period).await?;
        let mut by_since: BTreeMap<Instant, Vec<&str>> = BTreeMap::new();
        for (meter, since) in &self.since {
            by_since.entry(*since).or_default().push(meter);
        }
        for (since, meters) in by_since {
            let Ok(before) = Period::new(since, period.from()) else { continue };
            for (consumer, meters) in tx.usage_of_parties(&consumers, &meters, before).await? {
                let of_consumer = usage.entry(consumer).or_default();
                meters.into_iter().for_each(|(meter, rows)| of_consumer.entry(meter).or_default().extend(rows));
            }
        }
        Ok(usage)
    }
}
