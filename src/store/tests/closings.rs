//! Closings on both engines.

use super::consumers::consumer;
use super::consumers::put;
use super::subscriptions::create;
use super::subscriptions::hour;
use super::subscriptions::subscription;
use super::*;
use crate::domain::document::Occasion;
use crate::domain::period::Period;
use crate::store::books::PublishedBook;
use crate::store::closings::ClosedPeriod;
use crate::store::closings::Closing;

pub const VERSION: &str = "v1";

pub fn closing(seq: i64) -> Closing {
    Closing { seq, due_at: hour(10), usage_seq: 3, replayed: 2, closed_at: hour(11) }
}

pub fn period() -> Period {
    Period::new(hour(0), hour(10)).expect("a period")
}

pub fn closed(name: &str, consumer_id: &str, occasion: Occasion) -> ClosedPeriod {
    ClosedPeriod {
        subscription: subscription(name, consumer_id).id,
        occasion,
        period: period(),
        book_version: VERSION.to_owned(),
        next_book_version: (occasion == Occasion::Closing).then(|| VERSION.to_owned()),
        next_period_to: (occasion == Occasion::Closing).then(|| hour(9)),
        consumer: consumer(consumer_id),
    }
}

/// A published book, and UA and AA with a subscription each.
pub async fn prepare(db: &Db) {
    let mut tx = db.write().await.expect("begins");
    let book = PublishedBook {
        id: VERSION.to_owned(),
        hash: "h".to_owned(),
        effective_from: hour(0),
        published_at: hour(0),
        published_by: "test".to_owned(),
        note: String::new(),
        files: "[]".to_owned(),
    };
    tx.publish_book(&book).await.expect("is published");
    tx.commit().await.expect("commits");
    for id in ["UA", "AA"] {
        put(db, &consumer(id)).await.expect("is put");
        create(db, &subscription(id, id)).await.expect("is created");
    }
}

async fn a_closing_remembers_what_was_rated_in_it_and_from_what(db: Db) {
    prepare(&db).await;
    assert_eq!(db.read().await.expect("begins").last_closing().await.expect("reads"), 0);
    let periods = [closed("AA", "AA", Occasion::Closing), closed("UA", "UA", Occasion::Opening)];
    let mut tx = db.write().await.expect("begins");
    tx.record_closing(&closing(1), &periods).await.expect("is recorded");
    tx.commit().await.expect("commits");

    let mut tx = db.read().await.expect("begins");
    assert_eq!(tx.last_closing().await.expect("reads"), 1);
    assert_eq!(tx.closings().await.expect("reads"), [closing(1)]);
    assert_eq!(tx.closed_periods(1).await.expect("reads"), periods);
    // An opening closes nothing.
    let of = |id| subscription(id, id).id;
    let closed = tx.closed_periods_of(&of("AA")).await.expect("reads");
    assert_eq!(closed, [(1, periods[0].clone())]);
    assert_eq!(tx.closed_periods_of(&of("UA")).await.expect("reads"), []);
    for (consumer, opened) in [(None, vec![of("UA")]), (Some("UA"), vec![of("UA")]), (Some("AA"), vec![])] {
        let found = tx.opened(consumer).await.expect("reads");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), opened, "{consumer:?}");
    }
    assert!(tx.granted_by_program().await.expect("reads").is_empty());
}

async fn of_two_closings_at_once_only_one_is_kept(db: Db) {
    prepare(&db).await;
    for (expected, period) in
        [(true, closed("AA", "AA", Occasion::Closing)), (false, closed("UA", "UA", Occasion::Closing))]
    {
        let mut tx = db.write().await.expect("begins");
        let recorded = tx.record_closing(&closing(1), &[period]).await;
        assert_eq!(recorded.is_ok(), expected, "{recorded:?}");
        if recorded.is_ok() {
            tx.commit().await.expect("commits");
        } else {
            assert!(matches!(recorded, Err(Error::Taken)));
        }
    }
    let mut tx = db.write().await.expect("begins");
    let again = tx.record_closing(&closing(2), &[closed("AA", "AA", Occasion::Closing)]).await;
    assert!(matches!(again, Err(Error::Taken)), "a period is closed once: {again:?}");
}

both_engines!(a_closing_remembers_what_was_rated_in_it_and_from_what, of_two_closings_at_once_only_one_is_kept,);
