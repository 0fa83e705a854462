//! What a plan makes of a period as a whole: its commitment, its minimum and its maximum, each on a line of its own.
//!
//! They look at rounded lines. A commitment is of the charges alone; minimum and maximum are of all fees and charges of the
//! period, what the commitment added among them. A fee in advance counts in the period that it is for, though it stands on the
//! document before. Rewards never count. Of a part of a period each is whole, or its share, as the plan says.
//!
//! A trial takes away what is owed at least, and makes nothing dearer: a minimum and what is missing to a commitment are owed of
//! what comes after it, of a period that is all trial not at all. What limits a price holds in a trial as ever: a maximum, and
//! the factor of what is beyond a commitment.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::domain::book::plan::Commitment;
use crate::domain::book::plan::Plan;
use crate::domain::money::Money;
use crate::domain::period::Period;
use crate::domain::rating::RatingError;
use crate::domain::rating::explain;
use crate::domain::rating::fees;
use crate::domain::rating::fees::Life;
use crate::domain::rating::line::Explanation;
use crate::domain::rating::line::Line;
use crate::domain::rating::line::LineKind;
use crate::domain::rating::line::Step;
use crate::domain::rating::line::StepKind;
use crate::domain::rating::modifiers;

/// The components that these lines are on a document.
const COMMITMENT: &str = "commitment";
const MINIMUM: &str = "minimum";
const MAXIMUM: &str = "maximum";

/// Adds to the lines of a period what the plan makes of all of them together.
pub fn apply(
    plan: &Plan,
    life: Life<'_>,
    (period, whole): (Period, Period),
    lines: &mut Vec<Line>,
) -> Result<(), RatingError> {
    let owed = plan.after_trial(life.from, period);
    lines.extend(commitment(plan, owed, (period, whole), lines)?);
    if plan.minimum.is_none() && plan.maximum.is_none() {
        return Ok(());
    }
    let advance = fees::advance_fees(plan, life, (period, whole))?;
    let came_to = Money::sum(plan.currency, advance.iter().chain(&*lines).map(|line| line.amount))?;
    // Of two bounds only one is crossed: a maximum is not below the minimum.
    let raised = owed.map_or(Ok(None), |owed| minimum(plan, (owed, whole), came_to))?;
    let line = match raised {
        Some(line) => Some(line),
        None => maximum(plan, (period, whole), came_to)?,
    };
    lines.extend(line);
    Ok(())
}

/// What is beyond the commitment, as often as its factor says more than once, or what is missing to it.
/// What is missing is missing to the share of what is `owed`, and what is beyond is beyond that of all the period.
fn commitment(
    plan: &Plan,
    owed: Option<Period>,
    (period, whole): (Period, Period),
    lines: &[Line],
) -> Result<Option<Line>, RatingError> {
    let Some(commitment) = &plan.commitment else { return Ok(None) };
    let bound_of = |part| Bound::of(plan, (part, whole), COMMITMENT, commitment.amount);
    let charges = lines.iter().filter(|line| line.kind == LineKind::Charge);
    let came_to = Money::sum(plan.currency, charges.map(|line| line.amount))?;
    if let Some(owed) = owed.filter(|_| commitment.true_up) {
        let bound = bound_of(owed)?;
        let missing = bound.money.checked_sub(came_to)?;
        if !missing.is_negative() && !missing.is_zero() {
            let text = format!("{}: charges came to {}", bound.said("at least the commitment of"), said(came_to));
            let step = (StepKind::Commitment, text);
            return Ok(Some(bound.line(LineKind::Minimum, "Commitment", step, missing.decimal())?));
        }
    }
    let bound = bound_of(period)?;
    let agreed = Commitment { amount: bound.money.decimal(), ..commitment.clone() };
    let exact = modifiers::overage(&agreed, came_to.decimal())
        .map_err(|source| RatingError::Price { component: COMMITMENT.to_owned(), source })?;
    if exact.is_zero() {
        return Ok(None);
    }
    let text =
        format!("charges came to {}: {}", said(came_to), explain::overage(&agreed, plan.currency, came_to.decimal()));
    Ok(Some(bound.line(LineKind::Charge, "Overage", (StepKind::Overage, text), exact)?))
}

fn minimum(plan: &Plan, periods: (Period, Period), came_to: Money) -> Result<Option<Line>, RatingError> {
    let Some(of_whole) = plan.minimum else { return Ok(None) };
    let bound = Bound::of(plan, periods, MINIMUM, of_whole)?;
    let true_up = bound.money.checked_sub(came_to)?;
    if true_up.is_zero() || true_up.is_negative() {
        return Ok(None);
    }
    let text = format!("{} a period: fees and charges came to {}", bound.said("at least"), said(came_to));
    Ok(Some(bound.line(LineKind::Minimum, "Minimum", (StepKind::Minimum, text), true_up.decimal())?))
}

fn maximum(plan: &Plan, periods: (Period, Period), came_to: Money) -> Result<Option<Line>, RatingError> {
    let Some(of_whole) = plan.maximum else { return Ok(None) };
    let bound = Bound::of(plan, periods, MAXIMUM, of_whole)?;
    let off = bound.money.checked_sub(came_to)?;
    if !off.is_negative() {
        return Ok(None);
    }
    let text = format!("{} a period: fees and charges came to {}", bound.said("at most"), said(came_to));
    Ok(Some(bound.line(LineKind::Charge, "Maximum", (StepKind::Maximum, text), off.decimal())?))
}

fn said(amount: Money) -> String {
    explain::amount(amount.decimal(), amount.currency())
}

/// An amount that a plan names for a whole period, as much of it as this one has.
struct Bound<'p> {
    plan: &'p Plan,
    period: Period,
    component: &'static str,
    money: Money,
    /// From the amount of the whole period to this.
    steps: Vec<Step>,
}

impl<'p> Bound<'p> {
    fn of(
        plan: &'p Plan,
        periods: (Period, Period),
        component: &'static str,
        of_whole: Decimal,
    ) -> Result<Self, RatingError> {
        let exact = fees::prorated(of_whole, plan.minimum_prorate, periods, &plan.calendar.zone)
            .map_err(|source| RatingError::Price { component: component.to_owned(), source })?;
        let proration = fees::proration(of_whole, exact, plan.minimum_prorate, periods, plan);
        let (money, rounding) = explain::round(exact, plan.currency)?;
        let steps = proration.into_iter().chain(rounding).collect();
        Ok(Self { plan, period: periods.0, component, money, steps })
    }

    fn said(&self, what: &str) -> String {
        format!("{what} {}", said(self.money))
    }

    fn line(
        self,
        kind: LineKind,
        name: &str,
        (step, text): (StepKind, String),
        exact: Decimal,
    ) -> Result<Line, RatingError> {
        let (amount, rounding) = explain::round(exact, self.plan.currency)?;
        let step = Step { step, text, before: Decimal::ZERO, after: exact, tiers: Vec::new() };
        let steps = self.steps.into_iter().chain([step]).chain(rounding).collect();
        Ok(Line {
            component: self.component.to_owned(),
            kind,
            description: format!("{name} of {}", self.plan.name),
            dimensions: BTreeMap::new(),
            from: self.period.from(),
            to: self.period.to(),
            quantity: Decimal::ONE,
            amount,
            program: None,
            explanation: Explanation { steps, ..Explanation::default() },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::book::plan::Component;
    use crate::domain::book::plan::Fee;
    use crate::domain::book::plan::Model;
    use crate::domain::book::plan::Prorate;
    use crate::domain::book::plan::When;
    use crate::domain::rating::examples::Case;
    use crate::domain::rating::examples::usage;

    /// A charge of so many cents.
    fn charged(minor: i64, set: impl FnOnce(&mut Case)) -> Vec<Line> {
        let mut case = Case::new(Model::PerUnit { unit_amount: Decimal::ONE });
        set(&mut case);
        case.rate(&[usage(1, Decimal::new(minor, 2), "EWR")]).lines
    }

    fn shown(lines: &[Line]) -> Vec<String> {
        lines.iter().map(|line| format!("{} {}", line.component, line.amount.minor())).collect()
    }

    fn last_text(lines: &[Line]) -> &str {
        &lines.last().expect("a line").explanation.steps.last().expect("a step").text
    }

    fn agreed(minor: i64, factor: &str, true_up: bool) -> Option<Commitment> {
        let overage_factor = Decimal::from_str_exact(factor).expect("a decimal");
        Some(Commitment { amount: Decimal::new(minor, 2), overage_factor, true_up })
    }

    #[test]
    fn a_commitment_of_a_plan_is_a_line_of_its_own() {
        let lines = charged(12_301, |case| case.plan.commitment = agreed(10_000, "1.5", true));
        // Half of 23.01 is 11.505.
        assert_eq!(shown(&lines), ["miles 12301", "commitment 1151"]);
        let texts: Vec<&str> = lines[1].explanation.steps.iter().map(|step| step.text.as_str()).collect();
        let beyond = "charges came to 123.01 USD: 23.01 USD beyond the commitment of 100.00 USD, times 1.5";
        assert_eq!(texts, [beyond, "rounded to 11.51 USD"]);
        let lines = charged(7_000, |case| case.plan.commitment = agreed(10_000, "1.5", true));
        assert_eq!(shown(&lines), ["miles 7000", "commitment 3000"]);
        assert_eq!(last_text(&lines), "at least the commitment of 100.00 USD: charges came to 70.00 USD");
        let lines = charged(7_000, |case| case.plan.commitment = agreed(10_000, "1.5", false));
        assert_eq!(shown(&lines), ["miles 7000"]);
    }

    #[test]
    fn a_maximum_takes_off_what_fees_and_charges_are_above_it() {
        let bounded = |case: &mut Case| {
            let (id, name) = ("gate".to_owned(), "Gate".to_owned());
            let fee =
                Fee { id, name, amount: Decimal::from(30), each: false, when: When::Advance, prorate: Prorate::None };
            case.plan.components = vec![Component::Fee(fee)];
            (case.plan.minimum, case.plan.maximum) = (Some(Decimal::from(50)), Some(Decimal::from(80)));
        };
        assert_eq!(shown(&charged(1_000, bounded)), ["miles 1000", "minimum 1000"]);
        assert_eq!(shown(&charged(5_000, bounded)), ["miles 5000"]);
        let lines = charged(6_001, bounded);
        assert_eq!(shown(&lines), ["miles 6001", "maximum -1001"], "the fee in advance counts");
        assert_eq!(last_text(&lines), "at most 80.00 USD a period: fees and charges came to 90.01 USD");
    }

    #[test]
    fn of_a_part_of_a_period_each_has_its_share() {
        let half = |case: &mut Case| {
            let middle = crate::domain::time::Instant::parse("2013-01-30T12:00:00Z").expect("a time");
            case.period = Period::new(case.whole.from(), middle).expect("a period");
            case.plan.minimum_prorate = Prorate::Second;
        };
        let lines = charged(6_001, |case| {
            half(case);
            case.plan.maximum = Some(Decimal::from(80));
        });
        assert_eq!(shown(&lines), ["miles 6001", "maximum -2001"]);
        let lines = charged(6_000, |case| {
            half(case);
            case.plan.commitment = agreed(8_000, "2", false);
        });
        assert_eq!(shown(&lines), ["miles 6000", "commitment 2000"]);
    }

    #[test]
    fn in_a_trial_nothing_is_owed_at_least_and_nothing_is_dearer() {
        let agreed = |case: &mut Case, trial_days| {
            case.plan.trial_days = trial_days;
            case.plan.minimum_prorate = Prorate::Day;
            (case.plan.minimum, case.plan.maximum) = (Some(Decimal::from(59)), Some(Decimal::from(590)));
            case.plan.commitment = agreed(5_900, "2", true);
        };
        // The whole is January and February, 59 days.
        assert_eq!(shown(&charged(1_000, |case| agreed(case, 59))), ["miles 1000"]);
        let own = |case: &mut Case| {
            agreed(case, 59);
            case.component.modifiers.minimum_amount = Some(Decimal::from(50));
        };
        assert_eq!(shown(&charged(1_000, own)), ["miles 5000"], "what a component has of its own is its price");
        for trial in [0, 29, 60] {
            let lines = charged(99_000, |case| agreed(case, trial));
            assert_eq!(shown(&lines), ["miles 99000", "commitment 93100", "maximum -133100"]);
        }
        // Half of the period is owed its half, and what is beyond begins at all of it.
        assert_eq!(shown(&charged(5_900, |case| agreed(case, 29))), ["miles 5900"]);
        assert_eq!(shown(&charged(6_000, |case| agreed(case, 29))), ["miles 6000", "commitment 100"]);
        assert_eq!(
            shown(&charged(59_000, |case| agreed(case, 29))),
            ["miles 59000", "commitment 53100", "maximum -53100"]
        );
        assert_eq!(shown(&charged(1_000, |case| agreed(case, 29))), ["miles 1000", "commitment 2000"]);
        let later = |case: &mut Case| {
            agreed(case, 29);
            case.life_from = crate::domain::time::Instant::parse("2012-12-01T00:00:00Z").expect("a time");
        };
        assert_eq!(shown(&charged(1_000, later)), ["miles 1000", "commitment 4900"]);
    }

    fn commitment_strategy() -> impl Strategy<Value = Commitment> {
        (0_i64..50_000, 0_i64..3_000, any::<bool>()).prop_map(|(minor, factor, true_up)| Commitment {
            amount: Decimal::new(minor, 2),
            overage_factor: Decimal::new(factor, 3),
            true_up,
        })
    }

    fn committed(minor: i64, commitment: &Commitment, of_plan: bool) -> Decimal {
        let commitment = Some(commitment.clone());
        let lines = charged(minor, |case| match of_plan {
            true => case.plan.commitment = commitment,
            false => case.component.modifiers.commitment = commitment,
        });
        lines.iter().map(|line| line.amount.decimal()).sum()
    }

    proptest! {
        /// Up to the commitment nothing changes but the true-up, below which it never falls. A cent more costs a cent until it
        /// is reached and the factor of one beyond, so that nothing jumps there.
        #[test]
        fn a_commitment_is_continuous_and_a_floor(minor in 0_i64..100_000, commitment in commitment_strategy(), of_plan: bool) {
            let cent = Decimal::new(1, 2);
            let used = Decimal::new(minor, 2);
            let paid = committed(minor, &commitment, of_plan);
            if used <= commitment.amount {
                prop_assert_eq!(paid, if commitment.true_up { commitment.amount } else { used });
            }
            prop_assert!(!commitment.true_up || paid >= commitment.amount);
            let step = committed(minor + 1, &commitment, of_plan) - paid;
            prop_assert!(step >= Decimal::ZERO && step <= cent * (commitment.overage_factor.max(Decimal::ONE) + Decimal::ONE), "{step}");
        }

        /// Whatever is used and agreed on, a longer trial is never dearer.
        #[test]
        fn a_longer_trial_is_never_dearer(minor in 0_i64..100_000, days in 0_u32..70, more in 0_u32..70, least in 0_i64..50_000, most in 0_i64..50_000, commitment in prop::option::of(commitment_strategy()), by_day: bool) {
            let paid = |trial_days| {
                let lines = charged(minor, |case| {
                    case.plan.trial_days = trial_days;
                    case.plan.minimum_prorate = if by_day { Prorate::Day } else { Prorate::None };
                    case.plan.commitment = commitment.clone();
                    (case.plan.minimum, case.plan.maximum) = (Some(Decimal::new(least, 2)), Some(Decimal::new(least + most, 2)));
                });
                lines.iter().map(|line| line.amount.minor()).sum::<i64>()
            };
            prop_assert!(paid(days + more) <= paid(days));
        }

        /// Without a factor and without a true-up it is as if there were no commitment.
        #[test]
        fn a_commitment_to_nothing_changes_nothing(minor in 0_i64..100_000, amount in 0_i64..50_000, of_plan: bool) {
            let commitment = Commitment { amount: Decimal::new(amount, 2), overage_factor: Decimal::ONE, true_up: false };
            prop_assert_eq!(committed(minor, &commitment, of_plan), Decimal::new(minor, 2));
        }

        /// Fees and charges together stay within the bounds, and between them nothing is added.
        #[test]
        fn a_period_stays_within_its_bounds(minor in 0_i64..100_000, least in 0_i64..50_000, more in 0_i64..50_000, commitment in prop::option::of(commitment_strategy())) {
            let [least, most] = [least, least + more].map(|minor| Decimal::new(minor, 2));
            let lines = charged(minor, |case| {
                case.plan.commitment = commitment;
                (case.plan.minimum, case.plan.maximum) = (Some(least), Some(most));
            });
            let sum = |lines: &[Line]| lines.iter().map(|line| line.amount.decimal()).sum::<Decimal>();
            prop_assert!(least <= sum(&lines) && sum(&lines) <= most);
            let unbounded: Vec<Line> = lines.iter().filter(|line| ![MINIMUM, MAXIMUM].contains(&line.component.as_str())).cloned().collect();
            prop_assert_eq!(sum(&lines), sum(&unbounded).clamp(least, most));
        }
    }
}
