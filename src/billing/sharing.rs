//! Who shares in what is charged: the consumers that usage names, where their plans have shares of it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::domain::book::plan::Plan;
use crate::domain::book::plan::SharedCharge;
use crate::domain::book::version::BookVersion;
use crate::domain::document::share::Terms;
use crate::domain::document::share::producers;
use crate::domain::document::share::shared_charges;
use crate::domain::document::share::sharers_of;
use crate::domain::rating::line::Usage;
use crate::domain::subscription::Subscription;
use crate::domain::time::Instant;
use crate::store;
use crate::store::Tx;

/// The shared charges of a price book, each with the dimensions that name producers.
type Shared = BTreeMap<SharedCharge, BTreeSet<String>>;

/// Producers that usage names, to be looked up together.
#[derive(Default)]
pub(in crate::billing) struct Producers {
    /// By price book.
    shared: BTreeMap<String, Shared>,
    /// By price book, and where a period of it ends.
    wanted: BTreeMap<(String, Instant), (Arc<BookVersion>, BTreeSet<String>)>,
}

impl Producers {
    /// Adds whom the usage names that a period under a plan is charged for.
    pub fn add(
        &mut self,
        version: &Arc<BookVersion>,
        plan: &Plan,
        until: Instant,
        usage: &BTreeMap<String, Vec<Usage>>,
    ) {
        let shared = self.shared.entry(version.id.clone()).or_insert_with(|| shared_charges(&version.book));
        let named = producers(plan, shared, usage);
        if named.is_empty() {
            return;
        }
        let of_version = self.wanted.entry((version.id.clone(), until));
        let (_, wanted) = of_version.or_insert_with(|| (version.clone(), BTreeSet::new()));
        for producer in named {
            if !wanted.contains(producer) {
                wanted.insert(producer.to_owned());
            }
        }
    }

    /// What they share in.
    pub async fn look_up<Mode>(self, tx: &mut Tx<Mode>) -> store::Result<Terms> {
        let mut known: BTreeMap<String, Vec<Subscription>> = BTreeMap::new();
        let mut sharers = Vec::new();
        for ((_, until), (version, producers)) in self.wanted {
            for producer in producers {
                if !known.contains_key(&producer) {
                    let subscriptions = tx.subscriptions(Some(&producer), None, i64::MAX).await?;
                    known.insert(producer.clone(), subscriptions);
                }
                for subscription in known.get(&producer).into_iter().flatten() {
                    sharers.extend(sharers_of(subscription, &version.id, &version.book, until));
                }
            }
        }
        Ok(Terms::new(sharers))
    }
}
