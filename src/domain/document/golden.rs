//! The golden tax cases: tax, discounts and coupons. Disputed cases follow the baseline.
//!
//! Our invoices round tax on each line. Where a case rounds it once a rate or once an invoice, that is computed here, from the
//! exact shares of the discounts: no invoice of ours is made like that.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde_json::Value;

use crate::domain::document::discount::Discount;
use crate::domain::document::discount::Off;
use crate::domain::document::discount::in_order_of_coupons;
use crate::domain::document::discount::shares;
use crate::domain::document::discount::spread;
use crate::domain::document::invoice::tax_on;
use crate::domain::golden::cases::every_case;
use crate::domain::golden::with_decimals;
use crate::domain::money::Currency;
use crate::domain::money::Money;

fn decimal(value: &Value) -> Decimal {
    Decimal::from_str_exact(value.as_str().expect("decimals are texts")).expect("a decimal")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn sum(currency: Currency, amounts: &[Money]) -> Money {
    Money::sum(currency, amounts.iter().copied()).expect("fits")
}

/// A discount, or a coupon; `applies_to` names lines by their ids.
fn discount(value: &Value, ids: &[&Value]) -> Discount {
    let off = match &value["percent"] {
        Value::Null => Off::Amount(decimal(&value["amount"])),
        percent => Off::Percent(decimal(percent)),
    };
    let places = |lines: &Vec<Value>| lines.iter().filter_map(|line| ids.iter().position(|id| *id == line)).collect();
    Discount { off, lines: value["applies_to"].as_array().map(places) }
}

/// What a case comes to, by the names of what it expects.
type Numbers = BTreeMap<&'static str, Vec<Decimal>>;

fn percentage_tax(case: &Value, currency: Currency) -> Numbers {
    let amount = Money::round(decimal(&case["input"]["amount"]), currency).expect("fits");
    let rates = list(&case["parameters"]["rates"]).iter();
    let taxes: Vec<Money> = rates.map(|rate| tax_on(amount, decimal(rate)).expect("fits")).collect();
    let tax = sum(currency, &taxes);
    let total = amount.checked_add(tax).expect("fits");
    BTreeMap::from([
        ("taxes", taxes.iter().map(|tax| tax.decimal()).collect()),
        ("tax", vec![tax.decimal()]),
        ("total", vec![total.decimal()]),
    ])
}

fn coupons(case: &Value, currency: Currency) -> Numbers {
    let amount = Money::round(decimal(&case["input"]["amount"]), currency).expect("fits");
    let mut coupons: Vec<Discount> = list(&case["input"]["coupons"]).iter().map(|one| discount(one, &[])).collect();
    in_order_of_coupons(&mut coupons);
    let off = sum(currency, &spread(&[amount], &coupons).expect("fits"));
    let total = amount.checked_sub(off).expect("fits");
    BTreeMap::from([("discount", vec![off.decimal()]), ("total", vec![total.decimal()])])
}

fn invoice_totals(case: &Value, currency: Currency) -> Numbers {
    let lines = list(&case["input"]["lines"]);
    let ids: Vec<&Value> = lines.iter().map(|line| &line["id"]).collect();
    let rates: Vec<Decimal> = lines.iter().map(|line| decimal(&line["tax_rate"])).collect();
    let round = |exact: Decimal| Money::round(exact, currency).expect("fits");
    let amounts: Vec<Money> = lines.iter().map(|line| round(decimal(&line["amount"]))).collect();
    let discounts: Vec<Discount> = list(&case["input"]["discounts"]).iter().map(|one| discount(one, &ids)).collect();

    let exact: Vec<Decimal> = amounts.iter().map(|amount| amount.decimal()).collect();
    let exact_shares = shares(&exact, &discounts).expect("fits");
    let borne = spread(&amounts, &discounts).expect("fits");
    let hundredth = Decimal::new(1, 2);
    let exact_tax = |line: usize| (exact[line] - exact_shares[line]) * rates[line] * hundredth;
    let on_line =
        |line: usize| tax_on(amounts[line].checked_sub(borne[line]).expect("fits"), rates[line]).expect("fits");
    let places = 0..lines.len();
    let (line_taxes, tax): (Vec<Money>, Money) = match case["parameters"]["tax_rounding"].as_str() {
        None | Some("line") => {
            let taxes: Vec<Money> = places.map(on_line).collect();
            let tax = sum(currency, &taxes);
            (taxes, tax)
        }
        Some("rate") => {
            let mut by_rate: BTreeMap<Decimal, Decimal> = BTreeMap::new();
            places.clone().for_each(|line| *by_rate.entry(rates[line]).or_default() += exact_tax(line));
            let taxes: Vec<Money> = by_rate.into_values().map(round).collect();
            (places.map(exact_tax).map(round).collect(), sum(currency, &taxes))
        }
        Some("invoice") => {
            let tax = round(places.clone().map(exact_tax).sum());
            (places.map(exact_tax).map(round).collect(), tax)
        }
        other => panic!("{other:?} is not known"),
    };
    let (subtotal, discount) = (sum(currency, &amounts), sum(currency, &borne));
    let total = subtotal.checked_sub(discount).and_then(|net| net.checked_add(tax)).expect("fits");
    // A case that asks for more decimals than money has asks for the exact shares.
    let line_discounts = match case["expected"]["scale"].as_u64() {
        Some(scale) => {
            let scale = u32::try_from(scale).expect("few");
            exact_shares
                .iter()
                .map(|share| share.round_dp_with_strategy(scale, rust_decimal::RoundingStrategy::MidpointAwayFromZero))
                .collect()
        }
        None => borne.iter().map(|borne| borne.decimal()).collect(),
    };
    BTreeMap::from([
        ("subtotal", vec![subtotal.decimal()]),
        ("discount", vec![discount.decimal()]),
        ("line_discounts", line_discounts),
        ("line_taxes", line_taxes.iter().map(|tax| tax.decimal()).collect()),
        ("tax", vec![tax.decimal()]),
        ("total", vec![total.decimal()]),
    ])
}

fn differences(case: &Value) -> Vec<String> {
    let currency = with_decimals(&case["parameters"]["currency_precision"]);
    let got = match case["model"].as_str() {
        Some("percentage_tax") => percentage_tax(case, currency),
        Some("invoice_totals") => invoice_totals(case, currency),
        Some("coupons") => coupons(case, currency),
        other => panic!("{other:?} is not known"),
    };
    let expected = case["expected"].as_object().expect("expects something").iter().filter(|(name, _)| *name != "scale");
    let differs = |(name, value): (&String, &Value)| {
        let expected: Vec<Decimal> = match value.as_array() {
            Some(list) => list.iter().map(decimal).collect(),
            None => vec![decimal(value)],
        };
        let got = got.get(name.as_str()).cloned().unwrap_or_default();
        (got != expected).then(|| format!("{name}: expected {expected:?}, got {got:?}"))
    };
    expected.filter_map(differs).collect()
}

#[test]
fn every_tax_case_comes_to_its_numbers() {
    every_case("tax.jsonl", 16, |case| Ok(differences(case)));
}
