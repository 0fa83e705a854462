//! What producers would get of what others would be charged.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;

use crate::billing::simulate::Subscribed;
use crate::billing::simulate::agenda::Half;
use crate::domain::book::plan::SharedCharge;
use crate::domain::book::version::BookVersion;
use crate::domain::document::closing::ClosingError;
use crate::domain::document::closing::plan_of;
use crate::domain::document::share::Share;
use crate::domain::document::share::Source;
use crate::domain::document::share::Terms;
use crate::domain::document::share::producers;
use crate::domain::document::share::shared_charges;
use crate::domain::document::share::sharers_of;
use crate::domain::ids::SubscriptionId;
use crate::domain::rating::line::Line;
use crate::domain::simulation::Trial;

/// What is needed to divide charges; empty where no book shares any.
#[derive(Default)]
pub(in crate::billing::simulate) struct Sharing {
    /// By price book, where it shares something.
    shared: HashMap<String, BTreeMap<SharedCharge, BTreeSet<String>>>,
    by_consumer: HashMap<String, Vec<usize>>,
    by_id: HashMap<SubscriptionId, usize>,
}

impl Sharing {
    pub fn of<'a>(versions: impl Iterator<Item = &'a Arc<BookVersion>>, subscribed: &[Subscribed]) -> Self {
        let mut sharing = Self::default();
        for version in versions {
            let shared = shared_charges(&version.book);
            if !shared.is_empty() {
                sharing.shared.insert(version.id.clone(), shared);
            }
        }
        if !sharing.shared.is_empty() {
            for (index, Subscribed { subscription, .. }) in subscribed.iter().enumerate() {
                sharing.by_consumer.entry(subscription.consumer.clone()).or_default().push(index);
                sharing.by_id.insert(subscription.id.clone(), index);
            }
        }
        sharing
    }

    /// Whether something that is charged is shared, on either side.
    pub fn is_of(&self, sides: [&Half; 2]) -> bool {
        sides.iter().any(|half| self.shared.contains_key(&half.version.id))
    }

    /// The shares of what a period is charged, each with the subscription that gets it.
    pub fn divide(
        &self,
        subscribed: &[Subscribed],
        trial: &Trial<'_>,
        charges: &[Line],
    ) -> Result<Vec<(usize, Share)>, ClosingError> {
        let Trial { subscription, period, version, usage, .. } = *trial;
        let Some(shared) = self.shared.get(&version.id) else { return Ok(Vec::new()) };
        let plan = plan_of(subscription, period.covered.from(), version)?;
        let named = producers(plan, shared, usage);
        let of_producers = named.iter().filter_map(|producer| self.by_consumer.get(*producer)).flatten();
        let sharers = of_producers.flat_map(|index| {
            sharers_of(&subscribed[*index].subscription, &version.id, &version.book, period.covered.to())
        });
        let period = period.covered;
        let source = Source { subscription: &subscription.id, period, plan, book_version: &version.id, usage };
        let shares = Terms::new(sharers.collect())
            .divide(&source, charges)
            .map_err(|source| ClosingError::Money { subscription: subscription.id.to_string(), source })?;
        Ok(shares.into_iter().filter_map(|share| Some((*self.by_id.get(&share.to)?, share))).collect())
    }
}
