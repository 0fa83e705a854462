//! What the product cannot say yet, or says otherwise, by what a case uses.

use serde_json::Value;

use crate::scenarios::list;
use crate::scenarios::text;

const MODELS: [&str; 9] =
    ["per_unit", "package", "graduated", "volume", "graduated_percentage", "percentage", "matrix", "flat", "capacity"];
const AGGREGATIONS: [&str; 5] = ["count", "sum", "max", "latest", "avg"];

/// Why a case is left out, if it is.
pub fn reason(case: &Value) -> Option<&'static str> {
    let parameters = &case["parameters"];
    let timeline = list(&case["input"]["timeline"]);
    let plans = || list(&parameters["plans"]).iter();
    let charges = || plans().flat_map(|plan| list(&plan["charges"]));
    let does = |action: &str| timeline.iter().any(|event| event["action"] == action);
    let reasons = [
        ("coupons", !list(&parameters["coupons"]).is_empty()),
        ("wallets", !list(&parameters["wallets"]).is_empty()),
        ("invoices at a threshold of usage", plans().any(|plan| !list(&plan["usage_thresholds"]).is_empty())),
        ("usage billed in advance", charges().any(|charge| charge["bill_in"] == "advance")),
        ("lines changed by hand", does("adjust_line")),
        ("tax rates by line", rates(parameters).len() > 1),
        ("tax rounded once an invoice", parameters["rules"]["tax_rounding"] == "invoice"),
        ("billing days by the calendar and by subscription", cycles(timeline) > 1),
        ("one invoice of several subscriptions", shares_invoices(case)),
        ("a total over several periods, or a unit price by time", charges().any(|charge| !is_of_period(charge))),
        ("an aggregation", charges().any(|charge| !AGGREGATIONS.contains(&text(&charge["metric"]["aggregation"])))),
        ("a model", charges().any(|charge| !MODELS.contains(&model(charge)))),
        ("actions that are not known", !timeline.iter().all(|event| is_known(text(&event["action"])))),
    ];
    reasons.into_iter().find(|(_, uses)| *uses).map(|(reason, _)| reason)
}

fn is_known(action: &str) -> bool {
    const KNOWN: [&str; 10] = [
        "subscribe",
        "event",
        "bill",
        "change_plan",
        "set_quantity",
        "set_anchor_day",
        "pause",
        "resume",
        "pay",
        "terminate",
    ];
    KNOWN.contains(&action)
}

/// Units that come and go are priced by time in the model that is for them, and nowhere else.
fn is_of_period(charge: &Value) -> bool {
    let by_time = charge["prorated"] == true || charge["metric"]["recurring"] == true;
    by_time == (charge["model"] == "graduated_prorated")
}

fn model(charge: &Value) -> &str {
    match text(&charge["model"]) {
        // Of the levels that a sum of changes goes through.
        "graduated_prorated" if charge["metric"]["aggregation"] == "sum" => "graduated",
        model => model,
    }
}

/// The tax rates of all lines, each once; lines without one are at zero.
pub fn rates(parameters: &Value) -> Vec<&str> {
    let default = parameters["tax_rate"].as_str().unwrap_or("0");
    let mut rates = Vec::new();
    for plan in list(&parameters["plans"]) {
        let of_plan = plan["tax_rate"].as_str().unwrap_or(default);
        let parts = list(&plan["charges"]).iter().chain(list(&plan["fixed_charges"]));
        rates.push(of_plan);
        rates.extend(parts.map(|part| part["tax_rate"].as_str().unwrap_or(default)));
    }
    rates.sort_unstable();
    rates.dedup();
    rates
}

/// How many billing cycles there are: each plan of the book has one.
fn cycles(timeline: &[Value]) -> usize {
    let mut cycles: Vec<String> = Vec::new();
    for cycle in timeline.iter().filter(|event| is_set(&event["billing_cycle"])).map(|event| &event["billing_cycle"]) {
        cycles.push(cycle.to_string());
    }
    cycles.sort_unstable();
    cycles.dedup();
    cycles.len()
}

fn shares_invoices(case: &Value) -> bool {
    let subscribed = list(&case["input"]["timeline"]).iter().filter(|event| event["action"] == "subscribe").count();
    subscribed > 1 && !list(&case["expected"]["invoices"]).is_empty()
}

fn is_set(value: &Value) -> bool {
    !value.is_null()
}
