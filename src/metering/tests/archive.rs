//! The archive from the inside: what a kill leaves, what is somebody else's, and what it is read back for.

use super::*;
use crate::metering::archive::Unreadable;
use crate::metering::archive::manifest::data_name_of;
use crate::metering::archive::manifest::name_of;
use crate::metering::archive::write::Archived;
use crate::metering::archive::write::Error as ArchiveError;
use crate::metering::archive::write::Wanted;
use crate::metering::archive::write::archive;

/// Ten batches of one event, of the first ten days of 2013, folded and flushed.
async fn ten_days(folder: &Path) {
    let (_db, metering) = open(folder).await;
    metering.publish(three_meters(), "test", "", NOW).await.expect("publishes");
    for number in 0..10 {
        send(&metering, &[number]).await;
    }
    metering.close().await.expect("closes");
}

fn wanted(before: &str, folder: &Path) -> Wanted {
    Wanted { before: Instant::parse(before).expect("a time"), folder: folder.to_owned(), file_bytes: 1 << 20 }
}

async fn archived(folder: &Path, wanted: &Wanted) -> Result<Archived, ArchiveError> {
    archive(&open_store(folder).await, wanted, |_| {}).await
}

/// The store alone.
async fn open_store(folder: &Path) -> Db {
    let (db, metering) = open(folder).await;
    metering.close().await.expect("closes");
    db
}

/// A copy, as a backup takes it.
async fn copy(from: &Path, to: &Path) {
    let _owned = open_store(from).await;
    // Whoever had it open before may still be letting go of its files.
    tokio::time::sleep(Duration::from_millis(200)).await;
    std::fs::create_dir_all(to).expect("a folder");
    for name in ["tallystick.db", "tallystick.db-wal", "events.db", "events.db-wal"] {
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).expect("is copied");
        }
    }
}

#[test]
fn what_a_kill_has_left_is_made_anew_and_what_is_needed_is_never_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, second, to) =
        (folder.path().join("first"), folder.path().join("second"), folder.path().join("archive"));
    block_on(async {
        ten_days(&first).await;
        copy(&first, &second).await;
        let done = archived(&first, &wanted("2013-01-04T00:00:00Z", &to)).await.expect("archives");
        assert_eq!((done.batches, done.events, done.unflushed), (3, 3, 0));
        // The second is as it would be had the first been killed before its transaction; half files too.
        std::fs::write(to.join(name_of(1)).with_extension("json.tmp"), "half").expect("a file");
        let done = archived(&second, &wanted("2013-01-04T00:00:00Z", &to)).await.expect("archives");
        assert_eq!(done.batches, 3);
        let names = std::fs::read_dir(&to).expect("a folder").map(|entry| entry.expect("an entry").file_name());
        assert!(names.into_iter().all(|name| !name.to_string_lossy().ends_with("tmp")));
        let faults =
            async |folder: &Path| crate::metering::archive::check(&open_store(folder).await).await.expect("reads");
        assert!(faults(&first).await.is_empty(), "it wrote the same files");
        // The first goes on; the second is then as a database that was restored from a backup. What only the archive
        // has stays.
        {
            let (_db, metering) = open(&first).await;
            send(&metering, &[10]).await;
            metering.close().await.expect("closes");
        }
        let done = archived(&first, &wanted("2013-01-12T00:00:00Z", &to)).await.expect("archives");
        assert_eq!(done.batches, 8);
        match archived(&second, &wanted("2013-01-06T00:00:00Z", &to)).await {
            Err(ArchiveError::Foreign { reason, .. }) => {
                assert!(reason.contains("does not have its batch 11"), "{reason}")
            }
            other => panic!("{other:?}"),
        }
        assert!(faults(&first).await.is_empty());
        let third = folder.path().join("third");
        std::fs::create_dir_all(&third).expect("a folder");
        ten_days(&third).await;
        match archived(&third, &wanted("2013-01-09T00:00:00Z", &to)).await {
            Err(ArchiveError::Foreign { reason, .. }) => assert!(reason.contains("another log"), "{reason}"),
            other => panic!("{other:?}"),
        }
        std::fs::remove_file(to.join(name_of(1))).expect("is removed");
        match archived(&third, &wanted("2013-01-09T00:00:00Z", &to)).await {
            Err(ArchiveError::Foreign { path, .. }) => assert!(path.ends_with(data_name_of(1))),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_lost_index_is_rebuilt_from_the_archive_or_the_file_that_is_missing_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, to) = (folder.path().join("data"), folder.path().join("archive"));
    block_on(async {
        ten_days(&data).await;
        let before = stored(&open_store(&data).await).await;
        archived(&data, &wanted("2014-01-01T00:00:00Z", &to)).await.expect("archives all of it");
        std::fs::remove_dir_all(data.join("seen")).expect("is there");
        {
            let (db, metering) = open(&data).await;
            assert_eq!(send(&metering, &(0..11).collect::<Vec<_>>()).await.duplicates, 10);
            metering.flush().await.expect("flushes");
            let again = recover::recompute(&db, &metering.versions(), (11, 0), |_| {}).await.expect("recomputes");
            assert_eq!(stored(&db).await, again);
            assert_ne!(again, before, "the eleventh came after the archive, with the next number");
            metering.close().await.expect("closes");
        }
        std::fs::remove_dir_all(data.join("seen")).expect("is there");
        let moved = folder.path().join("moved");
        std::fs::rename(&to, &moved).expect("is moved");
        let db = loop {
            match Db::open(&Target::Folder(data.clone()), Access::Owner).await {
                Ok(db) => break db,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        match Metering::open(db.clone(), options(&data), |_| {}).await {
            Err(Error::Archive(Unreadable { file, .. })) => assert!(file.ends_with(data_name_of(1)), "{file:?}"),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("without the archive it cannot know its duplicates"),
        }
        let metering = Metering::open(db.with_archive(Some(&moved)), options(&data), |_| {}).await.expect("opens");
        assert_eq!(send(&metering, &[3]).await.duplicates, 1);
    });
}
