//! What `tallystick bench` compares with: a row an event with a unique key, and what closings write, copied plainly. Nothing
//! is kept in either.

use std::path::Path;

use sqlx::AssertSqlSafe;
use sqlx::QueryBuilder;
use sqlx::Sqlite;
use sqlx::Transaction;

use crate::domain::time::Instant;
use crate::store::Engine;
use crate::store::Error;
use crate::store::Result;
use crate::store::engine::Pools;
use crate::store::engine::open_sqlite;

/// Rows in one statement: fewer cost more, more gain nothing.
const ROWS_A_STATEMENT: usize = 1_000;

/// A SQLite file of its own, with the settings that the log has.
pub struct NaiveLog(Pools);

/// An event as it is read.
#[derive(Clone, Copy, Debug)]
pub struct Row<'e> {
    pub source: &'e str,
    pub id: &'e str,
    pub kind: &'e str,
    pub subject: &'e str,
    pub time: Instant,
    /// JSON
    pub data: &'e str,
}

impl NaiveLog {
    pub async fn open(file: &Path) -> Result<Self> {
        const TABLE: &str = "
            create table naive_event (
                source  text   not null,
                id      text   not null,
                type    text   not null,
                subject text   not null,
                time    integer not null,
                data    text   not null,
                unique (source, id)
            ) strict";
        let log = Self(open_sqlite(file, 1).await?);
        let mut tx = log.begin().await?;
        sqlx::query(TABLE).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(log)
    }

    /// Adds the events that are new in one transaction, and says how many those are. They are durable then.
    pub async fn append(&self, events: &[Row<'_>]) -> Result<u64> {
        let mut tx = self.begin().await?;
        let mut new: u64 = 0;
        for chunk in events.chunks(ROWS_A_STATEMENT) {
            let mut query = QueryBuilder::new("insert into naive_event (source, id, type, subject, time, data) ");
            query.push_values(chunk, |mut row, event| {
                row.push_bind(event.source)
                    .push_bind(event.id)
                    .push_bind(event.kind)
                    .push_bind(event.subject)
                    .push_bind(event.time.micros())
                    .push_bind(event.data);
            });
            query.push(" on conflict do nothing");
            new = new.saturating_add(query.build().execute(&mut *tx).await?.rows_affected());
        }
        tx.commit().await?;
        Ok(new)
    }

    async fn begin(&self) -> Result<Transaction<'static, Sqlite>> {
        match self.0.begin_write().await? {
            Engine::Sqlite(tx) => Ok(tx),
            Engine::Postgres(_) => Err(Error::Unavailable("the baseline is a SQLite file".to_owned())),
        }
    }
}

/// The tables that closings write.
const CLOSED: [&str; 9] = [
    "closing",
    "closed_period",
    "document",
    "document_line",
    "document_tax",
    "payout_hold",
    "journal_batch",
    "journal_entry",
    "posting",
];

/// Copies everything that closings wrote from one SQLite file into tables of a new one that have no key, no index and no
/// rule, in one durable transaction. Gives the number of rows.
pub async fn copy_plainly(from: &Path, to: &Path) -> Result<u64> {
    let Pools::Sqlite { writer, .. } = open_sqlite(to, 1).await? else { return Ok(0) };
    let mut connection = writer.acquire().await?;
    sqlx::query("attach database $1 as books").bind(from.display().to_string()).execute(&mut *connection).await?;
    sqlx::raw_sql("begin immediate").execute(&mut *connection).await?;
    let mut rows: u64 = 0;
    for table in CLOSED {
        let copy = format!("create table {table} as select * from books.{table}");
        sqlx::raw_sql(AssertSqlSafe(copy)).execute(&mut *connection).await?;
        let (copied,): (i64,) = sqlx::query_as(AssertSqlSafe(format!("select count(*) from main.{table}")))
            .fetch_one(&mut *connection)
            .await?;
        rows = rows.saturating_add(u64::try_from(copied).unwrap_or(0));
    }
    sqlx::raw_sql("commit").execute(&mut *connection).await?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_event_is_kept_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = NaiveLog::open(&folder.path().join("naive.db")).await.expect("can be made");
        let time = Instant::from_micros(0);
        let event = |id| Row { source: "/a", id, kind: "t", subject: "s", time, data: "{}" };
        assert_eq!(log.append(&[event("1"), event("2"), event("1")]).await.expect("is written"), 2);
        assert_eq!(log.append(&[event("2"), event("3")]).await.expect("is written"), 1);
    }
}
