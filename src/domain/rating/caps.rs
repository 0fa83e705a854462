//! Caps: the most that counts, or is paid, within a calendar window of the plan's zone.
//!
//! A cap works on what each bucket adds (for an amount: the price so far less the price before it), oldest first.
//! In every window of every cap, what is let through never exceeds the limit at any moment.
//! - A bucket can also take something back: a negative sum, or a volume price whose next tier is cheaper. It takes
//!   back first what the caps withheld within the same window, and only then what was let through. So one cap lets
//!   through `min(limit, running total of the window)`, and nobody loses what he never got.
//! - A component's caps are shared by all its lines: within a bucket the lines come in the order of their dimensions.
//! - A window that the period's boundary cuts counts only what lies within the period. A lifetime is cut by none: what it let
//!   through and withheld in one period is what the next begins with ([`Life`]).

use jiff::ToSpan;
use jiff::civil::Date;
use rust_decimal::Decimal;

use crate::domain::book::plan::CapWindow;
use crate::domain::rating::Marginal;
use crate::domain::rating::PriceError;
use crate::domain::rating::exact;
use crate::domain::time::Zone;

/// At most `most` within each window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub most: Decimal,
    pub per: CapWindow,
}

/// What the caps of a component let through so far. From one period to the next goes what they did for a lifetime.
#[derive(Clone, Debug, Default)]
pub struct Life(Vec<Room>);

impl Life {
    /// What each limit let through in its window on this day; nothing before anything was counted.
    pub fn through_on(&self, day: Date) -> impl Iterator<Item = Decimal> {
        let is_current = move |room: &Room| room.window == window(room.limit.per, day);
        self.0.iter().map(move |room| if is_current(room) { room.through } else { Decimal::ZERO })
    }
}

/// What happened so far in the current window of one limit.
#[derive(Clone, Debug)]
struct Room {
    limit: Limit,
    /// The first day of the window; nothing for the period.
    window: Option<Date>,
    through: Decimal,
    withheld: Decimal,
}

/// Lets through what the limits allow of what the buckets of each line add in a period. `life` is that of the same limits,
/// after the periods before.
pub fn apply(limits: &[Limit], zone: &Zone, lines: &mut [Vec<Marginal>], life: &mut Life) -> Result<(), PriceError> {
    if limits.is_empty() {
        return Ok(());
    }
    let mut in_time: Vec<(usize, &mut Marginal)> = Vec::new();
    for (line, marginals) in lines.iter_mut().enumerate() {
        in_time.extend(marginals.iter_mut().map(|marginal| (line, marginal)));
    }
    in_time.sort_by_key(|(line, marginal)| (marginal.at, *line));
    let mut before = std::mem::take(&mut life.0).into_iter();
    let room = |limit: &Limit| match (before.next(), limit.per) {
        (Some(before), CapWindow::Lifetime) => before,
        _ => Room::new(*limit),
    };
    let mut rooms: Vec<Room> = limits.iter().map(room).collect();
    for (_, marginal) in in_time {
        let day = marginal.at.date_in(zone);
        rooms.iter_mut().for_each(|room| room.enter(day));
        marginal.amount = if marginal.amount.is_sign_negative() {
            take_back(&mut rooms, marginal.amount)?
        } else {
            let_through(&mut rooms, marginal.amount)?
        };
    }
    life.0 = rooms;
    Ok(())
}

/// As much as every limit allows; the tightest one withholds the rest.
fn let_through(rooms: &mut [Room], amount: Decimal) -> Result<Decimal, PriceError> {
    let Some(tightest) = rooms.iter_mut().min_by_key(|room| room.left()) else { return Ok(amount) };
    let through = amount.min(tightest.left());
    tightest.withheld = exact::add(tightest.withheld, exact::sub(amount, through)?)?;
    for room in rooms {
        room.through = exact::add(room.through, through)?;
    }
    Ok(through)
}

/// Takes back what was withheld first.
fn take_back(rooms: &mut [Room], amount: Decimal) -> Result<Decimal, PriceError> {
    let mut rest = amount;
    for room in rooms.iter_mut() {
        let never_given = room.withheld.min(rest.abs());
        room.withheld = exact::sub(room.withheld, never_given)?;
        rest = exact::add(rest, never_given)?;
    }
    for room in rooms {
        room.through = exact::add(room.through, rest)?;
    }
    Ok(rest)
}

impl Room {
    fn new(limit: Limit) -> Self {
        Self { limit, window: None, through: Decimal::ZERO, withheld: Decimal::ZERO }
    }

    fn enter(&mut self, day: Date) {
        let window = window(self.limit.per, day);
        if self.window != window {
            *self = Self { window, ..Self::new(self.limit) };
        }
    }

    /// Never negative: a limit below zero lets nothing through.
    fn left(&self) -> Decimal {
        self.limit.most.checked_sub(self.through).map_or(Decimal::ZERO, |left| left.max(Decimal::ZERO))
    }
}

/// The first day after the window that begins on `first`.
pub fn after(per: CapWindow, first: Date) -> Option<Date> {
    let length = match per {
        CapWindow::Day => 1.day(),
        CapWindow::Week => 1.week(),
        CapWindow::Month => 1.month(),
        CapWindow::Period | CapWindow::Lifetime => return None,
    };
    first.checked_add(length).ok()
}

/// The first day of the window that `day` lies in. The period is one window, and so is a lifetime.
pub fn window(per: CapWindow, day: Date) -> Option<Date> {
    match per {
        CapWindow::Day => Some(day),
        CapWindow::Week => {
            let since_monday = i64::from(day.weekday().to_monday_zero_offset());
            day.checked_sub(since_monday.days()).ok()
        }
        CapWindow::Month => Some(day.first_of_month()),
        CapWindow::Period | CapWindow::Lifetime => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Instant;

    fn marginals(list: &[(&str, i64)]) -> Vec<Marginal> {
        list.iter()
            .map(|(at, amount)| Marginal { at: Instant::parse(at).expect("a time"), amount: Decimal::from(*amount) })
            .collect()
    }

    fn capped(limits: &[(i64, CapWindow)], zone: &str, list: &[(&str, i64)]) -> Vec<Decimal> {
        let limits: Vec<Limit> =
            limits.iter().map(|(most, per)| Limit { most: Decimal::from(*most), per: *per }).collect();
        let mut lines = [marginals(list)];
        apply(&limits, &Zone::named(zone).expect("a zone"), &mut lines, &mut Life::default()).expect("fits");
        lines[0].iter().map(|marginal| marginal.amount).collect()
    }

    fn decimals(numbers: &[i64]) -> Vec<Decimal> {
        numbers.iter().map(|number| Decimal::from(*number)).collect()
    }

    #[test]
    fn a_day_is_a_day_of_the_plans_zone() {
        // 04:00 and 05:00 in UTC are the two sides of midnight in New York in winter.
        let list = [("2013-01-01T20:00:00Z", 3), ("2013-01-02T04:00:00Z", 3), ("2013-01-02T05:00:00Z", 3)];
        let day = [(4, CapWindow::Day)];
        assert_eq!(capped(&day, "America/New_York", &list), decimals(&[3, 1, 3]));
        assert_eq!(capped(&day, "UTC", &list), decimals(&[3, 3, 1]));
    }

    #[test]
    fn weeks_begin_on_monday_and_months_on_the_first() {
        let list = [("2013-01-27T12:00:00Z", 3), ("2013-01-28T12:00:00Z", 3), ("2013-02-01T12:00:00Z", 3)];
        assert_eq!(capped(&[(4, CapWindow::Week)], "UTC", &list), decimals(&[3, 3, 1]));
        assert_eq!(capped(&[(4, CapWindow::Month)], "UTC", &list), decimals(&[3, 1, 3]));
        assert_eq!(capped(&[(4, CapWindow::Period)], "UTC", &list), decimals(&[3, 1, 0]));
        assert_eq!(capped(&[(2, CapWindow::Day), (5, CapWindow::Month)], "UTC", &list), decimals(&[2, 2, 2]));
    }

    #[test]
    fn what_is_taken_back_is_first_what_was_withheld() {
        let list = [("2013-01-01T00:00:00Z", 10), ("2013-01-01T01:00:00Z", -3), ("2013-01-01T02:00:00Z", -4)];
        assert_eq!(capped(&[(5, CapWindow::Period)], "UTC", &list), decimals(&[5, 0, -2]));
    }

    #[test]
    fn a_lifetime_goes_on_from_one_period_to_the_next() {
        let limits = [(7, CapWindow::Lifetime), (4, CapWindow::Period)];
        let limits = limits.map(|(most, per)| Limit { most: Decimal::from(most), per });
        let mut life = Life::default();
        let mut through = |list: &[(&str, i64)]| {
            let mut lines = [marginals(list)];
            apply(&limits, &Zone::utc(), &mut lines, &mut life).expect("fits");
            lines[0].iter().map(|marginal| marginal.amount).collect::<Vec<_>>()
        };
        assert_eq!(through(&[("2013-01-01T00:00:00Z", 3), ("2013-01-02T00:00:00Z", 3)]), decimals(&[3, 1]));
        assert_eq!(through(&[("2013-02-01T00:00:00Z", 5)]), decimals(&[3]));
        assert_eq!(through(&[("2013-03-01T00:00:00Z", 5), ("2013-03-02T00:00:00Z", -5)]), decimals(&[0, 0]));
    }

    #[test]
    fn lines_share_the_caps_of_their_component_oldest_bucket_first() {
        let mut lines = [
            marginals(&[("2013-01-01T01:00:00Z", 3), ("2013-01-01T02:00:00Z", 3)]),
            marginals(&[("2013-01-01T00:00:00Z", 3), ("2013-01-01T01:00:00Z", 3)]),
        ];
        let limit = Limit { most: Decimal::from(7), per: CapWindow::Day };
        apply(&[limit], &Zone::utc(), &mut lines, &mut Life::default()).expect("fits");
        let amounts = lines.map(|line| line.iter().map(|marginal| marginal.amount).collect::<Vec<_>>());
        assert_eq!(amounts, [decimals(&[3, 0]), decimals(&[3, 1])]);
    }
}
