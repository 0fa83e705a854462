//! What a quantity costs under a model. The same for charges and rewards.
//!
//! A quantity is cumulative over the period; one below zero counts as zero.

use rust_decimal::Decimal;

use crate::domain::book::plan::Model;
use crate::domain::rating::PriceError;
use crate::domain::rating::exact;
use crate::domain::rating::line::TierStep;
use crate::domain::rating::tiers;

/// The exact price of a quantity, for the models that follow from it alone. `chosen_by` is the quantity that chooses the
/// tier of a volume price where it is not the billed one, such as the full quantity of a prorated one.
pub fn price(model: &Model, quantity: Decimal, chosen_by: Option<Decimal>) -> Result<Decimal, PriceError> {
    let quantity = quantity.max(Decimal::ZERO);
    match model {
        Model::Flat { amount } => Ok(*amount),
        Model::PerUnit { unit_amount } => exact::mul(quantity, *unit_amount),
        Model::Dynamic { multiplier } => exact::mul(quantity, *multiplier),
        Model::Package { package_size, package_amount, round } => {
            exact::mul(exact::whole_times(quantity, *package_size, *round)?, *package_amount)
        }
        Model::Graduated(tiers) | Model::GraduatedPercentage(tiers) => {
            tiers::graduated(tiers, quantity).try_fold(Decimal::ZERO, |sum, step| exact::add(sum, step?.amount))
        }
        Model::Volume(tiers) | Model::Stairstep(tiers) => {
            Ok(tiers::volume(tiers, quantity, chosen_by.unwrap_or(quantity))?.amount)
        }
        Model::Percentage(_)
        | Model::Capacity(_)
        | Model::Matrix(_)
        | Model::PerBucket { .. }
        | Model::GraduatedProrated { .. } => Err(PriceError::NotOfQuantity),
    }
}

/// What each tier that was entered came to, in order; nothing for models without tiers. Sums to [`price`].
pub fn tier_steps(model: &Model, quantity: Decimal, chosen_by: Option<Decimal>) -> Result<Vec<TierStep>, PriceError> {
    let quantity = quantity.max(Decimal::ZERO);
    match model {
        Model::Graduated(tiers) | Model::GraduatedPercentage(tiers) => tiers::graduated(tiers, quantity).collect(),
        Model::Volume(tiers) | Model::Stairstep(tiers) => {
            Ok(vec![tiers::volume(tiers, quantity, chosen_by.unwrap_or(quantity))?])
        }
        Model::Flat { .. } | Model::PerUnit { .. } | Model::Package { .. } | Model::Dynamic { .. } => Ok(Vec::new()),
        Model::Percentage(_)
        | Model::Capacity(_)
        | Model::Matrix(_)
        | Model::PerBucket { .. }
        | Model::GraduatedProrated { .. } => Err(PriceError::NotOfQuantity),
    }
}
