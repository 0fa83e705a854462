//! What a component's caps for a lifetime have left after the periods before this one.
//!
//! Every period since the subscription began is counted again, in order, under the plan and the programs of this one, on the
//! billing day of its time and up to where its plan changed: the quantity, its price and the caps by the day are a period's own, and only what a lifetime
//! allows goes on to the next; nothing counts while a subscription is paused. So it follows from usage alone. Usage that came too late for its own period has used up a
//! lifetime all the same, and what a budget did not pay has too.

use crate::domain::period::Period;
use crate::domain::rating::Inputs;
use crate::domain::rating::RatingError;
use crate::domain::rating::component;
use crate::domain::rating::component::Lives;
use crate::domain::rating::component::Scope;
use crate::domain::rating::price_error;
use crate::domain::rating::quantity::Source;
use crate::domain::subscription::change_at;

/// `window` is the program's, outside of which nothing is earned.
pub fn before(inputs: &Inputs<'_>, scope: &Scope<'_>, window: Option<Period>) -> Result<Lives, RatingError> {
    let mut lives = Lives::default();
    if !scope.component.is_capped_for_a_lifetime() {
        return Ok(lives);
    }
    let failed = |source| price_error(scope.component, source);
    let mut from = inputs.life_from;
    while from < inputs.period.from() {
        let whole = inputs.days.whole_from(&inputs.plan.calendar, inputs.life_from, from)?;
        let change = inputs.changes.iter().map(|change| change.at).find(|at| *at > from).unwrap_or(whole.to());
        let is_paused = change_at(inputs.changes, from).is_some_and(|change| change.paused);
        let covered = Period::new(from, whole.to().min(change).min(inputs.period.from()))?;
        from = covered.to();
        let span = match window {
            Some(window) => covered.intersect(window),
            None => Some(covered),
        };
        if let Some(span) = span.filter(|_| !is_paused) {
            let earlier = Scope { source: Source { span, ..scope.source }, whole, ..*scope };
            let measured = component::measure(&earlier, &mut lives).map_err(failed)?;
            component::rate(&earlier, measured, &mut lives).map_err(failed)?;
        }
    }
    Ok(lives)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rust_decimal::Decimal;

    use crate::domain::book::plan::CapWindow;
    use crate::domain::book::plan::Direction;
    use crate::domain::book::plan::Model;
    use crate::domain::book::plan::Tier;
    use crate::domain::book::plan::Tiers;
    use crate::domain::days::DayChange;
    use crate::domain::period::Anchor;
    use crate::domain::period::Period;
    use crate::domain::rating::examples::Case;
    use crate::domain::rating::examples::program;
    use crate::domain::rating::examples::usage;
    use crate::domain::rating::line::Line;
    use crate::domain::rating::line::Usage;
    use crate::domain::subscription::Change;
    use crate::domain::time::Instant;

    /// The same case in the first months of 2013, a line each.
    fn months(case: &mut Case, rows: &[Usage]) -> Vec<Line> {
        let begins = |month: i64| Instant::parse(&format!("2013-0{month}-01T00:00:00Z")).expect("a time");
        let mut lines = Vec::new();
        for month in 1..=4 {
            case.period = Period::new(begins(month), begins(month + 1)).expect("a period");
            case.whole = case.period;
            let rated = case.rate(rows);
            lines.extend(rated.lines);
            lines.extend(rated.rewards.into_iter().map(|reward| reward.line));
        }
        lines
    }

    fn rows(rows: &[(i64, i64)]) -> Vec<Usage> {
        rows.iter().map(|(day, units)| usage(day * 24, Decimal::from(*units), "EWR")).collect()
    }

    fn paid(lines: &[Line]) -> Vec<i64> {
        lines.iter().map(|line| line.amount.minor() / 100).collect()
    }

    fn per_unit() -> Case {
        let mut case = Case::new(Model::PerUnit { unit_amount: Decimal::TWO });
        case.plan.calendar.rhythm = crate::domain::period::Rhythm::MONTH;
        case
    }

    #[test]
    fn what_a_lifetime_allows_is_used_up_over_the_periods() {
        let rows = rows(&[(3, 30), (40, 50), (45, 10), (70, 40), (100, 5)]);
        let mut case = per_unit();
        case.cap_units(Decimal::from(100), CapWindow::Lifetime);
        let lines = months(&mut case, &rows);
        assert_eq!(paid(&lines), [60, 120, 20, 0]);
        let texts: Vec<&str> = lines[2].explanation.steps.iter().map(|step| step.text.as_str()).collect();
        assert_eq!(texts[1], "at most 100 units in all count: 10 of 40");
        let mut case = per_unit();
        case.cap_amount(Decimal::from(100), CapWindow::Lifetime);
        case.cap_amount(Decimal::from(70), CapWindow::Day);
        assert_eq!(paid(&months(&mut case, &rows)), [60, 40, 0, 0]);
    }

    #[test]
    fn a_reward_for_a_lifetime_begins_with_its_program_and_a_subscription_in_its_life() {
        let rows = rows(&[(3, 30), (40, 50), (70, 40)]);
        let mut case = per_unit();
        case.component.direction = Direction::Reward { program: "program".to_owned() };
        case.cap_units(Decimal::from(60), CapWindow::Lifetime);
        assert_eq!(paid(&months(&mut case, &rows)), [60, 60, 0]);
        let window = Period::new(rows[1].bucket, Instant::parse("2014-01-01T00:00:00Z").expect("a time"));
        case.program = program(window.ok());
        assert_eq!(paid(&months(&mut case, &rows)), [100, 20], "what came before the program is not counted");
        case.program = program(None);
        case.life_from = rows[1].bucket;
        assert_eq!(paid(&months(&mut case, &rows))[1..], [100, 20], "nor what came before the subscription");
    }

    /// 50 units at 2 each in a period, and no more; at most 150 in all.
    fn fifty_a_period() -> Case {
        let tier = |up_to, unit_amount| Tier {
            up_to,
            unit_amount,
            flat_amount: Decimal::ZERO,
            package_size: None,
            max_amount: None,
        };
        let tiers = Tiers::new(vec![tier(Some(Decimal::from(50)), Decimal::TWO), tier(None, Decimal::ZERO)]);
        let mut case = Case::new(Model::Graduated(tiers.expect("rises")));
        case.plan.calendar.anchor = Anchor::Subscription;
        case.cap_amount(Decimal::from(150), CapWindow::Lifetime);
        case
    }

    /// The first period ends on 1 February though the day changes in it, so that 80 units came to 100 and not to 160.
    #[test]
    fn earlier_periods_end_on_the_billing_days_of_their_time() {
        let mut case = fifty_a_period();
        let at = |text| Instant::parse(text).expect("a time");
        let change = DayChange { at: at("2013-01-10T00:00:00Z"), day: Some(15), made_at: case.life_from };
        case.days.changes.push(change);
        let second = Period::new(at("2013-02-01T00:00:00Z"), at("2013-02-15T00:00:00Z")).expect("a period");
        (case.period, case.whole) = (second, second);
        assert_eq!(paid(&case.rate(&rows(&[(5, 40), (20, 40), (35, 30)])).lines), [50]);
    }

    /// As above, where the plan changes on 20 January: of 50 units before and 50 after it, each of two periods has its own.
    #[test]
    fn earlier_periods_end_where_the_plan_changed() {
        let mut case = fifty_a_period();
        let at = |text| Instant::parse(text).expect("a time");
        case.changes.push(Change {
            at: at("2013-01-20T00:00:00Z"),
            plan: "plan".to_owned(),
            paused: false,
            made_at: case.life_from,
        });
        let february = Period::new(at("2013-02-01T00:00:00Z"), at("2013-03-01T00:00:00Z")).expect("a period");
        (case.period, case.whole) = (february, february);
        assert_eq!(paid(&case.rate(&rows(&[(10, 50), (25, 50), (40, 25)])).lines), [0], "150 are used up");
        case.changes.clear();
        assert_eq!(paid(&case.rate(&rows(&[(10, 50), (25, 50), (40, 25)])).lines), [50], "100 are");
    }

    proptest! {
        /// However it is spread over the periods, exactly what a lifetime allows is paid, or all there is, the earliest first.
        #[test]
        fn a_lifetime_allows_what_it_says(days in prop::collection::vec((0_i64..119, 0_i64..50), 0..30), most in 0_i64..500, by_amount: bool) {
            let mut case = per_unit();
            match by_amount {
                true => case.cap_amount(Decimal::from(most * 2), CapWindow::Lifetime),
                false => case.cap_units(Decimal::from(most), CapWindow::Lifetime),
            }
            let paid = paid(&months(&mut case, &rows(&days)));
            let mut left = most;
            for (month, until) in [31, 59, 90, 120].into_iter().enumerate() {
                let from = [0, 31, 59, 90][month];
                let used: i64 = days.iter().filter(|(day, _)| (from..until).contains(day)).map(|(_, units)| units).sum();
                prop_assert_eq!(paid[month], used.min(left) * 2);
                left -= used.min(left);
            }
        }
    }
}
