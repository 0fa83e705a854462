//! The archive's part of the log, and that nothing leaves the log by mistake, on both engines.

use super::metering::at;
use super::metering::batch;
use super::*;
use crate::domain::period::Period;
use crate::store::archive::Archivable;
use crate::store::archive::ArchiveFile;
use crate::store::archive::ArchivedBatch;
use crate::store::batches::Batch;

both_engines!(
    a_batch_moves_to_the_archive_and_stays_known,
    nothing_leaves_the_log_that_the_archive_does_not_have,
    what_is_archived_stays_as_it_is,
    the_log_gives_space_back,
);

fn file(number: i64) -> ArchiveFile {
    ArchiveFile {
        number,
        folder: "/archive".to_owned(),
        name: format!("events-{number}.ndjson.zst"),
        bytes: 3,
        sha256: "a".repeat(64),
        manifest_sha256: "b".repeat(64),
    }
}

fn archived(of: &Batch, file: i64) -> ArchivedBatch {
    ArchivedBatch {
        seq: of.seq,
        received_at: of.received_at,
        event_count: of.event_count,
        first_time: of.first_time,
        last_time: of.last_time,
        checksum: of.checksum,
        file,
        first_byte: 0,
        bytes: i64::try_from(of.body.len()).expect("small"),
    }
}

async fn append(db: &Db, batches: &[Batch]) {
    let mut tx = db.write_log().await.expect("begins");
    for batch in batches {
        tx.append_batch(batch).await.expect("appends");
    }
    tx.commit().await.expect("commits");
}

/// Sends a statement to the log, which must refuse it.
async fn refused_by_the_log(db: &Db, statement: &str) -> String {
    let mut tx = db.write_log().await.expect("begins");
    match send(&mut tx, statement).await {
        Err(Error::Refused(reason)) => reason,
        other => panic!("{statement} should have been refused: {other:?}"),
    }
}

async fn a_batch_moves_to_the_archive_and_stays_known(db: Db) {
    append(&db, &[batch(1), Batch { last_time: at(99), ..batch(2) }, batch(3), batch(4)]).await;
    let mut tx = db.read_log().await.expect("begins");
    let archivable = tx.archivable(at(5), 3).await.expect("reads");
    let expected = |seq| Archivable { seq, event_count: 2, bytes: 3 };
    assert_eq!(archivable, [expected(1), expected(3)], "2 is too young, 4 is not flushed");
    assert_eq!(tx.batches_across(at(5)).await.expect("reads"), 1);
    let whole = Period::new(at(-1), at(1)).expect("a period");
    let heads = tx.batches_between(1, 3, whole).await.expect("reads");
    drop(tx);

    let mut tx = db.write_log().await.expect("begins");
    let rows = [archived(&batch(1), 1), archived(&batch(3), 1)];
    assert_eq!(tx.move_to_archive(&file(1), &rows).await.expect("moves"), 2);
    tx.commit().await.expect("commits");
    let mut tx = db.write_log().await.expect("begins");
    tx.move_to_archive(&file(2), &[archived(&batch(4), 2)]).await.expect("moves the newest");
    tx.commit().await.expect("commits");

    let mut tx = db.read_log().await.expect("begins");
    assert_eq!(tx.last_seq().await.expect("reads"), 4, "no number is ever given again");
    assert_eq!(tx.log_size().await.expect("reads"), (8, 12));
    assert_eq!(tx.batch(3).await.expect("reads"), None);
    assert_eq!(tx.archived_batch(3).await.expect("reads"), Some((archived(&batch(3), 1), file(1))));
    assert_eq!(tx.archived_batch(2).await.expect("reads"), None);
    assert_eq!(tx.archive_files().await.expect("reads"), [file(1), file(2)]);
    assert_eq!(tx.batches_between(1, 3, whole).await.expect("reads"), heads, "wherever they are");
    assert_eq!(heads.iter().map(|head| head.seq).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(tx.batches_between(1, 4, Period::new(at(5), at(9)).expect("a period")).await.expect("reads").len(), 1);
    assert_eq!(tx.archivable(at(5), 4).await.expect("reads"), []);
}

async fn nothing_leaves_the_log_that_the_archive_does_not_have(db: Db) {
    append(&db, &[batch(1), batch(2)]).await;
    let reason = refused_by_the_log(&db, "delete from event_batch where seq = 1").await;
    assert!(reason.contains("only appended to"), "{reason}");
    // Rows of the archive for anything else than a batch that is there.
    let other = [
        ArchivedBatch { seq: 3, ..archived(&batch(1), 1) },
        ArchivedBatch { checksum: 7, ..archived(&batch(1), 1) },
        ArchivedBatch { bytes: 2, ..archived(&batch(1), 1) },
        ArchivedBatch { event_count: 1, ..archived(&batch(1), 1) },
    ];
    for row in other {
        let mut tx = db.write_log().await.expect("begins");
        assert!(matches!(tx.move_to_archive(&file(1), &[row]).await, Err(Error::Refused(_))), "{row:?}");
    }
    let mut tx = db.write_log().await.expect("begins");
    tx.move_to_archive(&file(1), &[archived(&batch(1), 1)]).await.expect("moves");
    tx.commit().await.expect("commits");
    refused_by_the_log(&db, "delete from event_batch").await;
    refused_by_the_log(&db, "update event_batch set event_count = 1").await;
    assert_eq!(db.read_log().await.expect("begins").batch(2).await.expect("reads"), Some(batch(2)));
    if !is_sqlite(&db) {
        refused_by_the_log(&db, "truncate event_batch").await;
    }
}

async fn what_is_archived_stays_as_it_is(db: Db) {
    append(&db, &[batch(1)]).await;
    let mut tx = db.write_log().await.expect("begins");
    tx.move_to_archive(&file(1), &[archived(&batch(1), 1)]).await.expect("moves");
    tx.commit().await.expect("commits");
    for statement in [
        "delete from archived_batch",
        "update archived_batch set first_byte = 1",
        "delete from archive_file",
        "update archive_file set bytes = 1",
    ] {
        refused_by_the_log(&db, statement).await;
    }
    if !is_sqlite(&db) {
        refused_by_the_log(&db, "truncate archived_batch").await;
        refused_by_the_log(&db, "truncate archive_file cascade").await;
    }
}

async fn the_log_gives_space_back(db: Db) {
    let large = Batch { body: vec![7; 4 << 20], ..batch(1) };
    append(&db, std::slice::from_ref(&large)).await;
    let full = db.log_bytes_on_disk().await.expect("asks");
    let mut tx = db.write_log().await.expect("begins");
    tx.move_to_archive(&file(1), &[archived(&large, 1)]).await.expect("moves");
    tx.commit().await.expect("commits");
    db.compact_log().await.expect("compacts");
    let left = db.log_bytes_on_disk().await.expect("asks");
    // Postgres keeps the room for new events.
    assert!(if is_sqlite(&db) { left < full / 10 } else { left <= full * 2 }, "{full} {left}");
}
