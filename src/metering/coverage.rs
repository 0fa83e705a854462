//! Which events a meter counts: those of every batch after the one that it was published behind, and of the batches
//! before it what was replayed.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::period::Period;
use crate::domain::time::Instant;
use crate::store;
use crate::store::Db;
use crate::store::Tx;
use crate::store::replayed::Replayed;

/// The pause before the store is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// What the meters count, at one moment.
#[derive(Clone, Debug, Default)]
pub(in crate::metering) struct Coverage {
    /// The batch that each meter was published behind.
    after: BTreeMap<Arc<str>, i64>,
    /// What was replayed of each, neighbours joined.
    pieces: BTreeMap<Arc<str>, Vec<Piece>>,
    last_replayed: i64,
}

/// Batches, and the event times that were replayed of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    first_seq: i64,
    last_seq: i64,
    period: Period,
}

/// Batches side by side of which the same event times are not counted yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::metering) struct Stretch {
    pub first_seq: i64,
    pub last_seq: i64,
    /// Ascending, and apart from each other.
    pub periods: Vec<Period>,
}

impl Coverage {
    /// What a snapshot of the store says, with the replays up to and including `until_id`.
    pub async fn read<Mode>(tx: &mut Tx<Mode>, until_id: i64) -> store::Result<Self> {
        let after = tx.meters().await?;
        Ok(Self::new(after, tx.replayed(until_id).await?))
    }

    /// What the store says by now, however often it has to be asked: whoever changed it cannot go on without knowing.
    pub async fn stored(db: &Db) -> Self {
        loop {
            let read = async { Self::read(&mut db.read().await?, i64::MAX).await };
            match read.await {
                Ok(coverage) => return coverage,
                Err(error) => tracing::error!("what the meters count cannot be read, and is asked again: {error}"),
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    fn new(after: BTreeMap<Arc<str>, i64>, replayed: Vec<Replayed>) -> Self {
        let mut coverage = Self { after, ..Self::default() };
        for Replayed { id, meter, first_seq, last_seq, period } in replayed {
            coverage.last_replayed = id;
            let pieces = coverage.pieces.entry(meter.into()).or_default();
            // A replay records itself chunk by chunk, each behind the one before it.
            let before = pieces
                .iter_mut()
                .find(|piece| piece.period == period && piece.last_seq.checked_add(1) == Some(first_seq));
            match before {
                Some(before) => before.last_seq = last_seq,
                None => pieces.push(Piece { first_seq, last_seq, period }),
            }
        }
        coverage
    }

    /// Each meter with the batch that it was published behind.
    pub fn meters(&self) -> impl Iterator<Item = (&Arc<str>, i64)> {
        self.after.iter().map(|(meter, after)| (meter, *after))
    }

    /// The newest replay that is in it.
    pub fn last_replayed(&self) -> i64 {
        self.last_replayed
    }

    /// Whether a meter counts an event of a batch that happened at an instant.
    pub fn counted(&self, meter: &str, seq: i64, at: Instant) -> bool {
        self.after.get(meter).is_some_and(|after| seq > *after)
            || self.pieces.get(meter).is_some_and(|pieces| pieces.iter().any(|piece| piece.holds(seq, at)))
    }

    /// Which meters count which event times of a batch because they were replayed.
    pub fn replayed_of(&self, seq: i64) -> impl Iterator<Item = (&Arc<str>, Period)> {
        let pieces = self.pieces.iter().flat_map(|(meter, pieces)| pieces.iter().map(move |piece| (meter, piece)));
        pieces.filter(move |(_, piece)| piece.spans(seq)).map(|(meter, piece)| (meter, piece.period))
    }

    /// What a meter does not count of the events that happened in a period, in the order of the log.
    pub fn missing(&self, meter: &str, period: Period) -> Vec<Stretch> {
        let after = self.after.get(meter).copied().unwrap_or_default();
        let pieces = self.pieces.get(meter).map(Vec::as_slice).unwrap_or_default();
        let ends = pieces.iter().flat_map(|piece| [piece.first_seq, piece.last_seq.saturating_add(1)]);
        let starts: BTreeSet<i64> = ends.chain([1]).filter(|seq| *seq <= after).collect();
        let mut stretches = Vec::new();
        for first_seq in &starts {
            let next = starts.range(first_seq.saturating_add(1)..).next().copied();
            let mut periods = vec![period];
            for piece in pieces.iter().filter(|piece| piece.spans(*first_seq)) {
                periods = periods.into_iter().flat_map(|period| without(period, piece.period)).collect();
            }
            if !periods.is_empty() {
                let last_seq = next.map_or(after, |next| next.saturating_sub(1));
                stretches.push(Stretch { first_seq: *first_seq, last_seq, periods });
            }
        }
        stretches
    }
}

impl Piece {
    fn spans(&self, seq: i64) -> bool {
        (self.first_seq..=self.last_seq).contains(&seq)
    }

    fn holds(&self, seq: i64, at: Instant) -> bool {
        self.spans(seq) && self.period.contains(at)
    }
}

/// What is left of a period.
fn without(period: Period, other: Period) -> impl Iterator<Item = Period> {
    let before = Period::new(period.from(), period.to().min(other.from()));
    let after = Period::new(period.from().max(other.to()), period.to());
    [before, after].into_iter().filter_map(Result::ok)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn period(from: i64, to: i64) -> Period {
        Period::new(Instant::from_micros(from), Instant::from_micros(to)).expect("a period")
    }

    fn replayed(id: i64, (first_seq, last_seq): (i64, i64), (from, to): (i64, i64)) -> Replayed {
        Replayed { id, meter: "m".to_owned(), first_seq, last_seq, period: period(from, to) }
    }

    proptest! {
        /// Replaying what is missing, however replays overlap, counts every event before the meter at most once, and
        /// those that were asked for exactly once.
        #[test]
        fn what_is_missing_is_what_is_not_counted(asked in prop::collection::vec((0_i64..12, 1_i64..6), 1..6), chunk in 1_i64..4) {
            const AFTER: i64 = 7;
            let mut rows = Vec::new();
            let mut wanted = BTreeSet::new();
            for (from, length) in asked {
                let coverage = Coverage::new([(Arc::from("m"), AFTER)].into(), rows.clone());
                for Stretch { first_seq, last_seq, periods } in coverage.missing("m", period(from, from + length)) {
                    prop_assert!(1 <= first_seq && first_seq <= last_seq && last_seq <= AFTER);
                    let mut first = first_seq;
                    while first <= last_seq {
                        let last = last_seq.min(first + chunk - 1);
                        for period in &periods {
                            for (seq, at) in (first..=last).flat_map(|seq| (0..20).map(move |at| (seq, at))) {
                                let at = Instant::from_micros(at);
                                prop_assert!(!(period.contains(at) && coverage.counted("m", seq, at)), "counted twice");
                            }
                            let id = i64::try_from(rows.len()).expect("few") + 1;
                            rows.push(Replayed { id, meter: "m".to_owned(), first_seq: first, last_seq: last, period: *period });
                        }
                        first = last + 1;
                    }
                }
                wanted.extend(from..from + length);
                let coverage = Coverage::new([(Arc::from("m"), AFTER)].into(), rows.clone());
                for (seq, at) in (1..=AFTER + 1).flat_map(|seq| (0..20).map(move |at| (seq, at))) {
                    let expected = seq > AFTER || wanted.contains(&at);
                    prop_assert_eq!(coverage.counted("m", seq, Instant::from_micros(at)), expected, "{} {}", seq, at);
                }
            }
        }
    }

    #[test]
    fn chunks_of_one_replay_are_joined() {
        let rows = vec![replayed(1, (1, 3), (0, 9)), replayed(2, (4, 6), (0, 9)), replayed(3, (1, 2), (9, 10))];
        let coverage = Coverage::new([(Arc::from("m"), 6)].into(), rows);
        assert_eq!(coverage.pieces["m"].len(), 2);
        assert_eq!(coverage.last_replayed(), 3);
        let left = Stretch { first_seq: 3, last_seq: 6, periods: vec![period(9, 10)] };
        assert_eq!(coverage.missing("m", period(0, 10)), [left]);
        assert_eq!(coverage.missing("m", period(0, 9)), []);
    }
}
