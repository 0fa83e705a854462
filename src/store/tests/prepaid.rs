//! Prepaid credit on both engines: what is kept of it, and what the database refuses.

use jiff::civil::date;

use super::closings::prepare;
use super::recording::invoice_of;
use super::recording::record;
use super::recording::usd;
use super::subscriptions::hour;
use super::*;
use crate::domain::credit::Source;
use crate::domain::credit::prepaid::Movement;
use crate::domain::credit::prepaid::MovementKind;
use crate::domain::credit::prepaid::Prepaid;
use crate::domain::credit::prepaid::TopUp;
use crate::domain::ids::GrantId;
use crate::domain::ids::InvoiceId;
use crate::store::prepaid::Wanted;

fn grant(id: &str, consumer: &str, minor: i64, expires: Option<i64>) -> Prepaid {
    Prepaid {
        id: GrantId::parse(id).expect("an id"),
        consumer: consumer.to_owned(),
        amount: usd(minor),
        source: Source::Purchased,
        priority: -3,
        effective_at: hour(1),
        expires_at: expires.map(hour),
        reference: "wire \"7\"".to_owned(),
        reason: "a package".to_owned(),
        effective_on: date(2013, 1, 1),
        recorded_at: hour(2),
        recorded_by: "key_1".to_owned(),
        movements: Vec::new(),
    }
}

fn movement(kind: MovementKind, minor: i64) -> Movement {
    Movement {
        kind,
        amount: usd(minor),
        invoice: (kind == MovementKind::Drawn).then(|| InvoiceId::parse("inv_UA").expect("an id")),
        reason: Some("because".to_owned()),
        at: hour(3),
        effective_on: date(2013, 1, 2),
        recorded_at: hour(4),
        recorded_by: None,
    }
}

async fn taken(db: &Db, grant: &Prepaid, seq: i64, movement: &Movement) -> Result<()> {
    let mut tx = db.write().await?;
    tx.record_credit_movements(&[(grant.id.clone(), seq, movement.clone())]).await?;
    tx.commit().await
}

async fn grants_read_back_with_what_became_of_them(db: Db) {
    prepare(&db).await;
    record(&db, &[invoice_of("UA", 1)], &[]).await.expect("is recorded");
    let mut first = grant("cg_1", "UA", 100, Some(9));
    let second = grant("cg_2", "AA", 50, None);
    let mut tx = db.write().await.expect("begins");
    tx.record_grant(&first).await.expect("is recorded");
    tx.record_grant(&second).await.expect("is recorded");
    tx.commit().await.expect("commits");
    let read = async |wanted: Wanted<'static>| db.read().await.expect("begins").prepaid(wanted).await.expect("reads");
    assert_eq!(read(Wanted::Left(None)).await, [second.clone(), first.clone()]);
    assert_eq!(read(Wanted::Left(Some("UA"))).await, std::slice::from_ref(&first));
    assert_eq!(read(Wanted::Expired(hour(8))).await, []);
    assert_eq!(read(Wanted::Expired(hour(9))).await, std::slice::from_ref(&first));

    let both = [movement(MovementKind::Drawn, 60), movement(MovementKind::Expired, 40)];
    let rows: Vec<_> = (1_i64..).zip(both).map(|(seq, movement)| (first.id.clone(), seq, movement)).collect();
    let mut tx = db.write().await.expect("begins");
    tx.record_credit_movements(&rows).await.expect("the second sees the first");
    tx.commit().await.expect("commits");
    first.movements = rows.into_iter().map(|(_, _, movement)| movement).collect();
    assert_eq!(read(Wanted::Id("cg_1")).await, std::slice::from_ref(&first));
    assert_eq!(read(Wanted::Left(None)).await, std::slice::from_ref(&second));
    assert_eq!(read(Wanted::Expired(hour(9))).await, []);
    let page = Wanted::Page { consumer: None, before: Some("cg_2"), limit: 5 };
    assert_eq!(read(page).await, [first]);
    let page = Wanted::Page { consumer: Some("AA"), before: None, limit: 5 };
    assert_eq!(read(page).await, [second]);
}

async fn no_more_is_taken_of_a_grant_than_is_left(db: Db) {
    prepare(&db).await;
    record(&db, &[invoice_of("UA", 1)], &[]).await.expect("is recorded");
    let grant = grant("cg_1", "UA", 100, None);
    let mut tx = db.write().await.expect("begins");
    tx.record_grant(&grant).await.expect("is recorded");
    tx.commit().await.expect("commits");
    taken(&db, &grant, 1, &movement(MovementKind::Drawn, 60)).await.expect("is taken");
    for (seq, minor) in [(2, 41), (1, 5), (3, 5), (2, 0), (2, -5)] {
        let refused = taken(&db, &grant, seq, &movement(MovementKind::Drawn, minor)).await;
        assert!(matches!(refused, Err(Error::Refused(_) | Error::Taken)), "{seq} {minor}: {refused:?}");
    }
    for statement in [
        "update credit_grant set amount = 2",
        "delete from credit_grant",
        "update credit_movement set amount = 2",
        "delete from credit_movement",
        "insert into credit_movement (grant_id, seq, kind, amount, at, effective_on, recorded_at)
         values ('cg_1', 2, 'drawn', 1, 0, '2013-01-01', 0)",
    ] {
        refused(&db, &[statement]).await;
    }
}

async fn a_top_up_is_what_was_last_said(db: Db) {
    prepare(&db).await;
    let top_up = |consumer: &str, below| TopUp {
        consumer: consumer.to_owned(),
        below: usd(below),
        amount: usd(500),
        updated_at: hour(1),
    };
    let mut tx = db.write().await.expect("begins");
    for (consumer, below) in [("UA", 100), ("AA", 7), ("UA", 200)] {
        tx.put_top_up(&top_up(consumer, below)).await.expect("is put");
    }
    assert_eq!(tx.top_ups(None).await.expect("reads"), [top_up("AA", 7), top_up("UA", 200)]);
    assert!(tx.delete_top_up("AA").await.expect("is deleted"));
    assert!(!tx.delete_top_up("AA").await.expect("is not there"));
    assert_eq!(tx.top_ups(Some("AA")).await.expect("reads"), []);
    assert_eq!(tx.top_ups(Some("UA")).await.expect("reads"), [top_up("UA", 200)]);
}

both_engines!(
    a_top_up_is_what_was_last_said,
    grants_read_back_with_what_became_of_them,
    no_more_is_taken_of_a_grant_than_is_left
);
