//! The golden charge and rounding cases, through the pure functions. Disputed cases follow the baseline.

use std::path::PathBuf;

use rust_decimal::Decimal;
use rust_decimal::RoundingStrategy::MidpointAwayFromZero;
use serde::Deserialize;

use crate::domain::book::plan::Model;
use crate::domain::book::plan::Modifiers;
use crate::domain::book::plan::Rounding;
use crate::domain::book::plan::Tier;
use crate::domain::book::plan::Tiers;
use crate::domain::book::plan::Transform;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::money::split_by_largest_remainder;
use crate::domain::rating::PriceError;
use crate::domain::rating::models;
use crate::domain::rating::modifiers::Part;
use crate::domain::rating::modifiers::PartAmounts;
use crate::domain::rating::modifiers::Previous;
use crate::domain::rating::modifiers::part;

#[derive(Deserialize)]
struct Case<P, I, E> {
    id: String,
    model: String,
    parameters: P,
    input: I,
    expected: E,
}

type Any = Case<serde_json::Value, serde_json::Value, serde_json::Value>;
type Charge = Case<Parameters, Input, Expected>;

/// Unknown fields are refused, so that no case passes by being half read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    amount: Option<Decimal>,
    unit_amount: Option<Decimal>,
    package_size: Option<Decimal>,
    package_amount: Option<Decimal>,
    free_units: Option<Decimal>,
    round: Option<Rounding>,
    tiers: Option<Vec<TierText>>,
    transform: Option<TransformText>,
    free_quantity: Option<Decimal>,
    base_amount: Option<Decimal>,
    percentage_discount: Option<Decimal>,
    maximum_amount: Option<Decimal>,
    minimum_amount: Option<Decimal>,
    currency_precision: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TierText {
    up_to: Option<Decimal>,
    unit_amount: Decimal,
    #[serde(default)]
    flat_amount: Decimal,
    package_size: Option<Decimal>,
    max_amount: Option<Decimal>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TransformText {
    divide_by: Decimal,
    round: Option<Rounding>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    quantity: Option<Decimal>,
    tier_quantity: Option<Decimal>,
    previous_quantity: Option<Decimal>,
    previous_billed_amount: Option<Decimal>,
    r#final: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    amount: Option<Decimal>,
    true_up: Option<Decimal>,
    maximum_discount: Option<Decimal>,
    tiers: Option<Vec<Decimal>>,
    effective_unit_amount: Option<Decimal>,
    effective_scale: Option<u32>,
    scale: Option<u32>,
    error: Option<String>,
}

fn cases(file: &str) -> Vec<Any> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let beside = root.ancestors().skip(1).map(|parent| parent.join("shared/golden"));
    let given = std::env::var_os("GOLDEN_DIR").map(PathBuf::from);
    let dir = given.into_iter().chain(beside).find(|dir| dir.join(file).is_file());
    let dir = dir.expect("the golden cases stand in ../shared/golden or GOLDEN_DIR");
    let text = std::fs::read_to_string(dir.join(file)).expect("the golden cases can be read");
    text.lines().map(|line| serde_json::from_str(line).expect("a golden case")).collect()
}

impl Parameters {
    fn model(&self, name: &str) -> Model {
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
            other => panic!("{other} is not rated here"),
        }
    }

    fn tiers(&self) -> Tiers {
        let tiers = self.tiers.as_ref().expect("there are tiers").iter().map(|tier| Tier {
            up_to: tier.up_to,
            unit_amount: tier.unit_amount,
            flat_amount: tier.flat_amount,
            package_size: tier.package_size,
            max_amount: tier.max_amount,
        });
        Tiers::new(tiers.collect()).expect("bounds rise")
    }

    fn modifiers(&self) -> Modifiers {
        let transform = self.transform.as_ref().map(|text| Transform { divide_by: text.divide_by, round: text.round });
        Modifiers {
            transform,
            free_quantity: self.free_quantity.or(self.free_units).unwrap_or_default(),
            base_amount: self.base_amount.unwrap_or_default(),
            percentage_discount: self.percentage_discount.unwrap_or_default(),
            maximum_amount: self.maximum_amount,
            minimum_amount: self.minimum_amount,
        }
    }
}

impl Input {
    fn part(&self) -> Part {
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

fn rounded(value: Decimal, decimals: Option<u32>) -> Decimal {
    decimals.map_or(value, |decimals| value.round_dp_with_strategy(decimals, MidpointAwayFromZero))
}

/// What differs from the expected numbers, in words; nothing if all agree.
fn differences(case: &Charge) -> Vec<String> {
    let model = case.parameters.model(&case.model);
    let input = case.input.part();
    let priced = part(&model, &case.parameters.modifiers(), &input);
    let expected = &case.expected;
    let priced = match (&expected.error, priced) {
        (Some(error), Err(PriceError::QuantityOutOfRange { .. })) if error == "quantity_out_of_range" => {
            return Vec::new();
        }
        (None, Ok(priced)) => priced,
        (error, priced) => return vec![format!("expected error {error:?}, got {priced:?}")],
    };
    let tiers = models::tier_steps(&model, priced.billable, input.tier_quantity).expect("it was priced");
    let tiers: Vec<Decimal> = tiers.iter().map(|tier| tier.amount).collect();
    let mut differences = amount_differences(case, &priced);
    if expected.tiers.as_ref().is_some_and(|expected| *expected != tiers) {
        differences.push(format!("tiers: expected {:?}, got {tiers:?}", expected.tiers));
    }
    differences
}

fn amount_differences(case: &Charge, priced: &PartAmounts) -> Vec<String> {
    let expected = &case.expected;
    let money = |exact: Decimal| rounded(rounded(exact, case.parameters.currency_precision), expected.scale);
    let quantity = case.input.quantity.unwrap_or_default();
    let effective = money(priced.amount).checked_div(quantity);
    let numbers = [
        ("amount", expected.amount, Some(money(priced.amount))),
        ("true_up", expected.true_up, Some(money(priced.true_up))),
        ("maximum_discount", expected.maximum_discount, Some(money(priced.maximum_discount))),
        (
            "effective_unit_amount",
            expected.effective_unit_amount.map(|unit| rounded(unit, expected.effective_scale)),
            effective.map(|unit| rounded(unit, expected.effective_scale)),
        ),
    ];
    let differs = |(name, expected, got): (&str, Option<Decimal>, Option<Decimal>)| {
        (expected.is_some() && expected != got).then(|| format!("{name}: expected {expected:?}, got {got:?}"))
    };
    numbers.into_iter().filter_map(differs).collect()
}

#[test]
fn every_charge_case_of_our_models_comes_to_its_numbers() {
    let models = ["flat", "per_unit", "package", "graduated", "volume"];
    let (mut ran, mut failed) = (0, 0);
    for case in cases("charge.jsonl").into_iter().filter(|case| models.contains(&case.model.as_str())) {
        let read = |value| serde_json::from_value(value);
        let case = Charge {
            parameters: read(case.parameters).unwrap_or_else(|error| panic!("{}: {error}", case.id)),
            input: serde_json::from_value(case.input).unwrap_or_else(|error| panic!("{}: {error}", case.id)),
            expected: serde_json::from_value(case.expected).unwrap_or_else(|error| panic!("{}: {error}", case.id)),
            id: case.id,
            model: case.model,
        };
        ran += 1;
        let differences = differences(&case);
        if !differences.is_empty() {
            failed += 1;
            println!("{}: {}", case.id, differences.join("; "));
        }
    }
    println!("{ran} charge cases, {failed} failed");
    assert!(ran >= 130, "only {ran} cases");
    assert_eq!(failed, 0);
}

fn decimal(value: &serde_json::Value) -> Decimal {
    Decimal::from_str_exact(value.as_str().expect("decimals are texts")).expect("a decimal")
}

fn decimals(value: &serde_json::Value) -> Vec<Decimal> {
    value.as_array().expect("a list").iter().map(decimal).collect()
}

/// Rounding happens in [`Money::round`]; the precision of a case chooses a currency that has as many decimals.
fn round_to(case: &Any, exact: Decimal) -> Money {
    let code = match case.parameters["precision"].as_u64() {
        Some(0) => "JPY",
        Some(2) => "EUR",
        Some(3) => "KWD",
        other => panic!("{}: no currency has {other:?} decimals", case.id),
    };
    Money::round(exact, Currency::from_code(code).expect("exists")).expect("fits")
}

fn rounding_result(case: &Any) -> Vec<Decimal> {
    match case.model.as_str() {
        "round" => vec![round_to(case, decimal(&case.input["value"])).decimal()],
        "sum_of_rounded" => {
            let rounded = decimals(&case.input["values"]).into_iter().map(|value| round_to(case, value).decimal());
            vec![rounded.sum()]
        }
        "true_up" => {
            let minimum = round_to(case, decimal(&case.parameters["minimum_amount"]));
            let used = round_to(case, decimal(&case.input["used_amount"]));
            vec![minimum.checked_sub(used).expect("fits").decimal().max(Decimal::ZERO)]
        }
        "distribute" => {
            let amounts = decimals(&case.input["amounts"]);
            let discount = decimal(&case.input["discount"]).min(amounts.iter().sum());
            let discount = round_to(case, discount);
            let shares = split_by_largest_remainder(discount.minor(), &amounts).expect("fits");
            let share = |minor| Money::from_minor(minor, discount.currency()).decimal();
            std::iter::zip(&amounts, shares).map(|(amount, minor)| amount - share(minor)).collect()
        }
        other => panic!("{}: {other} is not known", case.id),
    }
}

#[test]
fn every_rounding_case_comes_to_its_numbers() {
    let cases = cases("rounding.jsonl");
    for case in &cases {
        let expected = match &case.expected["remaining"] {
            serde_json::Value::Null => vec![decimal(&case.expected["value"])],
            list => decimals(list),
        };
        assert_eq!(rounding_result(case), expected, "{}", case.id);
    }
    assert!(cases.len() >= 17);
}
