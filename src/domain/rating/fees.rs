//! Fees, prorated, and the plan's minimum.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::domain::book::plan::Component;
use crate::domain::book::plan::Fee;
use crate::domain::book::plan::Plan;
use crate::domain::book::plan::Prorate;
use crate::domain::book::plan::When;
use crate::domain::money::Money;
use crate::domain::period::Period;
use crate::domain::rating::PriceError;
use crate::domain::rating::RatingError;
use crate::domain::rating::exact;
use crate::domain::rating::explain;
use crate::domain::rating::line::Explanation;
use crate::domain::rating::line::Line;
use crate::domain::rating::line::LineKind;
use crate::domain::rating::line::Step;
use crate::domain::rating::line::StepKind;
use crate::domain::time::Zone;

/// The component that a plan's minimum is on a document.
const MINIMUM: &str = "minimum";

/// The fees that are due when `period` opens, in the order of the plan.
pub fn advance_fees(plan: &Plan, period: Period, whole: Period) -> Result<Vec<Line>, RatingError> {
    let mut lines = Vec::new();
    for component in &plan.components {
        if let Component::Fee(fee) = component
            && fee.when == When::Advance
        {
            lines.push(line(plan, fee, period, whole)?);
        }
    }
    Ok(lines)
}

/// A fee for `period`, which is all or a part of `whole`.
pub fn line(plan: &Plan, fee: &Fee, period: Period, whole: Period) -> Result<Line, RatingError> {
    let price = Step {
        step: StepKind::Price,
        text: format!("a fee of {}", explain::amount(fee.amount, plan.currency)),
        before: Decimal::ZERO,
        after: fee.amount,
        tiers: Vec::new(),
    };
    let exact = prorated(fee.amount, fee.prorate, (period, whole), &plan.calendar.zone)
        .map_err(|source| RatingError::Price { component: fee.id.clone(), source })?;
    let proration = proration(fee.amount, exact, fee.prorate, (period, whole), plan);
    let (amount, rounding) = explain::round(exact, plan.currency)?;
    Ok(Line {
        component: fee.id.clone(),
        kind: LineKind::Fee,
        description: fee.name.clone(),
        dimensions: BTreeMap::new(),
        from: period.from(),
        to: period.to(),
        quantity: Decimal::ONE,
        amount,
        program: None,
        explanation: Explanation {
            steps: [Some(price), proration, rounding].into_iter().flatten().collect(),
            ..Explanation::default()
        },
    })
}

/// What a part of a period owes of an amount for the whole. Multiplies by the days or seconds covered before it divides by
/// those of the whole, so that no digit is lost.
pub fn prorated(
    amount: Decimal,
    prorate: Prorate,
    (part, whole): (Period, Period),
    zone: &Zone,
) -> Result<Decimal, PriceError> {
    match lengths(prorate, (part, whole), zone).filter(|_| part != whole) {
        Some((part, whole, _)) => exact::share(amount, part, whole),
        None => Ok(amount),
    }
}

/// How long a part and the whole are, and in what; none where every part counts whole.
fn lengths(prorate: Prorate, (part, whole): (Period, Period), zone: &Zone) -> Option<(Decimal, Decimal, &'static str)> {
    let length = |period: Period| match prorate {
        Prorate::None => None,
        Prorate::Day => Some((Decimal::from(period.days(zone)), "days")),
        Prorate::Second => Some((seconds(period), "seconds")),
        Prorate::FixedMonth { days } => Some((Decimal::from(period.days_of_fixed_months(days, zone)), "days")),
    };
    let ((part, unit), (whole, _)) = (length(part)?, length(whole)?);
    Some((part, whole, unit))
}

fn proration(
    amount: Decimal,
    exact: Decimal,
    prorate: Prorate,
    periods: (Period, Period),
    plan: &Plan,
) -> Option<Step> {
    let (part, all, unit) = lengths(prorate, periods, &plan.calendar.zone)?;
    explain::changed(StepKind::Proration, amount, exact, || {
        let (part, all) = (explain::number(part), explain::number(all));
        format!("for {part} of {all} {unit}: {}", explain::amount(exact, plan.currency))
    })
}

/// How long a period is.
pub fn seconds(period: Period) -> Decimal {
    Decimal::new(period.to().micros().saturating_sub(period.from().micros()), 6)
}

/// What the plan's minimum adds to what the period came to: the fees for it, in advance and in arrears, and its
/// charges, each rounded. Rewards do not count.
///
/// A fee in advance counts in the period that it is for, though it stands on the document before. For a part of a period
/// the minimum is due whole, or by its share, as the plan says.
pub fn minimum(plan: &Plan, period: Period, whole: Period, lines: &[Line]) -> Result<Option<Line>, RatingError> {
    let Some(of_whole) = plan.minimum else { return Ok(None) };
    let exact = prorated(of_whole, plan.minimum_prorate, (period, whole), &plan.calendar.zone)
        .map_err(|source| RatingError::Price { component: MINIMUM.to_owned(), source })?;
    let proration = proration(of_whole, exact, plan.minimum_prorate, (period, whole), plan);
    let (minimum, rounding) = explain::round(exact, plan.currency)?;
    let advance = advance_fees(plan, period, whole)?;
    let came_to = Money::sum(plan.currency, advance.iter().chain(lines).map(|line| line.amount))?;
    let true_up = minimum.checked_sub(came_to)?;
    if true_up.is_zero() || true_up.is_negative() {
        return Ok(None);
    }
    let step = Step {
        step: StepKind::Minimum,
        text: format!(
            "at least {} a period: fees and charges came to {}",
            explain::amount(minimum.decimal(), plan.currency),
            explain::amount(came_to.decimal(), plan.currency)
        ),
        before: Decimal::ZERO,
        after: true_up.decimal(),
        tiers: Vec::new(),
    };
    Ok(Some(Line {
        component: MINIMUM.to_owned(),
        kind: LineKind::Minimum,
        description: format!("Minimum of {}", plan.name),
        dimensions: BTreeMap::new(),
        from: period.from(),
        to: period.to(),
        quantity: Decimal::ONE,
        amount: true_up,
        program: None,
        explanation: Explanation {
            steps: proration.into_iter().chain(rounding).chain([step]).collect(),
            ..Explanation::default()
        },
    }))
}
