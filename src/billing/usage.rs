//! The usage that a period is rated from: its own, and for meters that carry over what was before it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::domain::book::meter::Meter;
use crate::domain::period::Period;
use crate::domain::rating::line::Usage;
use crate::domain::time::Instant;
use crate::store;
use crate::store::Tx;

/// By meter. Usage that is not flushed is not seen.
pub(in crate::billing) async fn usage_of<Mode>(
    tx: &mut Tx<Mode>,
    consumer: &str,
    period: Period,
    meters: impl Iterator<Item = &Meter>,
) -> store::Result<BTreeMap<String, Vec<Usage>>> {
    let mut usage = tx.usage_of(consumer, period).await?;
    // A meter can be in several books.
    let carrying: BTreeSet<&str> = meters.filter(|meter| meter.carries_over()).map(|meter| meter.id.as_str()).collect();
    for meter in carrying {
        let Ok(before) = Period::new(Instant::BEGINNING, period.from()) else { continue };
        let before = tx.usage_in(meter, Some(consumer), before).await?;
        if !before.is_empty() {
            let rows = before.iter().map(|(key, delta)| Usage::of(key, *delta));
            usage.entry(meter.to_owned()).or_default().extend(rows);
        }
    }
    Ok(usage)
}
