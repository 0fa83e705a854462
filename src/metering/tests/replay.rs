//! The law of replays, against the same naive model: a younger meter counts what came after it and what was replayed,
//! each event once, whatever is taken back, repeated or killed in between.

use std::num::NonZero;

use super::*;
use crate::metering::coverage::Coverage;
use crate::metering::replay::Progress;

const EVER: (i64, i64) = (i64::MIN, i64::MAX);

/// The three meters, and two that are published later.
fn five_meters() -> BookVersion {
    let younger = r#"
        [[meter]]
        id = "late_seconds"
        event_type = "job.done"
        aggregation = "sum"
        value = "data.seconds"
        [[meter]]
        id = "late_level"
        event_type = "job.done"
        aggregation = "latest"
        value = "data.seconds"
        "#;
    let meters = three_meters().files.iter().find(|file| file.path == "meters/m.toml").expect("is there").text.clone();
    let mut version = book(&format!("{meters}{younger}"));
    version.effective_from = Instant::from_micros(NOW.micros() + 1);
    version
}

fn period((from, to): (i64, i64)) -> Period {
    Period::new(Instant::from_micros(from), Instant::from_micros(to)).expect("a period")
}

async fn replay(metering: &Metering, meter: &str, asked: Period) -> Progress {
    let threads = NonZero::new(2).expect("is not zero");
    metering.replay(meter, asked, threads).await.expect("can begin").run(|_| {}).await.expect("is replayed")
}

fn time(number: u32) -> Instant {
    Event::parse(&event(number)).expect("is an event").time.expect("has a time")
}

/// The day of 2013-01 that begins a window, and how many days it has.
fn window() -> impl Strategy<Value = Period> {
    let day =
        |day: u32| Instant::parse("2013-01-01T00:00:00Z").expect("a time").micros() + i64::from(day) * 86_400_000_000;
    prop_oneof![
        1 => Just(period(EVER)),
        4 => (0_u32..28, 1_u32..15).prop_map(move |(from, days)| period((day(from), day(from + days)))),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Act(Act),
    Replay(Period),
}

fn steps() -> impl Strategy<Value = (Vec<Step>, Vec<Step>)> {
    let act = || {
        prop_oneof![
            6 => prop::collection::vec(0_u32..60, 1..20).prop_map(|numbers| Step::Act(Act::Send(numbers))),
            3 => (0_u32..60).prop_map(|number| Step::Act(Act::Retract(number))),
            1 => Just(Step::Act(Act::Flush)),
            1 => Just(Step::Act(Act::Crash)),
        ]
    };
    let later = prop_oneof![3 => act(), 2 => window().prop_map(Step::Replay)];
    (prop::collection::vec(act(), 1..10), prop::collection::vec(later, 1..14))
}

async fn again(db: &Db, metering: &Metering) -> BTreeMap<Key, Delta> {
    let mut tx = db.read().await.expect("reads");
    let until = (tx.applied_seq().await.expect("reads"), tx.last_replayed().await.expect("reads"));
    recover::recompute(db, &metering.versions(), until, |_| {}).await.expect("recomputes")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Usage of the younger meters is one pass over the distinct events that stand and that came after them or were
    /// replayed; stored usage is what the log comes to after every replay.
    #[test]
    fn a_replay_counts_what_is_missing_exactly_once((before, after) in steps()) {
        let folder = tempfile::tempdir().expect("a folder");
        block_on(async {
            let (mut db, mut metering) = open(folder.path()).await;
            metering.publish(three_meters(), "test", "", NOW).await.expect("publishes");
            let (mut sent, mut retracted, mut younger) = (HashSet::new(), HashSet::new(), HashSet::new());
            let mut windows: Vec<Period> = Vec::new();
            let publication = before.len();
            for (place, step) in before.into_iter().chain(after).enumerate() {
                if place == publication {
                    metering.publish(five_meters(), "test", "", NOW).await.expect("publishes");
                }
                match step {
                    Step::Act(Act::Send(numbers)) => {
                        send(&metering, &numbers).await;
                        for number in numbers {
                            if sent.insert(number) && place >= publication {
                                younger.insert(number);
                            }
                        }
                    }
                    Step::Act(Act::Retract(number)) if sent.contains(&number) => {
                        let body = retraction(place, number).into_bytes();
                        metering.ingest(Format::Single, body, Invalid::Reject, NOW).await.expect("is taken back");
                        retracted.insert(number);
                    }
                    Step::Act(Act::Retract(_)) => {}
                    Step::Act(Act::Flush) => metering.flush().await.expect("flushes"),
                    Step::Act(Act::Crash) => {
                        drop((db, metering));
                        (db, metering) = open(folder.path()).await;
                    }
                    Step::Replay(window) => {
                        for meter in ["late_seconds", "late_level"] {
                            replay(&metering, meter, window).await;
                        }
                        windows.push(window);
                        prop_assert_eq!(stored(&db).await, again(&db, &metering).await);
                    }
                }
            }
            let counts = |number: &u32| {
                younger.contains(number) || windows.iter().any(|window| window.contains(time(*number)))
            };
            metering.flush().await.expect("flushes");
            let stored = stored(&db).await;
            prop_assert_eq!(&stored, &again(&db, &metering).await);
            let expected = naive(sent.iter().filter(|number| !retracted.contains(number) && counts(number)).copied(), metering.versions().meters());
            let of = |usage: &BTreeMap<Key, Delta>, meter: &str| -> Vec<(Key, Delta)> {
                usage.iter().filter(|(key, _)| &*key.meter == meter).map(|(key, delta)| (key.clone(), *delta)).collect()
            };
            prop_assert_eq!(of(&stored, "late_seconds"), of(&expected, "late_seconds"));
            prop_assert_eq!(of(&stored, "late_level").len(), of(&expected, "late_level").len());
            for number in sent {
                let event = metering.event("/t", &number.to_string()).await.expect("reads").expect("is there");
                let said = event.counted.iter().any(|counted| &*counted.key.meter == "late_seconds");
                prop_assert_eq!(said, !retracted.contains(&number) && counts(&number), "{}", number);
            }
            Ok(())
        })?;
    }
}

#[test]
fn what_is_taken_back_while_a_replay_runs_is_counted_nowhere() {
    const EVENTS: u32 = 3_000;
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (db, metering) = open(folder.path()).await;
        let metering = Arc::new(metering);
        metering.publish(three_meters(), "test", "", NOW).await.expect("publishes");
        for first in (0..EVENTS).step_by(7) {
            send(&metering, &(first..(first + 7).min(EVENTS)).collect::<Vec<_>>()).await;
        }
        metering.publish(five_meters(), "test", "", NOW).await.expect("publishes");
        let taking = metering.clone();
        let taking = tokio::spawn(async move {
            for number in (0..EVENTS).step_by(3) {
                let body = retraction(number as usize, number).into_bytes();
                taking.ingest(Format::Single, body, Invalid::Reject, NOW).await.expect("is taken back");
                if number % 101 == 0 {
                    taking.flush().await.expect("flushes");
                }
            }
        });
        let first = replay(&metering, "late_seconds", period(EVER)).await;
        assert!(!taking.is_finished(), "both ran at once, or this proves nothing");
        taking.await.expect("takes back");
        metering.flush().await.expect("flushes");
        assert_eq!(first.counted + first.taken_back, u64::from(EVENTS));
        assert_eq!(replay(&metering, "late_seconds", period(EVER)).await, Progress::default());
        let expected = naive((0..EVENTS).filter(|number| number % 3 != 0), metering.versions().meters());
        let stored = stored(&db).await;
        assert_eq!(stored, again(&db, &metering).await);
        let of = |usage: &BTreeMap<Key, Delta>| -> Vec<(Key, Delta)> {
            let late = usage.iter().filter(|(key, _)| &*key.meter == "late_seconds");
            late.map(|(key, delta)| (key.clone(), *delta)).collect()
        };
        assert_eq!(of(&stored), of(&expected));
    });
}

#[test]
fn a_replay_of_one_day_reads_the_batches_of_that_day_and_one_that_cannot_be_measured_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let (db, metering) = open(folder.path()).await;
        metering.publish(three_meters(), "test", "", NOW).await.expect("publishes");
        for day in 0..10 {
            send(&metering, &[day]).await;
        }
        let needs_region = "
            [[meter]]
            id = \"by_name\"
            event_type = \"job.done\"
            aggregation = \"unique\"
            value = \"data.name\"
            [[meter]]
            id = \"again\"
            event_type = \"job.done\"
            aggregation = \"count\"";
        let mut version = book(needs_region);
        version.effective_from = Instant::from_micros(NOW.micros() + 1);
        metering.publish(version, "test", "", NOW).await.expect("publishes");
        let third = period((time(2).micros(), time(2).micros() + 1));
        let progress = replay(&metering, "again", third).await;
        assert_eq!((progress.batches, progress.batches_total, progress.counted), (1, 1, 1));
        let progress = replay(&metering, "again", period(EVER)).await;
        assert_eq!((progress.batches, progress.counted), (9, 9), "the tenth is counted already");

        let progress = replay(&metering, "by_name", period(EVER)).await;
        assert_eq!((progress.events, progress.counted, progress.not_measurable), (10, 0, 10));
        assert!(progress.first_fault.is_some_and(|fault| fault.contains("data.name")));
        // It keeps nothing else from being taken back.
        metering.ingest(Format::Single, retraction(1, 6).into(), Invalid::Reject, NOW).await.expect("is taken back");
        metering.flush().await.expect("flushes");
        assert_eq!(stored(&db).await, again(&db, &metering).await);
        assert_eq!(total(&metering, "again").await, "3", "c0 had 0, 3, 6 and 9");

        let waiting = metering.replay("again", third, NonZero::<usize>::MIN).await.expect("can begin");
        assert!(matches!(metering.replay("again", third, NonZero::<usize>::MIN).await, Err(Error::Replaying)));
        drop(waiting);
        assert!(metering.replay("again", third, NonZero::<usize>::MIN).await.is_ok());
        assert!(matches!(metering.replay("none", third, NonZero::<usize>::MIN).await, Err(Error::UnknownMeter(_))));
        let coverage = Coverage::read(&mut db.read().await.expect("reads"), i64::MAX).await.expect("reads");
        assert_eq!(coverage.missing("again", period(EVER)), []);
    });
}
