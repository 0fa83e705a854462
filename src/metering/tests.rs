//! The law of metering, against a naive model: for any order, repetition, flush or crash, usage equals one pass over
//! the distinct events.

mod archive;
mod originals;
mod replay;
mod trace;

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use rust_decimal::Decimal;

use super::*;
use crate::domain::book::SourceFile;
use crate::domain::measure::delta::Delta;
use crate::domain::measure::delta::Key;
use crate::domain::measure::item::Place;
use crate::domain::measure::meters::Meters;
use crate::domain::period::Period;
use crate::domain::time::Zone;
use crate::metering::usage::Query;
use crate::metering::usage::Window;
use crate::store::Access;
use crate::store::Target;
use crate::store::batches::Batch;

const NOW: Instant = Instant::from_micros(1_400_000_000_000_000);

fn book(meters: &str) -> BookVersion {
    let files = [
        ("book.toml", "name = \"Test\"\ncurrency = \"EUR\"\ntimezone = \"UTC\"\n".to_owned()),
        (
            "catalog/c.toml",
            "[[event_type]]\ntype = \"job.done\"\ntitle = \"Job\"\ndescription = \"A job\"\nlifecycle = \"published\"\n"
                .to_owned(),
        ),
        ("meters/m.toml", meters.to_owned()),
    ];
    let files = files.map(|(path, text)| SourceFile { path: path.to_owned(), text }).to_vec();
    BookVersion::new(files, Instant::BEGINNING).expect("is a book")
}

fn three_meters() -> BookVersion {
    book(
        r#"
        [[meter]]
        id = "jobs"
        event_type = "job.done"
        aggregation = "count"
        dimensions = { region = "data.region" }
        [[meter]]
        id = "seconds"
        event_type = "job.done"
        aggregation = "sum"
        value = "data.seconds"
        [[meter]]
        id = "longest"
        event_type = "job.done"
        aggregation = "max"
        value = "data.seconds"
        "#,
    )
}

/// Event `number` always says the same: whose, when and how long follow from its number.
fn event(number: u32) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{number}","source":"/t","type":"job.done","subject":"c{}","time":"2013-01-{:02}T{:02}:10:00Z","data":{{"region":"r{}","seconds":{}.{}}}}}"#,
        number % 3,
        1 + number % 28,
        number % 24,
        number % 2,
        number * 7 % 100,
        number % 10
    )
}

/// An event that takes event `number` back.
fn retraction(id: usize, number: u32) -> String {
    let kind = retract::RETRACTED;
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/mend","type":"{kind}","data":{{"source":"/t","id":"{number}"}}}}"#
    )
}

/// One pass over the distinct events.
fn naive(numbers: impl IntoIterator<Item = u32>, meters: &Meters) -> BTreeMap<Key, Delta> {
    let mut usage: BTreeMap<Key, Delta> = BTreeMap::new();
    let distinct: HashSet<u32> = numbers.into_iter().collect();
    for text in distinct.into_iter().map(event) {
        let event = Event::parse(&text).expect("is an event");
        let measured = meters
            .contributions(&event, event.time.expect("has a time"), Place { seq: 1, index: 0 })
            .expect("is measured");
        for contribution in measured {
            let known = usage.get(&contribution.key).copied();
            let total = match known {
                Some(known) => known.merge(contribution.delta).expect("fits"),
                None => contribution.delta,
            };
            usage.insert(contribution.key, total);
        }
    }
    usage
}

fn options(folder: &Path) -> Options {
    Options { limits: Limits::default(), seen: folder.join("seen"), seen_memory: 1 << 20 }
}

async fn open(folder: &Path) -> (Db, Metering) {
    let target = Target::Folder(folder.to_owned());
    // What was dropped lets go of the folder as soon as its tasks have noticed.
    for _ in 0..500 {
        match Db::open(&target, Access::Owner).await {
            Ok(db) => {
                let metering = Metering::open(db.clone(), options(folder), |_| {}).await.expect("opens");
                return (db, metering);
            }
            Err(store::Error::InUse(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the folder stays in use");
}

async fn send(metering: &Metering, numbers: &[u32]) -> Receipt {
    let body: String = numbers.iter().map(|number| event(*number) + "\n").collect();
    metering.ingest(Format::Ndjson, body.clone().into_bytes(), Invalid::Reject, NOW).await.expect("is taken")
}

async fn stored(db: &Db) -> BTreeMap<Key, Delta> {
    db.read().await.expect("reads").usage_all().await.expect("reads")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

#[derive(Clone, Debug)]
enum Act {
    Send(Vec<u32>),
    Retract(u32),
    Flush,
    Crash,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => prop::collection::vec(0_u32..60, 1..20).prop_map(Act::Send),
        3 => (0_u32..60).prop_map(Act::Retract),
        1 => Just(Act::Flush),
        1 => Just(Act::Crash),
    ];
    prop::collection::vec(act, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is sent and taken back, in whatever order, however often, with flushes and crashes between: usage is that
    /// of the distinct events that stand, every answer counts right, and a recomputation from the log agrees.
    #[test]
    fn usage_is_one_pass_over_the_distinct_events(acts in acts()) {
        let folder = tempfile::tempdir().expect("a folder");
        block_on(async {
            let (mut db, mut metering) = open(folder.path()).await;
            metering.publish(three_meters(), "test", "", NOW).await.expect("publishes");
            let (mut sent, mut retracted) = (HashSet::new(), HashSet::new());
            for (place, act) in acts.into_iter().enumerate() {
                match act {
                    Act::Send(numbers) => {
                        let receipt = send(&metering, &numbers).await;
                        let new = numbers.iter().filter(|number| sent.insert(**number)).count();
                        prop_assert_eq!((receipt.accepted, receipt.duplicates), (new, numbers.len() - new));
                        prop_assert!(receipt.conflicts.is_empty());
                    }
                    Act::Retract(number) => {
                        let body = retraction(place, number).into_bytes();
                        let answer = metering.ingest(Format::Single, body, Invalid::Reject, NOW).await;
                        match (answer, sent.contains(&number)) {
                            (Ok(receipt), true) => {
                                let new = usize::from(retracted.insert(number));
                                prop_assert_eq!((receipt.accepted, receipt.duplicates), (new, 1 - new));
                            }
                            (Err(Error::Invalid(faulty)), false) => {
                                prop_assert_eq!(faulty[0].errors[0].code, "unknown_event");
                            }
                            (answer, _) => prop_assert!(false, "{:?}", answer),
                        }
                    }
                    Act::Flush => metering.flush().await.expect("flushes"),
                    Act::Crash => {
                        drop((db, metering));
                        (db, metering) = open(folder.path()).await;
                    }
                }
            }
            let expected = naive(sent.difference(&retracted).copied(), metering.versions().meters());
            let period = Period::new(Instant::BEGINNING, NOW).expect("a period");
            let versions = metering.versions();
            let query = Query {
                meter: versions.meter("seconds").expect("exists"), consumer: None, period, window: Window::Total,
                zone: Zone::utc(), group_by: &[],
            };
            let rows = metering.usage(&query).await.expect("reads");
            let live: Decimal = rows.iter().map(|row| row.value).sum();
            let seconds = expected.iter().filter(|(key, _)| &*key.meter == "seconds").map(|(_, delta)| delta.value.decimal().expect("fits"));
            prop_assert_eq!(live, seconds.sum::<Decimal>(), "unflushed usage is read too");
            metering.flush().await.expect("flushes");
            prop_assert_eq!(&stored(&db).await, &expected);
            let seq = db.read().await.expect("reads").applied_seq().await.expect("reads");
            let again = recover::recompute(&db, &metering.versions(), (seq, 0), |_| {}).await.expect("recomputes");
            prop_assert_eq!(&again, &expected);
            Ok(())
        })?;
    }
}

/// The value of a meter's only row, over all time.
async fn total(metering: &Metering, meter: &str) -> String {
    let versions = metering.versions();
    let query = Query {
        meter: versions.meter(meter).expect("exists"),
        consumer: None,
        period: Period::new(Instant::BEGINNING, NOW).expect("a period"),
        window: Window::Total,
        zone: Zone::utc(),
        group_by: &[],
    };
    let rows = metering.usage(&query).await.expect("reads");
    rows.first().map(|row| row.value.to_string()).unwrap_or_default()
}

#[test]
fn what_a_refused_event_would_have_added_is_not_counted_for_the_next_one() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let (_db, metering) = open(folder.path()).await;
        metering.publish(three_meters(), "test", "", NOW).await.expect("publishes");
        // Refused only after it was measured.
        let timeless = event(8).replace(r#""time":"2013-01-09T08:10:00Z""#, r#""time":null"#);
        let body = [timeless, event(1)].join("\n");
        let receipt = metering.ingest(Format::Ndjson, body.into(), Invalid::Quarantine, NOW).await.expect("is taken");
        assert_eq!((receipt.accepted, receipt.rejected.len()), (1, 1));
        assert_eq!(total(&metering, "jobs").await, "1");
    });
}

#[test]
fn usage_that_no_database_could_keep_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let (_db, metering) = open(folder.path()).await;
        metering.publish(three_meters(), "test", "", NOW).await.expect("publishes");
        let region = |text: &str| event(1).replace("\"r1\"", &format!("\"{text}\""));
        for (text, is_taken) in [(&*"x".repeat(3_000), false), (&*"x".repeat(2_000), true)] {
            let taken = metering.ingest(Format::Single, region(text).into(), Invalid::Reject, NOW).await;
            match taken {
                Err(Error::Invalid(faulty)) if !is_taken => assert_eq!(faulty[0].errors[0].code, "unusable_key"),
                taken => assert!(is_taken && taken.is_ok(), "{taken:?}"),
            }
        }
        assert_eq!(total(&metering, "jobs").await, "1");
    });
}

#[test]
fn a_flush_goes_on_when_whoever_asked_for_it_has_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let (db, metering) = open(folder.path()).await;
        metering.publish(three_meters(), "test", "", NOW).await.expect("publishes");
        send(&metering, &[1, 2, 3]).await;
        // Gone at every point at which it waits.
        for moment in 0..40 {
            let _ = tokio::time::timeout(Duration::from_micros(moment * 50), metering.flush()).await;
            send(&metering, &[100 + u32::try_from(moment).expect("small")]).await;
        }
        metering.flush().await.expect("flushes");
        let seq = db.read().await.expect("reads").applied_seq().await.expect("reads");
        let again = recover::recompute(&db, &metering.versions(), (seq, 0), |_| {}).await.expect("recomputes");
        assert_eq!(stored(&db).await, again);
    });
}

/// As when a connection is lost after it committed: the log says so, and memory does not.
#[test]
fn a_commit_whose_answer_was_lost_is_found_when_the_next_one_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let (db, metering) = open(folder.path()).await;
        metering.publish(three_meters(), "test", "", NOW).await.expect("publishes");
        send(&metering, &[1, 2]).await;
        // The same database, as it is with two batches of which one is flushed.
        let other = tempfile::tempdir().expect("a folder");
        let (other_db, other_metering) = open(other.path()).await;
        other_metering.publish(three_meters(), "test", "", NOW).await.expect("publishes");
        send(&other_metering, &[1, 2]).await;
        send(&other_metering, &[3, 4, 5]).await;
        let lost = other_db.read_log().await.expect("reads").batch(2).await.expect("reads").expect("is there");
        db.appender().append(&lost).await.expect("appends");
        let refused = metering.ingest(Format::Single, event(6).into_bytes(), Invalid::Reject, NOW).await;
        assert!(matches!(refused, Err(Error::Store(store::Error::Unavailable(_)))), "{refused:?}");
        let receipt = send(&metering, &[4, 6]).await;
        assert_eq!((receipt.accepted, receipt.duplicates), (1, 1));
        metering.flush().await.expect("flushes");
        assert_eq!(stored(&db).await, naive(1..=6, metering.versions().meters()));
    });
}

#[test]
fn a_log_that_holds_an_event_again_is_found_out() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let (db, metering) = open(folder.path()).await;
        metering.publish(three_meters(), "test", "", NOW).await.expect("publishes");
        send(&metering, &[1, 2]).await;
        send(&metering, &[3]).await;
        let again = db.read_log().await.expect("reads").batch(1).await.expect("reads").expect("is there");
        db.appender().append(&Batch { seq: 3, ..again }).await.expect("appends behind the meter's back");
        match recover::recompute(&db, &metering.versions(), (3, 0), |_| {}).await {
            Err(Error::Damaged(damaged)) => assert!(damaged.to_string().contains("batch 1 holds"), "{damaged}"),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn what_is_latest_is_decided_by_time_then_by_the_log_and_survives_a_crash_and_a_retraction() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let (mut db, mut metering) = open(folder.path()).await;
        let gauge = "
            [[meter]]
            id = \"level\"
            event_type = \"job.done\"
            aggregation = \"latest\"
            value = \"data.level\"
            party = \"source\"";
        metering.publish(book(gauge), "test", "", NOW).await.expect("publishes");
        let said = |id: u32, second: u32, level: u32| {
            format!(
                r#"{{"specversion":"1.0","id":"{id}","source":"/t","type":"job.done","time":"2013-01-01T00:00:{second:02}Z","data":{{"level":{level}}}}}"#
            )
        };
        let body = [said(1, 5, 10), said(2, 9, 20), said(3, 9, 30), said(4, 1, 40)].join("\n");
        metering.ingest(Format::Ndjson, body.into(), Invalid::Reject, NOW).await.expect("is taken");
        assert_eq!(total(&metering, "level").await, "30");
        // In a batch of its own, at the same instant: later in the log.
        metering.ingest(Format::Single, said(5, 9, 50).into(), Invalid::Reject, NOW).await.expect("is taken");
        assert_eq!(total(&metering, "level").await, "50");
        for (retracted, left) in [(5, "50"), (3, "20"), (2, "10")] {
            drop((db, metering));
            (db, metering) = open(folder.path()).await;
            if retracted == 5 {
                assert_eq!(total(&metering, "level").await, left);
            }
            let body = retraction(retracted, u32::try_from(retracted).expect("small"));
            metering.ingest(Format::Single, body.into(), Invalid::Reject, NOW).await.expect("is taken back");
            if retracted != 5 {
                assert_eq!(total(&metering, "level").await, left);
            }
            metering.flush().await.expect("flushes");
            let seq = db.read().await.expect("reads").applied_seq().await.expect("reads");
            let again = recover::recompute(&db, &metering.versions(), (seq, 0), |_| {}).await.expect("recomputes");
            assert_eq!(stored(&db).await, again);
        }
    });
}

#[test]
fn with_one_invalid_event_nothing_is_stored_unless_it_may_be_kept_aside() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let (db, metering) = open(folder.path()).await;
        metering.publish(three_meters(), "test", "", NOW).await.expect("publishes");
        let body = format!("{}\n{}\n", event(1), event(2).replace("job.done", "job.dnoe"));
        let refused = metering.ingest(Format::Ndjson, body.clone().into_bytes(), Invalid::Reject, NOW).await;
        let Err(Error::Invalid(faulty)) = refused else { panic!("is refused: {refused:?}") };
        assert_eq!((faulty[0].index, faulty[0].errors[0].code), (1, "unknown_event_type"));
        assert!(faulty[0].errors[0].fix.contains("job.done"), "{}", faulty[0].errors[0].fix);
        assert_eq!(metering.event_count(), 0);
        let receipt = metering
            .ingest(Format::Ndjson, body.clone().into_bytes(), Invalid::Quarantine, NOW)
            .await
            .expect("is taken");
        assert_eq!((receipt.accepted, receipt.rejected.len()), (1, 1));
        assert_eq!(db.read_log().await.expect("reads").quarantine_size().await.expect("reads"), 1);
    });
}

#[test]
fn a_meter_that_is_published_later_counts_from_there_on() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let (db, metering) = open(folder.path()).await;
        metering.publish(three_meters(), "test", "", NOW).await.expect("publishes");
        send(&metering, &[1, 2]).await;
        let mut later = book("[[meter]]\nid = \"late\"\nevent_type = \"job.done\"\naggregation = \"count\"\n");
        later.effective_from = NOW;
        metering.publish(later, "test", "", NOW).await.expect("publishes");
        send(&metering, &[2, 4]).await;
        metering.flush().await.expect("flushes");
        let stored = stored(&db).await;
        let late: i64 = stored.iter().filter(|(key, _)| &*key.meter == "late").map(|(_, delta)| delta.count).sum();
        assert_eq!(late, 1, "only event 4 is new since");
        let seq = db.read().await.expect("reads").applied_seq().await.expect("reads");
        let again = recover::recompute(&db, &metering.versions(), (seq, 0), |_| {}).await.expect("recomputes");
        assert_eq!(again, stored);
    });
}

#[test]
fn an_event_without_a_time_gets_that_of_its_receipt_and_stays_a_duplicate() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let (_db, metering) = open(folder.path()).await;
        metering.publish(three_meters(), "test", "", NOW).await.expect("publishes");
        let timeless = event(5).replace("\"time\":\"2013-01-06T05:10:00Z\",", "");
        let body = timeless.into_bytes();
        let first = metering.ingest(Format::Single, body.clone(), Invalid::Reject, NOW).await.expect("is taken");
        let later = Instant::from_micros(NOW.micros() + 5_000_000);
        let second = metering.ingest(Format::Single, body, Invalid::Reject, later).await.expect("is taken");
        assert_eq!((first.accepted, second.duplicates, second.conflicts.len()), (1, 1, 0));
        let kept = metering.event("/t", "5").await.expect("reads").expect("exists");
        assert!(kept.text.contains("\"time\":\"2014-05-13T16:53:20Z\""), "{}", kept.text);
    });
}

#[test]
fn of_two_who_mend_the_same_event_at_once_only_one_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let (db, metering) = open(folder.path()).await;
        metering.publish(three_meters(), "test", "", NOW).await.expect("publishes");
        for round in 0..20 {
            let broken = b"{\"id\": ".to_vec();
            metering.ingest(Format::Single, broken, Invalid::Quarantine, NOW).await.expect("is set aside");
            let (page, _) = db.read_log().await.expect("reads").quarantined_after("", 1).await.expect("reads");
            let id = &page[0].id;
            let mended = |number: u32| Some(event(100 + round * 3 + number).into_bytes());
            let (one, other, gone) = tokio::join!(
                metering.resubmit(id, mended(0), NOW),
                metering.resubmit(id, mended(1), NOW),
                metering.discard(id, NOW),
            );
            let taken = [one.is_ok(), other.is_ok(), gone.is_ok()];
            assert_eq!(taken.iter().filter(|is| **is).count(), 1, "{taken:?}");
            assert_eq!(db.read_log().await.expect("reads").quarantine_size().await.expect("reads"), 0);
            let known = [100, 101].map(|number| (number + round * 3).to_string());
            let mut stored = 0;
            for id in &known {
                stored += usize::from(metering.event("/t", id).await.expect("reads").is_some());
            }
            assert_eq!(stored, usize::from(taken[0] || taken[1]));
        }
    });
}
