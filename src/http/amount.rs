//! Amounts of money in bodies, before they are known to be any.

use rust_decimal::Decimal;
use serde::Deserialize;

use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::http::api::consumers::unprocessable;
use crate::http::problem::Problem;

/// `{"amount": "12.34", "currency": "EUR"}`, as it was written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amount {
    amount: String,
    currency: String,
}

impl Amount {
    pub fn currency(&self) -> &str {
        &self.currency
    }

    /// Reads an amount above zero that stands at `place` in the body.
    pub fn above_zero(&self, place: &str) -> Result<Money, Problem> {
        self.any(place).and_then(|money| {
            let detail = || format!("`{}` is not above zero", self.amount);
            let fix = "write an amount above zero";
            (money.minor() > 0)
                .then_some(money)
                .ok_or_else(|| unprocessable(&format!("{place}/amount"), "unusable_amount", detail(), fix))
        })
    }

    /// Reads an amount of either sign.
    pub fn any(&self, place: &str) -> Result<Money, Problem> {
        let currency = Currency::from_code(&self.currency).ok_or_else(|| {
            let detail = format!("`{}` is not an ISO 4217 currency", self.currency);
            unprocessable(&format!("{place}/currency"), "unknown_currency", detail, "write it like EUR")
        })?;
        let exact = Decimal::from_str_exact(&self.amount).ok();
        exact.and_then(|exact| Money::exact(exact, currency)).ok_or_else(|| {
            let detail = format!("`{}` is not an amount of {currency}", self.amount);
            let fix = format!("write it with at most {} decimals", currency.exponent());
            unprocessable(&format!("{place}/amount"), "unusable_amount", detail, &fix)
        })
    }
}
