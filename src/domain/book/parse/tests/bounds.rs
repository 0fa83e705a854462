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
trial = "14d"

[[plan.component]]
id = "a"
kind = "charge"
meter = "miles"
model = "per_unit"
unit_amount = "1"
commitment = { amount = "80.00", overage_factor = "1.5" }
maximum_amount = "80"
minimum_prorate = "second"
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
        (&plan, "trial", "14d"),
        (&component, "commitment overage_factor", "1.5"),
        (&component, "commitment true_up", "false"),
        (&component, "minimum_prorate", "second"),
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
trial = "two weeks" #! not_a_duration
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

[[plan.component]]
id = "seats"
kind = "fee"
amount = "3.00" #! fee_of_two_amounts
unit_amount = "0.005"
"#,
    );
}

#[test]
fn milestones_are_of_one_kind_and_of_what_grows() {
    let component = |id: &str, milestones: &str| {
        format!(
            "[[plan.component]]\nid = \"{id}\"\nkind = \"charge\"\nmeter = \"miles\"\nmodel = \"per_unit\"\nunit_amount = \"1\"\nmilestones = {milestones}\n"
        )
    };
    let plan = |components: &[String]| format!("[plan]\nid = \"airline\"\n{}", components.concat());
    let right = plan(&[
        component("a", "{ every = \"10\" }"),
        component("b", "{ at = [\"1\", \"100\"] }"),
        component("c", "{ days_in_a_row = \"7\", at_least = \"2.5\" }"),
        component("d", "{ days_in_a_row = \"7\" }"),
    ]);
    let book = parse(&with("plans/airline.toml", &right)).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    let facts = facts::of(&book);
    let of_component = facts.iter().filter(|(subject, _)| subject.part.starts_with("component"));
    let said = of_component.flat_map(|(_, facts)| &facts.0).filter(|(name, _)| name.starts_with("milestones"));
    assert_eq!(
        said.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>(),
        [
            "milestones every 10",
            "milestones at 1, 100",
            "milestones days_in_a_row 7",
            "milestones at_least 2.5",
            "milestones days_in_a_row 7",
            "milestones at_least 1",
        ]
    );
    let wrong = plan(&[
        component("a", "{ every = \"10\", at = [\"1\"] } #! milestones_without_one_kind"),
        component("b", "{ at = [\"100\", \"100\"] } #! milestones_out_of_order"),
        component("c", "{ days_in_a_row = \"1.5\" } #! not_whole"),
        component("d", "{ at = [] } #! empty_list"),
        component("e", "{ every = \"0\" } #! not_above_zero"),
        component("f", "{ every = \"5\", at_least = \"3\" } #! unknown_key"),
        component("g", "{ every = \"5\" } #! milestones_without_quantity")
            .replace("per_unit", "percentage")
            .replace("unit_amount", "rate"),
    ]);
    expect_marked("plans/airline.toml", &wrong);
}
