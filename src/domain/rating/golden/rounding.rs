//! What each rounding case comes to.

use rust_decimal::Decimal;

use crate::domain::golden::with_decimals;
use crate::domain::money::Money;
use crate::domain::money::split_by_largest_remainder;
use crate::domain::rating::golden::Any;

fn decimal(value: &serde_json::Value) -> Decimal {
    Decimal::from_str_exact(value.as_str().expect("decimals are texts")).expect("a decimal")
}

fn decimals(value: &serde_json::Value) -> Vec<Decimal> {
    value.as_array().expect("a list").iter().map(decimal).collect()
}

fn round_to(case: &Any, exact: Decimal) -> Money {
    Money::round(exact, with_decimals(&case.parameters["precision"])).expect("fits")
}

fn rounding_result(case: &Any) -> Vec<Decimal> {
    match case.model.as_str() {
        "round" => vec![round_to(case, decimal(&case.input["value"])).decimal()],
        "sum_of_rounded" => {
            let rounded = decimals(&case.input["values"]).into_iter().map(|value| round_to(case, value).decimal());
            vec![rounded.sum()]
        }
        "true_up" => {
            let minimum = round_to(case, decimal(&case.parameters["minimum_amount"]));
            let used = round_to(case, decimal(&case.input["used_amount"]));
            vec![minimum.checked_sub(used).expect("fits").decimal().max(Decimal::ZERO)]
        }
        "distribute" => {
            let amounts = decimals(&case.input["amounts"]);
            let discount = decimal(&case.input["discount"]).min(amounts.iter().sum());
            let discount = round_to(case, discount);
            let shares = split_by_largest_remainder(discount.minor(), &amounts).expect("fits");
            let share = |minor| Money::from_minor(minor, discount.currency()).decimal();
            std::iter::zip(&amounts, shares).map(|(amount, minor)| amount - share(minor)).collect()
        }
        other => panic!("{}: {other} is not known", case.id),
    }
}

/// What differs from the expected numbers, in words.
pub fn differences(case: &Any) -> Vec<String> {
    let expected = match &case.expected["remaining"] {
        serde_json::Value::Null => vec![decimal(&case.expected["value"])],
        list => decimals(list),
    };
    let got = rounding_result(case);
    if got == expected { Vec::new() } else { vec![format!("expected {expected:?}, got {got:?}")] }
}
