//! Prepaid credit: bought or given, used by closings, expired, and voided. Each with its journal entry in one transaction.

use std::collections::BTreeMap;

use crate::billing::close::CloseError;
use crate::billing::close::Through;
use crate::billing::record::locks;
use crate::billing::settle;
use crate::billing::settle::Act;
use crate::billing::settle::Owing;
use crate::domain::credit::Source;
use crate::domain::credit::prepaid::Movement;
use crate::domain::credit::prepaid::MovementKind;
use crate::domain::credit::prepaid::Prepaid;
use crate::domain::credit::prepaid::draw;
use crate::domain::document::settlement::Means;
use crate::domain::document::settlement::Settlement;
use crate::domain::ids::GrantId;
use crate::domain::ledger::lock::Locks;
use crate::domain::ledger::templates::prepaid as entries;
use crate::domain::ledger::templates::settlement::Settled;
use crate::domain::money::Money;
use crate::domain::time::Instant;
use crate::domain::time::Zone;
use crate::metering::versions::Versions;
use crate::store;
use crate::store::Db;
use crate::store::Tx;
use crate::store::Write;
use crate::store::prepaid::Wanted;

/// Credit that somebody buys or is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRequest {
    pub id: GrantId,
    pub consumer: String,
    pub amount: Money,
    pub source: Source,
    pub priority: i64,
    /// Without it, now.
    pub effective_at: Option<Instant>,
    pub expires_at: Option<Instant>,
    pub reference: String,
    pub reason: String,
}

/// Records credit that was bought or given.
pub async fn grant(db: &Db, request: GrantRequest, act: &Act) -> Result<Prepaid, settle::Error> {
    let (mut tx, locks) = settle::begin(db, act).await?;
    if tx.consumer(&request.consumer).await?.is_none() {
        return Err(settle::Error::UnknownConsumer(request.consumer));
    }
    let GrantRequest { id, consumer, amount, source, priority, effective_at, expires_at, reference, reason } = request;
    let mut prepaid = Prepaid {
        id,
        consumer,
        amount,
        source,
        priority,
        effective_at: effective_at.unwrap_or(act.now),
        expires_at,
        reference,
        reason,
        effective_on: act.effective_on(),
        recorded_at: act.now,
        recorded_by: act.by.clone(),
        movements: Vec::new(),
    };
    if let Some(known) = tx.prepaid(Wanted::Id(prepaid.id.as_str())).await?.pop() {
        prepaid.recorded_at = known.recorded_at;
        prepaid.movements.clone_from(&known.movements);
        prepaid.effective_on = act.on.unwrap_or(known.effective_on);
        prepaid.effective_at = effective_at.unwrap_or(known.effective_at);
        return if prepaid == known {
            Ok(known)
        } else {
            Err(settle::Error::OtherRequest(format!("credit {}", known.id)))
        };
    }
    tx.record_grant(&prepaid).await?;
    tx.post(entries::purchased(&prepaid, &locks)?.as_slice()).await?;
    tx.commit().await?;
    Ok(prepaid)
}

/// Takes back what is left of a grant; what was paid for it is sent back. A grant of which nothing is left stays as it is.
pub async fn void(db: &Db, id: &GrantId, reason: &str, act: &Act) -> Result<Option<Prepaid>, settle::Error> {
    let (mut tx, locks) = settle::begin(db, act).await?;
    let Some(known) = tx.prepaid(Wanted::Id(id.as_str())).await?.pop() else { return Ok(None) };
    let amount = known.left()?;
    if amount.is_zero() {
        return Ok(Some(known));
    }
    let movement = Movement {
        kind: MovementKind::Voided,
        amount,
        invoice: None,
        reason: Some(reason.to_owned()),
        at: act.now,
        effective_on: act.effective_on(),
        recorded_at: act.now,
        recorded_by: Some(act.by.clone()),
    };
    take(&mut tx, &known, &movement).await?;
    tx.post(entries::taken(&known, &movement, &locks)?.as_slice()).await?;
    let after = tx.prepaid(Wanted::Id(id.as_str())).await?.pop();
    tx.commit().await?;
    Ok(after)
}

/// Pays what is owed of new invoices with prepaid credit, as far as it goes.
pub(in crate::billing) async fn use_up(
    tx: &mut Tx<Write>,
    owing: Vec<Owing>,
    locks: &Locks,
    now: Instant,
) -> Result<(), settle::Error> {
    let mut of_consumer: BTreeMap<String, Vec<Owing>> = BTreeMap::new();
    for invoice in owing {
        of_consumer.entry(invoice.made.consumer.clone()).or_default().push(invoice);
    }
    for (consumer, invoices) in of_consumer {
        let mut grants = tx.prepaid(Wanted::Left(Some(&consumer))).await?;
        for invoice in invoices {
            pay(tx, &mut grants, &invoice, (locks, now)).await?;
        }
    }
    Ok(())
}

async fn pay(
    tx: &mut Tx<Write>,
    grants: &mut [Prepaid],
    owing: &Owing,
    (locks, now): (&Locks, Instant),
) -> Result<(), settle::Error> {
    let Owing { made, outstanding, seq } = owing;
    let drawn = draw(grants, made.at, *outstanding)?;
    let nothing = Money::zero(outstanding.currency());
    let (mut bought, mut given) = (nothing, nothing);
    for (id, amount) in drawn {
        let Some(grant) = grants.iter_mut().find(|grant| grant.id == id) else { continue };
        let sum = if grant.source == Source::Purchased { &mut bought } else { &mut given };
        *sum = sum.checked_add(amount)?;
        let movement = Movement {
            kind: MovementKind::Drawn,
            amount,
            invoice: Some(made.id.clone()),
            reason: None,
            at: made.at,
            effective_on: made.effective_on,
            recorded_at: now,
            recorded_by: None,
        };
        take(tx, grant, &movement).await?;
        grant.movements.push(movement);
    }
    let amount = bought.checked_add(given)?;
    if amount.is_zero() {
        return Ok(());
    }
    let settlement = Settlement {
        means: Means::Prepaid,
        amount,
        source: None,
        reason: None,
        effective_on: made.effective_on,
        recorded_at: now,
        recorded_by: None,
    };
    tx.record_settlements(&[(&made.id, *seq, &settlement)]).await?;
    let of = Settled { id: &made.id, number: &made.number, party: &made.consumer };
    tx.post(entries::used(of, *seq, &settlement, (bought, given), locks)?.as_slice()).await?;
    Ok(())
}

/// Lets credit expire that was not used until `through`, in the zone of the price book. Gives how many grants did.
pub(in crate::billing) async fn expire(
    db: &Db,
    versions: &Versions,
    through: Through,
    now: Instant,
) -> Result<usize, CloseError> {
    let expired = db.read().await?.prepaid(Wanted::Expired(through.latest().min(now))).await?;
    let mut count = 0;
    for grant in expired {
        let Some(at) = grant.expires_at else { continue };
        let zone = versions.at(at).map_or(Zone::utc(), |version| version.book.zone.clone());
        if at > through.in_zone(&zone) {
            continue;
        }
        let mut tx = db.write().await?;
        let locks = locks(&mut tx, now).await?;
        tx.hold_journal().await?;
        let Some(grant) = tx.prepaid(Wanted::Id(grant.id.as_str())).await?.pop() else { continue };
        let amount = grant.left()?;
        if amount.is_zero() {
            continue;
        }
        let movement = Movement {
            kind: MovementKind::Expired,
            amount,
            invoice: None,
            reason: None,
            at,
            effective_on: at.date_in(&zone),
            recorded_at: now,
            recorded_by: None,
        };
        take(&mut tx, &grant, &movement).await?;
        tx.post(entries::taken(&grant, &movement, &locks).map_err(settle::Error::from)?.as_slice()).await?;
        tx.commit().await?;
        count += 1;
    }
    Ok(count)
}

/// Takes something of a grant.
async fn take(tx: &mut Tx<Write>, grant: &Prepaid, movement: &Movement) -> Result<(), store::Error> {
    let before = i64::try_from(grant.movements.len()).unwrap_or(i64::MAX);
    tx.record_credit_movement(&grant.id, before.saturating_add(1), movement).await
}
