//! Shares on both engines.

use std::collections::BTreeSet;

use rust_decimal::Decimal;

use super::closings::closing;
use super::closings::prepare;
use super::subscriptions::create;
use super::subscriptions::hour;
use super::subscriptions::subscription;
use super::*;
use crate::domain::document::share::Share;
use crate::domain::document::share::Sharer;
use crate::domain::measure::delta::Key;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::period::Period;
use crate::store::shares::Which;

fn share(charge: &str, to: &str, minor: i64) -> Share {
    let usd = Currency::from_code("USD").expect("USD exists");
    Share {
        charged: subscription("UA", "UA").id,
        period: Period::new(hour(1), hour(2)).expect("a period"),
        charge: charge.to_owned(),
        to: subscription(to, to).id,
        component: "royalty".to_owned(),
        program: "royalties".to_owned(),
        rate: Decimal::new(125, 1),
        base: Money::from_minor(8 * minor, usd),
        amount: Money::from_minor(minor, usd),
    }
}

async fn a_share_waits_until_a_statement_has_it(db: Db) {
    prepare(&db).await;
    let (aa, ua) = (subscription("AA", "AA").id, subscription("UA", "UA").id);
    let (first, second, third) = (share("a", "AA", 10), share("b", "UA", -20), share("a", "AA", 30));
    let mut tx = db.write().await.expect("begins");
    tx.record_closing(&closing(1), &[]).await.expect("is recorded");
    tx.record_closing(&closing(2), &[]).await.expect("is recorded");
    tx.record_shares(1, &[first.clone(), second.clone()], &BTreeSet::from([&ua])).await.expect("is recorded");
    tx.record_shares(2, std::slice::from_ref(&third), &BTreeSet::new()).await.expect("is recorded");
    tx.commit().await.expect("commits");
    let read = async |which| db.read().await.expect("begins").shares(which).await.expect("reads");
    assert_eq!(read(Which::Earned(1)).await, [first.clone(), second.clone()]);
    assert_eq!(read(Which::Of(&ua, hour(1))).await, [first.clone(), second.clone(), third.clone()]);
    assert_eq!(read(Which::Of(&ua, hour(2))).await, []);
    assert_eq!(read(Which::Waiting).await, [first.clone(), third.clone()]);
    assert_eq!(read(Which::Taken(1, &ua)).await, std::slice::from_ref(&second));

    let mut tx = db.write().await.expect("begins");
    tx.take_shares(2, &aa).await.expect("is taken");
    tx.take_shares(2, &ua).await.expect("is taken");
    tx.commit().await.expect("commits");
    assert_eq!(read(Which::Waiting).await, []);
    assert_eq!(read(Which::Taken(2, &aa)).await, [first, third]);
    assert_eq!(read(Which::Taken(1, &ua)).await, [second], "what is on a statement stays there");
}

async fn who_shared_in_what_is_kept_with_the_closing(db: Db) {
    prepare(&db).await;
    let sharer = |producer: &str| Sharer {
        book_version: "v1".to_owned(),
        until: hour(3),
        plan: "reader".to_owned(),
        charge: "reads".to_owned(),
        dimension: "publisher".to_owned(),
        producer: producer.to_owned(),
        subscription: subscription(producer, producer).id,
        component: "royalty".to_owned(),
        program: "royalties".to_owned(),
        rate: Decimal::new(7, 1),
    };
    let sharers = [sharer("AA"), sharer("UA")];
    let mut tx = db.write().await.expect("begins");
    tx.record_closing(&closing(1), &[]).await.expect("is recorded");
    tx.record_sharers(1, &sharers.iter().collect::<Vec<_>>()).await.expect("is recorded");
    tx.commit().await.expect("commits");
    let mut tx = db.read().await.expect("begins");
    assert_eq!(tx.sharers(1).await.expect("reads"), sharers);
    assert_eq!(tx.sharers(2).await.expect("reads"), []);
}

async fn what_is_closed_to_its_end_is_corrected_if_something_came_since(db: Db) {
    prepare(&db).await;
    let mut over = subscription("late", "AA");
    (over.ends_at, over.closed_through) = (Some(hour(2)), hour(2));
    create(&db, &over).await.expect("is created");
    let to_correct = async || db.read().await.expect("begins").subscriptions_to_correct().await.expect("reads");
    assert_eq!(to_correct().await, []);
    let mut tx = db.write().await.expect("begins");
    tx.record_closing(&closing(1), &[]).await.expect("is recorded");
    let earned = Share { to: over.id.clone(), ..share("a", "AA", 10) };
    tx.record_shares(1, &[earned, share("b", "UA", 5)], &BTreeSet::new()).await.expect("is recorded");
    tx.commit().await.expect("commits");
    assert_eq!(to_correct().await, [over.clone()], "and not UA, which runs");
    let mut tx = db.write().await.expect("begins");
    tx.take_shares(1, &over.id).await.expect("is taken");
    tx.commit().await.expect("commits");
    assert_eq!(to_correct().await, []);
    let mut tx = db.write().await.expect("begins");
    tx.await_adjustment(&over.id, hour(1)).await.expect("writes");
    tx.commit().await.expect("commits");
    assert_eq!(to_correct().await, [over.clone()]);
    let key = Key { meter: "m".into(), party: "AA".into(), bucket: hour(1), dimensions: "{}".into(), item: "".into() };
    let mut tx = db.write().await.expect("begins");
    tx.drop_adjustment(&over.id, hour(1)).await.expect("writes");
    tx.announce_closing(hour(3)).await.expect("writes");
    tx.note_late(&[&key]).await.expect("writes");
    tx.commit().await.expect("commits");
    assert_eq!(to_correct().await, [over]);
}

both_engines!(
    a_share_waits_until_a_statement_has_it,
    who_shared_in_what_is_kept_with_the_closing,
    what_is_closed_to_its_end_is_corrected_if_something_came_since,
);
