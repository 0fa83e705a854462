//! Adds up the chunks of a simulation, in their order, and has rewards share the budgets of their programs.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::billing::simulate::Came;
use crate::billing::simulate::Context;
use crate::billing::simulate::Periods;
use crate::billing::simulate::RatedItem;
use crate::billing::simulate::Running;
use crate::billing::simulate::SimulateError;
use crate::domain::book::version::BookVersion;
use crate::domain::document::closing::settle;
use crate::domain::money::MoneyError;
use crate::domain::rating::UnbudgetedReward;
use crate::domain::rating::line::Line;
use crate::domain::rating::line::LineKind;
use crate::domain::simulation::Side;
use crate::domain::simulation::Tally;
use crate::domain::time::Instant;

/// Rewards of one program on one side that fall due together, and the latest price book among theirs.
struct Waiting {
    latest: Arc<BookVersion>,
    rewards: Vec<(usize, UnbudgetedReward)>,
}

/// Adds up chunks in their order, and shares out budgets when everything of one instant is there.
pub(in crate::billing::simulate) struct Merger {
    context: Arc<Context>,
    at: Option<Instant>,
    waiting: BTreeMap<(Side, String), Waiting>,
    granted: BTreeMap<Side, BTreeMap<String, i64>>,
    periods: Periods,
    /// By subscription: the number of its consumer in the tally.
    numbers: Vec<usize>,
    tally: Tally,
}

impl Merger {
    pub fn new(context: Arc<Context>, granted: BTreeMap<String, i64>) -> Self {
        let granted = BTreeMap::from([(Side::Before, granted.clone()), (Side::After, granted)]);
        let mut tally = Tally::default();
        let numbers = context.subscribed.iter().map(|of| tally.consumer(&of.consumer.id)).collect();
        Self { context, at: None, waiting: BTreeMap::new(), granted, periods: Periods::default(), numbers, tally }
    }

    pub fn periods(&self) -> u64 {
        self.periods.before.max(self.periods.after)
    }

    /// Waits for a chunk and adds it, on a thread where that holds up nothing.
    pub async fn take(mut self, chunk: Running) -> Result<Self, SimulateError> {
        let rated = chunk.rated.await.map_err(|_| SimulateError::Stopped)??;
        let merged = tokio::task::spawn_blocking(move || {
            self.merge(chunk.at, rated)?;
            Ok(self)
        });
        merged.await.map_err(|_| SimulateError::Stopped)?
    }

    pub async fn finish(mut self) -> Result<(Tally, Periods), SimulateError> {
        let settled = tokio::task::spawn_blocking(move || {
            self.settle()?;
            Ok((self.tally, self.periods))
        });
        settled.await.map_err(|_| SimulateError::Stopped)?
    }

    fn merge(&mut self, at: Instant, rated: Vec<RatedItem>) -> Result<(), SimulateError> {
        if self.at != Some(at) {
            self.settle()?;
            self.at = Some(at);
        }
        for RatedItem { subscription, periods, lines, rewards, shares } in rated {
            for (side, to, share) in shares {
                let last = Instant::from_micros(share.period.to().micros().saturating_sub(1));
                let plan = self.context.subscribed[to].subscription.plan_at(last);
                let what = (share.component.as_str(), LineKind::Reward);
                self.tally.add(self.numbers[to], plan, what, side, share.amount)?;
            }
            self.periods.before += periods.before;
            self.periods.after += periods.after;
            for (sides, came) in lines {
                sides.iter().try_for_each(|side| self.add(subscription, *side, &came))?;
            }
            for (side, program, version, reward) in rewards {
                let waiting = self.waiting.entry((side, program));
                let waiting = waiting.or_insert_with(|| Waiting { latest: version.clone(), rewards: Vec::new() });
                if waiting.latest.effective_from < version.effective_from {
                    waiting.latest = version;
                }
                waiting.rewards.push((subscription, reward));
            }
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<(), SimulateError> {
        for ((side, program), Waiting { latest, rewards }) in std::mem::take(&mut self.waiting) {
            let granted = self.granted.entry(side).or_default();
            let lines = settle(&program, &latest, rewards, granted)?;
            let sum = granted.entry(program).or_default();
            for (_, line) in &lines {
                *sum = sum.checked_add(line.amount.minor()).ok_or(MoneyError::Overflow)?;
            }
            for (subscription, Line { component, kind, from, amount, .. }) in lines {
                self.add(subscription, side, &Came { component, kind, from, amount })?;
            }
        }
        Ok(())
    }

    fn add(&mut self, subscription: usize, side: Side, came: &Came) -> Result<(), MoneyError> {
        let plan = self.context.subscribed[subscription].subscription.plan_at(came.from);
        self.tally.add(self.numbers[subscription], plan, (&came.component, came.kind), side, came.amount)
    }
}
