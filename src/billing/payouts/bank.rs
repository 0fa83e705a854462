//! Bank files: approved payouts become one message to the bank, once.
//!
//! A payout stands in one file at most, by the attempt that stands there; the file is kept as it was given out. A file is made
//! when there is something new to send; until then the last one is given again, to the byte.

use thiserror::Error;

use crate::billing::export::pain;
use crate::billing::export::pain::Message;
use crate::billing::export::pain::Transfer;
use crate::domain::ids::PayId;
use crate::domain::payee::Method;
use crate::domain::payee::Payee;
use crate::domain::payout::Action;
use crate::domain::payout::Payout;
use crate::domain::time::Instant;
use crate::metering::versions::Versions;
use crate::store;
use crate::store::Db;
use crate::store::payouts::BankFile;
use crate::store::payouts::Sought;

/// Transfers in one file: what banks take.
const TRANSFERS_A_FILE: usize = 10_000;

#[derive(Debug, Error)]
pub enum BankFileError {
    #[error("no approved payout waits for a bank file, and none was made before")]
    Nothing,
    #[error("no bank file was made yet")]
    NoneYet,
    #[error("there is no bank file {0}")]
    Unknown(String),
    #[error("the price book does not say which account payouts are drawn on")]
    NoDebtor,
    #[error("somebody else changed one of the payouts at the same time")]
    Overtaken,
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// A file that was made before: the one with this id, or the last one.
pub async fn made(db: &Db, id: Option<&str>) -> Result<BankFile, BankFileError> {
    let known = db.read().await?.bank_file(id).await?;
    known.ok_or_else(|| id.map_or(BankFileError::NoneYet, |id| BankFileError::Unknown(id.to_owned())))
}

/// Makes a file of the payouts that are approved, by SEPA, still may go where they were approved to, and are in no file yet; if
/// there is none of those, it is the last file again: asking again makes nothing twice.
pub async fn make(db: &Db, versions: &Versions, now: Instant) -> Result<BankFile, BankFileError> {
    let mut tx = db.write().await?;
    let mut payouts = tx.payouts_of_money(Sought::ForBank).await?;
    let consumers: Vec<&str> = payouts.iter().map(|payout| payout.consumer.as_str()).collect();
    let payees = tx.payees(&consumers).await?;
    let nobody = Payee::default();
    let may_go = |payout: &Payout| {
        let payee = payees.get(&payout.consumer).unwrap_or(&nobody);
        payout.may_go(Action::Send, payee).is_ok()
    };
    payouts.retain(may_go);
    payouts.truncate(TRANSFERS_A_FILE);
    if payouts.is_empty() {
        return tx.bank_file(None).await?.ok_or(BankFileError::Nothing);
    }
    let version = versions.at(now).ok_or(BankFileError::NoDebtor)?;
    let debtor = version.book.payouts.debtor.as_ref().ok_or(BankFileError::NoDebtor)?;
    let ids: Vec<&str> = payouts.iter().map(|payout| payout.id.as_str()).collect();
    let id = format!("TS{}", PayId::derive(now, &ids).as_str().trim_start_matches("pay_"));
    let message = Message {
        id: &id,
        made_at: now,
        pay_on: now.date_in(&version.book.zone),
        debtor,
        transfers: payouts.iter().filter_map(transfer).collect(),
    };
    let file = BankFile { body: pain::text(&message), id, made_at: now };
    if !tx.give_to_bank(&file, &payouts).await? {
        return Err(BankFileError::Overtaken);
    }
    tx.commit().await?;
    Ok(file)
}

/// None unless it goes by SEPA.
fn transfer(payout: &Payout) -> Option<Transfer<'_>> {
    let Method::Sepa(creditor) = &payout.destination else { return None };
    let attempt = payout.attempts.last().map_or(1, |last| last.n);
    // The underscore is not among the letters of SEPA.
    let end_to_end = format!("{}-{attempt}", payout.id.as_str().replace('_', ""));
    Some(Transfer { end_to_end, amount: payout.amount, creditor, remittance: format!("Payout {}", payout.id) })
}
