//! Simulations of the two carriers of the closing tests, on both engines, with numbers worked out by hand.

use std::num::NonZero;

use crate::billing::schedule::Through;
use crate::billing::simulate::Periods;
use crate::billing::simulate::Request;
use crate::billing::simulate::SimulateError;
use crate::billing::simulate::Simulated;
use crate::billing::simulate::simulate;
use crate::billing::tests::BOOK;
use crate::billing::tests::Meter;
use crate::billing::tests::NOW;
use crate::billing::tests::closed;
use crate::billing::tests::fly;
use crate::billing::tests::january;
use crate::domain::book::SourceFile;
use crate::domain::book::version::BookVersion;
use crate::domain::simulation::Difference;
use crate::domain::simulation::LeftOut;
use crate::domain::simulation::Mover;
use crate::domain::simulation::Tally;
use crate::domain::time::Instant;
use crate::metering::publish;
use crate::store::Db;
use crate::store::tests::both_engines;

/// The published book with one text of it replaced.
fn changed(text: &str, by: &str) -> Vec<SourceFile> {
    assert!(text.is_empty() || BOOK.iter().any(|(_, file)| file.contains(text)), "{text} is in the book");
    let file = |(path, file): &(&str, &str)| {
        let text = if text.is_empty() { (*file).to_owned() } else { file.replace(text, by) };
        SourceFile { path: (*path).to_owned(), text }
    };
    BOOK.iter().map(file).collect()
}

async fn tried(
    db: &Db,
    metering: &Meter,
    files: Vec<SourceFile>,
    (from, to): (&str, &str),
) -> Result<(Simulated, Tally), SimulateError> {
    let candidate = BookVersion::new(files, Instant::BEGINNING).expect("is a book");
    let time = |text| Through::parse(text).expect("a date");
    let threads = NonZero::new(2).expect("not zero");
    let request = Request { candidate, from: time(from), to: time(to), largest: 5, threads };
    simulate(db, &metering.versions(), request, NOW, |_| {}).await
}

fn cents(of: &Difference) -> (i64, i64) {
    (of.before.minor(), of.after.minor())
}

fn movers(movers: &[Mover]) -> Vec<(&str, i64)> {
    movers.iter().map(|mover| (mover.consumer.as_str(), mover.amounts.change.minor())).collect()
}

async fn a_book_against_itself_changes_nothing_and_comes_to_what_was_booked(db: Db) {
    let metering = january(&db).await;
    closed(&db, &metering, "2013-03-01").await;
    let (simulated, tally) = tried(&db, &metering, changed("", ""), ("2013-01-01", "2013-03-01")).await.expect("rates");
    assert_eq!(simulated.periods, Periods { before: 4, after: 4 });
    assert_eq!((simulated.without_period, simulated.left_out.len(), simulated.partly_counted.len()), (0, 0, 0));
    let all = &simulated.outcome.currencies[0];
    // Account 4000 holds 550.60, of which 100.00 are UA's fee for March, whose period has not ended.
    assert_eq!((cents(&all.revenue), cents(&all.rewards)), ((45_060, 45_060), (1_000, 1_000)));
    assert!(all.pay_more.is_empty() && all.pay_less.is_empty());
    assert!(tally.rows().all(|row| row.expect("fits").amounts.change.is_zero()));
}

async fn another_price_is_told_by_consumer_and_component(db: Db) {
    let metering = january(&db).await;
    let (simulated, tally) =
        tried(&db, &metering, changed("0.0101", "0.0202"), ("2013-01-01", "2013-02-01")).await.expect("rates");
    assert_eq!(simulated.periods, Periods { before: 2, after: 2 });
    let all = &simulated.outcome.currencies[0];
    assert_eq!((all.revenue.change.minor(), all.rewards.change.minor()), (6_060, 0));
    assert_eq!(movers(&all.pay_more), [("UA", 4_040), ("AA", 2_020)]);
    let miles = simulated.outcome.components.iter().find(|of| of.component == "miles").expect("is there");
    assert_eq!((cents(&miles.amounts), miles.more.consumers, miles.less.consumers), ((6_060, 12_120), 2, 0));
    assert_eq!(miles.largest.as_ref().map(|mover| mover.consumer.as_str()), Some("UA"));
    let rows = tally.rows().map(|row| row.expect("fits")).filter(|row| row.consumer == "AA");
    let rows: Vec<(String, (i64, i64))> = rows.map(|row| (row.component, cents(&row.amounts))).collect();
    let expected = [
        ("gate", (10_000, 10_000)),
        ("miles", (2_020, 4_040)),
        ("platform", (1_000, 1_000)),
        ("punctuality", (500, 500)),
    ];
    assert_eq!(rows, expected.map(|(component, cents)| (component.to_owned(), cents)));
}

async fn budgets_are_shared_by_all_and_begin_with_what_was_granted(db: Db) {
    let metering = january(&db).await;
    fly(&metering, "UA", "2013-02-05T15:10:00Z", 3, 0).await;
    let more = || changed("budget = \"10.00\"", "budget = \"14.50\"");
    // Eight flights of 1.50 in January, of which 10.00 paid six and two thirds; with 14.50, all, and 2.50 are left.
    let (simulated, _) = tried(&db, &metering, more(), ("2013-01-01", "2013-03-01")).await.expect("rates");
    assert_eq!(cents(&simulated.outcome.currencies[0].rewards), (1_000, 1_450));
    assert_eq!(movers(&simulated.outcome.currencies[0].pay_less), [("UA", -350), ("AA", -100)]);
    // Closed as published, 10.00 are gone by February: 4.50 are left of the other budget, for three flights.
    closed(&db, &metering, "2013-02-01").await;
    let (simulated, _) = tried(&db, &metering, more(), ("2013-02-01", "2013-03-01")).await.expect("rates");
    assert_eq!(cents(&simulated.outcome.currencies[0].rewards), (0, 450));
}

async fn each_side_has_periods_by_its_own_calendar(db: Db) {
    let metering = january(&db).await;
    let quarters = changed("interval = \"month\"", "interval = \"quarter\"");
    let (simulated, _) = tried(&db, &metering, quarters, ("2013-01-01", "2013-04-01")).await.expect("rates");
    // AA leaves in February, where both of its calendars end.
    assert_eq!(simulated.periods, Periods { before: 5, after: 2 });
    let miles = simulated.outcome.components.iter().find(|of| of.component == "miles").expect("is there");
    assert_eq!(cents(&miles.amounts), (6_060, 6_060));
    let (simulated, _) = tried(&db, &metering, changed("", ""), ("2013-01-02", "2013-01-31")).await.expect("rates");
    assert_eq!((simulated.periods, simulated.without_period), (Periods::default(), 2));
    let none = tried(&db, &metering, changed("", ""), ("2013-02-01", "2013-02-01")).await;
    assert!(matches!(none, Err(SimulateError::Empty)));
}

async fn what_would_break_a_running_subscription_is_named_and_not_published(db: Db) {
    let metering = january(&db).await;
    let closing = changed("id = \"airline\"", "id = \"carrier\"");
    let broken = tried(&db, &metering, closing.clone(), ("2013-01-01", "2013-02-01")).await;
    let Err(SimulateError::Breaks(breaks)) = broken else { panic!("{broken:?}") };
    assert_eq!(breaks, ["plan airline is removed, on which sub_AA of AA, sub_UA of UA run"]);
    let mut euros = changed("currency = \"USD\"", "currency = \"EUR\"");
    for file in &mut euros {
        // What pays in euro is another program.
        file.text = file.text.replace("\"punctual\"", "\"ponctuel\"");
    }
    let programs = changed("", "").into_iter().filter(|file| file.path.starts_with("programs/"));
    euros.extend(programs.map(|file| SourceFile { path: "programs/before.toml".to_owned(), ..file }));
    let refused = |files, from: &str| {
        let (metering, from) = (&metering, crate::billing::tests::at(from));
        async move {
            publish::publish(metering, files, Some(from), "test", "", NOW).await.expect_err("is refused").to_string()
        }
    };
    // AA has left by then.
    let reason = refused(euros, "2014-06-01T00:00:00Z").await;
    assert!(reason.contains("plan airline would be in EUR instead of USD, on which sub_UA of UA run"), "{reason}");
    let reason = refused(closing, "2014-06-01T00:00:00Z").await;
    assert!(reason.contains("plan airline is removed, on which sub_UA of UA run"), "{reason}");
}

async fn what_a_new_meter_would_price_is_left_out_and_said(db: Db) {
    let metering = january(&db).await;
    let mut files = changed("meter = \"miles\"", "meter = \"far\"");
    for file in files.iter_mut().filter(|file| file.path == "meters/flights.toml") {
        file.text.push_str("[[meter]]\nid = \"far\"\nevent_type = \"flight.completed\"\naggregation = \"count\"\n");
    }
    let (simulated, _) = tried(&db, &metering, files.clone(), ("2013-01-01", "2013-02-01")).await.expect("rates");
    let left_out = LeftOut { plan: "airline".to_owned(), component: "miles".to_owned(), meter: "far".to_owned() };
    assert_eq!((simulated.left_out, simulated.partly_counted), (vec![left_out], vec![]));
    // Published, it counts what comes from then on, and may lack what came before.
    let from = crate::billing::tests::at("2014-06-01T00:00:00Z");
    publish::publish(&metering, files.clone(), Some(from), "test", "", NOW).await.expect("is published");
    let (simulated, _) = tried(&db, &metering, files.clone(), ("2013-01-01", "2013-02-01")).await.expect("rates");
    assert_eq!((simulated.left_out, simulated.partly_counted), (vec![], vec!["far".to_owned()]));
    let period = metering_period("2013-01-01T00:00:00Z", "2013-03-01T00:00:00Z");
    let replay = metering.replay("far", period, NonZero::<usize>::MIN).await.expect("can begin");
    replay.run(|_| {}).await.expect("is replayed");
    let (simulated, _) = tried(&db, &metering, files, ("2013-01-01", "2013-02-01")).await.expect("rates");
    assert_eq!((simulated.left_out, simulated.partly_counted), (vec![], vec![]));
}

fn metering_period(from: &str, to: &str) -> crate::domain::period::Period {
    let at = crate::billing::tests::at;
    crate::domain::period::Period::new(at(from), at(to)).expect("a period")
}

both_engines!(
    a_book_against_itself_changes_nothing_and_comes_to_what_was_booked,
    another_price_is_told_by_consumer_and_component,
    budgets_are_shared_by_all_and_begin_with_what_was_granted,
    each_side_has_periods_by_its_own_calendar,
    what_would_break_a_running_subscription_is_named_and_not_published,
    what_a_new_meter_would_price_is_left_out_and_said,
);
