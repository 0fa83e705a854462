//! Billing days of a subscription's own, and days that change: where periods end, what their parts cost, and that all that
//! derives periods agrees. Figures that name a case are those of another billing system, worked out in its own tests.

use std::num::NonZero;

use proptest::prelude::*;

use super::changes::changed;
use super::changes::to_end;
use super::changes::to_plan;
use super::trial::bills;
use super::trial::plans;
use super::*;
use crate::billing::quota::quota;
use crate::billing::simulate::Periods;
use crate::billing::simulate::Request;
use crate::billing::simulate::simulate;
use crate::billing::subscribe;
use crate::billing::subscribe::Change;
use crate::billing::subscribe::subscribe;
use crate::domain::rating::Life;
use crate::domain::rating::advance_fees;
use crate::store::tests::both_engines;
use crate::store::tests::sqlite;

const ANCHORED: &str = "anchor = \"subscription\"";

fn to_day(day: Option<&str>, at: &str) -> Change {
    Change::Day { day: day.map(str::to_owned), plan: None, at: at.to_owned() }
}

/// Subscribes UA, with a billing day of its own.
async fn subscribed(
    db: &Db,
    metering: &Metering,
    (id, plan, start): (&str, &str, &str),
    day: Option<&str>,
) -> Result<Subscription, subscribe::Error> {
    let mut tx = db.write().await.expect("begins");
    let consumer = carrier("UA", "none", None);
    tx.put_consumer(&consumer).await.expect("is put");
    tx.commit().await.expect("commits");
    let request = subscribe::Request {
        consumer: consumer.id,
        plan: plan.to_owned(),
        start: start.to_owned(),
        end: None,
        anchor_day: day.map(str::to_owned),
        quantity: None,
    };
    let id = SubscriptionId::parse(&format!("sub_{id}")).expect("an id");
    subscribe(db, &metering.versions(), id, request, NOW).await
}

/// Closes at the beginning of a day, as of then.
async fn closed_at(db: &Db, metering: &Metering, day: &str) {
    let time = format!("{day}T00:00:00Z");
    let through = Through::parse(&time).expect("a time");
    close(db, &metering.versions(), through, at(&time), |_| {}).await.expect("closes");
}

/// killbill-scenario-08: the day becomes the 15th within a trial until the 1st. The first fee is for 14 of the 30 days from
/// 15 April.
#[tokio::test]
async fn a_day_that_changes_in_a_trial_makes_a_short_period_after_it() {
    let (db, _folder) = sqlite().await;
    let metering = metering_of(&db, plans(ANCHORED, &[("shotgun", "249.95", 30)])).await;
    subscribed(&db, &metering, ("UA", "shotgun", "2016-04-01"), Some("1")).await.expect("subscribes");
    closed_at(&db, &metering, "2016-04-01").await;
    changed(&db, &metering, to_day(Some("15"), "2016-04-04")).await.expect("changes");
    for day in ["2016-04-15", "2016-05-01", "2016-05-15"] {
        closed_at(&db, &metering, day).await;
    }
    let expected =
        ["2016-05-01: shotgun 2016-05-01..2016-05-15 11664", "2016-05-15: shotgun 2016-05-15..2016-06-15 24995"];
    let bills = bills(&db).await;
    assert_eq!(bills.iter().filter(|bill| bill.contains("shotgun")).collect::<Vec<_>>(), expected.each_ref());
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

/// killbill-scenario-10: the day becomes the 10th in a month that is paid for. The change of plan within that month credits
/// 27 of its 31 days, and the new plan begins with 5 of the 30 days until the 10th.
#[tokio::test]
async fn a_plan_that_changes_after_the_day_has_the_new_day() {
    let (db, _folder) = sqlite().await;
    let two = [("shotgun", "249.95", 30), ("rifle", "599.95", 0)];
    let metering = metering_of(&db, plans(ANCHORED, &two)).await;
    subscribed(&db, &metering, ("UA", "shotgun", "2016-04-01"), Some("1")).await.expect("subscribes");
    closed_at(&db, &metering, "2016-05-01").await;
    changed(&db, &metering, to_day(Some("10"), "2016-05-01T01:00:00Z")).await.expect("changes");
    closed_at(&db, &metering, "2016-05-02").await;
    changed(&db, &metering, to_plan(Some("rifle"), "2016-05-05")).await.expect("changes");
    closed_at(&db, &metering, "2016-05-05").await;
    closed_at(&db, &metering, "2016-05-10").await;
    let expected = [
        "2016-05-01: shotgun 2016-05-01..2016-06-01 24995",
        "2016-05-05: shotgun 2016-05-05..2016-06-01 -21770, rifle 2016-05-05..2016-05-10 9999",
        "2016-05-10: rifle 2016-05-10..2016-06-10 59995",
    ];
    assert_eq!(bills(&db).await, expected);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

/// killbill-scenario-11: the other way round, the new plan has the rest of the month, and 9 of the 31 days until 10 June come
/// after it. They are charged where they begin; there, on 10 May.
#[tokio::test]
async fn a_day_that_changes_after_the_plan_is_for_the_next_period() {
    let (db, _folder) = sqlite().await;
    let two = [("shotgun", "249.95", 30), ("rifle", "599.95", 0)];
    let metering = metering_of(&db, plans(ANCHORED, &two)).await;
    subscribed(&db, &metering, ("UA", "shotgun", "2016-04-01"), Some("1")).await.expect("subscribes");
    closed_at(&db, &metering, "2016-05-01").await;
    changed(&db, &metering, to_plan(Some("rifle"), "2016-05-05")).await.expect("changes");
    closed_at(&db, &metering, "2016-05-05").await;
    changed(&db, &metering, to_day(Some("10"), "2016-05-05T01:00:00Z")).await.expect("changes");
    for day in ["2016-05-10", "2016-06-01", "2016-06-10"] {
        closed_at(&db, &metering, day).await;
    }
    let expected = [
        "2016-05-01: shotgun 2016-05-01..2016-06-01 24995",
        "2016-05-05: shotgun 2016-05-05..2016-06-01 -21770, rifle 2016-05-05..2016-06-01 52254",
        "2016-06-01: rifle 2016-06-01..2016-06-10 17418",
        "2016-06-10: rifle 2016-06-10..2016-07-10 59995",
    ];
    assert_eq!(bills(&db).await, expected);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

/// killbill-scenario-13: of two subscriptions one gets another day. 3 of 30 days of 1,999.95 are 199.995, and half a cent goes
/// up. They are charged where they begin; there, when the day changed.
#[tokio::test]
async fn a_day_that_changes_leaves_another_subscription_as_it_is() {
    let (db, _folder) = sqlite().await;
    let two = [("shotgun", "249.95", 0), ("scope", "1999.95", 0)];
    let metering = metering_of(&db, plans(ANCHORED, &two)).await;
    subscribed(&db, &metering, ("1", "shotgun", "2016-05-01"), Some("1")).await.expect("subscribes");
    subscribed(&db, &metering, ("UA", "scope", "2016-06-01"), Some("1")).await.expect("subscribes");
    closed_at(&db, &metering, "2016-06-01").await;
    changed(&db, &metering, to_day(Some("4"), "2016-06-04")).await.expect("changes");
    for day in ["2016-06-04", "2016-07-01", "2016-07-04"] {
        closed_at(&db, &metering, day).await;
    }
    let expected = [
        "2016-05-01: shotgun 2016-05-01..2016-06-01 24995",
        "2016-06-01: shotgun 2016-06-01..2016-07-01 24995",
        "2016-06-01: scope 2016-06-01..2016-07-01 199995",
        "2016-07-01: shotgun 2016-07-01..2016-08-01 24995",
        "2016-07-01: scope 2016-07-01..2016-07-04 20000",
        "2016-07-04: scope 2016-07-04..2016-08-04 199995",
    ];
    assert_eq!(bills(&db).await, expected);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

/// The book of two carriers on the subscription's day, with tiers of miles: 1,000 at a cent, and half a cent beyond. They carry
/// on, but not into the first period that is counted by another day.
fn anchored() -> Vec<SourceFile> {
    const TIERS: &str = "model = \"graduated\"\ncarry_tiers = true\ntiers = [{ up_to = \"1000\", unit_amount = \"0.01\" }, { unit_amount = \"0.005\" }]";
    let file = |(path, text): (&str, &str)| {
        let text = text.replace("anchor = \"calendar\"", ANCHORED);
        let text = text.replace("model = \"per_unit\"\n        unit_amount = \"0.0101\"", TIERS);
        SourceFile { path: path.to_owned(), text }
    };
    let files = BOOK.map(file).to_vec();
    assert!(files.iter().any(|file| file.text.contains(ANCHORED) && file.text.contains(TIERS)));
    files
}

async fn what_is_closed_is_derived_as_it_was_and_everything_agrees_on_what_is_not(db: Db) {
    let metering = metering_of(&db, anchored()).await;
    subscribed(&db, &metering, ("UA", "airline", "2013-01-01"), None).await.expect("subscribes");
    closed(&db, &metering, "2013-02-01").await;
    changed(&db, &metering, to_day(Some("20"), "2013-02-10")).await.expect("changes");
    fly(&metering, "UA", "2013-01-20T15:10:00Z", 1, 1000).await;
    fly(&metering, "UA", "2013-02-25T15:10:00Z", 1, 1000).await;
    closed(&db, &metering, "2013-03-01").await;
    fly(&metering, "UA", "2013-03-05T15:10:00Z", 1, 1000).await;

    // What is asked of the short period while it runs.
    let now = at("2013-03-10T12:00:00Z");
    let so_far = statement(&db, &metering.versions(), "UA", None, now).await.expect("is made");
    let short = ("2013-03-01T05:00:00Z".to_owned(), "2013-03-20T04:00:00Z".to_owned());
    assert_eq!((so_far.period.from().to_string(), so_far.period.to().to_string()), short);
    let of_day = statement(&db, &metering.versions(), "UA", Some("2013-03-19"), now).await.expect("is made");
    assert_eq!(of_day.period, so_far.period);
    let before = statement(&db, &metering.versions(), "UA", Some("2013-02-28"), now).await.expect("is made");
    assert_eq!(before.period.to(), so_far.period.from());
    let standing = quota(&db, &metering, "UA", now).await.expect("is rated");
    assert_eq!(standing.subscriptions[0].period, so_far.period);
    // 19 of the 28 days since 20 February; 10.00 that are not prorated; and miles at a cent: its tiers begin with it.
    assert_eq!(standing.subscriptions[0].spent.minor(), 6_786 + 1_000 + 1_000);

    // Late for the time before the short period, and within the whole one that it is a part of.
    fly(&metering, "UA", "2013-02-26T15:10:00Z", 1, 1000).await;
    closed(&db, &metering, "2013-03-20").await;
    changed(&db, &metering, to_day(None, "2013-04-01")).await.expect("changes");
    closed(&db, &metering, "2013-05-01").await;
    fly(&metering, "UA", "2013-03-06T15:10:00Z", 2, 1000).await;
    closed(&db, &metering, "2013-06-01").await;
    let summaries: Vec<String> = documents(&db).await.0.iter().map(summary).collect();
    assert_eq!(
        summaries,
        [
            "INV-000001 UA opening: gate 10000; tax 0, total 10000",
            "INV-000002 UA closing: platform 1000, miles 0, gate 10000; tax 0, total 11000",
            "INV-000003 UA closing: platform 1000, miles 1000, gate 6786, miles 1000; tax 0, total 9786",
            "INV-000004 UA closing: platform 1000, miles 1000, gate 10000, miles 500; tax 0, total 12500",
            // 11 of the 30 days of April.
            "INV-000005 UA closing: platform 1000, miles 0, gate 3667; tax 0, total 4667",
            "INV-000006 UA closing: platform 1000, miles 0, gate 10000; tax 0, total 11000",
            "INV-000007 UA closing: platform 1000, miles 0, gate 10000, miles 1000; tax 0, total 12000",
        ]
    );
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);

    for (from, to, periods) in
        [("2013-01-01", "2013-05-01", 5), ("2013-03-05", "2013-04-25", 2), ("2013-03-01", "2013-03-20", 1)]
    {
        let candidate = BookVersion::new(anchored(), Instant::BEGINNING).expect("is a book");
        let time = |text| Through::parse(text).expect("a date");
        let threads = NonZero::new(2).expect("not zero");
        let request = Request { candidate, from: time(from), to: time(to), largest: 5, threads };
        let simulated = simulate(&db, &metering.versions(), request, NOW, |_| {}).await.expect("rates").0;
        assert_eq!(simulated.periods, Periods { before: periods, after: periods }, "{from} to {to}");
        let revenue = &simulated.outcome.currencies[0].revenue;
        assert_eq!(revenue.change.minor(), 0);
        if periods == 1 {
            // As above, with 2,000 miles more that came late.
            assert_eq!(revenue.before.minor(), 6_786 + 1_000 + 2_000);
        }
    }
}

async fn another_plan_keeps_the_day_and_one_without_days_lets_it_wait(db: Db) {
    let mut files = plans(ANCHORED, &[("shotgun", "30.00", 0), ("rifle", "60.00", 0)]);
    files.extend(plans("anchor = \"calendar\"", &[("pistol", "10.00", 0)]).pop());
    let metering = metering_of(&db, files).await;
    let made = subscribed(&db, &metering, ("UA", "shotgun", "2013-01-05"), Some("12")).await.expect("subscribes");
    assert_eq!(made.days.first, Some(12));
    changed(&db, &metering, to_plan(Some("rifle"), "2013-02-12")).await.expect("changes");
    changed(&db, &metering, to_plan(Some("pistol"), "2013-03-12")).await.expect("changes");
    let back = Change::Day { day: Some("20".to_owned()), plan: Some("rifle".to_owned()), at: "2013-04-01".to_owned() };
    let kept = changed(&db, &metering, back).await.expect("changes");
    assert_eq!((kept.changes.len(), kept.days.changes.len()), (3, 1));
    closed(&db, &metering, "2013-05-20").await;
    let expected = [
        // 7 of the 31 days since 12 December.
        "2013-01-05: shotgun 2013-01-05..2013-01-12 677",
        "2013-01-12: shotgun 2013-01-12..2013-02-12 3000",
        "2013-02-12: rifle 2013-02-12..2013-03-12 6000",
        "2013-03-12: pistol 2013-03-12..2013-04-01 645",
        // 19 of the 31 days since 20 March.
        "2013-04-01: rifle 2013-04-01..2013-04-20 3677",
        "2013-04-20: rifle 2013-04-20..2013-05-20 6000",
        "2013-05-20: rifle 2013-05-20..2013-06-20 6000",
    ];
    assert_eq!(bills(&db).await, expected);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

async fn what_cannot_be_a_billing_day_is_refused(db: Db) {
    let mut files = plans(ANCHORED, &[("shotgun", "30.00", 0)]);
    files.extend(plans("anchor = \"calendar\"", &[("pistol", "10.00", 0)]).pop());
    files.extend(plans("interval = \"week\"\nanchor = \"subscription\"", &[("weekly", "10.00", 0)]).pop());
    let metering = metering_of(&db, files).await;
    for wrong in ["0", "32", "-1", "the third", ""] {
        let refused = subscribed(&db, &metering, ("UA", "shotgun", "2013-01-01"), Some(wrong)).await;
        assert!(matches!(refused, Err(subscribe::Error::NotADay(_))), "{wrong}: {refused:?}");
    }
    for plan in ["pistol", "weekly"] {
        let refused = subscribed(&db, &metering, ("UA", plan, "2013-01-01"), Some("3")).await;
        assert!(matches!(refused, Err(subscribe::Error::FixedDay(_))), "{plan}: {refused:?}");
    }
    let made = subscribed(&db, &metering, ("UA", "shotgun", "2013-01-01"), Some("3")).await.expect("subscribes");
    assert_eq!(subscribed(&db, &metering, ("UA", "shotgun", "2013-01-01"), Some("3")).await.expect("is known"), made);
    for other in [None, Some("4")] {
        let refused = subscribed(&db, &metering, ("UA", "shotgun", "2013-01-01"), other).await;
        assert!(matches!(refused, Err(subscribe::Error::OtherRequest(_))), "{other:?}: {refused:?}");
    }
    changed(&db, &metering, to_plan(Some("pistol"), "2013-03-01")).await.expect("changes");
    closed(&db, &metering, "2013-02-03").await;
    let refused = changed(&db, &metering, to_day(Some("9"), "2013-02-03")).await.expect_err("is closed");
    assert!(matches!(refused, subscribe::Error::Closed { .. }), "{refused}");
    let refused = changed(&db, &metering, to_day(Some("9"), "2013-03-01")).await.expect_err("is fixed");
    assert!(matches!(refused, subscribe::Error::FixedDay(_)), "{refused}");
    changed(&db, &metering, to_day(None, "2013-03-01")).await.expect("the plan's own is always possible");
    changed(&db, &metering, to_day(Some("9"), "2013-02-20")).await.expect("changes");
    let kept = changed(&db, &metering, to_day(Some("8"), "2013-02-10")).await.expect("changes");
    let days: Vec<_> = kept.days.changes.iter().map(|change| (change.day, change.at.to_string())).collect();
    assert_eq!(days, [(Some(8), "2013-02-10T00:00:00Z".to_owned())], "it takes the place of those to come");
    assert_eq!(kept.changes.len(), 1, "and the plan changes all the same");
    let ended = changed(&db, &metering, to_end(Some("2013-02-10".to_owned()))).await.expect("ends");
    assert_eq!((ended.changes.len(), ended.days.changes.len()), (0, 0));
    let refused = changed(&db, &metering, to_day(Some("9"), "2013-02-10")).await.expect_err("has ended");
    assert!(matches!(refused, subscribe::Error::Ended { .. }), "{refused}");
}

/// Each reads the subscription before the other has written it, where the engine lets them.
async fn changes_at_once_do_not_lose_one_another(db: Db) {
    let metering = metering_of(&db, plans(ANCHORED, &[("shotgun", "30.00", 0), ("rifle", "60.00", 0)])).await;
    let made = subscribed(&db, &metering, ("UA", "shotgun", "2013-01-05"), None).await.expect("subscribes");
    for day in ["2", "3", "4"] {
        let (planned, moved, ended) = tokio::join!(
            changed(&db, &metering, to_plan(Some("rifle"), "2013-02-05")),
            changed(&db, &metering, to_day(Some(day), "2013-03-05")),
            changed(&db, &metering, to_end(Some(format!("2013-08-0{day}")))),
        );
        for done in [planned, moved, ended] {
            done.expect("changes");
        }
        let mut tx = db.read().await.expect("begins");
        let kept = tx.subscription(&made.id).await.expect("reads").expect("is there");
        let days: Vec<_> = kept.days.changes.iter().filter_map(|change| change.day).collect();
        assert_eq!(kept.plan_at(at("2013-02-05T00:00:00Z")), "rifle");
        assert_eq!(days, [day.parse::<i8>().expect("a day")]);
        assert_eq!(kept.ends_at, Some(at(&format!("2013-08-0{day}T00:00:00Z"))));
    }
}

both_engines!(
    changes_at_once_do_not_lose_one_another,
    what_is_closed_is_derived_as_it_was_and_everything_agrees_on_what_is_not,
    another_plan_keeps_the_day_and_one_without_days_lets_it_wait,
    what_cannot_be_a_billing_day_is_refused,
);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Wherever the day and the plan change, and however often closing runs between: every period is charged its share, once,
    /// up to the rounding of what a change of plan credits; and the documents are what they were made of.
    #[test]
    fn every_period_is_charged_its_share(
        steps in prop::collection::vec((1_i64..40, any::<bool>(), prop::option::of(prop::option::of(1_i8..=31))), 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("starts");
        runtime.block_on(async {
            let (db, _folder) = sqlite().await;
            let metering = metering_of(&db, plans(ANCHORED, &[("shotgun", "249.95", 0), ("rifle", "599.95", 0)])).await;
            subscribed(&db, &metering, ("UA", "shotgun", "2013-01-01"), None).await.expect("subscribes");
            let first = jiff::civil::date(2013, 1, 1);
            let (mut day, mut replanned) = (0, 0_i64);
            let date = |days: i64| first.checked_add(jiff::Span::new().days(days)).expect("in the calendar").to_string();
            for (days, closes, change) in steps {
                day += days;
                if closes {
                    closed(&db, &metering, &date(day)).await;
                }
                let wanted = match change {
                    Some(to) => to_day(to.map(|to| to.to_string()).as_deref(), &date(day + 1)),
                    None => {
                        replanned += 1;
                        to_plan(Some(if replanned % 2 == 0 { "shotgun" } else { "rifle" }), &date(day + 1))
                    }
                };
                changed(&db, &metering, wanted).await.expect("changes");
            }
            closed(&db, &metering, &date(400)).await;
            let (versions, mut tx) = (metering.versions(), db.read().await.expect("begins"));
            let subscription = tx.subscriptions(None, None, 1).await.expect("reads").remove(0);
            drop(tx);
            let (mut from, mut owed) = (subscription.starts_at, 0);
            // With the one that is charged in advance.
            while from <= subscription.closed_through {
                let plan = &versions.at(from).expect("a book").book.plans[subscription.plan_at(from)];
                let period = subscription.period_from(from, &plan.calendar).expect("in the calendar").expect("runs");
                let life = Life { from: subscription.starts_at, quantities: &subscription.quantities };
                let fees = advance_fees(plan, life, (period.covered, period.whole)).expect("rates");
                owed += fees.iter().map(|fee| fee.amount.minor()).sum::<i64>();
                from = period.covered.to();
            }
            let invoices = documents(&db).await.0;
            let charged: i64 = invoices.iter().map(|invoice| invoice.totals.total.minor()).sum();
            prop_assert!((charged - owed).abs() <= replanned, "{} and not {}", charged, owed);
            prop_assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
            Ok(())
        })?;
    }
}
