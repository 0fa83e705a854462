//! What each charge case comes to.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use rust_decimal::Decimal;
use rust_decimal::RoundingStrategy::MidpointAwayFromZero;

use crate::domain::book::meter::Aggregation;
use crate::domain::book::meter::Meter;
use crate::domain::book::plan::Matrix;
use crate::domain::book::plan::Model;
use crate::domain::measure::nano::Nano;
use crate::domain::period::Period;
use crate::domain::rating::PriceError;
use crate::domain::rating::course;
use crate::domain::rating::course::Point;
use crate::domain::rating::golden::charge_case::Charge;
use crate::domain::rating::golden::charge_case::EventText;
use crate::domain::rating::golden::charge_case::Input;
use crate::domain::rating::golden::charge_case::OfDimension;
use crate::domain::rating::golden::charge_case::OfRate;
use crate::domain::rating::line::TierStep;
use crate::domain::rating::line::Usage;
use crate::domain::rating::models;
use crate::domain::rating::modifiers;
use crate::domain::rating::modifiers::Part;
use crate::domain::rating::modifiers::PartAmounts;
use crate::domain::rating::modifiers::Previous;
use crate::domain::rating::modifiers::part;
use crate::domain::rating::quantity::Source;
use crate::domain::rating::quantity::groups;
use crate::domain::time::Instant;
use crate::domain::time::Zone;

fn rounded(value: Decimal, decimals: Option<u32>) -> Decimal {
    decimals.map_or(value, |decimals| value.round_dp_with_strategy(decimals, MidpointAwayFromZero))
}

/// What differs from the expected numbers, in words; nothing if all agree.
pub fn differences(case: &Charge) -> Vec<String> {
    let model = case.parameters.model(&case.model);
    if let Model::Dynamic { .. } = model {
        return differences_of(case, &model, &dynamic(&case.input));
    }
    if model.is_of_quantity() {
        return differences_of(case, &model, &case.input.part());
    }
    let points = points(&model, &case.input);
    let left = |at: Instant| share(case.input.events.as_ref().and_then(|events| events.get(index_of(at))));
    let modifiers = case.parameters.modifiers();
    let priced = course::run(&model, modifiers.free_quantity, &points, left).and_then(|course| {
        Ok((modifiers::around(&modifiers, Decimal::ZERO, course.price(), case.input.part().is_last)?, course))
    });
    let (amounts, course) = match (&case.expected.error, priced) {
        (Some(error), Err(PriceError::QuantityOutOfRange { .. })) if error == "quantity_out_of_range" => {
            return Vec::new();
        }
        (None, Ok(priced)) => priced,
        (error, priced) => return vec![format!("expected error {error:?}, got {priced:?}")],
    };
    let priced = PartAmounts {
        amount: amounts.total,
        true_up: amounts.total - amounts.limited,
        maximum_discount: amounts.discounted - amounts.limited,
        billable: Decimal::ZERO,
    };
    let mut differences = amount_differences(case, &priced);
    differences.extend(tier_differences(case, &course.tiers));
    if let Model::Matrix(matrix) = &model {
        differences.extend(matrix_differences(case, matrix));
    }
    differences
}

/// Of a model that prices a quantity, perhaps in parts.
fn differences_of(case: &Charge, model: &Model, input: &Part) -> Vec<String> {
    let priced = part(model, &case.parameters.modifiers(), input);
    let expected = &case.expected;
    let priced = match (&expected.error, priced) {
        (Some(error), Err(PriceError::QuantityOutOfRange { .. })) if error == "quantity_out_of_range" => {
            return Vec::new();
        }
        (None, Ok(priced)) => priced,
        (error, priced) => return vec![format!("expected error {error:?}, got {priced:?}")],
    };
    let tiers = models::tier_steps(model, priced.billable, input.tier_quantity).expect("it was priced");
    let mut differences = amount_differences(case, &priced);
    differences.extend(tier_differences(case, &tiers));
    differences
}

fn tier_differences(case: &Charge, tiers: &[TierStep]) -> Option<String> {
    let tiers: Vec<Decimal> = tiers.iter().map(|tier| tier.amount).collect();
    let expected = case.expected.tiers.as_ref().filter(|expected| **expected != tiers)?;
    Some(format!("tiers: expected {expected:?}, got {tiers:?}"))
}

/// The quantity of a dynamic price is the money of its events.
fn dynamic(input: &Input) -> Part {
    let money = |events: &Option<Vec<EventText>>| -> Decimal {
        events.iter().flatten().map(|event| event.amount.expect("an event has an amount")).sum()
    };
    let previous = input.previous_events.as_ref();
    let previous = previous.map(|_| Previous { quantity: money(&input.previous_events), billed: None });
    Part { quantity: money(&input.events), tier_quantity: None, previous, is_last: input.r#final.unwrap_or(true) }
}

/// The input as a course takes it: one point an event, a second apart.
fn points(model: &Model, input: &Input) -> Vec<Point> {
    let at = |index: usize| Instant::from_micros(i64::try_from(index).expect("few") * 1_000_000);
    let point = |index, strand, quantity| Point { at: at(index), strand, quantity, events: 0 };
    let events = || input.events.iter().flatten().enumerate();
    match model {
        Model::Percentage(_) => {
            let (mut sum, mut count) = (Decimal::ZERO, 0);
            let so_far = |(index, event): (usize, &EventText)| {
                sum += event.value.expect("an event has a value");
                count += 1;
                Point { events: count, ..point(index, 0, sum) }
            };
            events().map(so_far).collect()
        }
        Model::Capacity(tiers) => {
            let quantities = input.quantities.as_ref().expect("there are quantities");
            let meters = course::capacity_meters(tiers).into_iter().enumerate();
            meters.filter_map(|(strand, meter)| Some(point(strand, strand, *quantities.get(meter)?))).collect()
        }
        Model::Matrix(matrix) => {
            let mut sums: BTreeMap<usize, Decimal> = BTreeMap::new();
            let so_far = |(index, event): (usize, &EventText)| {
                let rate = matrix.rate_for(&event.dimensions).unwrap_or(matrix.rates.len());
                let sum = sums.entry(rate).or_default();
                *sum += event.value.expect("an event has a value");
                point(index, rate, *sum)
            };
            events().map(so_far).collect()
        }
        Model::PerBucket { .. } => {
            let buckets = input.buckets.iter().flatten().enumerate();
            buckets.map(|(index, quantity)| point(index, 0, *quantity)).collect()
        }
        Model::GraduatedProrated { .. } => {
            events().map(|(index, event)| point(index, 0, event.units.expect("an event has units"))).collect()
        }
        other => panic!("{other:?} prices a quantity"),
    }
}

fn index_of(at: Instant) -> usize {
    usize::try_from(at.micros() / 1_000_000).expect("not negative")
}

/// The share of the period for which an event's units count.
fn share(event: Option<&EventText>) -> (Decimal, Decimal) {
    let Some(event) = event else { return (Decimal::ONE, Decimal::ONE) };
    match (&event.factor, event.prorated_units, event.units) {
        (Some(factor), ..) => {
            let (part, whole) = factor.split_once('/').unwrap_or((factor, "1"));
            (part.parse().expect("a number"), whole.parse().expect("a number"))
        }
        (None, Some(prorated), Some(units)) => (prorated, units),
        _ => (Decimal::ONE, Decimal::ONE),
    }
}

/// A line a combination of the `dimensions`, and what each rate comes to over all of them.
fn matrix_differences(case: &Charge, matrix: &Matrix) -> Vec<String> {
    let row = |(index, event): (usize, &EventText)| Usage {
        bucket: Instant::from_micros(i64::try_from(index).expect("few") * 1_000_000),
        dimensions: event.dimensions.clone(),
        item: String::new(),
        value: event.value.and_then(Nano::from_decimal).expect("an event has a value"),
        count: 1,
    };
    let meter = Meter::example(Aggregation::Sum);
    let rows = case.input.events.iter().flatten().enumerate().map(row).collect();
    let (usage, meters) = (BTreeMap::from([(meter.id.clone(), rows)]), BTreeMap::new());
    let names = case.parameters.dimensions.clone().unwrap_or_default();
    let model = Model::Matrix(matrix.clone());
    let span = Period::new(Instant::from_micros(0), Instant::from_micros(i64::MAX)).expect("a period");
    let source = Source {
        model: &model,
        meter: &meter,
        meters: &meters,
        usage: &usage,
        group_by: &names,
        milestones: None,
        span,
        life_from: span.from(),
        zone: &Zone::utc(),
        every_point: true,
    };
    let (mut by_dimension, mut by_rate) = (Vec::new(), BTreeMap::<_, (Decimal, Decimal)>::new());
    for group in groups(&source).expect("is measured") {
        let course =
            course::run(&model, Decimal::ZERO, &group.points, |_| (Decimal::ONE, Decimal::ONE)).expect("is priced");
        let when = names.iter().map(|name| (name.clone(), group.dimensions.get(name).cloned())).collect();
        by_dimension.push(OfDimension { when, quantity: group.quantity, amount: course.price() });
        for step in course.tiers {
            let rate = matrix.rates.iter().position(|rate| rate.label() == step.label);
            let sums = by_rate.entry(rate).or_default();
            *sums = (sums.0 + step.units, sums.1 + step.amount);
        }
    }
    let by_rate = by_rate.into_iter().map(|(rate, (quantity, amount))| OfRate { rate, quantity, amount }).collect();
    let expected = &case.expected;
    [differs("by_dimension", &expected.by_dimension, by_dimension), differs("by_rate", &expected.by_rate, by_rate)]
        .into_iter()
        .flatten()
        .collect()
}

/// In any order.
fn differs<T: Ord + std::fmt::Debug>(name: &str, expected: &Option<Vec<T>>, got: Vec<T>) -> Option<String> {
    let got: BTreeSet<&T> = got.iter().collect();
    let expected: BTreeSet<&T> = expected.as_ref()?.iter().collect();
    (expected != got).then(|| format!("{name}: expected {expected:?}, got {got:?}"))
}

fn amount_differences(case: &Charge, priced: &PartAmounts) -> Vec<String> {
    let expected = &case.expected;
    let money = |exact: Decimal| rounded(rounded(exact, case.parameters.currency_precision), expected.scale);
    let of_events = || case.input.events.iter().flatten().filter_map(|event| event.value).sum();
    let quantity = case.input.quantity.unwrap_or_else(of_events);
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
