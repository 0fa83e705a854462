//! Holds: what is earned is held for a while, and then available.
//!
//! What takes something back is held as well. It can become due before what it takes from is available, or after that is paid
//! out: then it waits for what is earned next, and keeps nobody else's waiting.

use crate::billing::booking;
use crate::billing::close::CloseError;
use crate::billing::close::Through;
use crate::billing::record::locks;
use crate::domain::document::closing::ClosingError;
use crate::domain::time::Instant;
use crate::domain::time::Zone;
use crate::metering::versions::Versions;
use crate::store;
use crate::store::Db;
use crate::store::recording::Held;

/// Holds that pass in one transaction.
const HOLDS_A_TRANSACTION: usize = 1_000;

/// Makes available what was held until `through`, in the zone of the plan that it was earned under. Gives how many holds passed.
pub(in crate::billing) async fn pass_holds(
    db: &Db,
    versions: &Versions,
    through: Through,
    now: Instant,
) -> Result<usize, CloseError> {
    let held = db.read().await?.holds_ending_by(through.latest().min(now)).await?;
    let (mut given, mut taken) = (Vec::with_capacity(held.len()), Vec::new());
    for held in held {
        let unknown = || ClosingError::UnknownPlan {
            subscription: format!("of payout {}", held.payout),
            plan: held.plan.clone(),
            version: held.book_version.clone(),
        };
        let version = versions.by_id(&held.book_version).ok_or_else(unknown)?;
        let zone = &version.book.plans.get(&held.plan).ok_or_else(unknown)?.calendar.zone;
        if held.hold.held_until <= through.in_zone(zone) {
            let due = if held.hold.amount.is_negative() { &mut taken } else { &mut given };
            due.push((held, zone));
        }
    }
    for chunk in given.chunks(HOLDS_A_TRANSACTION) {
        pass(db, chunk, now).await?;
    }
    let mut passed = given.len();
    for hold in taken.chunks(1) {
        match pass(db, hold, now).await {
            Ok(()) => passed += 1,
            // The account has not so much: its floor says so.
            Err(CloseError::Store(store::Error::Refused(_))) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(passed)
}

/// All of them, or none.
async fn pass(db: &Db, holds: &[(Held, &Zone)], now: Instant) -> Result<(), CloseError> {
    let mut tx = db.write().await?;
    let locks = locks(&mut tx, now).await?;
    let mut entries = Vec::with_capacity(holds.len());
    for (Held { payout, consumer, hold, .. }, zone) in holds {
        if !tx.pass_hold(payout, &hold.program, now).await? {
            return Err(CloseError::Overtaken);
        }
        entries.extend(booking::of_hold(payout, consumer, hold, zone, now, &locks)?);
    }
    tx.post(&entries).await?;
    tx.commit().await?;
    Ok(())
}
