//! Records the documents of a closing: numbers them, writes them down, and posts their entries, some at a time.
//!
//! While the database works on some, the next are made. So there are never many in memory, and what the database checks of
//! them is still in its own.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use tokio::task::yield_now;

use crate::billing::booking;
use crate::billing::close::CloseError;
use crate::billing::close::Summary;
use crate::billing::prepaid;
use crate::billing::settle;
use crate::domain::document::Number;
use crate::domain::document::Occasion;
use crate::domain::document::closing::Charged;
use crate::domain::document::closing::Due;
use crate::domain::document::closing::Unpaid;
use crate::domain::document::closing::charged;
use crate::domain::document::closing::payout;
use crate::domain::document::closing::plan_of;
use crate::domain::document::invoice::Invoice;
use crate::domain::document::payout::Draft;
use crate::domain::document::payout::Payout;
use crate::domain::document::share::Share;
use crate::domain::document::share::Terms;
use crate::domain::ledger::entry::Entry;
use crate::domain::ledger::lock::Locks;
use crate::domain::rating::line::Line;
use crate::domain::time::Instant;
use crate::domain::time::Zone;
use crate::store;
use crate::store::Tx;
use crate::store::Write;
use crate::store::closings::Closing;
use crate::store::prepaid::Wanted::Left;

/// How the numbers of payout statements begin.
const PAYOUT_PREFIX: &str = "PO-";

/// Of so many periods the documents are recorded and posted together; in tests, where there are few periods, of so few that
/// they take turns too.
const PERIODS_AT_ONCE: usize = if cfg!(test) { 2 } else { 4_096 };

/// So many periods are rated on all cores before we look whether the database waits for us: a few milliseconds of plain plans.
const PERIODS_A_TURN: usize = if cfg!(test) { 1 } else { 16 };

/// What was made and is to be recorded, in the order of its numbers.
#[derive(Default)]
pub(in crate::billing) struct Made {
    pub invoices: Vec<Invoice>,
    pub payouts: Vec<Payout>,
    entries: Vec<Entry>,
}

/// Records the invoices of everything that is due, and says what producers get of them.
pub(in crate::billing) async fn invoices(
    tx: &mut Tx<Write>,
    closing: &Closing,
    due: &[Due<'_>],
    terms: &Terms,
    summary: &mut Summary,
) -> Result<Vec<Share>, CloseError> {
    // The first of a series is asked for, and holds the series until the end of the transaction.
    let mut next: BTreeMap<&str, Number> = BTreeMap::new();
    for due in due {
        let prefix = due.version.book.invoice_prefix.as_str();
        if !next.contains_key(prefix) {
            next.insert(prefix, tx.next_invoice_number(prefix).await?);
        }
    }
    let mut credit: BTreeSet<String> =
        tx.customer_credit(None).await?.into_iter().map(|(consumer, _)| consumer).collect();
    credit.extend(tx.prepaid(Left(None)).await?.into_iter().map(|grant| grant.consumer));
    let mut to_credit = Vec::new();
    let mut shares = Vec::new();
    let locks = locks(tx, closing.closed_at).await?;
    let rate = |due| Ok((due, charged(due, terms)?));
    let make = |(due, Charged { invoice, shares: divided }): (&Due<'_>, Charged), made: &mut Made| {
        shares.extend(divided);
        if let Some((draft, next)) = invoice.zip(next.get_mut(due.version.book.invoice_prefix.as_str())) {
            let due_on = booking::due_on(closing.closed_at, due.version, zone_of(due)?);
            let invoice = draft.finalize(take(next), closing.closed_at, due_on);
            let entry = booking::of_invoice(&invoice, due.at, zone_of(due)?, &locks)?;
            if let Some(entry) = entry.as_ref().filter(|_| is_credited(&invoice, &credit)) {
                to_credit.push(settle::Made {
                    id: invoice.id.clone(),
                    number: invoice.number.to_string(),
                    consumer: invoice.consumer.clone(),
                    total: invoice.totals.total,
                    at: match invoice.occasion {
                        Occasion::Opening => due.at,
                        Occasion::Closing => Instant::from_micros(invoice.period.to().micros().saturating_sub(1)),
                    },
                    effective_on: entry.heading().effective_on,
                });
            }
            made.entries.extend(entry);
            made.invoices.push(invoice);
        }
        Ok(())
    };
    in_turns(tx, closing, due.iter(), (rate, make), summary).await?;
    let owing = settle::use_credit(tx, to_credit, &locks, closing.closed_at).await?;
    prepaid::use_up(tx, owing, &locks, closing.closed_at).await?;
    Ok(shares)
}

/// Whether an invoice is settled at once, with its consumer's credit or by becoming some.
fn is_credited(invoice: &Invoice, credit: &BTreeSet<String>) -> bool {
    let total = invoice.totals.total;
    total.is_negative() || !total.is_zero() && credit.contains(&invoice.consumer)
}

/// Records the payout statements of everything that is due: of what each period earned, and of the shares that wait.
pub(in crate::billing) async fn payouts(
    tx: &mut Tx<Write>,
    closing: &Closing,
    due: &[Due<'_>],
    earned: Vec<Vec<Line>>,
    mut unpaid: Unpaid<'_>,
    summary: &mut Summary,
) -> Result<(), CloseError> {
    if unpaid.is_empty() && earned.iter().all(Vec::is_empty) {
        return Ok(());
    }
    let locks = locks(tx, closing.closed_at).await?;
    let mut next = tx.next_payout_number(PAYOUT_PREFIX).await?;
    // Collected, since a future that keeps a closure over references is not known to be `Send`.
    let due: Vec<_> = due.iter().zip(earned).map(|(due, earned)| (due, earned, unpaid.take(due))).collect();
    let state = |(due, earned, paid): (_, _, Vec<&Share>)| Ok((due, payout(due, earned, &paid)?));
    let make = |(due, draft): (&Due<'_>, Option<Draft>), made: &mut Made| {
        if let Some(draft) = draft {
            let payout = draft.finalize(take(&mut next), closing.closed_at);
            made.entries.extend(booking::of_payout(&payout, due.version, zone_of(due)?, &locks)?);
            made.payouts.push(payout);
        }
        Ok(())
    };
    in_turns(tx, closing, due.into_iter(), (state, make), summary).await
}

/// The locks that what is written down at `recorded_at` is dated by, until the transaction ends. `Overtaken` if there is a
/// newer one: then it is written down at a later time, since its date follows from that.
pub(in crate::billing) async fn locks(tx: &mut Tx<Write>, recorded_at: Instant) -> Result<Locks, CloseError> {
    let locks = tx.hold_ledger_locks().await?;
    match locks.last() {
        Some(last) if last.locked_at > recorded_at => Err(CloseError::Overtaken),
        Some(_) | None => Ok(locks),
    }
}

/// Makes documents and records them, each while the other waits: what can be done on all cores, then what is done in order.
async fn in_turns<T: Send, R: Send>(
    tx: &mut Tx<Write>,
    closing: &Closing,
    due: impl Iterator<Item = T> + Send,
    (rate, mut make): (
        impl Fn(T) -> Result<R, CloseError> + Send + Sync,
        impl FnMut(R, &mut Made) -> Result<(), CloseError> + Send,
    ),
    summary: &mut Summary,
) -> Result<(), CloseError> {
    let mut due = due.peekable();
    let mut made = Made::default();
    loop {
        let is_last = due.peek().is_none();
        let (recorded, next) = tokio::join!(biased; made.record(tx, closing), some(&mut due, &rate, &mut make));
        recorded?;
        summary.add(&made)?;
        if is_last {
            return Ok(());
        }
        made = next?;
    }
}

/// What is made of the next periods.
async fn some<T: Send, R: Send>(
    due: &mut (impl Iterator<Item = T> + Send),
    rate: &(impl Fn(T) -> Result<R, CloseError> + Sync),
    make: &mut (impl FnMut(R, &mut Made) -> Result<(), CloseError> + Send),
) -> Result<Made, CloseError> {
    let mut made = Made::default();
    for _ in 0..PERIODS_AT_ONCE / PERIODS_A_TURN {
        for due in due.take(PERIODS_A_TURN) {
            make(rate(due)?, &mut made)?;
        }
        yield_now().await;
    }
    Ok(made)
}

impl Made {
    async fn record(&self, tx: &mut Tx<Write>, closing: &Closing) -> Result<(), store::Error> {
        if self.invoices.is_empty() && self.payouts.is_empty() {
            return Ok(());
        }
        tx.record_invoices(closing.seq, &self.invoices).await?;
        tx.record_payouts(closing.seq, &self.payouts).await?;
        tx.post(&self.entries).await?;
        Ok(())
    }
}

/// The number that is next, which another one is then.
fn take(next: &mut Number) -> Number {
    let taken = next.clone();
    next.ordinal += 1;
    taken
}

/// In which a period's documents are dated.
fn zone_of<'a>(due: &Due<'a>) -> Result<&'a Zone, CloseError> {
    Ok(&plan_of(due.subscription, due.period.covered.from(), due.version)?.calendar.zone)
}
