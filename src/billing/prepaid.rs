//! Prepaid credit: bought or given, used by closings, expired, and voided. Each with its journal entry in one transaction.

use std::collections::BTreeMap;

use crate::billing::close::CloseError;
use crate::billing::close::Through;
use crate::billing::close::overtaken;
use crate::billing::lock;
use crate::billing::settle;
use crate::billing::settle::Act;
use crate::billing::settle::Owing;
use crate::domain::credit::Source;
use crate::domain::credit::prepaid::Movement;
use crate::domain::credit::prepaid::MovementKind;
use crate::domain::credit::prepaid::Prepaid;
use crate::domain::credit::prepaid::draw;
use crate::domain::document::settlement::Means;
use crate::domain::ids::GrantId;
use crate::domain::ledger::lock::Locks;
use crate::domain::ledger::templates::prepaid as entries;
use crate::domain::money::Money;
use crate::domain::time::Instant;
use crate::metering::versions::Versions;
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
    tx.post(entries::taken(&known, &movement, &locks)?.as_slice()).await?;
    tx.record_credit_movements(&[(known.id.clone(), next(&known), movement)]).await?;
    let after = tx.prepaid(Wanted::Id(id.as_str())).await?.pop();
    tx.commit().await?;
    Ok(after)
}

/// Pays what is owed of new invoices with prepaid credit, as far as it goes.
pub(in crate::billing) async fn use_up(
    tx: &mut Tx<Write>,
    owing: Vec<Owing>,
    grants: Vec<Prepaid>,
    (locks, now): (&Locks, Instant),
) -> Result<(), settle::Error> {
    let mut of_consumer: BTreeMap<String, Vec<Prepaid>> = BTreeMap::new();
    for grant in grants {
        of_consumer.entry(grant.consumer.clone()).or_default().push(grant);
    }
    let (mut movements, mut settled, mut booked) = (Vec::new(), Vec::new(), Vec::new());
    for Owing { made, outstanding, seq } in &owing {
        let Some(grants) = of_consumer.get_mut(&made.consumer) else { continue };
        let nothing = Money::zero(outstanding.currency());
        let (mut bought, mut given) = (nothing, nothing);
        for (id, amount) in draw(grants, made.at, *outstanding)? {
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
            movements.push((id, next(grant), movement.clone()));
            grant.movements.push(movement);
        }
        let amount = bought.checked_add(given)?;
        if !amount.is_zero() {
            let settlement = made.settlement(Means::Prepaid, amount, now);
            booked.extend(entries::used(made.as_settled(), *seq, &settlement, (bought, given), locks)?);
            settled.push((made.id.clone(), *seq, settlement));
        }
    }
    tx.record_credit_movements(&movements).await?;
    tx.record_settlements(&settled).await?;
    tx.post(&booked).await?;
    Ok(())
}

/// Lets credit expire that was not used until `through`, in the zone of the price book. Gives how many grants did.
pub(in crate::billing) async fn expire(
    db: &Db,
    versions: &Versions,
    through: Through,
    now: Instant,
) -> Result<usize, CloseError> {
    let expired = Wanted::Expired(through.latest().min(now));
    if db.read().await?.prepaid(expired).await?.is_empty() {
        return Ok(0);
    }
    let mut tx = db.write().await?;
    let locks = lock::hold(&mut tx, now).await.map_err(overtaken)?;
    let (mut movements, mut booked) = (Vec::new(), Vec::new());
    for grant in tx.prepaid(expired).await? {
        let Some(at) = grant.expires_at else { continue };
        let zone = versions.zone_at(at);
        if at > through.in_zone(&zone) {
            continue;
        }
        let movement = Movement {
            kind: MovementKind::Expired,
            amount: grant.left()?,
            invoice: None,
            reason: None,
            at,
            effective_on: at.date_in(&zone),
            recorded_at: now,
            recorded_by: None,
        };
        booked.extend(entries::taken(&grant, &movement, &locks).map_err(settle::Error::from)?);
        movements.push((grant.id.clone(), next(&grant), movement));
    }
    tx.record_credit_movements(&movements).await?;
    tx.post(&booked).await?;
    tx.commit().await?;
    Ok(movements.len())
}

/// What the next movement of a grant is counted as.
fn next(grant: &Prepaid) -> i64 {
    i64::try_from(grant.movements.len()).unwrap_or(i64::MAX).saturating_add(1)
}
