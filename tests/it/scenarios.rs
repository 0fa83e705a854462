//! The golden scenarios, from events to documents: what happens in each is done to a server over HTTP, and its documents are
//! compared with what they must be. What the product cannot say yet is left out, by what a case uses.

mod book;
mod compare;
mod documents;
mod left_out;
mod play;

use std::cell::Cell;

use serde_json::Value;

use crate::golden::every_case;
use crate::support::data::Engine;

/// Scenarios of our own that must be tried.
const AT_LEAST: usize = 29;

/// When a fee in advance of the days up to a moved billing day is due: with the period before them, and not when the day is
/// moved.
const DUE_WITH_THE_PERIOD_BEFORE: [(&str, &str, &str); 2] = [
    ("killbill-scenario-11", "/invoices/2/issued_at", "2016-06-01"),
    ("killbill-scenario-13", "/lines/0/at", "2016-07-01"),
];

/// Each time so many are tried, one is on Postgres: what is compared does not depend on the engine, and others test both.
const ON_POSTGRES_EACH: usize = 5;

#[test]
fn golden_scenarios() {
    let tried = Cell::new(0_usize);
    every_case("scenario.jsonl", AT_LEAST, |case| {
        if let Some(reason) = left_out::reason(case) {
            return Err(reason);
        }
        tried.set(tried.get() + 1);
        let engine = if tried.get().is_multiple_of(ON_POSTGRES_EACH) { Engine::Postgres } else { Engine::Sqlite };
        let expected = ours(case);
        Ok(compare::differences(case, &expected, &play::play(case, &expected, engine)))
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
    for (_, place, day) in DUE_WITH_THE_PERIOD_BEFORE.iter().filter(|(id, ..)| case["id"] == *id) {
        *expected.pointer_mut(place).expect("is expected") = Value::from(*day);
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
