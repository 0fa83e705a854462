//! Changes of plan in the middle of a period, moving to another price book, and leaving: what was charged in advance and
//! is not used comes back, and what is closed stays as it is.

use super::*;
use crate::billing::subscribe;
use crate::billing::subscribe::Change;
use crate::billing::subscribe::change;
use crate::domain::subscription::Ending;
use crate::store::tests::both_engines;

const ALLIANCE: &str = r#"
[plan]
id = "alliance"
name = "Alliance"
currency = "USD"
interval = "month"
anchor = "calendar"
timezone = "America/New_York"
[[plan.component]]
id = "gate"
kind = "fee"
amount = "280.00"
when = "advance"
prorate = "day"
[[plan.component]]
id = "miles"
kind = "charge"
meter = "miles"
model = "per_unit"
unit_amount = "0.02"
"#;

/// Publishes the book again, with the plan `alliance` and a gate fee of 200.00 in the plan `airline`.
async fn publish_alliance(metering: &Metering, effective_from: &str) {
    let file = |(path, text): (&str, &str)| SourceFile {
        path: path.to_owned(),
        text: text.replace(r#"amount = "100.00""#, r#"amount = "200.00""#),
    };
    let files = BOOK.into_iter().chain([("plans/alliance.toml", ALLIANCE)]).map(file).collect();
    let version = BookVersion::new(files, at(effective_from)).expect("is a book");
    metering.publish(version, "test", "", NOW).await.expect("is published");
}

pub(super) async fn changed(db: &Db, metering: &Metering, wanted: Change) -> Result<Subscription, subscribe::Error> {
    let id = SubscriptionId::parse("sub_UA").expect("an id");
    change(db, &metering.versions(), &id, wanted, NOW).await
}

pub(super) fn to_plan(plan: Option<&str>, at: &str) -> Change {
    Change::Plan { plan: plan.map(str::to_owned), at: at.to_owned() }
}

pub(super) fn to_end(end: Option<String>) -> Change {
    Change::End { end, ending: Ending::default() }
}

async fn summaries(db: &Db) -> Vec<String> {
    documents(db).await.0.iter().map(summary).collect()
}

async fn a_plan_changes_within_a_month_and_its_subscriber_leaves_within_another(db: Db) {
    let metering = metering(&db).await;
    sign_up(&db, "UA", "gold", None, None).await;
    closed(&db, &metering, "2013-02-01").await;
    publish_alliance(&metering, "2013-02-01T05:00:00Z").await;
    changed(&db, &metering, to_plan(Some("alliance"), "2013-02-15")).await.expect("changes");
    fly(&metering, "UA", "2013-02-15T04:59:59Z", 10, 1000).await;
    fly(&metering, "UA", "2013-02-15T05:00:00Z", 10, 1000).await;
    closed(&db, &metering, "2013-03-01").await;
    changed(&db, &metering, to_end(Some("2013-03-16".to_owned()))).await.expect("ends");
    closed(&db, &metering, "2013-05-01").await;
    assert_eq!(
        summaries(&db).await,
        [
            "INV-000001 UA opening: gate 10000; tax 0, total 10000",
            "INV-000002 UA closing: platform 1000, miles 0, gate 10000; tax 0, total 11000",
            // 14 of the 28 days of February were not used of the one, and are charged of the other.
            "INV-000003 UA closing: platform 1000, miles 10100, gate -5000, gate 14000; tax 0, total 20100",
            "INV-000004 UA closing: miles 20000, gate 28000; tax 0, total 48000",
            // 16 of the 31 days of March.
            "INV-000005 UA closing: miles 0, gate -14452; tax 0, total -14452",
        ]
    );
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

async fn a_subscription_keeps_its_prices_until_its_next_period_unless_it_is_moved(db: Db) {
    let metering = metering(&db).await;
    sign_up(&db, "UA", "gold", None, None).await;
    sign_up(&db, "AA", "gold", None, None).await;
    closed(&db, &metering, "2013-02-01").await;
    publish_alliance(&metering, "2013-02-05T05:00:00Z").await;
    changed(&db, &metering, to_plan(None, "2013-02-15")).await.expect("moves");
    closed(&db, &metering, "2013-03-01").await;
    let of = |consumer: &'static str| move |summary: &String| summary.split(' ').nth(1) == Some(consumer);
    let summaries = summaries(&db).await;
    let bodies = |consumer| {
        let own = summaries.iter().filter(|summary| of(consumer)(summary)).skip(2);
        own.map(|summary| summary.split_once(": ").expect("a body").1.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(bodies("AA"), ["platform 1000, miles 0, gate 20000; tax 0, total 21000"]);
    assert_eq!(
        bodies("UA"),
        [
            "platform 1000, miles 0, gate -5000, gate 10000; tax 0, total 6000",
            "platform 1000, miles 0, gate 20000; tax 0, total 21000",
        ]
    );
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

async fn what_is_closed_cannot_be_changed_and_a_later_change_takes_the_place_of_others(db: Db) {
    let metering = metering(&db).await;
    publish_alliance(&metering, "2013-01-02T05:00:00Z").await;
    sign_up(&db, "UA", "gold", None, None).await;
    closed(&db, &metering, "2013-02-01").await;
    for refused in [to_plan(Some("alliance"), "2013-02-01"), to_end(Some("2013-01-20".to_owned()))] {
        let refused = changed(&db, &metering, refused).await.expect_err("is closed");
        assert!(matches!(refused, subscribe::Error::Closed { .. }), "{refused}");
    }
    let unknown = changed(&db, &metering, to_plan(Some("allianz"), "2013-03-01")).await.expect_err("no such plan");
    assert!(unknown.to_string().contains("there are: airline, alliance"), "{unknown}");
    changed(&db, &metering, to_plan(Some("alliance"), "2013-03-10")).await.expect("changes");
    changed(&db, &metering, to_plan(None, "2013-04-01")).await.expect("changes");
    let kept = changed(&db, &metering, to_plan(Some("alliance"), "2013-03-05")).await.expect("changes");
    let kept: Vec<_> = kept.changes.iter().map(|change| (change.plan.as_str(), change.at.to_string())).collect();
    assert_eq!(kept, [("alliance", "2013-03-05T05:00:00Z".to_owned())]);
    let ended = changed(&db, &metering, to_end(Some("2013-03-01".to_owned()))).await.expect("ends");
    assert_eq!(ended.ends_at, Some(at("2013-03-01T05:00:00Z")));
    let late = changed(&db, &metering, to_plan(Some("alliance"), "2013-03-02")).await.expect_err("has ended");
    assert!(matches!(late, subscribe::Error::Ended { .. }), "{late}");
    assert_eq!(changed(&db, &metering, to_end(None)).await.expect("runs on").ends_at, None);
}

async fn what_is_over_stays_as_it_was(db: Db) {
    let metering = metering(&db).await;
    sign_up(&db, "UA", "gold", None, Some(at("2013-01-16T05:00:00Z"))).await;
    closed(&db, &metering, "2013-02-01").await;
    for refused in [to_end(None), to_end(Some("2013-03-01".to_owned())), to_plan(None, "2013-03-01")] {
        let refused = changed(&db, &metering, refused).await.expect_err("is over");
        assert!(matches!(refused, subscribe::Error::Over(_)), "{refused}");
    }
}

async fn a_plan_without_a_name_is_the_one_of_then(db: Db) {
    let metering = metering(&db).await;
    publish_alliance(&metering, "2013-01-02T05:00:00Z").await;
    sign_up(&db, "UA", "gold", None, None).await;
    changed(&db, &metering, to_plan(Some("alliance"), "2014-06-01")).await.expect("changes");
    let moved = changed(&db, &metering, to_plan(None, "2014-07-01")).await.expect("changes");
    let plans: Vec<&str> = moved.changes.iter().map(|change| &*change.plan).collect();
    assert_eq!(plans, ["alliance", "alliance"]);
}

/// Where a price book to come has no such plan, nobody may be left on it: nothing could be closed there.
async fn nobody_is_put_on_a_plan_that_goes(db: Db) {
    let metering = metering(&db).await;
    publish_alliance(&metering, "2013-01-02T05:00:00Z").await;
    let files = BOOK.map(|(path, text)| SourceFile { path: path.to_owned(), text: text.to_owned() }).to_vec();
    let mut files: Vec<SourceFile> = files;
    files[0].text.push_str("\n# without the alliance\n");
    let without = BookVersion::new(files, at("2013-06-01T04:00:00Z")).expect("is a book");
    metering.publish(without, "test", "", NOW).await.expect("is published");
    sign_up(&db, "UA", "gold", None, None).await;
    let refused = changed(&db, &metering, to_plan(Some("alliance"), "2013-04-01")).await.expect_err("it goes");
    assert!(matches!(refused, subscribe::Error::PlanGoes { .. }), "{refused}");
    changed(&db, &metering, to_end(Some("2013-06-01".to_owned()))).await.expect("ends");
    changed(&db, &metering, to_plan(Some("alliance"), "2013-04-01")).await.expect("changes");
    let refused = changed(&db, &metering, to_end(None)).await.expect_err("it goes");
    assert!(matches!(refused, subscribe::Error::PlanGoes { .. }), "{refused}");
}

both_engines!(
    what_is_over_stays_as_it_was,
    a_plan_without_a_name_is_the_one_of_then,
    nobody_is_put_on_a_plan_that_goes,
    a_plan_changes_within_a_month_and_its_subscriber_leaves_within_another,
    a_subscription_keeps_its_prices_until_its_next_period_unless_it_is_moved,
    what_is_closed_cannot_be_changed_and_a_later_change_takes_the_place_of_others,
);
