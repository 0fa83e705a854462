//! Bodies that name events of the log: to take them back, or by repeating them in other words.

use super::*;

#[test]
fn an_event_that_was_taken_back_says_so_and_is_counted_nowhere() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let (_db, metering) = open(folder.path()).await;
        metering.publish(three_meters(), "test", "", NOW).await.expect("publishes");
        send(&metering, &[1]).await;
        let event = metering.event("/t", "1").await.expect("reads").expect("is there");
        assert_eq!((event.retracted, event.counted.len()), (false, 3));
        metering.ingest(Format::Single, retraction(1, 1).into(), Invalid::Reject, NOW).await.expect("is taken back");
        let event = metering.event("/t", "1").await.expect("reads").expect("stays in the log");
        assert_eq!((event.retracted, event.counted.len()), (true, 0));
        let kept = metering.event("/mend", "1").await.expect("reads").expect("is there");
        assert!(kept.text.contains(&format!(r#""event":{}"#, self::event(1))), "{}", kept.text);
        assert_eq!(send(&metering, &[1]).await.duplicates, 1);
    });
}

#[test]
fn a_retraction_keeps_what_was_sent_with_it_and_cannot_itself_be_taken_back() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let (_db, metering) = open(folder.path()).await;
        metering.publish(three_meters(), "test", "", NOW).await.expect("publishes");
        send(&metering, &[1]).await;
        let sent = retraction(1, 1).replace(r#""data":{"#, r#""ticket":"T-7","data":{"amount":1.10,"#);
        metering.ingest(Format::Single, sent.into(), Invalid::Reject, NOW).await.expect("is taken back");
        let kept = metering.event("/mend", "1").await.expect("reads").expect("is there").text;
        assert!(kept.contains(r#""ticket":"T-7""#) && kept.contains(r#""amount":1.10"#), "{kept}");
        let again = retraction(2, 1).replace(r#""source":"/t""#, r#""source":"/mend""#);
        match metering.ingest(Format::Single, again.into(), Invalid::Reject, NOW).await {
            Err(Error::Invalid(faulty)) => assert_eq!(faulty[0].errors[0].code, "retraction_of_retraction"),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_duplicate_that_says_something_else_is_a_conflict_and_the_first_stands() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let (_db, metering) = open(folder.path()).await;
        metering.publish(three_meters(), "test", "", NOW).await.expect("publishes");
        send(&metering, &[1]).await;
        let reordered = event(1).replace(r#""specversion":"1.0","id":"1","#, r#""id":"1", "specversion":"1.0","#);
        let other = event(1).replace("\"seconds\":7.1", "\"seconds\":8");
        let body = format!("{reordered}\n{other}\n");
        let receipt =
            metering.ingest(Format::Ndjson, body.clone().into_bytes(), Invalid::Reject, NOW).await.expect("is taken");
        assert_eq!((receipt.accepted, receipt.duplicates, receipt.conflicts), (0, 2, vec![1]));
        let kept = metering.event("/t", "1").await.expect("reads").expect("exists");
        assert_eq!(kept.text, event(1));
    });
}

#[test]
fn many_can_be_taken_back_and_repeated_in_one_body() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let (db, metering) = open(folder.path()).await;
        metering.publish(three_meters(), "test", "", NOW).await.expect("publishes");
        for first in (0..60).step_by(6) {
            send(&metering, &(first..first + 6).collect::<Vec<_>>()).await;
        }
        let mut lines: Vec<String> = (0..40).map(|number| retraction(number as usize, number)).collect();
        // One of them twice, and half of all events in other words.
        lines.push(retraction(40, 7));
        lines.extend((0..30).map(|number| event(number).replace("region", "place")));
        let body = lines.join("\n").into_bytes();
        let receipt = metering.ingest(Format::Ndjson, body, Invalid::Reject, NOW).await.expect("is taken");
        assert_eq!((receipt.accepted, receipt.duplicates), (40, 31));
        assert_eq!(receipt.conflicts, (41..71).collect::<Vec<_>>());
        metering.flush().await.expect("flushes");
        assert_eq!(stored(&db).await, naive(40..60, metering.versions().meters()));
    });
}

#[test]
fn more_than_the_log_should_hold_again_is_not_taken_back_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let (_db, metering) = open(folder.path()).await;
        metering.publish(three_meters(), "test", "", NOW).await.expect("publishes");
        let long = "x".repeat(1_000_000);
        for number in 0..20 {
            let body = event(number).replace("\"data\":{", &format!("\"data\":{{\"note\":\"{long}\","));
            metering.ingest(Format::Single, body.into_bytes(), Invalid::Reject, NOW).await.expect("is taken");
        }
        let body = (0..20).map(|number| retraction(number as usize, number)).collect::<Vec<_>>().join("\n");
        let receipt = metering
            .ingest(Format::Ndjson, body.clone().into_bytes(), Invalid::Quarantine, NOW)
            .await
            .expect("takes some");
        assert_eq!((receipt.accepted, receipt.rejected.len()), (16, 4));
        assert!(receipt.rejected.iter().all(|faulty| faulty.errors[0].code == "too_much_taken_back"), "{receipt:?}");
        let again =
            metering.ingest(Format::Ndjson, body.into_bytes(), Invalid::Reject, NOW).await.expect("takes the rest");
        assert_eq!((again.accepted, again.duplicates), (4, 16));
    });
}

/// The second line is no event of its own, since its id is the first one's: so the third one is not the second to take E2 back.
#[test]
fn a_retraction_that_is_dropped_leaves_its_event_to_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let (db, metering) = open(folder.path()).await;
        metering.publish(three_meters(), "test", "", NOW).await.expect("publishes");
        send(&metering, &[1, 2, 3]).await;
        let body = [retraction(1, 1), retraction(1, 2), retraction(2, 2), retraction(3, 2)].join("\n").into_bytes();
        let receipt = metering.ingest(Format::Ndjson, body, Invalid::Reject, NOW).await.expect("is taken");
        assert_eq!((receipt.accepted, receipt.duplicates), (2, 2));
        metering.flush().await.expect("flushes");
        assert_eq!(stored(&db).await, naive([3], metering.versions().meters()));
    });
}
