//! A line: what one component comes to in one period, and why.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde::Serialize;

use crate::domain::measure::aggregate::Row;
use crate::domain::measure::delta::Delta;
use crate::domain::measure::delta::Key;
use crate::domain::measure::nano::Nano;
use crate::domain::money::Money;
use crate::domain::time::Instant;

/// One row of usage: what a meter measured for one party in one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    pub bucket: Instant,
    pub dimensions: BTreeMap<String, String>,
    /// What the aggregation keeps apart within the bucket; empty where it only adds up.
    pub item: String,
    pub value: Nano,
    /// How many events it was measured from.
    pub count: i64,
}

impl Usage {
    /// A row as it is kept. Its dimensions are an object of texts, since measuring wrote them.
    pub fn of(key: &Key, delta: Delta) -> Self {
        Self {
            bucket: key.bucket,
            dimensions: serde_json::from_str(&key.dimensions).unwrap_or_default(),
            item: key.item.to_string(),
            value: delta.value,
            count: delta.count,
        }
    }

    /// As an aggregation sees it.
    pub fn row(&self) -> Row<'_> {
        Row { bucket: self.bucket, item: &self.item, delta: Delta { value: self.value, count: self.count } }
    }
}

/// One line of a document. The amount is what the direction says: a charge is owed to the platform,
/// a reward to the party; both are positive when they are what their names say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub component: String,
    pub kind: LineKind,
    pub description: String,
    /// The values of the component's `group_by` dimensions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dimensions: BTreeMap<String, String>,
    /// What the line is for, `from <= t < to`.
    pub from: Instant,
    pub to: Instant,
    pub quantity: Decimal,
    pub amount: Money,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    pub explanation: Explanation,
}

impl Line {
    /// Whether it corrects what documents said of a period that was closed before.
    pub fn is_adjustment(&self) -> bool {
        self.explanation.steps.iter().any(|step| step.step == StepKind::Adjustment)
    }

    /// Whether it is of what others were charged, and not of own usage.
    pub fn is_share(&self) -> bool {
        self.explanation.steps.first().is_some_and(|step| step.step == StepKind::Share)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineKind {
    Fee,
    Charge,
    /// What the plan's minimum or its commitment adds to the other lines.
    Minimum,
    Reward,
}

/// Why a line is what it is: every step that changed the number, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meter: Option<String>,
    /// How many usage rows and events the quantity came from.
    pub buckets: u64,
    pub events: i64,
    pub steps: Vec<Step>,
}

/// One step of the arithmetic. `before` and `after` are the number it changed, exact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub step: StepKind,
    /// A sentence for people: `100000 units at 0.0100 = 1000.00`.
    pub text: String,
    pub before: Decimal,
    pub after: Decimal,
    /// For tiered prices: what each tier touched came to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<TierStep>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    Usage,
    Transform,
    UnitCap,
    Allowance,
    /// With what came earlier in the whole period, or less what that came to.
    Carried,
    FreeQuantity,
    Price,
    Proration,
    /// The part of a fee that is not due yet.
    Trial,
    /// What was charged in advance and is not used.
    Credit,
    /// A closed period rated again, less what documents said of it.
    Adjustment,
    BaseAmount,
    Discount,
    /// What is beyond a commitment, times its factor.
    Overage,
    Maximum,
    /// Raised to what was committed to.
    Commitment,
    Minimum,
    AmountCap,
    Budget,
    /// A part of what others were charged.
    Share,
    Rounding,
}

/// The part of a quantity that fell into one tier, or that has one rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierStep {
    pub from: Decimal,
    pub up_to: Option<Decimal>,
    pub units: Decimal,
    pub unit_amount: Decimal,
    pub flat_amount: Decimal,
    pub amount: Decimal,
    /// What it is for, where that is not a range of units.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
}
