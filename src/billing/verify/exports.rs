//! Checks sealed exports: the file against its hash, and what a batch says of itself against the entries that it took.
//!
//! The file is not written anew: it has names and sentences as they were when it was sealed.

use std::collections::BTreeMap;

use sha2::Digest;
use sha2::Sha256;

use crate::billing::export::batches::debits;
use crate::billing::verify::Difference;
use crate::billing::verify::Verified;
use crate::domain::hex::hex;
use crate::domain::money::Money;
use crate::store;
use crate::store::Read;
use crate::store::Tx;
use crate::store::exports::ExportBatch;

/// Batches that are listed at once.
const PAGE: i64 = 100;

pub(super) async fn compare(tx: &mut Tx<Read>, verified: &mut Verified) -> store::Result<()> {
    let mut before: Option<String> = None;
    // How many there are of each kind, and the highest number.
    let mut numbers: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    loop {
        let page = match tx.export_batches(None, before.as_deref(), PAGE).await {
            Err(store::Error::Damaged(why)) => {
                verified.differences.push(Difference::ExportUnreadable(why));
                return Ok(());
            }
            page => page?,
        };
        let Some(last) = page.last() else { break };
        before = Some(last.id.to_string());
        verified.exports += page.len();
        for batch in &page {
            let (count, highest) = numbers.entry(batch.kind.clone()).or_default();
            (*count, *highest) = (count.saturating_add(1), batch.number.max(*highest));
            match differences(tx, batch).await {
                Err(store::Error::Damaged(why)) => verified.differences.push(Difference::ExportUnreadable(why)),
                found => verified.differences.extend(found?),
            }
        }
    }
    let missing = numbers.into_iter().filter(|(_, (count, highest))| count != highest);
    let missing = missing.map(|(kind, (count, highest))| Difference::ExportMissing { kind, count, highest });
    verified.differences.extend(missing);
    Ok(())
}

async fn differences(tx: &mut Tx<Read>, batch: &ExportBatch) -> store::Result<Vec<Difference>> {
    let entries = tx.exported(&batch.id).await?;
    let packed = tx.export_batch(&batch.id).await?.map(|(_, file)| file).unwrap_or_default();
    let sha256 = match zstd::decode_all(&*packed) {
        Ok(file) => hex(&Sha256::digest(&file)),
        Err(_) => "of a file that cannot be unpacked".to_owned(),
    };
    let totals = match debits(&entries) {
        Ok(totals) => sums(&totals),
        Err(error) => error.to_string(),
    };
    let numbers = entries.iter().map(|booked| booked.seq);
    let number = |seq: Option<i64>| seq.map_or_else(|| "none".to_owned(), |seq| seq.to_string());
    let latest = entries.iter().map(|booked| booked.entry.heading().effective_on).max();
    let through = latest.filter(|latest| *latest > batch.through).unwrap_or(batch.through);
    let compared = [
        ("the SHA-256 of the file", batch.sha256.clone(), sha256),
        ("the number of entries", batch.entries.to_string(), entries.len().to_string()),
        ("the first entry", batch.first_entry.to_string(), number(numbers.clone().min())),
        ("the last entry", batch.last_entry.to_string(), number(numbers.max())),
        ("the last day", batch.through.to_string(), through.to_string()),
        ("the total", sums(&batch.totals), totals),
    ];
    let differs = compared.into_iter().filter(|(_, stored, recomputed)| stored != recomputed);
    let difference = |(what, stored, recomputed)| Difference::Export {
        batch: format!("{} of {}", batch.number, batch.kind),
        what,
        stored,
        recomputed,
    };
    Ok(differs.map(difference).collect())
}

fn sums(totals: &[Money]) -> String {
    totals.iter().map(Money::to_string).collect::<Vec<_>>().join(", ")
}
