//! Payouts as transfers to connected accounts, and transfers taken back.
//!
//! 1. One transaction says that the payout is sent, and writes down what Stripe is asked and under which key.
//! 2. Stripe is asked, while no transaction is held.
//! 3. Another one keeps the answer, and moves the payout: paid, when the transfer was made; failed, when it was refused, or to
//!    be tried again where only the money at Stripe was short.
//!
//! What is cut off anywhere is found by the next [`Stripe::ask_again`].

use miniserde::Deserialize;
use stripe_connect::transfer::CreateTransfer;
use stripe_connect::transfer::ListTransfer;
use stripe_connect::transfer::RetrieveTransfer;
use stripe_connect::transfer_reversal::CreateIdTransferReversal;

use crate::billing::payouts;
use crate::billing::payouts::PayoutError;
use crate::clock;
use crate::domain::ids::PayId;
use crate::domain::payee::Method;
use crate::domain::payout::Action;
use crate::domain::payout::Note;
use crate::domain::payout::Payout;
use crate::domain::payout::Refusal;
use crate::domain::payout::Signed;
use crate::domain::payout::State;
use crate::domain::time::Instant;
use crate::metering::versions::Versions;
use crate::settlement::stripe::Error;
use crate::settlement::stripe::OTHER_UNITS;
use crate::settlement::stripe::STRIPE;
use crate::settlement::stripe::Stripe;
use crate::settlement::stripe::asking::Listed;
use crate::settlement::stripe::asking::METADATA;
use crate::settlement::stripe::asking::Made;
use crate::settlement::stripe::asking::Said;
use crate::settlement::stripe::asking::currency;
use crate::store::Db;
use crate::store::Tx;
use crate::store::Write;
use crate::store::payouts::Sought;
use crate::store::stripe::Answer;
use crate::store::stripe::Asked;
use crate::store::stripe::Call;
use crate::store::stripe::Kind;

/// Stripe keeps a key for 24 hours at least. An hour less, since the last request with it may be long on its way.
const KEY_KEPT_MICROS: i64 = 23 * 3_600 * 1_000_000;
/// Transfers of one payout: as many as it has attempts. Stripe lists no more at once.
const LISTED_MAX: i64 = 100;

/// How far a transfer is.
#[derive(Deserialize)]
struct Standing {
    id: String,
    reversed: bool,
    reversals: Listed,
}

/// An answer, as far as it decides what becomes of a payout.
struct Answered {
    answer: Answer,
    /// Whether the same may be approved for another try.
    retry: bool,
}

impl Stripe {
    /// Sends an approved payout. It comes back as `sent` if the outcome is unknown.
    pub async fn send(&self, db: &Db, versions: &Versions, id: &PayId, signed: Signed) -> Result<Payout, Error> {
        let now = signed.at;
        let mut tx = db.write().await?;
        let payout = payouts::carry(&mut tx, versions, id, Action::Send, (signed, Note::default())).await?;
        let Method::Stripe(to) = &payout.destination else { return Err(Error::NotByStripe(payout.id)) };
        if OTHER_UNITS.contains(&payout.amount.currency().code()) {
            return Err(Error::OtherUnit(payout.amount.currency()));
        }
        let call = Call::new(format!("{id}-{}", payout.attempts.len()), Kind::Transfer, id.as_str(), now);
        let call = Call { amount: Some(payout.amount), target: Some(to.account.clone()), ..call };
        tx.ask_stripe(&call).await?;
        tx.commit().await?;
        self.pursue(db, versions, &call, now).await?;
        found(&mut db.read().await?, id).await
    }

    /// Takes back the transfer of a payout that was paid. It comes back as `paid` if the outcome is unknown.
    pub async fn take_back(&self, db: &Db, versions: &Versions, id: &PayId, now: Instant) -> Result<Payout, Error> {
        let mut tx = db.write().await?;
        tx.hold_journal().await?;
        let payout = found(&mut tx, id).await?;
        if !matches!(payout.destination, Method::Stripe(_)) {
            return Err(Error::NotByStripe(payout.id));
        }
        if payout.state.after(Action::Return).is_none() {
            let Payout { id, state, .. } = payout;
            return Err(PayoutError::from(Refusal::NotNow { id, state, action: Action::Return }).into());
        }
        let before: Vec<Call> = tx.stripe_calls(Asked::For(id.as_str())).await?;
        let before: Vec<Call> = before.into_iter().filter(|call| call.kind == Kind::Reversal).collect();
        let call = match before.iter().find(|call| call.answer == Answer::None) {
            Some(asked) => asked.clone(),
            None => {
                let target = payout.attempts.last().and_then(|last| last.reference.clone());
                let call = Call::new(format!("{id}-back-{}", before.len() + 1), Kind::Reversal, id.as_str(), now);
                let call = Call { amount: Some(payout.amount), target, ..call };
                tx.ask_stripe(&call).await?;
                call
            }
        };
        tx.commit().await?;
        self.pursue(db, versions, &call, now).await?;
        let mut tx = db.read().await?;
        match tx.stripe_calls(Asked::Id(&call.id)).await?.pop().map(|call| call.answer) {
            Some(Answer::Refused(reason)) => Err(Error::Refused(reason)),
            Some(Answer::None | Answer::Done(_)) | None => found(&mut tx, id).await,
        }
    }

    /// Asks again for everything whose outcome is unknown.
    pub(in crate::settlement::stripe) async fn ask_again(
        &self,
        db: &Db,
        versions: &Versions,
        now: Instant,
    ) -> Result<(), Error> {
        let calls = db.read().await?.stripe_calls(Asked::Unanswered).await?;
        for call in calls {
            if let Err(error) = self.pursue(db, versions, &call, now).await {
                tracing::warn!("what became of {} of Stripe is not known yet: {error}", call.id);
            }
        }
        Ok(())
    }

    pub(in crate::settlement::stripe) async fn pursue(
        &self,
        db: &Db,
        versions: &Versions,
        call: &Call,
        now: Instant,
    ) -> Result<(), Error> {
        let is_young = now.micros().saturating_sub(call.asked_at.micros()) < KEY_KEPT_MICROS;
        let said = match (call.kind, is_young) {
            (Kind::Transfer, true) => self.transfer(call).await,
            (Kind::Transfer, false) => self.transfer_of(call).await,
            (Kind::Reversal, true) => self.reversal(call).await,
            (Kind::Reversal, false) => self.reversal_of(call).await,
            (Kind::Customer | Kind::Invoice | Kind::Item | Kind::Finalize, true) => self.bill(db, call).await?,
            (Kind::Customer | Kind::Invoice | Kind::Item | Kind::Finalize, false) => self.billed(call).await,
        };
        let mut tx = db.write().await?;
        let answered = match said {
            Said::Unknown(why) => {
                tracing::warn!("what became of {} at Stripe is not known: {why}", call.id);
                tx.stripe_did_not_answer(&call.id, &why).await?;
                tx.commit().await?;
                return Ok(());
            }
            Said::Done(object) => Answered { answer: Answer::Done(object), retry: false },
            Said::Refused { reason, short } => Answered { answer: Answer::Refused(reason), retry: short },
        };
        // It took a while.
        let at = clock::now().max(now);
        if keep(&mut tx, versions, call, answered, at).await? {
            tx.commit().await?;
        }
        Ok(())
    }

    async fn transfer(&self, call: &Call) -> Said<String> {
        let (Some(amount), Some(to)) = (call.amount, call.target.as_deref()) else { return Said::incomplete() };
        let request = CreateTransfer::new(currency(amount), to)
            .amount(amount.minor())
            .transfer_group(&call.subject)
            .metadata([(METADATA.to_owned(), call.id.clone())]);
        self.ask::<Made, _>(Some(&call.id), &request).await.map(|made| made.id)
    }

    /// What Stripe did, after it may have forgotten the key.
    async fn transfer_of(&self, call: &Call) -> Said<String> {
        let request = ListTransfer::new().transfer_group(&call.subject).limit(LISTED_MAX);
        match self.ask::<Listed, _>(None, &request).await {
            Said::Done(listed) => {
                let is_all = !listed.has_more;
                match listed.of(&call.id) {
                    Some(transfer) => Said::Done(transfer),
                    None if !is_all => Said::Unknown("it lists more transfers than were asked for".to_owned()),
                    // As if the money had been short: nothing is wrong with the destination.
                    None => Said::Refused { reason: "Stripe made no transfer of it in a day".to_owned(), short: true },
                }
            }
            Said::Refused { reason, .. } | Said::Unknown(reason) => Said::Unknown(reason),
        }
    }

    async fn reversal(&self, call: &Call) -> Said<String> {
        let (Some(amount), Some(transfer)) = (call.amount, call.target.as_deref()) else { return Said::incomplete() };
        let request = CreateIdTransferReversal::new(transfer)
            .amount(amount.minor())
            .metadata([(METADATA.to_owned(), call.id.clone())]);
        self.ask::<Made, _>(Some(&call.id), &request).await.map(|made| made.id)
    }

    async fn reversal_of(&self, call: &Call) -> Said<String> {
        let Some(transfer) = call.target.as_deref() else { return Said::incomplete() };
        match self.ask::<Standing, _>(None, &RetrieveTransfer::new(transfer)).await {
            Said::Done(standing) if standing.reversed => {
                // By whomever it was reversed, the money is back.
                Said::Done(standing.reversals.of(&call.id).unwrap_or(standing.id))
            }
            Said::Done(_) => Said::Refused { reason: "Stripe did not take it back in a day".to_owned(), short: false },
            Said::Refused { reason, .. } | Said::Unknown(reason) => Said::Unknown(reason),
        }
    }
}

/// Keeps an answer, and moves the payout by it. False if that was known already.
async fn keep(
    tx: &mut Tx<Write>,
    versions: &Versions,
    call: &Call,
    Answered { answer, retry }: Answered,
    at: Instant,
) -> Result<bool, Error> {
    // First, as everybody who posts does.
    tx.hold_journal().await?;
    if !tx.stripe_answered(&call.id, &answer).await? {
        return Ok(false);
    }
    let (action, note) = match (call.kind, answer) {
        (Kind::Customer, Answer::Done(customer)) => {
            tx.put_stripe_customer(&call.subject, &customer).await?;
            return Ok(true);
        }
        (Kind::Customer | Kind::Invoice | Kind::Item | Kind::Finalize, _)
        | (Kind::Reversal, Answer::Refused(_))
        | (Kind::Transfer | Kind::Reversal, Answer::None) => return Ok(true),
        (Kind::Transfer, Answer::Done(transfer)) => (Action::Pay, Note { reference: Some(transfer), reason: None }),
        (Kind::Transfer, Answer::Refused(reason)) => {
            let action = if retry { Action::Retry } else { Action::Fail };
            (action, Note { reference: None, reason: Some(reason) })
        }
        (Kind::Reversal, Answer::Done(_)) => return came_back(tx, versions, &call.subject, at).await.map(|_| true),
    };
    let id = PayId::parse(&call.subject).ok_or_else(|| PayoutError::Unknown(call.subject.clone()))?;
    payouts::carry(tx, versions, &id, action, (signed(at), note)).await?;
    Ok(true)
}

/// The transfer of a call was made, as an event tells.
pub(in crate::settlement::stripe) async fn was_made(
    tx: &mut Tx<Write>,
    versions: &Versions,
    call: &Call,
    transfer: &str,
    at: Instant,
) -> Result<bool, Error> {
    let answered = Answered { answer: Answer::Done(transfer.to_owned()), retry: false };
    keep(tx, versions, call, answered, at).await
}

/// The transfer of a payout was reversed. False if that is known.
pub(in crate::settlement::stripe) async fn came_back(
    tx: &mut Tx<Write>,
    versions: &Versions,
    payout: &str,
    at: Instant,
) -> Result<bool, Error> {
    let id = PayId::parse(payout).ok_or_else(|| PayoutError::Unknown(payout.to_owned()))?;
    if found(tx, &id).await?.state != State::Paid {
        return Ok(false);
    }
    let note = Note { reference: None, reason: Some("its transfer was reversed at Stripe".to_owned()) };
    payouts::carry(tx, versions, &id, Action::Return, (signed(at), note)).await?;
    Ok(true)
}

fn signed(at: Instant) -> Signed {
    Signed { at, by: STRIPE.to_owned() }
}

async fn found<Mode>(tx: &mut Tx<Mode>, id: &PayId) -> Result<Payout, Error> {
    let payout = tx.payouts_of_money(Sought::Id(id)).await?.pop();
    Ok(payout.ok_or_else(|| PayoutError::Unknown(id.to_string()))?)
}
