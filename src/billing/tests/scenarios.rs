//! The golden scenarios, from events to documents: what happens in each is done to a database, and its documents are compared
//! with what they must be. What the product cannot say yet is left out, by what a case uses, and the reasons are counted.

mod book;
mod compare;
mod left_out;
mod play;

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::Value;

use crate::domain::golden::every_case;

/// Scenarios of our own that must be tried.
const AT_LEAST: usize = 25;

/// Why cases were left out. Says so when it goes, also where cases differ.
#[derive(Default)]
struct LeftOut(RefCell<BTreeMap<&'static str, Vec<String>>>);

impl Drop for LeftOut {
    fn drop(&mut self) {
        for (reason, cases) in self.0.take() {
            println!("left out for {reason}: {} ({})", cases.len(), cases.join(", "));
        }
    }
}

#[test]
fn golden_scenarios() {
    let left_out = LeftOut::default();
    every_case("scenario.jsonl", AT_LEAST, |case| {
        if let Some(reason) = left_out::reason(case) {
            left_out.0.borrow_mut().entry(reason).or_default().push(text(&case["id"]).to_owned());
            return None;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("starts");
        let played = runtime.block_on(play::play(case));
        Some(compare::differences(case, &ours(case), &played))
    });
}

/// What a case must come to by our rules: what it expects, or the alternative that `docs/pricing.md` says is ours.
fn ours(case: &Value) -> Value {
    let mut expected = case["expected"].clone();
    // Usage at the end of the last period is not billed, and a day within which a plan changes is the new plan's.
    const OURS: [&str; 2] = ["half-open", "new plan only"];
    let is_ours = |alternative: &&Value| {
        let behaviour = alternative["behaviour"].as_str().unwrap_or_default();
        OURS.iter().any(|ours| behaviour.contains(ours))
    };
    if let Some(alternative) = list(&case["alternatives"]).iter().find(is_ours) {
        put(&mut expected, &alternative["expected"]);
    }
    expected
}

/// Puts what an alternative says over what was expected. Where it gives another subtotal, the lines and the other sums are
/// not known.
fn put(expected: &mut Value, alternative: &Value) {
    if alternative.get("subtotal").is_some()
        && let Some(invoice) = expected.as_object_mut()
    {
        invoice.retain(|name, _| name == "issued_at");
    }
    for (key, value) in alternative.as_object().into_iter().flatten() {
        let place = match key.parse::<usize>() {
            Ok(index) => expected.get_mut(index),
            Err(_) => Some(&mut expected[key.as_str()]),
        };
        let place = place.expect("an alternative names what is expected");
        if value.is_object() { put(place, value) } else { *place = value.clone() }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
