//! Golden cases: facts from other billing engines with the numbers that they must give, as `../shared/golden/FORMAT.md`
//! describes them.

pub mod cases;

use serde_json::Value;

use crate::domain::money::Currency;

/// A currency whose minor unit has as many decimals as a case says: money is rounded in [`crate::domain::money::Money::round`] alone.
pub fn with_decimals(precision: &Value) -> Currency {
    let code = match precision.as_u64() {
        Some(0) => "JPY",
        Some(2) => "EUR",
        Some(3) => "KWD",
        other => panic!("no currency has {other:?} decimals"),
    };
    Currency::from_code(code).expect("exists")
}
