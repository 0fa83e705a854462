//! Fees, prorated, and for each unit of the subscription's quantity where they are stated for one.
//!
//! A period's own line is for the units that are there when it begins. Units that come or go within it are lines of their own,
//! for the time that is left, on the document that closes it: so what is charged in advance never depends on what is said
//! later, and all lines together are what each unit owes for its time.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::domain::book::plan::Component;
use crate::domain::book::plan::Fee;
use crate::domain::book::plan::Plan;
use crate::domain::book::plan::Prorate;
use crate::domain::book::plan::When;
use crate::domain::period::Period;
use crate::domain::quantity::Quantities;
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

/// What fees depend on beside their plan and their period.
#[derive(Clone, Copy, Debug)]
pub struct Life<'a> {
    /// Where the subscription began.
    pub from: Instant,
    pub quantities: &'a Quantities,
}

/// The fees that are due when a period opens, in the order of the plan.
pub fn advance_fees(plan: &Plan, life: Life<'_>, (period, whole): (Period, Period)) -> Result<Vec<Line>, RatingError> {
    advance_fees_of(plan, life.from, life.quantities.at(period.from()), (period, whole))
}

/// The same, for so many units.
fn advance_fees_of(
    plan: &Plan,
    life_from: Instant,
    units: i64,
    periods: (Period, Period),
) -> Result<Vec<Line>, RatingError> {
    let mut lines = Vec::new();
    for component in &plan.components {
        if let Component::Fee(fee) = component
            && fee.when == When::Advance
        {
            lines.push(owed(plan, fee, life_from, Units::All(units), periods)?);
        }
    }
    Ok(lines)
}

/// A fee for the units that are there when a period begins.
pub fn line(plan: &Plan, fee: &Fee, life: Life<'_>, periods: (Period, Period)) -> Result<Line, RatingError> {
    owed(plan, fee, life.from, Units::All(life.quantities.at(periods.0.from())), periods)
}

/// What units that come within a period owe of a fee, and what those that go do not owe any more. Where every part of a period
/// owes it whole, it is owed for as many as there ever are.
pub fn changed_units(
    plan: &Plan,
    fee: &Fee,
    life: Life<'_>,
    (period, whole): (Period, Period),
) -> Result<Vec<Line>, RatingError> {
    let mut lines = Vec::new();
    let mut from = life.quantities.at(period.from());
    for change in life.quantities.within(period).filter(|_| fee.each) {
        let to = change.quantity;
        if to == from || (fee.prorate == Prorate::None && to < from) {
            continue;
        }
        let part = Period::new(change.at, period.to())?;
        if plan.after_trial(life.from, part).is_some() {
            lines.push(owed(plan, fee, life.from, Units::Changed { from, to }, (part, whole))?);
        }
        from = to;
    }
    Ok(lines)
}

/// What fees in advance were charged too much or too little, because the period ended elsewhere than was known then: they
/// were charged through `through`. The part that is not used is credited, and a part that was not charged is.
pub fn advance_corrections(
    plan: &Plan,
    life: Life<'_>,
    (period, whole): (Period, Period),
    through: Instant,
) -> Result<Vec<Line>, RatingError> {
    let end = period.to();
    let Ok(part) = Period::new(end.min(through), end.max(through)) else { return Ok(Vec::new()) };
    let is_due = |period| plan.after_trial(life.from, period).is_some();
    if !is_due(part) {
        return Ok(Vec::new());
    }
    // For as many units as were charged.
    let mut lines = advance_fees_of(plan, life.from, life.quantities.at(period.from()), (part, whole))?;
    // A fee that every part owes whole is neither owed again nor given back, unless all that it was for was the trial, or
    // is now.
    let was_due = Period::new(period.from(), through).map_or(true, is_due);
    let is_changed = |line: &Line| {
        let fee = plan.components.iter().find(|component| component.id() == line.component);
        matches!(fee, Some(Component::Fee(fee)) if fee.prorate != Prorate::None || was_due != is_due(period))
    };
    lines.retain(is_changed);
    if end < through {
        for line in &mut lines {
            line.amount = line.amount.checked_neg()?;
            line.quantity = exact::sub(Decimal::ZERO, line.quantity)
                .map_err(|source| RatingError::Price { component: line.component.clone(), source })?;
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

/// What a fee is owed for, where it is for each unit.
#[derive(Clone, Copy)]
enum Units {
    All(i64),
    Changed { from: i64, to: i64 },
}

/// A fee for `period`, which is all or a part of `whole`; for what of it comes after the trial.
fn owed(
    plan: &Plan,
    fee: &Fee,
    life_from: Instant,
    units: Units,
    (period, whole): (Period, Period),
) -> Result<Line, RatingError> {
    let failed = |source| RatingError::Price { component: fee.id.clone(), source };
    let amount = |amount| explain::amount(amount, plan.currency);
    let (quantity, said) = match units {
        _ if !fee.each => (1, String::new()),
        Units::All(units) => (units, format!("{units} at {}: ", amount(fee.amount))),
        Units::Changed { from, to } => {
            (to.saturating_sub(from), format!("{to} instead of {from} at {}: ", amount(fee.amount)))
        }
    };
    let quantity = Decimal::from(quantity);
    let full = exact::mul(fee.amount, quantity).map_err(failed)?;
    let price = Step {
        step: StepKind::Price,
        text: format!("{said}a fee of {}", amount(full)),
        before: Decimal::ZERO,
        after: full,
        tiers: Vec::new(),
    };
    let of = |part| prorated(full, fee.prorate, (part, whole), &plan.calendar.zone).map_err(failed);
    let of_period = of(period)?;
    let owed = plan.after_trial(life_from, period);
    let exact = owed.map_or(Ok(Decimal::ZERO), of)?;
    let said = owed.unwrap_or(period);
    let proration = proration(full, of_period, fee.prorate, (period, whole), plan);
    let trial = explain::changed(StepKind::Trial, of_period, exact, || {
        format!("after a trial of {} days: {}", plan.trial_days, explain::amount(exact, plan.currency))
    });
    let (amount, rounding) = explain::round(exact, plan.currency)?;
    Ok(Line {
        component: fee.id.clone(),
        kind: LineKind::Fee,
        description: fee.name.clone(),
        dimensions: BTreeMap::new(),
        from: said.from(),
        to: said.to(),
        quantity,
        amount,
        program: None,
        explanation: Explanation {
            steps: [Some(price), proration, trial, rounding].into_iter().flatten().collect(),
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
    use crate::domain::book::plan::Model;
    use crate::domain::quantity::QuantityChange;
    use crate::domain::rating::examples::Case;

    fn at(text: &str) -> Instant {
        Instant::parse(text).expect("a time")
    }

    /// One unit over all of it.
    fn life(from: Instant) -> Life<'static> {
        static ONE: Quantities = Quantities { first: 1, changes: Vec::new() };
        Life { from, quantities: &ONE }
    }

    /// A month of 31 days in New York, and a fee of 310.00 for it.
    fn plan(prorate: Prorate, trial_days: u32) -> (Plan, Period) {
        let mut plan = Case::new(Model::PerUnit { unit_amount: Decimal::ONE }).plan;
        plan.calendar.zone = Zone::named("America/New_York").expect("a zone");
        plan.trial_days = trial_days;
        let (id, name) = ("gate".to_owned(), "Gate".to_owned());
        let fee = Fee { id, name, amount: Decimal::from(310), each: false, when: When::Advance, prorate };
        plan.components = vec![Component::Fee(fee)];
        (plan, Period::new(at("2013-03-01T05:00:00Z"), at("2013-04-01T04:00:00Z")).expect("a period"))
    }

    fn minor(lines: &[Line]) -> Vec<i64> {
        lines.iter().map(|line| line.amount.minor()).collect()
    }

    #[test]
    fn fees_are_prorated_by_days_or_by_seconds_of_the_plans_zone() {
        // March 2013 has a day of 23 hours in New York.
        let part = Period::new(at("2013-03-09T12:00:00Z"), at("2013-03-11T04:00:00Z")).expect("a period");
        for (prorate, amount, texts) in [
            (Prorate::None, 31_000, &["a fee of 310.00 USD"][..]),
            (Prorate::Day, 2_000, &["a fee of 310.00 USD", "for 2 of 31 days: 20.00 USD"]),
            (
                Prorate::Second,
                1_669,
                &["a fee of 310.00 USD", "for 144,000 of 2,674,800 seconds: 16.68909825 USD", "rounded to 16.69 USD"],
            ),
        ] {
            let (plan, march) = plan(prorate, 0);
            let lines = advance_fees(&plan, life(part.from()), (part, march)).expect("rates");
            let said: Vec<&str> = lines[0].explanation.steps.iter().map(|step| step.text.as_str()).collect();
            assert_eq!((said.as_slice(), minor(&lines)), (texts, vec![amount]));
        }
    }

    #[test]
    fn in_a_trial_no_fee_is_due_and_a_period_in_which_it_ends_owes_the_rest() {
        let (plan, march) = plan(Prorate::Day, 14);
        let due = |life_from: &str| advance_fees(&plan, life(at(life_from)), (march, march)).expect("rates");
        // Clocks change on 10 March: 14 days of the zone all the same.
        let lines = due("2013-03-01T05:00:00Z");
        assert_eq!(minor(&lines), [17_000]);
        let texts: Vec<&str> = lines[0].explanation.steps.iter().map(|step| step.text.as_str()).collect();
        assert_eq!(texts, ["a fee of 310.00 USD", "after a trial of 14 days: 170.00 USD"]);
        assert_eq!((lines[0].from, lines[0].to), (at("2013-03-15T04:00:00Z"), march.to()));
        assert_eq!(minor(&due("2013-02-15T05:00:00Z")), [31_000], "it ended before");
        assert_eq!(minor(&due("2013-02-22T05:00:00Z")), [24_000]);
        let (plan, _) = self::plan(Prorate::None, 31);
        let due = |life_from: &str| minor(&advance_fees(&plan, life(at(life_from)), (march, march)).expect("rates"));
        assert_eq!(due("2013-03-01T05:00:00Z"), [0]);
        assert_eq!(due("2013-02-28T05:00:00Z"), [31_000], "all of it for any part");
    }

    #[test]
    fn a_fee_that_every_part_owes_whole_is_owed_for_as_many_units_as_there_ever_are() {
        let (mut plan, march) = plan(Prorate::None, 0);
        let Component::Fee(fee) = &mut plan.components[0] else { panic!("it is a fee") };
        fee.each = true;
        let fee = fee.clone();
        let change = |(day, quantity): (&str, i64)| {
            let at = at(&format!("2013-03-{day}T05:00:00Z"));
            QuantityChange { at, quantity, made_at: march.from() }
        };
        let changes = [("05", 4), ("09", 2), ("15", 5), ("20", 3)].map(change).to_vec();
        let quantities = Quantities { first: 3, changes };
        let life = Life { from: march.from(), quantities: &quantities };
        let more = changed_units(&plan, &fee, life, (march, march)).expect("rates");
        assert_eq!(minor(&more), [31_000, 31_000], "a fourth, and a fifth");
    }

    #[test]
    fn who_leaves_within_the_trial_gets_all_of_the_fee_back() {
        let (within, after) = ("2013-03-10T05:00:00Z", "2013-03-21T04:00:00Z");
        for (prorate, end, credited) in [
            (Prorate::Day, within, vec![-17_000]),
            (Prorate::Day, after, vec![-11_000]),
            (Prorate::None, within, vec![-31_000]),
            (Prorate::None, after, vec![]),
        ] {
            let (plan, march) = plan(prorate, 14);
            let period = Period::new(march.from(), at(end)).expect("a period");
            let lines = advance_corrections(&plan, life(march.from()), (period, march), march.to()).expect("rates");
            assert_eq!(minor(&lines), credited, "{prorate:?} {end}");
        }
    }

    proptest! {
        /// However often units come and go, all lines together are what each unit owes for its time.
        #[test]
        fn units_owe_the_time_that_they_are_there(
            first in 0_i64..20,
            changes in prop::collection::btree_map(1_i64..31 * 24, 0_i64..20, 0..5),
            end in 2_i64..=31 * 24,
            trial_days in 0_u32..20,
            in_advance: bool,
        ) {
            let (mut plan, march) = plan(Prorate::Second, trial_days);
            // Where a day is always of 24 hours.
            plan.calendar.zone = Zone::utc();
            let when = if in_advance { When::Advance } else { When::Arrears };
            let Component::Fee(fee) = &mut plan.components[0] else { panic!("it is a fee") };
            (fee.each, fee.when) = (true, when);
            let fee = fee.clone();
            let hour = |hours: i64| Instant::from_micros(march.from().micros() + hours * 3_600_000_000);
            let whole = Period::new(march.from(), hour(31 * 24)).expect("a period");
            let period = Period::new(march.from(), hour(end)).expect("a period");
            let change = |(at, quantity): (&i64, &i64)| QuantityChange { at: hour(*at), quantity: *quantity, made_at: hour(0) };
            let quantities = Quantities { first, changes: changes.iter().map(change).collect() };
            let life = Life { from: march.from(), quantities: &quantities };
            // What is charged first is for the whole period, and what is not used of it comes back.
            let mut lines = vec![match in_advance {
                true => line(&plan, &fee, life, (whole, whole)).expect("rates"),
                false => line(&plan, &fee, life, (period, whole)).expect("rates"),
            }];
            lines.extend(changed_units(&plan, &fee, life, (period, whole)).expect("rates"));
            if in_advance {
                lines.extend(advance_corrections(&plan, life, (period, whole), whole.to()).expect("rates"));
            }
            let free = i64::from(trial_days) * 24;
            let owed: i64 = (free..end).map(|at| quantities.at(hour(at))).sum();
            let exact = Decimal::from(owed * 31_000) / Decimal::from(31 * 24);
            let sum: i64 = lines.iter().map(|line| line.amount.minor()).sum();
            // Each line is rounded once.
            prop_assert!((Decimal::from(sum) - exact).abs() <= Decimal::from(lines.len()), "{} {}", sum, exact);
        }

        /// Whenever a subscription ends and whatever was charged in advance, what stays is what the period owes.
        #[test]
        fn what_is_charged_in_advance_less_what_comes_back_is_what_is_owed(
            trial_days in 0_u32..40, known in 1_i64..31, end in 1_i64..31, by_second: bool,
        ) {
            let (plan, march) = plan(if by_second { Prorate::Second } else { Prorate::None }, trial_days);
            let day = |days: i64| Instant::from_micros(march.from().micros() + days * 86_400_000_000);
            let part = |end| (Period::new(march.from(), end).expect("a period"), march);
            let sum = |lines: Vec<Line>| lines.iter().map(|line| line.amount.minor()).sum::<i64>();
            let fees = |end| sum(advance_fees(&plan, life(march.from()), part(end)).expect("rates"));
            let back = sum(advance_corrections(&plan, life(march.from()), part(day(end)), day(known)).expect("rates"));
            // Each is rounded once.
            prop_assert!((fees(day(known)) + back - fees(day(end))).abs() <= 1);
        }

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
