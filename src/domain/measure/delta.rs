//! Deltas: what events add to usage. They commute, so that any order and any grouping gives the same usage.

use std::sync::Arc;

use rust_decimal::Decimal;
use thiserror::Error;

use crate::domain::book::meter::Aggregation;
use crate::domain::time::Instant;

/// Which row of usage a delta belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub meter: Arc<str>,
    pub party: Arc<str>,
    pub bucket: Instant,
    /// A JSON object with sorted keys and text values.
    pub dimensions: Arc<str>,
}

/// What was measured so far: the number, and from how many events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delta {
    pub value: Decimal,
    pub count: i64,
}

/// A sum that would need more than the 28 digits that are kept exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the usage is larger than can be kept exactly")]
pub struct TooLarge;

impl Delta {
    /// Brings two measurements of one row together.
    pub fn merge(self, other: Self, aggregation: Aggregation) -> Result<Self, TooLarge> {
        let value = match aggregation {
            Aggregation::Count | Aggregation::Sum => exact_add(self.value, other.value).ok_or(TooLarge)?,
            Aggregation::Max => self.value.max(other.value),
        };
        Ok(Self { value, count: self.count.checked_add(other.count).ok_or(TooLarge)? })
    }
}

/// Adds without ever rounding: `None` where the decimal type would drop digits to make room.
pub fn exact_add(a: Decimal, b: Decimal) -> Option<Decimal> {
    let sum = a.checked_add(b)?;
    (sum.scale() >= a.scale().max(b.scale()) || sum.checked_sub(a) == Some(b)).then_some(sum)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn delta(mantissa: i64) -> Delta {
        Delta { value: Decimal::new(mantissa, 3), count: 1 }
    }

    #[test]
    fn a_sum_that_would_lose_digits_is_refused() {
        let large = Decimal::from_str_exact("70000000000000000000000000000").expect("29 digits");
        assert_eq!(exact_add(large, Decimal::new(1, 3)), None);
        assert_eq!(exact_add(Decimal::new(15, 1), Decimal::new(25, 2)), Some(Decimal::new(175, 2)));
    }

    proptest! {
        /// In any order and any grouping, merging gives what one pass gives.
        #[test]
        fn merging_commutes_and_associates(values in prop::collection::vec(-1_000_000_000_i64..1_000_000_000, 1..50), cut in 0_usize..50) {
            for aggregation in [Aggregation::Count, Aggregation::Sum, Aggregation::Max] {
                let all = |values: &[i64]| values.iter().map(|value| delta(*value)).reduce(|a, b| a.merge(b, aggregation).expect("fits"));
                let (left, right) = values.split_at(cut.min(values.len()));
                let parts = [all(right), all(left)].into_iter().flatten().reduce(|a, b| a.merge(b, aggregation).expect("fits"));
                prop_assert_eq!(all(&values), parts);
            }
        }
    }
}
