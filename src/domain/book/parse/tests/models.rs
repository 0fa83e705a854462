//! Models: each as it is written, and what is wrong with it.

use super::*;
use crate::domain::book::facts;
use crate::domain::book::plan::Component;

const MORE_METERS: &str = r#"
[[meter]]
id = "fares"
event_type = "flight.completed"
aggregation = "sum"
value = "data.fare"
dimensions = { origin = "data.origin", cabin = "data.cabin" }
bucket = "event"

[[meter]]
id = "seats"
event_type = "flight.completed"
aggregation = "weighted_sum"
value = "data.seats"
bucket = "event"
"#;

const EVERY_MODEL: &str = r#"
[plan]
id = "airline"

[[plan.component]]
id = "a"
kind = "charge"
meter = "fares"
model = "graduated_percentage"
tiers = [ { up_to = "1000", rate = "2.5", flat_amount = "1" }, { rate = "1" } ]

[[plan.component]]
id = "b"
kind = "charge"
meter = "fares"
model = "percentage"
rate = "2.9"
fixed_amount = "0.30"
free_events = "3"
free_amount = "500"
per_transaction_min_amount = "0.50"
per_transaction_max_amount = "12"

[[plan.component]]
id = "c"
kind = "charge"
meter = "fares"
model = "dynamic"
multiplier = "1.05"

[[plan.component]]
id = "d"
kind = "charge"
meter = "miles"
model = "stairstep"
tiers = [ { up_to = "1000", flat_amount = "10" }, { flat_amount = "50" } ]

[[plan.component]]
id = "e"
kind = "charge"
meter = "miles"
model = "capacity"
tiers = [ { limits = { miles = "1000", fares = "10" }, amount = "10" }, { amount = "50" } ]

[[plan.component]]
id = "f"
kind = "charge"
meter = "fares"
model = "matrix"
group_by = ["cabin"]
rates = [ { when = { origin = ["EWR", "JFK"], cabin = "first" }, unit_amount = "2" }, { when = { origin = "EWR" }, unit_amount = "1" } ]
default_unit_amount = "3"

[[plan.component]]
id = "g"
kind = "charge"
meter = "miles"
model = "per_bucket"
per = "day"
each = { model = "graduated", tiers = [ { up_to = "10", unit_amount = "1" }, { unit_amount = "2" } ], free_quantity = "5" }

[[plan.component]]
id = "h"
kind = "charge"
meter = "seats"
model = "graduated_prorated"
prorate = "second"
tiers = [ { up_to = "5", unit_amount = "10", flat_amount = "100" }, { unit_amount = "5" } ]
"#;

fn with_more_meters(plan: &str) -> Vec<SourceFile> {
    let mut files = with("plans/airline.toml", plan);
    files.push(file("meters/more.toml", MORE_METERS));
    files
}

/// What is read says, in words, all that is written.
#[test]
fn every_model_is_read_whole() {
    let book = parse(&with_more_meters(EVERY_MODEL)).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    let facts = facts::of(&book);
    let said = |id: &str| {
        let subject = facts.keys().find(|subject| subject.part == format!("component {id}")).expect("is there");
        let facts = facts[subject].0.iter().skip_while(|(name, _)| name != "model");
        facts.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join("; ")
    };
    for (id, expected) in [
        ("a", "model graduated_percentage; tier 1 up_to 1000; tier 1 rate 2.5; tier 1 flat_amount 1; tier 2 rate 1"),
        (
            "b",
            "model percentage; rate 2.9; fixed_amount 0.30; free_events 3; free_amount 500; \
             per_transaction_min_amount 0.50; per_transaction_max_amount 12",
        ),
        ("c", "model dynamic; multiplier 1.05"),
        ("d", "model stairstep; tier 1 up_to 1000; tier 1 flat_amount 10; tier 2 flat_amount 50"),
        (
            "e",
            "model capacity; tier 1 limit of fares 10; tier 1 limit of miles 1000; tier 1 amount 10; tier 2 amount 50",
        ),
        (
            "f",
            "model matrix; rate of cabin first, origin EWR or JFK 2; rate of origin EWR 1; default_unit_amount 3; \
             group_by cabin",
        ),
        (
            "g",
            "model per_bucket; per day; each model graduated; each tier 1 up_to 10; each tier 1 unit_amount 1; \
             each tier 2 unit_amount 2; each free_quantity 5",
        ),
        (
            "h",
            "model graduated_prorated; tier 1 up_to 5; tier 1 unit_amount 10; tier 1 flat_amount 100; \
             tier 2 unit_amount 5; prorate second",
        ),
    ] {
        assert_eq!(said(id), expected);
    }
    assert!(book.plans["airline"].components.iter().all(|component| matches!(component, Component::Usage(_))));
}

#[test]
fn mistakes_of_models_stand_on_their_lines() {
    expect_marked(
        "plans/airline.toml",
        r#"
[plan]
id = "airline"

[[plan.component]]
id = "a"
kind = "charge"
meter = "miles" #! meter_without_events
model = "percentage"
rate = "2.9"
free_events = "1.5" #! not_whole
free_amount = "100"
free_quantity = "7" #! free_quantity_without_quantity
transform = { divide_by = "1000" } #! transform_without_quantity
cap = [ { units = "5", per = "day" } ] #! unit_cap_without_quantity

[[plan.component]]
id = "b"
kind = "charge"
meter = "miles" #! capacity_without_its_meter
model = "capacity"
group_by = ["origin"] #! group_by_of_capacity
tiers = [ { limits = { flights = "10" }, amount = "10" }, { amount = "50" } ] #! bucket_does_not_fit_zone

[[plan.component]]
id = "b2"
kind = "charge"
meter = "miles"
model = "capacity"
tiers = [
    { limits = { mile = "10" }, amount = "10" }, #! unknown_meter
    { amount = "50" },
]

[[plan.component]]
id = "c"
kind = "charge"
meter = "miles"
model = "capacity"
tiers = [
    { amount = "50" }, #! tier_open_in_the_middle
    { limits = { miles = "10" }, amount = "10" }, #! last_tier_bounded
]

[[plan.component]]
id = "d"
kind = "charge"
meter = "miles"
model = "matrix"
free_quantity = "7" #! free_quantity_without_quantity
rates = [
    { when = { orign = "EWR" }, unit_amount = "1" }, #! unknown_dimension
    { when = { origin = [] }, unit_amount = "1" }, #! no_values
    { unit_amount = "1" }, #! missing_key
]

[[plan.component]]
id = "e"
kind = "charge"
meter = "miles"
model = "per_bucket"
per = "hour" #! unknown_value
each = { model = "matrix" } #! unknown_value

[[plan.component]]
id = "e2"
kind = "charge"
meter = "miles"
model = "capacity"
tiers = [ { limits = { miles = "10", flights = "5" }, amount = "10" }, { amount = "50" } ] #! bucket_does_not_fit_zone

[[plan.component]]
id = "f"
kind = "charge"
meter = "miles" #! meter_without_level
model = "graduated_prorated"
tiers = [ { flat_amount = "7" } ] #! missing_key
"#,
    );
}

#[test]
fn an_allowance_is_shared_by_charges_that_name_it() {
    let text = r#"
[plan]
id = "airline"
[[plan.allowance]]
id = "included"
units = "100"
[[plan.component]]
id = "a"
kind = "charge"
meter = "miles"
model = "per_unit"
unit_amount = "1"
allowance = "included"
"#;
    let book = parse(&with("plans/airline.toml", text)).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    let plan = &book.plans["airline"];
    assert_eq!(plan.allowances["included"], Decimal::ONE_HUNDRED);
    let Component::Usage(charge) = &plan.components[0] else { panic!("a charge") };
    assert_eq!(charge.allowance.as_deref(), Some("included"));
    expect_marked(
        "plans/airline.toml",
        r#"
[plan]
id = "airline"

[[plan.allowance]]
id = "hours"
units = "0" #! not_above_zero

[[plan.allowance]]
id = "hours" #! duplicate_id
units = "5"

[[plan.component]]
id = "a"
kind = "reward"
program = "punctuality"
meter = "miles"
model = "per_unit"
unit_amount = "1"
allowance = "hours" #! allowance_of_reward

[[plan.component]]
id = "b"
kind = "charge"
meter = "miles"
model = "matrix"
rates = []
allowance = "hours" #! allowance_without_quantity

[[plan.component]]
id = "c"
kind = "charge"
meter = "miles"
model = "per_unit"
unit_amount = "1"
allowance = "hour" #! unknown_allowance
"#,
    );
}
