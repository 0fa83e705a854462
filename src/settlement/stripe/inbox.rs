//! What Stripe tells: kept as it came, and then understood.
//!
//! Promise: each event is understood once, however often it comes and in whatever order. What came of it and that it was
//! understood are one transaction, or can be done again without a difference. No event is believed to be the last word on its object unless it cannot be taken back: a
//! transfer that was reversed stays so, and a payout to a bank that failed is not paid again.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::domain::ids::InvoiceId;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::time::Instant;
use crate::metering::versions::Versions;
use crate::settlement::stripe::Error;
use crate::settlement::stripe::Stripe;
use crate::settlement::stripe::asking::METADATA;
use crate::settlement::stripe::signature;
use crate::settlement::stripe::transfers;
use crate::store::Db;
use crate::store::Tx;
use crate::store::Write;
use crate::store::stripe::Answer;
use crate::store::stripe::Asked;
use crate::store::stripe::BankPayout;
use crate::store::stripe::Event;

/// Events that are tried at once; the rest is tried the next time.
const EVENTS_A_RUN: i64 = 1_000;

/// What every event says of itself.
#[derive(Deserialize)]
struct Envelope {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    account: Option<String>,
    created: i64,
}

#[derive(Deserialize)]
struct About<T> {
    data: Object<T>,
}

#[derive(Deserialize)]
struct Object<T> {
    object: T,
}

#[derive(Deserialize)]
struct Transfer {
    id: String,
    #[serde(default)]
    amount_reversed: i64,
    #[serde(default)]
    reversed: bool,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Invoice {
    id: String,
    metadata: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct ToBank {
    id: String,
    amount: i64,
    currency: String,
    status: String,
    failure_code: Option<String>,
    failure_message: Option<String>,
}

impl Stripe {
    /// Keeps an event that is signed, and gives it as it was kept: one that came before changes nothing.
    pub async fn take_in(&self, db: &Db, header: &str, body: &[u8], now: Instant) -> Result<Event, Error> {
        signature::verify(header, body, &self.webhook_secrets, now)?;
        let not_one = |why: &dyn std::fmt::Display| Error::NotAnEvent(why.to_string());
        let body = std::str::from_utf8(body).map_err(|error| not_one(&error))?;
        let Envelope { id, kind, account, created } = serde_json::from_str(body).map_err(|error| not_one(&error))?;
        let created_at = Instant::from_micros(created.saturating_mul(1_000_000));
        let event = Event { id, kind, account, created_at, received_at: now, body: body.to_owned(), understood: None };
        let mut tx = db.write().await?;
        if !tx.keep_stripe_event(&event).await? {
            return Ok(tx.stripe_event(&event.id).await?.unwrap_or(event));
        }
        tx.commit().await?;
        Ok(event)
    }

    /// Tries to understand every event that is not understood. One that cannot be keeps no other back.
    pub(in crate::settlement::stripe) async fn understand_all(
        &self,
        db: &Db,
        versions: &Versions,
        now: Instant,
    ) -> Result<(), Error> {
        let events = db.read().await?.stripe_events_to_understand(EVENTS_A_RUN).await?;
        for event in events {
            if let Err(error) = self.understand(db, versions, &event, now).await {
                tracing::warn!("event {} of Stripe is not understood yet: {error}", event.id);
            }
        }
        Ok(())
    }

    /// Does what an event means, unless that was done before.
    pub async fn understand(&self, db: &Db, versions: &Versions, event: &Event, now: Instant) -> Result<(), Error> {
        // A payment has an id that follows from its charge, so this may be done again if what follows is cut off.
        let paid = match (event.kind.as_str(), &event.account) {
            ("invoice.paid", None) => Some(self.of_paid(db, event, now).await?),
            _ => None,
        };
        let mut tx = db.write().await?;
        tx.hold_journal().await?;
        let outcome = match (event.kind.as_str(), &event.account, paid) {
            (_, _, Some(paid)) => paid,
            ("transfer.created" | "transfer.updated" | "transfer.reversed", None, None) => {
                of_transfer(&mut tx, versions, event, now).await?
            }
            ("invoice.payment_failed", None, None) => {
                let invoice: Invoice = object(event)?;
                tracing::warn!("Stripe could not collect its invoice {}", invoice.id);
                format!("{} could not be collected: Stripe tries again, or has the customer told", invoice.id)
            }
            (kind, Some(account), None) if kind.starts_with("payout.") => {
                of_bank_payout(&mut tx, event, account).await?
            }
            _ => "nothing follows from it".to_owned(),
        };
        if tx.understood_stripe_event(&event.id, now, &outcome).await? {
            tx.commit().await?;
        }
        Ok(())
    }

    async fn of_paid(&self, db: &Db, event: &Event, now: Instant) -> Result<String, Error> {
        let invoice: Invoice = object(event)?;
        let key = invoice.metadata.as_ref().and_then(|metadata| metadata.get(METADATA));
        let Some(key) = key else { return Ok("not an invoice of ours".to_owned()) };
        let call = db.read().await?.stripe_calls(Asked::Id(key)).await?.pop();
        let Some(of_us) = call.and_then(|call| InvoiceId::parse(&call.subject)) else {
            return Ok("not an invoice of this ledger".to_owned());
        };
        self.was_paid(db, (&of_us, &invoice.id), now).await
    }
}

async fn of_transfer(tx: &mut Tx<Write>, versions: &Versions, event: &Event, now: Instant) -> Result<String, Error> {
    let transfer: Transfer = object(event)?;
    let Some(key) = transfer.metadata.get(METADATA) else { return Ok("not a transfer of ours".to_owned()) };
    let Some(call) = tx.stripe_calls(Asked::Id(key)).await?.pop() else {
        return Ok("not a transfer of this ledger".to_owned());
    };
    match &call.answer {
        Answer::Done(made) if *made == transfer.id => {}
        Answer::None => {
            transfers::was_made(tx, versions, &call, &transfer.id, now).await?;
        }
        Answer::Done(_) | Answer::Refused(_) => {
            let outcome = format!("Stripe made {} of a try that it had refused: it must be reversed", transfer.id);
            tracing::error!("{outcome}");
            return Ok(outcome);
        }
    }
    if transfer.reversed {
        let is_new = transfers::came_back(tx, versions, &call.subject, now).await?;
        return Ok(if is_new { "the payout came back" } else { "known: the payout came back" }.to_owned());
    }
    if transfer.amount_reversed > 0 {
        let outcome = format!(
            "{} was reversed in part ({}): book it with a manual journal",
            transfer.id, transfer.amount_reversed
        );
        tracing::warn!("{outcome}");
        return Ok(outcome);
    }
    Ok("the transfer was made".to_owned())
}

/// A payout to a bank only goes forward: `paid` may become `failed`, and not the other way round.
async fn of_bank_payout(tx: &mut Tx<Write>, event: &Event, account: &str) -> Result<String, Error> {
    let to_bank: ToBank = object(event)?;
    let Some(far) = rank(&to_bank.status) else {
        return Ok(format!("`{}` is not a state that is known here", to_bank.status));
    };
    let Some(currency) = Currency::from_code(&to_bank.currency.to_uppercase()) else {
        return Ok(format!("`{}` is not a currency that is known here", to_bank.currency));
    };
    let known = tx.stripe_bank_payouts().await?.into_iter().find(|known| known.id == to_bank.id);
    if known.is_some_and(|known| rank(&known.state) >= Some(far)) {
        return Ok("nothing new".to_owned());
    }
    let reason = to_bank.failure_message.or(to_bank.failure_code);
    let outcome = format!("payout {} of {account} to its bank: {}", to_bank.id, to_bank.status);
    let amount = Money::from_minor(to_bank.amount, currency);
    let (account, at) = (account.to_owned(), event.created_at);
    let payout = BankPayout { id: to_bank.id, account, amount, state: to_bank.status, reason, at };
    tx.put_stripe_bank_payout(&payout).await?;
    Ok(outcome)
}

fn rank(state: &str) -> Option<usize> {
    ["pending", "in_transit", "paid", "canceled", "failed"].iter().position(|known| *known == state)
}

fn object<T: for<'de> Deserialize<'de>>(event: &Event) -> Result<T, Error> {
    let about: About<T> = serde_json::from_str(&event.body).map_err(|error| Error::NotAnEvent(error.to_string()))?;
    Ok(about.data.object)
}
