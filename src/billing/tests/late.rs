//! What comes too late: adjustment lines, and the law that all documents together say what everything on time would have.

use super::*;
use crate::domain::rating::line::Line;
use crate::store::tests::both_engines;
use crate::store::tests::sqlite;

/// One flight of a thousand miles times `thousands`, on time.
pub(super) fn flight(carrier: &str, number: u32, time: &str, thousands: u32) -> String {
    let distance = thousands * 1000;
    format!(
        r#"{{"specversion":"1.0","id":"{number}","source":"/{carrier}","type":"flight.completed","subject":"{carrier}","time":"{time}","data":{{"distance":{distance},"delay":0}}}}"#
    )
}

pub(super) fn retraction(carrier: &str, number: u32) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"r{number}","source":"/{carrier}","type":"tallystick.event.retracted","time":"2013-04-20T00:00:00Z","data":{{"source":"/{carrier}","id":"{number}"}}}}"#
    )
}

/// What is taken back must be acknowledged before.
pub(super) async fn send(metering: &Metering, events: &[String]) {
    let (taken_back, events): (Vec<&str>, Vec<&str>) =
        events.iter().map(String::as_str).partition(|event| event.contains("retracted"));
    for events in [events, taken_back].into_iter().filter(|events| !events.is_empty()) {
        let body = events.join("\n").into_bytes();
        metering.ingest(Format::Ndjson, body, Invalid::Reject, NOW).await.expect("is taken");
    }
    metering.flush().await.expect("is flushed");
}

async fn all_lines(db: &Db) -> Vec<(String, Line)> {
    let (invoices, payouts) = documents(db).await;
    let invoiced = invoices.into_iter().flat_map(|invoice| {
        let consumer = invoice.consumer;
        invoice.totals.lines.into_iter().map(move |line| (consumer.clone(), line))
    });
    let rewarded = payouts.into_iter().flat_map(|payout| {
        let consumer = payout.consumer;
        payout.lines.into_iter().map(move |line| (consumer.clone(), line))
    });
    invoiced.chain(rewarded).collect()
}

/// What all documents say, by consumer, component and the period that it is for.
pub(super) async fn said(db: &Db) -> BTreeMap<(String, String, Instant), i64> {
    let mut said = BTreeMap::new();
    for (consumer, line) in all_lines(db).await {
        *said.entry((consumer, line.component, line.from)).or_insert(0) += line.amount.minor();
    }
    said.retain(|_, amount| *amount != 0);
    said
}

async fn late_events_and_retractions_go_on_the_next_documents(db: Db) {
    let metering = metering(&db).await;
    sign_up(&db, "UA", "gold", Some("ny"), None).await;
    send(&metering, &[flight("UA", 1, "2013-01-10T12:00:00Z", 2), flight("UA", 2, "2013-01-11T12:00:00Z", 3)]).await;
    closed(&db, &metering, "2013-02-01").await;
    send(&metering, &[flight("UA", 3, "2013-01-12T12:00:00Z", 10)]).await;
    closed(&db, &metering, "2013-03-01").await;
    send(&metering, &[retraction("UA", 1)]).await;
    closed(&db, &metering, "2013-04-01").await;
    closed(&db, &metering, "2013-05-01").await;

    let (invoices, payouts) = documents(&db).await;
    assert_eq!(
        invoices.iter().map(summary).collect::<Vec<_>>(),
        [
            "INV-000001 UA opening: gate 10000; tax 888, total 10888",
            "INV-000002 UA closing: platform 1000, miles 5050, gate 10000; tax 1425, total 17475",
            "INV-000003 UA closing: platform 1000, miles 0, gate 10000, miles 10100; tax 1873, total 22973",
            "INV-000004 UA closing: platform 1000, miles 0, gate 10000, miles -2020; tax 798, total 9778",
            "INV-000005 UA closing: platform 1000, miles 0, gate 10000; tax 977, total 11977",
        ]
    );
    let late = invoices[2].totals.lines.last().expect("a line");
    assert!(late.is_adjustment() && (late.from, late.to) == (invoices[1].period.from(), invoices[1].period.to()));
    let why = &late.explanation.steps.last().expect("a step").text;
    assert_eq!(why, "2013-01-01 until 2013-02-01 rated again: 151.50 USD instead of 50.50 USD");
    let rewarded: Vec<i64> = payouts.iter().map(|payout| payout.total.minor()).collect();
    assert_eq!(rewarded, [300, 150, -150]);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
    let (usage, noted) = db.read().await.expect("begins").late_usage(&["UA"]).await.expect("reads");
    assert_eq!((usage.len(), noted), (0, 0), "everything is taken up");
}

async fn a_budget_is_shared_again_and_whoever_is_not_due_waits_for_the_own_document(db: Db) {
    let metering = metering(&db).await;
    sign_up(&db, "UA", "gold", None, None).await;
    sign_up(&db, "AA", "gold", None, None).await;
    // Together 9.00 of the budget of 10.00.
    for (carrier, numbers) in [("UA", 1..4), ("AA", 1..4)] {
        let flights: Vec<_> = numbers.map(|n| flight(carrier, n, &format!("2013-01-2{n}T12:00:00Z"), 1)).collect();
        send(&metering, &flights).await;
    }
    closed(&db, &metering, "2013-02-01").await;
    // Five more of UA, before all others: 7.50 first, and then 2.50 for the rest, of which the first two hours have 1.50.
    let late: Vec<_> = (10..15).map(|n| flight("UA", n, "2013-01-02T12:00:00Z", 1)).collect();
    send(&metering, &late).await;
    closed(&db, &metering, "2013-03-01").await;
    let (_, payouts) = documents(&db).await;
    let total = |consumer: &str| -> i64 {
        payouts.iter().filter(|payout| payout.consumer == consumer).map(|payout| payout.total.minor()).sum()
    };
    assert_eq!((total("UA") + total("AA"), total("AA")), (1000, 125), "UA has 7.50 and half of the last 2.50");
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

async fn what_comes_after_a_subscription_has_ended_gets_a_document_of_its_own(db: Db) {
    let metering = metering(&db).await;
    sign_up(&db, "UA", "gold", Some("ny"), Some(at("2013-01-16T05:00:00Z"))).await;
    send(&metering, &[flight("UA", 1, "2013-01-10T12:00:00Z", 2)]).await;
    closed(&db, &metering, "2013-02-01").await;
    send(&metering, &[flight("UA", 2, "2013-01-12T12:00:00Z", 3)]).await;
    closed(&db, &metering, "2013-02-10").await;
    send(&metering, &[retraction("UA", 1), flight("UA", 3, "2013-02-03T12:00:00Z", 7)]).await;
    closed(&db, &metering, "2013-03-01").await;
    assert_eq!(closed(&db, &metering, "2013-03-01").await, Closed::default());
    closed(&db, &metering, "2013-04-01").await;
    let (invoices, payouts) = documents(&db).await;
    assert_eq!(
        invoices.iter().map(summary).collect::<Vec<_>>(),
        [
            "INV-000001 UA opening: gate 4839; tax 429, total 5268",
            "INV-000002 UA closing: platform 1000, miles 2020; tax 268, total 3288",
            "INV-000003 UA closing: miles 3030; tax 269, total 3299",
            "INV-000004 UA closing: miles -2020; tax -179, total -2199",
        ]
    );
    let periods: Vec<String> = invoices[2..].iter().map(|invoice| invoice.period.to().to_string()).collect();
    assert_eq!(periods, ["2013-02-10T05:00:00Z", "2013-03-01T05:00:00Z"]);
    assert_eq!(payouts.iter().map(|payout| payout.total.minor()).collect::<Vec<_>>(), [150, 150, -150]);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

/// AA bills by the quarter: what it gets because UA gave back is not there any more for whoever is closed before it.
async fn what_waits_for_others_is_not_given_twice(db: Db) {
    let quarterly =
        ("plans/quarterly.toml", BOOK[3].1.replace("\"airline\"", "\"quarterly\"").replace("\"month\"", "\"quarter\""));
    let mut files: Vec<SourceFile> =
        BOOK.map(|(path, text)| SourceFile { path: path.to_owned(), text: text.to_owned() }).to_vec();
    files.push(SourceFile { path: quarterly.0.to_owned(), text: quarterly.1 });
    let metering = metering_of(&db, files).await;
    sign_up(&db, "UA", "gold", None, None).await;
    sign_up_for(&db, "quarterly", "AA", ("gold", None, None)).await;
    sign_up(&db, "DL", "gold", None, None).await;
    // UA has 9.00 of the 10.00, and AA the last of them; it wants 7.50.
    let flights = (1..7).map(|n| flight("UA", n, "2013-01-02T12:00:00Z", 1));
    let flights: Vec<_> = flights.chain((1..6).map(|n| flight("AA", n, "2013-03-03T12:00:00Z", 1))).collect();
    send(&metering, &flights).await;
    closed(&db, &metering, "2013-04-01").await;
    send(&metering, &(1..5).map(|n| retraction("UA", n)).collect::<Vec<_>>()).await;
    closed(&db, &metering, "2013-05-01").await;
    send(&metering, &(1..6).map(|n| flight("DL", n, "2013-05-03T12:00:00Z", 1)).collect::<Vec<_>>()).await;
    closed(&db, &metering, "2013-07-01").await;
    let (_, payouts) = documents(&db).await;
    let totals: Vec<_> = payouts.iter().map(|payout| (&*payout.consumer, payout.total.minor())).collect();
    assert_eq!(totals, [("UA", 900), ("AA", 100), ("UA", -600), ("AA", 600)]);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

/// Where the hold has become shorter, what is taken back is due before what it is taken from is available.
async fn what_is_taken_back_before_there_is_something_to_take_is_owed(db: Db) {
    let held = |days: &str| {
        let hold = format!("hold = \"{days}\"");
        BOOK.map(|(path, text)| SourceFile { path: path.to_owned(), text: text.replace("hold = \"14d\"", &hold) })
            .to_vec()
    };
    let metering = metering_of(&db, held("60d")).await;
    let shorter = BookVersion::new(held("0d"), at("2013-02-01T05:00:00Z")).expect("is a book");
    metering.publish(shorter, "test", "", NOW).await.expect("is published");
    sign_up(&db, "UA", "gold", None, None).await;
    sign_up(&db, "AA", "gold", None, None).await;
    send(&metering, &[flight("UA", 1, "2013-01-10T12:00:00Z", 1), flight("AA", 1, "2013-02-10T12:00:00Z", 1)]).await;
    closed(&db, &metering, "2013-02-01").await;
    send(&metering, &[retraction("UA", 1)]).await;
    assert_eq!(closed(&db, &metering, "2013-03-01").await.holds_passed, 2, "that of AA, and what is taken back");
    assert_eq!(closed(&db, &metering, "2013-03-10").await.holds_passed, 0);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
    // On 2 April what UA has from January is available, and pays for what was taken back of it.
    assert_eq!(closed(&db, &metering, "2013-05-01").await.holds_passed, 1);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

/// A generator that is the same everywhere.
pub(super) struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 33).unwrap_or(0) % sides
    }
}

pub(super) const MONTHS: [&str; 5] = ["2013-02-01", "2013-03-01", "2013-04-01", "2013-05-01", "2013-06-01"];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_comes_late_all_documents_say_what_everything_on_time_would_have() {
    for seed in 1..=8 {
        let mut dice = Dice(seed);
        let mut arrivals: [Vec<String>; 5] = Default::default();
        let mut all = Vec::new();
        for number in 0..40 {
            let carrier = ["UA", "AA", "DL"][dice.roll(3) as usize];
            let month = dice.roll(3);
            let time = format!("2013-0{}-{:02}T{:02}:30:00Z", month + 1, dice.roll(26) + 2, dice.roll(24));
            let event = flight(carrier, number, &time, dice.roll(5) + 1);
            let arrives = (month + dice.roll(3)).min(4);
            arrivals[arrives as usize].push(event.clone());
            all.push(event);
            if dice.roll(6) == 0 {
                let taken_back = retraction(carrier, number);
                arrivals[(arrives + dice.roll(3)).min(4) as usize].push(taken_back.clone());
                all.push(taken_back);
            }
        }
        let ((late, _late), (on_time, _on_time)) = (sqlite().await, sqlite().await);
        for (db, arrives_late) in [(&late, true), (&on_time, false)] {
            let metering = metering(db).await;
            sign_up(db, "UA", "gold", None, None).await;
            sign_up(db, "AA", "silver", None, None).await;
            sign_up(db, "DL", "none", None, None).await;
            if !arrives_late {
                send(&metering, &all).await;
            }
            for (month, events) in MONTHS.iter().zip(&arrivals) {
                if arrives_late {
                    send(&metering, events).await;
                }
                closed(db, &metering, month).await;
            }
            assert_eq!(words(&verified(db, &metering).await), [""; 0], "seed {seed}");
        }
        assert_eq!(said(&late).await, said(&on_time).await, "seed {seed}");
    }
}

both_engines!(
    late_events_and_retractions_go_on_the_next_documents,
    a_budget_is_shared_again_and_whoever_is_not_due_waits_for_the_own_document,
    what_comes_after_a_subscription_has_ended_gets_a_document_of_its_own,
    what_waits_for_others_is_not_given_twice,
    what_is_taken_back_before_there_is_something_to_take_is_owed,
);
