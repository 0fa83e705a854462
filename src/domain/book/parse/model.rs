//! Models: what a quantity costs.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use toml::de::DeValue;

use crate::domain::book::meter::Aggregation;
use crate::domain::book::meter::Meter;
use crate::domain::book::parse::Known;
use crate::domain::book::parse::reader::Table;
use crate::domain::book::parse::value::Value;
use crate::domain::book::plan::ByEvent;
use crate::domain::book::plan::CapacityTier;
use crate::domain::book::plan::Each;
use crate::domain::book::plan::Inner;
use crate::domain::book::plan::Matrix;
use crate::domain::book::plan::MatrixRate;
use crate::domain::book::plan::Model;
use crate::domain::book::plan::Percentage;
use crate::domain::book::plan::Rounding;
use crate::domain::book::plan::Share;
use crate::domain::book::plan::Tier;
use crate::domain::book::plan::Tiers;
use crate::domain::time::Bucket;

const MODELS: [(&str, Kind); 13] = [
    ("flat", Kind::Flat),
    ("per_unit", Kind::PerUnit),
    ("package", Kind::Package),
    ("graduated", Kind::Graduated),
    ("volume", Kind::Volume),
    ("graduated_percentage", Kind::GraduatedPercentage),
    ("percentage", Kind::Percentage),
    ("dynamic", Kind::Dynamic),
    ("stairstep", Kind::Stairstep),
    ("capacity", Kind::Capacity),
    ("matrix", Kind::Matrix),
    ("per_bucket", Kind::PerBucket),
    ("graduated_prorated", Kind::GraduatedProrated),
];
const ROUNDINGS: [(&str, Rounding); 2] = [("up", Rounding::Up), ("down", Rounding::Down)];
const EACH: [(&str, Each); 4] =
    [("bucket", Each::Bucket), ("day", Each::Day), ("week", Each::Week), ("month", Each::Month)];
const SHARES: [(&str, Share); 2] = [("day", Share::Day), ("second", Share::Second)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Flat,
    PerUnit,
    Package,
    Graduated,
    Volume,
    GraduatedPercentage,
    Percentage,
    Dynamic,
    Stairstep,
    Capacity,
    Matrix,
    PerBucket,
    GraduatedProrated,
}

/// Reads the `model` of a component and the keys that belong to it. `meter` is the component's, if it is known.
pub fn read(table: &mut Table<'_>, meter: Option<&Meter>, known: &Known) -> Option<Model> {
    let kind = table.required("model", |value| value.one_of(&MODELS, &[]));
    let Some(kind) = kind else {
        table.accept_rest();
        return None;
    };
    let model = match kind {
        Kind::Capacity => capacity(table, meter, known),
        Kind::Matrix => matrix(table, meter),
        Kind::Percentage => percentage(table, meter),
        Kind::PerBucket => per_bucket(table, meter),
        Kind::GraduatedProrated => graduated_prorated(table, meter),
        kind => of_quantity(table, kind),
    };
    if model.as_ref().is_some_and(|model| !model.is_of_quantity()) {
        only_of_quantity(table, kind);
    }
    model
}

/// The models that price a quantity, however it came about.
fn of_quantity(table: &mut Table<'_>, kind: Kind) -> Option<Model> {
    match kind {
        Kind::Flat => Some(Model::Flat { amount: table.required("amount", Value::not_negative)? }),
        Kind::PerUnit => Some(Model::PerUnit { unit_amount: table.required("unit_amount", Value::not_negative)? }),
        Kind::Package => package(table),
        Kind::Graduated => table.required("tiers", |list| tiers(list, tier)).map(Model::Graduated),
        Kind::Volume => table.required("tiers", |list| tiers(list, tier)).map(Model::Volume),
        Kind::GraduatedPercentage => {
            table.required("tiers", |list| tiers(list, rate_tier)).map(Model::GraduatedPercentage)
        }
        Kind::Stairstep => table.required("tiers", |list| tiers(list, stair)).map(Model::Stairstep),
        Kind::Dynamic => {
            let multiplier = table.optional("multiplier", Value::not_negative).unwrap_or(Decimal::ONE);
            Some(Model::Dynamic { multiplier })
        }
        Kind::Percentage | Kind::Capacity | Kind::Matrix | Kind::PerBucket | Kind::GraduatedProrated => None,
    }
}

/// Refuses what changes a quantity where more is priced than one.
fn only_of_quantity(table: &mut Table<'_>, kind: Kind) {
    let why = "this model prices more of the usage than its sum";
    table.refuse("transform", "transform_without_quantity", why, "leave it out; a meter's `value` can divide");
    if kind != Kind::Percentage {
        let fix = match kind {
            Kind::PerBucket => "put it into `each`, where it is free in every window",
            _ => "leave it out",
        };
        table.refuse("free_quantity", "free_quantity_without_quantity", why, fix);
    }
}

fn percentage(table: &mut Table<'_>, meter: Option<&Meter>) -> Option<Model> {
    let rate = table.required("rate", Value::not_negative);
    let fixed_amount = table.optional("fixed_amount", Value::not_negative).unwrap_or(Decimal::ZERO);
    let by_event = ByEvent {
        free_events: table.optional("free_events", Value::whole),
        free_amount: table.optional("free_amount", Value::above_zero),
        minimum: table.optional("per_transaction_min_amount", Value::not_negative),
        maximum: table.optional("per_transaction_max_amount", Value::not_negative),
    };
    if by_event.is_used() {
        by_single_events(table, meter);
        let fix = "use free_amount, which is free event by event";
        table.refuse("free_quantity", "free_quantity_without_quantity", "events are priced one by one", fix);
    }
    Some(Model::Percentage(Percentage { rate: rate?, fixed_amount, by_event }))
}

/// Notes a meter whose usage does not keep single events.
fn by_single_events(table: &mut Table<'_>, meter: Option<&Meter>) {
    let Some(meter) = meter else { return };
    if meter.bucket != Bucket::Event || meter.aggregation != Aggregation::Sum {
        let message = format!("meter `{}` does not keep each event's money", meter.id);
        let fix = "use a meter with aggregation = \"sum\" and bucket = \"event\"";
        wrong_meter(table, "meter_without_events", message, fix);
    }
}

fn capacity(table: &mut Table<'_>, meter: Option<&Meter>, known: &Known) -> Option<Model> {
    let list = table.get("tiers");
    let Some(list) = list else {
        table.lacks(
            "tiers",
            "add tiers = [ { limits = { METER = \"…\" }, amount = \"…\" }, { amount = \"…\" } ]".to_owned(),
        );
        return None;
    };
    let places = list.clone().items()?;
    let read = |place: &Value<'_>| place.clone().table("tier", |table| capacity_tier(table, known));
    let tiers: Option<Vec<CapacityTier>> = places.iter().map(read).collect();
    let tiers = tiers?;
    if tiers.is_empty() {
        return list.wrong("no_tiers", "there is no tier".to_owned(), "add at least { amount = \"…\" }");
    }
    for (tier, place) in tiers.iter().zip(&places).take(tiers.len().saturating_sub(1)) {
        if tier.limits.is_empty() {
            open_in_the_middle(place, tiers.iter().position(|other| other == tier).unwrap_or(0).saturating_add(1));
        }
    }
    if let (Some(last), Some(place)) = (tiers.last().filter(|last| !last.limits.is_empty()), places.last()) {
        let message = format!("tier {} is the last and has limits, so more than that has no price", tiers.len());
        let fix = format!("add a tier without limits after it; it has {}", last.limits.len());
        place.wrong::<()>("last_tier_bounded", message, fix);
    }
    if let Some(meter) = meter.filter(|meter| !tiers.iter().any(|tier| tier.limits.contains_key(&meter.id))) {
        let message = format!("no tier limits `{}`, the meter of this component", meter.id);
        wrong_meter(table, "capacity_without_its_meter", message, "name one of the meters that the tiers limit");
    }
    let why = "a capacity has one price for all of its meters";
    table.refuse("group_by", "group_by_of_capacity", why, "leave it out");
    Some(Model::Capacity(tiers))
}

fn capacity_tier(table: &mut Table<'_>, known: &Known) -> Option<CapacityTier> {
    let limits = table.optional("limits", |value| {
        let pairs = value.pairs()?;
        pairs
            .into_iter()
            .map(|pair| {
                let meter = known.meters.known_key(&pair)?;
                Some((meter, pair.not_negative()?))
            })
            .collect::<Option<BTreeMap<_, _>>>()
    });
    let amount = table.required("amount", Value::not_negative);
    let limits = if table.has("limits") { limits? } else { BTreeMap::new() };
    Some(CapacityTier { limits, amount: amount? })
}

fn matrix(table: &mut Table<'_>, meter: Option<&Meter>) -> Option<Model> {
    let rates = table.each("rates", |value| value.table("rate", |table| matrix_rate(table, meter)));
    let default_unit_amount = table.optional("default_unit_amount", Value::not_negative);
    if !table.has("rates") {
        table.lacks("rates", "add rates = [ { when = { DIMENSION = \"…\" }, unit_amount = \"…\" } ]".to_owned());
    }
    Some(Model::Matrix(Matrix { rates, default_unit_amount }))
}

fn matrix_rate(table: &mut Table<'_>, meter: Option<&Meter>) -> Option<MatrixRate> {
    let when = table.required("when", |value| {
        let condition = |pair: Value<'_>| {
            let dimension = dimension_key(&pair, meter)?;
            Some((dimension, one_or_more(pair)?))
        };
        value.pairs()?.into_iter().map(condition).collect::<Option<BTreeMap<_, _>>>()
    });
    let unit_amount = table.required("unit_amount", Value::not_negative);
    Some(MatrixRate { when: when?, unit_amount: unit_amount? })
}

fn dimension_key(pair: &Value<'_>, meter: Option<&Meter>) -> Option<String> {
    let name = pair.key;
    let Some(meter) = meter.filter(|meter| !meter.dimensions.contains_key(name)) else { return Some(name.to_owned()) };
    let known = meter.dimensions.keys().map(String::as_str);
    pair.clone().unknown_name(
        "unknown_dimension",
        format!("meter `{}` has no dimension `{name}`", meter.id),
        name,
        known,
    )
}

/// A text, or a list of texts.
fn one_or_more(value: Value<'_>) -> Option<Vec<String>> {
    if !matches!(value.raw, DeValue::Array(_)) {
        return Some(vec![value.text()?.to_owned()]);
    }
    let items = value.clone().items()?;
    if items.is_empty() {
        return value.wrong(
            "no_values",
            "no value is listed".to_owned(),
            "list at least one, or leave the dimension out",
        );
    }
    items.into_iter().map(|item| Some(item.text()?.to_owned())).collect()
}

fn per_bucket(table: &mut Table<'_>, meter: Option<&Meter>) -> Option<Model> {
    let per = table.required("per", |value| value.one_of(&EACH, &[]));
    let inner = table.required("each", |value| value.table("each", inner));
    if let Some(meter) = meter.filter(|meter| meter.carries_over()) {
        let message = format!("what meter `{}` measures goes on from one window to the next", meter.id);
        wrong_meter(table, "meter_carries_over", message, "use a meter that begins anew, such as a sum or a max");
    }
    Some(Model::PerBucket { per: per?, inner: Box::new(inner?) })
}

fn inner(table: &mut Table<'_>) -> Option<Inner> {
    const INNER: [(&str, Kind); 7] = [
        ("flat", Kind::Flat),
        ("per_unit", Kind::PerUnit),
        ("package", Kind::Package),
        ("graduated", Kind::Graduated),
        ("volume", Kind::Volume),
        ("graduated_percentage", Kind::GraduatedPercentage),
        ("stairstep", Kind::Stairstep),
    ];
    let Some(kind) = table.required("model", |value| value.one_of(&INNER, &[])) else {
        table.accept_rest();
        return None;
    };
    let model = of_quantity(table, kind);
    let free_quantity = table.optional("free_quantity", Value::not_negative).unwrap_or(Decimal::ZERO);
    Some(Inner { model: model?, free_quantity })
}

fn graduated_prorated(table: &mut Table<'_>, meter: Option<&Meter>) -> Option<Model> {
    let tiers = table.required("tiers", |list| tiers(list, seat_tier));
    let prorate = table.optional("prorate", |value| value.one_of(&SHARES, &[])).unwrap_or(Share::Day);
    if let Some(meter) = meter
        && (meter.bucket != Bucket::Event || meter.aggregation != Aggregation::WeightedSum)
    {
        let message = format!("meter `{}` does not keep when units came and went", meter.id);
        let fix = "use a meter with aggregation = \"weighted_sum\" and bucket = \"event\"";
        wrong_meter(table, "meter_without_level", message, fix);
    }
    Some(Model::GraduatedProrated { tiers: tiers?, prorate })
}

/// Notes, where the component names its meter, why that is none for the model.
fn wrong_meter(table: &mut Table<'_>, code: &'static str, message: String, fix: &str) {
    if let Some(meter) = table.get("meter") {
        meter.wrong::<()>(code, message, fix);
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
fn tiers(list: Value<'_>, tier: fn(&mut Table<'_>) -> Option<Tier>) -> Option<Tiers> {
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

/// `rate` is in percent of the money in the tier.
fn rate_tier(table: &mut Table<'_>) -> Option<Tier> {
    let up_to = table.optional_exact("up_to", Value::above_zero);
    let rate = table.required("rate", Value::not_negative);
    let flat_amount = table.optional("flat_amount", Value::not_negative).unwrap_or(Decimal::ZERO);
    let unit_amount = rate?.checked_mul(Decimal::new(1, 2))?.normalize();
    Some(Tier { unit_amount, flat_amount, ..open_tier(up_to?) })
}

fn stair(table: &mut Table<'_>) -> Option<Tier> {
    let up_to = table.optional_exact("up_to", Value::above_zero);
    let flat_amount = table.required("flat_amount", Value::not_negative);
    Some(Tier { flat_amount: flat_amount?, ..open_tier(up_to?) })
}

fn seat_tier(table: &mut Table<'_>) -> Option<Tier> {
    let up_to = table.optional_exact("up_to", Value::above_zero);
    let unit_amount = table.required("unit_amount", Value::not_negative);
    let flat_amount = table.optional("flat_amount", Value::not_negative).unwrap_or(Decimal::ZERO);
    Some(Tier { unit_amount: unit_amount?, flat_amount, ..open_tier(up_to?) })
}

fn open_tier(up_to: Option<Decimal>) -> Tier {
    Tier { up_to, unit_amount: Decimal::ZERO, flat_amount: Decimal::ZERO, package_size: None, max_amount: None }
}
