//! Tracing usage back to its events: what a closing saw, and what there is now.

use super::*;
use crate::metering::trace::Question;
use crate::metering::trace::RowKey;
use crate::metering::trace::Saw;
use crate::metering::trace::TracedEvent;
use crate::metering::trace::TracedRow;

fn question(metering: &Metering, meter: &str, party: &str, saw: Saw) -> Question {
    let at = |text: &str| Instant::parse(text).expect("a time");
    Question {
        meter: metering.versions().meter(meter).expect("is published").clone(),
        party: party.to_owned(),
        group_by: Vec::new(),
        dimensions: BTreeMap::new(),
        span: Period::new(at("2013-01-03T00:00:00Z"), at("2013-01-20T00:00:00Z")).expect("a period"),
        saw,
    }
}

async fn rows(metering: &Metering, question: &Question, limit: usize) -> Vec<TracedRow> {
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let (page, next) = metering.rows_behind(question, after, limit).await.expect("reads");
        assert!(page.len() <= limit, "a page is not longer than asked for");
        rows.extend(page);
        match next {
            Some(next) => after = Some(next),
            None => return rows,
        }
    }
}

async fn events(metering: &Metering, question: &Question, limit: usize) -> Vec<TracedEvent> {
    let (mut events, mut from) = (Vec::new(), Place { seq: 0, index: 0 });
    loop {
        let (page, next) = metering.events_behind(question, from, limit).await.expect("reads");
        assert!(page.len() <= limit, "a page is not longer than asked for");
        events.extend(page);
        match next {
            Some(next) => from = next,
            None => return events,
        }
    }
}

/// The rows that usage has, of a question.
fn of(usage: &BTreeMap<Key, Delta>, question: &Question) -> BTreeMap<RowKey, Delta> {
    let is_wanted = |key: &Key| {
        *key.meter == *question.meter.id && *key.party == *question.party && question.span.contains(key.bucket)
    };
    let row = |(key, delta): (&Key, &Delta)| {
        let Key { bucket, dimensions, item, .. } = key.clone();
        (RowKey { bucket, dimensions, item }, *delta)
    };
    usage.iter().filter(|(key, _)| is_wanted(key)).map(row).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, ..ProptestConfig::default() })]

    /// Whatever comes late or is taken back, before a closing or after: the rows are those that it saw and those that there
    /// are now, and so is what the events add, however short the pages are.
    #[test]
    fn rows_and_events_are_what_was_seen_and_what_there_is(
        before in prop::collection::vec((0_u32..90, any::<bool>()), 1..40),
        after in prop::collection::vec((0_u32..90, any::<bool>()), 0..20),
        limit in 8_usize..40,
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        block_on(async {
            let (db, metering) = open(folder.path()).await;
            metering.publish(three_meters(), "test", "", NOW).await.expect("publishes");
            let mut retractions = 0;
            let mut take = async |numbers: &[(u32, bool)]| {
                for chunk in numbers.chunks(7) {
                    send(&metering, &chunk.iter().map(|(number, _)| *number).collect::<Vec<_>>()).await;
                    for (number, _) in chunk.iter().filter(|(_, is_taken_back)| *is_taken_back) {
                        retractions += 1;
                        let body = retraction(retractions, *number).into();
                        metering.ingest(Format::Single, body, Invalid::Reject, NOW).await.expect("is taken back");
                    }
                }
                metering.flush().await.expect("flushes");
                stored(&db).await
            };
            let saw_usage = take(&before).await;
            let saw = Saw { seq: db.read().await.expect("reads").applied_seq().await.expect("reads"), replayed: 0 };
            let now_usage = take(&after).await;
            for (meter, party) in [("jobs", "c0"), ("seconds", "c1"), ("longest", "c2")] {
                let question = question(&metering, meter, party, saw);
                let rows = rows(&metering, &question, limit).await;
                let some = |of: fn(&TracedRow) -> Delta| {
                    let rows = rows.iter().map(|row| (row.key.clone(), of(row)));
                    rows.filter(|(_, delta)| !delta.is_nothing()).collect::<BTreeMap<_, _>>()
                };
                assert_eq!(some(|row| row.saw), of(&saw_usage, &question));
                assert_eq!(some(|row| row.now), of(&now_usage, &question));
                assert!(rows.is_sorted_by(|a, b| a.key < b.key));
                let events = events(&metering, &question, limit).await;
                assert!(events.is_sorted_by(|a, b| a.place < b.place));
                let summed = |is_in: fn(&TracedEvent) -> bool| {
                    let mut sums: BTreeMap<Key, Delta> = BTreeMap::new();
                    for (key, delta) in events.iter().filter(|event| is_in(event)).flat_map(|event| &event.added) {
                        let sum = sums.entry(key.clone()).or_default();
                        *sum = sum.merge(*delta).expect("fits");
                    }
                    of(&sums, &question)
                };
                assert_eq!(summed(|event| event.saw), of(&saw_usage, &question));
                assert_eq!(summed(|event| event.now), of(&now_usage, &question));
            }
        });
    }
}

#[test]
fn what_was_replayed_since_was_not_seen_and_dimensions_tell_rows_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let (db, metering) = open(folder.path()).await;
        metering.publish(three_meters(), "test", "", NOW).await.expect("publishes");
        send(&metering, &(0..60).collect::<Vec<_>>()).await;
        let mut later = book(
            "[[meter]]\nid = \"late\"\nevent_type = \"job.done\"\naggregation = \"count\"\ndimensions = { region = \"data.region\" }\n",
        );
        later.effective_from = NOW;
        metering.publish(later, "test", "", NOW).await.expect("publishes");
        send(&metering, &[60, 63]).await;
        metering.flush().await.expect("flushes");
        let saw = Saw { seq: db.read().await.expect("reads").applied_seq().await.expect("reads"), replayed: 0 };
        let all = crate::metering::replay::period(None, None).expect("a period");
        let threads = std::num::NonZero::<usize>::MIN;
        metering.replay("late", all, threads).await.expect("begins").run(|_| {}).await.expect("is counted");
        let both = question(&metering, "late", "c0", saw);
        let dimensions = BTreeMap::from([("region".to_owned(), "r1".to_owned())]);
        let one = Question { group_by: vec!["region".to_owned()], dimensions, ..both.clone() };
        for (question, parities) in [(both, &[0, 1][..]), (one, &[1][..])] {
            let ids = |is_in: fn(&TracedEvent) -> bool, found: &[TracedEvent]| {
                let mut ids: Vec<u32> = found
                    .iter()
                    .filter(|event| is_in(event))
                    .map(|event| event.id.parse().expect("a number"))
                    .collect();
                ids.sort_unstable();
                ids
            };
            let expected = |numbers: std::ops::Range<u32>| {
                let is_in = |number: &u32| {
                    number.is_multiple_of(3) && (3..20).contains(&(1 + number % 28)) && parities.contains(&(number % 2))
                };
                numbers.filter(|number| *number != 61 && *number != 62).filter(is_in).collect::<Vec<u32>>()
            };
            let found = events(&metering, &question, 4).await;
            assert_eq!(ids(|event| event.saw, &found), expected(60..64));
            assert_eq!(ids(|event| event.now, &found), expected(0..64));
        }
    });
}
