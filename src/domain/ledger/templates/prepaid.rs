//! Posting rules of prepaid credit. Where its day is locked, it counts on the first day that is open.
//!
//! | what happens | debit | credit |
//! |---|---|---|
//! | [`purchased`] | 1000 | 2100 |
//! | [`used`] for an invoice | 2100 what was bought, 4095 what was given | 1100 |
//! | [`taken`] when it expires | 2100 | 4010 |
//! | [`taken`] when it is voided, and sent back | 2100 | 1000 |
//!
//! What was given for nothing is owed to nobody: it is not in the ledger until it is used, and then it is a concession.

use crate::domain::credit::Source;
use crate::domain::credit::prepaid::Movement;
use crate::domain::credit::prepaid::MovementKind;
use crate::domain::credit::prepaid::Prepaid;
use crate::domain::document::settlement::Settlement;
use crate::domain::ledger::account::Chart;
use crate::domain::ledger::entry::Entry;
use crate::domain::ledger::entry::EntryError;
use crate::domain::ledger::entry::EntryKind;
use crate::domain::ledger::lock::Locks;
use crate::domain::ledger::templates::Dates;
use crate::domain::ledger::templates::Postings;
use crate::domain::ledger::templates::heading;
use crate::domain::ledger::templates::settlement::Settled;
use crate::domain::money::Money;

/// The consumer bought credit; none of what was given.
pub fn purchased(prepaid: &Prepaid, locks: &Locks) -> Result<Option<Entry>, EntryError> {
    if prepaid.source == Source::Granted {
        return Ok(None);
    }
    let mut postings = Postings::default();
    postings.debit(Chart::Bank, None, prepaid.amount)?;
    postings.credit(Chart::PrepaidCredit, Some(&prepaid.consumer), prepaid.amount)?;
    let description = format!("Credit {} bought by {}", prepaid.id, prepaid.consumer);
    let dates = Dates::open(prepaid.effective_on, prepaid.recorded_at, locks);
    postings.entry(heading(EntryKind::CreditPurchased, format!("credit:{}:purchased", prepaid.id), description, dates))
}

/// Credit pays for an invoice: `bought` and `given` of it, which come to the settlement.
pub fn used(
    of: Settled<'_>,
    seq: i64,
    settlement: &Settlement,
    (bought, given): (Money, Money),
    locks: &Locks,
) -> Result<Option<Entry>, EntryError> {
    let mut postings = Postings::default();
    postings.debit(Chart::PrepaidCredit, Some(of.party), bought)?;
    postings.debit(Chart::Concessions, None, given)?;
    postings.credit(Chart::Receivable, Some(of.party), settlement.amount)?;
    let description = format!("Prepaid credit of {} used for invoice {}", of.party, of.number);
    let dates = Dates::open(settlement.effective_on, settlement.recorded_at, locks);
    postings.entry(heading(EntryKind::PrepaidUsed, format!("invoice:{}:prepaid:{seq}", of.id), description, dates))
}

/// What is left of credit that was bought goes when it expires or is voided; none of what was given, and none of what was drawn.
pub fn taken(prepaid: &Prepaid, movement: &Movement, locks: &Locks) -> Result<Option<Entry>, EntryError> {
    let (kind, to, word) = match movement.kind {
        MovementKind::Drawn => return Ok(None),
        MovementKind::Expired => (EntryKind::CreditExpired, Chart::Breakage, "expired"),
        MovementKind::Voided => (EntryKind::CreditVoided, Chart::Bank, "voided"),
    };
    if prepaid.source == Source::Granted {
        return Ok(None);
    }
    let mut postings = Postings::default();
    postings.debit(Chart::PrepaidCredit, Some(&prepaid.consumer), movement.amount)?;
    postings.credit(to, None, movement.amount)?;
    let description = format!("Credit {} of {} {word}", prepaid.id, prepaid.consumer);
    let dates = Dates::open(movement.effective_on, movement.recorded_at, locks);
    postings.entry(heading(kind, format!("credit:{}:{word}", prepaid.id), description, dates))
}
