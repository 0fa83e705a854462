//! Makes every entry again from its document or manual journal, and compares it with the journal.

use std::collections::BTreeMap;

use crate::billing::booking;
use crate::billing::booking::BookingError;
use crate::billing::verify::Difference;
use crate::billing::verify::Verified;
use crate::billing::verify::VerifyError;
use crate::billing::verify::manual;
use crate::billing::verify::payouts;
use crate::billing::verify::settled::Payments;
use crate::domain::book::version::BookVersion;
use crate::domain::document::invoice::Invoice;
use crate::domain::document::payout::Payout;
use crate::domain::ids::SubscriptionId;
use crate::domain::ledger::entry::Entry;
use crate::domain::ledger::entry::EntryError;
use crate::domain::ledger::lock::Locks;
use crate::domain::ledger::templates::settlement::credit_note_issued;
use crate::domain::ledger::templates::settlement::payment_received;
use crate::domain::money::Money;
use crate::domain::period::Period;
use crate::domain::subscription::Subscription;
use crate::domain::time::Instant;
use crate::domain::time::Zone;
use crate::metering::versions::Versions;
use crate::store;
use crate::store::Read;
use crate::store::Tx;
use crate::store::documents::Wanted;
use crate::store::settlements;

/// Entries and documents that are read at once.
const PAGE: i64 = 1_000;

/// The entry that should stand under a key: what it should say, and whose it is.
type Expected = BTreeMap<String, (String, String)>;

pub(super) async fn compare(
    tx: &mut Tx<Read>,
    versions: &Versions,
    verified: &mut Verified,
) -> Result<(), VerifyError> {
    let mut expected = expected(tx, versions, &mut verified.differences).await?;
    let mut after = 0;
    loop {
        let page = tx.journal_entries(after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        verified.entries += page.len();
        for booked in &page {
            let key = booked.entry.heading().key.clone();
            match expected.remove(&key) {
                None => verified.differences.push(Difference::EntryOfNothing { seq: booked.seq, key }),
                Some((hash, document)) if hash != booked.entry.content_hash() => {
                    verified.differences.push(Difference::EntryDiffers { seq: booked.seq, key, document });
                }
                Some(_) => {}
            }
        }
    }
    let missing = |(key, (_, document))| Difference::EntryMissing { document, key };
    verified.differences.extend(expected.into_iter().map(missing));
    Ok(())
}

async fn expected(
    tx: &mut Tx<Read>,
    versions: &Versions,
    differences: &mut Vec<Difference>,
) -> Result<Expected, VerifyError> {
    let subscriptions = tx.subscriptions(None, None, i64::MAX).await?;
    let subscriptions = subscriptions.into_iter().map(|known| (known.id.clone(), known)).collect();
    let books = Books { versions, subscriptions, locks: tx.ledger_locks().await?, clawbacks: tx.clawbacks().await? };
    let mut expected = Expected::new();
    let mut payments = Payments::new(tx.netted().await?);
    let every = store::prepaid::Wanted::Page { consumer: None, before: None, limit: i64::MAX };
    for grant in tx.prepaid(every).await? {
        let entries = payments.of_grant(&grant, &books.locks).map_err(NotBookable::from);
        keep(&mut expected, differences, format!("credit {}", grant.id), entries);
    }
    for closing in tx.closings().await? {
        for invoice in tx.invoices(Wanted::Closing(closing.seq)).await? {
            let document = format!("invoice {}", invoice.number);
            let finalized = books.of_invoice(&invoice, closing.due_at);
            if let Ok(finalized) = &finalized {
                let settled = payments.of_invoice(&invoice, finalized.first(), &books.locks);
                keep(&mut expected, differences, document.clone(), settled.map_err(NotBookable::from));
            }
            keep(&mut expected, differences, document, finalized);
        }
        for payout in tx.payouts(Wanted::Closing(closing.seq)).await? {
            let document = format!("payout {}", payout.number);
            keep(&mut expected, differences, document, books.of_payout(&payout));
        }
    }
    let all = settlements::Wanted::Page { consumer: None, before: None, limit: i64::MAX };
    for payment in tx.payments(all).await? {
        let entry = payment_received(&payment, payments.settled(payment.id.as_str(), payment.amount), &books.locks);
        let entries = entry.map(|entry| entry.into_iter().collect()).map_err(NotBookable::from);
        keep(&mut expected, differences, format!("payment {}", payment.id), entries);
    }
    for note in tx.credit_notes(all).await? {
        let entries =
            credit_note_issued(&note, &books.locks).map(|entry| entry.into_iter().collect()).map_err(NotBookable::from);
        keep(&mut expected, differences, format!("credit note {}", note.number), entries);
    }
    for (journal, entry) in manual::entries(tx).await? {
        let made = entry.map(|entry| vec![entry]).map_err(NotBookable::from);
        keep(&mut expected, differences, format!("manual journal {journal}"), made);
    }
    let mut keep = |document, made: Result<_, BookingError>| {
        keep(&mut expected, differences, document, made.map_err(NotBookable::from));
    };
    payouts::entries(tx, versions, &books.locks, &mut keep).await?;
    Ok(expected)
}

fn keep(
    expected: &mut Expected,
    differences: &mut Vec<Difference>,
    document: String,
    made: Result<Vec<Entry>, NotBookable>,
) {
    match made {
        Ok(entries) => expected.extend(
            entries
                .into_iter()
                .map(|entry| (entry.heading().key.clone(), (entry.content_hash().to_owned(), document.clone()))),
        ),
        Err(why) => differences.push(Difference::NotBookable { document, why: why.to_string() }),
    }
}

/// What entries are made with.
struct Books<'a> {
    versions: &'a Versions,
    subscriptions: BTreeMap<SubscriptionId, Subscription>,
    locks: Locks,
    /// What was owed for what statements took back, by statement and program.
    clawbacks: BTreeMap<(String, String), i64>,
}

#[derive(Debug, thiserror::Error)]
enum NotBookable {
    #[error("its plan is not in price book {0}")]
    UnknownPlan(String),
    #[error(transparent)]
    Booking(#[from] BookingError),
    #[error(transparent)]
    Entry(#[from] EntryError),
}

impl Books<'_> {
    fn of_invoice(&self, invoice: &Invoice, due_at: Instant) -> Result<Vec<Entry>, NotBookable> {
        let (_, zone) = self.version(&invoice.subscription, invoice.period, &invoice.book_version)?;
        Ok(booking::of_invoice(invoice, due_at, zone, &self.locks)?.into_iter().collect())
    }

    /// The reward, and the holds that have passed.
    fn of_payout(&self, payout: &Payout) -> Result<Vec<Entry>, NotBookable> {
        let (version, zone) = self.version(&payout.subscription, payout.period, &payout.book_version)?;
        let mut entries: Vec<Entry> = booking::of_payout(payout, version, zone, &self.locks)?.into_iter().collect();
        for hold in &payout.holds {
            if let Some(passed_at) = hold.passed_at {
                let owed = self.clawbacks.get(&(payout.id.to_string(), hold.program.clone())).copied();
                let owed = Money::from_minor(owed.unwrap_or_default(), hold.amount.currency());
                entries.extend(booking::of_hold(
                    &payout.id,
                    &payout.consumer,
                    (hold, owed),
                    zone,
                    passed_at,
                    &self.locks,
                )?);
            }
        }
        Ok(entries)
    }

    fn version(
        &self,
        subscription: &SubscriptionId,
        period: Period,
        version: &str,
    ) -> Result<(&BookVersion, &Zone), NotBookable> {
        let found = self.versions.by_id(version).zip(self.subscriptions.get(subscription));
        let plan = found.and_then(|(known, of)| Some((known, known.book.plans.get(of.plan_at(period.from()))?)));
        let (known, plan) = plan.ok_or_else(|| NotBookable::UnknownPlan(version.to_owned()))?;
        Ok((known, &plan.calendar.zone))
    }
}
