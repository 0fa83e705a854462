//! Locks the ledger: finance closes the books through a day, and opens them again for a reason.

use jiff::civil::Date;
use thiserror::Error;

use crate::domain::ids::KeyId;
use crate::domain::ledger::lock::Lock;
use crate::domain::ledger::lock::Locks;
use crate::domain::time::Instant;
use crate::domain::time::Zone;
use crate::store;
use crate::store::Db;
use crate::store::Tx;
use crate::store::Write;

#[derive(Debug, Error)]
pub enum LockError {
    #[error("{through} has not ended; it is {today}")]
    NotOver { through: Date, today: Date },
    #[error("the books are closed through {standing}, which is after {through}: opening days again needs a reason")]
    MovesBack { through: Date, standing: Date },
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Closes the books through a day, by a key. What is locked through that day already stays as it is.
pub async fn lock(db: &Db, through: Date, reason: Option<&str>, key: &KeyId, now: Instant) -> Result<Locks, LockError> {
    let today = now.date_in(&Zone::utc());
    if through >= today {
        return Err(LockError::NotOver { through, today });
    }
    let mut tx = db.write().await?;
    let locks = tx.ledger_locks_to_change().await?;
    match locks.last().map(|last| last.through) {
        Some(standing) if standing == through => return Ok(locks),
        Some(standing) if standing > through && reason.is_none() => {
            return Err(LockError::MovesBack { through, standing });
        }
        Some(_) | None => {}
    }
    let lock = Lock {
        seq: locks.last().map_or(1, |last| last.seq + 1),
        through,
        locked_at: after_everything(&mut tx, &locks, now).await?,
        locked_by: key.clone(),
        reason: reason.map(str::to_owned),
    };
    tx.add_ledger_lock(&lock).await?;
    tx.commit().await?;
    Ok(Locks::new(locks.all().iter().cloned().chain([lock]).collect()))
}

/// Holds the journal until the transaction ends, and gives the locks that date what is written down at `recorded_at`. `Taken` if
/// there is a newer one: then it is to be written down at a later time, since its date follows from that.
pub(in crate::billing) async fn hold(tx: &mut Tx<Write>, recorded_at: Instant) -> store::Result<Locks> {
    tx.hold_journal().await?;
    let locks = tx.ledger_locks().await?;
    match locks.last() {
        Some(last) if last.locked_at > recorded_at => Err(store::Error::Taken),
        Some(_) | None => Ok(locks),
    }
}

/// Now, unless the clock went back: what was written down before must not look as if it came after.
async fn after_everything(tx: &mut Tx<Write>, locks: &Locks, now: Instant) -> store::Result<Instant> {
    let head = tx.journal_head().await?;
    let last = tx.journal_entries(head.last_entry - 1, 1).await?.pop();
    let after_entry = last.map(|last| Instant::from_micros(last.entry.heading().recorded_at.micros() + 1));
    let times = [after_entry, locks.last().map(|last| last.locked_at)];
    Ok(times.into_iter().flatten().fold(now, Instant::max))
}
