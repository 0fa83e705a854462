//! Allowances: units that a plan includes, for all components together that name them.
//!
//! They are used up oldest bucket first; within a bucket in the order of the components and of their lines. A line whose
//! quantity falls gives back what it no longer needs, to whoever had to do without first. So at every moment exactly the
//! allowance is included, or all there is, if that is less.

use rust_decimal::Decimal;

use crate::domain::rating::PriceError;
use crate::domain::rating::course::Point;
use crate::domain::rating::exact;

/// A line's part of an allowance.
#[derive(Clone, Copy, Default)]
struct Part {
    quantity: Decimal,
    included: Decimal,
}

impl Part {
    /// What it has to pay for.
    fn rest(self) -> Result<Decimal, PriceError> {
        exact::sub(self.quantity, self.included)
    }
}

/// Takes off what is included of each line's quantity so far. The points that come back may be more: one for each time at
/// which what is left of a line changes.
pub fn include(allowance: Decimal, lines: &[&[Point]]) -> Result<Vec<Vec<Point>>, PriceError> {
    let mut in_time: Vec<(usize, Point)> = Vec::new();
    for (line, points) in lines.iter().enumerate() {
        in_time.extend(points.iter().map(|point| (line, *point)));
    }
    in_time.sort_by_key(|(line, point)| (point.at, *line));
    let mut parts = vec![Part::default(); lines.len()];
    let mut left: Vec<Vec<Point>> = vec![Vec::new(); lines.len()];
    // Lines that have something to pay for, the one that had to first.
    let mut waiting: Vec<usize> = Vec::new();
    let mut free = allowance.max(Decimal::ZERO);
    for (line, point) in in_time {
        let (Some(part), Some(points)) = (parts.get_mut(line), left.get_mut(line)) else { continue };
        part.quantity = point.quantity.max(Decimal::ZERO);
        let given_back = exact::sub(part.included, part.quantity)?.max(Decimal::ZERO);
        part.included = exact::sub(part.included, given_back)?;
        free = exact::add(free, given_back)?;
        points.push(Point { quantity: part.rest()?, ..point });
        waiting.retain(|other| *other != line);
        waiting.push(line);
        for waits in std::mem::take(&mut waiting) {
            let (Some(part), Some(points)) = (parts.get_mut(waits), left.get_mut(waits)) else { continue };
            let given = part.rest()?.min(free);
            if !given.is_zero() {
                free = exact::sub(free, given)?;
                part.included = exact::add(part.included, given)?;
                let rest = part.rest()?;
                match points.last_mut() {
                    Some(last) if last.at == point.at => last.quantity = rest,
                    Some(last) => {
                        let later = Point { at: point.at, quantity: rest, ..*last };
                        points.push(later);
                    }
                    None => {}
                }
            }
            if !part.rest()?.is_zero() {
                waiting.push(waits);
            }
        }
    }
    Ok(left)
}
