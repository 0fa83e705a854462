//! Runs the golden cases of a file, and prints a line for each that differs. The black-box suite runs its own with it too, so
//! nothing here is of this crate.
//!
//! `GOLDEN_DIR` names another folder, whose cases are tried instead of ours: it need not have cases of every kind.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::path::PathBuf;

use serde_json::Value;

/// `differences` says in words where a case comes to something else, or why it is left out; it may panic over one that it
/// cannot read. Of our own cases at least so many are tried.
pub fn every_case(file: &str, at_least: usize, differences: impl Fn(&Value) -> Result<Vec<String>, &'static str>) {
    let given = std::env::var_os("GOLDEN_DIR").map(PathBuf::from);
    let at_least = if given.is_some() { 0 } else { at_least };
    let folder = given.unwrap_or_else(ours);
    assert!(folder.is_dir(), "GOLDEN_DIR: {} is no folder", folder.display());
    let place = folder.join(file);
    if at_least == 0 && !place.exists() {
        println!("no {}", place.display());
        return;
    }
    let text = std::fs::read_to_string(&place).unwrap_or_else(|error| panic!("{}: {error}", place.display()));
    let (mut ran, mut failed) = (0, 0);
    let mut left_out: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let case: Value = serde_json::from_str(line).unwrap_or_default();
        let id = case["id"].as_str().map_or_else(|| format!("line {number}"), str::to_owned);
        let tried = catch_unwind(AssertUnwindSafe(|| differences(&case)));
        match tried.unwrap_or_else(|panic| Ok(vec![format!("cannot be tried: {}", message(&*panic))])) {
            Err(reason) => left_out.entry(reason).or_default().push(id),
            Ok(found) => {
                ran += 1;
                if !found.is_empty() {
                    failed += 1;
                    println!("{id}: {}", found.join("; ").replace('\n', " "));
                }
            }
        }
    }
    for (reason, cases) in &left_out {
        println!("left out for {reason}: {}", cases.join(", "));
    }
    let left_out: usize = left_out.values().map(Vec::len).sum();
    println!("{ran} cases of {}, {failed} failed, {left_out} left out", place.display());
    assert!(ran >= at_least, "only {ran} cases of {file}");
    assert_eq!(failed, 0, "cases of {file} differ");
}

/// Beside the project, or where it is a copy within another folder, beside that one.
fn ours() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut places = root.ancestors().skip(1).map(|parent| parent.join("shared/golden"));
    places.find(|place| place.is_dir()).expect("the golden cases stand in ../shared/golden, or where GOLDEN_DIR says")
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}
