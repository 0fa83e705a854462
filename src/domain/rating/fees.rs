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
    let (exact, proration) = prorated(plan, fee, period, whole)
        .map_err(|source| RatingError::Price { component: fee.id.clone(), source })?;
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

/// Multiplies by the days or seconds covered before it divides by those of the whole, so that no digit is lost.
fn prorated(plan: &Plan, fee: &Fee, period: Period, whole: Period) -> Result<(Decimal, Option<Step>), PriceError> {
    let (part, all, unit) = match fee.prorate {
        Prorate::None => return Ok((fee.amount, None)),
        Prorate::Day => {
            let zone = &plan.calendar.zone;
            (Decimal::from(period.days(zone)), Decimal::from(whole.days(zone)), "days")
        }
        Prorate::Second => (seconds(period), seconds(whole), "seconds"),
    };
    let exact = exact::share(fee.amount, part, all)?;
    let step = explain::changed(StepKind::Proration, fee.amount, exact, || {
        let (part, all) = (explain::number(part), explain::number(all));
        format!("for {part} of {all} {unit}: {}", explain::amount(exact, plan.currency))
    });
    Ok((exact, step))
}

fn seconds(period: Period) -> Decimal {
    Decimal::new(period.to().micros().saturating_sub(period.from().micros()), 6)
}

/// What the plan's minimum adds to what the period came to: the fees for it, in advance and in arrears, and its
/// charges, each rounded. Rewards do not count.
///
/// A fee in advance counts in the period that it is for, though it stands on the document before. The minimum is
/// due whole however short the period is: a plan that wants a share of it says so with a fee.
pub fn minimum(plan: &Plan, period: Period, whole: Period, lines: &[Line]) -> Result<Option<Line>, RatingError> {
    let Some(minimum) = plan.minimum else { return Ok(None) };
    let (minimum, rounding) = explain::round(minimum, plan.currency)?;
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
        component: "minimum".to_owned(),
        kind: LineKind::Minimum,
        description: format!("Minimum of {}", plan.name),
        dimensions: BTreeMap::new(),
        from: period.from(),
        to: period.to(),
        quantity: Decimal::ONE,
        amount: true_up,
        program: None,
        explanation: Explanation { steps: rounding.into_iter().chain([step]).collect(), ..Explanation::default() },
    }))
}
