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
        let begins = scope.carries_from.max(source.life_from);
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
    use crate::domain::rating::Rated;
    use crate::domain::rating::examples::Case;
    use crate::domain::rating::examples::hour;
    use crate::domain::rating::examples::program;
    use crate::domain::rating::examples::usage;
    use crate::domain::rating::line::Line;
    use crate::domain::rating::line::StepKind;
    use crate::domain::rating::line::Usage;
    use rust_decimal::Decimal;

    /// So much for beginning, 1.00 a unit up to 100, 4.00 more for what is beyond, at 0.50 a unit.
    fn graduated(first: i64) -> Case {
        let tier = |up_to: Option<i64>, tenths, flat: i64| Tier {
            up_to: up_to.map(Decimal::from),
            unit_amount: Decimal::new(tenths, 1),
            flat_amount: Decimal::from(flat),
            package_size: None,
            max_amount: None,
        };
        let tiers = Tiers::new(vec![tier(Some(100), 10, first), tier(None, 5, 4)]).expect("rises");
        let mut case = Case::new(Model::Graduated(tiers));
        case.component.carry_tiers = true;
        case
    }

    /// The parts that a period is divided into at these hours.
    fn rated(case: &mut Case, cuts: &[i64], rows: &[Usage]) -> Vec<Rated> {
        let mut bounds: Vec<_> = cuts.iter().map(|cut| hour(*cut)).collect();
        bounds.extend([case.whole.from(), case.whole.to()]);
        bounds.sort_unstable();
        bounds.dedup();
        let mut parts = Vec::new();
        for bounds in bounds.windows(2) {
            case.period = Period::new(bounds[0], bounds[1]).expect("a period");
            parts.push(case.rate(rows));
        }
        parts
    }

    /// Their lines.
    fn parts(case: &mut Case, cuts: &[i64], rows: &[Usage]) -> Vec<Line> {
        rated(case, cuts, rows).into_iter().flat_map(|rated| rated.lines).collect()
    }

    fn cents(lines: &[Line]) -> Vec<i64> {
        lines.iter().map(|line| line.amount.minor()).collect()
    }

    #[test]
    fn the_second_part_goes_on_in_the_tier_that_the_first_one_reached() {
        let rows = [usage(1, Decimal::from(80), "EWR"), usage(30, Decimal::from(50), "EWR")];
        let mut case = graduated(5);
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
        let mut case = graduated(5);
        assert_eq!(cents(&parts(&mut case, &[24, 48], &[])), [500, 0, 0]);
        case.life_from = hour(24);
        let rows = [usage(1, Decimal::from(80), "EWR"), usage(30, Decimal::from(50), "EWR")];
        assert_eq!(cents(&parts(&mut case, &[24], &rows))[1], 5_500, "what was before it is not its");
    }

    #[test]
    fn each_line_carries_its_own() {
        let mut case = graduated(0);
        case.group_by_origin(true);
        let rows = [
            usage(1, Decimal::from(80), "EWR"),
            usage(2, Decimal::from(10), "JFK"),
            usage(30, Decimal::from(50), "EWR"),
            usage(31, Decimal::from(50), "LGA"),
        ];
        assert_eq!(cents(&parts(&mut case, &[24], &rows)), [8_000, 1_000, 3_900, 5_000]);
        assert_eq!(cents(&parts(&mut case, &[], &rows)), [11_900, 1_000, 5_000]);
    }

    /// Tiers whose prices are no whole cents. Only what makes one line has a flat amount in its first tier.
    fn any_case() -> impl Strategy<Value = Case> {
        let tier = |up_to: Option<i64>, thousandths, flat: i64| Tier {
            up_to: up_to.map(Decimal::from),
            unit_amount: Decimal::new(thousandths, 3),
            flat_amount: Decimal::new(flat, 3),
            package_size: None,
            max_amount: None,
        };
        (any::<[bool; 4]>(), 0_i64..60, 0_i64..=1_000).prop_map(
            move |([of_money, is_reward, is_grouped, carries], free, discount)| {
                let first = if is_grouped { 0 } else { 2_505 };
                let tiers = vec![tier(Some(70), 1_013, first), tier(Some(100), 507, 404), tier(None, 2_003, 0)];
                let tiers = Tiers::new(tiers).expect("rises");
                let model = match (carries, of_money) {
                    (false, _) => Model::PerUnit { unit_amount: Decimal::new(1_013, 3) },
                    (true, false) => Model::Graduated(tiers),
                    (true, true) => Model::GraduatedPercentage(tiers),
                };
                let mut case = Case::new(model);
                case.component.carry_tiers = carries;
                case.group_by_origin(is_grouped);
                case.component.modifiers.percentage_discount = Decimal::new(discount, 1);
                if carries {
                    case.component.modifiers.free_quantity = Decimal::from(free);
                }
                if is_reward {
                    case.component.direction = Direction::Reward { program: "program".to_owned() };
                }
                case
            },
        )
    }

    /// What all parts come to before any rounding. Each reward is what its buckets added, within its part.
    fn exactly(case: &mut Case, cuts: &[i64], rows: &[Usage]) -> Decimal {
        let mut sum = Decimal::ZERO;
        for rated in rated(case, cuts, rows) {
            for line in &rated.lines {
                let rounding = line.explanation.steps.iter().find(|step| step.step == StepKind::Rounding);
                sum += rounding.map_or(line.amount.decimal(), |step| step.before);
            }
            for reward in &rated.rewards {
                assert_eq!(reward.marginals.iter().map(|marginal| marginal.amount).sum::<Decimal>(), reward.exact);
                let part = reward.line.from..reward.line.to;
                assert!(reward.marginals.iter().all(|marginal| part.contains(&marginal.at)));
                sum += reward.exact;
            }
        }
        sum
    }

    proptest! {
        /// However a period is divided, and whatever is taken back in it, its parts add up to the whole, exactly. So does what
        /// has no tiers, without carrying, if no part takes back more than it has.
        #[test]
        fn parts_add_up_to_the_whole(
            mut case in any_case(),
            rows in prop::collection::vec((0_i64..1_400, -20_i64..120, 0_usize..3), 0..20),
            cuts in prop::collection::vec(1_i64..1_400, 0..4),
            (begins, runs) in (0_i64..700, 1_i64..1_400),
        ) {
            // A reward is of its program's time alone, wherever that begins and ends.
            case.program = program(Period::new(hour(begins), hour(begins + runs)).ok());
            let origins = ["EWR", "JFK", "LGA"];
            let least = if case.component.carry_tiers { i64::MIN } else { 0 };
            let row = |(at, units, origin): (i64, i64, usize)| usage(at, Decimal::from(units.max(least)), origins[origin]);
            let rows: Vec<Usage> = rows.into_iter().map(row).collect();
            let whole = exactly(&mut case, &[], &rows);
            prop_assert_eq!(whole, exactly(&mut case, &cuts, &rows));
        }
    }
}
