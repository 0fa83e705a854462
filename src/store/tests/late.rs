//! What comes too late, on both engines.

use super::closings::prepare;
use super::subscriptions::hour;
use super::subscriptions::subscription;
use super::*;
use crate::domain::measure::delta::Key;
use crate::domain::time::Instant;
use crate::store::late::LateUsage;

fn key(party: &str, bucket: Instant) -> Key {
    Key { meter: "miles".into(), party: party.into(), bucket, dimensions: "{}".into(), item: "".into() }
}

async fn note(db: &Db, keys: &[Key]) {
    let mut tx = db.write().await.expect("begins");
    tx.note_late(&keys.iter().collect::<Vec<_>>()).await.expect("writes");
    tx.commit().await.expect("commits");
}

async fn what_is_added_to_closed_times_is_noted_until_it_is_taken_up(db: Db) {
    note(&db, &[key("UA", hour(1))]).await;
    let mut tx = db.write().await.expect("begins");
    tx.announce_closing(hour(5)).await.expect("writes");
    tx.announce_closing(hour(4)).await.expect("writes");
    tx.commit().await.expect("commits");
    note(&db, &[key("UA", hour(4)), key("UA", hour(5)), key("AA", hour(2)), key("UA", hour(4))]).await;
    let late = |party: &str, at| LateUsage { party: party.to_owned(), bucket: hour(at), meter: "miles".to_owned() };
    let read = async |parties: &[&str]| db.read().await.expect("begins").late_usage(parties).await.expect("reads");
    assert_eq!(read(&["UA"]).await, (vec![late("UA", 4)], 1));
    note(&db, &[key("UA", hour(3))]).await;
    assert_eq!(read(&["AA", "UA"]).await, (vec![late("AA", 2), late("UA", 3), late("UA", 4)], 2));
    // What was added since it was read stays.
    let mut tx = db.write().await.expect("begins");
    tx.drop_late(&["UA"], 1).await.expect("writes");
    tx.commit().await.expect("commits");
    assert_eq!(read(&["AA", "UA"]).await, (vec![late("AA", 2), late("UA", 3)], 2));
}

async fn a_closed_period_waits_once_to_be_rated_again(db: Db) {
    prepare(&db).await;
    let (first, second) = (subscription("AA", "AA").id, subscription("UA", "UA").id);
    let mut tx = db.write().await.expect("begins");
    for (id, at) in [(&second, 1), (&first, 2), (&first, 2)] {
        tx.await_adjustment(id, hour(at)).await.expect("writes");
    }
    assert_eq!(tx.pending_adjustments().await.expect("reads"), [(first.clone(), hour(2)), (second.clone(), hour(1))]);
    tx.drop_adjustment(&second, hour(1)).await.expect("writes");
    assert_eq!(tx.pending_adjustments().await.expect("reads"), [(first, hour(2))]);
    tx.commit().await.expect("commits");
}

both_engines!(
    what_is_added_to_closed_times_is_noted_until_it_is_taken_up,
    a_closed_period_waits_once_to_be_rated_again,
);
