//! Shares: as they are written, and what is wrong with them.

use super::*;
use crate::domain::book::facts;

const PROGRAMS: &str = r#"
[[program]]
id = "royalties"
from = "2013-01-01"
to = "2014-01-01"
accounting = "producer_share"

[[program]]
id = "punctuality"
from = "2013-01-01"
to = "2014-01-01"

[[program]]
id = "paid-in-euro"
from = "2013-01-01"
to = "2014-01-01"
"#;

/// Sorts before the plan that it refers to, which is read later.
const PLAN: &str = r#"
[plan]
id = "airport"

[[plan.component]]
id = "landing"
kind = "share"
of = [ { plan = "airline", charge = "miles" } ]
producer = "origin"
rate = "12.5"
program = "royalties"
"#;

fn with_programs(plan: &str) -> Vec<SourceFile> {
    let mut files = with("programs/punctuality.toml", PROGRAMS);
    files.push(file("plans/aaa.toml", plan));
    files
}

fn codes(files: &[SourceFile]) -> Vec<(usize, &'static str)> {
    let mistakes = parse(files).expect_err("has mistakes");
    mistakes.into_iter().map(|mistake| (mistake.line, mistake.code)).collect()
}

#[test]
fn a_share_is_of_charges_of_any_plan() {
    let book = parse(&with_programs(PLAN)).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    let facts = facts::of(&book);
    let is_ours = |part: &str| part == "component landing";
    let said = facts.iter().find(|(subject, _)| subject.thing == "plan airport" && is_ours(&subject.part));
    let (_, facts) = said.expect("is said");
    assert_eq!(facts.get("of"), Some("miles of plan airline"));
    assert_eq!(facts.get("rate"), Some("12.5"));
}

#[test]
fn what_a_share_is_of_must_be_there_and_be_divisible() {
    let mistaken = |wrong: &str, right: &str| codes(&with_programs(&PLAN.replace(right, wrong)));
    for (right, wrong, code) in [
        ("\"airline\"", "\"airlin\"", "unknown_plan"),
        ("\"miles\"", "\"mile\"", "unknown_charge"),
        ("\"miles\"", "\"gate\"", "unknown_charge"),
        ("\"origin\"", "\"carrier\"", "unknown_dimension"),
        ("\"miles\" }", "\"miles\" }, { plan = \"airline\", charge = \"miles\" }", "shared_twice"),
        ("charge =", "component =", "unknown_key"),
    ] {
        assert_eq!(mistaken(wrong, right), [(8, code)], "{wrong}");
    }
    let in_euro = |text: &str| text.replace("id = \"", "currency = \"EUR\"\nid = \"");
    let mut files = with_programs(&PLAN.replace("[plan]", "[plan]\ncurrency = \"EUR\""));
    assert_eq!(codes(&files), [(12, "currencies_differ")], "of the program");
    files.retain(|file| file.path != "programs/punctuality.toml");
    files.push(file(
        "programs/punctuality.toml",
        &in_euro(PROGRAMS).replacen("EUR", "USD", 2).replacen("USD", "EUR", 1),
    ));
    assert_eq!(codes(&files), [(9, "currencies_differ")], "of the charge");
    assert_eq!(mistaken("\"punctuality\"", "\"royalties\""), [(11, "program_of_rewards")]);
    assert_eq!(mistaken("\"101\"", "\"12.5\""), [(10, "percent_out_of_range")]);
}

#[test]
fn shares_by_two_dimensions_leave_something_of_the_charge() {
    let meters = METERS.replace("{ origin = \"data.origin\" }", "{ origin = \"data.origin\", dest = \"data.dest\" }");
    let other = PLAN.replace("airport", "destination").replace("\"origin\"", "\"dest\"");
    let book = |rate: &str| {
        let mut files = with_programs(PLAN);
        files.retain(|file| file.path != "meters/flights.toml");
        files.push(file("meters/flights.toml", &meters));
        files.push(file("plans/bbb.toml", &other.replace("\"12.5\"", rate)));
        files
    };
    assert!(parse(&book("\"87.5\"")).is_ok());
    assert_eq!(codes(&book("\"88\"")), [(8, "shares_above_charge"), (8, "shares_above_charge")]);
}

#[test]
fn programs_pay_shares_or_rewards() {
    let reward = PROGRAMS.replace("accounting = \"producer_share\"", "budget = \"5\"\naccounting = \"producer_share\"");
    assert_eq!(codes(&with("programs/punctuality.toml", &reward)), [(6, "budget_of_shares")]);
    let of_shares =
        PROGRAMS.replace("id = \"punctuality\"\n", "id = \"punctuality\"\naccounting = \"producer_share\"\n");
    assert_eq!(codes(&with("programs/punctuality.toml", &of_shares)), [(27, "program_of_shares")]);
}
