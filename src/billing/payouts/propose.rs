//! Proposes payouts: for one consumer, or for everybody who is due.

use serde::Deserialize;
use serde::Serialize;

use crate::billing::payouts::PayoutError;
use crate::billing::payouts::overtaken;
use crate::billing::payouts::payee_of;
use crate::domain::ids::PayId;
use crate::domain::money::Money;
use crate::domain::payee::Method;
use crate::domain::payee::Payee;
use crate::domain::payout::Payout;
use crate::domain::payout::Signed;
use crate::domain::payout::State;
use crate::domain::payout::due::Why;
use crate::domain::payout::due::next;
use crate::domain::payout::due::obstacles;
use crate::metering::versions::Versions;
use crate::store::Db;
use crate::store::Tx;
use crate::store::payouts::Available;

/// Payouts that are proposed in one transaction.
const PAYOUTS_A_TRANSACTION: usize = 500;

/// What a run did, and who waits for what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub proposed: Vec<Proposed>,
    pub waiting: Vec<Waiting>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposed {
    pub payout: PayId,
    pub consumer: String,
    pub amount: Money,
}

/// What is available to a consumer and is not paid out, with every reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    pub consumer: String,
    pub available: Money,
    pub why: Vec<String>,
}

/// Proposes a payout of everything that is available to each consumer who is due, or to one. Asking again proposes nothing
/// more. Each payout waits for a second key.
pub async fn run(db: &Db, versions: &Versions, consumer: Option<&str>, signed: &Signed) -> Result<Run, PayoutError> {
    let version = versions.at(signed.at).ok_or(PayoutError::NoBook)?;
    let (terms, zone) = (&version.book.payouts, &version.book.zone);
    let mut tx = db.read().await?;
    let available = tx.available(consumer).await?;
    let last = tx.last_payouts(consumer).await?;
    let consumers: Vec<&str> = available.iter().map(|of| of.consumer.as_str()).collect();
    let payees = tx.payees(&consumers).await?;
    drop(tx);
    let nobody = Payee::default();
    let mut run = Run::default();
    let mut due = Vec::new();
    for of in available {
        let payee = payees.get(&of.consumer).unwrap_or(&nobody);
        let mut why = obstacles(of.total, payee, terms);
        let last = last.get(&(of.consumer.clone(), of.total.currency().code().to_owned())).copied();
        if let Some(next) = next(terms, zone, last, signed.at)? {
            why.push(Why::NotYet { next, zone: zone.clone() });
        }
        if why.is_empty() {
            due.extend(payee.method.clone().map(|method| of_available(of, method, &version.id, signed)));
        } else {
            let why = why.iter().map(Why::to_string).collect();
            run.waiting.push(Waiting { consumer: of.consumer, available: of.total, why });
        }
    }
    for chunk in due.chunks(PAYOUTS_A_TRANSACTION) {
        let mut tx = db.write().await?;
        tx.hold_journal().await?;
        // Some of it may have paid for an invoice since it was read.
        let free = tx.available(consumer).await?;
        let is_free = |payout: &Payout| free.iter().any(|of| of.parts == payout.parts);
        if !chunk.iter().all(is_free) {
            return Err(PayoutError::Overtaken);
        }
        tx.propose_payouts(chunk).await.map_err(overtaken)?;
        tx.commit().await?;
    }
    let proposed = |payout: Payout| Proposed { payout: payout.id, consumer: payout.consumer, amount: payout.amount };
    run.proposed = due.into_iter().map(proposed).collect();
    Ok(run)
}

/// A payout of what is available to one consumer, if nothing is in the way. Whoever asks for it does not wait for the schedule.
pub(in crate::billing) async fn proposed<Mode>(
    tx: &mut Tx<Mode>,
    versions: &Versions,
    available: Available,
    signed: Signed,
) -> Result<Payout, PayoutError> {
    let version = versions.at(signed.at).ok_or(PayoutError::NoBook)?;
    let payee = payee_of(tx, &available.consumer).await?;
    let why = obstacles(available.total, &payee, &version.book.payouts);
    match payee.method.filter(|_| why.is_empty()) {
        Some(method) => Ok(of_available(available, method, &version.id, &signed)),
        None => Err(PayoutError::Blocked { consumer: available.consumer, why }),
    }
}

fn of_available(available: Available, destination: Method, version: &str, signed: &Signed) -> Payout {
    let Available { consumer, total, parts } = available;
    let mut named = vec![consumer.as_str(), total.currency().code()];
    named.extend(parts.iter().flat_map(|part| [part.statement.as_str(), part.program.as_str()]));
    Payout {
        id: PayId::derive(signed.at, &named),
        amount: total,
        state: State::Proposed,
        destination,
        attempts: Vec::new(),
        proposed: signed.clone(),
        approved: None,
        ended: None,
        book_version: version.to_owned(),
        consumer,
        parts,
    }
}
