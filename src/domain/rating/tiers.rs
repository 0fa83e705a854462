//! Tiered prices: which units fall into which tier, and what each tier comes to.
//!
//! A tier holds units in `(bound before it, up_to]`, and fractions may straddle a bound. The first tier is entered
//! even by nothing, so its flat amount is always due; a later one only by a quantity above the bound before it.

use rust_decimal::Decimal;

use crate::domain::book::plan::Rounding;
use crate::domain::book::plan::Tier;
use crate::domain::book::plan::Tiers;
use crate::domain::rating::PriceError;
use crate::domain::rating::exact;
use crate::domain::rating::line::TierStep;

/// Each unit at the price of the tier that it falls into: one step for every tier entered.
///
/// A quantity above a bounded last tier is an error, as the last step.
pub fn graduated(tiers: &Tiers, quantity: Decimal) -> impl Iterator<Item = Result<TierStep, PriceError>> {
    spans(tiers).take_while(move |(before, _)| before.is_zero() || *before < quantity).map(move |(before, tier)| {
        let end = match tier.up_to {
            Some(up_to) if quantity > up_to && is_last(tiers, tier) => {
                return Err(PriceError::QuantityOutOfRange { quantity, up_to });
            }
            Some(up_to) => quantity.min(up_to),
            None => quantity,
        };
        step(tier, before, exact::sub(end, before)?)
    })
}

/// The whole quantity at the price of the one tier that `chosen_by` falls into.
pub fn volume(tiers: &Tiers, quantity: Decimal, chosen_by: Decimal) -> Result<TierStep, PriceError> {
    for (before, tier) in spans(tiers) {
        match tier.up_to {
            Some(up_to) if chosen_by <= up_to => return step(tier, before, quantity),
            Some(up_to) if is_last(tiers, tier) => {
                return Err(PriceError::QuantityOutOfRange { quantity: chosen_by, up_to });
            }
            Some(_) => {}
            None => return step(tier, before, quantity),
        }
    }
    // Tiers are never empty, and the last one always answers.
    Err(PriceError::QuantityOutOfRange { quantity: chosen_by, up_to: Decimal::ZERO })
}

/// Every tier with the bound before it.
fn spans(tiers: &Tiers) -> impl Iterator<Item = (Decimal, &Tier)> {
    tiers.iter().scan(Decimal::ZERO, |bound, tier| {
        let before = *bound;
        *bound = tier.up_to.unwrap_or(before);
        Some((before, tier))
    })
}

fn is_last(tiers: &Tiers, tier: &Tier) -> bool {
    tiers.iter().last().is_some_and(|last| std::ptr::eq(last, tier))
}

/// What `units` come to in one tier: by unit or by started package, with the flat amount, up to the tier's maximum.
fn step(tier: &Tier, from: Decimal, units: Decimal) -> Result<TierStep, PriceError> {
    let priced = match tier.package_size {
        Some(size) => exact::whole_times(units, size, Rounding::Up)?,
        None => units,
    };
    let amount = exact::add(exact::mul(priced, tier.unit_amount)?, tier.flat_amount)?;
    Ok(TierStep {
        from,
        up_to: tier.up_to,
        units,
        unit_amount: tier.unit_amount,
        flat_amount: tier.flat_amount,
        amount: tier.max_amount.map_or(amount, |max| amount.min(max)),
        label: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tier(up_to: Option<i64>, unit: i64, flat: i64) -> Tier {
        Tier {
            up_to: up_to.map(Decimal::from),
            unit_amount: Decimal::from(unit),
            flat_amount: Decimal::from(flat),
            package_size: None,
            max_amount: None,
        }
    }

    fn amounts(tiers: &Tiers, quantity: Decimal) -> Result<Vec<Decimal>, PriceError> {
        graduated(tiers, quantity).map(|step| step.map(|step| step.amount)).collect()
    }

    #[test]
    fn a_bound_belongs_to_the_tier_below_and_a_fraction_straddles_it() {
        let tiers = Tiers::new(vec![tier(Some(10), 3, 7), tier(Some(20), 2, 5), tier(None, 1, 0)]).expect("rises");
        let decimals = |numbers: &[i64]| Ok(numbers.iter().map(|tenths| Decimal::new(*tenths, 1)).collect::<Vec<_>>());
        assert_eq!(amounts(&tiers, Decimal::ZERO), decimals(&[70]));
        assert_eq!(amounts(&tiers, Decimal::from(10)), decimals(&[370]));
        assert_eq!(amounts(&tiers, Decimal::new(105, 1)), decimals(&[370, 60]));
        assert_eq!(amounts(&tiers, Decimal::from(23)), decimals(&[370, 250, 30]));
        let at = |quantity| volume(&tiers, quantity, quantity).map(|step| step.amount);
        assert_eq!(at(Decimal::from(10)), Ok(Decimal::from(37)));
        assert_eq!(at(Decimal::new(105, 1)), Ok(Decimal::from(26)));
        assert_eq!(at(Decimal::from(21)), Ok(Decimal::from(21)));
    }

    #[test]
    fn a_quantity_above_a_bounded_last_tier_has_no_price() {
        let tiers = Tiers::new(vec![tier(Some(10), 3, 7), tier(Some(20), 2, 5)]).expect("rises");
        let (quantity, up_to) = (Decimal::new(201, 1), Decimal::from(20));
        let refused = PriceError::QuantityOutOfRange { quantity, up_to };
        assert_eq!(amounts(&tiers, quantity), Err(refused));
        assert_eq!(volume(&tiers, quantity, quantity), Err(refused));
        assert!(amounts(&tiers, up_to).is_ok() && volume(&tiers, up_to, up_to).is_ok());
    }

    #[test]
    fn packages_start_anew_in_each_tier_and_a_tier_may_have_a_maximum() {
        let packaged = Tier { package_size: Some(Decimal::from(4)), ..tier(Some(10), 5, 1) };
        let limited = Tier { max_amount: Some(Decimal::from(6)), ..tier(None, 2, 1) };
        let tiers = Tiers::new(vec![packaged, limited]).expect("rises");
        assert_eq!(amounts(&tiers, Decimal::from(12)), Ok(vec![Decimal::from(16), Decimal::from(5)]));
        assert_eq!(amounts(&tiers, Decimal::from(99)), Ok(vec![Decimal::from(16), Decimal::from(6)]));
    }
}
