//! Laws of aggregations, over many random events.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use proptest::prelude::*;
use rust_decimal::Decimal;

use crate::domain::book::meter::Aggregation;
use crate::domain::book::meter::Meter;
use crate::domain::book::meter::Path;
use crate::domain::book::meter::Rank;
use crate::domain::measure::aggregate::Aggregate;
use crate::domain::measure::aggregate::Row;
use crate::domain::measure::aggregate::by_window;
use crate::domain::measure::delta::Delta;
use crate::domain::measure::item;
use crate::domain::measure::item::Change;
use crate::domain::measure::item::Place;
use crate::domain::measure::nano::Nano;
use crate::domain::period::Period;
use crate::domain::time::Bucket;
use crate::domain::time::Instant;

/// A minute, in which all times are whole here, so that a naive integral is a plain sum.
const MINUTE: i64 = 60_000_000;
/// The period: ten hours, after ten hours of history. Events come until five hours after it.
const PERIOD: (i64, i64) = (600, 1_200);
const LAST_MINUTE: i64 = 1_500;

#[derive(Clone, Debug)]
struct Said {
    minute: i64,
    place: Place,
    /// In hundredths.
    number: i64,
    value: &'static str,
    change: Change,
    retracted: bool,
    id: String,
}

fn meter(aggregation: Aggregation, with_operation: bool, bucket: Bucket) -> Meter {
    let operation = with_operation.then(|| Path::parse("data.operation").expect("a path"));
    Meter { operation, bucket, ..Meter::example(aggregation) }
}

fn meters() -> impl Strategy<Value = Meter> {
    let rank = (1_i64..=1_000).prop_map(|tenths| Rank::of_percent(Decimal::new(tenths, 1)).expect("is one"));
    let additive = prop_oneof![
        Just(Aggregation::Count),
        Just(Aggregation::Sum),
        Just(Aggregation::Avg),
        Just(Aggregation::Max),
        rank.prop_map(Aggregation::Percentile),
    ];
    let width = prop_oneof![Just(Bucket::FiveMinutes), Just(Bucket::Hour)];
    let any_width = prop_oneof![width.clone(), Just(Bucket::Event)];
    prop_oneof![
        5 => (additive, any_width.clone()).prop_map(|(aggregation, bucket)| meter(aggregation, false, bucket)),
        1 => width.clone().prop_map(|bucket| meter(Aggregation::Latest, false, bucket)),
        1 => any_width.prop_map(|bucket| meter(Aggregation::WeightedSum, false, bucket)),
        2 => (any::<bool>(), width).prop_map(|(change, bucket)| meter(Aggregation::Unique, change, bucket)),
    ]
}

fn events() -> impl Strategy<Value = Vec<Said>> {
    let value = prop::sample::select(vec!["", "a", "b", "+c"]);
    let event = (0..LAST_MINUTE, -500_i64..500, value, any::<bool>(), prop::bool::weighted(0.3));
    prop::collection::vec(event, 0..40).prop_map(|events| {
        let said =
            |(index, (minute, number, value, added, retracted)): (u32, (i64, i64, &'static str, bool, bool))| Said {
                // Some events share an instant, some a number.
                minute: minute / 7 * 7,
                place: Place { seq: i64::from(index / 5), index: index % 5 },
                number: number / 50 * 50,
                value,
                change: if added { Change::Added } else { Change::Removed },
                retracted,
                id: index.to_string(),
            };
        (0..).zip(events).map(said).collect()
    })
}

fn at(minute: i64) -> Instant {
    Instant::from_micros(minute * MINUTE)
}

fn period(from: i64, to: i64) -> Period {
    Period::new(at(from), at(to)).expect("a period")
}

/// The rows of an event as they are stored.
fn entries(meter: &Meter, said: &Said) -> Vec<(Instant, String, Delta)> {
    let at = at(said.minute);
    let bucket = meter.bucket.floor(at);
    if meter.aggregation == Aggregation::Unique {
        let change = meter.operation.as_ref().map(|_| said.change);
        let entry = item::of_value(said.value, at, change).expect("is short");
        return vec![(bucket, entry.item.text(said.place).into_owned(), entry.delta)];
    }
    let number = match meter.aggregation {
        Aggregation::Count => Nano::ONE,
        _ => Nano::from_decimal(Decimal::new(said.number, 2)).expect("is one"),
    };
    let entries = item::of_number(meter.aggregation, meter.bucket, number, at, ("/s", &said.id)).expect("fits");
    entries.map(|entry| (bucket, entry.item.text(said.place).into_owned(), entry.delta)).collect()
}

/// What one pass over the events that are left gives, by the definition of the aggregation.
fn naive(meter: &Meter, events: &[Said], from: i64, to: i64) -> Decimal {
    let mut events: Vec<&Said> = events.iter().filter(|said| !said.retracted && said.minute < to).collect();
    events.sort_by_key(|said| (said.minute, said.place));
    let within: Vec<&Said> = events.iter().copied().filter(|said| said.minute >= from).collect();
    let number = |said: &&Said| Decimal::new(said.number, 2);
    let sum: Decimal = within.iter().map(number).sum();
    let count = Decimal::from(within.len());
    match meter.aggregation {
        Aggregation::Count => count,
        Aggregation::Sum => sum,
        Aggregation::Avg => {
            if within.is_empty() {
                Decimal::ZERO
            } else {
                sum / count
            }
        }
        Aggregation::Max => within.iter().map(number).max().unwrap_or_default(),
        Aggregation::Latest => within.last().map(number).unwrap_or_default(),
        Aggregation::Unique if meter.operation.is_some() => {
            let mut present = BTreeSet::new();
            for said in events {
                match said.change {
                    Change::Added => present.insert(said.value),
                    Change::Removed => present.remove(said.value),
                };
            }
            Decimal::from(present.len())
        }
        Aggregation::Unique => Decimal::from(within.iter().map(|said| said.value).collect::<BTreeSet<_>>().len()),
        Aggregation::WeightedSum => {
            let level = |minute| events.iter().filter(|said| said.minute <= minute).map(number).sum::<Decimal>();
            (from..to).map(level).sum::<Decimal>() / Decimal::from(to - from)
        }
        Aggregation::Percentile(rank) => {
            let mut sums: BTreeMap<(Instant, &str), Decimal> = BTreeMap::new();
            for said in &within {
                let id = if meter.bucket == Bucket::Event { said.id.as_str() } else { "" };
                *sums.entry((meter.bucket.floor(at(said.minute)), id)).or_default() += number(said);
            }
            let mut sums: Vec<Decimal> = sums.into_values().collect();
            sums.sort_unstable();
            let nth = (Decimal::from(sums.len()) * rank.percent() / Decimal::ONE_HUNDRED).ceil();
            let nth: usize = nth.try_into().expect("is small");
            sums.get(nth.saturating_sub(1)).copied().unwrap_or_default()
        }
    }
}

/// Equal but for the last of 28 digits, where a division did not end.
fn is_same(a: Decimal, b: Decimal) -> bool {
    (a - b).abs() <= Decimal::new(1, 24)
}

proptest! {
    /// Whatever the order of the rows, however they are merged before, and whatever is taken back by its opposite: the
    /// number is what one pass over the remaining events gives.
    #[test]
    fn numbers_are_those_of_one_pass_over_what_is_left(
        meter in meters(),
        events in events(),
        batches in 1_usize..6,
        order in any::<u64>(),
    ) {
        let mut parts: Vec<BTreeMap<(Instant, String), Delta>> = vec![BTreeMap::new(); batches];
        for (index, said) in events.iter().enumerate() {
            for (bucket, item, delta) in entries(&meter, said) {
                let opposite = delta.opposite().expect("fits");
                let taken_back = said.retracted.then_some((batches - 1, opposite));
                for (batch, delta) in std::iter::once((index % batches, delta)).chain(taken_back) {
                    let row = parts[batch].entry((bucket, item.clone())).or_default();
                    *row = row.merge(delta).expect("fits");
                }
            }
        }
        let mut rows: Vec<(&(Instant, String), &Delta)> = parts.iter().flatten().collect();
        rows.sort_by_key(|((bucket, item), delta)| {
            let mixed = item.bytes().fold(bucket.micros().cast_unsigned() ^ order, |mixed, byte| {
                mixed.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte)
            });
            mixed ^ delta.count.cast_unsigned().wrapping_mul(order | 1)
        });
        let mut aggregate = Aggregate::new(&meter, period(PERIOD.0, PERIOD.1));
        for ((bucket, item), delta) in rows {
            aggregate.add(Row { bucket: *bucket, item, delta: *delta }).expect("fits");
        }
        let number = aggregate.number().expect("fits");
        let expected = naive(&meter, &events, PERIOD.0, PERIOD.1);
        prop_assert!(is_same(number, expected), "{:?}: {} is not {}", meter.aggregation, number, expected);
        let left = |said: &&Said| !said.retracted && (PERIOD.0..PERIOD.1).contains(&said.minute);
        prop_assert_eq!(usize::try_from(aggregate.events()), Ok(events.iter().filter(left).count()));
    }

    /// Windows that follow one another come to what each of them comes to alone, also after a gap.
    #[test]
    fn windows_come_to_what_each_comes_to_alone(meter in meters(), events in events(), gap in 0_i64..3) {
        let rows: Vec<(Instant, String, Delta)> =
            events.iter().filter(|said| !said.retracted).flat_map(|said| entries(&meter, said)).collect();
        let rows = rows.iter().map(|(bucket, item, delta)| Row { bucket: *bucket, item, delta: *delta });
        let windows = [(120, 600), (600 + gap * 60, 840), (840, 1_200)];
        let measured = by_window(&meter, rows.collect(), windows.map(|(from, to)| period(from, to))).expect("fits");
        for (measured, (from, to)) in measured.iter().zip(windows) {
            let expected = naive(&meter, &events, from, to);
            prop_assert!(is_same(measured.number, expected), "{:?}: {:?} is not {}", meter, measured, expected);
        }
        prop_assert_eq!(measured.len(), windows.len());
    }
}
