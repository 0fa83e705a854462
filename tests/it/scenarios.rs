//! The golden scenarios, from events to documents: what happens in each is done to a server over HTTP, and its documents are
//! compared with what they must be. What the product cannot say yet is left out, by what a case uses.

mod book;
mod compare;
mod documents;
mod left_out;
mod play;

use std::cell::Cell;

use rust_decimal::Decimal;
use serde_json::Value;
use serde_json::json;

use crate::golden::every_case;
use crate::support::data::Engine;

/// Scenarios of our own that must be tried.
const AT_LEAST: usize = 37;

/// When a fee in advance of the days up to a moved billing day is due: with the period before them, and not when the day is
/// moved.
const DUE_WITH_THE_PERIOD_BEFORE: [(&str, &str, &str); 2] = [
    ("killbill-scenario-11", "/invoices/2/issued_at", "2016-06-01"),
    ("killbill-scenario-13", "/lines/0/at", "2016-07-01"),
];

/// Usage that comes late is billed however late it comes: of April 199 units were billed, and there are 299.
const LATE_ALL_THE_SAME: &str = "killbill-usage-06";

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
    if case["id"] == LATE_ALL_THE_SAME {
        let last = expected.pointer_mut("/invoices/3").expect("is expected");
        last["lines"].as_array_mut().expect("has lines").push(json!({
            "type": "usage",
            "code": "bullets",
            "period": { "start": "2012-04-01", "end": "2012-05-01" },
            "amount": "2.95",
        }));
        last["subtotal"] = Value::from("20.65");
    }
    due_when_the_period_ends(case, &mut expected);
    nothing_back_while_something_is_owed(&mut expected);
    expected
}

/// What units that come or go within a period owe is on the document that closes it.
fn due_when_the_period_ends(case: &Value, expected: &mut Value) {
    let timeline = list(&case["input"]["timeline"]).iter();
    let changed: Vec<&str> = timeline
        .filter(|event| event["action"] == "set_quantity")
        .filter_map(|event| text(&event["at"]).get(..10))
        .collect();
    for line in expected["lines"].as_array_mut().into_iter().flatten() {
        let is_of_change = line["type"] == "base" && line["period"]["start"] == line["at"];
        if is_of_change && changed.contains(&text(&line["at"])) {
            line["at"] = line["period"]["end"].clone();
        }
    }
}

/// What others pay back of a last fee and then ask for again is less to pay of the last invoice.
fn nothing_back_while_something_is_owed(expected: &mut Value) {
    let zero = || Value::from("0.00");
    let mut refunded = Decimal::ZERO;
    for note in expected["credit_notes"].as_array_mut().into_iter().flatten() {
        let (credit, refund) = (decimal(&note["credit"]), decimal(&note["refund"]));
        if !refund.is_zero() {
            (note["credit"], note["refund"]) = (Value::from((credit + refund).to_string()), zero());
            refunded += refund;
        }
    }
    if refunded.is_zero() {
        return;
    }
    let last = expected["invoices"].as_array_mut().and_then(|invoices| invoices.last_mut()).expect("is expected");
    for (name, sum) in
        [("credit_notes", decimal(&last["credit_notes"]) + refunded), ("total", decimal(&last["total"]) - refunded)]
    {
        assert!(sum >= Decimal::ZERO, "what is left as credit then is not compared");
        last[name] = Value::from(sum.to_string());
    }
}

fn decimal(value: &Value) -> Decimal {
    value.as_str().map_or(Decimal::ZERO, |text| Decimal::from_str_exact(text).expect("a decimal"))
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
