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

/// So many periods are rated before we look whether the database waits for us: a fraction of a millisecond of plain plans.
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
    (terms, locks): (&Terms, &Locks),
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
    let (credit, grants) = (tx.customer_credit(None).await?, tx.prepaid(Left(None)).await?);
    let mut has_credit: BTreeSet<&str> = credit.iter().map(|(consumer, _)| consumer.as_str()).collect();
    has_credit.extend(grants.iter().map(|grant| grant.consumer.as_str()));
    let mut to_credit = Vec::new();
    let mut shares = Vec::new();
    let make = |due: &Due<'_>, made: &mut Made| {
        let Charged { invoice, shares: divided } = charged(due, terms)?;
        shares.extend(divided);
        if let Some((draft, next)) = invoice.zip(next.get_mut(due.version.book.invoice_prefix.as_str())) {
            let due_on = booking::due_on(closing.closed_at, due.version, zone_of(due)?);
            let invoice = draft.finalize(take(next), closing.closed_at, due_on);
            let entry = booking::of_invoice(&invoice, due.at, zone_of(due)?, locks)?;
            if let Some(entry) = entry.as_ref().filter(|_| is_credited(&invoice, &has_credit)) {
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
    in_turns(tx, closing, due.iter(), make, summary).await?;
    let owing = settle::use_credit(tx, to_credit, credit, (locks, closing.closed_at)).await?;
    prepaid::use_up(tx, owing, grants, (locks, closing.closed_at)).await?;
    Ok(shares)
}

/// Whether an invoice is settled at once, with its consumer's credit or by becoming some.
fn is_credited(invoice: &Invoice, has_credit: &BTreeSet<&str>) -> bool {
    let total = invoice.totals.total;
    total.is_negative() || !total.is_zero() && has_credit.contains(invoice.consumer.as_str())
}

/// Records the payout statements of everything that is due: of what each period earned, and of the shares that wait.
pub(in crate::billing) async fn payouts(
    tx: &mut Tx<Write>,
    closing: &Closing,
    due: &[Due<'_>],
    earned: Vec<Vec<Line>>,
    mut unpaid: Unpaid<'_>,
    locks: &Locks,
    summary: &mut Summary,
) -> Result<(), CloseError> {
    if unpaid.is_empty() && earned.iter().all(Vec::is_empty) {
        return Ok(());
    }
    let mut next = tx.next_payout_number(PAYOUT_PREFIX).await?;
    // Collected, since a future that keeps a closure over references is not known to be `Send`.
    let due: Vec<_> = due.iter().zip(earned).map(|(due, earned)| (due, earned, unpaid.take(due))).collect();
    let make = |(due, earned, paid): (&Due<'_>, Vec<Line>, Vec<&Share>), made: &mut Made| {
        if let Some(draft) = payout(due, earned, &paid)? {
            let payout = draft.finalize(take(&mut next), closing.closed_at);
            made.entries.extend(booking::of_payout(&payout, due.version, zone_of(due)?, locks)?);
            made.payouts.push(payout);
        }
        Ok(())
    };
    in_turns(tx, closing, due.into_iter(), make, summary).await
}

/// Makes documents and records them, each while the other waits.
async fn in_turns<T: Send>(
    tx: &mut Tx<Write>,
    closing: &Closing,
    due: impl Iterator<Item = T> + Send,
    mut make: impl FnMut(T, &mut Made) -> Result<(), CloseError> + Send,
    summary: &mut Summary,
) -> Result<(), CloseError> {
    let mut due = due.peekable();
    let mut made = Made::default();
    loop {
        let is_last = due.peek().is_none();
        let (recorded, next) = tokio::join!(biased; made.record(tx, closing), some(&mut due, &mut make));
        recorded?;
        summary.add(&made)?;
        if is_last {
            return Ok(());
        }
        made = next?;
    }
}

/// What is made of the next periods.
async fn some<T: Send>(
    due: &mut (impl Iterator<Item = T> + Send),
    make: &mut (impl FnMut(T, &mut Made) -> Result<(), CloseError> + Send),
) -> Result<Made, CloseError> {
    let mut made = Made::default();
    for _ in 0..PERIODS_AT_ONCE / PERIODS_A_TURN {
        due.take(PERIODS_A_TURN).try_for_each(|due| make(due, &mut made))?;
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
