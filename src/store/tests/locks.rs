//! Locks of the ledger on both engines: they are only added to, and the last one is in force.

use jiff::civil::Date;
use jiff::civil::date;

use super::journal::FEBRUARY;
use super::journal::JANUARY;
use super::journal::dated;
use super::journal::filled;
use super::journal::invoice;
use super::journal::post;
use super::*;
use crate::domain::ids::KeyId;
use crate::domain::ledger::lock::Lock;
use crate::domain::ledger::lock::Locks;
use crate::domain::time::Instant;
use crate::store::keys::ApiKey;
use crate::store::keys::Role;

/// A key of finance that is new.
pub(super) async fn finance(db: &Db, number: u8) -> KeyId {
    let created_at = Instant::from_micros(0);
    let id = KeyId::new(created_at, [number; 10]);
    let key = ApiKey { id: id.clone(), name: String::new(), role: Role::Finance, created_at, revoked_at: None };
    let mut tx = db.write().await.expect("begins");
    tx.add_key(&key, &format!("hash {number}")).await.expect("is new");
    tx.commit().await.expect("commits");
    id
}

fn lock(seq: i64, through: Date, locked_by: &KeyId, reason: Option<&str>) -> Lock {
    let locked_at = Instant::from_micros(seq * 10);
    Lock { seq, through, locked_at, locked_by: locked_by.clone(), reason: reason.map(str::to_owned) }
}

pub(super) async fn add(db: &Db, lock: &Lock) -> Result<()> {
    let mut tx = db.write().await?;
    tx.ledger_locks_to_change().await?;
    tx.add_ledger_lock(lock).await?;
    tx.commit().await
}

pub(super) async fn locked_through(db: &Db, through: Date, key: &KeyId) {
    add(db, &lock(1, through, key, None)).await.expect("is locked");
}

async fn a_lock_is_added_and_stays(db: Db) {
    let key = finance(&db, 1).await;
    assert_eq!(db.read().await.expect("begins").ledger_locks().await.expect("reads"), Locks::default());
    let locks =
        [lock(1, JANUARY, &key, None), lock(2, FEBRUARY, &key, None), lock(3, JANUARY, &key, Some("a mistake"))];
    for lock in &locks {
        add(&db, lock).await.expect("is locked");
    }
    let mut tx = db.write().await.expect("begins");
    tx.hold_journal().await.expect("holds");
    assert_eq!(tx.ledger_locks().await.expect("reads").all(), locks);
    drop(tx);
    assert!(matches!(add(&db, &lock(3, FEBRUARY, &key, None)).await, Err(Error::Taken | Error::Refused(_))));
    let none = lock(4, FEBRUARY, &KeyId::new(Instant::from_micros(0), [9; 10]), None);
    assert!(matches!(add(&db, &none).await, Err(Error::Refused(_))), "somebody did it");
    assert!(matches!(add(&db, &lock(5, FEBRUARY, &key, None)).await, Err(Error::Refused(_))), "no gaps");
    let earlier = Lock { locked_at: Instant::from_micros(29), ..lock(4, FEBRUARY, &key, None) };
    assert!(matches!(add(&db, &earlier).await, Err(Error::Refused(_))), "in the order of time");
    for through in [JANUARY, date(2012, 12, 31)] {
        let back = add(&db, &lock(4, through, &key, None)).await;
        assert!(matches!(back, Err(Error::Refused(reason)) if reason.contains("for a reason")), "{through}");
    }
    assert!(matches!(add(&db, &lock(4, JANUARY, &key, Some(""))).await, Err(Error::Refused(_))));
    for statement in ["update ledger_lock set reason = 'x'", "delete from ledger_lock"] {
        assert!(refused(&db, &[statement]).await.contains("only appended to"), "{statement}");
    }
}

async fn nothing_is_posted_on_days_that_are_locked(db: Db) {
    filled(&db).await;
    let key = finance(&db, 1).await;
    locked_through(&db, JANUARY, &key).await;
    for day in [JANUARY, date(2012, 7, 1)] {
        let posted = post(&db, &[invoice("8", "UA", 5, dated(FEBRUARY)), invoice("9", "UA", 5, dated(day))]).await;
        assert!(matches!(posted, Err(Error::Refused(reason)) if reason.contains("locked")), "{day}");
    }
    post(&db, &[invoice("9", "UA", 5, dated(date(2013, 2, 1)))]).await.expect("the day after is open");
    add(&db, &lock(2, date(2012, 12, 31), &key, Some("a mistake"))).await.expect("is opened");
    post(&db, &[invoice("10", "UA", 5, dated(JANUARY))]).await.expect("is open again");
    // What stands there already is the same, whatever is locked.
    add(&db, &lock(3, FEBRUARY, &key, None)).await.expect("is locked");
    post(&db, &[invoice("10", "UA", 5, dated(JANUARY))]).await.expect("is there already");
    assert_eq!(db.read().await.expect("begins").verify_journal().await.expect("reads"), []);
}

/// Whoever posts has seen the lock, or the lock comes after everything that it has posted.
async fn a_lock_waits_for_whoever_posts(db: Db) {
    let key = finance(&db, 1).await;
    let mut tx = db.write().await.expect("begins");
    tx.hold_journal().await.expect("holds");
    let locking = tokio::spawn({
        let db = db.clone();
        async move { locked_through(&db, JANUARY, &key).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert!(!locking.is_finished());
    tx.post(&[invoice("1", "UA", 5, dated(JANUARY))]).await.expect("is posted");
    tx.commit().await.expect("commits");
    locking.await.expect("is locked");
    assert_eq!(db.read().await.expect("begins").journal_head().await.expect("reads").batch, 1);
}

both_engines!(a_lock_is_added_and_stays, nothing_is_posted_on_days_that_are_locked, a_lock_waits_for_whoever_posts,);
