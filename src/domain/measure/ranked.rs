//! Numbers of which always the one at some percentile is known, while others come and go.

use std::collections::BTreeMap;

use crate::domain::book::meter::Rank;
use crate::domain::measure::nano::Nano;

/// Nearest rank: of n numbers the ceil(n × rank / 100)-th smallest.
#[derive(Clone, Debug)]
pub struct Ranked {
    /// The share of the numbers that `low` holds, rounded up, as a fraction.
    numerator: u128,
    denominator: u128,
    low: Heap,
    high: Heap,
}

/// How often each number is there.
#[derive(Clone, Debug, Default)]
struct Heap {
    counts: BTreeMap<Nano, u64>,
    len: u64,
}

impl Ranked {
    pub fn new(rank: Rank) -> Self {
        let percent = rank.percent();
        Self {
            numerator: percent.mantissa().unsigned_abs(),
            denominator: 10_u128.saturating_pow(percent.scale()).saturating_mul(100),
            low: Heap::default(),
            high: Heap::default(),
        }
    }

    pub fn insert(&mut self, number: Nano) {
        match self.low.counts.last_key_value() {
            Some((largest, _)) if number < *largest => self.low.insert(number),
            _ => self.high.insert(number),
        }
        self.settle();
    }

    /// Takes out a number that was put in.
    pub fn remove(&mut self, number: Nano) {
        if !self.low.remove(number) {
            self.high.remove(number);
        }
        self.settle();
    }

    /// The number at the rank; nothing if there is none at all.
    pub fn number(&self) -> Option<Nano> {
        self.low.counts.last_key_value().map(|(number, _)| *number)
    }

    fn settle(&mut self) {
        let all = u128::from(self.low.len.saturating_add(self.high.len));
        let wanted = all.saturating_mul(self.numerator).div_ceil(self.denominator.max(1));
        while u128::from(self.low.len) > wanted
            && let Some(largest) = self.low.counts.last_key_value().map(|(number, _)| *number)
        {
            self.low.remove(largest);
            self.high.insert(largest);
        }
        while u128::from(self.low.len) < wanted
            && let Some(smallest) = self.high.counts.first_key_value().map(|(number, _)| *number)
        {
            self.high.remove(smallest);
            self.low.insert(smallest);
        }
    }
}

impl Heap {
    fn insert(&mut self, number: Nano) {
        let count = self.counts.entry(number).or_default();
        *count = count.saturating_add(1);
        self.len = self.len.saturating_add(1);
    }

    fn remove(&mut self, number: Nano) -> bool {
        let Some(count) = self.counts.get_mut(&number) else { return false };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.counts.remove(&number);
        }
        self.len = self.len.saturating_sub(1);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rust_decimal::Decimal;

    use super::*;

    proptest! {
        /// After every number that comes or goes, the one at the rank is where sorting all of them finds it.
        #[test]
        fn the_rank_is_kept(
            tenths in 1_i64..=1_000,
            steps in prop::collection::vec((0_i64..20, prop::bool::weighted(0.3)), 0..60),
        ) {
            let rank = Rank::of_percent(Decimal::new(tenths, 1)).expect("is one");
            let (mut ranked, mut all) = (Ranked::new(rank), Vec::new());
            for (number, goes) in steps {
                if goes && all.contains(&number) {
                    let place = all.iter().position(|known| *known == number).expect("is there");
                    all.remove(place);
                    ranked.remove(Nano::from(number));
                } else {
                    all.push(number);
                    ranked.insert(Nano::from(number));
                }
                all.sort_unstable();
                let nth = (all.len() as i64 * tenths + 999) / 1_000;
                let expected = all.get((nth - 1).max(0) as usize).copied().map(Nano::from);
                prop_assert_eq!(ranked.number(), expected);
            }
        }
    }
}
