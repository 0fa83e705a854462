//! Models: what a quantity costs.

use rust_decimal::Decimal;

use crate::domain::book::parse::reader::Table;
use crate::domain::book::parse::value::Value;
use crate::domain::book::plan::Model;
use crate::domain::book::plan::Rounding;
use crate::domain::book::plan::Tier;
use crate::domain::book::plan::Tiers;

const MODELS: [(&str, Kind); 5] = [
    ("flat", Kind::Flat),
    ("per_unit", Kind::PerUnit),
    ("package", Kind::Package),
    ("graduated", Kind::Graduated),
    ("volume", Kind::Volume),
];
const LATER_MODELS: [&str; 8] = [
    "graduated_percentage",
    "percentage",
    "dynamic",
    "stairstep",
    "capacity",
    "matrix",
    "per_bucket",
    "graduated_prorated",
];
const ROUNDINGS: [(&str, Rounding); 2] = [("up", Rounding::Up), ("down", Rounding::Down)];

#[derive(Clone, Copy)]
enum Kind {
    Flat,
    PerUnit,
    Package,
    Graduated,
    Volume,
}

/// Reads the `model` of a component and the keys that belong to it.
pub fn read(table: &mut Table<'_>) -> Option<Model> {
    match table.required("model", |value| value.one_of(&MODELS, &LATER_MODELS)) {
        Some(Kind::Flat) => Some(Model::Flat { amount: table.required("amount", Value::not_negative)? }),
        Some(Kind::PerUnit) => {
            Some(Model::PerUnit { unit_amount: table.required("unit_amount", Value::not_negative)? })
        }
        Some(Kind::Package) => package(table),
        Some(Kind::Graduated) => table.required("tiers", tiers).map(Model::Graduated),
        Some(Kind::Volume) => table.required("tiers", tiers).map(Model::Volume),
        None => {
            table.accept_rest();
            None
        }
    }
}

pub fn rounding(value: Value<'_>) -> Option<Rounding> {
    value.one_of(&ROUNDINGS, &[])
}

fn package(table: &mut Table<'_>) -> Option<Model> {
    let package_size = table.required("package_size", Value::above_zero);
    let package_amount = table.required("package_amount", Value::not_negative);
    let round = table.optional("round", rounding).unwrap_or(Rounding::Up);
    Some(Model::Package { package_size: package_size?, package_amount: package_amount?, round })
}

/// Tiers whose bounds rise and of which only the last is open, so that every quantity has exactly one price.
fn tiers(list: Value<'_>) -> Option<Tiers> {
    let places = list.clone().items()?;
    let tiers: Option<Vec<Tier>> = places.iter().map(|place| place.clone().table("tier", tier)).collect();
    let tiers = tiers?;
    let mut before = Decimal::ZERO;
    for (number, (tier, place)) in (1_usize..).zip(tiers.iter().zip(&places)) {
        match (tier.up_to, number == tiers.len()) {
            (Some(up_to), false) if up_to > before => before = up_to,
            (Some(up_to), false) => out_of_order(place, number, up_to, before),
            (None, false) => open_in_the_middle(place, number),
            (Some(up_to), true) => bounded_last(place, number, up_to),
            (None, true) => {}
        }
    }
    if tiers.is_empty() {
        return list.wrong("no_tiers", "there is no tier".to_owned(), "add at least { unit_amount = \"…\" }");
    }
    Tiers::new(tiers).ok()
}

fn out_of_order(place: &Value<'_>, number: usize, up_to: Decimal, before: Decimal) {
    let message = format!("tier {number}: up_to {up_to} is not above the bound before it, {before}");
    place.wrong::<()>("tier_out_of_order", message, "let the bounds rise from tier to tier");
}

fn open_in_the_middle(place: &Value<'_>, number: usize) {
    let message = format!("tier {number} has no up_to, so the tiers after it are never reached");
    place.wrong::<()>("tier_open_in_the_middle", message, "give it an up_to, or move it to the end");
}

fn bounded_last(place: &Value<'_>, number: usize, up_to: Decimal) {
    let message = format!("tier {number} is the last and ends at {up_to}, so more than that has no price");
    place.wrong::<()>("last_tier_bounded", message, "leave out its up_to, or add an open tier after it");
}

fn tier(table: &mut Table<'_>) -> Option<Tier> {
    let up_to = table.optional_exact("up_to", Value::above_zero);
    let unit_amount = table.optional("unit_amount", Value::not_negative);
    let flat_amount = table.optional("flat_amount", Value::not_negative);
    let package_size = table.optional("package_size", Value::above_zero);
    let max_amount = table.optional("max_amount", Value::not_negative);
    if !table.has("unit_amount") && !table.has("flat_amount") {
        table.lacks("unit_amount", "add unit_amount = \"…\", or a flat_amount; \"0\" is free".to_owned());
    }
    Some(Tier {
        up_to: up_to?,
        unit_amount: unit_amount.unwrap_or(Decimal::ZERO),
        flat_amount: flat_amount.unwrap_or(Decimal::ZERO),
        package_size,
        max_amount,
    })
}
