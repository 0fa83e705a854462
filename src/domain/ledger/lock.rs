//! The lock of the ledger: through which day the books are closed, and on which day an entry counts then.
//!
//! What comes of a document later than its day was locked counts on the first day that is open. Which lock that is follows
//! from when the entry was written down, so that the same date is found again at any time.

use jiff::civil::Date;

use crate::domain::ids::KeyId;
use crate::domain::time::Instant;

/// From `locked_at` on, nothing is let in that is dated on `through` or before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// 1, 2, 3: each takes the place of the one before it.
    pub seq: i64,
    pub through: Date,
    pub locked_at: Instant,
    pub locked_by: KeyId,
    /// Why days are open again, where it moved back.
    pub reason: Option<String>,
}

/// Every lock there ever was, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locks(Vec<Lock>);

impl Locks {
    /// `locks` in the order of their numbers, which is that of time.
    pub fn new(locks: Vec<Lock>) -> Self {
        Self(locks)
    }

    pub fn all(&self) -> &[Lock] {
        &self.0
    }

    /// The one that is in force.
    pub fn last(&self) -> Option<&Lock> {
        self.0.last()
    }

    /// The one that was in force at an instant.
    pub fn as_of(&self, at: Instant) -> Option<&Lock> {
        self.0.iter().rfind(|lock| lock.locked_at <= at)
    }

    /// The day on which an entry counts that is of `day` and is written down at `recorded_at`.
    pub fn open_day(&self, day: Date, recorded_at: Instant) -> Date {
        match self.as_of(recorded_at) {
            Some(lock) if day <= lock.through => lock.through.tomorrow().unwrap_or(Date::MAX),
            Some(_) | None => day,
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn locks(rows: &[(Date, i64)]) -> Locks {
        let lock = |(seq, (through, at)): (i64, &(Date, i64))| Lock {
            seq,
            through: *through,
            locked_at: Instant::from_micros(*at),
            locked_by: KeyId::parse("key_1").expect("an id"),
            reason: None,
        };
        Locks::new((1..).zip(rows).map(lock).collect())
    }

    #[test]
    fn what_is_late_counts_on_the_first_day_that_is_open() {
        let locks = locks(&[(date(2013, 1, 31), 10), (date(2013, 2, 28), 20), (date(2012, 12, 31), 30)]);
        let day = |day, at| locks.open_day(day, Instant::from_micros(at));
        for untouched in [(date(2013, 1, 31), 9), (date(2013, 2, 1), 10), (date(2013, 1, 31), 30)] {
            assert_eq!(day(untouched.0, untouched.1), untouched.0);
        }
        assert_eq!(day(date(2013, 1, 31), 10), date(2013, 2, 1));
        assert_eq!(day(date(2012, 5, 5), 19), date(2013, 2, 1));
        assert_eq!(day(date(2013, 2, 1), 20), date(2013, 3, 1));
        assert_eq!(day(date(2012, 12, 31), 30), date(2013, 1, 1));
        assert_eq!(Locks::default().open_day(date(2013, 1, 1), Instant::from_micros(1)), date(2013, 1, 1));
    }
}
