//! What surrounds the model: changes to the quantity before it, and to the amount after it.
//!
//! In this order: `transform` on the period's cumulative quantity → (caps by units, in [`super::caps`]) →
//! `free_quantity` → the model → `base_amount` → `percentage_discount` → what is beyond a `commitment`, times its factor →
//! `maximum_amount` → the true-up of a commitment → `minimum_amount`.
//!
//! A period may be billed in parts. Then everything is computed for the whole quantity so far, and a part comes to
//! what that is more than before; true-up and minimum are due with the last part only.

use std::borrow::Cow;

use rust_decimal::Decimal;

use crate::domain::book::plan::Commitment;
use crate::domain::book::plan::Model;
use crate::domain::book::plan::Modifiers;
use crate::domain::book::plan::Transform;
use crate::domain::period::Period;
use crate::domain::rating::PriceError;
use crate::domain::rating::course;
use crate::domain::rating::exact;
use crate::domain::rating::fees;
use crate::domain::rating::models;
use crate::domain::rating::percentage;
use crate::domain::time::Zone;

/// What a counted quantity comes to, after each step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amounts {
    /// The quantity left after the free one.
    pub billable: Decimal,
    /// The model's price of it.
    pub price: Decimal,
    pub with_base: Decimal,
    pub discounted: Decimal,
    /// What is beyond the commitment counts as often as its factor says.
    pub with_overage: Decimal,
    /// At most the maximum.
    pub limited: Decimal,
    /// At least the commitment, if that is trued up.
    pub trued_up: Decimal,
    /// At least the minimum.
    pub total: Decimal,
}

/// The modifiers of all or a part of a period.
pub struct OfPeriod<'m> {
    pub modifiers: Cow<'m, Modifiers>,
    /// How much a part has of what is agreed for a whole period, such as `25 of 28 days`; none where that is all.
    pub share: Option<String>,
}

/// A part of a period that is billed on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub quantity: Decimal,
    /// The quantity that chooses the tier of a volume price, where it is not the billed one.
    pub tier_quantity: Option<Decimal>,
    /// What of the period was billed before.
    pub previous: Option<Previous>,
    pub is_last: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Previous {
    pub quantity: Decimal,
    /// The amount, where it is known; else what the quantity came to.
    pub billed: Option<Decimal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartAmounts {
    pub amount: Decimal,
    /// What the commitment and the minimum add to the amount.
    pub true_up: Decimal,
    /// What the maximum cut off.
    pub maximum_discount: Decimal,
    /// The quantity of the whole period that was priced.
    pub billable: Decimal,
}

/// Of commitment, maximum and minimum as much as a part of a whole period has.
pub fn of_period<'m>(
    modifiers: &'m Modifiers,
    (part, whole): (Period, Period),
    zone: &Zone,
) -> Result<OfPeriod<'m>, PriceError> {
    let prorate = modifiers.minimum_prorate;
    let Some(share) = fees::share(prorate, (part, whole), zone).filter(|_| part != whole) else {
        return Ok(OfPeriod { modifiers: Cow::Borrowed(modifiers), share: None });
    };
    let of_part = |amount: Decimal| fees::prorated(amount, prorate, (part, whole), zone);
    let mut modifiers = modifiers.clone();
    if let Some(commitment) = &mut modifiers.commitment {
        commitment.amount = of_part(commitment.amount)?;
    }
    modifiers.maximum_amount = modifiers.maximum_amount.map(of_part).transpose()?;
    modifiers.minimum_amount = modifiers.minimum_amount.map(of_part).transpose()?;
    Ok(OfPeriod { modifiers: Cow::Owned(modifiers), share: Some(share) })
}

/// The quantity in the units of the price. One below zero counts as zero.
pub fn transformed(transform: Option<&Transform>, quantity: Decimal) -> Result<Decimal, PriceError> {
    let quantity = quantity.max(Decimal::ZERO);
    match transform {
        None => Ok(quantity),
        Some(Transform { divide_by, round: None }) => exact::div(quantity, *divide_by),
        Some(Transform { divide_by, round: Some(round) }) => exact::whole_times(quantity, *divide_by, *round),
    }
}

/// What a transformed and capped quantity comes to, under a model that prices it alone.
pub fn amounts(
    model: &Model,
    modifiers: &Modifiers,
    counted: Decimal,
    tier_quantity: Option<Decimal>,
    is_last: bool,
) -> Result<Amounts, PriceError> {
    let billable = course::paid(counted, modifiers.free_quantity)?;
    around(modifiers, billable, models::price(model, billable, tier_quantity)?, is_last)
}

/// What surrounds a model's price of a quantity.
pub fn around(modifiers: &Modifiers, billable: Decimal, price: Decimal, is_last: bool) -> Result<Amounts, PriceError> {
    let with_base = exact::add(price, modifiers.base_amount)?;
    let discounted = discounted(with_base, modifiers.percentage_discount)?;
    let with_overage = match &modifiers.commitment {
        Some(commitment) => exact::add(discounted, overage(commitment, discounted)?)?,
        None => discounted,
    };
    let limited = modifiers.maximum_amount.map_or(with_overage, |maximum| with_overage.min(maximum));
    let commitment = modifiers.commitment.as_ref().filter(|commitment| commitment.true_up && is_last);
    let trued_up = commitment.map_or(limited, |commitment| limited.max(commitment.amount));
    let minimum = modifiers.minimum_amount.filter(|_| is_last);
    let total = minimum.map_or(trued_up, |minimum| trued_up.max(minimum));
    Ok(Amounts { billable, price, with_base, discounted, with_overage, limited, trued_up, total })
}

/// What the factor of a commitment adds to an amount: nothing up to the commitment.
pub fn overage(commitment: &Commitment, amount: Decimal) -> Result<Decimal, PriceError> {
    let beyond = exact::sub(amount, commitment.amount)?.max(Decimal::ZERO);
    exact::mul(beyond, exact::sub(commitment.overage_factor, Decimal::ONE)?)
}

/// What one part of a period comes to.
pub fn part(model: &Model, modifiers: &Modifiers, part: &Part) -> Result<PartAmounts, PriceError> {
    let of = |quantity, tier_quantity, is_last| {
        let counted = transformed(modifiers.transform.as_ref(), quantity)?;
        amounts(model, modifiers, counted, tier_quantity, is_last)
    };
    let Some(previous) = part.previous else {
        let now = of(part.quantity, part.tier_quantity, part.is_last)?;
        return difference(&now, Decimal::ZERO, Decimal::ZERO);
    };
    let now = of(exact::add(previous.quantity, part.quantity)?, part.tier_quantity, part.is_last)?;
    let before = of(previous.quantity, None, false)?;
    let cut_before = exact::sub(before.with_overage, before.limited)?;
    difference(&now, previous.billed.unwrap_or(before.limited), cut_before)
}

fn difference(now: &Amounts, billed: Decimal, cut_before: Decimal) -> Result<PartAmounts, PriceError> {
    Ok(PartAmounts {
        amount: exact::sub(now.total, billed)?,
        true_up: exact::sub(now.total, now.limited)?,
        maximum_discount: exact::sub(exact::sub(now.with_overage, now.limited)?, cut_before)?,
        billable: now.billable,
    })
}

fn discounted(amount: Decimal, percent: Decimal) -> Result<Decimal, PriceError> {
    if percent.is_zero() { Ok(amount) } else { percentage::percent(amount, exact::sub(Decimal::ONE_HUNDRED, percent)?) }
}
