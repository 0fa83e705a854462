//! Checked decimal arithmetic: what does not fit is an error, never a panic or a wrong number.

use rust_decimal::Decimal;

use crate::domain::book::plan::Rounding;
use crate::domain::rating::PriceError;

pub fn add(a: Decimal, b: Decimal) -> Result<Decimal, PriceError> {
    a.checked_add(b).ok_or(PriceError::TooLarge)
}

pub fn sub(a: Decimal, b: Decimal) -> Result<Decimal, PriceError> {
    a.checked_sub(b).ok_or(PriceError::TooLarge)
}

pub fn mul(a: Decimal, b: Decimal) -> Result<Decimal, PriceError> {
    a.checked_mul(b).ok_or(PriceError::TooLarge)
}

pub fn div(a: Decimal, b: Decimal) -> Result<Decimal, PriceError> {
    if b.is_zero() {
        return Err(PriceError::DividedByZero);
    }
    a.checked_div(b).ok_or(PriceError::TooLarge)
}

/// `part` of `whole` of an amount. Multiplies first, so that a share that has an exact result gets it.
pub fn share(amount: Decimal, part: Decimal, whole: Decimal) -> Result<Decimal, PriceError> {
    div(mul(amount, part)?, whole)
}

pub fn sum(amounts: impl IntoIterator<Item = Decimal>) -> Result<Decimal, PriceError> {
    amounts.into_iter().try_fold(Decimal::ZERO, add)
}

/// How many whole times `size` goes into a quantity that is not negative. The remainder decides, not the quotient,
/// which may have been cut at 28 digits.
pub fn whole_times(quantity: Decimal, size: Decimal, round: Rounding) -> Result<Decimal, PriceError> {
    if size.is_zero() {
        return Err(PriceError::DividedByZero);
    }
    let rest = quantity.checked_rem(size).ok_or(PriceError::TooLarge)?;
    let full = div(sub(quantity, rest)?, size)?.round();
    match round {
        Rounding::Up if !rest.is_zero() => add(full, Decimal::ONE),
        Rounding::Up | Rounding::Down => Ok(full),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_started_by_the_smallest_excess() {
        let size = Decimal::from(3);
        let excess = Decimal::new(300_000_000_000_000_001, 17);
        for (quantity, up, down) in
            [(Decimal::ZERO, 0, 0), (Decimal::ONE, 1, 0), (size, 1, 1), (excess, 2, 1), (Decimal::from(7), 3, 2)]
        {
            assert_eq!(whole_times(quantity, size, Rounding::Up), Ok(Decimal::from(up)), "{quantity}");
            assert_eq!(whole_times(quantity, size, Rounding::Down), Ok(Decimal::from(down)), "{quantity}");
        }
        assert_eq!(whole_times(size, Decimal::ZERO, Rounding::Up), Err(PriceError::DividedByZero));
    }

    #[test]
    fn a_share_with_an_exact_result_gets_it() {
        let share = share(Decimal::new(15, 2), Decimal::from(7), Decimal::from(30));
        assert_eq!(share, Ok(Decimal::new(35, 3)));
        assert_eq!(mul(Decimal::MAX, Decimal::TWO), Err(PriceError::TooLarge));
    }
}
