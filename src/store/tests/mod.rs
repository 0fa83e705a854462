//! The conformance suite: what the store promises, on both engines.
//!
//! One file for each file of the store. A test is a function of an open, empty store; `both_engines!` runs it on a
//! new SQLite folder and on a new Postgres database. Tests of what the database itself refuses send it SQL of their
//! own, with [`sent`] and [`refused`].

mod journal;
#[path = "../../../tests/it/support/postgres.rs"]
mod postgres;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;

use sqlx::AssertSqlSafe;
use tempfile::TempDir;

use crate::store::Access;
use crate::store::Db;
use crate::store::Error;
use crate::store::Log;
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
pub(in crate::store::tests) use both_engines;

async fn sqlite() -> (Db, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let db = Db::open(&Target::Folder(folder.path().to_owned()), Access::Owner).await.expect("opens");
    (db, folder)
}

async fn postgres() -> Db {
    Db::open(&Target::Url(postgres::fresh_database()), Access::Owner).await.expect("opens")
}

/// Sends statements as they are, in a transaction of their own.
async fn sent(db: &Db, statements: &[&str]) -> Result<()> {
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

fn is_sqlite(db: &Db) -> bool {
    matches!(db.books, Pools::Sqlite { .. })
}

/// The columns of every table, by table.
async fn columns<Mode, Part>(tx: &mut Tx<Mode, Part>) -> BTreeMap<String, BTreeSet<String>> {
    const SQLITE: &str = "
        select sqlite_master.name, columns.name
        from sqlite_master join pragma_table_info(sqlite_master.name) as columns
        where sqlite_master.type = 'table' and sqlite_master.name not like 'sqlite%'";
    const POSTGRES: &str = "
        select cast(table_name as text), cast(column_name as text)
        from information_schema.columns where table_schema = 'public'";
    let sql = if matches!(tx.0, crate::store::Engine::Sqlite(_)) { SQLITE } else { POSTGRES };
    let rows: Vec<(String, String)> = on!(tx, conn => sqlx::query_as(sql).fetch_all(conn).await.expect("columns"));
    let mut tables: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (table, column) in rows.into_iter().filter(|(table, _)| table != "_sqlx_migrations") {
        tables.entry(table).or_default().insert(column);
    }
    tables
}

#[tokio::test]
async fn both_engines_have_the_same_tables_and_columns() {
    let (sqlite, _folder) = sqlite().await;
    let mut books = columns(&mut sqlite.read().await.expect("begins")).await;
    books.extend(columns(&mut sqlite.read_log().await.expect("begins")).await);
    let postgres = postgres().await;
    assert_eq!(books, columns(&mut postgres.read().await.expect("begins")).await);
}

/// A function of the store that no test here calls is a function that works on one engine by luck.
#[test]
fn every_function_of_the_store_is_in_the_suite() {
    let read = |folder: &str| -> Vec<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let files = std::fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").path());
        files.filter(|file| file.is_file()).map(|file| std::fs::read_to_string(file).expect("text")).collect()
    };
    let tests = read("src/store/tests").concat();
    let functions: BTreeSet<String> = read("src/store")
        .iter()
        .flat_map(|text| text.split("pub async fn ").skip(1))
        .filter_map(|rest| rest.split(['(', '<']).next().map(str::to_owned))
        .collect();
    let untested: Vec<_> = functions.iter().filter(|name| !tests.contains(&format!(".{name}("))).collect();
    assert!(untested.is_empty(), "no test in src/store/tests calls {untested:?}");
}

async fn a_reading_transaction_cannot_write(db: Db) {
    let mut tx = db.read().await.expect("begins");
    let sql = "insert into meter (id, after_seq) values ('m', 0)";
    let written = async { on!(tx, conn => sqlx::raw_sql(sql).execute(conn).await.map(|_| ())) }.await;
    assert!(written.is_err());
    drop(tx);
    let mut log: Tx<crate::store::Read, Log> = db.read_log().await.expect("begins");
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
