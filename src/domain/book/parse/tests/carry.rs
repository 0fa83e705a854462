//! Tiers that carry on: what they stand with, and each thing that they do not.

use super::*;

/// A plan with an allowance and a charge with `more`, whose first tier says `first`.
fn plan(first: &str, more: &str) -> String {
    format!(
        r#"
[plan]
id = "airline"
[[plan.allowance]]
id = "included"
units = "100"
[[plan.component]]
id = "a"
kind = "charge"
{more}
tiers = [ {{ up_to = "100", {first} }}, {{ unit_amount = "0.0050" }} ]
carry_tiers = true #! MARK
"#
    )
}

const GRADUATED: &str = "meter = \"miles\"\nmodel = \"graduated\"\n";
const PRICE: &str = "unit_amount = \"0.0100\"";
const FLAT: &str = "unit_amount = \"0.0100\", flat_amount = \"5\"";

#[test]
fn tiers_carry_on_with_what_adds_up() {
    for (first, more) in [
        (PRICE, "group_by = [\"origin\"]"),
        (FLAT, "free_quantity = \"10\"\npercentage_discount = \"12.5\""),
        (FLAT, "name = \"Miles\""),
    ] {
        let text = plan(first, &format!("{GRADUATED}{more}"));
        let book = parse(&with("plans/airline.toml", &text)).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
        let Component::Usage(usage) = &book.plans["airline"].components[0] else { panic!("a charge") };
        assert!(usage.carry_tiers, "{more}");
    }
    let text =
        plan(FLAT, &format!("{GRADUATED}group_by = [\"origin\"]")).replace("carry_tiers = true", "carry_tiers = false");
    let book = parse(&with("plans/airline.toml", &text)).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    let Component::Usage(usage) = &book.plans["airline"].components[0] else { panic!("a charge") };
    assert!(!usage.carry_tiers);
}

#[test]
fn tiers_do_not_carry_on_with_what_does_not_add_up() {
    for (more, fix) in [
        ("transform = { divide_by = \"1000\" }", "let the meter's `value` convert them"),
        ("cap = [ { units = \"5\", per = \"day\" } ]", "leave out one of the two"),
        ("cap = [ { amount = \"5\", per = \"lifetime\" } ]", "leave out one of the two"),
        ("allowance = \"included\"", "give it a `free_quantity` instead"),
        ("milestones = { every = \"1000\" }", "leave out one of the two"),
        ("base_amount = \"7\"", "make it the first tier's `flat_amount`, or a fee"),
        ("commitment = { amount = \"100\", overage_factor = \"2\" }", "give it to the plan"),
        ("maximum_amount = \"100\"", "give it to the plan"),
        ("minimum_amount = \"90\"", "give it to the plan"),
    ] {
        let text = plan(FLAT, &format!("{GRADUATED}{more}"));
        expect_marked("plans/airline.toml", &text.replace("MARK", "carry_tiers_with_more"));
        let key = more.split_once(" =").expect("a key").0;
        let said = message("plans/airline.toml", &text);
        assert!(said.contains(&format!("with `{key}`: ")) && said.contains(fix), "{said}");
    }
    for (first, more, code) in [
        (PRICE, "meter = \"miles\"\nmodel = \"volume\"", "carry_tiers_without_tiers"),
        (FLAT, "meter = \"miles\"\nmodel = \"graduated\"\ngroup_by = [\"origin\"]", "carry_tiers_of_groups"),
    ] {
        expect_marked("plans/airline.toml", &plan(first, more).replace("MARK", code));
    }
    let longest = r#"
[[meter]]
id = "longest"
event_type = "flight.completed"
aggregation = "max"
value = "data.distance"
"#;
    let text = plan(FLAT, "meter = \"longest\"\nmodel = \"graduated\"");
    let mut files = with("plans/airline.toml", &text);
    files.push(file("meters/longest.toml", longest));
    let mistakes = parse(&files).expect_err("has a mistake");
    let [mistake] = &mistakes[..] else { panic!("{mistakes:#?}") };
    assert_eq!(mistake.code, "carry_tiers_without_sum");
    assert!(mistake.to_string().contains("use a meter that counts or sums"), "{mistake}");
}
