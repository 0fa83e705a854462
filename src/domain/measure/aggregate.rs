//! From rows of usage to a number: what every aggregation makes of a period.
//!
//! Promise: rows may come in any order, and one row in any parts; the number depends only on what they add up to. So
//! it is what one pass over the events would give that were not taken back.
//! Every step costs at most the logarithm of what is kept, so that the number after each bucket can be asked for.

use std::collections::BTreeMap;
use std::collections::HashMap;

use rust_decimal::Decimal;

use crate::domain::book::meter::Aggregation;
use crate::domain::book::meter::Meter;
use crate::domain::measure::delta::Delta;
use crate::domain::measure::delta::TooLarge;
use crate::domain::measure::item;
use crate::domain::measure::item::Change;
use crate::domain::measure::nano::NANO_DECIMALS;
use crate::domain::measure::nano::Nano;
use crate::domain::measure::ranked::Ranked;
use crate::domain::period::Period;
use crate::domain::time::Bucket;
use crate::domain::time::Instant;

/// Digits of a mean, and the largest whole number of as many bits as a decimal has.
const DECIMALS_MAX: u32 = 28;
const MANTISSA_MAX: i128 = (1 << 96) - 1;

/// A row of usage, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    pub bucket: Instant,
    pub item: &'a str,
    pub delta: Delta,
}

/// What the rows of one period come to. A row before the period matters only where a meter carries over; one after
/// it never does.
#[derive(Clone, Debug)]
pub struct Aggregate<'a> {
    period: Period,
    width: Bucket,
    carries_over: bool,
    events: i64,
    state: State<'a>,
}

#[derive(Clone, Debug)]
enum State<'a> {
    Sum(Nano),
    Mean(Nano),
    /// How many events say each number.
    Max(BTreeMap<Nano, i64>),
    /// By position.
    Latest(BTreeMap<&'a str, Delta>),
    /// How many events say each value.
    Unique(HashMap<&'a str, i64>),
    /// What happened to each value, by position; and how many values are there in the end.
    Present {
        changes: HashMap<&'a str, BTreeMap<&'a str, (Change, i64)>>,
        present: i64,
    },
    /// The level when the period begins, what changed it since, and the area that the changes make, in microseconds.
    Level {
        before: Nano,
        changed: Nano,
        area: Nano,
    },
    /// The sum of each bucket, or of each event where the bucket is one.
    Percentile {
        sums: HashMap<(Instant, &'a str), Delta>,
        ranked: Ranked,
    },
}

/// What one of several windows of time comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InWindow {
    pub window: Period,
    pub number: Decimal,
    pub events: i64,
}

/// The number of every window. They follow one another in time, and may leave gaps.
pub fn by_window<'a>(
    meter: &Meter,
    mut rows: Vec<Row<'a>>,
    windows: impl IntoIterator<Item = Period>,
) -> Result<Vec<InWindow>, TooLarge> {
    rows.sort_by_key(|row| row.bucket);
    let mut rows = rows.into_iter().peekable();
    let mut last: Option<Aggregate<'a>> = None;
    let mut measured = Vec::new();
    for window in windows {
        let mut aggregate = match last {
            Some(last) => last.followed_by(meter, window)?,
            None => Aggregate::new(meter, window),
        };
        while let Some(row) = rows.next_if(|row| row.bucket < window.to()) {
            aggregate.add(row)?;
        }
        measured.push(InWindow { window, number: aggregate.number()?, events: aggregate.events });
        last = Some(aggregate);
    }
    Ok(measured)
}

impl<'a> Aggregate<'a> {
    pub fn new(meter: &Meter, period: Period) -> Self {
        let state = match meter.aggregation {
            Aggregation::Count | Aggregation::Sum => State::Sum(Nano::ZERO),
            Aggregation::Avg => State::Mean(Nano::ZERO),
            Aggregation::Max => State::Max(BTreeMap::new()),
            Aggregation::Latest => State::Latest(BTreeMap::new()),
            Aggregation::Unique if meter.operation.is_some() => State::Present { changes: HashMap::new(), present: 0 },
            Aggregation::Unique => State::Unique(HashMap::new()),
            Aggregation::WeightedSum => State::Level { before: Nano::ZERO, changed: Nano::ZERO, area: Nano::ZERO },
            Aggregation::Percentile(rank) => State::Percentile { sums: HashMap::new(), ranked: Ranked::new(rank) },
        };
        Self { period, width: meter.bucket, carries_over: meter.carries_over(), events: 0, state }
    }

    /// A later period of the same meter, into which carries over what does.
    fn followed_by(self, meter: &Meter, period: Period) -> Result<Self, TooLarge> {
        let mut next = Self::new(meter, period);
        match self.state {
            State::Level { before, changed, .. } => {
                let before = before.checked_add(changed)?;
                next.state = State::Level { before, changed: Nano::ZERO, area: Nano::ZERO };
            }
            present @ State::Present { .. } => next.state = present,
            _ => {}
        }
        Ok(next)
    }

    pub fn add(&mut self, row: Row<'a>) -> Result<(), TooLarge> {
        let Row { bucket, item, delta } = row;
        let is_before = bucket < self.period.from();
        if bucket >= self.period.to() || (is_before && !self.carries_over) {
            return Ok(());
        }
        if !is_before {
            self.events = self.events.checked_add(delta.count).ok_or(TooLarge)?;
        }
        match &mut self.state {
            State::Sum(sum) | State::Mean(sum) => *sum = sum.checked_add(delta.value)?,
            State::Max(events) => {
                // All events of such a row say the same number.
                if let Some(number) = delta.value.billionths().checked_div(i128::from(delta.count)) {
                    count(events, Nano::from_billionths(number), delta.count)?;
                }
            }
            State::Latest(events) => {
                let known = events.entry(item).or_default();
                *known = known.merge(delta)?;
                if known.is_nothing() {
                    events.remove(item);
                }
            }
            State::Unique(events) => {
                let known = events.entry(item).or_default();
                *known = known.checked_add(delta.count).ok_or(TooLarge)?;
                if *known == 0 {
                    events.remove(item);
                }
            }
            State::Present { changes, present } => {
                let Some((position, change, value)) = item::change_of(item) else { return Ok(()) };
                let of_value = changes.entry(value).or_default();
                *present = present.saturating_sub(i64::from(is_present(of_value)));
                let (_, events) = of_value.entry(position).or_insert((change, 0));
                *events = events.checked_add(delta.count).ok_or(TooLarge)?;
                if *events == 0 {
                    of_value.remove(position);
                }
                *present = present.saturating_add(i64::from(is_present(of_value)));
            }
            State::Level { before, .. } if is_before && item != item::AREA => {
                *before = before.checked_add(delta.value)?;
            }
            State::Level { .. } if is_before => {}
            State::Level { changed, area, .. } if item != item::AREA => {
                *changed = changed.checked_add(delta.value)?;
                let rest = self.period.to().micros().saturating_sub(self.width.end(bucket).micros());
                *area = area.checked_add(delta.value.checked_mul(rest)?)?;
            }
            State::Level { area, .. } => *area = area.checked_add(delta.value)?,
            State::Percentile { sums, ranked } => {
                let sum = sums.entry((bucket, item)).or_default();
                if sum.count > 0 {
                    ranked.remove(sum.value);
                }
                *sum = sum.merge(delta)?;
                if sum.count > 0 {
                    ranked.insert(sum.value);
                }
            }
        }
        Ok(())
    }

    /// What the rows come to; zero if there are none.
    pub fn number(&self) -> Result<Decimal, TooLarge> {
        match &self.state {
            State::Sum(sum) => sum.decimal(),
            State::Mean(sum) => divided(*sum, self.events),
            State::Max(events) => events.last_key_value().map_or(Ok(Decimal::ZERO), |(number, _)| number.decimal()),
            State::Latest(events) => {
                events.last_key_value().map_or(Ok(Decimal::ZERO), |(_, delta)| delta.value.decimal())
            }
            State::Unique(events) => Ok(Decimal::from(events.len())),
            State::Present { present, .. } => Ok(Decimal::from(*present)),
            State::Level { before, area, .. } => {
                let length = self.period.to().micros().saturating_sub(self.period.from().micros());
                divided(before.checked_mul(length)?.checked_add(*area)?, length)
            }
            State::Percentile { ranked, .. } => ranked.number().unwrap_or_default().decimal(),
        }
    }

    /// How many events of the period it is measured from.
    pub fn events(&self) -> i64 {
        self.events
    }
}

fn count(events: &mut BTreeMap<Nano, i64>, number: Nano, more: i64) -> Result<(), TooLarge> {
    let known = events.entry(number).or_default();
    *known = known.checked_add(more).ok_or(TooLarge)?;
    if *known == 0 {
        events.remove(&number);
    }
    Ok(())
}

/// The last change decides.
fn is_present(changes: &BTreeMap<&str, (Change, i64)>) -> bool {
    changes.last_key_value().is_some_and(|(_, (change, _))| *change == Change::Added)
}

/// Divides once, to as many digits as a decimal has, half away from zero. Zero of nothing is zero.
pub fn divided(sum: Nano, by: i64) -> Result<Decimal, TooLarge> {
    if by <= 0 {
        return Ok(Decimal::ZERO);
    }
    let by = i128::from(by);
    let split = |number: i128| Some((number.checked_div(by)?, number.checked_rem(by)?));
    let (mut mantissa, mut rest) = split(sum.billionths()).ok_or(TooLarge)?;
    let mut decimals = NANO_DECIMALS;
    while rest != 0 && decimals < DECIMALS_MAX {
        let (digit, left) = rest.checked_mul(10).and_then(split).ok_or(TooLarge)?;
        let longer = mantissa.checked_mul(10).and_then(|mantissa| mantissa.checked_add(digit));
        let Some(longer) = longer.filter(|longer| longer.abs() < MANTISSA_MAX) else { break };
        (mantissa, rest, decimals) = (longer, left, decimals.saturating_add(1));
    }
    if rest.abs() >= by.checked_sub(rest.abs()).ok_or(TooLarge)? {
        mantissa = mantissa.checked_add(rest.signum()).ok_or(TooLarge)?;
    }
    Decimal::try_from_i128_with_scale(mantissa, decimals).map(|number| number.normalize()).map_err(|_| TooLarge)
}
