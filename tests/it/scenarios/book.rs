//! A scenario's plans as a price book. What a line is for stands in the id of its component: `usage.PLAN.CODE`.

use std::fmt::Write;

use jiff::tz::TimeZone;
use rust_decimal::Decimal;
use serde_json::Value;

use crate::scenarios::left_out;
use crate::scenarios::list;
use crate::scenarios::text;

/// One whose minor unit has as many decimals as the case says.
pub fn currency(case: &Value) -> &'static str {
    match decimals(case) {
        0 => "JPY",
        2 => "EUR",
        3 => "KWD",
        other => panic!("no currency has {other} decimals"),
    }
}

/// Of the currency.
pub fn decimals(case: &Value) -> u32 {
    let decimals = case["parameters"]["currency_precision"].as_u64().expect("has a precision");
    decimals.try_into().expect("is small")
}

pub fn zone(case: &Value) -> TimeZone {
    TimeZone::get(zone_name(case)).expect("a zone")
}

fn zone_name(case: &Value) -> &str {
    case["parameters"]["timezone"].as_str().unwrap_or("UTC")
}

/// The rate of the tax that everybody pays, in percent.
pub fn tax_rate(case: &Value) -> Option<&str> {
    left_out::rates(&case["parameters"]).first().copied().filter(|rate| *rate != "0")
}

/// The path of each file within the book, and its text.
pub fn files(case: &Value) -> Vec<(String, String)> {
    let parameters = &case["parameters"];
    let (currency, timezone) = (currency(case), zone_name(case));
    let mut book = format!("name = \"Case\"\ncurrency = \"{currency}\"\ntimezone = \"{timezone}\"\n");
    if let Some(rate) = tax_rate(case) {
        book += &format!("[[tax]]\nid = \"tax\"\njurisdiction = \"ALL\"\nrate = \"{rate}\"\n");
    }
    let mut files = vec![("book.toml".to_owned(), book)];
    let (mut types, mut meters) = (Vec::new(), String::new());
    for plan in list(&parameters["plans"]) {
        files.push((format!("plans/{}.toml", text(&plan["code"])), plan_file(case, plan)));
        for charge in list(&plan["charges"]) {
            types.push(text(&charge["metric"]["code"]));
            meters += &meter(plan, charge);
        }
    }
    types.sort_unstable();
    types.dedup();
    let event_type = |code: &&str| {
        let said = "title = \"An event\"\ndescription = \"An event\"\nlifecycle = \"published\"";
        format!("[[event_type]]\ntype = \"metric.{code}\"\n{said}\n")
    };
    files.push(("catalog/types.toml".to_owned(), types.iter().map(event_type).collect()));
    files.push(("meters/meters.toml".to_owned(), meters));
    files
}

/// How many days a plan's trial has.
pub fn trial_days(plan: &Value) -> Option<i64> {
    plan["trial_days"].as_i64().filter(|days| *days > 0)
}

/// Where a year begins when its trial ends, the subscription to it begins then: nothing was owed before.
pub fn begins_after_its_trial(case: &Value, plan: &Value) -> bool {
    let subscribed = list(&case["input"]["timeline"]).iter().find(|event| event["action"] == "subscribe");
    let is_anchored = subscribed.is_some_and(|event| event["billing_cycle"] == "anniversary");
    is_anchored && plan["interval"] == "year" && trial_days(plan).is_some()
}

fn meter_id(plan: &Value, charge: &Value) -> String {
    format!("{}.{}", text(&plan["code"]), text(&charge["code"]))
}

fn meter(plan: &Value, charge: &Value) -> String {
    let (metric, aggregation) = (&charge["metric"], text(&charge["metric"]["aggregation"]));
    let (aggregation, bucket) = match text(&charge["model"]) {
        "graduated_prorated" => ("weighted_sum", "event"),
        "percentage" => (aggregation, "event"),
        _ => (aggregation, "1h"),
    };
    let mut meter = format!("[[meter]]\nid = \"{}\"\n", meter_id(plan, charge));
    let written = write!(
        meter,
        "event_type = \"metric.{}\"\naggregation = \"{aggregation}\"\nbucket = \"{bucket}\"\n",
        text(&metric["code"])
    );
    written.expect("a text can be written");
    if aggregation != "count" {
        meter += "value = \"data.value\"\n";
    }
    let dimensions = list(&charge["parameters"]["dimensions"]).iter().map(text);
    let dimensions: Vec<String> = dimensions.map(|name| format!("{name} = \"data.{name}\"")).collect();
    if !dimensions.is_empty() {
        meter += &format!("dimensions = {{ {} }}\n", dimensions.join(", "));
    }
    meter
}

fn plan_file(case: &Value, plan: &Value) -> String {
    let (code, unit) = (text(&plan["code"]), text(&case["parameters"]["rules"]["proration_unit"]));
    let mut file = format!("[plan]\nid = \"{code}\"\nname = \"{code}\"\ninterval = \"{}\"\n", text(&plan["interval"]));
    let timeline = list(&case["input"]["timeline"]);
    let subscribed = timeline.iter().find(|event| event["action"] == "subscribe").expect("somebody subscribes");
    if subscribed["billing_cycle"] == "anniversary" {
        file += "anchor = \"subscription\"\n";
    }
    if let Some(minimum) = plan["minimum_commitment"].as_str() {
        file += &format!("minimum = \"{minimum}\"\nminimum_prorate = \"{unit}\"\n");
    }
    if let Some(days) = trial_days(plan).filter(|_| !begins_after_its_trial(case, plan)) {
        file += &format!("trial = \"{days}d\"\n");
    }
    let base = decimal(&plan["amount"]);
    if !base.is_zero() {
        file += &fee(&format!("base.{code}.{code}"), ("amount", base), text(&plan["bill_in"]), unit);
    }
    if let Some(each) = plan["seat_amount"].as_str() {
        assert!(base.is_zero(), "one line for both");
        file +=
            &fee(&format!("base.{code}.{code}"), ("unit_amount", decimal(&each.into())), text(&plan["bill_in"]), unit);
    }
    for fixed in list(&plan["fixed_charges"]) {
        let amount = decimal(&fixed["quantity"]) * decimal(&fixed["unit_amount"]);
        let prorate = if fixed["prorated"] == true { unit } else { "none" };
        file += &fee(
            &format!("fixed.{code}.{}", text(&fixed["code"])),
            ("amount", amount),
            text(&fixed["bill_in"]),
            prorate,
        );
    }
    for charge in list(&plan["charges"]) {
        file += &component(case, plan, charge, unit);
    }
    file
}

fn fee(id: &str, (key, amount): (&str, Decimal), when: &str, prorate: &str) -> String {
    format!(
        "[[plan.component]]\nid = \"{id}\"\nkind = \"fee\"\n{key} = \"{amount}\"\nwhen = \"{when}\"\nprorate = \"{prorate}\"\n"
    )
}

fn component(case: &Value, plan: &Value, charge: &Value, unit: &str) -> String {
    let model = text(&charge["model"]);
    let (id, meter) = (format!("usage.{}.{}", text(&plan["code"]), text(&charge["code"])), meter_id(plan, charge));
    let mut component =
        format!("[[plan.component]]\nid = \"{id}\"\nkind = \"charge\"\nmeter = \"{meter}\"\nmodel = \"{model}\"\n");
    for (name, value) in charge["parameters"].as_object().into_iter().flatten() {
        let value = match name.as_str() {
            "tiers" if model == "capacity" => capacity_tiers(value, text(&charge["metric"]["code"]), &meter),
            "tiers" => tiers(case, value),
            "dimensions" => continue,
            _ => value.clone(),
        };
        let name = if name == "free_units" { "free_quantity" } else { name };
        component += &format!("{name} = {}\n", inline(&value));
    }
    if model == "graduated_prorated" {
        component += &format!("prorate = \"{unit}\"\n");
    }
    if let Some(minimum) = charge["minimum_amount"].as_str() {
        component += &format!("minimum_amount = \"{minimum}\"\nminimum_prorate = \"{unit}\"\n");
    }
    component
}

/// A book's last tier has no bound. One that no usage of the case reaches says nothing.
fn tiers(case: &Value, tiers: &Value) -> Value {
    let events = list(&case["input"]["timeline"]).iter().filter(|event| event["action"] == "event");
    let used: Decimal = events.map(|event| decimal(&event["value"])).sum();
    let mut tiers = tiers.clone();
    let last = tiers.as_array_mut().and_then(|tiers| tiers.last_mut()).expect("there are tiers");
    assert!(last["up_to"].is_null() || used < decimal(&last["up_to"]), "usage above the last tier");
    last["up_to"] = Value::Null;
    tiers
}

/// The limits by meter, and before them a tier for nothing: where these cases come from, a period without usage has no price.
fn capacity_tiers(tiers: &Value, metric: &str, meter: &str) -> Value {
    let mut all = vec![serde_json::json!({ "limits": { meter: "0" }, "amount": "0" })];
    for tier in list(tiers) {
        let limits = match tier["limits"][metric].as_str() {
            Some(limit) => serde_json::json!({ meter: limit }),
            None => Value::Null,
        };
        all.push(serde_json::json!({ "limits": limits, "amount": tier["amount"] }));
    }
    Value::Array(all)
}

fn decimal(value: &Value) -> Decimal {
    value.as_str().map_or(Decimal::ZERO, |text| Decimal::from_str_exact(text).expect("a decimal"))
}

/// A value as the book writes it: numbers are texts, and what is null is not there.
fn inline(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[ {} ]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            let fields = fields.map(|(name, value)| format!("\"{name}\" = {}", inline(value)));
            format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => format!("\"{text}\""),
        other => format!("\"{other}\""),
    }
}
