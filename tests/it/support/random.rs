//! Random choices that can be had again: the seed is printed, and read from `TALLYSTICK_TEST_SEED`.

use std::hash::BuildHasher;
use std::hash::RandomState;

#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn from_environment() -> Self {
        let given = std::env::var("TALLYSTICK_TEST_SEED").ok().map(|seed| seed.parse().expect("a seed is a number"));
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one("seed"));
        println!("TALLYSTICK_TEST_SEED={seed}");
        Self(seed)
    }

    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// The choices that belong to some numbers: the same whenever they are asked for.
    pub fn of(&self, numbers: &[u64]) -> Self {
        let mut of = self.clone();
        for number in numbers {
            of.0 ^= number.wrapping_mul(0xd6e8_feb8_6659_fd93);
            of.0 = of.next();
        }
        of
    }

    /// A number from 0 up to, not including, `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, these: &[T]) -> T {
        let count = u64::try_from(these.len()).expect("a small number");
        these[usize::try_from(self.below(count)).expect("below the number of these")]
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
