//! Peaks: the largest number of each bucket, added up over buckets.

use std::collections::BTreeMap;

use crate::domain::measure::delta::TooLarge;
use crate::domain::measure::nano::Nano;
use crate::domain::time::Instant;

/// In each bucket, in the order of time, the largest number of every group, added up over the groups.
pub fn by_bucket<G: Ord>(
    numbers: impl IntoIterator<Item = (Instant, G, Nano)>,
) -> Result<BTreeMap<Instant, Nano>, TooLarge> {
    let mut largest: BTreeMap<(Instant, G), Nano> = BTreeMap::new();
    for (bucket, group, number) in numbers {
        let known = largest.entry((bucket, group)).or_insert(number);
        *known = number.max(*known);
    }
    let mut peaks = BTreeMap::new();
    for ((bucket, _), number) in largest {
        let peak: &mut Nano = peaks.entry(bucket).or_default();
        *peak = peak.checked_add(number)?;
    }
    Ok(peaks)
}
