//! What was replayed, on both engines.

use super::metering::at;
use super::*;
use crate::domain::period::Period;
use crate::store::replayed::Replayed;

both_engines!(what_was_replayed_comes_back_in_order_and_stays);

async fn what_was_replayed_comes_back_in_order_and_stays(db: Db) {
    let replayed = |id, from: i64| Replayed {
        id,
        meter: "miles".to_owned(),
        first_seq: 1,
        last_seq: 4,
        period: Period::new(at(from), at(i64::MAX)).expect("a period"),
    };
    let mut tx = db.write().await.expect("begins");
    assert_eq!(tx.last_replayed().await.expect("reads"), 0);
    tx.add_meter("miles", 4).await.expect("adds");
    tx.record_replayed(&replayed(2, 7)).await.expect("records");
    tx.record_replayed(&replayed(1, i64::MIN)).await.expect("records");
    tx.commit().await.expect("commits");
    let mut again = db.write().await.expect("begins");
    assert!(matches!(again.record_replayed(&replayed(2, 9)).await, Err(Error::Taken)));
    drop(again);
    let mut tx = db.read().await.expect("begins");
    assert_eq!(tx.last_replayed().await.expect("reads"), 2);
    assert_eq!(tx.replayed(2).await.expect("reads"), [replayed(1, i64::MIN), replayed(2, 7)]);
    assert_eq!(tx.replayed(1).await.expect("reads"), [replayed(1, i64::MIN)]);
    drop(tx);
    refused(&db, &["update replayed set last_seq = 9"]).await;
    refused(&db, &["delete from replayed"]).await;
    refused(
        &db,
        &["insert into replayed (id, meter, first_seq, last_seq, from_time, to_time)
                    values (3, 'nobody', 1, 2, 3, 4)"],
    )
    .await;
    if !is_sqlite(&db) {
        refused(&db, &["truncate replayed"]).await;
    }
}
