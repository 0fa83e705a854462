//! Payouts of money: proposed out of what is available, approved by a second key, sent, and booked.
//!
//! Each step is one transaction: the payout moves by compare-and-set, and everything that is booked of it so far is posted
//! with it, of which only the last step is new (`billing::booking`). So a payout and its entries never disagree, and `verify`
//! makes the same entries again from the same rows.
//!
//! An approval finds the money there, or is refused: something may have been taken back since it was proposed.

pub mod bank;
pub mod look;
pub mod propose;

use thiserror::Error;

use crate::billing::booking;
use crate::billing::booking::BookingError;
use crate::billing::holds::available_to;
use crate::billing::holds::pay_back;
use crate::billing::lock;
use crate::domain::ids::PayId;
use crate::domain::ids::PayoutId;
use crate::domain::ledger::lock::Locks;
use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::domain::payee::Method;
use crate::domain::payee::Payee;
use crate::domain::payout::Action;
use crate::domain::payout::Note;
use crate::domain::payout::Payout;
use crate::domain::payout::Refusal;
use crate::domain::payout::Signed;
use crate::domain::payout::State;
use crate::domain::payout::due::Why;
use crate::domain::period::PeriodError;
use crate::domain::time::Zone;
use crate::metering::versions::Versions;
use crate::store;
use crate::store::Db;
use crate::store::Tx;
use crate::store::Write;
use crate::store::documents::Wanted;
use crate::store::payouts::Sought;

#[derive(Debug, Error)]
pub enum PayoutError {
    #[error("there is no payout or payout statement {0}")]
    Unknown(String),
    #[error("nothing of payout statement {statement} is in a payout that could be {}: {why}", action.done())]
    NotUnderWay { statement: PayoutId, action: Action, why: String },
    #[error("{consumer} cannot be paid out: {}", why.iter().map(Why::to_string).collect::<Vec<_>>().join(", and "))]
    Blocked { consumer: String, why: Vec<Why> },
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(
        "{available} is available to {consumer}, and payout {id} is of {amount}: something was taken back since it was proposed"
    )]
    NotCovered { id: PayId, consumer: String, amount: Money, available: Money },
    #[error("payout {0} goes by Stripe, which says itself how far it is")]
    ByStripe(PayId),
    #[error("no price book is in effect, whose zone would date the payout")]
    NoBook,
    #[error("somebody else changed this payout, or locked the ledger, at the same time")]
    Overtaken,
    #[error(transparent)]
    Booking(#[from] BookingError),
    #[error(transparent)]
    Period(#[from] PeriodError),
    #[error(transparent)]
    Money(#[from] MoneyError),
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Takes a step with a payout, which may be named by one of its statements: then the last payout that took something of it is
/// meant, unless that let it go. The approval of a statement that is in none proposes everything that is available to its
/// consumer.
pub async fn act(
    db: &Db,
    versions: &Versions,
    id: &str,
    action: Action,
    (signed, note): (Signed, Note),
) -> Result<Payout, PayoutError> {
    let mut tx = db.write().await?;
    let locks = lock::hold(&mut tx, signed.at).await.map_err(overtaken)?;
    let Some(payout) = find(&mut tx, id).await? else {
        return match PayoutId::parse(id) {
            Some(statement) => of_statement(tx, versions, &statement, action, signed).await,
            None => Err(PayoutError::Unknown(id.to_owned())),
        };
    };
    if matches!(payout.destination, Method::Stripe(_)) && !matches!(action, Action::Approve | Action::Cancel) {
        return Err(PayoutError::ByStripe(payout.id));
    }
    let after = step(&mut tx, versions, (payout, &locks), action, (signed, note)).await?;
    tx.commit().await?;
    Ok(after)
}

/// The payout with this id; or of a statement, the last one that took something of it and has not let it go.
pub async fn find<Mode>(tx: &mut Tx<Mode>, id: &str) -> Result<Option<Payout>, store::Error> {
    if let Some(id) = PayId::parse(id) {
        return Ok(tx.payouts_of_money(Sought::Id(&id)).await?.pop());
    }
    let Some(statement) = PayoutId::parse(id) else { return Ok(None) };
    let payout = tx.payouts_of_money(Sought::OfStatement(&statement)).await?.pop();
    Ok(payout.filter(|payout| !matches!(payout.state, State::Failed | State::Cancelled)))
}

/// Takes a step with a payout that somebody else carries, in a transaction in which that is written down too.
pub async fn carry(
    tx: &mut Tx<Write>,
    versions: &Versions,
    id: &PayId,
    action: Action,
    (signed, note): (Signed, Note),
) -> Result<Payout, PayoutError> {
    let locks = lock::hold(tx, signed.at).await.map_err(overtaken)?;
    let payout = tx.payouts_of_money(Sought::Id(id)).await?.pop();
    let payout = payout.ok_or_else(|| PayoutError::Unknown(id.to_string()))?;
    step(tx, versions, (payout, &locks), action, (signed, note)).await
}

async fn step(
    tx: &mut Tx<Write>,
    versions: &Versions,
    (payout, locks): (Payout, &Locks),
    action: Action,
    (signed, note): (Signed, Note),
) -> Result<Payout, PayoutError> {
    let payee = payee_of(tx, &payout.consumer).await?;
    let after = payout.after(action, signed, note, &payee)?;
    if action == Action::Approve {
        let available = available_to(tx, &payout.consumer, payout.amount.currency()).await?;
        if available.minor() < payout.amount.minor() {
            let Payout { id, consumer, amount, .. } = payout;
            return Err(PayoutError::NotCovered { id, consumer, amount, available });
        }
    }
    keep(tx, versions, (&payout, &after), locks).await?;
    Ok(after)
}

/// Moves it, and posts what is new of it. What comes back to a consumer who owes something pays that back first.
async fn keep(
    tx: &mut Tx<Write>,
    versions: &Versions,
    (read, after): (&Payout, &Payout),
    locks: &Locks,
) -> Result<(), PayoutError> {
    if !tx.move_payout(read, after).await.map_err(overtaken)? {
        return Err(PayoutError::Overtaken);
    }
    let zone = zone_of(versions, after);
    let mut entries = booking::of_money_out(after, &zone, locks)?;
    let comes_back = matches!(after.state, State::Failed | State::Cancelled) && after.approved.is_some();
    if comes_back && let Some(last) = entries.last() {
        let mut owed = tx.owed_back().await?;
        if let Some(repaid) = pay_back(&mut owed, last, &after.consumer, after.amount)? {
            tx.record_repaid(&repaid).await?;
            entries.extend(booking::of_repaid(&repaid)?);
        }
    }
    tx.post(&entries).await?;
    Ok(())
}

async fn of_statement(
    mut tx: Tx<Write>,
    versions: &Versions,
    id: &PayoutId,
    action: Action,
    signed: Signed,
) -> Result<Payout, PayoutError> {
    let statement = tx.payouts(Wanted::Id(id.as_str())).await?.pop();
    let statement = statement.ok_or_else(|| PayoutError::Unknown(id.to_string()))?;
    let is_free = |available: &store::payouts::Available| available.parts.iter().any(|part| part.statement == *id);
    let available = tx.available(Some(&statement.consumer)).await?;
    match available.into_iter().find(is_free).filter(|_| action == Action::Approve) {
        Some(available) => {
            let payout = propose::proposed(&mut tx, versions, available, signed).await?;
            tx.propose_payouts(std::slice::from_ref(&payout)).await.map_err(overtaken)?;
            tx.commit().await?;
            Ok(payout)
        }
        None => {
            let why = look::standing(&mut tx, versions, &statement, signed.at).await?.why;
            Err(PayoutError::NotUnderWay { statement: id.clone(), action, why })
        }
    }
}

/// What is on file of a consumer.
pub(in crate::billing) async fn payee_of<Mode>(tx: &mut Tx<Mode>, consumer: &str) -> Result<Payee, store::Error> {
    Ok(tx.payees(&[consumer]).await?.remove(consumer).unwrap_or_default())
}

/// The zone that dates what is booked of a payout.
pub(in crate::billing) fn zone_of(versions: &Versions, payout: &Payout) -> Zone {
    versions.by_id(&payout.book_version).map_or_else(Zone::utc, |version| version.book.zone.clone())
}

pub(in crate::billing) fn overtaken(error: store::Error) -> PayoutError {
    match error {
        store::Error::Taken => PayoutError::Overtaken,
        error => error.into(),
    }
}
