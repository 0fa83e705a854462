//! Rating: usage × components → lines, each with its explanation.
//!
//! Charges and rewards go through the same code; the direction only decides which document a line ends up on.
//!
//! The order of arithmetic. Each step that changed the number is kept in the line's explanation.
//! 1. The usage of the component's meter within the period, for a reward also within its program's window;
//!    one line for each combination of values of the `group_by` dimensions ([`quantity`]).
//!    Where `milestones` are counted, their number is the quantity ([`milestones`]).
//! 2. `transform`, on the quantity so far; then `cap` by units, oldest bucket first ([`caps`]); then what an allowance of the
//!    plan includes, oldest bucket first, for all components together that name it. Where tiers carry on over the parts of a
//!    period, what came before goes under all of it ([`carry`]).
//! 3. `free_quantity`, the model ([`models`], [`tiers`], [`course`]), `base_amount`, discount, commitment, maximum, minimum ([`modifiers`]).
//! 4. `cap` by amount, oldest bucket first ([`caps`]). What is capped for a lifetime is counted from its beginning ([`life`]).
//! 5. For a reward: what is left of its program's budget, for all parties at once ([`budget`]).
//! 6. Rounding to the minor unit, once a line, half away from zero.
//! 7. The plan's commitment, minimum and maximum, over the rounded fees and charges ([`bounds`]).
//!
//! Quantities and amounts are exact decimals until step 6 (to 28 digits where a division does not end).

mod allowance;
mod bounds;
pub mod budget;
pub mod caps;
mod carry;
pub mod cliff;
mod component;
mod course;
mod exact;
pub mod explain;
pub mod fees;
mod life;
pub mod line;
mod milestones;
pub mod models;
pub mod modifiers;
mod percentage;
mod quantity;
pub mod quota;
mod seats;
pub mod tiers;

#[cfg(test)]
mod examples;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod recipes;

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use thiserror::Error;

pub use crate::domain::rating::budget::eligible;
pub use crate::domain::rating::budget::settle_budget;
pub use crate::domain::rating::carry::carrying_meters;
pub use crate::domain::rating::fees::Life;
pub use crate::domain::rating::fees::advance_corrections;
pub use crate::domain::rating::fees::advance_fees;

use crate::domain::book::meter::Meter;
use crate::domain::book::plan::Component;
use crate::domain::book::plan::Direction;
use crate::domain::book::plan::Plan;
use crate::domain::book::plan::UsageComponent;
use crate::domain::book::plan::When;
use crate::domain::book::program::Program;
use crate::domain::days::BillingDays;
use crate::domain::measure::delta::TooLarge;
use crate::domain::money::MoneyError;
use crate::domain::period::Period;
use crate::domain::period::PeriodError;
use crate::domain::quantity::Quantities;
use crate::domain::rating::component::Lives;
use crate::domain::rating::component::Measured;
use crate::domain::rating::component::Outcome;
use crate::domain::rating::component::Scope;
use crate::domain::rating::line::Explanation;
use crate::domain::rating::line::Line;
use crate::domain::rating::line::LineKind;
use crate::domain::rating::line::Usage;
use crate::domain::rating::quantity::Source;
use crate::domain::subscription::Change;
use crate::domain::time::Instant;

/// What a subscription's period is rated from.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    pub plan: &'a Plan,
    pub programs: &'a BTreeMap<String, Program>,
    pub meters: &'a BTreeMap<String, Meter>,
    /// The part of the whole billing period that the subscription covers.
    pub period: Period,
    /// The whole billing period, which fees are prorated against.
    pub whole: Period,
    /// Where the subscription begins, and with it what is capped for a lifetime or has milestones in it.
    pub life_from: Instant,
    /// Since when tiers are filled that carry on into the period: at most until it begins.
    pub carries_from: Instant,
    /// The billing days that it has of its own, and its changes of plan: what its earlier periods ended with.
    pub days: &'a BillingDays,
    pub changes: &'a [Change],
    pub quantities: &'a Quantities,
    /// By meter. Rows after the period are left out, and so are those before it unless their meter carries over, or what it
    /// measures is capped for a lifetime, has milestones in it, or fills tiers that carry on. Their order does not matter.
    pub usage: &'a BTreeMap<String, Vec<Usage>>,
}

impl<'a> Inputs<'a> {
    /// What its fees depend on.
    pub fn life(&self) -> Life<'a> {
        Life { from: self.life_from, quantities: self.quantities }
    }
}

/// What a period came to: its [`charges`] and its [`rewards`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rated {
    pub lines: Vec<Line>,
    pub rewards: Vec<UnbudgetedReward>,
}

/// A reward before its program's budget. Its line's amount is what it would be if the budget suffices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnbudgetedReward {
    pub line: Line,
    /// The amount before rounding: the sum of the marginals.
    pub exact: Decimal,
    /// What each bucket added, in order of time.
    pub marginals: Vec<Marginal>,
}

/// What one bucket added to a cumulative number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marginal {
    pub at: Instant,
    pub amount: Decimal,
}

/// Why a quantity has no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PriceError {
    #[error("{quantity} units are above the last tier, which ends at {up_to}")]
    QuantityOutOfRange { quantity: Decimal, up_to: Decimal },
    #[error("a number is larger than can be kept exactly")]
    TooLarge,
    #[error("a package size or divisor is zero")]
    DividedByZero,
    /// Such a model is priced along its usage, in [`course`].
    #[error("the price does not follow from the quantity alone")]
    NotOfQuantity,
}

impl From<TooLarge> for PriceError {
    fn from(TooLarge: TooLarge) -> Self {
        Self::TooLarge
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RatingError {
    #[error("component {component}: {source}")]
    Price { component: String, source: PriceError },
    #[error("the budget of program {program}: {source}")]
    Budget { program: String, source: PriceError },
    #[error("component {component} measures by {meter}, which is not in the price book")]
    UnknownMeter { component: String, meter: String },
    #[error("component {component} is paid by program {program}, which is not in the price book")]
    UnknownProgram { component: String, program: String },
    #[error(transparent)]
    Money(#[from] MoneyError),
    #[error(transparent)]
    Period(#[from] PeriodError),
}

/// Whether lines say why they are what they are. Without words the amounts are the same: for simulations, where nobody reads
/// the words of usage components, and writing them is most of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Explained {
    Yes,
    No,
}

/// Rates one subscription's period.
pub fn rate(inputs: &Inputs<'_>, explained: Explained) -> Result<Rated, RatingError> {
    Ok(Rated { lines: charges(inputs, explained)?, rewards: rewards(inputs, explained)? })
}

/// Fees in arrears, units that came or went, and charges in the order of the plan, then what the plan makes of all of them.
pub fn charges(inputs: &Inputs<'_>, explained: Explained) -> Result<Vec<Line>, RatingError> {
    let plan = inputs.plan;
    let mut lines = Vec::with_capacity(plan.components.len());
    let mut charges = measured_charges(inputs, explained)?;
    for component in &plan.components {
        match component {
            Component::Fee(fee) => {
                let (life, periods) = (inputs.life(), (inputs.period, inputs.whole));
                if fee.when == When::Arrears {
                    lines.push(fees::line(plan, fee, life, periods)?);
                }
                lines.extend(fees::changed_units(plan, fee, life, periods)?);
            }
            // What others are charged is known where all that falls due together is.
            Component::Share(_) => {}
            Component::Usage(usage) => {
                if let Some(counted) = charges.remove(usage.id.as_str()) {
                    lines.extend(charge(inputs, counted)?);
                }
            }
        }
    }
    bounds::apply(plan, inputs.life(), (inputs.period, inputs.whole), &mut lines)?;
    Ok(lines)
}

/// Rewards in the order of the plan, still to be settled against their programs' budgets.
pub fn rewards(inputs: &Inputs<'_>, explained: Explained) -> Result<Vec<UnbudgetedReward>, RatingError> {
    let mut rewards = Vec::new();
    for component in &inputs.plan.components {
        if let Component::Usage(usage) = component
            && let Direction::Reward { program } = &usage.direction
        {
            rewards.extend(reward(inputs, usage, program, explained)?);
        }
    }
    Ok(rewards)
}

/// A charge's usage, ready to be priced.
struct Charge<'a> {
    scope: Scope<'a>,
    lives: Lives,
    measured: Measured,
}

/// The usage of every charge by its id, less what the plan's allowances include.
fn measured_charges<'a>(
    inputs: &Inputs<'a>,
    explained: Explained,
) -> Result<BTreeMap<&'a str, Charge<'a>>, RatingError> {
    let plan = inputs.plan;
    let mut charges = BTreeMap::new();
    for component in &plan.components {
        if let Component::Usage(usage) = component
            && usage.direction == Direction::Charge
        {
            let scope = scope(inputs, usage, (inputs.period, inputs.life_from), explained)?;
            let mut lives = life::before(inputs, &scope, None)?;
            let measured = component::measure(&scope, &mut lives).map_err(|source| price_error(usage, source))?;
            charges.insert(usage.id.as_str(), Charge { scope, lives, measured });
        }
    }
    for (id, units) in &plan.allowances {
        // In the order of the plan, since that decides within a bucket.
        let place = |usage: &UsageComponent| plan.components.iter().position(|component| component.id() == usage.id);
        let named = charges.values_mut().filter(|charge| charge.scope.component.allowance.as_ref() == Some(id));
        let mut named: Vec<&mut Charge<'_>> = named.collect();
        named.sort_by_key(|charge| place(charge.scope.component));
        let Some(first) = named.first().map(|charge| charge.scope.component) else { continue };
        let mut measured: Vec<&mut Measured> = named.into_iter().map(|charge| &mut charge.measured).collect();
        Measured::include(*units, &mut measured).map_err(|source| price_error(first, source))?;
    }
    Ok(charges)
}

fn price_error(component: &UsageComponent, source: PriceError) -> RatingError {
    RatingError::Price { component: component.id.clone(), source }
}

/// One line a group; without usage a line of what is due anyway, often zero, so that a statement shows it.
fn charge(inputs: &Inputs<'_>, charge: Charge<'_>) -> Result<Vec<Line>, RatingError> {
    let Charge { scope, mut lives, measured } = charge;
    let component = scope.component;
    let outcomes = component::rate(&scope, measured, &mut lives).map_err(|source| price_error(component, source))?;
    outcomes.into_iter().map(|outcome| line(inputs, &scope, inputs.period, outcome, Rounded::Yes)).collect()
}

/// Nothing is earned outside the program's window; without usage there is a reward only if something is due anyway.
fn reward(
    inputs: &Inputs<'_>,
    component: &UsageComponent,
    program: &str,
    explained: Explained,
) -> Result<Vec<UnbudgetedReward>, RatingError> {
    let Some(program) = inputs.programs.get(program) else {
        return Err(RatingError::UnknownProgram { component: component.id.clone(), program: program.to_owned() });
    };
    let Some(span) = inputs.period.intersect(program.window) else { return Ok(Vec::new()) };
    let mut rewards = Vec::new();
    let scope = scope(inputs, component, (span, inputs.life_from.max(program.window.from())), explained)?;
    let mut lives = life::before(inputs, &scope, Some(program.window))?;
    let measured = component::measure(&scope, &mut lives).map_err(|source| price_error(component, source))?;
    let outcomes = component::rate(&scope, measured, &mut lives).map_err(|source| price_error(component, source))?;
    for mut outcome in outcomes {
        if outcome.rows == 0 && outcome.exact.is_zero() {
            continue;
        }
        let (exact, marginals) = (outcome.exact, std::mem::take(&mut outcome.marginals));
        let line = line(inputs, &scope, span, outcome, Rounded::Later)?;
        rewards.push(UnbudgetedReward { line, exact, marginals });
    }
    Ok(rewards)
}

fn scope<'a>(
    inputs: &Inputs<'a>,
    component: &'a UsageComponent,
    (span, life_from): (Period, Instant),
    explained: Explained,
) -> Result<Scope<'a>, RatingError> {
    let Some(meter) = inputs.meters.get(&component.meter) else {
        return Err(RatingError::UnknownMeter { component: component.id.clone(), meter: component.meter.clone() });
    };
    let source = Source {
        model: &component.model,
        meter,
        meters: inputs.meters,
        usage: inputs.usage,
        group_by: &component.group_by,
        milestones: component.milestones.as_ref(),
        span,
        life_from,
        zone: &inputs.plan.calendar.zone,
        every_point: component::goes_along(component),
    };
    let (currency, whole, carries_from) = (inputs.plan.currency, inputs.whole, inputs.carries_from);
    Ok(Scope { component, source, currency, whole, carries_from, explained })
}

/// Whether a line's amount is final, so that its explanation ends with the rounding.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rounded {
    Yes,
    Later,
}

fn line(
    inputs: &Inputs<'_>,
    scope: &Scope<'_>,
    span: Period,
    outcome: Outcome,
    rounded: Rounded,
) -> Result<Line, RatingError> {
    let component = scope.component;
    let is_explained = scope.explained == Explained::Yes;
    let mut steps = outcome.steps;
    let (amount, rounding) = explain::round(outcome.exact, inputs.plan.currency)?;
    if rounded == Rounded::Yes {
        steps.extend(rounding);
    }
    let program = component.program().map(str::to_owned);
    Ok(Line {
        component: component.id.clone(),
        kind: if program.is_some() { LineKind::Reward } else { LineKind::Charge },
        description: if is_explained { component.name.clone() } else { String::new() },
        dimensions: outcome.dimensions,
        from: span.from(),
        to: span.to(),
        quantity: outcome.quantity,
        amount,
        program,
        explanation: Explanation {
            meter: is_explained.then(|| component.meter.clone()),
            buckets: outcome.rows,
            events: outcome.events,
            steps,
        },
    })
}
