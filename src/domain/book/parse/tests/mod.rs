//! Every mistake, on its line; and a book that has none.

mod bounds;
mod carry;
mod invoice;
mod issuer;
mod meters;
mod models;
mod payouts;
mod shares;

use rust_decimal::Decimal;

use super::*;
use crate::domain::book::catalog::Validation;
use crate::domain::book::plan::Component;
use crate::domain::book::plan::Model;
use crate::domain::book::plan::Prorate;
use crate::domain::period::Anchor;
use crate::domain::period::Interval;

const BOOK: &str = r#"
name = "Air"
currency = "USD"
timezone = "America/New_York"
"#;

const CATALOG: &str = r#"
[[event_type]]
type = "flight.completed"
title = "Flight completed"
validation = "enforce"
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
    let schema = flight.schema.as_ref().map(ToString::to_string);
    assert_eq!(schema.as_deref(), Some(r#"{"required":["distance"],"type":"object"}"#));
    assert_eq!(flight.validation, Validation::Enforce);
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

#[test]
fn a_plan_has_a_rhythm() {
    let text = "[plan]\nid = \"airline\"\ninterval = \"half_year\"\nanchor = \"subscription\"\nevery = \"2\"\nanchor_day = \"31\"\nminimum = \"5\"\nminimum_prorate = \"fixed_month\"\nfixed_days = \"28\"\n";
    let book = parse(&with("plans/airline.toml", text)).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    let plan = &book.plans["airline"];
    assert_eq!((plan.calendar.rhythm.interval, plan.calendar.rhythm.every.get()), (Interval::HalfYear, 2));
    assert_eq!((plan.calendar.anchor, plan.minimum_prorate), (Anchor::Day(31), Prorate::FixedMonth { days: 28 }));
    expect_marked(
        "plans/airline.toml",
        r#"
[plan]
id = "airline"
every = "2" #! calendar_anchor
anchor_day = "3" #! calendar_anchor
minimum = "5"
fixed_days = "30" #! fixed_days_of_real_months
"#,
    );
    expect_marked(
        "plans/airline.toml",
        r#"
[plan]
id = "airline"
interval = "week"
anchor = "subscription"
every = "121" #! number_out_of_range
anchor_day = "3" #! anchor_day_without_months
minimum = "5"
minimum_prorate = "fixed_month" #! fixed_month_of_short_periods

[[plan.component]]
id = "a"
kind = "charge"
meter = "miles"
model = "per_bucket"
per = "month" #! window_longer_than_period
each = { model = "flat", amount = "1" }
"#,
    );
}

#[test]
fn mistakes_of_a_plan_stand_on_their_lines() {
    expect_marked(
        "plans/airline.toml",
        r#"
[plan]
id = "Airline" #! invalid_id
curency = "USD" #! unknown_key
interval = "fortnight" #! unknown_value
timezone = "America/New_Yrok" #! unknown_time_zone
minimum = "500.005" #! too_many_decimals

[[plan.component]]
id = "gate"
kind = "fee"
amount = 1000.00 #! not_a_decimal_string
program = "punctuality" #! program_without_reward
meter = "miles" #! unknown_key

[[plan.component]]
id = "gate" #! duplicate_id
kind = "fee"
amount = "-3" #! negative_number

[[plan.component]] #! missing_key
kind = "charge"
meter = "mile" #! unknown_meter
model = "matrx" #! unknown_value
rates = []

[[plan.component]]
id = "b"
kind = "charge"
meter = "miles"
model = "graduated"
carry_tiers = "yes" #! wrong_type
group_by = ["orign"] #! unknown_dimension
tiers = [
    { up_to = "100", unit_amount = "0.1" },
    { up_to = "50", unit_amount = "0.1" }, #! tier_out_of_order
    { unit_amount = "0.1" }, #! tier_open_in_the_middle
    { up_to = "200", unit_amount = "0.1" }, #! last_tier_bounded
]
cap = [
    { amount = "1", units = "1", per = "day" }, #! cap_without_one_limit
    { units = "0", per = "day" }, #! not_above_zero
    { units = "1", per = "daily" }, #! unknown_value
]

[[plan.component]]
id = "c"
kind = "reward"
meter = "flights" #! bucket_does_not_fit_zone
model = "package"
package_size = "0" #! not_above_zero
package_amount = "1,50" #! not_a_decimal
program = "paid-in-euro" #! currencies_differ
percentage_discount = "101" #! percent_out_of_range
minimum_amount = "10"
maximum_amount = "5" #! minimum_above_maximum
free_quantity = "1000000000000" #! decimal_out_of_range

[[plan.component]] #! missing_key
id = "d"
kind = "reward"
meter = "miles"
model = "volume"
tiers = [] #! no_tiers

[[plan.component]] #! missing_key missing_key missing_key
id = "e"
kind = "share"
of = "miles" #! wrong_type
"#,
    );
}

#[test]
fn mistakes_of_programs_stand_on_their_lines() {
    expect_marked(
        "programs/winter.toml",
        r#"
[[program]]
id = "punctuality" #! duplicate_id
currency = "eur" #! unknown_currency
from = 2013-01-01 #! wrong_type
to = "2013-02-30" #! not_a_date
budget = "-1" #! negative_number
exhausted = "halt" #! unknown_value
hold = "2 weeks" #! not_a_duration
accounting = "contra-revenue" #! unknown_value
eligible = [ { field = "consumer.tier", eq = "gold" } ] #! unknown_field

[[program]]
id = "backwards"
from = "2014-01-01"
to = "2013-01-01" #! period_out_of_order
"#,
    );
}

#[test]
fn mistakes_of_the_catalog_stand_on_their_lines() {
    expect_marked(
        "catalog/more.toml",
        r#"
[[event_type]]
type = "flight.completed" #! duplicate_id
lifecycle = "publishd" #! unknown_value
validation = "on" #! unknown_value
schema = { file = "flight.json" } #! missing_file
example = { ratio = nan } #! not_json

[[event_type]]
type = "Flight Delayed" #! invalid_id
validation = "enforce"
schema = "flight.json" #! wrong_type

[[event_type]]
type = "a"
validation = "warn" #! validation_without_schema

[[event_type]]
type = "b"
schema = { type = "integr" } #! invalid_schema

[[event_type]]
type = "c"
schema = { properties = { a = { "$ref" = "a.json" } } } #! remote_reference

[[event_type]]
type = "d"
schema = { required = ["a", "b"] }
example = { a = 1 } #! example_breaks_schema

[event_types] #! unknown_key
"#,
    );
}

#[test]
fn mistakes_of_the_book_itself_stand_on_their_lines() {
    expect_marked(
        "book.toml",
        r#"
name = "" #! empty_text
currency = "USD"
timezone = "America/New_York"
grace = "2d" #! not_supported_yet

[invoice]
prefix = "a long prefix with spaces" #! invalid_prefix

[[tax]]
id = "nl"
jurisdiction = "NL"
rate = 21 #! not_a_decimal_string

[[tax]] #! missing_key
id = "nl" #! duplicate_id
rate = "121" #! percent_out_of_range
"#,
    );
}

#[test]
fn a_file_that_is_no_toml_is_named_and_the_others_are_checked_still() {
    let mut files = with("meters/flights.toml", "[[meter]]\nid = \"miles\nevent_type = 1\n");
    files.push(file("plans/second.toml", "[plan]\nid = \"second\"\nintervall = \"day\"\n"));
    let mistakes = parse(&files).expect_err("has mistakes");
    let found: Vec<_> = mistakes.iter().map(|mistake| (mistake.file.as_str(), mistake.line, mistake.code)).collect();
    assert_eq!(found, [("meters/flights.toml", 2, "invalid_toml"), ("plans/second.toml", 3, "unknown_key")]);
}

#[test]
fn files_that_nothing_reads_are_named() {
    let mut files = files();
    files.retain(|file| file.path != "book.toml");
    files.push(file("plan.toml", ""));
    files.push(file("catalog/schemas/old.json", "{}"));
    files.push(file("catalog/schemas/torn.json", "{\n  \"type\":\n"));
    let mistakes = parse(&files).expect_err("has mistakes");
    let found: Vec<_> = mistakes.iter().map(|mistake| (mistake.file.as_str(), mistake.line, mistake.code)).collect();
    assert_eq!(
        found,
        [
            ("book.toml", 1, "missing_file"),
            ("catalog/schemas/old.json", 1, "unused_file"),
            ("catalog/schemas/torn.json", 1, "unused_file"),
            ("catalog/schemas/torn.json", 2, "invalid_json"),
            ("plan.toml", 1, "misplaced_file"),
        ]
    );
}

#[test]
fn a_schema_is_found_beside_its_catalog_or_from_the_top_of_the_book() {
    for path in ["catalog/schemas/a.json", "schemas/a.json"] {
        let text = "[[event_type]]\ntype = \"a\"\nschema = { file = \"schemas/a.json\" }\n";
        let mut files = with("catalog/more.toml", text);
        files.push(file(path, "{\"type\": \"object\"}"));
        let book = parse(&files).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
        let schema = book.event_types["a"].schema.as_ref().map(ToString::to_string);
        assert_eq!(schema.as_deref(), Some(r#"{"type":"object"}"#), "{path}");
    }
}

#[test]
fn a_mistake_of_a_schema_stands_on_its_line_of_the_file_and_does_not_hide_what_was_published() {
    let text = "[[event_type]]\ntype = \"a\"\nschema = { file = \"a.json\" }\nexample = { n = \"x\", m = 1 }\n";
    for (schema, told) in [
        (
            "{\n  \"properties\": {\n    \"n\": { \"type\": \"integr\" }\n  }\n}",
            "catalog/a.json:3: this schema cannot be used: at /properties/n/type, \"integr\" is not valid",
        ),
        (
            "{\n  \"properties\": {\n    \"n\": {\n      \"$ref\": \"https://example.com/n\" }\n  }\n}",
            "catalog/a.json:4: the schema refers to https://example.com/n, which is not in it, and nothing is fetched; \
             copy what it needs under `$defs`",
        ),
        (
            "{ \"required\": [\"o\"], \"properties\": { \"n\": { \"type\": \"integer\" } } }",
            "catalog/more.toml:4: the example breaks the schema: o: o is missing; n: \"x\" is not a whole number; \
             add it: the schema requires it",
        ),
    ] {
        let mut files = with("catalog/more.toml", text);
        files.push(file("catalog/a.json", schema));
        let mistakes = parse(&files).expect_err("has a mistake");
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(mistakes[0].to_string().starts_with(told), "{}", mistakes[0]);
        let published = parse_published(&files).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
        assert!(published.event_types["a"].schema.is_some());
    }
}

#[test]
fn a_half_hour_zone_needs_buckets_that_divide_it() {
    let plan = PLAN.replacen("id = \"airline\"", "id = \"airline\"\ntimezone = \"Asia/Kolkata\"", 1);
    assert!(message("plans/airline.toml", &plan).contains("give the meter bucket = \"15m\""));
    let mut files = with("plans/airline.toml", &plan);
    files.retain(|file| file.path != "meters/flights.toml");
    let meters = METERS.replace("value = \"data.distance\"", "value = \"data.distance\"\nbucket = \"15m\"");
    files.push(file("meters/flights.toml", &meters));
    assert!(parse(&files).is_ok());
}

#[test]
fn a_cap_is_not_longer_than_the_period() {
    let plan = PLAN.replacen("id = \"airline\"", "id = \"airline\"\ninterval = \"week\"", 1);
    assert!(message("plans/airline.toml", &plan).contains("longer than the plan's billing period"));
}

#[test]
fn messages_say_what_is_wrong_and_what_to_do() {
    let slip = PLAN.replace("meter = \"miles\"\nmodel = \"graduated\"", "metre = \"miles\"\nmodel = \"graduated\"");
    assert_eq!(
        message("plans/airline.toml", &slip),
        "plans/airline.toml:16: unknown key `metre` in this charge; did you mean `meter`?"
    );
    let bare = PLAN.replace("\"1.50\"", "1.50");
    assert_eq!(
        message("plans/airline.toml", &bare),
        "plans/airline.toml:26: `unit_amount` is a bare number, which cannot be kept exactly; put it in quotes: \"1.50\""
    );
    let twice = PLAN.replace("id = \"gate\"", "id = \"miles\"");
    assert_eq!(
        message("plans/airline.toml", &twice),
        "plans/airline.toml:14: component `miles` is already defined at plans/airline.toml:7; \
         give one of the two another id"
    );
}

#[test]
fn one_unknown_key_where_one_is_missing_is_taken_for_it() {
    let text = message("book.toml", &BOOK.replace("name =", "title ="));
    assert_eq!(text, "book.toml:2: unknown key `title` in this book; did you mean `name`?");
}

#[test]
fn a_component_whose_kind_is_misspelt_or_missing_is_one_mistake() {
    let slip = PLAN.replace("kind = \"fee\"", "knid = \"fee\"");
    assert_eq!(
        message("plans/airline.toml", &slip),
        "plans/airline.toml:8: unknown key `knid` in this component; did you mean `kind`?"
    );
    let none = PLAN.replace("kind = \"fee\"\n", "");
    assert_eq!(
        message("plans/airline.toml", &none),
        "plans/airline.toml:6: this component has no `kind`; add `kind = …`"
    );
}
