//! Commitments, minimums, maximums and caps: as they are written, and what is wrong with them.

use super::*;
use crate::domain::book::facts;

const PLAN: &str = r#"
[plan]
id = "airline"
minimum = "50"
maximum = "500"
commitment = { amount = "100.00", true_up = true }
minimum_prorate = "day"

[[plan.component]]
id = "a"
kind = "charge"
meter = "miles"
model = "per_unit"
unit_amount = "1"
commitment = { amount = "80.00", overage_factor = "1.5" }
maximum_amount = "80"
cap = [ { units = "9", per = "lifetime" } ]
"#;

#[test]
fn what_a_period_comes_to_can_be_agreed_on() {
    let book = parse(&with("plans/airline.toml", PLAN)).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    let facts = facts::of(&book);
    let said = |part: &str| {
        let said = facts.iter().find(|(subject, _)| subject.thing == "plan airline" && subject.part == part);
        said.map(|(_, facts)| facts.clone()).expect("is said")
    };
    let (plan, component) = (said(""), said("component a"));
    for (facts, name, value) in [
        (&plan, "maximum", "500"),
        (&plan, "commitment amount", "100.00"),
        (&plan, "commitment overage_factor", "1"),
        (&plan, "commitment true_up", "true"),
        (&plan, "minimum_prorate", "day"),
        (&component, "commitment overage_factor", "1.5"),
        (&component, "commitment true_up", "false"),
        (&component, "cap units per lifetime", "9"),
    ] {
        assert_eq!(facts.get(name), Some(value), "{name}");
    }
    assert_eq!(book.plans["airline"].lifetime_meters().into_iter().collect::<Vec<_>>(), ["miles"]);
}

#[test]
fn mistakes_of_what_is_agreed_on_stand_on_their_lines() {
    expect_marked(
        "plans/airline.toml",
        r#"
[plan]
id = "airline"
minimum = "50"
maximum = "49.99" #! minimum_above_maximum
commitment = { amount = "10.001", true_up = true } #! too_many_decimals

[[plan.component]]
id = "a"
kind = "reward"
meter = "miles"
model = "per_unit"
unit_amount = "1"
program = "punctuality"
commitment = { amount = "10", true_up = true } #! commitment_of_reward

[[plan.component]]
id = "b"
kind = "charge"
meter = "miles"
model = "per_unit"
unit_amount = "1"
group_by = ["origin"]
commitment = { amount = "10", true_up = true } #! commitment_of_groups

[[plan.component]]
id = "c"
kind = "charge"
meter = "miles"
model = "per_unit"
unit_amount = "1"
maximum_amount = "9"
commitment = { amount = "10", true_up = true } #! commitment_above_maximum

[[plan.component]]
id = "d"
kind = "charge"
meter = "miles"
model = "per_unit"
unit_amount = "1"
commitment = { amount = "10" } #! commitment_without_effect

[[plan.allowance]]
id = "hundred"
units = "100"

[[plan.component]]
id = "e"
kind = "charge"
meter = "miles"
model = "per_unit"
unit_amount = "1"
cap = [ { amount = "10", per = "lifetime" } ]
allowance = "hundred" #! allowance_with_lifetime_amount
"#,
    );
    expect_marked(
        "plans/airline.toml",
        r#"
[plan]
id = "airline"
maximum = "150" #! fees_above_maximum

[[plan.component]]
id = "a"
kind = "fee"
amount = "100"
when = "advance"

[[plan.component]]
id = "b"
kind = "fee"
amount = "60"
when = "advance"
"#,
    );
}
