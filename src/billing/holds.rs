//! Holds: what is earned is held for a while, and then available.
//!
//! What takes something back is held as well. When it is due, it takes from what is available; what is not there, because it
//! was paid out already, is owed (1200). Whatever becomes available afterwards pays that back first.

use std::collections::BTreeMap;

use crate::billing::booking;
use crate::billing::close::CloseError;
use crate::billing::close::Through;
use crate::billing::close::overtaken;
use crate::billing::lock;
use crate::domain::document::closing::ClosingError;
use crate::domain::ledger::account::Account;
use crate::domain::ledger::account::Chart;
use crate::domain::ledger::entry::Entry;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::domain::time::Instant;
use crate::domain::time::Zone;
use crate::metering::versions::Versions;
use crate::store;
use crate::store::Db;
use crate::store::Tx;
use crate::store::clawbacks::Repaid;
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
        pass_given(db, chunk, now).await?;
    }
    for (held, zone) in &taken {
        pass_taken(db, held, zone, now).await?;
    }
    Ok(given.len() + taken.len())
}

/// Lets what was earned become available: all of it, or none. Who owes something pays it back first.
async fn pass_given(db: &Db, holds: &[(Held, &Zone)], now: Instant) -> Result<(), CloseError> {
    let mut tx = db.write().await?;
    let locks = lock::hold(&mut tx, now).await.map_err(overtaken)?;
    let mut owed = tx.owed_back().await?;
    let mut entries = Vec::with_capacity(holds.len());
    for (Held { payout, consumer, hold, .. }, zone) in holds {
        if !tx.pass_hold(payout, &hold.program, now).await? {
            return Err(CloseError::Overtaken);
        }
        let nothing = Money::zero(hold.amount.currency());
        let Some(entry) = booking::of_hold(payout, consumer, (hold, nothing), zone, now, &locks)? else { continue };
        let repaid = pay_back(&mut owed, &entry, consumer, hold.amount)?;
        entries.push(entry);
        if let Some(repaid) = repaid {
            tx.record_repaid(&repaid).await?;
            entries.extend(booking::of_repaid(&repaid)?);
        }
    }
    tx.post(&entries).await?;
    tx.commit().await?;
    Ok(())
}

/// Takes something back: of what is available, and where that is not enough, of what is earned next.
async fn pass_taken(db: &Db, held: &Held, zone: &Zone, now: Instant) -> Result<(), CloseError> {
    let Held { payout, consumer, hold, .. } = held;
    let mut tx = db.write().await?;
    let locks = lock::hold(&mut tx, now).await.map_err(overtaken)?;
    if !tx.pass_hold(payout, &hold.program, now).await? {
        return Err(CloseError::Overtaken);
    }
    let available = available_to(&mut tx, consumer, hold.amount.currency()).await?;
    let left = available.checked_add(hold.amount)?;
    let owed = if left.is_negative() { left.checked_neg()? } else { Money::zero(left.currency()) };
    if !owed.is_zero() {
        tx.record_clawback(payout, &hold.program, owed).await?;
    }
    let entry = booking::of_hold(payout, consumer, (hold, owed), zone, now, &locks)?;
    tx.post(entry.as_slice()).await?;
    tx.commit().await?;
    Ok(())
}

/// What stands on the account of what is available to a consumer: never below zero.
pub(in crate::billing) async fn available_to<Mode>(
    tx: &mut Tx<Mode>,
    consumer: &str,
    currency: Currency,
) -> Result<Money, store::Error> {
    let account = Account::new(Chart::RewardsAvailable, Some(consumer), currency);
    let account = account.map_err(|error| store::Error::Refused(error.to_string()))?;
    tx.balance(&account).await
}

/// What a consumer who owes something pays back of an amount that an entry makes available. It owes that much less then.
pub(in crate::billing) fn pay_back(
    owed: &mut BTreeMap<(String, &'static str), Money>,
    entry: &Entry,
    consumer: &str,
    amount: Money,
) -> Result<Option<Repaid>, MoneyError> {
    let Some(owes) = owed.get_mut(&(consumer.to_owned(), amount.currency().code())) else { return Ok(None) };
    let back = Money::from_minor(owes.minor().min(amount.minor()), amount.currency());
    *owes = owes.checked_sub(back)?;
    let heading = entry.heading();
    let repaid = Repaid {
        cause: heading.key.clone(),
        consumer: consumer.to_owned(),
        amount: back,
        effective_on: heading.effective_on,
        at: heading.recorded_at,
    };
    Ok(Some(repaid).filter(|repaid| repaid.amount.minor() > 0))
}
