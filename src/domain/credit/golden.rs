//! The golden credit cases. Disputed cases follow the baseline.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde_json::Value;

use crate::domain::credit::Burned;
use crate::domain::credit::Grant;
use crate::domain::credit::Key;
use crate::domain::credit::MovementKind;
use crate::domain::credit::Refill;
use crate::domain::credit::Rollover;
use crate::domain::credit::Rules;
use crate::domain::credit::Source;
use crate::domain::credit::Standing;
use crate::domain::credit::Used;
use crate::domain::credit::bought;
use crate::domain::credit::burn_down;
use crate::domain::golden::cases::every_case;
use crate::domain::golden::with_decimals;
use crate::domain::time::Instant;
use crate::domain::time::Zone;

fn decimal(value: &Value) -> Option<Decimal> {
    value.as_str().map(|text| Decimal::from_str_exact(text).expect("a decimal"))
}

fn instant(value: &Value) -> Option<Instant> {
    value.as_str().map(|text| Instant::parse_in(text, &Zone::utc()).expect("a time"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn rules(parameters: &Value) -> Rules {
    let key = |key: &Value| match key.as_str() {
        Some("priority") => Some(Key::Priority),
        Some("expires_at") => Some(Key::Expiry),
        Some("granted_first") => Some(Key::Source),
        Some("created_at") => Some(Key::Creation),
        // Where all else is the same ids decide, whether that is said or not.
        Some("id") => None,
        other => panic!("{other:?} is no key"),
    };
    Rules {
        order: list(&parameters["order"]).iter().filter_map(key).collect(),
        carries_overage: parameters["carry_overage"].as_bool().unwrap_or(false),
        keeps_overage_at_reset: parameters["preserve_overage"].as_bool().unwrap_or(false),
    }
}

fn grant(value: &Value) -> Grant {
    let effective_at = instant(&value["effective_at"]).unwrap_or(Instant::BEGINNING);
    let refill = value["recurrence"].as_object().map(|refill| Refill {
        interval: serde_json::from_value(refill["interval"].clone()).expect("an interval"),
        anchor: instant(&refill["anchor"]).unwrap_or(effective_at),
    });
    Grant {
        id: value["id"].as_str().expect("an id").to_owned(),
        amount: decimal(&value["amount"]).expect("an amount"),
        priority: value["priority"].as_i64().unwrap_or(0),
        source: if value["origin"] == "purchased" { Source::Purchased } else { Source::Granted },
        created_at: instant(&value["created_at"]).unwrap_or(effective_at),
        effective_at,
        expires_at: instant(&value["expires_at"]),
        // To delete is to void as far as anybody can still draw on it.
        voided_at: [&value["voided_at"], &value["deleted_at"]].into_iter().filter_map(instant).min(),
        refill,
        rollover: Rollover {
            least: decimal(&value["rollover_min"]).unwrap_or_default(),
            most: decimal(&value["rollover_max"]).unwrap_or_default(),
        },
    }
}

fn burned(case: &Value, grants: &[Grant]) -> Burned {
    let input = &case["input"];
    let balance = |grant: &Value| Some((grant["id"].as_str()?.to_owned(), decimal(&grant["balance"])?));
    let opening = Standing {
        balances: list(&input["grants"]).iter().filter_map(balance).collect(),
        overage: decimal(&input["overage"]).unwrap_or_default(),
    };
    let used = |used: &Value| Used {
        at: instant(&used["at"]).expect("a time"),
        amount: decimal(&used["amount"]).expect("an amount"),
    };
    let used: Vec<Used> = list(&input["usage"]).iter().map(used).collect();
    let resets: Vec<Instant> = list(&input["resets"]).iter().filter_map(instant).collect();
    let span = (instant(&input["from"]).expect("a start"), instant(&input["until"]).expect("an end"));
    burn_down(grants, opening, span, &used, &resets, (&rules(&case["parameters"]), &Zone::utc())).expect("fits")
}

/// Everything that the case expects, as it is written there.
fn expected(case: &Value) -> BTreeMap<String, String> {
    let mut numbers = BTreeMap::new();
    let written = |value: &Value| match decimal(value) {
        Some(decimal) => decimal.normalize().to_string(),
        None => value.to_string(),
    };
    for (name, value) in case["expected"].as_object().expect("expects something") {
        match value.as_object() {
            Some(grants) => {
                numbers.extend(grants.iter().map(|(id, value)| (format!("{name} of {id}"), written(value))));
            }
            None if value.is_array() => drop(numbers.insert(name.clone(), value.to_string())),
            None => drop(numbers.insert(name.clone(), written(value))),
        }
    }
    numbers
}

/// What the case comes to, by the same names.
fn results(case: &Value) -> BTreeMap<String, String> {
    let number = |decimal: Decimal| decimal.normalize().to_string();
    let mut grants: Vec<Grant> = list(&case["input"]["grants"]).iter().map(grant).collect();
    match case["model"].as_str() {
        Some("grant_order") => {
            let rules = rules(&case["parameters"]);
            grants.sort_by(|a, b| rules.compare(a, b));
            let ids: Vec<&str> = grants.iter().map(|grant| grant.id.as_str()).collect();
            BTreeMap::from([("order".to_owned(), Value::from(ids).to_string())])
        }
        Some("wallet_round") => {
            let currency = with_decimals(&case["parameters"]["currency_precision"]);
            let rate = decimal(&case["parameters"]["rate"]).expect("a rate");
            let credits = decimal(&case["input"]["credits"]).expect("credits");
            let (credits, amount) = bought(credits, rate, currency).expect("fits");
            BTreeMap::from([("credits".to_owned(), number(credits)), ("amount".to_owned(), number(amount.decimal()))])
        }
        Some("grant_burn_down") => {
            let burned = burned(case, &grants);
            let mut numbers = BTreeMap::from([("overage".to_owned(), number(burned.standing.overage))]);
            for Grant { id, .. } in &grants {
                let left = burned.standing.balances.get(id).copied().unwrap_or_default();
                let drawn =
                    burned.movements.iter().filter(|moved| moved.grant == *id && moved.kind == MovementKind::Drawn);
                numbers.insert(format!("balances of {id}"), number(left));
                numbers.insert(format!("consumed of {id}"), number(drawn.map(|moved| moved.amount).sum()));
            }
            numbers
        }
        other => panic!("{other:?} is not known"),
    }
}

fn differences(case: &Value) -> Vec<String> {
    let results = results(case);
    let differs = |(name, expected): (String, String)| {
        let got = results.get(&name).map_or("nothing", String::as_str);
        (got != expected).then(|| format!("{name}: expected {expected}, got {got}"))
    };
    expected(case).into_iter().filter_map(differs).collect()
}

#[test]
fn every_credit_case_comes_to_its_numbers() {
    every_case("credits.jsonl", 20, |case| Ok(differences(case)));
}
