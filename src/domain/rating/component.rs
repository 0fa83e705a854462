//! One usage component, from rows of usage to an exact amount a line, with what each bucket added.

use std::collections::BTreeMap;

use jiff::civil::Date;
use rust_decimal::Decimal;

use crate::domain::book::plan::Cap;
use crate::domain::book::plan::CapLimit;
use crate::domain::book::plan::Direction;
use crate::domain::book::plan::Model;
use crate::domain::book::plan::Share;
use crate::domain::book::plan::UsageComponent;
use crate::domain::money::Currency;
use crate::domain::period::Period;
use crate::domain::rating::Explained;
use crate::domain::rating::Marginal;
use crate::domain::rating::PriceError;
use crate::domain::rating::allowance;
use crate::domain::rating::caps;
use crate::domain::rating::caps::Life;
use crate::domain::rating::caps::Limit;
use crate::domain::rating::carry::Before;
use crate::domain::rating::course;
use crate::domain::rating::course::Course;
use crate::domain::rating::course::Point;
use crate::domain::rating::exact;
use crate::domain::rating::explain;
use crate::domain::rating::fees;
use crate::domain::rating::line::Step;
use crate::domain::rating::modifiers;
use crate::domain::rating::modifiers::Amounts;
use crate::domain::rating::modifiers::OfPeriod;
use crate::domain::rating::quantity;
use crate::domain::rating::quantity::Group;
use crate::domain::rating::quantity::Source;
use crate::domain::time::Instant;

/// What a component is rated within.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    pub component: &'a UsageComponent,
    pub source: Source<'a>,
    pub currency: Currency,
    /// The whole billing period, of which `source.span` is a part.
    pub whole: Period,
    /// Since when the tiers are filled that carry on into the part.
    pub carries_from: Instant,
    pub explained: Explained,
}

/// What one line comes to, exact and unrounded.
pub struct Outcome {
    pub dimensions: BTreeMap<String, String>,
    pub quantity: Decimal,
    pub rows: u64,
    pub events: i64,
    pub exact: Decimal,
    /// What each bucket added to `exact`; kept for rewards, which budgets are shared out by.
    pub marginals: Vec<Marginal>,
    pub steps: Vec<Step>,
}

/// The usage of one group as it is priced: transformed and capped, where the model prices a quantity.
struct Counted {
    /// The whole quantity: transformed, then capped, then less what an allowance includes.
    transformed: Decimal,
    capped: Decimal,
    quantity: Decimal,
    points: Vec<Point>,
    /// What of it was before this part of a period, where tiers carry on over parts.
    before: Option<Decimal>,
}

/// The usage of a component that is ready to be priced, a group a line.
pub struct Measured {
    groups: Vec<Group>,
    counted: Vec<Counted>,
}

/// How much one line has measured, and what is left of it to be priced.
pub struct Standing {
    pub dimensions: BTreeMap<String, String>,
    /// As it was measured.
    pub quantity: Decimal,
    /// Transformed and capped.
    pub units: Decimal,
    /// Less what an allowance includes.
    pub billable: Decimal,
}

impl Measured {
    /// Where each line stands.
    pub fn standings(&self) -> Vec<Standing> {
        let standing = |(group, counted): (&Group, &Counted)| {
            let [quantity, units, billable] =
                [group.quantity, counted.capped, counted.quantity].map(|quantity| quantity.max(Decimal::ZERO));
            Standing { dimensions: group.dimensions.clone(), quantity, units, billable }
        };
        self.groups.iter().zip(&self.counted).map(standing).collect()
    }

    /// Takes off what an allowance includes of all these components together.
    pub fn include(allowance: Decimal, components: &mut [&mut Self]) -> Result<(), PriceError> {
        let lines = components.iter().flat_map(|measured| &measured.counted);
        let lines: Vec<&[Point]> = lines.map(|counted| counted.points.as_slice()).collect();
        let left = allowance::include(allowance, &lines)?;
        let lines = components.iter_mut().flat_map(|measured| &mut measured.counted);
        for (counted, left) in lines.zip(left) {
            counted.quantity = left.last().map_or(Decimal::ZERO, |point| point.quantity);
            counted.points = left;
        }
        Ok(())
    }
}

/// What the caps of a component counted and paid in the periods before, where they are for a lifetime.
#[derive(Clone, Debug, Default)]
pub struct Lives {
    units: Life,
    amounts: Life,
}

impl Lives {
    /// What was used of each cap in its window on a day, in the order of the component's caps.
    pub fn used_on(&self, component: &UsageComponent, day: Date) -> Vec<Decimal> {
        let (mut units, mut amounts) = (self.units.through_on(day), self.amounts.through_on(day));
        let used = |cap: &Cap| match cap.limit {
            CapLimit::Units(_) => units.next(),
            CapLimit::Amount(_) => amounts.next(),
        };
        component.caps.iter().map(used).map(Option::unwrap_or_default).collect()
    }
}

/// What a group comes to, with the price after each of its points.
struct Priced {
    course: Course,
    amounts: Amounts,
}

/// Measures and counts the usage of a period. `lives` are those after the period before, and then after this one.
pub fn measure(scope: &Scope<'_>, lives: &mut Lives) -> Result<Measured, PriceError> {
    let groups = quantity::groups(&scope.source)?;
    let counted = count(scope, &groups, &mut lives.units)?;
    Ok(Measured { groups, counted })
}

/// What was measured comes to.
pub fn rate(scope: &Scope<'_>, measured: Measured, lives: &mut Lives) -> Result<Vec<Outcome>, PriceError> {
    let Measured { groups, counted } = measured;
    let periods = (scope.source.span, scope.whole);
    let agreed = modifiers::of_period(&scope.component.modifiers, periods, scope.source.zone)?;
    let priced = counted.iter().map(|counted| price(scope, &agreed, counted)).collect::<Result<Vec<_>, _>>()?;
    let limits = amount_limits(scope.component);
    let mut marginals = if limits.is_empty() && scope.component.direction == Direction::Charge {
        vec![Vec::new(); groups.len()]
    } else {
        priced.iter().map(|priced| marginals(scope, &agreed, priced)).collect::<Result<Vec<_>, _>>()?
    };
    caps::apply(&limits, scope.source.zone, &mut marginals, &mut lives.amounts)?;
    let mut outcomes = Vec::with_capacity(groups.len());
    for (((group, counted), priced), marginals) in groups.into_iter().zip(counted).zip(priced).zip(marginals) {
        let exact = match limits.is_empty() {
            true => priced.amounts.total,
            false => exact::sum(marginals.iter().map(|marginal| marginal.amount))?,
        };
        let steps = match scope.explained {
            Explained::Yes => steps(scope, &agreed, (&group, &counted), &priced, exact)?,
            Explained::No => Vec::new(),
        };
        outcomes.push(Outcome {
            quantity: group.quantity.max(Decimal::ZERO),
            dimensions: group.dimensions,
            rows: group.rows,
            events: group.events,
            exact,
            marginals,
            steps,
        });
    }
    Ok(outcomes)
}

/// Whether what a component comes to depends on more than its last quantity: on what each bucket added.
pub fn goes_along(component: &UsageComponent) -> bool {
    !component.caps.is_empty()
        || component.allowance.is_some()
        || component.direction != Direction::Charge
        || !component.model.is_of_quantity()
}

/// Transforms the quantity so far, then caps what each bucket added to it. A model that does not price a quantity gets its
/// usage as it is.
fn count(scope: &Scope<'_>, groups: &[Group], life: &mut Life) -> Result<Vec<Counted>, PriceError> {
    let before = Before::of(scope)?;
    let counted = groups.iter().map(|group| transform(scope, group, before.as_ref()));
    let mut counted = counted.collect::<Result<Vec<_>, _>>()?;
    let limits = unit_limits(scope.component);
    if limits.is_empty() {
        return Ok(counted);
    }
    let mut added = counted.iter().map(|counted| differences(&counted.points)).collect::<Result<Vec<_>, _>>()?;
    caps::apply(&limits, scope.source.zone, &mut added, life)?;
    for (counted, added) in counted.iter_mut().zip(added) {
        let mut sum = Decimal::ZERO;
        for (point, added) in counted.points.iter_mut().zip(added) {
            sum = exact::add(sum, added.amount)?;
            point.quantity = sum;
        }
        (counted.capped, counted.quantity) = (sum, sum);
    }
    Ok(counted)
}

fn transform(scope: &Scope<'_>, group: &Group, before: Option<&Before>) -> Result<Counted, PriceError> {
    if let Some(before) = before {
        let (carried, points) = before.under(group, scope.source.span)?;
        let quantity = exact::add(carried, group.quantity)?;
        return Ok(Counted { transformed: quantity, capped: quantity, quantity, points, before: Some(carried) });
    }
    let is_of_quantity = scope.component.model.is_of_quantity();
    let transform = scope.component.modifiers.transform.as_ref();
    let mut points = group.points.clone();
    for point in points.iter_mut().filter(|_| is_of_quantity) {
        point.quantity = modifiers::transformed(transform, point.quantity)?;
    }
    let transformed = modifiers::transformed(transform, group.quantity)?;
    Ok(Counted { transformed, capped: transformed, quantity: transformed, points, before: None })
}

fn differences(points: &[Point]) -> Result<Vec<Marginal>, PriceError> {
    let mut before = Decimal::ZERO;
    let mut differences = Vec::with_capacity(points.len());
    for point in points {
        differences.push(Marginal { at: point.at, amount: exact::sub(point.quantity, before)? });
        before = point.quantity;
    }
    Ok(differences)
}

fn price(scope: &Scope<'_>, agreed: &OfPeriod<'_>, counted: &Counted) -> Result<Priced, PriceError> {
    let OfPeriod { modifiers, .. } = agreed;
    let mut course =
        course::run(&scope.component.model, modifiers.free_quantity, &counted.points, |at| left(scope, at))?;
    if counted.before.is_some() {
        course.less_what_came_before()?;
    }
    let billable = course::paid(counted.quantity, modifiers.free_quantity)?;
    let amounts = modifiers::around(modifiers, billable, course.price(), true)?;
    Ok(Priced { course, amounts })
}

/// How much of the whole period is left from an instant on, and how much there is.
fn left(scope: &Scope<'_>, at: Instant) -> (Decimal, Decimal) {
    let share = match &scope.component.model {
        Model::GraduatedProrated { prorate, .. } => *prorate,
        _ => Share::Second,
    };
    let length = |period: Period| match share {
        Share::Day => Decimal::from(period.dates(scope.source.zone)),
        Share::Second => fees::seconds(period),
    };
    let left = Period::new(at.max(scope.source.span.from()), scope.source.span.to());
    (left.map_or(Decimal::ZERO, length), length(scope.whole))
}

/// What each bucket added to the price. What is due without usage (a flat or base amount, the first tier's) is due
/// when the period begins; what the minimum adds is known, and so due, only in its last moment.
fn marginals(scope: &Scope<'_>, agreed: &OfPeriod<'_>, priced: &Priced) -> Result<Vec<Marginal>, PriceError> {
    let span = scope.source.span;
    let mut before = Decimal::ZERO;
    let mut marginals = Vec::with_capacity(priced.course.so_far.len());
    let beginning = (span.from(), priced.course.at_start);
    for (at, price) in std::iter::once(&beginning).chain(&priced.course.so_far) {
        let now = modifiers::around(&agreed.modifiers, Decimal::ZERO, *price, false)?.limited;
        marginals.push(Marginal { at: *at, amount: exact::sub(now, before)? });
        before = now;
    }
    let last_moment = Instant::from_micros(span.to().micros().saturating_sub(1));
    marginals.push(Marginal { at: last_moment, amount: exact::sub(priced.amounts.total, before)? });
    marginals.retain(|marginal| !marginal.amount.is_zero());
    Ok(marginals)
}

fn unit_limits(component: &UsageComponent) -> Vec<Limit> {
    let limit = |limit: &CapLimit| match limit {
        CapLimit::Units(most) => Some(*most),
        CapLimit::Amount(_) => None,
    };
    component.caps.iter().filter_map(|cap| Some(Limit { most: limit(&cap.limit)?, per: cap.per })).collect()
}

fn amount_limits(component: &UsageComponent) -> Vec<Limit> {
    let limit = |limit: &CapLimit| match limit {
        CapLimit::Units(_) => None,
        CapLimit::Amount(most) => Some(*most),
    };
    component.caps.iter().filter_map(|cap| Some(Limit { most: limit(&cap.limit)?, per: cap.per })).collect()
}

fn steps(
    scope: &Scope<'_>,
    agreed: &OfPeriod<'_>,
    (group, counted): (&Group, &Counted),
    priced: &Priced,
    exact: Decimal,
) -> Result<Vec<Step>, PriceError> {
    let Scope { component, currency, .. } = *scope;
    let mut steps = Vec::new();
    steps.extend(match &component.milestones {
        Some(milestones) => explain::milestones(milestones, scope.source.meter, group.events, group.quantity),
        None => explain::usage(&component.model, scope.source.meter, group.events, group.quantity),
    });
    if let Some(transform) = &component.modifiers.transform {
        steps.extend(explain::transform(transform, group.quantity.max(Decimal::ZERO), counted.transformed));
    }
    if let Some(before) = counted.before {
        steps.extend(explain::carried(before, group.quantity, counted.quantity));
    }
    steps.extend(explain::unit_cap(&component.caps, counted.transformed, counted.capped));
    if let Some(allowance) = &component.allowance {
        steps.extend(explain::allowance(allowance, counted.capped.max(Decimal::ZERO), counted.quantity));
    }
    let Priced { course, amounts } = priced;
    steps.extend(explain::price(
        (&component.model, agreed),
        currency,
        counted.quantity,
        amounts,
        course,
        group.events,
    )?);
    steps.extend(explain::amount_cap(&component.caps, currency, amounts.total, exact));
    Ok(steps)
}
