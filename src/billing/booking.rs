//! What a document means to the ledger: its entry, dated by the plan's calendar.
//!
//! A closing is dated by the last day of its period, an opening by the day on which it is due, and the passing of a hold
//! by the day on which it passed; where that day is locked, by the first one that is open. Pure: `verify` makes the same
//! entries again and compares.

use jiff::ToSpan;
use jiff::civil::Date;
use thiserror::Error;

use crate::domain::book::program::AccountingClass;
use crate::domain::book::version::BookVersion;
use crate::domain::document::Occasion;
use crate::domain::document::invoice::Invoice;
use crate::domain::document::payout::Hold;
use crate::domain::document::payout::Payout;
use crate::domain::ids::PayoutId;
use crate::domain::ledger::account::Chart;
use crate::domain::ledger::entry::Entry;
use crate::domain::ledger::entry::EntryError;
use crate::domain::ledger::lock::Locks;
use crate::domain::ledger::templates;
use crate::domain::ledger::templates::Dates;
use crate::domain::ledger::templates::InvoiceTotals;
use crate::domain::ledger::templates::RewardTotals;
use crate::domain::ledger::templates::payouts;
use crate::domain::ledger::templates::payouts::Moved;
use crate::domain::money::Money;
use crate::domain::payee::Method;
use crate::domain::payout;
use crate::domain::payout::Attempt;
use crate::domain::payout::AttemptState;
use crate::domain::period::Period;
use crate::domain::time::Instant;
use crate::domain::time::Zone;
use crate::store::clawbacks::Repaid;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BookingError {
    #[error("{document} cannot be booked: {source}")]
    Entry { document: String, source: EntryError },
    #[error("{document} cannot be booked: program {program} is not in price book {version}")]
    UnknownProgram { document: String, program: String, version: String },
}

/// The last day of a period: the accounting date of what is closed with it.
pub fn last_day(period: Period, zone: &Zone) -> Date {
    Instant::from_micros(period.to().micros().saturating_sub(1)).date_in(zone)
}

/// The last day on which an invoice is paid in time.
pub fn due_on(issued_at: Instant, version: &BookVersion, zone: &Zone) -> Date {
    issued_at.date_in(zone).saturating_add(i64::from(version.book.due_days).days())
}

/// The accounting date of an invoice that was due at an instant.
pub fn invoiced_on(invoice: &Invoice, due_at: Instant, zone: &Zone) -> Date {
    match invoice.occasion {
        Occasion::Opening => due_at.date_in(zone),
        Occasion::Closing => last_day(invoice.period, zone),
    }
}

/// The finalisation of an invoice that was due at an instant; none if it comes to nothing.
pub fn of_invoice(
    invoice: &Invoice,
    due_at: Instant,
    zone: &Zone,
    locks: &Locks,
) -> Result<Option<Entry>, BookingError> {
    let number = invoice.number.to_string();
    let totals = &invoice.totals;
    let booked = InvoiceTotals {
        id: &invoice.id,
        number: &number,
        party: &invoice.consumer,
        net: totals.lines.iter().map(|line| (line.component.as_str(), line.amount)).collect(),
        tax: totals.taxes.iter().map(|taxed| (taxed.jurisdiction.as_str(), taxed.amount)).collect(),
    };
    let day = invoiced_on(invoice, due_at, zone);
    templates::invoice_finalized(&booked, Dates::open(day, invoice.issued_at, locks))
        .map_err(|source| BookingError::Entry { document: format!("invoice {number}"), source })
}

/// What a payout statement grants, held.
pub fn of_payout(
    payout: &Payout,
    version: &BookVersion,
    zone: &Zone,
    locks: &Locks,
) -> Result<Option<Entry>, BookingError> {
    let document = || format!("payout {}", payout.number);
    let class = |hold: &Hold| {
        let program = version.book.programs.get(&hold.program).ok_or_else(|| BookingError::UnknownProgram {
            document: document(),
            program: hold.program.clone(),
            version: version.id.clone(),
        })?;
        Ok::<AccountingClass, BookingError>(program.accounting)
    };
    let rewards = payout.holds.iter().map(|hold| Ok((hold.program.as_str(), class(hold)?, hold.amount)));
    let rewards = rewards.collect::<Result<_, BookingError>>()?;
    let dates = Dates::open(last_day(payout.period, zone), payout.issued_at, locks);
    templates::rewards_earned(&RewardTotals { id: &payout.id, party: &payout.consumer, rewards }, dates)
        .map_err(|source| BookingError::Entry { document: document(), source })
}

/// The passing of a hold, written down at `recorded_at`. Of what it takes back, `owed` was not there to be taken.
pub fn of_hold(
    payout: &PayoutId,
    party: &str,
    (hold, owed): (&Hold, Money),
    zone: &Zone,
    recorded_at: Instant,
    locks: &Locks,
) -> Result<Option<Entry>, BookingError> {
    let dates = Dates::open(hold.held_until.date_in(zone), recorded_at, locks);
    templates::hold_passed(payout, party, &hold.program, (hold.amount, owed), dates)
        .map_err(|source| BookingError::Entry { document: format!("the hold of payout {payout}"), source })
}

/// Everything that is booked of a payout of money, however far it is: its steps, each dated by the day on which it was taken.
pub fn of_money_out(payout: &payout::Payout, zone: &Zone, locks: &Locks) -> Result<Vec<Entry>, BookingError> {
    let on = |at: Instant| Dates::open(at.date_in(zone), at, locks);
    let moved = Moved { id: &payout.id, party: &payout.consumer, amount: payout.amount };
    let mut booked = Vec::new();
    if let Some(approved) = &payout.approved {
        booked.push(payouts::reserved(moved, on(approved.at)));
    }
    let last = payout.attempts.last().map(|last| last.n);
    for attempt in &payout.attempts {
        let &Attempt { n, sent_at, state, ended_at, returned_at, .. } = attempt;
        // Where the platform's money was.
        let from = match attempt.method {
            Method::Manual | Method::Sepa(_) => Chart::Bank,
            Method::Stripe(_) => Chart::Stripe,
        };
        booked.extend(sent_at.map(|at| payouts::sent(moved, n, on(at))));
        let ends_it = Some(n) == last;
        booked.extend(ended_at.and_then(|at| match state {
            AttemptState::Paid => Some(payouts::paid(moved, from, on(at))),
            AttemptState::Failed if ends_it => Some(payouts::failed(moved, on(at))),
            AttemptState::Failed => Some(payouts::retried(moved, n, on(at))),
            AttemptState::Cancelled => Some(payouts::cancelled(moved, on(at))),
            AttemptState::Ready | AttemptState::Sent => None,
        }));
        let returned = returned_at.map(|at| [payouts::returned(moved, from, on(at)), payouts::failed(moved, on(at))]);
        booked.extend(returned.into_iter().flatten());
    }
    let entries = booked.into_iter().filter_map(Result::transpose).collect::<Result<_, _>>();
    entries.map_err(|source| BookingError::Entry { document: format!("payout {}", payout.id), source })
}

/// What was paid back out of what another entry made available.
pub fn of_repaid(repaid: &Repaid) -> Result<Option<Entry>, BookingError> {
    let dates = Dates { effective_on: repaid.effective_on, recorded_at: repaid.at };
    payouts::clawback_repaid(&repaid.cause, &repaid.consumer, repaid.amount, dates)
        .map_err(|source| BookingError::Entry { document: format!("what {} owed", repaid.consumer), source })
}
