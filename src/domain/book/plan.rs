//! Plans: what is charged and paid, component by component.

use rust_decimal::Decimal;
use serde::Deserialize;
use serde::Serialize;
use thiserror::Error;

use crate::domain::money::Currency;
use crate::domain::period::Calendar;

/// A rate card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub id: String,
    pub name: String,
    pub currency: Currency,
    pub calendar: Calendar,
    /// The least that an invoice's net comes to; the rest is a true-up line.
    pub minimum: Option<Decimal>,
    pub components: Vec<Component>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a plan has few components, and most are of usage")]
pub enum Component {
    Fee(Fee),
    /// Priced from usage: the party owes the platform, or the platform the party.
    Usage(UsageComponent),
}

/// A fixed amount a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fee {
    pub id: String,
    pub name: String,
    pub amount: Decimal,
    pub when: When,
    pub prorate: Prorate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// On the document that opens the period.
    Advance,
    /// On the document that closes it.
    Arrears,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prorate {
    None,
    Day,
    Second,
}

/// Usage of one meter, priced by one model. The order in which the parts apply is in [`crate::domain::rating`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageComponent {
    pub id: String,
    pub name: String,
    pub direction: Direction,
    pub meter: String,
    pub model: Model,
    pub modifiers: Modifiers,
    pub caps: Vec<Cap>,
    /// Dimensions that get a line for each of their values.
    pub group_by: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Direction {
    Charge,
    /// Paid out of this program's budget.
    Reward {
        program: String,
    },
}

/// What a quantity costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Model {
    Flat { amount: Decimal },
    PerUnit { unit_amount: Decimal },
    Package { package_size: Decimal, package_amount: Decimal, round: Rounding },
    Graduated(Tiers),
    Volume(Tiers),
}

/// Changes to the quantity before the model and to the amount after it. Everything is off by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modifiers {
    pub transform: Option<Transform>,
    pub free_quantity: Decimal,
    pub base_amount: Decimal,
    /// Percent taken off.
    pub percentage_discount: Decimal,
    pub maximum_amount: Option<Decimal>,
    pub minimum_amount: Option<Decimal>,
}

/// Divides a quantity and rounds it to whole units: bytes into started gigabytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform {
    pub divide_by: Decimal,
    pub round: Option<Rounding>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rounding {
    Up,
    Down,
}

/// The most that counts or is paid within a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cap {
    pub limit: CapLimit,
    pub per: CapWindow,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CapLimit {
    Units(Decimal),
    Amount(Decimal),
}

/// A calendar window in the plan's zone. `Period` is the billing period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CapWindow {
    Day,
    Week,
    Month,
    Period,
}

/// Tiers with rising inclusive upper bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Tiers(Vec<Tier>);

/// Holds units in `(bound before it, up_to]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tier {
    /// Absent in the last tier of a price book, which is open.
    pub up_to: Option<Decimal>,
    pub unit_amount: Decimal,
    /// Due as soon as the tier is entered; the first tier always is.
    pub flat_amount: Decimal,
    /// If set, `unit_amount` is per started package of this size inside the tier.
    pub package_size: Option<Decimal>,
    /// The most that this tier comes to.
    pub max_amount: Option<Decimal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TierError {
    #[error("there is no tier")]
    Empty,
    #[error("tier {tier}: up_to {up_to} is not above the bound before it, {before}")]
    OutOfOrder { tier: usize, up_to: Decimal, before: Decimal },
    #[error("tier {tier} has no up_to but is not the last")]
    OpenInTheMiddle { tier: usize },
}

impl Tiers {
    /// Checks that bounds rise from zero and that only the last tier is open. Tiers count from 1 in errors.
    pub fn new(tiers: Vec<Tier>) -> Result<Self, TierError> {
        let mut before = Decimal::ZERO;
        for (index, tier) in tiers.iter().enumerate() {
            match tier.up_to {
                Some(up_to) if up_to <= before => {
                    return Err(TierError::OutOfOrder { tier: index.saturating_add(1), up_to, before });
                }
                Some(up_to) => before = up_to,
                None if index.saturating_add(1) < tiers.len() => {
                    return Err(TierError::OpenInTheMiddle { tier: index.saturating_add(1) });
                }
                None => {}
            }
        }
        if tiers.is_empty() { Err(TierError::Empty) } else { Ok(Self(tiers)) }
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Tier> {
        self.0.iter()
    }
}

impl Component {
    pub fn id(&self) -> &str {
        match self {
            Self::Fee(fee) => &fee.id,
            Self::Usage(usage) => &usage.id,
        }
    }
}

impl UsageComponent {
    pub fn program(&self) -> Option<&str> {
        match &self.direction {
            Direction::Charge => None,
            Direction::Reward { program } => Some(program),
        }
    }
}
