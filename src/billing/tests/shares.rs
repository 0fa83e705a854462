//! Shares: publishers get a part of what readers are charged for what they published.

use std::num::NonZero;

use super::late::Dice;
use super::late::MONTHS;
use super::late::retraction;
use super::late::said;
use super::late::send;
use super::*;
use crate::billing::simulate::Request;
use crate::billing::simulate::simulate;
use crate::store::balances::AccountTotal;
use crate::store::balances::AsOf;
use crate::store::shares::Which;
use crate::store::tests::sqlite;

const READER: &str = r#"
    [plan]
    id = "reader"
    name = "Reader"
    currency = "USD"
    timezone = "America/New_York"
    [[plan.component]]
    id = "reads"
    kind = "charge"
    meter = "reads"
    model = "graduated"
    tiers = [ { up_to = "3", unit_amount = "0.37" }, { unit_amount = "0.11" } ]
"#;

const PUBLISHER: &str = r#"
    [plan]
    id = "publisher"
    name = "Publisher"
    currency = "USD"
    interval = "INTERVAL"
    timezone = "America/New_York"
    [[plan.component]]
    id = "royalty"
    name = "Royalties"
    kind = "share"
    of = [ { plan = "reader", charge = "reads" } ]
    producer = "publisher"
    rate = "70"
    program = "royalties"
"#;

/// Publishers are paid every month, or every quarter.
fn files(interval: &str) -> Vec<SourceFile> {
    let meters = r#"
        [[meter]]
        id = "reads"
        event_type = "flight.completed"
        aggregation = "count"
        dimensions = { publisher = "data.publisher" }
    "#;
    let programs = r#"
        [[program]]
        id = "royalties"
        currency = "USD"
        from = "2013-01-01"
        to = "2014-01-01"
        accounting = "producer_share"
    "#;
    let [book, catalog, ..] = BOOK;
    let files = [
        book,
        catalog,
        ("meters/reads.toml", meters),
        ("plans/reader.toml", READER),
        ("plans/publisher.toml", PUBLISHER),
        ("programs/royalties.toml", programs),
    ];
    files.map(|(path, text)| SourceFile { path: path.to_owned(), text: text.replace("INTERVAL", interval) }).to_vec()
}

async fn everybody(db: &Db) {
    for (plan, ids) in [("reader", ["ann", "ben"]), ("publisher", ["post", "times"])] {
        for id in ids {
            sign_up_for(db, plan, id, ("none", None, None)).await;
        }
    }
}

fn read(reader: &str, number: u32, time: &str, publisher: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{number}","source":"/{reader}","type":"flight.completed","subject":"{reader}","time":"{time}","data":{{"publisher":"{publisher}"}}}}"#
    )
}

async fn who_publishes_gets_a_part_of_what_readers_are_charged(db: Db) {
    let metering = metering_of(&db, files("month")).await;
    everybody(&db).await;
    // Ann: 1.11 + 0.22 for five, of which one is of nobody who has a share. Ben: 0.37.
    let of = ["post", "post", "times", "times", "nobody"];
    let mut events: Vec<String> =
        (1..).zip(of).map(|(number, of)| read("ann", number, "2013-01-10T12:00:00Z", of)).collect();
    events.push(read("ben", 1, "2013-01-11T12:00:00Z", "times"));
    send(&metering, &events).await;
    closed(&db, &metering, "2013-02-01").await;
    let (_, payouts) = documents(&db).await;
    let said = |payout: &Payout| {
        let lines = payout.lines.iter().map(|line| format!("{} of {} {}", line.amount, line.quantity, line.component));
        format!("{}: {}", payout.consumer, lines.collect::<Vec<_>>().join(", "))
    };
    // Of 1.33 two fifths are 0.532 for each, and 70 % of that 0.3724: together 0.74, so 0.37 each. 70 % of 0.37 are 0.26.
    let january = ["post: 0.37 USD of 0.53 royalty", "times: 0.63 USD of 0.9 royalty"];
    assert_eq!(payouts.iter().map(said).collect::<Vec<_>>(), january);
    let why: Vec<&str> = payouts[1].lines[0].explanation.steps.iter().map(|step| &*step.text).collect();
    assert_eq!(why, ["70 % of 0.90 USD that 2 subscriptions were charged for reads: 0.63 USD"]);

    // One read of the post was none: 1.22 for four. Of that the post has one quarter, 0.2135, and the times two, 0.427.
    send(&metering, &[retraction("ann", 1)]).await;
    closed(&db, &metering, "2013-03-01").await;
    let (_, payouts) = documents(&db).await;
    let february = ["post: -0.16 USD of -0.22 royalty", "times: 0.06 USD of 0.08 royalty"];
    assert_eq!(payouts[2..].iter().map(said).collect::<Vec<_>>(), february);
    let line = &payouts[2].lines[0];
    assert!(line.is_adjustment() && line.is_share());
    assert_eq!((line.from, line.to), (at("2013-01-01T05:00:00Z"), at("2013-02-01T05:00:00Z")));
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
    let balances = db.read().await.expect("begins").trial_balance(AsOf::NOW).await.expect("reads");
    let of = |total: &AccountTotal| total.account.to_string() == "5010:USD";
    let cost = balances.iter().find(|total| of(total)).expect("an account");
    assert_eq!(cost.debit.minor() - cost.credit.minor(), 90);
}

async fn what_is_earned_between_statements_waits_for_the_next(db: Db) {
    let metering = metering_of(&db, files("quarter")).await;
    everybody(&db).await;
    for (number, time) in [(1, "2013-01-10T12:00:00Z"), (2, "2013-02-10T12:00:00Z"), (3, "2013-03-10T12:00:00Z")] {
        send(&metering, &[read("ann", number, time, "post")]).await;
    }
    closed(&db, &metering, "2013-03-01").await;
    let waiting = db.read().await.expect("begins").shares(Which::Waiting).await.expect("reads");
    assert_eq!(waiting.iter().map(|share| share.amount.minor()).collect::<Vec<_>>(), [26, 26]);
    assert_eq!(documents(&db).await.1, []);
    closed(&db, &metering, "2013-04-01").await;
    let (_, payouts) = documents(&db).await;
    assert_eq!(payouts.iter().map(|payout| payout.total.minor()).collect::<Vec<_>>(), [78]);
    assert_eq!(payouts[0].lines.len(), 1, "all of it is of charges of this quarter");
    let left = db.read().await.expect("begins").shares(Which::Waiting).await.expect("reads");
    assert_eq!((left, words(&verified(&db, &metering).await)), (Vec::new(), Vec::new()));
}

async fn a_simulation_shares_what_it_charges(db: Db) {
    let metering = metering_of(&db, files("month")).await;
    everybody(&db).await;
    let events: Vec<String> = (1..5).map(|number| read("ann", number, "2013-01-10T12:00:00Z", "post")).collect();
    send(&metering, &events).await;
    let mut candidate = files("month");
    candidate.iter_mut().for_each(|file| file.text = file.text.replace("\"70\"", "\"50\""));
    let through = |text: &str| Through::parse(text).expect("a date");
    let request = Request {
        candidate: BookVersion::new(candidate, Instant::BEGINNING).expect("is a book"),
        from: through("2013-01-01"),
        to: through("2013-02-01"),
        largest: 3,
        threads: NonZero::<usize>::MIN,
    };
    let (simulated, _) = simulate(&db, &metering.versions(), request, NOW, |_| {}).await.expect("rates");
    let of = &simulated.outcome.currencies[0];
    // Of 1.22.
    assert_eq!((of.rewards.before.minor(), of.rewards.after.minor()), (85, 61));
    assert_eq!((of.revenue.before.minor(), of.revenue.after.minor()), (122, 122));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_comes_late_all_shares_are_those_of_what_was_charged_in_the_end() {
    for seed in 1..=6 {
        let mut dice = Dice(seed);
        let mut arrivals: [Vec<String>; 5] = Default::default();
        let mut all = Vec::new();
        for number in 0..40 {
            let reader = ["ann", "ben"][dice.roll(2) as usize];
            let publisher = ["post", "times", "nobody"][dice.roll(3) as usize];
            let month = dice.roll(3);
            let time = format!("2013-0{}-{:02}T{:02}:30:00Z", month + 1, dice.roll(26) + 2, dice.roll(24));
            let event = read(reader, number, &time, publisher);
            let arrives = (month + dice.roll(3)).min(4);
            arrivals[arrives as usize].push(event.clone());
            all.push(event);
            if dice.roll(6) == 0 {
                let taken_back = retraction(reader, number);
                arrivals[(arrives + dice.roll(3)).min(4) as usize].push(taken_back.clone());
                all.push(taken_back);
            }
        }
        let ((late, _late), (on_time, _on_time)) = (sqlite().await, sqlite().await);
        for (db, arrives_late) in [(&late, true), (&on_time, false)] {
            let metering = metering_of(db, files("month")).await;
            everybody(db).await;
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
        let said = async |db: &Db| {
            let mut sums: BTreeMap<(String, String), i64> = BTreeMap::new();
            for ((consumer, component, _), amount) in said(db).await {
                *sums.entry((consumer, component)).or_default() += amount;
            }
            sums
        };
        let (late, on_time) = (said(&late).await, said(&on_time).await);
        assert_eq!(late, on_time, "seed {seed}");
        let sum = |component: &str| -> i64 {
            late.iter().filter(|((_, of), _)| of == component).map(|(_, amount)| amount).sum()
        };
        assert!(sum("royalty") > 0 && sum("royalty") * 10 <= sum("reads") * 7 + 30, "{late:?}");
    }
}

both_engines!(
    who_publishes_gets_a_part_of_what_readers_are_charged,
    what_is_earned_between_statements_waits_for_the_next,
    a_simulation_shares_what_it_charges,
);
