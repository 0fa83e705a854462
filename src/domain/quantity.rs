//! How many units of something a subscription is for, such as seats: what it started with, and from when there are more or
//! fewer. Fees that are stated for one unit are owed for each of them, and for no longer than they are there.

use serde::Serialize;

use crate::domain::period::Period;
use crate::domain::time::Instant;

/// More than anybody has, and little enough that no fee for so many overflows.
pub const QUANTITY_MAX: i64 = 1_000_000_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quantities {
    #[serde(rename = "quantity")]
    pub first: i64,
    /// In the order of time.
    #[serde(rename = "quantities", skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<QuantityChange>,
}

/// From when a subscription is for another number of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct QuantityChange {
    pub at: Instant,
    pub quantity: i64,
    pub made_at: Instant,
}

impl Default for Quantities {
    /// One unit: a fee that is for each is what it is.
    fn default() -> Self {
        Self { first: 1, changes: Vec::new() }
    }
}

impl Quantities {
    /// How many there are at an instant.
    pub fn at(&self, at: Instant) -> i64 {
        let changed = self.changes.iter().rev().find(|change| change.at <= at);
        changed.map_or(self.first, |change| change.quantity)
    }

    /// The changes after a period has begun and before it ends.
    pub fn within(&self, period: Period) -> impl Iterator<Item = &QuantityChange> {
        self.changes.iter().filter(move |change| period.from() < change.at && change.at < period.to())
    }
}
