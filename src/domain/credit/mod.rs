//! Prepaid credit: grants that usage burns down. Pure: what was granted and used goes in, what moved and what is left comes out.
//!
//! A grant is drawn on from when it takes effect until it expires or is voided, `effective_at <= t < end`. Which one usage
//! draws on first is said by [`Rules::order`]; what no grant covers is overage. What happens at one instant happens in this
//! order: a reset cuts what rolls over, grants end, begin or are refilled, overage that is carried is drawn, usage is drawn.
//!
//! Promises, for every course of events:
//! - Nothing is created: what a grant was given is what was drawn of it, what lapsed, and what is left, and no balance is ever
//!   below zero. Every change of a balance is a [`Movement`], so that it can be booked.
//! - What was used is what was drawn, what is still uncovered, and what a reset wrote off.
//! - A span cut in two comes to the same: what one run leaves is what the next begins with ([`Standing`]).
//!
//! Amounts are exact decimals, of money or of units of credit; nothing is rounded except what is bought ([`bought`]).

#[cfg(test)]
mod golden;
#[cfg(test)]
mod laws;
pub mod prepaid;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

use rust_decimal::Decimal;
use serde::Serialize;
use thiserror::Error;

use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::domain::period::Interval;
use crate::domain::period::Origin;
use crate::domain::period::PeriodError;
use crate::domain::period::Rhythm;
use crate::domain::time::Instant;
use crate::domain::time::Zone;

/// Credit that was given or bought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub id: String,
    /// What it begins with, and what a refill fills it up to.
    pub amount: Decimal,
    /// The lowest is drawn on first.
    pub priority: i64,
    pub source: Source,
    pub created_at: Instant,
    pub effective_at: Instant,
    /// Exclusive: nothing can be drawn in this moment any more.
    pub expires_at: Option<Instant>,
    pub voided_at: Option<Instant>,
    pub refill: Option<Refill>,
    pub rollover: Rollover,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    Granted,
    Purchased,
}

impl Source {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Purchased => "purchased",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Granted, Self::Purchased].into_iter().find(|source| source.as_str() == text)
    }
}

/// Fills a grant up to its amount at every boundary of a rhythm that is counted from `anchor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refill {
    pub interval: Interval,
    pub anchor: Instant,
}

/// What of a balance a reset leaves: at least and at most so much, and if they contradict each other, at most. By default
/// nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rollover {
    pub least: Decimal,
    pub most: Decimal,
}

/// What decides which of two grants is drawn on first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Priority,
    /// The one that expires first; one that never does comes last.
    Expiry,
    /// What was given before what was bought.
    Source,
    Creation,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The first key that tells two grants apart decides; if none does, their ids.
    pub order: Vec<Key>,
    /// Whether what nobody covered is drawn from the next grant or refill. If not it stays overage, which is invoiced.
    pub carries_overage: bool,
    /// Whether overage outlives a reset.
    pub keeps_overage_at_reset: bool,
}

/// An amount that was used at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    pub at: Instant,
    pub amount: Decimal,
}

/// How credit stands at an instant, after everything but the usage of that instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// By grant. One that has none yet and is in effect is untouched: it has its whole amount.
    pub balances: BTreeMap<String, Decimal>,
    pub overage: Decimal,
}

/// A change of a grant's balance. The amount is above zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement {
    pub at: Instant,
    pub grant: String,
    pub kind: MovementKind,
    pub amount: Decimal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MovementKind {
    /// It took effect, or a reset raised it to what rolls over at least.
    Given,
    Refilled,
    Drawn,
    Expired,
    Voided,
    /// What does not roll over.
    Forfeited,
}

/// What a span of time came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Burned {
    pub standing: Standing,
    /// In order of time, and within an instant in the order in which they happened.
    pub movements: Vec<Movement>,
    /// Overage that resets dropped.
    pub written_off: Decimal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CreditError {
    #[error("an amount of credit is larger than can be kept exactly")]
    TooLarge,
    #[error("{0} is below zero; credit is taken back by voiding its grant")]
    Negative(Decimal),
    #[error(transparent)]
    Period(#[from] PeriodError),
    #[error(transparent)]
    Money(#[from] MoneyError),
}

impl Grant {
    /// When it ends, and how.
    fn end(&self) -> Option<(Instant, MovementKind)> {
        let expiry = self.expires_at.map(|at| (at, MovementKind::Expired));
        let void = self.voided_at.map(|at| (at, MovementKind::Voided));
        expiry.into_iter().chain(void).min()
    }

    pub fn is_active(&self, at: Instant) -> bool {
        self.effective_at <= at && self.end().is_none_or(|(end, _)| at < end)
    }

    /// When it is filled up after `from` and by `until`, while it is active.
    fn refills(&self, from: Instant, until: Instant, zone: &Zone) -> Result<Vec<Instant>, CreditError> {
        let Some(Refill { interval, anchor }) = self.refill else { return Ok(Vec::new()) };
        let (rhythm, origin) = (Rhythm::each(interval), Origin::moment(anchor, zone));
        let mut at = from.max(self.effective_at);
        let mut refills = Vec::new();
        while at < until && self.is_active(at) {
            at = rhythm.period_at(origin, at, zone)?.to();
            if at <= until && self.is_active(at) {
                refills.push(at);
            }
        }
        Ok(refills)
    }
}

impl Rules {
    /// Which of two grants is drawn on first.
    pub fn compare(&self, a: &Grant, b: &Grant) -> Ordering {
        let by = |key: &Key| match key {
            Key::Priority => a.priority.cmp(&b.priority),
            Key::Expiry => (a.expires_at.is_none(), a.expires_at).cmp(&(b.expires_at.is_none(), b.expires_at)),
            Key::Source => a.source.cmp(&b.source),
            Key::Creation => a.created_at.cmp(&b.created_at),
        };
        self.order.iter().map(by).find(|order| order.is_ne()).unwrap_or_else(|| a.id.cmp(&b.id))
    }
}

/// Credits that are bought, in whole minor units, and what they cost at `rate` each.
pub fn bought(credits: Decimal, rate: Decimal, currency: Currency) -> Result<(Decimal, Money), MoneyError> {
    let credits = Money::round(credits, currency)?.decimal();
    let price = credits.checked_mul(rate).ok_or(MoneyError::Overflow)?;
    Ok((credits, Money::round(price, currency)?))
}

/// Burns grants down from `from` until `until`. `opening` is how they stand at `from`, after all that happens then but its
/// usage; what happens at `until` is in the result, but for its usage. Usage outside is left out, and its order does not
/// matter.
pub fn burn_down(
    grants: &[Grant],
    opening: Standing,
    (from, until): (Instant, Instant),
    used: &[Used],
    resets: &[Instant],
    (rules, zone): (&Rules, &Zone),
) -> Result<Burned, CreditError> {
    let amounts = grants.iter().map(|grant| grant.amount).chain(used.iter().map(|used| used.amount));
    if let Some(below) = amounts.into_iter().find(|amount| amount.is_sign_negative() && !amount.is_zero()) {
        return Err(CreditError::Negative(below));
    }
    let mut account = Account::open(grants, opening, from, rules)?;
    let is_within = |at: &Instant| from < *at && *at <= until;
    let resets: BTreeSet<Instant> = resets.iter().copied().filter(is_within).collect();
    let mut refills: BTreeSet<(Instant, &str)> = BTreeSet::new();
    let mut changes = resets.clone();
    for grant in grants {
        let turns = [Some(grant.effective_at), grant.end().map(|(end, _)| end)];
        changes.extend(turns.into_iter().flatten().filter(is_within));
        for at in grant.refills(from, until, zone)? {
            refills.insert((at, grant.id.as_str()));
            changes.insert(at);
        }
    }
    let mut used: Vec<Used> = used.iter().copied().filter(|used| from <= used.at && used.at < until).collect();
    used.sort_by_key(|used| used.at);
    let mut used = used.into_iter().peekable();
    account.draw_overage(from)?;
    for at in changes {
        while let Some(used) = used.next_if(|used| used.at < at) {
            account.draw(used)?;
        }
        if resets.contains(&at) {
            account.reset(at)?;
        }
        account.turn(at, |grant| refills.contains(&(at, grant.id.as_str())))?;
        account.draw_overage(at)?;
    }
    used.try_for_each(|used| account.draw(used))?;
    Ok(account.burned)
}

/// What is drawn on, the first one first.
struct Account<'g> {
    grants: Vec<&'g Grant>,
    rules: &'g Rules,
    burned: Burned,
}

impl<'g> Account<'g> {
    fn open(grants: &'g [Grant], opening: Standing, from: Instant, rules: &'g Rules) -> Result<Self, CreditError> {
        let mut in_order: Vec<&Grant> = grants.iter().collect();
        in_order.sort_by(|a, b| rules.compare(a, b));
        let burned = Burned { standing: opening, ..Burned::default() };
        let mut account = Self { grants: in_order, rules, burned };
        for grant in grants {
            let is_known = account.burned.standing.balances.contains_key(&grant.id);
            if !is_known && grant.is_active(from) {
                account.set(grant, from, MovementKind::Given, grant.amount)?;
            }
        }
        Ok(account)
    }

    fn balance(&self, grant: &Grant) -> Decimal {
        self.burned.standing.balances.get(&grant.id).copied().unwrap_or_default()
    }

    /// Changes a balance, and says by how much if it did.
    fn set(&mut self, grant: &Grant, at: Instant, kind: MovementKind, balance: Decimal) -> Result<(), CreditError> {
        let before = self.balance(grant);
        let amount = balance.checked_sub(before).ok_or(CreditError::TooLarge)?.abs();
        self.burned.standing.balances.insert(grant.id.clone(), balance);
        if !amount.is_zero() {
            self.burned.movements.push(Movement { at, grant: grant.id.clone(), kind, amount });
        }
        Ok(())
    }

    /// Cuts every balance to what rolls over, and drops overage unless it is kept.
    fn reset(&mut self, at: Instant) -> Result<(), CreditError> {
        if !self.rules.keeps_overage_at_reset {
            let overage = std::mem::take(&mut self.burned.standing.overage);
            self.burned.written_off = add(self.burned.written_off, overage)?;
        }
        for grant in self.grants.clone() {
            // One that ends now does not roll over, and one that begins now is not there yet.
            if grant.is_active(at) && grant.effective_at < at {
                let before = self.balance(grant);
                let Rollover { least, most } = grant.rollover;
                let rolls_over = before.max(least).min(most).max(Decimal::ZERO);
                let kind = if rolls_over > before { MovementKind::Given } else { MovementKind::Forfeited };
                self.set(grant, at, kind, rolls_over)?;
            }
        }
        Ok(())
    }

    /// Ends, begins and refills what does so at this instant.
    fn turn(&mut self, at: Instant, is_refilled: impl Fn(&Grant) -> bool) -> Result<(), CreditError> {
        for grant in self.grants.clone() {
            if let Some((end, kind)) = grant.end()
                && end == at
                && grant.effective_at < end
            {
                self.set(grant, at, kind, Decimal::ZERO)?;
            } else if grant.effective_at == at && grant.is_active(at) {
                self.set(grant, at, MovementKind::Given, grant.amount)?;
            } else if is_refilled(grant) {
                let balance = self.balance(grant).max(grant.amount);
                self.set(grant, at, MovementKind::Refilled, balance)?;
            }
        }
        Ok(())
    }

    fn draw(&mut self, used: Used) -> Result<(), CreditError> {
        let uncovered = self.take(used)?;
        self.burned.standing.overage = add(self.burned.standing.overage, uncovered)?;
        Ok(())
    }

    fn draw_overage(&mut self, at: Instant) -> Result<(), CreditError> {
        if self.rules.carries_overage {
            let amount = self.burned.standing.overage;
            self.burned.standing.overage = self.take(Used { at, amount })?;
        }
        Ok(())
    }

    /// Draws on one grant after the other, and says what none of them covers.
    fn take(&mut self, Used { at, amount }: Used) -> Result<Decimal, CreditError> {
        let mut rest = amount;
        for grant in self.grants.clone() {
            if rest.is_zero() {
                break;
            }
            if grant.is_active(at) {
                let balance = self.balance(grant);
                let drawn = balance.min(rest);
                rest = rest.checked_sub(drawn).ok_or(CreditError::TooLarge)?;
                self.set(grant, at, MovementKind::Drawn, balance.checked_sub(drawn).ok_or(CreditError::TooLarge)?)?;
            }
        }
        Ok(rest)
    }
}

fn add(a: Decimal, b: Decimal) -> Result<Decimal, CreditError> {
    a.checked_add(b).ok_or(CreditError::TooLarge)
}
