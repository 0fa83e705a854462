//! The conformance suite: what the store promises, on both engines.
//!
//! One file for each file of the store. A test is a function of an open, empty store; `both_engines!` runs it on a
//! new SQLite folder and on a new Postgres database. Tests of what the database itself refuses send it SQL of their
//! own, with [`sent`] and [`refused`]. That no function is left out is checked by `tests/tidy.rs`.

mod archive;
mod balances;
mod chain;
mod closings;
mod consumers;
mod endpoints;
mod engine;
mod exports;
mod journal;
mod keys;
mod late;
mod locks;
mod manual;
mod metering;
mod netting;
mod payouts;
#[path = "../../../tests/it/support/postgres.rs"]
mod postgres;
mod prepaid;
mod recording;
mod replayed;
mod settlements;
mod shares;
mod stripe;
mod subscriptions;

use sqlx::AssertSqlSafe;
use tempfile::TempDir;

use crate::store::Access;
use crate::store::Db;
use crate::store::Error;
use crate::store::Result;
use crate::store::Target;
use crate::store::Tx;
use crate::store::Write;
use crate::store::engine::Pools;
use crate::store::on;

/// `both_engines!(a_test, another_test)`: makes each a test on SQLite and a test on Postgres.
macro_rules! both_engines {
    ($($test:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $test() {
                let (db, _folder) = $crate::store::tests::sqlite().await;
                super::$test(db).await;
            })+
        }
        mod on_postgres {
            $(#[tokio::test]
            async fn $test() {
                super::$test($crate::store::tests::postgres().await).await;
            })+
        }
    };
}
pub(crate) use both_engines;

pub(crate) async fn sqlite() -> (Db, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let db = Db::open(&Target::Folder(folder.path().to_owned()), Access::Owner).await.expect("opens");
    (db, folder)
}

pub(crate) async fn postgres() -> Db {
    Db::open(&Target::Url(postgres::fresh_database()), Access::Owner).await.expect("opens")
}

/// Sends statements as they are, in a transaction of their own.
pub(crate) async fn sent(db: &Db, statements: &[&str]) -> Result<()> {
    let mut tx = db.write().await?;
    for statement in statements {
        send(&mut tx, statement).await?;
    }
    tx.commit().await
}

async fn send<Part>(tx: &mut Tx<Write, Part>, statement: &str) -> Result<()> {
    on!(tx, conn => sqlx::raw_sql(AssertSqlSafe(statement)).execute(conn).await?.rows_affected());
    Ok(())
}

/// Sends statements that the database must refuse, at the latest when they are committed, and gives its reason.
async fn refused(db: &Db, statements: &[&str]) -> String {
    match sent(db, statements).await {
        Err(Error::Refused(reason)) => reason,
        Err(Error::Taken) => "taken".to_owned(),
        other => panic!("{statements:?} should have been refused: {other:?}"),
    }
}

pub(crate) fn is_sqlite(db: &Db) -> bool {
    matches!(db.books, Pools::Sqlite { .. })
}

async fn a_reading_transaction_cannot_write(db: Db) {
    let mut tx = db.read().await.expect("begins");
    let sql = "insert into meter (id, after_seq) values ('m', 0)";
    let written = async { on!(tx, conn => sqlx::raw_sql(sql).execute(conn).await.map(|_| ())) }.await;
    assert!(written.is_err());
    drop(tx);
    let mut log = db.read_log().await.expect("begins");
    let sql = "delete from quarantine";
    assert!(async { on!(log, conn => sqlx::raw_sql(sql).execute(conn).await.map(|_| ())) }.await.is_err());
}

async fn what_is_not_committed_is_not_kept(db: Db) {
    let mut tx = db.write().await.expect("begins");
    send(&mut tx, "insert into meter (id, after_seq) values ('m', 0)").await.expect("is written");
    drop(tx);
    let mut tx = db.write_log().await.expect("begins");
    send(&mut tx, "delete from quarantine").await.expect("is written");
    tx.commit().await.expect("commits");
    sent(&db, &["insert into meter (id, after_seq) values ('m', 0)"]).await.expect("was not there");
}

both_engines!(a_reading_transaction_cannot_write, what_is_not_committed_is_not_kept);
