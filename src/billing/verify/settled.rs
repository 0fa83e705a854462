//! Makes the entries of payments, prepaid credit and other settlements again.

use std::collections::HashMap;

use crate::billing::settle::of_credit;
use crate::domain::credit::Source;
use crate::domain::credit::prepaid::Prepaid;
use crate::domain::document::invoice::Invoice;
use crate::domain::document::settlement::Means;
use crate::domain::ids::InvoiceId;
use crate::domain::ledger::entry::Entry;
use crate::domain::ledger::entry::EntryError;
use crate::domain::ledger::lock::Locks;
use crate::domain::ledger::templates;
use crate::domain::ledger::templates::Dates;
use crate::domain::ledger::templates::prepaid;
use crate::domain::ledger::templates::settlement as entries;
use crate::domain::ledger::templates::settlement::Settled;
use crate::domain::money::Money;

/// What settles invoices.
#[derive(Default)]
pub(super) struct Payments {
    /// What payments settle, by their ids, as the invoices say.
    settled: HashMap<String, Money>,
    /// What of prepaid credit was drawn for an invoice: of what was bought, and of what was given.
    drawn: HashMap<InvoiceId, (Money, Money)>,
    /// What of rewards was used by which settlement.
    netted: HashMap<(String, i64), i64>,
}

impl Payments {
    pub fn new(netted: HashMap<(String, i64), i64>) -> Self {
        Self { netted, ..Self::default() }
    }

    /// The entries of a grant's own; of what was drawn of it for invoices it keeps count.
    pub fn of_grant(&mut self, grant: &Prepaid, locks: &Locks) -> Result<Vec<Entry>, EntryError> {
        let mut made: Vec<Entry> = prepaid::purchased(grant, locks)?.into_iter().collect();
        for movement in &grant.movements {
            made.extend(prepaid::taken(grant, movement, locks)?);
            let Some(invoice) = &movement.invoice else { continue };
            let nothing = Money::zero(movement.amount.currency());
            let (bought, given) = self.drawn.entry(invoice.clone()).or_insert((nothing, nothing));
            let sum = if grant.source == Source::Purchased { bought } else { given };
            *sum = sum.checked_add(movement.amount)?;
        }
        Ok(made)
    }

    /// The entries of an invoice's own settlements; of those by payments it keeps count. `finalized` is the entry of the invoice.
    pub fn of_invoice(
        &mut self,
        invoice: &Invoice,
        finalized: Option<&Entry>,
        locks: &Locks,
    ) -> Result<Vec<Entry>, EntryError> {
        let number = invoice.number.to_string();
        let of = Settled { id: &invoice.id, number: &number, party: &invoice.consumer };
        let mut made = Vec::new();
        for (seq, settlement) in (1_i64..).zip(&invoice.settlements) {
            match settlement.means {
                Means::Payment => self.add(settlement.source.as_deref().unwrap_or_default(), settlement.amount)?,
                // The credit note has it.
                Means::CreditNote => {}
                Means::Prepaid => {
                    let nothing = Money::zero(settlement.amount.currency());
                    let drawn = self.drawn.get(&invoice.id).copied().unwrap_or((nothing, nothing));
                    made.extend(prepaid::used(of, seq, settlement, drawn, locks)?);
                }
                Means::Rewards => {
                    let used = self.netted.get(&(invoice.id.to_string(), seq)).copied().unwrap_or_default();
                    let used = Money::from_minor(used, settlement.amount.currency());
                    made.extend(entries::rewards_netted(of, seq, settlement, used, locks)?);
                }
                Means::Credit => made.extend(of_credit(of, seq, settlement, locks)?),
                Means::Uncollectible if settlement.amount.is_negative() => {
                    made.extend(entries::invoice_recovered(of, seq, settlement, locks)?);
                }
                Means::Uncollectible => made.extend(entries::invoice_uncollectible(of, settlement, locks)?),
                Means::Void => {
                    let dates = Dates::open(settlement.effective_on, settlement.recorded_at, locks);
                    made.extend(finalized.map(|entry| templates::invoice_voided(&invoice.id, entry, dates)));
                }
            }
        }
        Ok(made)
    }

    fn add(&mut self, payment: &str, amount: Money) -> Result<(), EntryError> {
        let sum = self.settled.entry(payment.to_owned()).or_insert(Money::zero(amount.currency()));
        *sum = sum.checked_add(amount)?;
        Ok(())
    }

    /// What a payment settles.
    pub fn settled(&self, payment: &str, of: Money) -> Money {
        self.settled.get(payment).copied().unwrap_or(Money::zero(of.currency()))
    }
}
