//! Runs golden cases: facts from other billing engines with the numbers that they must give, as `../shared/golden/FORMAT.md`
//! describes them. `GOLDEN_DIR` names another folder of cases to try.

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::path::PathBuf;

use serde_json::Value;

use crate::domain::money::Currency;

/// A currency whose minor unit has as many decimals as a case says: money is rounded in [`crate::domain::money::Money::round`] alone.
pub fn with_decimals(precision: &Value) -> Currency {
    let code = match precision.as_u64() {
        Some(0) => "JPY",
        Some(2) => "EUR",
        Some(3) => "KWD",
        other => panic!("no currency has {other:?} decimals"),
    };
    Currency::from_code(code).expect("exists")
}

/// Runs every case of a file, and prints a line for each that differs. `differences` says in words where a case comes to
/// something else, or nothing of a case that is left out; it may panic over one that it cannot read. Of our own cases at
/// least so many are tried.
pub fn every_case(file: &str, at_least: usize, differences: impl Fn(&Value) -> Option<Vec<String>>) {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let beside = root.ancestors().skip(1).map(|parent| parent.join("shared/golden"));
    let given = std::env::var_os("GOLDEN_DIR").map(PathBuf::from);
    // A folder that is named need not have cases of every kind.
    let at_least = if given.is_some() { 0 } else { at_least };
    let mut places = given.into_iter().chain(beside).map(|folder| folder.join(file));
    let place = places.find(|place| place.is_file()).expect("the golden cases stand in ../shared/golden or GOLDEN_DIR");
    let text = std::fs::read_to_string(&place).expect("the golden cases can be read");
    let (mut ran, mut failed, mut left_out) = (0, 0, 0);
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let case: Value = serde_json::from_str(line).unwrap_or_default();
        let found = catch_unwind(AssertUnwindSafe(|| differences(&case)));
        let found = found.unwrap_or_else(|panic| Some(vec![format!("cannot be tried: {}", message(&*panic))]));
        let Some(found) = found else {
            left_out += 1;
            continue;
        };
        ran += 1;
        if !found.is_empty() {
            failed += 1;
            let id = case["id"].as_str().map_or_else(|| format!("line {number}"), str::to_owned);
            println!("{id}: {}", found.join("; "));
        }
    }
    println!("{ran} cases of {}, {failed} failed, {left_out} left out", place.display());
    assert!(ran >= at_least, "only {ran} cases of {file}");
    assert_eq!(failed, 0, "cases of {file} differ");
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}
