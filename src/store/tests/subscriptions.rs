//! Subscriptions on both engines.

use super::closings::VERSION;
use super::closings::prepare;
use super::consumers::consumer;
use super::consumers::put;
use super::*;
use crate::domain::days::BillingDays;
use crate::domain::days::DayChange;
use crate::domain::ids::SubscriptionId;
use crate::domain::money::Currency;
use crate::domain::quantity::Quantities;
use crate::domain::quantity::QuantityChange;
use crate::domain::subscription::Change;
use crate::domain::subscription::Ending;
use crate::domain::subscription::Subscription;
use crate::domain::time::Instant;
use crate::store::subscriptions::Advance;

pub const HOUR: i64 = 3_600_000_000;

pub fn hour(count: i64) -> Instant {
    Instant::from_micros(count * HOUR)
}

/// A subscription of `consumer` from hour 0 on.
pub fn subscription(name: &str, consumer: &str) -> Subscription {
    let id = SubscriptionId::parse(&format!("sub_{name}")).expect("an id");
    Subscription::new(id, consumer.to_owned(), "airline".to_owned(), (hour(0), None), hour(0))
}

pub async fn create(db: &Db, subscription: &Subscription) -> Result<()> {
    let mut tx = db.write().await?;
    tx.create_subscription(subscription).await?;
    tx.commit().await
}

async fn subscriptions_are_listed_by_consumer_and_those_not_closed_to_their_end(db: Db) {
    put(&db, &consumer("UA")).await.expect("is put");
    put(&db, &consumer("AA")).await.expect("is put");
    let first = subscription("1", "UA");
    let ended = Subscription { ends_at: Some(hour(5)), ..subscription("2", "AA") };
    let late = Subscription { starts_at: hour(9), closed_through: hour(9), ..subscription("3", "UA") };
    for subscription in [&first, &ended, &late] {
        create(&db, subscription).await.expect("is created");
    }
    let mut tx = db.write().await.expect("begins");
    let of_ended = Advance { read: &ended, from: hour(0), to: hour(5), charged: None };
    assert_eq!(tx.advance_closed_through(&[of_ended]).await.expect("writes"), 1);
    tx.commit().await.expect("commits");

    let mut tx = db.read().await.expect("begins");
    assert_eq!(tx.subscription(&late.id).await.expect("reads"), Some(late.clone()));
    assert_eq!(tx.subscriptions(Some("UA"), None, 9).await.expect("reads"), [first.clone(), late.clone()]);
    assert_eq!(tx.subscriptions(None, Some(&first.id), 1).await.expect("reads").len(), 1);
    assert_eq!(tx.unfinished_subscriptions(hour(8)).await.expect("reads"), std::slice::from_ref(&first));
    assert_eq!(tx.unfinished_subscriptions(hour(9)).await.expect("reads"), [first.clone(), late.clone()]);
    let named = |these: &[&Subscription]| -> Vec<(String, String)> {
        these.iter().map(|it| (it.id.to_string(), it.consumer.clone())).collect()
    };
    let running = tx.subscriptions_running_on("airline", hour(4), 9).await.expect("reads");
    assert_eq!(running, (3, named(&[&first, &ended, &late])));
    let running = tx.subscriptions_running_on("airline", hour(5), 1).await.expect("reads");
    assert_eq!(running, (2, named(&[&first])));
    assert_eq!(tx.subscriptions_running_on("other", hour(0), 9).await.expect("reads"), (0, Vec::new()));
}

async fn a_subscription_is_closed_once_from_where_it_stood(db: Db) {
    put(&db, &consumer("UA")).await.expect("is put");
    let (subscription, other) = (subscription("1", "UA"), subscription("2", "UA"));
    create(&db, &subscription).await.expect("is created");
    create(&db, &other).await.expect("is created");
    for (from, moved) in [(1, 1), (0, 1), (0, 0)] {
        let mut tx = db.write().await.expect("begins");
        // The other one moves from 0 to 1 the first time, and stays there.
        let advance = |read, from, to| Advance { read, from: hour(from), to: hour(to), charged: None };
        let both = [advance(&subscription, from, 2), advance(&other, 0, 1)];
        assert_eq!(tx.advance_closed_through(&both).await.expect("writes"), moved, "from {from}");
        tx.commit().await.expect("commits");
    }
}

async fn what_is_closed_of_a_subscription_stays_as_it_was(db: Db) {
    put(&db, &consumer("UA")).await.expect("is put");
    create(&db, &Subscription { closed_through: hour(2), ..subscription("1", "UA") }).await.expect("is created");
    for set in
        ["closed_through = 0", "ends_at = 3600000000", "plan = 'x'", "anchor_day = 3", "starts_at = 1", "id = 'sub_2'"]
    {
        let reason = refused(&db, &[&format!("update subscription set {set}")]).await;
        assert!(reason.contains("stays as it was"), "{set}: {reason}");
    }
    assert!(refused(&db, &["delete from subscription"]).await.contains("never changed"));
    sent(&db, &["update subscription set ends_at = 7200000000"]).await.expect("may end where it is closed");
    assert!(matches!(create(&db, &subscription("2", "nobody")).await, Err(Error::Refused(_))));
    let euro = crate::domain::consumer::Consumer {
        currency: Currency::from_code("EUR").expect("EUR exists"),
        ..consumer("UA")
    };
    let Err(Error::Refused(reason)) = put(&db, &euro).await else { panic!("should have been refused") };
    assert!(reason.contains("keeps its currency"), "{reason}");
}

async fn an_open_subscription_is_changed_and_whoever_read_it_before_cannot_close_it(db: Db) {
    prepare(&db).await;
    let read = subscription("UA", "UA");
    let change = |at, plan: &str| Change { at: hour(at), plan: plan.to_owned(), paused: false, made_at: hour(1) };
    let reschedule = async |changed: &Subscription| {
        let mut tx = db.write().await?;
        tx.reschedule_subscription(changed).await?;
        tx.commit().await
    };
    let two = Subscription { changes: vec![change(3, "a"), change(5, "b")], ..read.clone() };
    reschedule(&two).await.expect("is changed");
    let one = Subscription { changes: vec![change(4, "c")], ends_at: Some(hour(9)), ..read.clone() };
    assert!(matches!(reschedule(&one).await, Err(Error::Taken)), "it was read before the other change");
    let one = Subscription { revision: 1, ..one };
    reschedule(&one).await.expect("is changed");
    let known = db.read().await.expect("begins").subscription(&read.id).await.expect("reads").expect("is there");
    assert_eq!(known, Subscription { revision: 2, ..one });
    let mut tx = db.read().await.expect("begins");
    for (plan, from, running) in [("airline", 3, 1), ("airline", 4, 0), ("c", 0, 1), ("c", 9, 0), ("a", 0, 0)] {
        let (count, _) = tx.subscriptions_running_on(plan, hour(from), 9).await.expect("reads");
        assert_eq!(count, running + i64::from(plan == "airline"), "{plan} from {from}: AA stays");
    }
    drop(tx);

    let mut tx = db.write().await.expect("begins");
    let advance = |read| Advance { read, from: hour(0), to: hour(4), charged: Some((hour(8), VERSION)) };
    assert_eq!(tx.advance_closed_through(&[advance(&read)]).await.expect("writes"), 0);
    assert_eq!(tx.advance_closed_through(&[advance(&known)]).await.expect("writes"), 1);
    tx.commit().await.expect("commits");
    let closed = db.read().await.expect("begins").subscriptions(Some("UA"), None, 9).await.expect("reads");
    assert_eq!(closed[0].advance_through, Some(hour(8)));
    assert_eq!(closed[0].book_version.as_deref(), Some(VERSION));
    // What is closed stays, also if it is asked for otherwise.
    reschedule(&Subscription { changes: vec![change(6, "d")], ..closed[0].clone() }).await.expect("is changed");
    let kept = db.read().await.expect("begins").subscription(&read.id).await.expect("reads").expect("is there");
    assert_eq!(kept.changes, [change(4, "c"), change(6, "d")]);
    for sql in [
        "insert into subscription_change values ('sub_UA', 14400000000, 'x', 0, 0)",
        "insert into subscription_change values ('sub_UA', 36000000000, 'x', 0, 0)",
        "update subscription_change set plan = 'x'",
        "delete from subscription_change",
    ] {
        assert!(refused(&db, &[sql]).await.contains("stays as it was"), "{sql}");
    }
}

async fn a_billing_day_is_kept_and_changes_where_nothing_is_closed(db: Db) {
    put(&db, &consumer("UA")).await.expect("is put");
    let days = |changes: &[(i64, Option<i8>)]| BillingDays {
        first: Some(31),
        changes: changes.iter().map(|(at, day)| DayChange { at: hour(*at), day: *day, made_at: hour(1) }).collect(),
    };
    let made = Subscription { closed_through: hour(2), days: days(&[]), ..subscription("1", "UA") };
    create(&db, &made).await.expect("is created");
    create(&db, &subscription("2", "UA")).await.expect("is created");
    let reschedule = async |days: BillingDays| {
        let mut tx = db.write().await?;
        let known = tx.subscription(&made.id).await?.expect("is there");
        tx.reschedule_subscription(&Subscription { days, ..known }).await?;
        tx.commit().await
    };
    for changes in [vec![(3, Some(15)), (5, None)], vec![(4, None), (6, Some(1))]] {
        reschedule(days(&changes)).await.expect("is changed");
        let known = db.read().await.expect("begins").subscriptions(None, None, 9).await.expect("reads");
        assert_eq!(known[0].days, days(&changes));
        assert_eq!(known[1].days, BillingDays::default());
    }
    for sql in [
        "insert into subscription_day values ('sub_1', 7200000000, 3, 0)",
        "update subscription_day set anchor_day = 3",
        "update subscription set anchor_day = null where id = 'sub_1'",
    ] {
        assert!(refused(&db, &[sql]).await.contains("stays as it was"), "{sql}");
    }
    assert!(matches!(reschedule(days(&[(9, Some(32))])).await, Err(Error::Refused(_))), "no month has it");
    sent(&db, &["update subscription set closed_through = 18000000000 where id = 'sub_1'"]).await.expect("is closed");
    assert!(refused(&db, &["delete from subscription_day"]).await.contains("stays as it was"));
}

async fn pauses_quantities_and_what_an_end_settles_are_kept_where_nothing_is_closed(db: Db) {
    put(&db, &consumer("UA")).await.expect("is put");
    let quantities = |changes: &[(i64, i64)]| Quantities {
        first: 5,
        changes: changes
            .iter()
            .map(|(at, quantity)| QuantityChange { at: hour(*at), quantity: *quantity, made_at: hour(1) })
            .collect(),
    };
    let made = Subscription { closed_through: hour(2), quantities: quantities(&[]), ..subscription("1", "UA") };
    create(&db, &made).await.expect("is created");
    let reschedule = async |quantities: Quantities, paused: bool, ending: Ending| {
        let mut tx = db.write().await?;
        let known = tx.subscription(&made.id).await?.expect("is there");
        let changes = vec![Change { at: hour(4), plan: "airline".to_owned(), paused, made_at: hour(1) }];
        tx.reschedule_subscription(&Subscription { quantities, changes, ending, ends_at: Some(hour(8)), ..known })
            .await?;
        tx.commit().await
    };
    for (changes, paused) in [(vec![(3, 8), (5, 0)], true), (vec![(4, 2)], false)] {
        let ending = Ending { charges: paused, credits: !paused };
        reschedule(quantities(&changes), paused, ending).await.expect("is changed");
        let known = db.read().await.expect("begins").subscription(&made.id).await.expect("reads").expect("is there");
        assert_eq!((known.quantities, known.ending), (quantities(&changes), ending));
        assert_eq!(known.changes.iter().map(|change| change.paused).collect::<Vec<_>>(), [paused]);
    }
    for sql in [
        "insert into subscription_quantity values ('sub_1', 7200000000, 3, 0)",
        "insert into subscription_quantity values ('sub_1', 28800000000, 3, 0)",
        "update subscription_quantity set quantity = 3",
        "update subscription set quantity = 6",
    ] {
        assert!(refused(&db, &[sql]).await.contains("stays as it was"), "{sql}");
    }
    let too_few = reschedule(quantities(&[(5, -1)]), false, Ending::default()).await;
    assert!(matches!(too_few, Err(Error::Refused(_))));
    sent(&db, &["update subscription set closed_through = 28800000000"]).await.expect("is closed");
    for sql in ["delete from subscription_quantity", "update subscription set end_charges = 1"] {
        assert!(refused(&db, &[sql]).await.contains("stays as it was"), "{sql}");
    }
}

both_engines!(
    pauses_quantities_and_what_an_end_settles_are_kept_where_nothing_is_closed,
    a_billing_day_is_kept_and_changes_where_nothing_is_closed,
    subscriptions_are_listed_by_consumer_and_those_not_closed_to_their_end,
    a_subscription_is_closed_once_from_where_it_stood,
    what_is_closed_of_a_subscription_stays_as_it_was,
    an_open_subscription_is_changed_and_whoever_read_it_before_cannot_close_it,
);
