//! How values that the engines keep differently are read and written.

use rust_decimal::Decimal;
use sqlx::Database;
use sqlx::Decode;
use sqlx::Encode;
use sqlx::Postgres;
use sqlx::Sqlite;
use sqlx::Type;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;

use crate::domain::measure::nano::NANO_DECIMALS;
use crate::domain::measure::nano::Nano;

/// An exact decimal: `numeric` in Postgres, text in SQLite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity(pub Decimal);

impl Type<Sqlite> for Quantity {
    fn type_info() -> <Sqlite as Database>::TypeInfo {
        <String as Type<Sqlite>>::type_info()
    }
}

impl Type<Postgres> for Quantity {
    fn type_info() -> <Postgres as Database>::TypeInfo {
        <Decimal as Type<Postgres>>::type_info()
    }
}

impl Encode<'_, Sqlite> for Quantity {
    fn encode_by_ref(&self, buffer: &mut <Sqlite as Database>::ArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <String as Encode<'_, Sqlite>>::encode(self.0.normalize().to_string(), buffer)
    }
}

impl Encode<'_, Postgres> for Quantity {
    fn encode_by_ref(&self, buffer: &mut <Postgres as Database>::ArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <Decimal as Encode<'_, Postgres>>::encode_by_ref(&self.0.normalize(), buffer)
    }
}

impl<'r> Decode<'r, Sqlite> for Quantity {
    fn decode(value: <Sqlite as Database>::ValueRef<'r>) -> Result<Self, BoxDynError> {
        let text = <&str as Decode<'r, Sqlite>>::decode(value)?;
        Ok(Self(Decimal::from_str_exact(text)?))
    }
}

impl<'r> Decode<'r, Postgres> for Quantity {
    fn decode(value: <Postgres as Database>::ValueRef<'r>) -> Result<Self, BoxDynError> {
        Ok(Self(<Decimal as Decode<'r, Postgres>>::decode(value)?.normalize()))
    }
}

/// What was measured, in billionths: more digits than a [`Decimal`] has, so that no sum of events is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured(pub Nano);

/// `numeric` on the wire is made of digits in this base.
const NUMERIC_BASE: i128 = 10_000;
/// Three of its digits behind the point hold nine decimals, and three more.
const NUMERIC_FRACTION: i16 = 3;
/// From billionths to that fraction.
const NUMERIC_PADDING: i128 = 1_000;
const NUMERIC_POSITIVE: u16 = 0;
const NUMERIC_NEGATIVE: u16 = 0x4000;

impl Type<Sqlite> for Measured {
    fn type_info() -> <Sqlite as Database>::TypeInfo {
        <String as Type<Sqlite>>::type_info()
    }
}

impl Type<Postgres> for Measured {
    fn type_info() -> <Postgres as Database>::TypeInfo {
        <Decimal as Type<Postgres>>::type_info()
    }
}

impl Encode<'_, Sqlite> for Measured {
    fn encode_by_ref(&self, buffer: &mut <Sqlite as Database>::ArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <String as Encode<'_, Sqlite>>::encode(self.0.to_string(), buffer)
    }
}

impl<'r> Decode<'r, Sqlite> for Measured {
    fn decode(value: <Sqlite as Database>::ValueRef<'r>) -> Result<Self, BoxDynError> {
        let text = <&str as Decode<'r, Sqlite>>::decode(value)?;
        Ok(Self(Nano::parse(text).ok_or("not a measured number")?))
    }
}

/// The binary form of `numeric`: the number of digits, the weight of the first, the sign, the decimals to show, and
/// the digits, all in 16 bits (PostgreSQL, `src/backend/utils/adt/numeric.c`, `numeric_send`).
impl Encode<'_, Postgres> for Measured {
    fn encode_by_ref(&self, buffer: &mut <Postgres as Database>::ArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let billionths = self.0.billionths();
        let mut rest = billionths.checked_abs().ok_or("a measured number out of range")?;
        let mut digits: Vec<i16> = Vec::with_capacity(12);
        // The last group of nine decimals is one digit short of the base's twelve.
        let last = rest % 10;
        rest /= 10;
        digits.push(i16::try_from(last * NUMERIC_PADDING)?);
        while rest > 0 {
            digits.push(i16::try_from(rest % NUMERIC_BASE)?);
            rest /= NUMERIC_BASE;
        }
        let weight = i16::try_from(digits.len())? - NUMERIC_FRACTION - 1;
        digits.reverse();
        let sign = if billionths < 0 { NUMERIC_NEGATIVE } else { NUMERIC_POSITIVE };
        buffer.extend_from_slice(&u16::try_from(digits.len())?.to_be_bytes());
        buffer.extend_from_slice(&weight.to_be_bytes());
        buffer.extend_from_slice(&sign.to_be_bytes());
        buffer.extend_from_slice(&u16::try_from(NANO_DECIMALS)?.to_be_bytes());
        for digit in digits {
            buffer.extend_from_slice(&digit.to_be_bytes());
        }
        Ok(IsNull::No)
    }
}

impl<'r> Decode<'r, Postgres> for Measured {
    fn decode(value: <Postgres as Database>::ValueRef<'r>) -> Result<Self, BoxDynError> {
        let mut words = value.as_bytes()?.chunks_exact(2).map(|word| u16::from_be_bytes([word[0], word[1]]));
        let mut word = || words.next().ok_or("a numeric that is cut off");
        let (count, weight, sign, _decimals) = (word()?, i32::from(word()?.cast_signed()), word()?, word()?);
        if sign != NUMERIC_POSITIVE && sign != NUMERIC_NEGATIVE {
            return Err("a numeric that is not a number".into());
        }
        let out_of_range = "a measured number out of range";
        let mut billionths: i128 = 0;
        let mut power = weight + i32::from(NUMERIC_FRACTION);
        for digit in words.take(usize::from(count)) {
            let digit = i128::from(digit);
            let part = match u32::try_from(power)? {
                0 if digit % NUMERIC_PADDING != 0 => {
                    return Err("a measured number with more than nine decimals".into());
                }
                0 => digit / NUMERIC_PADDING,
                // Four decimal digits each, less the three of the padding.
                power => {
                    10_i128.checked_pow(4 * power - 3).and_then(|scale| digit.checked_mul(scale)).ok_or(out_of_range)?
                }
            };
            billionths = billionths.checked_add(part).ok_or(out_of_range)?;
            power -= 1;
        }
        Ok(Self(Nano::from_billionths(if sign == NUMERIC_NEGATIVE { -billionths } else { billionths })))
    }
}
