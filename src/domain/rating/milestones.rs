//! Milestones: how often in a period something was reached that is counted over the subscription's whole life.
//!
//! Each is reached once, in the bucket in which the quantity so far first comes to it. A day of a streak counts with its last
//! bucket in which something happened; a streak that is complete begins anew with the next day, and goes on over the ends of
//! periods.

use jiff::civil::Date;
use rust_decimal::Decimal;

use crate::domain::book::plan::Milestones;
use crate::domain::book::plan::Rounding;
use crate::domain::period::Period;
use crate::domain::rating::PriceError;
use crate::domain::rating::course::Point;
use crate::domain::rating::exact;
use crate::domain::rating::line::Usage;
use crate::domain::rating::quantity::Group;
use crate::domain::rating::quantity::Source;
use crate::domain::rating::quantity::in_time;
use crate::domain::rating::quantity::so_far;
use crate::domain::time::Instant;

/// How many were reached in the span, after each of its buckets. `rows` are those of the whole life.
pub fn reached(source: &Source<'_>, milestones: &Milestones, rows: Vec<&Usage>) -> Result<Group, PriceError> {
    let mut group = Group::default();
    let within = |row: &&&Usage| source.span.contains(row.bucket);
    for row in rows.iter().filter(within) {
        group.rows = group.rows.saturating_add(1);
        group.events = group.events.saturating_add(row.count);
    }
    // A life that has not begun has reached nothing.
    let Ok(life) = Period::new(source.life_from, source.span.to()) else { return Ok(group) };
    let of_life = Source { span: life, every_point: true, milestones: None, ..*source };
    let reached = match milestones {
        Milestones::DaysInARow { days, at_least } => streaks(&of_life, Decimal::from(days.get()), *at_least, rows)?,
        Milestones::Every(units) => {
            along(&of_life, rows, |highest| exact::whole_times(highest, *units, Rounding::Down))?
        }
        Milestones::At(quantities) => along(&of_life, rows, |highest| {
            Ok(Decimal::from(quantities.iter().filter(|quantity| **quantity <= highest).count()))
        })?,
    };
    let (before, now) = reached.split_at(reached.partition_point(|(at, _)| *at < source.span.from()));
    let before = before.last().map_or(Decimal::ZERO, |(_, reached)| *reached);
    for (at, reached) in now {
        group.quantity = exact::sub(*reached, before)?;
        group.points.push(Point { at: *at, strand: 0, quantity: group.quantity, events: group.events });
    }
    Ok(group)
}

/// How many were reached after each bucket, which follows from the highest quantity so far.
fn along(
    of_life: &Source<'_>,
    rows: Vec<&Usage>,
    reached: impl Fn(Decimal) -> Result<Decimal, PriceError>,
) -> Result<Vec<(Instant, Decimal)>, PriceError> {
    let mut highest = Decimal::ZERO;
    let points = so_far(of_life, of_life.meter, rows, 0)?.points;
    let mut along = Vec::with_capacity(points.len());
    for point in points {
        highest = highest.max(point.quantity);
        along.push((point.at, reached(highest)?));
    }
    Ok(along)
}

/// How many streaks were complete after each day.
fn streaks(
    of_life: &Source<'_>,
    days: Decimal,
    at_least: Decimal,
    rows: Vec<&Usage>,
) -> Result<Vec<(Instant, Decimal)>, PriceError> {
    let (_, rows) = in_time(of_life.meter, of_life.span, rows);
    let day = |row: &Usage| row.bucket.date_in(of_life.zone);
    let (mut complete, mut in_a_row) = (Decimal::ZERO, Decimal::ZERO);
    let mut last: Option<Date> = None;
    let mut along = Vec::new();
    for of_day in rows.chunk_by(|a, b| day(a) == day(b)) {
        let Some(row) = of_day.last() else { continue };
        let date = day(row);
        if last.and_then(|last| last.tomorrow().ok()) != Some(date) {
            in_a_row = Decimal::ZERO;
        }
        last = Some(date);
        let came_to = so_far(of_life, of_life.meter, of_day.to_vec(), 0)?.quantity;
        in_a_row = if came_to < at_least { Decimal::ZERO } else { exact::add(in_a_row, Decimal::ONE)? };
        if in_a_row == days {
            complete = exact::add(complete, Decimal::ONE)?;
            in_a_row = Decimal::ZERO;
        }
        along.push((row.bucket, complete));
    }
    Ok(along)
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::book::plan::Model;
    use crate::domain::rating::examples::Case;
    use crate::domain::rating::examples::usage;
    use crate::domain::time::Zone;

    fn case(milestones: Milestones) -> Case {
        let mut case = Case::new(Model::PerUnit { unit_amount: Decimal::ONE });
        case.component.milestones = Some(milestones);
        case
    }

    /// How many milestones January and February had, and the sentence of February.
    fn months(case: &mut Case, rows: &[(i64, i64)]) -> (Vec<String>, String) {
        let rows: Vec<Usage> = rows.iter().map(|(hour, units)| usage(*hour, Decimal::from(*units), "EWR")).collect();
        let at = |text: &str| Instant::parse(text).expect("a time");
        let ends = ["2013-01-01T00:00:00Z", "2013-02-01T00:00:00Z", "2013-03-01T00:00:00Z"].map(at);
        let mut lines = Vec::new();
        for ends in ends.windows(2) {
            case.period = Period::new(ends[0], ends[1]).expect("a period");
            lines.push(case.rate(&rows).lines.remove(0));
        }
        (lines.iter().map(|line| line.quantity.to_string()).collect(), lines[1].explanation.steps[0].text.clone())
    }

    fn streak(days: u16, at_least: i64) -> Milestones {
        Milestones::DaysInARow { days: NonZero::new(days).expect("some"), at_least: Decimal::from(at_least) }
    }

    #[test]
    fn what_is_counted_goes_on_over_the_end_of_a_period() {
        // 7 units on the third of January, 5 and 12 in February, of which a part is taken back.
        let rows = [(50, 7), (750, 5), (800, 12), (801, -6)];
        let (reached, said) = months(&mut case(Milestones::Every(Decimal::TEN)), &rows);
        assert_eq!(
            (reached, said.as_str()),
            (vec!["0".to_owned(), "2".to_owned()], "miles: every 10 units in all, 2 times")
        );
        let at = [5, 6, 20, 30].map(Decimal::from).to_vec();
        let (reached, said) = months(&mut case(Milestones::At(at)), &rows);
        assert_eq!(
            (reached, said.as_str()),
            (vec!["2".to_owned(), "1".to_owned()], "miles: 1 of 4 milestones reached")
        );
    }

    #[test]
    fn a_streak_is_of_days_of_the_plans_zone_and_begins_anew_when_it_is_complete() {
        // The last two days of January, and the first six of February but for the fourth, which is too little.
        let days = [(29, 2), (30, 2), (31, 2), (32, 2), (33, 2), (34, 1), (35, 2), (36, 2)];
        let rows = days.map(|(day, units)| (day * 24 + 12, units));
        let (reached, said) = months(&mut case(streak(3, 2)), &rows);
        assert_eq!((reached, said.as_str()), (vec!["0".to_owned(), "1".to_owned()], "miles: 3 days in a row, 1 time"));
        let (reached, _) = months(&mut case(streak(2, 1)), &rows);
        assert_eq!(reached, ["1", "3"]);
        // One hour of each day is the day before in New York, so that the first is January still.
        let mut new_york = case(streak(2, 2));
        new_york.plan.calendar.zone = Zone::named("America/New_York").expect("a zone");
        let (reached, _) = months(&mut new_york, &[(30 * 24, 2), (31 * 24, 1), (31 * 24 + 4, 1), (31 * 24 + 5, 2)]);
        assert_eq!(reached, ["0", "1"]);
    }

    proptest! {
        /// However a life is cut into periods, its milestones are those of the whole.
        #[test]
        fn periods_sum_to_the_life(rows in prop::collection::vec((0_i64..1_416, -3_i64..9), 0..40), kind in 0..3, size in 1_u16..9, cut in 1_i64..59) {
            let milestones = match kind {
                0 => Milestones::Every(Decimal::from(size)),
                1 => Milestones::At((1..=i64::from(size)).map(|step| Decimal::from(step * step)).collect()),
                _ => streak(size, 2),
            };
            let mut case = case(milestones);
            let whole = case.whole;
            let rows: Vec<Usage> = rows.iter().map(|(hour, units)| usage(*hour, Decimal::from(*units), "EWR")).collect();
            let mut reached = |from: Instant, to: Instant| {
                case.period = Period::new(from, to).expect("a period");
                case.rate(&rows).lines[0].quantity
            };
            let middle = crate::domain::rating::examples::hour(cut * 24);
            let all = reached(whole.from(), whole.to());
            prop_assert_eq!(reached(whole.from(), middle) + reached(middle, whole.to()), all);
        }
    }
}
