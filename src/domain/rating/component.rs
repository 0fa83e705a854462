//! One usage component, from rows of usage to an exact amount a line, with what each bucket added.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::domain::book::meter::Meter;
use crate::domain::book::plan::CapLimit;
use crate::domain::book::plan::Direction;
use crate::domain::book::plan::UsageComponent;
use crate::domain::money::Currency;
use crate::domain::period::Period;
use crate::domain::rating::Marginal;
use crate::domain::rating::PriceError;
use crate::domain::rating::caps;
use crate::domain::rating::caps::Limit;
use crate::domain::rating::exact;
use crate::domain::rating::explain;
use crate::domain::rating::line::Step;
use crate::domain::rating::line::Usage;
use crate::domain::rating::modifiers;
use crate::domain::rating::modifiers::Amounts;
use crate::domain::rating::quantity;
use crate::domain::rating::quantity::Group;
use crate::domain::time::Instant;
use crate::domain::time::Zone;

/// What a component is rated within.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    pub component: &'a UsageComponent,
    pub meter: &'a Meter,
    pub zone: &'a Zone,
    pub currency: Currency,
    pub span: Period,
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

/// The counted quantity of one group after each bucket: transformed and capped.
struct Counted {
    transformed: Decimal,
    so_far: Vec<(Instant, Decimal)>,
}

impl Counted {
    fn quantity(&self) -> Decimal {
        self.so_far.last().map_or(Decimal::ZERO, |(_, quantity)| *quantity)
    }
}

pub fn rate(scope: &Scope<'_>, rows: &[Usage]) -> Result<Vec<Outcome>, PriceError> {
    let groups = quantity::groups(&scope.component.group_by, scope.meter, scope.span, rows)?;
    let counted = count(scope, &groups)?;
    let amounts =
        counted.iter().map(|counted| price(scope, counted.quantity(), true)).collect::<Result<Vec<_>, _>>()?;
    let limits = amount_limits(scope.component);
    let mut marginals = if limits.is_empty() && scope.component.direction == Direction::Charge {
        vec![Vec::new(); groups.len()]
    } else {
        std::iter::zip(&counted, &amounts)
            .map(|(counted, amounts)| marginals(scope, counted, amounts))
            .collect::<Result<Vec<_>, _>>()?
    };
    caps::apply(&limits, scope.zone, &mut marginals)?;
    let mut outcomes = Vec::with_capacity(groups.len());
    for (((group, counted), amounts), marginals) in groups.into_iter().zip(counted).zip(amounts).zip(marginals) {
        let exact = match limits.is_empty() {
            true => amounts.total,
            false => exact::sum(marginals.iter().map(|marginal| marginal.amount))?,
        };
        let steps = steps(scope, &group, &counted, &amounts, exact)?;
        outcomes.push(Outcome {
            quantity: group.quantity().max(Decimal::ZERO),
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

/// Transforms the quantity so far, then caps what each bucket added to it.
fn count(scope: &Scope<'_>, groups: &[Group]) -> Result<Vec<Counted>, PriceError> {
    let mut counted = groups.iter().map(|group| transform(scope, group)).collect::<Result<Vec<_>, _>>()?;
    let limits = unit_limits(scope.component);
    if limits.is_empty() {
        return Ok(counted);
    }
    let mut added = counted.iter().map(|counted| differences(&counted.so_far)).collect::<Result<Vec<_>, _>>()?;
    caps::apply(&limits, scope.zone, &mut added)?;
    for (counted, added) in counted.iter_mut().zip(added) {
        let mut sum = Decimal::ZERO;
        for (so_far, added) in counted.so_far.iter_mut().zip(added) {
            sum = exact::add(sum, added.amount)?;
            so_far.1 = sum;
        }
    }
    Ok(counted)
}

fn transform(scope: &Scope<'_>, group: &Group) -> Result<Counted, PriceError> {
    let transform = scope.component.modifiers.transform.as_ref();
    let so_far = group
        .so_far
        .iter()
        .map(|(at, quantity)| Ok((*at, modifiers::transformed(transform, *quantity)?)))
        .collect::<Result<Vec<_>, PriceError>>()?;
    let transformed = modifiers::transformed(transform, group.quantity())?;
    Ok(Counted { transformed, so_far })
}

fn differences(so_far: &[(Instant, Decimal)]) -> Result<Vec<Marginal>, PriceError> {
    let mut before = Decimal::ZERO;
    let mut differences = Vec::with_capacity(so_far.len());
    for (at, quantity) in so_far {
        differences.push(Marginal { at: *at, amount: exact::sub(*quantity, before)? });
        before = *quantity;
    }
    Ok(differences)
}

fn price(scope: &Scope<'_>, counted: Decimal, is_last: bool) -> Result<Amounts, PriceError> {
    modifiers::amounts(&scope.component.model, &scope.component.modifiers, counted, None, is_last)
}

/// What each bucket added to the price. What is due without usage (a flat or base amount, the first tier's) is due
/// when the period begins; what the minimum adds is known, and so due, only in its last moment.
fn marginals(scope: &Scope<'_>, counted: &Counted, amounts: &Amounts) -> Result<Vec<Marginal>, PriceError> {
    let mut before = Decimal::ZERO;
    let mut marginals = Vec::with_capacity(counted.so_far.len());
    let beginning = (scope.span.from(), Decimal::ZERO);
    for (at, quantity) in std::iter::once(&beginning).chain(&counted.so_far) {
        let now = price(scope, *quantity, false)?.limited;
        marginals.push(Marginal { at: *at, amount: exact::sub(now, before)? });
        before = now;
    }
    let last_moment = Instant::from_micros(scope.span.to().micros().saturating_sub(1));
    marginals.push(Marginal { at: last_moment, amount: exact::sub(amounts.total, before)? });
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
    group: &Group,
    counted: &Counted,
    amounts: &Amounts,
    exact: Decimal,
) -> Result<Vec<Step>, PriceError> {
    let Scope { component, currency, .. } = *scope;
    let measured = group.quantity();
    let mut steps = Vec::new();
    steps.extend(explain::usage(scope.meter, group.events, measured));
    if let Some(transform) = &component.modifiers.transform {
        steps.extend(explain::transform(transform, measured.max(Decimal::ZERO), counted.transformed));
    }
    steps.extend(explain::unit_cap(&component.caps, counted.transformed, counted.quantity()));
    steps.extend(explain::price(&component.model, &component.modifiers, currency, counted.quantity(), amounts)?);
    steps.extend(explain::amount_cap(&component.caps, currency, amounts.total, exact));
    Ok(steps)
}
