//! Commitments of a charge, or of a plan's charges together.

use rust_decimal::Decimal;

use crate::domain::book::parse::reader::Table;
use crate::domain::book::parse::value::Value;
use crate::domain::book::plan::Commitment;
use crate::domain::money::Currency;

/// Reads the `commitment` of a table that has a maximum, if any.
pub fn read(table: &mut Table<'_>, currency: Option<Currency>, maximum: Option<Decimal>) -> Option<Commitment> {
    let value = table.get("commitment")?;
    let commitment = value.clone().table("commitment", |table| {
        let amount = table.required("amount", |value| {
            value.clone().above_zero()?;
            value.money(currency)
        });
        let overage_factor = table.optional_exact("overage_factor", Value::above_zero)?.unwrap_or(Decimal::ONE);
        let true_up = table.optional_exact("true_up", Value::flag)?.unwrap_or(false);
        Some(Commitment { amount: amount?, overage_factor, true_up })
    })?;
    if commitment.overage_factor == Decimal::ONE && !commitment.true_up {
        let message = "this commitment changes nothing: what is beyond it is not multiplied, and it is not trued up";
        return value.wrong(
            "commitment_without_effect",
            message.to_owned(),
            "give it an overage_factor, or true_up = true",
        );
    }
    if let Some(maximum) = maximum.filter(|maximum| *maximum < commitment.amount) {
        let message = format!("the maximum {maximum} is below the commitment {}", commitment.amount);
        return value.wrong("commitment_above_maximum", message, "raise the maximum or lower the commitment");
    }
    Some(commitment)
}
