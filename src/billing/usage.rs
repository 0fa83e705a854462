//! The usage that a period is rated from: its own, and what was before it of meters that reach back.

use std::collections::BTreeMap;

use crate::domain::period::Period;
use crate::domain::rating::line::Usage;
use crate::domain::time::Instant;
use crate::store;
use crate::store::Tx;

/// By meter. `since` says which reach back, and how far. Usage that is not flushed is not seen.
pub(in crate::billing) async fn usage_of<Mode>(
    tx: &mut Tx<Mode>,
    consumer: &str,
    period: Period,
    since: &BTreeMap<&str, Instant>,
) -> store::Result<BTreeMap<String, Vec<Usage>>> {
    let mut usage = tx.usage_of(consumer, period).await?;
    for (meter, since) in since {
        let Ok(before) = Period::new(*since, period.from()) else { continue };
        let before = tx.usage_in(meter, Some(consumer), before).await?;
        if !before.is_empty() {
            let rows = before.iter().map(|(key, delta)| Usage::of(key, *delta));
            usage.entry((*meter).to_owned()).or_default().extend(rows);
        }
    }
    Ok(usage)
}
