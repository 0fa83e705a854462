//! Nets rewards against their consumers' own invoices, where the price book of the invoice allows it (`net_invoices`).
//!
//! It comes last in a closing, when the consumers' own credit and prepaid credit are used and holds have passed, so it does
//! not matter how often the books are closed: what became available since then pays for what is open, the oldest first. Only
//! what is in no payout is used, and what was taken back too late is paid back before (`billing::holds`).

use std::collections::BTreeSet;

use crate::billing::close::CloseError;
use crate::billing::close::overtaken;
use crate::billing::lock;
use crate::billing::settle;
use crate::domain::document::settlement::Means;
use crate::domain::document::settlement::Settlement;
use crate::domain::ledger::lock::Locks;
use crate::domain::ledger::templates::settlement as entries;
use crate::domain::ledger::templates::settlement::Settled;
use crate::domain::money::Money;
use crate::domain::payout::netting;
use crate::domain::time::Instant;
use crate::metering::versions::Versions;
use crate::store::Db;
use crate::store::Tx;
use crate::store::Write;
use crate::store::documents::Wanted;

/// Consumers whose rewards are netted in one transaction.
const CONSUMERS_A_TRANSACTION: usize = 500;

/// Gives how many invoices something was paid of.
pub(in crate::billing) async fn net(db: &Db, versions: &Versions, now: Instant) -> Result<usize, CloseError> {
    if !versions.iter().any(|version| version.book.payouts.net_invoices) {
        return Ok(0);
    }
    let available = db.read().await?.available(None).await?;
    let has_some = available.iter().filter(|of| of.total.minor() > 0);
    let consumers: BTreeSet<&str> = has_some.map(|of| of.consumer.as_str()).collect();
    let consumers: Vec<&str> = consumers.into_iter().collect();
    let mut netted = 0;
    for chunk in consumers.chunks(CONSUMERS_A_TRANSACTION) {
        let mut tx = db.write().await?;
        let locks = lock::hold(&mut tx, now).await.map_err(overtaken)?;
        for consumer in chunk {
            netted += of_consumer(&mut tx, versions, consumer, (&locks, now)).await?;
        }
        tx.commit().await?;
    }
    Ok(netted)
}

async fn of_consumer(
    tx: &mut Tx<Write>,
    versions: &Versions,
    consumer: &str,
    (locks, now): (&Locks, Instant),
) -> Result<usize, CloseError> {
    let mut invoices = Vec::new();
    for (id, _) in tx.owed(consumer).await? {
        for invoice in tx.invoices(Wanted::Id(id.as_str())).await? {
            if let Some(version) = versions.by_id(&invoice.book_version).filter(|of| of.book.payouts.net_invoices) {
                invoices.push((invoice, version));
            }
        }
    }
    if invoices.is_empty() {
        return Ok(0);
    }
    let (mut netted, mut settled, mut booked) = (Vec::new(), Vec::new(), Vec::new());
    for available in tx.available(Some(consumer)).await? {
        let currency = available.total.currency();
        let owed = invoices.iter().map(|(invoice, _)| (invoice.id.clone(), invoice.outstanding));
        let owed: Vec<_> = owed.filter(|(_, owed)| owed.currency() == currency).collect();
        let paid = netting::net(&available.parts, available.total, &owed)
            .map_err(|source| settle::Error::Payment(consumer.to_owned(), source))?;
        for (id, parts) in paid {
            let Some((invoice, version)) = invoices.iter().find(|(invoice, _)| invoice.id == id) else { continue };
            let seq = i64::try_from(invoice.settlements.len()).unwrap_or(i64::MAX).saturating_add(1);
            let amount = Money::sum(currency, parts.iter().map(|part| part.amount))?;
            let settlement = Settlement {
                means: Means::Rewards,
                amount,
                source: None,
                reason: None,
                effective_on: now.date_in(&version.book.zone),
                recorded_at: now,
                recorded_by: None,
            };
            let number = invoice.number.to_string();
            let of = Settled { id: &id, number: &number, party: consumer };
            booked.extend(entries::rewards_netted(of, seq, &settlement, amount, locks).map_err(settle::Error::from)?);
            netted.push((id.clone(), seq, parts));
            settled.push((id, seq, settlement));
        }
    }
    tx.record_netting(&netted).await?;
    tx.record_settlements(&settled).await?;
    tx.post(&booked).await?;
    Ok(settled.len())
}
