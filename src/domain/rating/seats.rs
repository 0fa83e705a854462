//! Units that come and go, such as seats: they fill the tiers by their full count, in the order in which they come, and each
//! is priced by the share of the period that is left when it comes. Those that go are taken from the highest tier that is
//! filled, and give back the share that is left when they go. A tier's flat amount is due once it was ever entered.

use rust_decimal::Decimal;

use crate::domain::book::plan::Tier;
use crate::domain::book::plan::Tiers;
use crate::domain::rating::PriceError;
use crate::domain::rating::exact;
use crate::domain::rating::line::TierStep;

/// Units that come, or go if there are fewer than none, when `left` of the `whole` period is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub units: Decimal,
    pub left: Decimal,
    pub whole: Decimal,
}

/// What is there in each tier, and what it came to so far.
#[derive(Clone, Debug)]
pub struct Seats<'m> {
    tiers: Vec<Filled<'m>>,
}

#[derive(Clone, Debug)]
struct Filled<'m> {
    tier: &'m Tier,
    before: Decimal,
    units: Decimal,
    was_entered: bool,
    amount: Decimal,
    /// Units × what is left, of the whole in `whole`: divided when that changes or the amount is asked for, so that a third
    /// of a unit three times is one.
    weighted: Decimal,
    whole: Decimal,
}

impl<'m> Seats<'m> {
    pub fn new(tiers: &'m Tiers) -> Self {
        let mut before = Decimal::ZERO;
        let filled = tiers.iter().map(|tier| {
            let was_entered = before.is_zero();
            let [units, amount, weighted] = [Decimal::ZERO; 3];
            let filled = Filled { tier, before, units, was_entered, amount, weighted, whole: Decimal::ONE };
            before = tier.up_to.unwrap_or(before);
            filled
        });
        Self { tiers: filled.collect() }
    }

    pub fn change(&mut self, change: Change) -> Result<(), PriceError> {
        if change.units.is_sign_negative() { self.leave(change) } else { self.come(change) }
    }

    fn come(&mut self, Change { mut units, left, whole }: Change) -> Result<(), PriceError> {
        for filled in &mut self.tiers {
            let room = match filled.tier.up_to {
                Some(up_to) => exact::sub(exact::sub(up_to, filled.before)?, filled.units)?,
                None => units,
            };
            let added = units.min(room);
            if added.is_zero() {
                continue;
            }
            filled.add(added, left, whole)?;
            units = exact::sub(units, added)?;
        }
        match self.tiers.last().and_then(|last| last.tier.up_to) {
            Some(up_to) if !units.is_zero() => {
                Err(PriceError::QuantityOutOfRange { quantity: exact::add(up_to, units)?, up_to })
            }
            _ => Ok(()),
        }
    }

    /// Nobody leaves who is not there.
    fn leave(&mut self, Change { units, left, whole }: Change) -> Result<(), PriceError> {
        let mut units = units.abs();
        for filled in self.tiers.iter_mut().rev() {
            let removed = units.min(filled.units);
            if !removed.is_zero() {
                filled.add(exact::sub(Decimal::ZERO, removed)?, left, whole)?;
                units = exact::sub(units, removed)?;
            }
        }
        Ok(())
    }

    /// What all of it comes to, never below nothing.
    pub fn amount(&self) -> Result<Decimal, PriceError> {
        let steps = self.steps().try_fold(Decimal::ZERO, |sum, step| exact::add(sum, step?.amount))?;
        Ok(steps.max(Decimal::ZERO))
    }

    /// Every tier that was ever entered, with the units that are there now.
    pub fn steps(&self) -> impl Iterator<Item = Result<TierStep, PriceError>> + '_ {
        self.tiers.iter().filter(|filled| filled.was_entered).map(|filled| {
            Ok(TierStep {
                from: filled.before,
                up_to: filled.tier.up_to,
                units: filled.units,
                unit_amount: filled.tier.unit_amount,
                flat_amount: filled.tier.flat_amount,
                amount: exact::add(filled.cost()?, filled.tier.flat_amount)?,
                label: String::new(),
            })
        })
    }
}

impl Filled<'_> {
    fn add(&mut self, units: Decimal, left: Decimal, whole: Decimal) -> Result<(), PriceError> {
        if self.whole != whole {
            self.amount = self.cost()?;
            (self.weighted, self.whole) = (Decimal::ZERO, whole);
        }
        self.weighted = exact::add(self.weighted, exact::mul(units, left)?)?;
        self.units = exact::add(self.units, units)?;
        self.was_entered = true;
        Ok(())
    }

    /// What its units came to, without its flat amount.
    fn cost(&self) -> Result<Decimal, PriceError> {
        exact::add(self.amount, exact::share(self.tier.unit_amount, self.weighted, self.whole)?)
    }
}
