//! A disk that is full, and files that are not what they should be: said as what they are, and over when they are over.

use std::path::Path;

use crate::store::Access;
use crate::store::Db;
use crate::store::Error;
use crate::store::Target;
use crate::store::tests::send;
use crate::store::tests::sent;
use crate::store::tests::sqlite;

const METER: &str = "insert into meter (id, after_seq) values ('m', 0)";

#[tokio::test]
async fn a_full_disk_makes_the_store_unavailable_until_there_is_room() {
    let (db, _folder) = sqlite().await;
    let blob = "insert into quarantine (id, received_at, event, faults)
                values ('q' || hex(randomblob(8)), 0, randomblob(1000000), '[]')";
    let mut tx = db.write_log().await.expect("begins");
    send(&mut tx, "pragma max_page_count = 1").await.expect("is set to what there is");
    let full = send(&mut tx, blob).await.expect_err("there is no room");
    assert!(matches!(&full, Error::Unavailable(why) if why.contains("full")), "{full:?}");
    drop(tx);
    assert_eq!(db.read_log().await.expect("reads").last_seq().await.expect("reads"), 0);
    let mut tx = db.write_log().await.expect("a connection can be used again");
    send(&mut tx, "pragma max_page_count = 1000000").await.expect("there is room again");
    send(&mut tx, blob).await.expect("is written");
    tx.commit().await.expect("is durable");
}

#[tokio::test]
async fn a_commit_that_fails_keeps_nothing_and_the_next_one_works() {
    let (db, _folder) = sqlite().await;
    let orphan = "insert into subscription (id, consumer, plan, starts_at, created_at, closed_through)
                  values ('sub_1', 'nobody', 'p', 0, 0, 0)";
    let mut tx = db.write().await.expect("begins");
    send(&mut tx, METER).await.expect("is written");
    // The check of foreign keys is put off until the commit, which then fails and leaves the transaction open.
    send(&mut tx, "pragma defer_foreign_keys = on").await.expect("is set");
    send(&mut tx, orphan).await.expect("is not checked yet");
    assert!(matches!(tx.commit().await, Err(Error::Refused(_))));
    sent(&db, &[METER]).await.expect("was not kept, and can be");
}

#[tokio::test]
async fn a_transaction_that_sqlite_ended_by_itself_does_not_block_the_next() {
    let (db, _folder) = sqlite().await;
    // As SQLite does on an error of the disk.
    let mut tx = db.write().await.expect("begins");
    send(&mut tx, METER).await.expect("is written");
    send(&mut tx, "rollback").await.expect("nobody told sqlx");
    drop(tx);
    for _ in 0..2 {
        let mut tx = db.write().await.expect("another connection takes its place");
        send(&mut tx, METER).await.expect("was not kept");
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_damaged_and_one_that_may_not_be_written_is_unavailable() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("tallystick.db"), [b'x'; 8192]).expect("a file");
    assert!(matches!(opened(folder.path()).await, Err(Error::Damaged(_))));

    let (db, _folder) = sqlite().await;
    let mut tx = db.write().await.expect("begins");
    send(&mut tx, "pragma query_only = on").await.expect("is set");
    let refused = send(&mut tx, METER).await.expect_err("may not be written");
    assert!(matches!(&refused, Error::Unavailable(why) if why.contains("readonly")), "{refused:?}");
    send(&mut tx, "pragma query_only = off").await.expect("is set");
}

async fn opened(folder: &Path) -> Result<Db, Error> {
    Db::open(&Target::Folder(folder.to_owned()), Access::Owner).await
}

#[tokio::test]
async fn whoever_only_reads_tables_of_another_version_is_told_what_to_do() {
    let (db, folder) = sqlite().await;
    let read = async || Db::open(&Target::Folder(folder.path().to_owned()), Access::Reader).await.map(|_| ());
    read().await.expect("is as it should be");
    for (change, word) in [("version - 100", "older"), ("version + 1000", "newer")] {
        sent(&db, &[&format!("update _sqlx_migrations set version = {change}")]).await.expect("is changed");
        let refused = read().await.expect_err("the tables are others");
        assert!(matches!(&refused, Error::Unavailable(why) if why.contains(word)), "{refused:?}");
    }
}
