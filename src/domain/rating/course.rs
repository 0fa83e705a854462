//! How a price goes along with usage: what a model comes to after each bucket.
//!
//! Most models price the quantity so far. The others need more of the usage than its sum: each event, each window, each of
//! several meters, or each combination of dimensions. Either way the last price is the line's, and what each bucket added
//! is the difference between two of them.

use rust_decimal::Decimal;

use crate::domain::book::plan::CapacityTier;
use crate::domain::book::plan::Inner;
use crate::domain::book::plan::Matrix;
use crate::domain::book::plan::Model;
use crate::domain::book::plan::Percentage;
use crate::domain::book::plan::Tiers;
use crate::domain::rating::PriceError;
use crate::domain::rating::exact;
use crate::domain::rating::line::TierStep;
use crate::domain::rating::models;
use crate::domain::rating::percentage;
use crate::domain::rating::percentage::Events;
use crate::domain::rating::seats::Change;
use crate::domain::rating::seats::Seats;
use crate::domain::time::Instant;

/// Usage at one time, as the model wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    pub at: Instant,
    /// Of a capacity: which of its meters, in the order of their names. Of a matrix: which of its rates; one more than
    /// there are is for what none is for. Else 0.
    pub strand: usize,
    /// Of a price by bucket: of this window. Of units that come and go: how many come. Else: of the strand so far.
    pub quantity: Decimal,
    /// Events so far of the strand.
    pub events: i64,
}

/// The price so far, after each point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// What is due without any usage.
    pub at_start: Decimal,
    /// What was due before, and is taken off each price.
    pub carried: Decimal,
    pub so_far: Vec<(Instant, Decimal)>,
    /// What the last price is made of, for models with tiers or rates.
    pub tiers: Vec<TierStep>,
    /// Of a percentage by event.
    pub events: Option<Charged>,
}

/// How many events were free, how many were not, and the money that pays the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charged {
    pub free: u64,
    pub charged: u64,
    pub paying: Decimal,
}

/// What units of a matrix are for which it has no price.
pub const NO_PRICE: &str = "without a price, so not billed";

impl Course {
    pub fn price(&self) -> Decimal {
        self.so_far.last().map_or(self.at_start, |(_, price)| *price)
    }

    fn push(&mut self, at: Instant, price: Decimal) {
        self.so_far.push((at, price));
    }
}

/// What a model makes of usage. `left` says how much of the whole period is left at an instant, and how much there is.
pub fn run(
    model: &Model,
    free_quantity: Decimal,
    points: &[Point],
    left: impl Fn(Instant) -> (Decimal, Decimal),
) -> Result<Course, PriceError> {
    match model {
        Model::Percentage(model) if model.by_event.is_used() => by_event(model, points),
        Model::Percentage(model) => percentage(model, free_quantity, points),
        Model::Capacity(tiers) => capacity(tiers, points),
        Model::Matrix(model) => matrix(model, points),
        Model::PerBucket { per: _, inner } => per_bucket(inner, points),
        Model::GraduatedProrated { tiers, prorate: _ } => prorated(tiers, points, left),
        model => of_quantity(model, free_quantity, points),
    }
}

fn of_quantity(model: &Model, free_quantity: Decimal, points: &[Point]) -> Result<Course, PriceError> {
    let mut course = Course { at_start: models::price(model, Decimal::ZERO, None)?, ..Course::default() };
    let mut billable = Decimal::ZERO;
    for point in points {
        billable = paid(point.quantity, free_quantity)?;
        course.push(point.at, models::price(model, billable, None)?);
    }
    course.tiers = models::tier_steps(model, billable, None)?;
    Ok(course)
}

/// What is left of a quantity when the free one is taken off.
pub fn paid(quantity: Decimal, free_quantity: Decimal) -> Result<Decimal, PriceError> {
    Ok(exact::sub(quantity, free_quantity)?.max(Decimal::ZERO))
}

fn percentage(model: &Percentage, free_quantity: Decimal, points: &[Point]) -> Result<Course, PriceError> {
    let mut course = Course::default();
    for point in points {
        let rate = percentage::percent(paid(point.quantity, free_quantity)?, model.rate)?;
        let fixed = exact::mul(Decimal::from(point.events.max(0)), model.fixed_amount)?;
        course.push(point.at, exact::add(rate, fixed)?);
    }
    Ok(course)
}

fn by_event(model: &Percentage, points: &[Point]) -> Result<Course, PriceError> {
    let mut course = Course::default();
    let mut events = Events::new(model);
    let mut before = Decimal::ZERO;
    for point in points {
        events.add(exact::sub(point.quantity, before)?)?;
        before = point.quantity;
        course.push(point.at, events.amount);
    }
    course.events = Some(Charged { free: events.free, charged: events.charged, paying: events.paying });
    Ok(course)
}

fn capacity(tiers: &[CapacityTier], points: &[Point]) -> Result<Course, PriceError> {
    let mut quantities = vec![Decimal::ZERO; capacity_meters(tiers).len()];
    let mut tier = capacity_tier(tiers, &quantities)?;
    let mut course = Course { at_start: tier.amount, ..Course::default() };
    for point in points {
        if let Some(quantity) = quantities.get_mut(point.strand) {
            *quantity = point.quantity;
        }
        tier = capacity_tier(tiers, &quantities)?;
        course.push(point.at, tier.amount);
    }
    course.tiers.push(TierStep {
        from: Decimal::ZERO,
        up_to: None,
        units: Decimal::ONE,
        unit_amount: tier.amount,
        flat_amount: Decimal::ZERO,
        amount: tier.amount,
        label: tier.label(),
    });
    Ok(course)
}

/// The meters that a capacity is limited by, in the order of their names.
pub fn capacity_meters(tiers: &[CapacityTier]) -> Vec<&str> {
    let mut meters: Vec<&str> = tiers.iter().flat_map(|tier| tier.limits.keys()).map(String::as_str).collect();
    meters.sort_unstable();
    meters.dedup();
    meters
}

/// The first tier whose limits all hold. Quantities are in the order of [`capacity_meters`].
fn capacity_tier<'t>(tiers: &'t [CapacityTier], quantities: &[Decimal]) -> Result<&'t CapacityTier, PriceError> {
    let meters = capacity_meters(tiers);
    let holds = |tier: &&CapacityTier| {
        let within =
            |(meter, quantity): (&&str, &Decimal)| tier.limits.get(*meter).is_none_or(|up_to| quantity <= up_to);
        meters.iter().zip(quantities).all(within)
    };
    match tiers.iter().find(holds) {
        Some(tier) => Ok(tier),
        None => {
            let beyond = |(meter, quantity): (&&str, &Decimal)| {
                let up_to = tiers.last()?.limits.get(*meter).filter(|up_to| quantity > up_to)?;
                Some(PriceError::QuantityOutOfRange { quantity: *quantity, up_to: *up_to })
            };
            let beyond = meters.iter().zip(quantities).find_map(beyond);
            Err(beyond.unwrap_or(PriceError::QuantityOutOfRange { quantity: Decimal::ZERO, up_to: Decimal::ZERO }))
        }
    }
}

fn matrix(model: &Matrix, points: &[Point]) -> Result<Course, PriceError> {
    let mut course = Course::default();
    let mut steps: Vec<Option<TierStep>> = vec![None; model.rates.len().saturating_add(1)];
    let mut price = Decimal::ZERO;
    for point in points {
        let Some(step) = steps.get_mut(point.strand) else { continue };
        let rate = model.rates.get(point.strand);
        let unit_amount = rate.map(|rate| rate.unit_amount).or(model.default_unit_amount);
        let units = point.quantity.max(Decimal::ZERO);
        let amount = exact::mul(units, unit_amount.unwrap_or_default())?;
        let before = step.as_ref().map_or(Decimal::ZERO, |step| step.amount);
        price = exact::add(price, exact::sub(amount, before)?)?;
        *step = Some(TierStep {
            from: Decimal::ZERO,
            up_to: None,
            units,
            unit_amount: unit_amount.unwrap_or_default(),
            flat_amount: Decimal::ZERO,
            amount,
            label: match (rate, unit_amount) {
                (Some(rate), _) => rate.label(),
                (None, Some(_)) => "any other".to_owned(),
                (None, None) => NO_PRICE.to_owned(),
            },
        });
        course.push(point.at, price);
    }
    course.tiers = steps.into_iter().flatten().collect();
    Ok(course)
}

fn per_bucket(inner: &Inner, points: &[Point]) -> Result<Course, PriceError> {
    let mut course = Course::default();
    let mut price = Decimal::ZERO;
    for point in points {
        let quantity = point.quantity.max(Decimal::ZERO);
        if !quantity.is_zero() {
            let billable = paid(quantity, inner.free_quantity)?;
            price = exact::add(price, models::price(&inner.model, billable, None)?)?;
            add_steps(&mut course.tiers, models::tier_steps(&inner.model, billable, None)?)?;
        }
        course.push(point.at, price);
    }
    course.tiers.sort_by_key(|step| step.from);
    Ok(course)
}

/// Adds the tiers of one window to those of the windows before it.
fn add_steps(steps: &mut Vec<TierStep>, more: Vec<TierStep>) -> Result<(), PriceError> {
    for step in more {
        match steps.iter_mut().find(|known| known.from == step.from) {
            Some(known) => {
                known.units = exact::add(known.units, step.units)?;
                known.flat_amount = exact::add(known.flat_amount, step.flat_amount)?;
                known.amount = exact::add(known.amount, step.amount)?;
            }
            None => steps.push(step),
        }
    }
    Ok(())
}

fn prorated(
    tiers: &Tiers,
    points: &[Point],
    left: impl Fn(Instant) -> (Decimal, Decimal),
) -> Result<Course, PriceError> {
    let mut seats = Seats::new(tiers);
    let mut course = Course { at_start: seats.amount()?, ..Course::default() };
    for point in points {
        let (left, whole) = left(point.at);
        seats.change(Change { units: point.quantity, left, whole })?;
        course.push(point.at, seats.amount()?);
    }
    course.tiers = seats.steps().collect::<Result<_, _>>()?;
    Ok(course)
}
