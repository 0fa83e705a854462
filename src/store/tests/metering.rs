//! The log, usage and published books, on both engines.

use std::sync::Arc;

use crate::domain::ids::QuarantineId;
use crate::domain::measure::delta::Delta;
use crate::domain::measure::delta::Key;
use crate::domain::measure::nano::Nano;
use crate::domain::period::Period;
use crate::domain::time::Instant;
use crate::store::Db;
use crate::store::Error;
use crate::store::batches::Batch;
use crate::store::books::PublishedBook;
use crate::store::quarantine::Quarantined;
use crate::store::tests::both_engines;

both_engines!(
    batches_come_back_in_order_and_a_number_is_taken_once,
    events_that_are_kept_aside_come_back_oldest_first_until_they_are_released,
    usage_is_written_with_its_position_or_not_at_all,
    usage_is_read_by_key_by_meter_and_by_party,
    a_meter_keeps_the_place_it_was_first_published_at,
    a_book_is_published_once_and_versions_come_in_the_order_of_their_effect,
);

pub fn at(micros: i64) -> Instant {
    Instant::from_micros(micros)
}

pub fn batch(seq: i64) -> Batch {
    Batch {
        seq,
        received_at: at(5),
        event_count: 2,
        first_time: at(-1),
        last_time: at(4),
        body: vec![0, 255, 7],
        checksum: 4_294_967_295,
    }
}

fn key(meter: &str, party: &str, bucket: i64, dimensions: &str) -> Key {
    Key { meter: meter.into(), party: party.into(), bucket: at(bucket), dimensions: dimensions.into(), item: "".into() }
}

fn delta(value: &str) -> Delta {
    Delta { value: Nano::parse(value).expect("a number"), count: 1 }
}

async fn batches_come_back_in_order_and_a_number_is_taken_once(db: Db) {
    let mut tx = db.read_log().await.expect("reads");
    assert_eq!(tx.last_seq().await.expect("reads"), 0);
    assert_eq!(tx.log_identity().await.expect("reads").len(), 32);
    drop(tx);
    let mut tx = db.write_log().await.expect("writes");
    tx.append_batch(&batch(2)).await.expect("appends");
    tx.append_batch(&batch(1)).await.expect("appends");
    tx.commit().await.expect("commits");
    let mut appender = db.appender();
    appender.append(&batch(3)).await.expect("appends alone");
    assert!(matches!(appender.append(&batch(3)).await, Err(Error::Taken)));
    assert_eq!(db.settled_last_seq().await.expect("waits for nothing"), 3);
    appender.append(&batch(4)).await.expect("on another connection, or the same");
    let mut again = db.write_log().await.expect("writes");
    assert!(matches!(again.append_batch(&batch(2)).await, Err(Error::Taken)));
    drop(again);
    let mut tx = db.read_log().await.expect("reads");
    assert_eq!(tx.last_seq().await.expect("reads"), 4);
    assert_eq!(tx.log_size().await.expect("reads"), (8, 12));
    assert_eq!(tx.batch(2).await.expect("reads"), Some(batch(2)));
    assert_eq!(tx.batch_after(0).await.expect("reads"), Some(batch(1)));
    assert_eq!(tx.batch_after(1).await.expect("reads"), Some(batch(2)));
    assert_eq!(tx.batch_after(4).await.expect("reads"), None);
}

async fn events_that_are_kept_aside_come_back_oldest_first_until_they_are_released(db: Db) {
    let ids = [1, 2, 3].map(|second| QuarantineId::new(at(second * 1_000_000), [7; 10]));
    // Two of the three are too long for one page.
    let events = ["{\"id\": ".to_owned(), "x".repeat(5 << 20), "y".repeat(5 << 20)];
    let mut tx = db.write_log().await.expect("writes");
    for (id, event) in ids.iter().zip(&events).rev() {
        tx.quarantine(id, at(1), event.as_bytes(), "[]").await.expect("keeps");
    }
    tx.commit().await.expect("commits");
    let mut tx = db.read_log().await.expect("reads");
    assert_eq!(tx.quarantine_size().await.expect("reads"), 3);
    assert!(tx.is_quarantined(&ids[1]).await.expect("reads"));
    let found = |rows: &[Quarantined]| rows.iter().map(|row| row.id.clone()).collect::<Vec<_>>();
    let (rows, more) = tx.quarantined_after("", 10).await.expect("reads");
    assert_eq!((found(&rows), more), (ids[..2].to_vec(), true));
    assert_eq!(tx.quarantined(&ids[0]).await.expect("reads").as_ref(), rows.first());
    let (rows, more) = tx.quarantined_after(ids[1].as_str(), 10).await.expect("reads");
    assert_eq!((found(&rows), more), (ids[2..].to_vec(), false));
    let (rows, more) = tx.quarantined_after("", 1).await.expect("reads");
    assert_eq!((found(&rows), more), (ids[..1].to_vec(), true));
    drop(tx);
    let mut tx = db.write_log().await.expect("writes");
    tx.put_quarantine_faults(&ids[0], "[{}]").await.expect("writes");
    for _ in 0..2 {
        tx.release(&ids[1]).await.expect("is gone, also if it was");
    }
    tx.commit().await.expect("commits");
    let mut tx = db.read_log().await.expect("reads");
    assert_eq!(tx.quarantined(&ids[0]).await.expect("reads").map(|row| row.faults), Some("[{}]".to_owned()));
    assert_eq!(tx.quarantined(&ids[1]).await.expect("reads"), None);
    assert!(!tx.is_quarantined(&ids[1]).await.expect("reads"));
}

async fn usage_is_written_with_its_position_or_not_at_all(db: Db) {
    let row = key("miles", "UA", 0, "{}");
    let mut tx = db.write().await.expect("writes");
    tx.add_meter("miles", 0).await.expect("adds");
    tx.commit().await.expect("commits");
    // The position was moved by somebody else: nothing of the flush stays.
    let mut fenced = db.write().await.expect("writes");
    fenced.put_usage(&[(&row, delta("1"))]).await.expect("puts");
    assert!(!fenced.advance_applied_seq(7, 8).await.expect("asks"));
    drop(fenced);
    assert!(db.read().await.expect("reads").usage_all().await.expect("reads").is_empty());
    let mut tx = db.write().await.expect("writes");
    tx.put_usage(&[(&row, delta("1"))]).await.expect("puts");
    assert!(tx.advance_applied_seq(0, 3).await.expect("asks"));
    tx.commit().await.expect("commits");
    let mut tx = db.read().await.expect("reads");
    assert_eq!(tx.applied_seq().await.expect("reads"), 3);
    assert_eq!(db.settled_applied_seq().await.expect("waits for nothing"), 3);
    assert_eq!(tx.usage_all().await.expect("reads").get(&row), Some(&delta("1")));
}

async fn usage_is_read_by_key_by_meter_and_by_party(db: Db) {
    // A value that no float holds, and more rows than one statement takes.
    let exact = delta("-123456789012345678901234567890.000123456");
    let first = key("miles", "UA", 0, r#"{"origin":"EWR"}"#);
    let keys: Vec<Key> = (1..1_500).map(|hour| key("miles", "AA", hour, "{}")).collect();
    let mut rows = vec![(&first, exact)];
    rows.extend(keys.iter().map(|key| (key, delta("0.5"))));
    let mut tx = db.write().await.expect("writes");
    tx.add_meter("miles", 0).await.expect("adds");
    tx.put_usage(&rows).await.expect("puts");
    tx.put_usage(&[(&keys[0], delta("2"))]).await.expect("puts over it");
    tx.commit().await.expect("commits");
    let mut tx = db.read().await.expect("reads");
    let missing = key("miles", "UA", 1, "{}");
    let found = tx.usage_at(&[&first, &missing, &keys[0]]).await.expect("reads");
    assert_eq!((found.len(), found[&first], found[&keys[0]]), (2, exact, delta("2")));
    let all: Vec<&Key> = keys.iter().collect();
    assert_eq!(tx.usage_at(&all).await.expect("reads").len(), keys.len());
    for value in ["0", "0.000000001", "-0.5", "10000", "99999999.9999", "12300000000"] {
        let mut tx = db.write().await.expect("writes");
        tx.put_usage(&[(&keys[0], delta(value))]).await.expect("puts");
        tx.commit().await.expect("commits");
        let found = db.read().await.expect("reads").usage_at(&[&keys[0]]).await.expect("reads");
        assert_eq!(found[&keys[0]], delta(value), "{value}");
    }
    let mut tx = db.write().await.expect("writes");
    tx.drop_usage(&[&keys[9], &missing]).await.expect("drops");
    tx.commit().await.expect("commits");
    let mut tx = db.read().await.expect("reads");
    assert!(tx.usage_at(&[&keys[9]]).await.expect("reads").is_empty());
    let period = Period::new(at(0), at(3)).expect("a period");
    let (applied_seq, of_all) = db.usage_in("miles", None, period).await.expect("reads");
    let mut of_all: Vec<String> =
        of_all.iter().map(|(key, _)| format!("{}{}", key.party, key.bucket.micros())).collect();
    of_all.sort();
    assert_eq!((applied_seq, of_all), (0, vec!["AA1".to_owned(), "AA2".to_owned(), "UA0".to_owned()]));
    assert_eq!(db.usage_in("miles", Some("LH"), period).await.expect("reads"), (0, Vec::new()));
    assert_eq!(tx.usage_in("miles", Some("UA"), period).await.expect("reads"), [(first, exact)]);
    let of_one = tx.usage_of("UA", period).await.expect("reads");
    assert_eq!((of_one.len(), of_one["miles"][0].value), (1, exact.value));
    assert_eq!(of_one["miles"][0].dimensions["origin"], "EWR");
    let of_some = tx.usage_of_parties(&["UA", "LH"], &["miles", "none"], period).await.expect("reads");
    assert_eq!((of_some.len(), &of_some["UA"]), (1, &of_one));
    let both = tx.usage_of_parties(&["UA", "AA"], &["miles"], period).await.expect("reads");
    let mut hours: Vec<i64> = both["AA"]["miles"].iter().map(|row| row.bucket.micros()).collect();
    hours.sort_unstable();
    assert_eq!((both.len(), hours), (2, vec![1, 2]));
    assert!(tx.usage_of_parties(&["UA"], &[], period).await.expect("reads").is_empty());
    assert!(tx.usage_of_parties(&[], &["miles"], period).await.expect("reads").is_empty());
}

async fn a_meter_keeps_the_place_it_was_first_published_at(db: Db) {
    let mut tx = db.write().await.expect("writes");
    tx.add_meter("miles", 3).await.expect("adds");
    tx.add_meter("miles", 9).await.expect("leaves it");
    tx.commit().await.expect("commits");
    let meters = db.read().await.expect("reads").meters().await.expect("reads");
    assert_eq!(meters, [(Arc::from("miles"), 3)].into());
}

async fn a_book_is_published_once_and_versions_come_in_the_order_of_their_effect(db: Db) {
    let book = |id: &str, effective_from: i64| PublishedBook {
        id: id.to_owned(),
        hash: format!("hash of {id}"),
        effective_from: at(effective_from),
        published_at: at(1),
        published_by: "key_1".to_owned(),
        note: "why".to_owned(),
        files: "[]".to_owned(),
    };
    let mut tx = db.write().await.expect("writes");
    tx.publish_book(&book("bk_b", 20)).await.expect("publishes");
    tx.publish_book(&book("bk_a", 10)).await.expect("publishes");
    tx.commit().await.expect("commits");
    for again in [book("bk_b", 30), book("bk_c", 20)] {
        let mut tx = db.write().await.expect("writes");
        assert!(matches!(tx.publish_book(&again).await, Err(Error::Taken)), "{again:?}");
    }
    let versions = db.read().await.expect("reads").book_versions().await.expect("reads");
    assert_eq!(versions, [book("bk_a", 10), book("bk_b", 20)]);
}
