//! What a subscription is for and when: quantities that change within a period, pauses, and ends that settle less.

use super::changes::changed;
use super::changes::to_plan;
use super::late::flight;
use super::late::send;
use super::*;
use crate::billing::quota::quota;
use crate::billing::subscribe;
use crate::billing::subscribe::Change;
use crate::domain::subscription::Ending;
use crate::store::tests::both_engines;

/// The book of two carriers, with a fee in advance of 28.00 for each gate, by the day.
fn with_gates() -> [(&'static str, String); 5] {
    const GATES: &str = r#"
[[plan.component]]
id = "gates"
kind = "fee"
unit_amount = "28.00"
when = "advance"
prorate = "day"
"#;
    BOOK.map(|(path, text)| {
        (path, if path == "plans/airline.toml" { format!("{text}{GATES}") } else { text.to_owned() })
    })
}

fn to_quantity(quantity: &str, at: &str) -> Change {
    Change::Quantity { quantity: quantity.to_owned(), at: at.to_owned() }
}

fn to_pause(paused: bool, at: &str) -> Change {
    Change::Pause { paused, at: at.to_owned() }
}

async fn summaries(db: &Db) -> Vec<String> {
    documents(db).await.0.iter().map(summary).collect()
}

async fn units_that_come_and_go_within_a_period_are_on_the_document_that_closes_it(db: Db) {
    let metering = metering_under(&db, with_gates()).await;
    sign_up(&db, "UA", "gold", None, None).await;
    closed(&db, &metering, "2013-02-01").await;
    // February has 28 days: 14 of them for two more, and 7 for one less.
    changed(&db, &metering, to_quantity("3", "2013-02-15")).await.expect("changes");
    changed(&db, &metering, to_quantity("2", "2013-02-22")).await.expect("changes");
    closed(&db, &metering, "2013-03-01").await;
    let summaries = summaries(&db).await;
    assert!(summaries[0].contains("gates 2800"), "{summaries:?}");
    assert!(summaries[2].contains("gates 2800, gates -700"), "{summaries:?}");
    let february = &documents(&db).await.0[2].totals.lines;
    let of_gates = || february.iter().filter(|line| line.component == "gates");
    let amounts: Vec<_> = of_gates().map(|line| (line.quantity.to_string(), line.amount.minor())).collect();
    let expected = [("2", 2800), ("-1", -700), ("2", 5600)].map(|(units, minor)| (units.to_owned(), minor));
    assert_eq!(amounts, expected, "what changed, and all of March");
    let why = &of_gates().next().expect("a line").explanation.steps[0].text;
    assert_eq!(why, "3 instead of 1 at 28.00 USD: a fee of 56.00 USD");
    for refused in [to_quantity("-1", "2013-03-10"), to_quantity("many", "2013-03-10")] {
        let error = changed(&db, &metering, refused).await.expect_err("is no quantity");
        assert!(matches!(error, subscribe::Error::NotAQuantity(_)), "{error}");
    }
    // Leaving gives back what was charged for the rest: 16 of 31 days of two.
    changed(&db, &metering, Change::End { end: Some("2013-03-16".to_owned()), ending: Ending::default() })
        .await
        .expect("ends");
    closed(&db, &metering, "2013-04-01").await;
    let last = &documents(&db).await.0[3].totals.lines;
    let back: Vec<i64> = last.iter().filter(|line| line.component == "gates").map(|line| line.amount.minor()).collect();
    assert_eq!(back, [-2890]);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

async fn a_pause_owes_nothing_and_what_comes_late_for_it_changes_nothing(db: Db) {
    let metering = metering(&db).await;
    sign_up(&db, "UA", "gold", None, None).await;
    closed(&db, &metering, "2013-02-01").await;
    changed(&db, &metering, to_pause(true, "2013-02-15")).await.expect("pauses");
    fly(&metering, "UA", "2013-02-10T12:00:00Z", 1, 1000).await;
    fly(&metering, "UA", "2013-02-20T12:00:00Z", 5, 1000).await;
    closed(&db, &metering, "2013-03-01").await;
    let standing = quota(&db, &metering, "UA", at("2013-03-02T12:00:00Z")).await.expect("reads");
    assert!(standing.subscriptions.is_empty(), "nothing runs");
    changed(&db, &metering, to_pause(false, "2013-03-11")).await.expect("goes on");
    closed(&db, &metering, "2013-04-01").await;
    // Late: one in the pause, and one before it.
    send(&metering, &[flight("UA", 1, "2013-03-05T12:00:00Z", 3), flight("UA", 2, "2013-02-12T12:00:00Z", 2)]).await;
    closed(&db, &metering, "2013-05-01").await;
    assert_eq!(
        summaries(&db).await,
        [
            "INV-000001 UA opening: gate 10000; tax 0, total 10000",
            "INV-000002 UA closing: platform 1000, miles 0, gate 10000; tax 0, total 11000",
            // 14 of the 28 days of February come back, and nothing is charged for March until it goes on.
            "INV-000003 UA closing: platform 1000, miles 1010, gate -5000; tax 0, total -2990",
            // 21 of the 31 days of March.
            "INV-000004 UA closing: gate 6774; tax 0, total 6774",
            "INV-000005 UA closing: platform 1000, miles 0, gate 10000; tax 0, total 11000",
            "INV-000006 UA closing: platform 1000, miles 0, gate 10000, miles 2020; tax 0, total 13020",
        ]
    );
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

async fn another_plan_keeps_a_pause_and_a_pause_keeps_another_plan(db: Db) {
    let metering = metering(&db).await;
    sign_up(&db, "UA", "gold", None, None).await;
    let kept = async |wanted| {
        let changes = changed(&db, &metering, wanted).await.expect("changes").changes;
        changes.iter().map(|change| (change.at.to_string()[..10].to_owned(), change.paused)).collect::<Vec<_>>()
    };
    let days =
        |days: &[(&str, bool)]| days.iter().map(|(day, paused)| ((*day).to_owned(), *paused)).collect::<Vec<_>>();
    kept(to_pause(true, "2013-02-10")).await;
    kept(to_pause(false, "2013-02-20")).await;
    let both = days(&[("2013-02-10", true), ("2013-02-15", true), ("2013-02-20", false)]);
    assert_eq!(kept(to_plan(Some("airline"), "2013-02-15")).await, both, "it goes on all the same");
    let sooner = days(&[("2013-02-10", true), ("2013-02-12", false), ("2013-02-15", false)]);
    assert_eq!(kept(to_pause(false, "2013-02-12")).await, sooner, "and the plan comes all the same");
}

async fn an_end_charges_and_credits_what_it_says(db: Db) {
    let metering = metering(&db).await;
    for carrier in ["UA", "AA"] {
        sign_up(&db, carrier, "gold", None, None).await;
    }
    // Charged as if they went on, and it turns out that they do not.
    closed(&db, &metering, "2013-02-01").await;
    for (carrier, ending) in [("UA", [false, true]), ("AA", [true, false])] {
        fly(&metering, carrier, "2013-02-10T12:00:00Z", 1, 1000).await;
        let (id, [charges, credits]) = (SubscriptionId::parse(&format!("sub_{carrier}")).expect("an id"), ending);
        let wanted = Change::End { end: Some("2013-02-15".to_owned()), ending: Ending { charges, credits } };
        subscribe::change(&db, &metering.versions(), &id, wanted, NOW).await.expect("ends");
    }
    closed(&db, &metering, "2013-03-01").await;
    send(&metering, &[flight("UA", 1, "2013-02-12T12:00:00Z", 2), flight("UA", 2, "2013-01-12T12:00:00Z", 1)]).await;
    closed(&db, &metering, "2013-04-01").await;
    let summaries = summaries(&db).await;
    let of = |carrier: &str| -> Vec<&str> {
        let said = summaries.iter().filter(|said| said.contains(&format!(" {carrier} ")));
        said.filter_map(|said| said.split_once(carrier)).map(|(_, said)| said.trim()).collect()
    };
    assert_eq!(
        of("AA"),
        [
            "opening: gate 10000; tax 0, total 10000",
            "closing: platform 1000, miles 0, gate 10000; tax 0, total 11000",
            "closing: platform 1000, miles 1010; tax 0, total 2010",
        ]
    );
    assert_eq!(
        of("UA"),
        [
            "opening: gate 10000; tax 0, total 10000",
            "closing: platform 1000, miles 0, gate 10000; tax 0, total 11000",
            "closing: gate -5000; tax 0, total -5000",
            "closing: miles 1010; tax 0, total 1010",
        ],
        "of the last period nothing, of the one before what came late"
    );
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

both_engines!(
    units_that_come_and_go_within_a_period_are_on_the_document_that_closes_it,
    a_pause_owes_nothing_and_what_comes_late_for_it_changes_nothing,
    another_plan_keeps_a_pause_and_a_pause_keeps_another_plan,
    an_end_charges_and_credits_what_it_says,
);
