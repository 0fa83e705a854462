//! Whether usage buckets, which are aligned to UTC, can be cut at the midnights of a time zone.

use jiff::Timestamp;
use jiff::civil::date;

use crate::domain::time::Bucket;
use crate::domain::time::Instant;
use crate::domain::time::Zone;

/// Offsets before are history (Amsterdam was 20 minutes off until 1937) and bill nothing.
const FIRST_YEAR: i16 = 2000;
/// Rules beyond today repeat every year.
const LAST_YEAR: i16 = 2040;

/// Whether every day of `zone` begins on a boundary between buckets.
pub fn fits(bucket: Bucket, zone: &Zone) -> bool {
    let width = bucket.micros();
    offsets(zone).all(|seconds| i64::from(seconds).saturating_mul(1_000_000).checked_rem(width) == Some(0))
}

/// The widest bucket that fits, as it is written in a meter.
pub fn fitting_bucket(zone: &Zone) -> &'static str {
    let widest = [(Bucket::Day, "1d"), (Bucket::Hour, "1h"), (Bucket::QuarterHour, "15m"), (Bucket::FiveMinutes, "5m")];
    widest.into_iter().find(|(bucket, _)| fits(*bucket, zone)).map_or("5m", |(_, name)| name)
}

/// Seconds east of UTC, at the beginning and after every change.
fn offsets(zone: &Zone) -> impl Iterator<Item = i32> {
    let first = begin(FIRST_YEAR);
    let last = begin(LAST_YEAR);
    let changes = zone.jiff().following(first).take_while(move |change| change.timestamp() < last);
    std::iter::once(zone.jiff().to_offset(first).seconds()).chain(changes.map(|change| change.offset().seconds()))
}

fn begin(year: i16) -> Timestamp {
    Instant::start_of(date(year, 1, 1), &Zone::utc()).map_or(Timestamp::UNIX_EPOCH, Instant::timestamp)
}
