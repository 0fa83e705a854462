//! Discounts on a document's lines: what each line bears of them.
//!
//! Discounts apply one after the other. Each is taken off what the ones before it left of its lines, in proportion to that,
//! and never takes off more. Everything is exact until the end; then all of it is rounded once, half away from zero, and
//! shared out to the minor unit by largest remainder, so that what the lines bear sums to the discount.

use rust_decimal::Decimal;

use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::domain::money::round_together;

/// What is taken off the lines that it applies to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discount {
    pub off: Off,
    /// The places of the lines; none stands for all of them.
    pub lines: Option<Vec<usize>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Off {
    /// So many percent of what is left.
    Percent(Decimal),
    Amount(Decimal),
}

/// The order of coupons: percentages before amounts, else as they were given.
pub fn in_order_of_coupons(discounts: &mut [Discount]) {
    discounts.sort_by_key(|discount| matches!(discount.off, Off::Amount(_)));
}

/// What each line bears, exact. A line that is below zero bears nothing.
pub fn shares(amounts: &[Decimal], discounts: &[Discount]) -> Result<Vec<Decimal>, MoneyError> {
    let mut left: Vec<Decimal> = amounts.iter().map(|amount| (*amount).max(Decimal::ZERO)).collect();
    let mut shares = vec![Decimal::ZERO; left.len()];
    for Discount { off, lines } in discounts {
        let applies = |line: usize| lines.as_ref().is_none_or(|lines| lines.contains(&line));
        let of_lines = left.iter().enumerate().filter(|(line, _)| applies(*line)).map(|(_, left)| *left);
        let whole = of_lines.into_iter().try_fold(Decimal::ZERO, |sum, left| sum.checked_add(left));
        let whole = whole.ok_or(MoneyError::Overflow)?;
        let (part, of) = match off {
            Off::Percent(percent) => (*percent, Decimal::ONE_HUNDRED),
            Off::Amount(amount) => (*amount, whole),
        };
        let part = part.clamp(Decimal::ZERO, of);
        if of.is_zero() {
            continue;
        }
        for (_, (left, share)) in left.iter_mut().zip(&mut shares).enumerate().filter(|(line, _)| applies(*line)) {
            // The last digit of a division can be rounded up, and there is not more than is left.
            let off =
                left.checked_mul(part).and_then(|off| off.checked_div(of)).ok_or(MoneyError::Overflow)?.min(*left);
            *share = share.checked_add(off).ok_or(MoneyError::Overflow)?;
            *left = left.checked_sub(off).ok_or(MoneyError::Overflow)?;
        }
    }
    Ok(shares)
}

/// What each line bears, in the minor unit. Lines are of one currency.
pub fn spread(lines: &[Money], discounts: &[Discount]) -> Result<Vec<Money>, MoneyError> {
    let Some(currency) = lines.first().map(|line| line.currency()) else { return Ok(Vec::new()) };
    let amounts: Vec<Decimal> = lines.iter().map(|line| line.decimal()).collect();
    round_together(&shares(&amounts, discounts)?, currency)
}

#[cfg(test)]
mod tests {
    use std::iter::zip;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::document::invoice::tests::usd;

    fn amount(minor: i64) -> Off {
        Off::Amount(Decimal::new(minor, 2))
    }

    fn spread_of(lines: &[i64], discounts: &[(Off, Option<&[usize]>)]) -> Vec<i64> {
        let lines: Vec<Money> = lines.iter().map(|minor| usd(*minor)).collect();
        let discount = |(off, lines): &(Off, Option<&[usize]>)| Discount { off: *off, lines: lines.map(<[_]>::to_vec) };
        let discounts: Vec<Discount> = discounts.iter().map(discount).collect();
        spread(&lines, &discounts).expect("fits").into_iter().map(Money::minor).collect()
    }

    #[test]
    fn a_discount_is_shared_to_the_last_cent() {
        assert_eq!(spread_of(&[100, 100, 100], &[(amount(100), None)]), [34, 33, 33]);
        // Of a second one only what the first left, and only of its lines.
        assert_eq!(spread_of(&[1000, 500], &[(amount(900), Some(&[0])), (amount(700), None)]), [1000, 500]);
        assert_eq!(spread_of(&[1000, 500], &[(Off::Percent(Decimal::TEN), Some(&[1]))]), [0, 50]);
        assert_eq!(spread_of(&[-300, 500], &[(amount(700), None)]), [0, 500], "a credit line bears nothing");
        assert_eq!(spread_of(&[0, 0], &[(amount(700), None)]), [0, 0]);
        assert_eq!(spread_of(&[], &[(amount(700), None)]), [0; 0]);
    }

    #[test]
    fn a_line_that_is_discounted_whole_does_not_bear_the_cents_of_others() {
        // Five lines bear a tenth of a cent each: half a cent goes up, and not onto the line that is free already.
        let of_one = [1, 2, 3, 4, 5].as_slice();
        let bears =
            spread_of(&[100, 1, 1, 1, 1, 1], &[(amount(100), Some(&[0])), (Off::Percent(Decimal::TEN), Some(of_one))]);
        assert_eq!(bears, [100, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn coupons_take_percentages_first() {
        let coupon = |off| Discount { off, lines: None };
        let mut coupons = [coupon(amount(2000)), coupon(Off::Percent(Decimal::TEN)), coupon(amount(500))];
        in_order_of_coupons(&mut coupons);
        assert_eq!(coupons.map(|coupon| coupon.off), [Off::Percent(Decimal::TEN), amount(2000), amount(500)]);
    }

    proptest! {
        /// No line bears more than it comes to, and together they bear the discount, or all there is.
        #[test]
        fn lines_bear_the_discount_and_never_more_than_themselves(
            lines in prop::collection::vec(-50_i64..500, 1..8),
            fixed in prop::collection::vec((0_i64..900, prop::option::of(prop::collection::vec(0_usize..8, 0..5))), 0..4),
            percent in 0_i64..120,
        ) {
            let discount = |(minor, lines): &(i64, Option<Vec<usize>>)| Discount { off: amount(*minor), lines: lines.clone() };
            let mut discounts: Vec<Discount> = fixed.iter().map(discount).collect();
            discounts.push(Discount { off: Off::Percent(Decimal::from(percent)), lines: None });
            let amounts: Vec<Money> = lines.iter().map(|minor| usd(*minor)).collect();
            let bears = spread(&amounts, &discounts).expect("fits");
            for (line, bears) in zip(&lines, &bears) {
                prop_assert!(bears.minor() >= 0 && bears.minor() <= (*line).max(0), "{bears} of {line}");
            }
            let positive: i64 = lines.iter().filter(|minor| **minor > 0).sum();
            let asked: i64 = fixed.iter().filter(|(_, lines)| lines.is_none()).map(|(minor, _)| minor).sum();
            let borne: i64 = bears.iter().map(|bears| bears.minor()).sum();
            prop_assert!(borne >= asked.min(positive), "{borne} of {asked}");
            if percent >= 100 {
                prop_assert_eq!(borne, positive);
            }
        }
    }
}
