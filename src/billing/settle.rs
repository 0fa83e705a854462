//! Settling invoices: payments, credit notes, voiding, giving up, and the use of consumers' credit.
//!
//! Each is one write transaction: what happened, what it settles, and its journal entry, or nothing. Whoever settles
//! something holds the journal from the beginning, so that two at once cannot settle the same amount. The id of a payment or credit
//! note is given: the same request again finds what it made before.

use std::collections::BTreeMap;

use jiff::ToSpan;
use jiff::civil::Date;
use serde::Serialize;
use thiserror::Error;

use crate::billing::lock;
use crate::domain::credit::CreditError;
use crate::domain::document::credit_note;
use crate::domain::document::credit_note::CreditNote;
use crate::domain::document::credit_note::CreditNoteError;
use crate::domain::document::invoice::Invoice;
use crate::domain::document::settlement::InvoiceState;
use crate::domain::document::settlement::Means;
use crate::domain::document::settlement::Payment;
use crate::domain::document::settlement::Settlement;
use crate::domain::document::settlement::SettlementError;
use crate::domain::document::settlement::allocate;
use crate::domain::document::settlement::given_up;
use crate::domain::ids::CreditNoteId;
use crate::domain::ids::InvoiceId;
use crate::domain::ids::PaymentId;
use crate::domain::ledger::entry::Entry;
use crate::domain::ledger::entry::EntryError;
use crate::domain::ledger::lock::Locks;
use crate::domain::ledger::templates;
use crate::domain::ledger::templates::Dates;
use crate::domain::ledger::templates::settlement as entries;
use crate::domain::ledger::templates::settlement::Settled;
use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::domain::time::Instant;
use crate::domain::time::Zone;
use crate::store;
use crate::store::Db;
use crate::store::Tx;
use crate::store::Write;
use crate::store::documents;
use crate::store::settlements::Wanted;

/// Who does it, when it counts, and when it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// The id of a key.
    pub by: String,
    /// The accounting date, if one is said.
    pub on: Option<Date>,
    pub now: Instant,
}

impl Act {
    /// The accounting date: today in UTC unless one is said.
    pub(in crate::billing) fn effective_on(&self) -> Date {
        self.on.unwrap_or_else(|| self.now.date_in(&Zone::utc()))
    }

    /// Whether the same was said before, when this was the date.
    pub(in crate::billing) fn is_on(&self, date: Date) -> bool {
        self.on.is_none_or(|on| on == date)
    }
}

/// Money that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentRequest {
    pub id: PaymentId,
    pub pays: Pays,
    pub method: String,
    pub reference: String,
    /// What Stripe kept of it, if it came through Stripe.
    pub stripe_fee: Option<Money>,
}

/// What a payment is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pays {
    /// One invoice; without an amount, what is outstanding of it.
    Invoice(InvoiceId, Option<Money>),
    /// The oldest invoices of a consumer.
    Consumer(String, Money),
}

/// A payment, and where it went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Paid {
    #[serde(flatten)]
    pub payment: Payment,
    pub settled: Vec<Part>,
    /// What became the consumer's credit.
    pub credited: Money,
}

/// What an invoice got of a payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    pub invoice: InvoiceId,
    pub amount: Money,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreditNoteRequest {
    pub id: CreditNoteId,
    pub invoice: InvoiceId,
    pub wanted: credit_note::Wanted,
    /// Whether what is paid already is sent back, and does not become the consumer's credit.
    pub refund: bool,
    pub reason: String,
}

#[derive(Debug, Error)]
pub enum Error {
    #[error("there is no invoice {0}")]
    UnknownInvoice(InvoiceId),
    #[error("there is no consumer {0}")]
    UnknownConsumer(String),
    #[error("invoice {number}: {source}")]
    Settlement { number: String, source: SettlementError },
    #[error("invoice {number}: {source}")]
    CreditNote { number: String, source: CreditNoteError },
    #[error("a payment of {0}: {1}")]
    Payment(String, SettlementError),
    #[error("{0} was made by another request")]
    OtherRequest(String),
    #[error("{0} is in the future")]
    Future(Date),
    /// The date of an entry follows from when it is written down, so that must be after the lock.
    #[error("somebody locks the ledger at the same time")]
    Locked,
    #[error(transparent)]
    Credit(#[from] CreditError),
    #[error(transparent)]
    Entry(#[from] EntryError),
    #[error(transparent)]
    Money(#[from] MoneyError),
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Records a payment, and settles with it what it is for. What is too much becomes the consumer's credit.
pub async fn pay(db: &Db, request: PaymentRequest, act: &Act) -> Result<Paid, Error> {
    let (mut tx, locks) = begin(db, act).await?;
    if let Some(known) = tx.payments(Wanted::Id(request.id.as_str())).await?.pop() {
        return repeated(&mut tx, known, &request, act).await;
    }
    let (consumer, amount, owed) = match &request.pays {
        Pays::Invoice(id, amount) => {
            let invoice = invoice(&mut tx, id).await?;
            // What was given up is owed again as far as it is paid.
            let owed = given_up(invoice.totals.total, &invoice.settlements)?.filter(|owed| !owed.is_zero());
            if owed.is_none() {
                open(&invoice)?;
            }
            let owed = owed.unwrap_or(invoice.outstanding);
            (invoice.consumer, amount.unwrap_or(owed), vec![(invoice.id, owed)])
        }
        Pays::Consumer(id, amount) => {
            let known = tx.consumer(id).await?.ok_or_else(|| Error::UnknownConsumer(id.clone()))?;
            let mut owed = tx.owed(&known.id).await?;
            owed.retain(|(_, owed)| owed.currency() == amount.currency());
            (known.id, *amount, owed)
        }
    };
    let parts = allocate(amount, &owed).map_err(|source| Error::Payment(consumer.clone(), source))?;
    let payment = Payment {
        id: request.id,
        consumer,
        amount,
        method: request.method,
        reference: request.reference,
        received_on: act.effective_on(),
        recorded_at: act.now,
        recorded_by: act.by.clone(),
        stripe_fee: request.stripe_fee,
    };
    tx.record_payment(&payment).await?;
    for (invoice, part) in &parts {
        recover(&mut tx, invoice, *part, act, &locks).await?;
        settle(&mut tx, invoice, Means::Payment, *part, (Some(payment.id.as_str()), None), act).await?;
    }
    let settled = Money::sum(amount.currency(), parts.iter().map(|(_, part)| *part))?;
    tx.post(entries::payment_received(&payment, settled, &locks)?.as_slice()).await?;
    tx.commit().await?;
    paid(payment, parts)
}

/// Owes again what is paid of an invoice after it was given up; nothing of any other.
async fn recover(tx: &mut Tx<Write>, id: &InvoiceId, part: Money, act: &Act, locks: &Locks) -> Result<(), Error> {
    let invoice = invoice(tx, id).await?;
    if invoice.state != InvoiceState::Uncollectible {
        return Ok(());
    }
    let settlement = settle(tx, id, Means::Uncollectible, part.checked_neg()?, (None, None), act).await?;
    let seq = i64::try_from(invoice.settlements.len()).unwrap_or(i64::MAX).saturating_add(1);
    let number = invoice.number.to_string();
    let of = Settled { id, number: &number, party: &invoice.consumer };
    tx.post(entries::invoice_recovered(of, seq, &settlement, locks)?.as_slice()).await?;
    Ok(())
}

/// What a payment with this id came to, if it was the same.
async fn repeated(tx: &mut Tx<Write>, known: Payment, request: &PaymentRequest, act: &Act) -> Result<Paid, Error> {
    let parts = tx.settled_by(std::slice::from_ref(&known)).await?.remove(known.id.as_str()).unwrap_or_default();
    let (is_for_it, amount) = match &request.pays {
        Pays::Invoice(id, amount) => (parts.iter().all(|(invoice, _)| invoice == id), amount.unwrap_or(known.amount)),
        Pays::Consumer(id, amount) => (*id == known.consumer, *amount),
    };
    let is_same = is_for_it
        && amount == known.amount
        && (&known.method, &known.reference) == (&request.method, &request.reference)
        && known.stripe_fee == request.stripe_fee
        && act.is_on(known.received_on);
    if is_same { paid(known, parts) } else { Err(Error::OtherRequest(format!("payment {}", known.id))) }
}

fn paid(payment: Payment, parts: Vec<(InvoiceId, Money)>) -> Result<Paid, Error> {
    let settled = Money::sum(payment.amount.currency(), parts.iter().map(|(_, amount)| *amount))?;
    let credited = payment.amount.checked_sub(settled)?;
    let settled = parts.into_iter().map(|(invoice, amount)| Part { invoice, amount }).collect();
    Ok(Paid { payment, settled, credited })
}

/// Payments that were recorded before, and where they went.
pub async fn payments(db: &Db, wanted: Wanted<'_>) -> Result<Vec<Paid>, Error> {
    let mut tx = db.read().await?;
    let payments = tx.payments(wanted).await?;
    let mut settled = tx.settled_by(&payments).await?;
    let parts = |payment: Payment| {
        let parts = settled.remove(payment.id.as_str()).unwrap_or_default();
        paid(payment, parts)
    };
    payments.into_iter().map(parts).collect()
}

/// Takes back some of an invoice, or all that is left of it.
pub async fn credit(db: &Db, request: CreditNoteRequest, act: &Act) -> Result<CreditNote, Error> {
    let (mut tx, locks) = begin(db, act).await?;
    let invoice = invoice(&mut tx, &request.invoice).await?;
    let before = tx.credit_notes(Wanted::Invoice(invoice.id.as_str())).await?;
    if let Some(known) = before.iter().find(|note| note.id == request.id) {
        let is_same = is_same(known, &request) && act.is_on(known.effective_on);
        return if is_same { Ok(known.clone()) } else { Err(Error::OtherRequest(format!("credit note {}", known.id))) };
    }
    if !tx.credit_notes(Wanted::Id(request.id.as_str())).await?.is_empty() {
        return Err(Error::OtherRequest(format!("credit note {}", request.id)));
    }
    let amounts = credit_note::amounts(&invoice, &before, &request.wanted);
    let amounts = amounts.map_err(|source| Error::CreditNote { number: invoice.number.to_string(), source })?;
    let credit_note::Amounts { lines, net, taxes, tax, total, settled, rest } = amounts;
    let nothing = Money::zero(total.currency());
    let (credited, refunded) = if request.refund { (nothing, rest) } else { (rest, nothing) };
    let note = CreditNote {
        id: request.id,
        number: tx.next_credit_note_number().await?,
        invoice: invoice.id,
        consumer: invoice.consumer,
        lines,
        net,
        taxes,
        tax,
        total,
        settled,
        credited,
        refunded,
        reason: request.reason,
        effective_on: act.effective_on(),
        recorded_at: act.now,
        recorded_by: act.by.clone(),
    };
    tx.record_credit_note(&note).await?;
    if !settled.is_zero() {
        settle(&mut tx, &note.invoice, Means::CreditNote, settled, (Some(note.id.as_str()), None), act).await?;
    }
    tx.post(entries::credit_note_issued(&note, &locks)?.as_slice()).await?;
    tx.commit().await?;
    Ok(note)
}

/// Whether a request asks for what a credit note is.
fn is_same(known: &CreditNote, request: &CreditNoteRequest) -> bool {
    let has = |(line, amount): &(i64, Option<Money>)| {
        let mut of_line = known.lines.iter().filter(|credited| credited.line == *line);
        of_line.any(|credited| amount.is_none_or(|amount| amount == credited.amount))
    };
    let are_lines = match &request.wanted {
        credit_note::Wanted::Whole => true,
        credit_note::Wanted::Lines(lines) => lines.len() == known.lines.len() && lines.iter().all(has),
    };
    let other = if request.refund { known.credited } else { known.refunded };
    are_lines && other.is_zero() && known.reason == request.reason && known.invoice == request.invoice
}

/// Takes an invoice back as if it had never been. Nothing of it may be settled; then a credit note is the way.
pub async fn void(db: &Db, id: &InvoiceId, reason: &str, act: &Act) -> Result<Invoice, Error> {
    let (mut tx, locks) = begin(db, act).await?;
    let invoice = invoice(&mut tx, id).await?;
    if invoice.state == InvoiceState::Void {
        return Ok(invoice);
    }
    open(&invoice)?;
    if !invoice.settlements.is_empty() {
        let settled = invoice.totals.total.checked_sub(invoice.outstanding)?;
        let source = SettlementError::PartlySettled { settled };
        return Err(Error::Settlement { number: invoice.number.to_string(), source });
    }
    let key = templates::invoice_finalized_key(id);
    let booked = tx.journal_entry_with_key(&key).await?;
    let booked = booked.ok_or_else(|| store::Error::Damaged(format!("the entry {key} is not in the journal")))?;
    settle(&mut tx, id, Means::Void, invoice.totals.total, (None, Some(reason)), act).await?;
    let dates = Dates::open(act.effective_on(), act.now, &locks);
    tx.post(&[templates::invoice_voided(id, &booked.entry, dates)]).await?;
    finish(tx, id).await
}

/// Gives up on what is outstanding of an invoice.
pub async fn give_up(db: &Db, id: &InvoiceId, reason: &str, act: &Act) -> Result<Invoice, Error> {
    let (mut tx, locks) = begin(db, act).await?;
    let invoice = invoice(&mut tx, id).await?;
    if invoice.state == InvoiceState::Uncollectible {
        return Ok(invoice);
    }
    open(&invoice)?;
    let owed = invoice.outstanding;
    let settlement = settle(&mut tx, id, Means::Uncollectible, owed, (None, Some(reason)), act).await?;
    let number = invoice.number.to_string();
    let of = Settled { id, number: &number, party: &invoice.consumer };
    tx.post(entries::invoice_uncollectible(of, &settlement, &locks)?.as_slice()).await?;
    finish(tx, id).await
}

/// An invoice that a closing made, to which its consumer's credit may apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::billing) struct Made {
    pub id: InvoiceId,
    pub number: String,
    pub consumer: String,
    pub total: Money,
    /// The last moment of what it bills.
    pub at: Instant,
    pub effective_on: Date,
}

/// A new invoice of which something is still owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::billing) struct Owing {
    pub made: Made,
    pub outstanding: Money,
    /// What the next settlement of it is counted as.
    pub seq: i64,
}

impl Made {
    pub fn as_settled(&self) -> Settled<'_> {
        Settled { id: &self.id, number: &self.number, party: &self.consumer }
    }

    /// What a closing settles of it.
    pub fn settlement(&self, means: Means, amount: Money, now: Instant) -> Settlement {
        Settlement {
            means,
            amount,
            source: None,
            reason: None,
            effective_on: self.effective_on,
            recorded_at: now,
            recorded_by: None,
        }
    }
}

/// Pays new invoices with their consumers' credit, as far as it goes, after those below zero became credit. Gives what is still
/// owed.
pub(in crate::billing) async fn use_credit(
    tx: &mut Tx<Write>,
    mut made: Vec<Made>,
    credit: Vec<(String, Money)>,
    (locks, now): (&Locks, Instant),
) -> Result<Vec<Owing>, Error> {
    let by_currency = |(consumer, amount): (String, Money)| ((consumer, amount.currency().code()), amount);
    let mut credit: BTreeMap<(String, &str), Money> = credit.into_iter().map(by_currency).collect();
    // Stable: of each consumer those below zero first, then by their numbers.
    made.sort_by(|a, b| (&a.consumer, !a.total.is_negative()).cmp(&(&b.consumer, !b.total.is_negative())));
    let (mut settled, mut booked, mut owing) = (Vec::new(), Vec::new(), Vec::new());
    for invoice in made {
        let currency = invoice.total.currency();
        let left = credit.entry((invoice.consumer.clone(), currency.code())).or_insert(Money::zero(currency));
        let used = Money::from_minor(left.minor().min(invoice.total.minor()), currency);
        let outstanding = invoice.total.checked_sub(used)?;
        if !used.is_zero() {
            *left = left.checked_sub(used)?;
            let settlement = invoice.settlement(Means::Credit, used, now);
            booked.extend(of_credit(invoice.as_settled(), 1, &settlement, locks)?);
            settled.push((invoice.id.clone(), 1, settlement));
        }
        if !outstanding.is_zero() {
            let seq = if used.is_zero() { 1 } else { 2 };
            owing.push(Owing { made: invoice, outstanding, seq });
        }
    }
    tx.record_settlements(&settled).await?;
    tx.post(&booked).await?;
    Ok(owing)
}

/// The entry of credit that was used, or given for an invoice below zero.
pub(in crate::billing) fn of_credit(
    of: Settled<'_>,
    seq: i64,
    settlement: &Settlement,
    locks: &Locks,
) -> Result<Option<Entry>, EntryError> {
    if settlement.amount.is_negative() {
        entries::invoice_credited(of, settlement, locks)
    } else {
        entries::credit_used(of, seq, settlement, locks)
    }
}

/// A transaction for what somebody does, on a day that is not in the future, and the locks that entries are dated by. Nobody else
/// settles anything until it ends.
pub(in crate::billing) async fn begin(db: &Db, act: &Act) -> Result<(Tx<Write>, Locks), Error> {
    // Wherever the platform is, its today has begun by tomorrow in UTC.
    let tomorrow = act.now.date_in(&Zone::utc()).saturating_add(1.day());
    if act.effective_on() > tomorrow {
        return Err(Error::Future(act.effective_on()));
    }
    let mut tx = db.write().await?;
    match lock::hold(&mut tx, act.now).await {
        Ok(locks) => Ok((tx, locks)),
        Err(store::Error::Taken) => Err(Error::Locked),
        Err(error) => Err(error.into()),
    }
}

async fn invoice(tx: &mut Tx<Write>, id: &InvoiceId) -> Result<Invoice, Error> {
    let found = tx.invoices(documents::Wanted::Id(id.as_str())).await?.pop();
    found.ok_or_else(|| Error::UnknownInvoice(id.clone()))
}

fn open(invoice: &Invoice) -> Result<(), Error> {
    if invoice.state == InvoiceState::Open {
        return Ok(());
    }
    let source = SettlementError::NotOpen { state: invoice.state };
    Err(Error::Settlement { number: invoice.number.to_string(), source })
}

/// Adds the next settlement of an invoice.
async fn settle(
    tx: &mut Tx<Write>,
    invoice: &InvoiceId,
    means: Means,
    amount: Money,
    (source, reason): (Option<&str>, Option<&str>),
    act: &Act,
) -> Result<Settlement, Error> {
    let before = tx.settlements(&[(invoice.as_str(), amount.currency())]).await?;
    let before = before.get(invoice.as_str()).map_or(0, Vec::len);
    let settlement = Settlement {
        means,
        amount,
        source: source.map(str::to_owned),
        reason: reason.map(str::to_owned),
        effective_on: act.effective_on(),
        recorded_at: act.now,
        recorded_by: Some(act.by.clone()),
    };
    let seq = i64::try_from(before).unwrap_or(i64::MAX).saturating_add(1);
    tx.record_settlements(&[(invoice.clone(), seq, settlement.clone())]).await?;
    Ok(settlement)
}

async fn finish(mut tx: Tx<Write>, id: &InvoiceId) -> Result<Invoice, Error> {
    let after = invoice(&mut tx, id).await?;
    tx.commit().await?;
    Ok(after)
}
