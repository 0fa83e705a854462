//! Makes the entries of payouts again, and those of what was owed and paid back.

use crate::billing::booking;
use crate::billing::booking::BookingError;
use crate::billing::payouts::zone_of;
use crate::billing::verify::VerifyError;
use crate::domain::ledger::entry::Entry;
use crate::domain::ledger::lock::Locks;
use crate::metering::versions::Versions;
use crate::store::Read;
use crate::store::Tx;
use crate::store::payouts::Sought;

/// Payouts that are read at once.
const PAGE: i64 = 1_000;

/// What each payout, and each that was paid back, should stand in the journal as.
pub(super) async fn entries(
    tx: &mut Tx<Read>,
    versions: &Versions,
    locks: &Locks,
    mut keep: impl FnMut(String, Result<Vec<Entry>, BookingError>),
) -> Result<(), VerifyError> {
    let mut after: Option<String> = None;
    loop {
        let page = tx.payouts_of_money(Sought::Page { after: after.as_deref(), limit: PAGE }).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id.to_string());
        for payout in &page {
            keep(format!("payout {}", payout.id), booking::of_money_out(payout, &zone_of(versions, payout), locks));
        }
    }
    for repaid in tx.repaid().await? {
        let entries = booking::of_repaid(&repaid).map(|entry| entry.into_iter().collect());
        keep(format!("what {} owed", repaid.consumer), entries);
    }
    Ok(())
}
