//! Every mistake, on its line; and a book that has none.

use rust_decimal::Decimal;

use super::*;
use crate::domain::book::plan::Component;
use crate::domain::book::plan::Model;

const BOOK: &str = r#"
name = "Air"
currency = "USD"
timezone = "America/New_York"
"#;

const CATALOG: &str = r#"
[[event_type]]
type = "flight.completed"
title = "Flight completed"
schema = { type = "object", required = ["distance"] }
example = { distance = 2475, ratio = 0.5, gates = ["A", "B"] }

[[event_type]]
type = "flight.scheduled"
lifecycle = "retired"
"#;

const METERS: &str = r#"
[[meter]]
id = "miles"
event_type = "flight.*"
aggregation = "sum"
value = "data.distance"
where = [ { field = "data.distance", gt = "0", lt = "20000" }, { field = "data.cancelled", ne = true } ]
dimensions = { origin = "data.origin" }

[[meter]]
id = "flights"
event_type = "flight.completed"
aggregation = "count"
bucket = "1d"
"#;

const PROGRAMS: &str = r#"
[[program]]
id = "punctuality"
from = "2013-01-01"
to = "2014-01-01"
budget = "250000.00"
hold = "14d"
accounting = "expense"
eligible = [ { field = "consumer.tags.tier", in = ["gold", "silver"] } ]

[[program]]
id = "paid-in-euro"
currency = "EUR"
from = "2013-01-01"
to = "2014-01-01"
"#;

const PLAN: &str = r#"
[plan]
id = "airline"
minimum = "500.00"

[[plan.component]]
id = "gate"
kind = "fee"
amount = "1000.00"
when = "advance"
prorate = "day"

[[plan.component]]
id = "miles"
kind = "charge"
meter = "miles"
model = "graduated"
group_by = ["origin"]
tiers = [ { up_to = "100000", unit_amount = "0.0100" }, { unit_amount = "0.0050" } ]

[[plan.component]]
id = "punctuality"
kind = "reward"
meter = "miles"
model = "per_unit"
unit_amount = "1.50"
program = "punctuality"
cap = [ { amount = "2000.00", per = "month" }, { units = "100", per = "day" } ]
"#;

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.to_owned(), text: text.to_owned() }
}

fn files() -> Vec<SourceFile> {
    vec![
        file("book.toml", BOOK),
        file("catalog/flights.toml", CATALOG),
        file("meters/flights.toml", METERS),
        file("programs/punctuality.toml", PROGRAMS),
        file("plans/airline.toml", PLAN),
    ]
}

/// The right book with one file added or replaced.
fn with(path: &str, text: &str) -> Vec<SourceFile> {
    let mut files = files();
    files.retain(|file| file.path != path);
    files.push(file(path, text));
    files
}

/// Each line of `text` that has mistakes names their codes after `#!`: parsing finds exactly those.
fn expect_marked(path: &str, text: &str) {
    let marked = (1..).zip(text.lines()).filter_map(|(line, text)| Some((line, text.split_once("#! ")?.1)));
    let mut wanted: Vec<(usize, &str)> =
        marked.flat_map(|(line, codes)| codes.split_whitespace().map(move |code| (line, code))).collect();
    let mistakes = parse(&with(path, text)).expect_err("has mistakes");
    let mut found: Vec<(usize, &str)> = mistakes.iter().map(|mistake| (mistake.line, mistake.code)).collect();
    wanted.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, wanted, "{mistakes:#?}");
    assert!(mistakes.iter().all(|mistake| mistake.file == path), "{mistakes:#?}");
}

fn message(path: &str, text: &str) -> String {
    let mistakes = parse(&with(path, text)).expect_err("has a mistake");
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_right_book_is_read_whole() {
    let book = parse(&files()).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    assert_eq!(
        (book.name.as_str(), book.zone.name(), book.invoice_prefix.as_str()),
        ("Air", "America/New_York", "INV-")
    );
    let flight = &book.event_types["flight.completed"];
    assert_eq!(flight.schema, Some(serde_json::json!({"type": "object", "required": ["distance"]})));
    assert_eq!(flight.example, Some(serde_json::json!({"distance": 2475, "ratio": 0.5, "gates": ["A", "B"]})));
    assert_eq!(book.meters["miles"].tests.len(), 3);
    assert_eq!(book.programs["punctuality"].window.from().to_string(), "2013-01-01T05:00:00Z");
    let plan = &book.plans["airline"];
    assert_eq!(plan.components.iter().map(Component::id).collect::<Vec<_>>(), ["gate", "miles", "punctuality"]);
    let Component::Usage(miles) = &plan.components[1] else { panic!("a charge") };
    let Model::Graduated(tiers) = &miles.model else { panic!("graduated") };
    assert_eq!(tiers.iter().map(|tier| tier.up_to).collect::<Vec<_>>(), [Some(Decimal::from(100_000)), None]);
    let Component::Usage(reward) = &plan.components[2] else { panic!("a reward") };
    assert_eq!((reward.program(), reward.caps.len()), (Some("punctuality"), 2));
}
