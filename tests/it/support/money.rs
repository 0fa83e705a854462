//! Money in answers, as whole cents: nothing passes through a float.

use serde_json::Value;

/// The cents of `{"amount": "12.34", "currency": "USD"}`.
#[track_caller]
pub fn cents(money: &Value) -> i64 {
    assert_eq!(money["currency"], "USD", "{money}");
    let amount = money["amount"].as_str().unwrap_or_else(|| panic!("the amount is text: {money}"));
    read(amount).unwrap_or_else(|| panic!("two decimals are expected: {money}"))
}

/// Reads `-12.34`: exactly two decimals.
pub fn read(amount: &str) -> Option<i64> {
    let (sign, digits) = amount.strip_prefix('-').map_or((1, amount), |digits| (-1, digits));
    let (whole, cents) = digits.split_once('.').filter(|(_, cents)| cents.len() == 2)?;
    Some(sign * (whole.parse::<i64>().ok()? * 100 + cents.parse::<i64>().ok()?))
}
