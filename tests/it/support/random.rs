//! Chance, for tests that kill at moments nobody has chosen.

use std::hash::BuildHasher;
use std::hash::RandomState;

/// Random moments that can be had again: the seed is printed, and read from `TALLYSTICK_TEST_SEED`.
pub struct Random(u64);

impl Random {
    pub fn from_environment() -> Self {
        let given = std::env::var("TALLYSTICK_TEST_SEED").ok().map(|seed| seed.parse().expect("a seed is a number"));
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one("tests"));
        println!("TALLYSTICK_TEST_SEED={seed}");
        Self(seed)
    }

    /// A number from 0 up to, not including, `bound` (SplitMix64).
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
