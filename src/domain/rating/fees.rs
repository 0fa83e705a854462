//! Fees, prorated.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::domain::book::plan::Component;
use crate::domain::book::plan::Fee;
use crate::domain::book::plan::Plan;
use crate::domain::book::plan::Prorate;
use crate::domain::book::plan::When;
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
use crate::domain::time::Instant;
use crate::domain::time::Zone;

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

/// What fees in advance were charged too much or too little, because the period ended elsewhere than was known then: they
/// were charged through `through`. The part that is not used is credited, and a part that was not charged is.
pub fn advance_corrections(
    plan: &Plan,
    period: Period,
    whole: Period,
    through: Instant,
) -> Result<Vec<Line>, RatingError> {
    let end = period.to();
    let Ok(part) = Period::new(end.min(through), end.max(through)) else { return Ok(Vec::new()) };
    let mut lines = advance_fees(plan, part, whole)?;
    // A fee that every part owes whole is neither owed again nor given back.
    let is_prorated = |line: &Line| {
        let fee = plan.components.iter().find(|component| component.id() == line.component);
        matches!(fee, Some(Component::Fee(fee)) if fee.prorate != Prorate::None)
    };
    lines.retain(is_prorated);
    if end < through {
        for line in &mut lines {
            line.amount = line.amount.checked_neg()?;
            line.quantity = Decimal::NEGATIVE_ONE;
            let credited = line.amount.decimal();
            line.explanation.steps.push(Step {
                step: StepKind::Credit,
                text: format!("not used: {}", explain::amount(credited, plan.currency)),
                before: Decimal::ZERO.checked_sub(credited).unwrap_or_default(),
                after: credited,
                tiers: Vec::new(),
            });
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
        Prorate::Day => Some((Decimal::from(period.dates(zone)), "days")),
        Prorate::Second => Some((seconds(period), "seconds")),
        Prorate::FixedMonth { days } => Some((Decimal::from(period.days_of_fixed_months(days, zone)), "days")),
    };
    let ((part, unit), (whole, _)) = (length(part)?, length(whole)?);
    Some((part, whole, unit))
}

/// The step from an amount for the whole period to that for a part.
pub fn proration(
    amount: Decimal,
    exact: Decimal,
    prorate: Prorate,
    periods: (Period, Period),
    plan: &Plan,
) -> Option<Step> {
    let share = share(prorate, periods, &plan.calendar.zone)?;
    explain::changed(StepKind::Proration, amount, exact, || {
        format!("for {share}: {}", explain::amount(exact, plan.currency))
    })
}

/// How much a part is of the whole: `25 of 28 days`; none where every part counts whole.
pub fn share(prorate: Prorate, periods: (Period, Period), zone: &Zone) -> Option<String> {
    let (part, all, unit) = lengths(prorate, periods, zone)?;
    Some(format!("{} of {} {unit}", explain::number(part), explain::number(all)))
}

/// How long a period is.
pub fn seconds(period: Period) -> Decimal {
    Decimal::new(period.to().micros().saturating_sub(period.from().micros()), 6)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Wherever a period is divided, its parts have all of it together: no day is owed twice, and none by nobody.
        #[test]
        fn the_parts_of_a_period_make_up_the_whole(hours in prop::collection::btree_set(1_i64..59 * 24, 1..6), fixed in 28_u8..=31, zone in prop::sample::select(vec!["UTC", "America/New_York", "Asia/Kathmandu"])) {
            let zone = Zone::named(zone).expect("a zone");
            let [first, last] = [(2013, 1), (2013, 3)].map(|(year, month)| {
                Instant::start_of(jiff::civil::date(year, month, 1), &zone).expect("in the calendar")
            });
            let within = hours.iter().map(|hour| Instant::from_micros(first.micros() + hour * 3_600_000_000));
            let ends: Vec<Instant> = [first].into_iter().chain(within).chain([last]).collect();
            let whole = Period::new(first, last).expect("a period");
            for prorate in [Prorate::Day, Prorate::Second, Prorate::FixedMonth { days: fixed }] {
                let part = |ends: &[Instant]| {
                    let part = Period::new(ends[0], ends[1]).expect("a period");
                    lengths(prorate, (part, whole), &zone).expect("has a length").0
                };
                let parts: Decimal = ends.windows(2).map(part).sum();
                prop_assert_eq!(parts, lengths(prorate, (whole, whole), &zone).expect("has a length").0);
            }
        }
    }
}
