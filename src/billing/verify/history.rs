//! What was closed before, so that what came late is found anew: not by the notes that closings go by, but by comparing usage.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::billing::close::CloseError;
use crate::billing::late::Closed;
use crate::billing::verify::again::Member;
use crate::billing::verify::again::usage_of;
use crate::domain::document::Occasion;
use crate::domain::document::adjust::Adjusted;
use crate::domain::document::adjust::Past;
use crate::domain::document::adjust::adjust;
use crate::domain::document::adjust::budgets_of;
use crate::domain::document::closing::Documents;
use crate::domain::document::closing::reaching_back;
use crate::domain::document::share::Share;
use crate::domain::document::share::Terms;
use crate::domain::ids::SubscriptionId;
use crate::domain::measure::delta::Delta;
use crate::domain::measure::delta::Key;
use crate::domain::rating::line::Line;
use crate::domain::rating::line::LineKind;

/// Closed periods in the order of their closings, with the usage that they were last rated from.
#[derive(Default)]
pub(super) struct History {
    past: Vec<Past>,
    /// Those that got more or less because others did, and whose next document will say so.
    waiting: BTreeSet<Closed>,
    /// What producers earned of what they were charged, by what was charged.
    shared: BTreeMap<Closed, Vec<Share>>,
}

/// What corrections of earlier periods come to.
pub(super) struct Corrected {
    /// What programs have granted, as it comes to now.
    pub granted: BTreeMap<String, i64>,
    /// What producers get or give back.
    pub shares: Vec<Share>,
}

impl History {
    /// Rates again what changed of the members' earlier periods, and gives them the differences.
    pub fn adjust(
        &mut self,
        members: &mut [Member],
        usage: &BTreeMap<Key, Delta>,
        granted: &BTreeMap<String, i64>,
        terms: &Terms,
    ) -> Result<Corrected, CloseError> {
        let closing = members.iter().filter(|member| member.closed.occasion == Occasion::Closing);
        let due: BTreeSet<SubscriptionId> = closing.clone().map(|member| member.subscription.id.clone()).collect();
        let parties: BTreeSet<String> = closing.map(|member| member.closed.consumer.id.clone()).collect();
        let mut touched = Vec::new();
        let mut now = Vec::with_capacity(self.past.len());
        let (mut budgets, mut first): (BTreeSet<String>, Option<i64>) = (BTreeSet::new(), None);
        for past in &mut self.past {
            let covered = past.period.covered;
            let since = reaching_back(&past.subscription, covered.from(), &past.version)?;
            let used = usage_of(usage, &past.version, (&past.consumer.id, covered), &since);
            let closed = (past.subscription.id.clone(), covered.from());
            let waits = self.waiting.contains(&closed);
            let is_other = used != past.usage;
            past.is_changed = waits || due.contains(&past.subscription.id) && is_other;
            if !past.is_changed && is_other && parties.contains(&past.consumer.id) {
                touched.push(closed);
            }
            if past.is_changed {
                let shared = budgets_of(&past.subscription, past.period, &past.version)?;
                if !shared.is_empty() {
                    first = first.or(Some(past.closing));
                    budgets.extend(shared.into_iter().map(str::to_owned));
                }
            }
            now.push(used);
        }
        if !self.past.iter().any(|past| past.is_changed) {
            self.waiting.extend(touched);
            return Ok(Corrected { granted: granted.clone(), shares: Vec::new() });
        }
        let (mut again, mut places) = (Vec::new(), Vec::new());
        for (place, (past, used)) in self.past.iter().zip(now).enumerate() {
            let shares = || -> Result<bool, CloseError> {
                let shared = budgets_of(&past.subscription, past.period, &past.version)?;
                Ok(first.is_some_and(|first| first <= past.closing) && shared.iter().any(|id| budgets.contains(*id)))
            };
            if past.is_changed || shares()? {
                let closed = (past.subscription.id.clone(), past.period.covered.from());
                let shared = self.shared.get(&closed).cloned().unwrap_or_default();
                again.push(Past { usage: used, shared, ..past.clone() });
                places.push(place);
            }
        }
        let Adjusted { lines, mut shares, granted } = adjust(&again, granted, terms)?;
        shares.retain(|share| due.contains(&share.charged));
        for ((place, again), lines) in places.into_iter().zip(again).zip(lines) {
            let id = again.subscription.id.clone();
            let closed = (id.clone(), again.period.covered.from());
            if due.contains(&id) {
                self.waiting.remove(&closed);
                if let Some(past) = self.past.get_mut(place) {
                    if again.is_changed {
                        past.usage = again.usage;
                    }
                    past.said.extend(lines.iter().cloned());
                }
                let mut own = members.iter_mut().filter(|member| member.subscription.id == id);
                if let Some(member) = own.find(|member| member.closed.occasion == Occasion::Closing) {
                    member.adjustments.extend(lines);
                }
            } else if !lines.is_empty() {
                self.waiting.insert(closed);
            }
        }
        self.waiting.extend(touched);
        Ok(Corrected { granted, shares })
    }

    /// Remembers what producers earned.
    pub fn add_shares(&mut self, shares: &[Share]) {
        for share in shares {
            self.shared.entry((share.charged.clone(), share.period.from())).or_default().push(share.clone());
        }
    }

    /// Remembers what was closed, and what its documents say of its own usage.
    pub fn add(&mut self, closing: i64, member: &Member, made: &Documents) {
        let over = member.subscription.is_over_at(member.period.covered.from());
        if member.closed.occasion != Occasion::Closing || over {
            return;
        }
        let invoiced = made.invoice.iter().flat_map(|invoice| &invoice.totals.lines);
        let rewarded = made.payout.iter().flat_map(|payout| &payout.lines);
        let of_usage = |line: &&Line| line.kind != LineKind::Fee && !line.is_adjustment() && !line.is_share();
        self.past.push(Past {
            closing,
            subscription: member.subscription.clone(),
            consumer: member.closed.consumer.clone(),
            period: member.period,
            version: member.version.clone(),
            usage: member.usage.clone(),
            said: invoiced.chain(rewarded).filter(of_usage).cloned().collect(),
            shared: Vec::new(),
            is_changed: false,
        });
    }
}
