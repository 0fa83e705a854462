//! Deltas: what events add to usage. They are a commutative group: any order and any grouping gives the same usage,
//! and taking an event back is adding its opposite.

use std::sync::Arc;

use thiserror::Error;

use crate::domain::measure::nano::Nano;
use crate::domain::time::Instant;

/// Which row of usage a delta belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub meter: Arc<str>,
    pub party: Arc<str>,
    pub bucket: Instant,
    /// A JSON object with sorted keys and text values.
    pub dimensions: Arc<str>,
    /// What the aggregation keeps apart within the bucket; empty where it only adds up.
    pub item: Arc<str>,
}

/// What a database keeps of a key, in bytes of its parts together: an entry of an index has 2,704 in Postgres, with some
/// for itself.
const KEY_BYTES_MAX: usize = 2_500;

/// Why a key cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unkeepable {
    #[error("party, dimensions and value come to {0} bytes, and a row of usage is known by at most {KEY_BYTES_MAX}")]
    TooLong(usize),
    /// Postgres keeps no U+0000, and U+001F stands between keys where many are one text.
    #[error("it holds U+0000 or U+001F, which no row of usage can be known by")]
    Control,
}

impl Key {
    /// Whether every store can keep it. Asked of what comes in, and never of what was taken.
    pub fn check(&self) -> Result<(), Unkeepable> {
        let parts = [&self.meter, &self.party, &self.dimensions, &self.item];
        let bytes = parts.iter().fold(0_usize, |bytes, part| bytes.saturating_add(part.len()));
        if bytes > KEY_BYTES_MAX {
            return Err(Unkeepable::TooLong(bytes));
        }
        let has_control = |part: &str| memchr::memchr2(0, 0x1f, part.as_bytes()).is_some();
        if has_control(&self.party) || has_control(&self.item) { Err(Unkeepable::Control) } else { Ok(()) }
    }
}

/// What was measured so far: the number, and from how many events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    pub value: Nano,
    pub count: i64,
}

/// A number beyond what can be kept exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the usage is larger than can be kept exactly")]
pub struct TooLarge;

impl Delta {
    /// Brings two measurements of one row together.
    pub fn merge(self, other: Self) -> Result<Self, TooLarge> {
        let count = self.count.checked_add(other.count).ok_or(TooLarge)?;
        Ok(Self { value: self.value.checked_add(other.value)?, count })
    }

    /// What takes this measurement back.
    pub fn opposite(self) -> Result<Self, TooLarge> {
        Ok(Self { value: self.value.checked_neg()?, count: self.count.checked_neg().ok_or(TooLarge)? })
    }

    /// A row that measured nothing is no row.
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_that_a_database_cannot_keep_is_known() {
        let key = |party: &str, item: &str| Key {
            meter: "m".into(),
            party: party.into(),
            bucket: Instant::from_micros(0),
            dimensions: "{}".into(),
            item: item.into(),
        };
        assert_eq!(key("a\tb", "/s\n1").check(), Ok(()));
        assert_eq!(key("a\0", "").check(), Err(Unkeepable::Control));
        assert_eq!(key("a", "b\u{1f}").check(), Err(Unkeepable::Control));
        assert_eq!(key(&"x".repeat(2_497), "").check(), Ok(()));
        assert_eq!(key(&"x".repeat(2_497), "y").check(), Err(Unkeepable::TooLong(2_501)));
    }

    fn sum(deltas: &[i64]) -> Delta {
        let delta = |value: &i64| Delta { value: Nano::from(*value), count: 1 };
        deltas.iter().map(delta).fold(Delta::default(), |sum, delta| sum.merge(delta).expect("fits"))
    }

    proptest! {
        /// In any grouping, merging gives what one pass gives, and taking a part back leaves the other.
        #[test]
        fn deltas_are_a_commutative_group(values in prop::collection::vec(any::<i64>(), 0..50), cut in 0_usize..50) {
            let (left, right) = values.split_at(cut.min(values.len()));
            let all = sum(&values);
            prop_assert_eq!(sum(right).merge(sum(left)).expect("fits"), all);
            prop_assert_eq!(all.merge(sum(left).opposite().expect("fits")).expect("fits"), sum(right));
            prop_assert!(all.merge(all.opposite().expect("fits")).expect("fits").is_nothing());
        }
    }
}
