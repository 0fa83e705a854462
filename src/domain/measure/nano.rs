//! Measured numbers: exact, in billionths. Usage adds up in these, since whole numbers add fast and never round.

use std::fmt;

use rust_decimal::Decimal;

use crate::domain::measure::delta::TooLarge;

/// Decimals that a measured number keeps.
pub const NANO_DECIMALS: u32 = 9;
const ONE: i128 = 1_000_000_000;
/// An event's own number stays below this, so that 10^17 of the largest still add up.
const EVENT_LIMIT: i128 = 1_000_000_000_000 * ONE;

/// A number in billionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nano(i128);

impl Nano {
    pub const ZERO: Self = Self(0);
    pub const ONE: Self = Self(ONE);

    pub const fn from_billionths(billionths: i128) -> Self {
        Self(billionths)
    }

    pub const fn billionths(self) -> i128 {
        self.0
    }

    /// `None` if the number has more than nine decimals.
    pub fn from_decimal(number: Decimal) -> Option<Self> {
        let number = number.normalize();
        let missing = NANO_DECIMALS.checked_sub(number.scale())?;
        number.mantissa().checked_mul(10_i128.checked_pow(missing)?).map(Self)
    }

    /// Reads a plain decimal such as `-12.50`, of any size that fits; no exponent.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() || (fraction.is_empty() && digits.len() != whole.len()) {
            return None;
        }
        if let Some(number) = parse_short(whole, fraction) {
            return Some(Self(if negative { number.saturating_neg() } else { number }));
        }
        let mut number: i128 = 0;
        for byte in whole.bytes() {
            number = pushed(number, byte)?;
        }
        let mut decimals: u32 = 0;
        for byte in fraction.bytes() {
            decimals = decimals.checked_add(1)?;
            if decimals <= NANO_DECIMALS {
                number = pushed(number, byte)?;
            } else if byte != b'0' {
                return None;
            }
        }
        let missing = NANO_DECIMALS.saturating_sub(decimals);
        number = number.checked_mul(10_i128.checked_pow(missing)?)?;
        Some(Self(if negative { number.checked_neg()? } else { number }))
    }

    /// Whether one event may carry it: below 10^12 on either side of zero.
    pub fn fits_an_event(self) -> bool {
        self.0 > -EVENT_LIMIT && self.0 < EVENT_LIMIT
    }

    /// The number as money is computed with; an error beyond 28 digits.
    pub fn decimal(self) -> Result<Decimal, TooLarge> {
        Decimal::try_from_i128_with_scale(self.0, NANO_DECIMALS).map(|number| number.normalize()).map_err(|_| TooLarge)
    }

    pub fn checked_add(self, other: Self) -> Result<Self, TooLarge> {
        self.0.checked_add(other.0).map(Self).ok_or(TooLarge)
    }

    pub fn checked_sub(self, other: Self) -> Result<Self, TooLarge> {
        self.0.checked_sub(other.0).map(Self).ok_or(TooLarge)
    }

    pub fn checked_mul(self, factor: i64) -> Result<Self, TooLarge> {
        self.0.checked_mul(i128::from(factor)).map(Self).ok_or(TooLarge)
    }

    pub fn checked_neg(self) -> Result<Self, TooLarge> {
        self.0.checked_neg().map(Self).ok_or(TooLarge)
    }
}

/// The same for what fits a machine word, as nearly every number does: a tenth of the time.
#[expect(clippy::arithmetic_side_effects, reason = "eighteen digits and nine more fit")]
fn parse_short(whole: &str, fraction: &str) -> Option<i128> {
    const POWERS: [i128; 10] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];
    let missing = POWERS.get((NANO_DECIMALS as usize).checked_sub(fraction.len())?)?;
    if whole.len() + fraction.len() > 18 {
        return None;
    }
    let mut number: u64 = 0;
    for byte in whole.bytes().chain(fraction.bytes()) {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number * 10 + u64::from(byte - b'0');
    }
    Some(i128::from(number) * missing)
}

fn pushed(number: i128, digit: u8) -> Option<i128> {
    if !digit.is_ascii_digit() {
        return None;
    }
    number.checked_mul(10)?.checked_add(i128::from(digit.saturating_sub(b'0')))
}

impl From<i64> for Nano {
    fn from(whole: i64) -> Self {
        // 2^63 billions are far below 2^127.
        Self(i128::from(whole).saturating_mul(ONE))
    }
}

impl fmt::Display for Nano {
    #[expect(clippy::arithmetic_side_effects, reason = "divides by a constant that is not zero")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let size = self.0.unsigned_abs();
        let one = ONE.unsigned_abs();
        write!(f, "{sign}{}", size / one)?;
        match size % one {
            0 => Ok(()),
            fraction => {
                let digits = format!("{fraction:09}");
                write!(f, ".{}", digits.trim_end_matches('0'))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_plain_decimals_of_nine_places_are_numbers() {
        for (text, billionths) in [
            ("0", Some(0)),
            ("-0.5", Some(-500_000_000)),
            ("12.50", Some(12_500_000_000)),
            ("1.0000000010", Some(1_000_000_001)),
            ("1.0000000001", None),
            ("", None),
            ("-", None),
            ("1.", None),
            (".5", None),
            ("1e3", None),
            ("1 ", None),
            ("--1", None),
        ] {
            assert_eq!(Nano::parse(text).map(Nano::billionths), billionths, "{text:?}");
        }
    }

    proptest! {
        /// What is shown is read back as the same number, and so is what goes through a decimal.
        #[test]
        fn numbers_come_back(billionths in any::<i128>(), small in -10_i128.pow(27)..10_i128.pow(27)) {
            let number = Nano(billionths);
            prop_assert_eq!(Nano::parse(&number.to_string()), Some(number));
            let decimal = Nano(small).decimal().expect("fits");
            prop_assert_eq!(Nano::from_decimal(decimal), Some(Nano(small)));
            prop_assert_eq!(decimal.to_string(), Nano(small).to_string());
        }
    }
}
