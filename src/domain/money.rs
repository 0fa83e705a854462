//! Money: integers in a currency's minor unit, and the one place where an exact amount becomes money.

use std::fmt;
use std::iter::zip;

use rust_decimal::Decimal;
use rust_decimal::RoundingStrategy::MidpointAwayFromZero;
use rust_decimal::prelude::ToPrimitive;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de::Error as _;
use serde::ser::SerializeStruct;
use thiserror::Error;

/// An ISO 4217 currency that has a minor unit (so not gold, and not the test code).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency(iso_currency::Currency);

/// An amount in the minor unit of its currency: 12.34 EUR is 1234.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Money {
    minor: i64,
    currency: Currency,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MoneyError {
    #[error("the amount is larger than a 64-bit count of the minor unit")]
    Overflow,
    #[error("{0} cannot be added to {1}: convert it by an entry that names both amounts")]
    TwoCurrencies(Currency, Currency),
}

impl Currency {
    /// Finds a currency by its three-letter code, which must be in capitals.
    pub fn from_code(code: &str) -> Option<Self> {
        let currency = iso_currency::Currency::from_code(code)?;
        currency.exponent().is_some_and(|digits| digits <= 4).then_some(Self(currency))
    }

    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// How many decimals the minor unit has: 2 for EUR, 0 for JPY, 3 for KWD.
    pub fn exponent(self) -> u32 {
        self.0.exponent().map_or(0, u32::from)
    }
}

impl Money {
    pub fn from_minor(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    pub fn zero(currency: Currency) -> Self {
        Self { minor: 0, currency }
    }

    /// Rounds half away from zero: the only place where an exact amount becomes money.
    pub fn round(exact: Decimal, currency: Currency) -> Result<Self, MoneyError> {
        let minor = Decimal::from(10_i64.pow(currency.exponent()))
            .checked_mul(exact)
            .and_then(|exact| exact.round_dp_with_strategy(0, MidpointAwayFromZero).to_i64())
            .ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, currency })
    }

    /// An amount that has no more decimals than its currency, as it is.
    pub fn exact(amount: Decimal, currency: Currency) -> Option<Self> {
        Self::round(amount, currency).ok().filter(|money| money.decimal() == amount)
    }

    pub fn minor(self) -> i64 {
        self.minor
    }

    pub fn currency(self) -> Currency {
        self.currency
    }

    /// The amount in the major unit, with exactly the currency's decimals.
    pub fn decimal(self) -> Decimal {
        Decimal::new(self.minor, self.currency.exponent())
    }

    pub fn is_zero(self) -> bool {
        self.minor == 0
    }

    pub fn is_negative(self) -> bool {
        self.minor < 0
    }

    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::TwoCurrencies(self.currency, other.currency));
        }
        let minor = self.minor.checked_add(other.minor).ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, currency: self.currency })
    }

    pub fn checked_neg(self) -> Result<Self, MoneyError> {
        let minor = self.minor.checked_neg().ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, currency: self.currency })
    }

    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.checked_add(other.checked_neg()?)
    }

    /// Adds up amounts of one currency; nothing adds up to zero of `currency`.
    pub fn sum(currency: Currency, amounts: impl IntoIterator<Item = Self>) -> Result<Self, MoneyError> {
        amounts.into_iter().try_fold(Self::zero(currency), Self::checked_add)
    }
}

/// Splits `total` minor units in proportion to `weights`, by largest remainder, so that the parts sum to it exactly.
///
/// Equal remainders go to the earlier part. Weights must not be negative; when all are zero every part is zero
/// only if `total` is zero, else `None`. `None` also when an intermediate product does not fit.
pub fn split_by_largest_remainder(total: i64, weights: &[Decimal]) -> Option<Vec<i64>> {
    let whole = weights.iter().try_fold(Decimal::ZERO, |sum, weight| sum.checked_add(*weight))?;
    if whole.is_zero() || weights.iter().any(Decimal::is_sign_negative) {
        return (total == 0).then(|| vec![0; weights.len()]);
    }
    let exact = |weight: &Decimal| Decimal::from(total).checked_mul(*weight)?.checked_div(whole);
    largest_remainders(total, weights.iter().map(exact).collect::<Option<_>>()?)
}

/// Rounds amounts that are not negative to the minor unit so that they sum to their rounded sum, by largest remainder: each
/// becomes one of its two neighbours, and a whole one stays as it is.
pub fn round_together(exact: &[Decimal], currency: Currency) -> Result<Vec<Money>, MoneyError> {
    let sum = exact.iter().try_fold(Decimal::ZERO, |sum, amount| sum.checked_add(*amount));
    let total = Money::round(sum.ok_or(MoneyError::Overflow)?, currency)?;
    let unit = Decimal::from(10_i64.pow(currency.exponent()));
    let minor = exact.iter().map(|amount| amount.checked_mul(unit)).collect::<Option<_>>();
    let parts = minor.and_then(|minor| largest_remainders(total.minor(), minor)).ok_or(MoneyError::Overflow)?;
    Ok(parts.into_iter().map(|minor| Money::from_minor(minor, currency)).collect())
}

/// Whole parts that sum to `total`, which the exact ones do too but for less than one: each is cut, and those cut most get one
/// more.
fn largest_remainders(total: i64, exact: Vec<Decimal>) -> Option<Vec<i64>> {
    let mut parts = Vec::with_capacity(exact.len());
    let mut remainders = Vec::with_capacity(exact.len());
    for (index, exact) in exact.into_iter().enumerate() {
        let floor = exact.floor();
        parts.push(floor.to_i64()?);
        remainders.push((exact.checked_sub(floor)?, index));
    }
    let given = parts.iter().try_fold(0_i64, |sum, part| sum.checked_add(*part))?;
    let left = usize::try_from(total.checked_sub(given)?).ok()?;
    remainders.sort_by(|(a, first), (b, second)| b.cmp(a).then(first.cmp(second)));
    for ((_, index), _) in zip(remainders, 0..left) {
        parts[index] = parts[index].checked_add(1)?;
    }
    Some(parts)
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.decimal(), self.currency)
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = String::deserialize(deserializer)?;
        Self::from_code(&code).ok_or_else(|| D::Error::custom(format!("`{code}` is not an ISO 4217 currency")))
    }
}

/// `{"amount": "12.34", "currency": "EUR"}`
impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Money", 2)?;
        fields.serialize_field("amount", &self.decimal().to_string())?;
        fields.serialize_field("currency", self.currency.code())?;
        fields.end()
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Fields {
            amount: String,
            currency: Currency,
        }
        let Fields { amount, currency } = Fields::deserialize(deserializer)?;
        let exact = Decimal::from_str_exact(&amount).map_err(D::Error::custom)?;
        let money = Self::round(exact, currency).map_err(D::Error::custom)?;
        if money.decimal() != exact {
            return Err(D::Error::custom(format!("{amount} has more decimals than {currency}")));
        }
        Ok(money)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn eur() -> Currency {
        Currency::from_code("EUR").expect("EUR exists")
    }

    #[test]
    fn rounds_half_away_from_zero_in_the_minor_unit() {
        for (exact, minor) in [("0.005", 1), ("-0.005", -1), ("0.00499", 0), ("12.345", 1235), ("-2.675", -268)] {
            let exact = Decimal::from_str_exact(exact).expect("a decimal");
            assert_eq!(Money::round(exact, eur()).expect("fits").minor(), minor, "{exact}");
        }
        let jpy = Currency::from_code("JPY").expect("JPY exists");
        assert_eq!(Money::round(Decimal::new(3225, 1), jpy).expect("fits").minor(), 323);
    }

    #[test]
    fn an_amount_that_does_not_fit_is_an_error() {
        assert_eq!(Money::round(Decimal::MAX, eur()), Err(MoneyError::Overflow));
        assert_eq!(
            Money::from_minor(i64::MAX, eur()).checked_add(Money::from_minor(1, eur())),
            Err(MoneyError::Overflow)
        );
        assert_eq!(Money::from_minor(i64::MIN, eur()).checked_neg(), Err(MoneyError::Overflow));
    }

    #[test]
    fn currencies_without_a_minor_unit_are_refused() {
        assert!(Currency::from_code("XAU").is_none() && Currency::from_code("eur").is_none());
    }

    proptest! {
        /// The parts always sum to the whole, and none is further than one unit from its exact share.
        #[test]
        fn a_split_sums_to_the_whole(total in 0_i64..10_000_000, weights in prop::collection::vec(0_i64..100_000, 1..40)) {
            let weights: Vec<Decimal> = weights.into_iter().map(Decimal::from).collect();
            let whole: Decimal = weights.iter().sum();
            prop_assume!(!whole.is_zero());
            let parts = split_by_largest_remainder(total, &weights).expect("fits");
            prop_assert_eq!(parts.iter().sum::<i64>(), total);
            for (part, weight) in zip(parts, weights) {
                let exact = Decimal::from(total) * weight / whole;
                prop_assert!((Decimal::from(part) - exact).abs() <= Decimal::ONE);
            }
        }

        /// JSON carries money there and back.
        #[test]
        fn money_survives_json(minor in any::<i64>()) {
            let money = Money::from_minor(minor, eur());
            let json = serde_json::to_string(&money).expect("serialises");
            prop_assert_eq!(serde_json::from_str::<Money>(&json).expect("parses"), money);
        }
    }
}
