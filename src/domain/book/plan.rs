//! Plans: what is charged and paid, component by component.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::num::NonZero;

use jiff::ToSpan;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde::Serialize;
use thiserror::Error;

use crate::domain::money::Currency;
use crate::domain::period::Calendar;
use crate::domain::period::Period;
use crate::domain::time::Instant;

/// A rate card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub id: String,
    pub name: String,
    pub currency: Currency,
    pub calendar: Calendar,
    /// The least that an invoice's net comes to; the rest is a true-up line.
    pub minimum: Option<Decimal>,
    /// The most that fees and charges come to; a line takes the rest off.
    pub maximum: Option<Decimal>,
    /// What the charges of a period together are committed to.
    pub commitment: Option<Commitment>,
    /// How much of these three a part of a period has.
    pub minimum_prorate: Prorate,
    /// For so many days of a subscription nothing is owed at least, neither fees nor of these; 0 for no trial.
    pub trial_days: u32,
    /// By id: units that are included in the plan, for all components together that name the allowance.
    pub allowances: BTreeMap<String, Decimal>,
    pub components: Vec<Component>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a plan has few components, and most are of usage")]
pub enum Component {
    Fee(Fee),
    /// Priced from usage: the party owes the platform, or the platform the party.
    Usage(UsageComponent),
    Share(ShareComponent),
}

/// A percentage of what others are charged for what is this party's: the platform owes it to the party.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareComponent {
    pub id: String,
    pub name: String,
    pub of: Vec<SharedCharge>,
    /// The dimension of the charges' meters that names the consumer who gets the share.
    pub producer: String,
    /// In percent.
    pub rate: Decimal,
    pub program: String,
}

/// A charge of some plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SharedCharge {
    pub plan: String,
    pub charge: String,
}

/// A fixed amount a period, or for `each` unit of the subscription's quantity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fee {
    pub id: String,
    pub name: String,
    pub amount: Decimal,
    pub each: bool,
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

/// What a part of a period owes of an amount for the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prorate {
    /// All of it.
    #[default]
    None,
    /// By days, of which the one within which a part ends belongs to the next part.
    Day,
    /// By exact time.
    Second,
    /// By days, as if every month had so many.
    FixedMonth { days: u8 },
}

/// Usage of one meter, priced by one model. The order in which the parts apply is in [`crate::domain::rating`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageComponent {
    pub id: String,
    pub name: String,
    pub direction: Direction,
    pub meter: String,
    pub model: Model,
    /// What is counted instead of the meter's quantity.
    pub milestones: Option<Milestones>,
    pub modifiers: Modifiers,
    pub caps: Vec<Cap>,
    /// The plan's allowance that its units use up before they cost anything.
    pub allowance: Option<String>,
    /// Whether what was used earlier in the whole billing period fills the tiers first, where a part of it is billed.
    pub carry_tiers: bool,
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

/// Occasions in a subscription's life, counted from where it begins. A period's quantity is how many of them fall into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Milestones {
    /// Each time that the quantity has grown by so much.
    Every(Decimal),
    /// Each of these quantities that it reaches, in rising order.
    At(Vec<Decimal>),
    /// Each time that so many days in a row, in the plan's zone, came to at least so much.
    DaysInARow { days: NonZero<u16>, at_least: Decimal },
}

/// What a quantity costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Model {
    Flat {
        amount: Decimal,
    },
    PerUnit {
        unit_amount: Decimal,
    },
    Package {
        package_size: Decimal,
        package_amount: Decimal,
        round: Rounding,
    },
    Graduated(Tiers),
    Volume(Tiers),
    /// As graduated, of a quantity of money: a tier's `unit_amount` is what one unit of money costs.
    GraduatedPercentage(Tiers),
    /// The flat amount of the one tier that the whole quantity falls into.
    Stairstep(Tiers),
    /// The amounts that the events themselves carry, times this.
    Dynamic {
        multiplier: Decimal,
    },
    Percentage(Percentage),
    /// Several meters; the first tier whose limits all hold sets one price.
    Capacity(Vec<CapacityTier>),
    Matrix(Matrix),
    /// Each window priced on its own, and summed. One without usage costs nothing.
    PerBucket {
        per: Each,
        inner: Box<Inner>,
    },
    /// Units that come and go: they fill the tiers by their full count, and each is priced by its share of the period.
    GraduatedProrated {
        tiers: Tiers,
        prorate: Share,
    },
}

/// A percentage of a quantity of money, and an amount for each event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Percentage {
    /// In percent.
    pub rate: Decimal,
    pub fixed_amount: Decimal,
    pub by_event: ByEvent,
}

/// What needs each event for itself. Everything is off by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ByEvent {
    /// So many of the first events are free, as long as `free_amount` lasts too.
    pub free_events: Option<u64>,
    /// So much of the first money is free, as long as `free_events` last too.
    pub free_amount: Option<Decimal>,
    /// The least and the most that an event which is not free costs.
    pub minimum: Option<Decimal>,
    pub maximum: Option<Decimal>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapacityTier {
    /// By meter, inclusive; a meter that is not named has no limit.
    pub limits: BTreeMap<String, Decimal>,
    pub amount: Decimal,
}

/// Unit prices by the values of dimensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    pub rates: Vec<MatrixRate>,
    /// For what no rate is for; without it, that is not billed, and the line says so.
    pub default_unit_amount: Option<Decimal>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatrixRate {
    /// For each dimension the values of which usage must have one.
    pub when: BTreeMap<String, Vec<String>>,
    pub unit_amount: Decimal,
}

/// A model that prices one window, and the quantity that is free in each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inner {
    pub model: Model,
    pub free_quantity: Decimal,
}

/// The windows that are priced on their own: the meter's buckets, or calendar windows in the plan's zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Each {
    Bucket,
    Day,
    Week,
    Month,
}

/// How finely a share of a period is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Share {
    /// The days that remain, of which the one on which a unit comes counts whole.
    Day,
    Second,
}

/// Changes to the quantity before the model and to the amount after it. Everything is off by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modifiers {
    pub transform: Option<Transform>,
    pub free_quantity: Decimal,
    pub base_amount: Decimal,
    /// Percent taken off.
    pub percentage_discount: Decimal,
    pub commitment: Option<Commitment>,
    pub maximum_amount: Option<Decimal>,
    pub minimum_amount: Option<Decimal>,
    /// How much of commitment, maximum and minimum a part of a period has.
    pub minimum_prorate: Prorate,
}

/// What a party commits to spend in a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commitment {
    pub amount: Decimal,
    /// What everything beyond the amount is multiplied by.
    pub overage_factor: Decimal,
    /// Whether a period that comes to less is raised to the amount.
    pub true_up: bool,
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

/// A calendar window in the plan's zone. `Period` is the billing period, and `Lifetime` all of the subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CapWindow {
    Day,
    Week,
    Month,
    Period,
    Lifetime,
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

impl ByEvent {
    pub fn is_used(&self) -> bool {
        *self != Self::default()
    }
}

impl Matrix {
    /// The rate for usage with these values: of those that fit the one that names most dimensions, of these the one
    /// that lists fewest values, of these the first.
    pub fn rate_for(&self, dimensions: &BTreeMap<String, String>) -> Option<usize> {
        let fits = |(_, rate): &(usize, &MatrixRate)| {
            rate.when.iter().all(|(name, values)| dimensions.get(name).is_some_and(|value| values.contains(value)))
        };
        let exactness = |(_, rate): &(usize, &MatrixRate)| {
            let values: usize = rate.when.values().map(Vec::len).sum();
            (Reverse(rate.when.len()), values)
        };
        self.rates.iter().enumerate().filter(fits).min_by_key(exactness).map(|(index, _)| index)
    }
}

impl CapacityTier {
    /// `flights up to 10, miles up to 1000`
    pub fn label(&self) -> String {
        let limit = |(meter, up_to): (&String, &Decimal)| format!("{meter} up to {up_to}");
        match self.limits.is_empty() {
            true => "without a limit".to_owned(),
            false => self.limits.iter().map(limit).collect::<Vec<_>>().join(", "),
        }
    }
}

impl MatrixRate {
    /// `cloud aws, region us or europe`
    pub fn label(&self) -> String {
        let condition = |(name, values): (&String, &Vec<String>)| format!("{name} {}", values.join(" or "));
        self.when.iter().map(condition).collect::<Vec<_>>().join(", ")
    }
}

impl Model {
    /// Whether the price follows from the whole quantity alone, however it came about.
    pub fn is_of_quantity(&self) -> bool {
        match self {
            Self::Flat { .. }
            | Self::PerUnit { .. }
            | Self::Package { .. }
            | Self::Graduated(_)
            | Self::Volume(_)
            | Self::GraduatedPercentage(_)
            | Self::Stairstep(_)
            | Self::Dynamic { .. } => true,
            Self::Percentage(_)
            | Self::Capacity(_)
            | Self::Matrix(_)
            | Self::PerBucket { .. }
            | Self::GraduatedProrated { .. } => false,
        }
    }
}

impl Component {
    pub fn id(&self) -> &str {
        match self {
            Self::Fee(fee) => &fee.id,
            Self::Usage(usage) => &usage.id,
            Self::Share(share) => &share.id,
        }
    }

    /// The program that pays it, if it is not the party that pays.
    pub fn program(&self) -> Option<&str> {
        match self {
            Self::Fee(_) => None,
            Self::Usage(usage) => usage.program(),
            Self::Share(share) => Some(&share.program),
        }
    }
}

impl Plan {
    /// What of a period comes after the trial of a subscription that began at `life_from`; none if nothing does.
    pub fn after_trial(&self, life_from: Instant, period: Period) -> Option<Period> {
        if self.trial_days == 0 {
            return Some(period);
        }
        let zoned = life_from.timestamp().to_zoned_datetime(self.calendar.zone.jiff().clone());
        let end = zoned.checked_add(i64::from(self.trial_days).days()).ok()?.timestamp().into();
        Period::new(period.from().max(end), period.to()).ok()
    }

    /// The meters that it is rated from.
    pub fn meters(&self) -> BTreeSet<&str> {
        self.usage().flat_map(UsageComponent::meters).collect()
    }

    /// The meters whose usage from before a period decides about it: of what a lifetime caps, or has milestones in it.
    pub fn lifetime_meters(&self) -> BTreeSet<&str> {
        let counted = |usage: &&UsageComponent| usage.milestones.is_some() || usage.is_capped_for_a_lifetime();
        self.usage().filter(counted).flat_map(UsageComponent::meters).collect()
    }

    fn usage(&self) -> impl Iterator<Item = &UsageComponent> {
        self.components.iter().filter_map(|component| match component {
            Component::Usage(usage) => Some(usage),
            Component::Fee(_) | Component::Share(_) => None,
        })
    }
}

impl UsageComponent {
    /// Every meter that it measures by.
    pub fn meters(&self) -> impl Iterator<Item = &str> {
        let limits = match &self.model {
            Model::Capacity(tiers) => tiers.as_slice(),
            _ => &[],
        };
        let of_tiers = limits.iter().flat_map(|tier| tier.limits.keys());
        std::iter::once(&self.meter).chain(of_tiers).map(String::as_str)
    }

    pub fn is_capped_for_a_lifetime(&self) -> bool {
        self.caps.iter().any(|cap| cap.per == CapWindow::Lifetime)
    }

    pub fn program(&self) -> Option<&str> {
        match &self.direction {
            Direction::Charge => None,
            Direction::Reward { program } => Some(program),
        }
    }
}
