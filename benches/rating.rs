//! What rating costs: lines a second on one core, from rows of usage in memory to lines with their explanations.
//! `cargo bench --bench rating`.
//!
//! A plan of six components, a fee among them, on three meters with `RATING_ROWS` (31) rows each: a day a row in a month.

#![expect(clippy::expect_used, reason = "a measurement that cannot be made has nothing to say")]

use std::collections::BTreeMap;
use std::time::Instant as Watch;

use rust_decimal::Decimal;
use tallystick::domain::book::SourceFile;
use tallystick::domain::book::version::BookVersion;
use tallystick::domain::days::BillingDays;
use tallystick::domain::measure::nano::Nano;
use tallystick::domain::period::Period;
use tallystick::domain::quantity::Quantities;
use tallystick::domain::rating::Explained;
use tallystick::domain::rating::Inputs;
use tallystick::domain::rating::line::Usage;
use tallystick::domain::rating::rate;
use tallystick::domain::time::Instant;

const BOOK: &str = "name = \"Bench\"\ncurrency = \"EUR\"\ntimezone = \"UTC\"\n";
const CATALOG: &str = "[[event_type]]\ntype = \"used\"\ntitle = \"Used\"\ndescription = \"Something was used\"\n";
const METERS: &str = r#"
[[meter]]
id = "requests"
event_type = "used"
aggregation = "count"
[[meter]]
id = "bytes"
event_type = "used"
aggregation = "sum"
value = "data.bytes"
[[meter]]
id = "peak"
event_type = "used"
aggregation = "max"
value = "data.users"
"#;
const PLAN: &str = r#"
[plan]
id = "p"
[[plan.component]]
id = "base"
kind = "fee"
amount = "10"
prorate = "day"
[[plan.component]]
id = "requests"
kind = "charge"
meter = "requests"
model = "graduated"
tiers = [ { up_to = "1000", unit_amount = "0.01" }, { up_to = "10000", unit_amount = "0.008" }, { unit_amount = "0.005" } ]
free_quantity = "100"
[[plan.component]]
id = "volume"
kind = "charge"
meter = "bytes"
model = "volume"
transform = { divide_by = "1000000", round = "up" }
tiers = [ { up_to = "1000", unit_amount = "0.10" }, { unit_amount = "0.08" } ]
[[plan.component]]
id = "packages"
kind = "charge"
meter = "requests"
model = "package"
package_size = "1000"
package_amount = "1.50"
[[plan.component]]
id = "users"
kind = "charge"
meter = "peak"
model = "per_unit"
unit_amount = "4.99"
minimum_amount = "5"
[[plan.component]]
id = "capped"
kind = "charge"
meter = "requests"
model = "per_unit"
unit_amount = "0.001"
cap = [ { amount = "2", per = "day" } ]
"#;

fn main() {
    let days = std::env::var("RATING_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(31_i64);
    let files = [("book.toml", BOOK), ("catalog/c.toml", CATALOG), ("meters/m.toml", METERS), ("plans/p.toml", PLAN)]
        .map(|(path, text)| SourceFile { path: path.to_owned(), text: text.to_owned() });
    let version = BookVersion::new(files.to_vec(), Instant::BEGINNING).expect("a book");
    let at = |text: &str| Instant::parse(text).expect("a time");
    let period = Period::new(at("2026-10-01T00:00:00Z"), at("2026-11-01T00:00:00Z")).expect("a period");
    let step = period.to().micros().saturating_sub(period.from().micros()) / days;
    let rows = |scale: i64| -> Vec<Usage> {
        let row = |day: i64| Usage {
            bucket: Instant::from_micros(period.from().micros() + day * step),
            dimensions: BTreeMap::new(),
            item: String::new(),
            value: Nano::from_decimal(Decimal::from((day * 37 % 101 + 1) * scale)).expect("a number"),
            count: 3,
        };
        (0..days).map(row).collect()
    };
    let usage = BTreeMap::from([
        ("requests".to_owned(), rows(7)),
        ("bytes".to_owned(), rows(1_234_567)),
        ("peak".to_owned(), rows(1)),
    ]);
    let (plan, programs) = (&version.book.plans["p"], BTreeMap::new());
    let (billing_days, quantities) = (BillingDays::default(), Quantities::default());
    let inputs = Inputs {
        plan,
        programs: &programs,
        meters: &version.book.meters,
        period,
        whole: period,
        life_from: period.from(),
        carries_from: period.from(),
        days: &billing_days,
        changes: &[],
        quantities: &quantities,
        usage: &usage,
    };
    let (watch, mut lines, mut sum) = (Watch::now(), 0_u64, 0_i64);
    while watch.elapsed().as_secs() < 3 {
        for _ in 0..1_000 {
            let rated = rate(&inputs, Explained::Yes).expect("rates");
            lines += rated.lines.len() as u64;
            sum = sum.wrapping_add(rated.lines.iter().map(|line| line.amount.minor()).sum());
        }
    }
    let seconds = watch.elapsed().as_secs_f64();
    println!("{:.0} lines/s on one core, {days} rows a meter (checksum {sum})", lines as f64 / seconds);
}
