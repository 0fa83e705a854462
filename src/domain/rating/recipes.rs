//! The recipes of `docs/pricing.md`, as they stand there, with what they come to in two months.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::domain::book::Book;
use crate::domain::book::SourceFile;
use crate::domain::book::parse::parse;
use crate::domain::days::BillingDays;
use crate::domain::period::Period;
use crate::domain::quantity::Quantities;
use crate::domain::rating::Explained;
use crate::domain::rating::Inputs;
use crate::domain::rating::examples::usage;
use crate::domain::rating::line::Usage;
use crate::domain::rating::rewards;
use crate::domain::time::Instant;

const PAGE: &str = include_str!("../../../docs/pricing.md");

const BOOK: &str = r#"
name = "Recipes"
currency = "USD"
timezone = "UTC"
"#;

const CATALOG: &str = r#"
[[event_type]]
type = "listing.verified"
[[event_type]]
type = "account.referred"
[[event_type]]
type = "order.paid"
"#;

const METERS: &str = r#"
[[meter]]
id = "listings"
event_type = "listing.verified"
aggregation = "count"
"#;

const PROGRAM: &str = r#"
[[program]]
id = "growth"
from = "2013-01-01"
to = "2014-01-01"
hold = "14d"
accounting = "expense"
"#;

/// Everything that stands in the page's recipes, as one book with one plan.
fn book() -> Book {
    let (_, recipes) = PAGE.split_once("## Milestones and recipes").expect("there are recipes");
    let (recipes, _) = recipes.split_once("\n## ").expect("something follows");
    let blocks = recipes.split("```toml\n").skip(1).map(|rest| rest.split("```").next().expect("a block"));
    let (mut meters, mut plan) = (METERS.to_owned(), "[plan]\nid = \"recipes\"\n".to_owned());
    for table in blocks.flat_map(|block| block.split("\n\n")) {
        let file = if table.starts_with("[[meter]]") { &mut meters } else { &mut plan };
        file.push_str(table);
        file.push('\n');
    }
    let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.to_owned() };
    let files = [
        file("book.toml", BOOK),
        file("catalog/all.toml", CATALOG),
        file("meters/all.toml", &meters),
        file("plans/all.toml", &plan),
        file("programs/all.toml", PROGRAM),
    ];
    parse(&files).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
}

/// What each component pays in January and in February, in cents; what pays nothing is left out.
fn paid(book: &Book, used: &[(&str, &[(i64, i64)])]) -> [BTreeMap<String, i64>; 2] {
    let rows = |rows: &[(i64, i64)]| -> Vec<Usage> {
        rows.iter().map(|(day, units)| usage(day * 24 + 12, Decimal::from(*units), "EWR")).collect()
    };
    let usage: BTreeMap<String, Vec<Usage>> =
        used.iter().map(|(meter, used)| ((*meter).to_owned(), rows(used))).collect();
    let at = |text: &str| Instant::parse(text).expect("a time");
    let months = [("2013-01-01T00:00:00Z", "2013-02-01T00:00:00Z"), ("2013-02-01T00:00:00Z", "2013-03-01T00:00:00Z")];
    months.map(|(from, to)| {
        let period = Period::new(at(from), at(to)).expect("a period");
        let inputs = Inputs {
            plan: &book.plans["recipes"],
            programs: &book.programs,
            meters: &book.meters,
            period,
            whole: period,
            life_from: at("2013-01-01T00:00:00Z"),
            carries_from: period.from(),
            days: &BillingDays::default(),
            changes: &[],
            quantities: &Quantities::default(),
            usage: &usage,
        };
        let rewards = rewards(&inputs, Explained::Yes).expect("rates").into_iter().map(|reward| reward.line);
        rewards.map(|line| (line.component, line.amount.minor())).filter(|(_, minor)| *minor != 0).collect()
    })
}

fn amounts(list: &[(&str, i64)]) -> BTreeMap<String, i64> {
    list.iter().map(|(component, minor)| ((*component).to_owned(), *minor)).collect()
}

#[test]
fn the_first_time_every_third_and_milestones() {
    // Days are counted from the first of January. Five listings in January, the fourth to the sixth of all in two days.
    let [january, february] = paid(&book(), &[("listings", &[(2, 2), (10, 2), (20, 1), (40, 1), (50, 3)])]);
    let expected = [("first", 2000), ("every_third_of_a_month", 500), ("every_third", 500), ("one_and_five", 2000)];
    assert_eq!(january, amounts(&expected));
    assert_eq!(february, amounts(&[("every_third_of_a_month", 500), ("every_third", 1000)]));
}

#[test]
fn a_streak_goes_on_over_the_end_of_a_month() {
    let days: Vec<(i64, i64)> = [1, 2, 3, 29, 30, 31, 32, 33, 34, 35].map(|day| (day, 1)).to_vec();
    let streaks = paid(&book(), &[("listings", &days)]).map(|month| month.get("streak").copied());
    // The second one is complete on the first of February; a third one is capped.
    assert_eq!(streaks, [Some(700), Some(700)]);
}

#[test]
fn referrals_pay_both_sides() {
    let used: [(&str, &[(i64, i64)]); 3] = [
        ("referred", &[(1, 3), (40, 1)]),
        ("was_referred", &[(1, 1), (40, 1)]),
        ("spent_by_referred", &[(5, 120), (45, 70)]),
    ];
    let [january, february] = paid(&book(), &used);
    assert_eq!(january, amounts(&[("by_the_head", 2000), ("tenth", 1200), ("welcome", 300)]));
    assert_eq!(february, amounts(&[("by_the_head", 1000), ("tenth", 300)]));
}
