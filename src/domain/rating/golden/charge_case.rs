//! A golden charge case as it is written, and as the book would say it.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::Deserialize;

use crate::domain::book::plan::ByEvent;
use crate::domain::book::plan::CapacityTier;
use crate::domain::book::plan::Each;
use crate::domain::book::plan::Inner;
use crate::domain::book::plan::Matrix;
use crate::domain::book::plan::MatrixRate;
use crate::domain::book::plan::Model;
use crate::domain::book::plan::Modifiers;
use crate::domain::book::plan::Percentage;
use crate::domain::book::plan::Prorate;
use crate::domain::book::plan::Rounding;
use crate::domain::book::plan::Share;
use crate::domain::book::plan::Tier;
use crate::domain::book::plan::Tiers;
use crate::domain::book::plan::Transform;
use crate::domain::rating::golden::Case;
use crate::domain::rating::modifiers::Part;
use crate::domain::rating::modifiers::Previous;

pub type Charge = Case<Parameters, Input, Expected>;

/// Unknown fields are refused, so that no case passes by being half read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    pub amount: Option<Decimal>,
    pub unit_amount: Option<Decimal>,
    pub package_size: Option<Decimal>,
    pub package_amount: Option<Decimal>,
    pub free_units: Option<Decimal>,
    pub round: Option<Rounding>,
    pub tiers: Option<Vec<TierText>>,
    pub rate: Option<Decimal>,
    pub fixed_amount: Option<Decimal>,
    pub free_events: Option<u64>,
    pub free_amount: Option<Decimal>,
    pub per_transaction_min_amount: Option<Decimal>,
    pub per_transaction_max_amount: Option<Decimal>,
    pub multiplier: Option<Decimal>,
    pub dimensions: Option<Vec<String>>,
    pub rates: Option<Vec<RateText>>,
    pub default_unit_amount: Option<Decimal>,
    pub bucket_model: Option<String>,
    pub bucket_parameters: Option<Box<Self>>,
    pub transform: Option<TransformText>,
    pub free_quantity: Option<Decimal>,
    pub base_amount: Option<Decimal>,
    pub percentage_discount: Option<Decimal>,
    pub maximum_amount: Option<Decimal>,
    pub minimum_amount: Option<Decimal>,
    pub currency_precision: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierText {
    pub up_to: Option<Decimal>,
    pub unit_amount: Option<Decimal>,
    pub rate: Option<Decimal>,
    pub amount: Option<Decimal>,
    pub limits: Option<BTreeMap<String, Option<Decimal>>>,
    #[serde(default)]
    pub flat_amount: Decimal,
    pub package_size: Option<Decimal>,
    pub max_amount: Option<Decimal>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateText {
    pub when: BTreeMap<String, OneOrMore>,
    pub unit_amount: Decimal,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub enum OneOrMore {
    One(String),
    More(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransformText {
    pub divide_by: Decimal,
    pub round: Option<Rounding>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    pub events: Option<Vec<EventText>>,
    pub previous_events: Option<Vec<EventText>>,
    pub buckets: Option<Vec<Decimal>>,
    pub quantities: Option<BTreeMap<String, Decimal>>,
    pub quantity: Option<Decimal>,
    pub tier_quantity: Option<Decimal>,
    pub previous_quantity: Option<Decimal>,
    pub previous_billed_amount: Option<Decimal>,
    pub r#final: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventText {
    pub value: Option<Decimal>,
    pub amount: Option<Decimal>,
    #[serde(default)]
    pub dimensions: BTreeMap<String, String>,
    pub units: Option<Decimal>,
    pub prorated_units: Option<Decimal>,
    /// Such as `21/30`.
    pub factor: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    pub by_dimension: Option<Vec<OfDimension>>,
    pub by_rate: Option<Vec<OfRate>>,
    pub amount: Option<Decimal>,
    pub true_up: Option<Decimal>,
    pub maximum_discount: Option<Decimal>,
    pub tiers: Option<Vec<Decimal>>,
    pub effective_unit_amount: Option<Decimal>,
    pub effective_scale: Option<u32>,
    pub scale: Option<u32>,
    pub error: Option<String>,
}

/// What one combination of dimensions comes to; a missing one is null.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfDimension {
    pub when: BTreeMap<String, Option<String>>,
    pub quantity: Decimal,
    pub amount: Decimal,
}

/// What one rate comes to; none is the default.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfRate {
    pub rate: Option<usize>,
    pub quantity: Decimal,
    pub amount: Decimal,
}

impl Parameters {
    pub fn model(&self, name: &str) -> Model {
        match name {
            "flat" => Model::Flat { amount: self.amount.expect("flat has an amount") },
            "per_unit" => Model::PerUnit { unit_amount: self.unit_amount.expect("per_unit has a unit_amount") },
            "package" => Model::Package {
                package_size: self.package_size.expect("package has a size"),
                package_amount: self.package_amount.expect("package has an amount"),
                round: self.round.unwrap_or(Rounding::Up),
            },
            "graduated" => Model::Graduated(self.tiers()),
            "volume" => Model::Volume(self.tiers()),
            "graduated_percentage" => Model::GraduatedPercentage(self.tiers()),
            "stairstep" => Model::Stairstep(self.tiers()),
            "dynamic" => Model::Dynamic { multiplier: self.multiplier.unwrap_or(Decimal::ONE) },
            "percentage" => Model::Percentage(Percentage {
                rate: self.rate.expect("percentage has a rate"),
                fixed_amount: self.fixed_amount.unwrap_or_default(),
                by_event: ByEvent {
                    free_events: self.free_events,
                    free_amount: self.free_amount,
                    minimum: self.per_transaction_min_amount,
                    maximum: self.per_transaction_max_amount,
                },
            }),
            "capacity" => Model::Capacity(self.capacity_tiers()),
            "matrix" => Model::Matrix(self.matrix()),
            "per_bucket" => {
                let parameters = self.bucket_parameters.as_ref().expect("there are parameters of a bucket");
                let model = parameters.model(self.bucket_model.as_ref().expect("there is a model of a bucket"));
                let free_quantity = parameters.modifiers().free_quantity;
                Model::PerBucket { per: Each::Bucket, inner: Box::new(Inner { model, free_quantity }) }
            }
            "graduated_prorated" => Model::GraduatedProrated { tiers: self.tiers(), prorate: Share::Day },
            other => panic!("{other} is not rated here"),
        }
    }

    fn tiers(&self) -> Tiers {
        let hundredth = Decimal::new(1, 2);
        let tiers = self.tiers.as_ref().expect("there are tiers").iter().map(|tier| Tier {
            up_to: tier.up_to,
            unit_amount: tier.unit_amount.or(tier.rate.map(|rate| rate * hundredth)).unwrap_or_default(),
            flat_amount: tier.flat_amount,
            package_size: tier.package_size,
            max_amount: tier.max_amount,
        });
        Tiers::new(tiers.collect()).expect("bounds rise")
    }

    fn capacity_tiers(&self) -> Vec<CapacityTier> {
        let limits = |tier: &TierText| {
            let limits = tier.limits.iter().flatten();
            limits.filter_map(|(meter, up_to)| Some((meter.clone(), (*up_to)?))).collect()
        };
        let tier = |tier| CapacityTier { limits: limits(tier), amount: tier.amount.expect("a capacity has an amount") };
        self.tiers.as_ref().expect("there are tiers").iter().map(tier).collect()
    }

    fn matrix(&self) -> Matrix {
        let values = |values: &OneOrMore| match values.clone() {
            OneOrMore::One(value) => vec![value],
            OneOrMore::More(values) => values,
        };
        let rates = self.rates.iter().flatten().map(|rate| MatrixRate {
            when: rate.when.iter().map(|(name, listed)| (name.clone(), values(listed))).collect(),
            unit_amount: rate.unit_amount,
        });
        Matrix { rates: rates.collect(), default_unit_amount: self.default_unit_amount }
    }

    pub fn modifiers(&self) -> Modifiers {
        let transform = self.transform.as_ref().map(|text| Transform { divide_by: text.divide_by, round: text.round });
        Modifiers {
            transform,
            free_quantity: self.free_quantity.or(self.free_units).unwrap_or_default(),
            base_amount: self.base_amount.unwrap_or_default(),
            commitment: None,
            percentage_discount: self.percentage_discount.unwrap_or_default(),
            maximum_amount: self.maximum_amount,
            minimum_amount: self.minimum_amount,
            minimum_prorate: Prorate::None,
        }
    }
}

impl Input {
    pub fn part(&self) -> Part {
        let is_in_parts = self.previous_quantity.is_some() || self.previous_billed_amount.is_some();
        let previous = is_in_parts.then(|| Previous {
            quantity: self.previous_quantity.unwrap_or_default(),
            billed: self.previous_billed_amount,
        });
        Part {
            quantity: self.quantity.unwrap_or_default(),
            tier_quantity: self.tier_quantity,
            previous,
            is_last: self.r#final.unwrap_or(true),
        }
    }
}
