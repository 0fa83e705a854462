//! Tiers that carry on: a part of a whole billing period is what all of the period so far comes to, less what came to before
//! the part. So however a period is divided, its parts add up to the whole.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::domain::book::plan::Component;
use crate::domain::book::plan::Plan;
use crate::domain::period::Period;
use crate::domain::rating::PriceError;
use crate::domain::rating::component::Scope;
use crate::domain::rating::course::Course;
use crate::domain::rating::course::Point;
use crate::domain::rating::exact;
use crate::domain::rating::quantity;
use crate::domain::rating::quantity::Group;
use crate::domain::rating::quantity::Source;

/// The meters of which usage from earlier in the whole billing period decides about a part of it.
pub fn carrying_meters(plan: &Plan) -> impl Iterator<Item = &str> {
    plan.components.iter().filter_map(|component| match component {
        Component::Usage(usage) => usage.carry_tiers.then_some(usage.meter.as_str()),
        Component::Fee(_) | Component::Share(_) => None,
    })
}

/// What was measured before a part, by the dimensions of its lines.
pub struct Before(BTreeMap<BTreeMap<String, String>, Decimal>);

impl Before {
    /// None where the part is the first, and where tiers do not carry on.
    pub fn of(scope: &Scope<'_>) -> Result<Option<Self>, PriceError> {
        let source = &scope.source;
        let begins = scope.whole.from().max(source.life_from);
        let Some(span) = Period::new(begins, source.span.from()).ok().filter(|_| scope.component.carry_tiers) else {
            return Ok(None);
        };
        let groups = quantity::groups(&Source { span, every_point: false, ..*source })?;
        Ok(Some(Self(groups.into_iter().map(|group| (group.dimensions, group.quantity)).collect())))
    }

    /// What came before, and the points that the part measured on top of it. What a part takes back may be more than it has.
    pub fn under(&self, group: &Group, span: Period) -> Result<(Decimal, Vec<Point>), PriceError> {
        let carried = self.0.get(&group.dimensions).copied().unwrap_or_default();
        let mut points = vec![Point { at: span.from(), strand: 0, quantity: carried, events: 0 }];
        for point in &group.points {
            points.push(Point { quantity: exact::add(carried, point.quantity)?, ..*point });
        }
        Ok((carried, points))
    }
}

impl Course {
    /// Takes off what was due when the part began: its first price.
    pub fn less_what_came_before(&mut self) -> Result<(), PriceError> {
        let Some((_, came_to)) = self.so_far.first().copied() else { return Ok(()) };
        (self.at_start, self.carried) = (Decimal::ZERO, came_to);
        self.so_far.iter_mut().try_for_each(|(_, price)| {
            *price = exact::sub(*price, came_to)?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::domain::book::plan::Direction;
    use crate::domain::book::plan::Model;
    use crate::domain::book::plan::Tier;
    use crate::domain::book::plan::Tiers;
    use crate::domain::period::Period;
    use crate::domain::rating::examples::Case;
    use crate::domain::rating::examples::hour;
    use crate::domain::rating::examples::usage;
    use crate::domain::rating::line::Line;
    use crate::domain::rating::line::Usage;
    use rust_decimal::Decimal;

    /// 5.00 for beginning, 1.00 a unit up to 100, 4.00 more for what is beyond, at 0.50 a unit.
    fn graduated() -> Case {
        let tier = |up_to: Option<i64>, tenths, flat: i64| Tier {
            up_to: up_to.map(Decimal::from),
            unit_amount: Decimal::new(tenths, 1),
            flat_amount: Decimal::from(flat),
            package_size: None,
            max_amount: None,
        };
        let tiers = Tiers::new(vec![tier(Some(100), 10, 5), tier(None, 5, 4)]).expect("rises");
        let mut case = Case::new(Model::Graduated(tiers));
        case.component.carry_tiers = true;
        case
    }

    /// The lines of the parts that a period is divided into at these hours.
    fn parts(case: &mut Case, cuts: &[i64], rows: &[Usage]) -> Vec<Line> {
        let mut bounds: Vec<_> = cuts.iter().map(|cut| hour(*cut)).collect();
        bounds.extend([case.whole.from(), case.whole.to()]);
        bounds.sort_unstable();
        bounds.dedup();
        let mut lines = Vec::new();
        for bounds in bounds.windows(2) {
            case.period = Period::new(bounds[0], bounds[1]).expect("a period");
            let rated = case.rate(rows);
            lines.extend(rated.lines);
            lines.extend(rated.rewards.into_iter().map(|reward| reward.line));
        }
        lines
    }

    fn cents(lines: &[Line]) -> Vec<i64> {
        lines.iter().map(|line| line.amount.minor()).collect()
    }

    #[test]
    fn the_second_part_goes_on_in_the_tier_that_the_first_one_reached() {
        let rows = [usage(1, Decimal::from(80), "EWR"), usage(30, Decimal::from(50), "EWR")];
        let mut case = graduated();
        let lines = parts(&mut case, &[24], &rows);
        assert_eq!(cents(&lines), [8_500, 3_900], "20 at 1.00, 30 at 0.50, and the 4.00 of the second tier");
        let texts: Vec<&str> = lines[1].explanation.steps.iter().map(|step| step.text.as_str()).collect();
        assert_eq!(texts[1], "after 80 earlier in the period: 130 in all");
        assert_eq!(texts[3], "less 85.00 USD, what it came to before");
        assert_eq!(lines[1].quantity, Decimal::from(50));
        case.component.carry_tiers = false;
        assert_eq!(cents(&parts(&mut case, &[24], &rows)), [8_500, 5_500]);
    }

    #[test]
    fn what_is_due_for_nothing_is_due_once_and_begins_with_the_subscription() {
        let mut case = graduated();
        assert_eq!(cents(&parts(&mut case, &[24, 48], &[])), [500, 0, 0]);
        case.life_from = hour(24);
        let rows = [usage(1, Decimal::from(80), "EWR"), usage(30, Decimal::from(50), "EWR")];
        assert_eq!(cents(&parts(&mut case, &[24], &rows))[1], 5_500, "what was before it is not its");
    }

    #[test]
    fn each_line_carries_its_own() {
        let mut case = graduated();
        case.group_by_origin(true);
        let rows = [
            usage(1, Decimal::from(80), "EWR"),
            usage(2, Decimal::from(10), "JFK"),
            usage(30, Decimal::from(50), "EWR"),
            usage(31, Decimal::from(50), "LGA"),
        ];
        assert_eq!(cents(&parts(&mut case, &[24], &rows)), [8_500, 1_500, 3_900, 5_000]);
    }

    proptest! {
        /// However a period is divided, and whatever is taken back in it, its parts add up to the whole: of the exact amount, so
        /// to a cent a part at most.
        #[test]
        fn parts_add_up_to_the_whole(
            rows in prop::collection::vec((0_i64..1_400, -20_i64..120), 0..20),
            cuts in prop::collection::vec(1_i64..1_400, 0..4),
            is_reward: bool,
        ) {
            let rows: Vec<Usage> =
                rows.into_iter().map(|(at, units)| usage(at, Decimal::from(units), "EWR")).collect();
            let mut case = graduated();
            if is_reward {
                case.component.direction = Direction::Reward { program: "program".to_owned() };
            }
            let whole: i64 = cents(&parts(&mut case, &[], &rows)).iter().sum();
            let divided: i64 = cents(&parts(&mut case, &cuts, &rows)).iter().sum();
            prop_assert_eq!(whole, divided, "prices are of whole cents here");
        }
    }
}
