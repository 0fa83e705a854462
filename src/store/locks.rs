//! The lock of the ledger: rows that are only added to, the last of which is in force.
//!
//! The database itself refuses entries on days that are locked, when their batch is sealed (`0016_ledger_control`).

use crate::domain::ids::KeyId;
use crate::domain::ledger::lock::Lock;
use crate::domain::ledger::lock::Locks;
use crate::domain::time::Instant;
use crate::store::Engine;
use crate::store::Error;
use crate::store::Result;
use crate::store::Tx;
use crate::store::Write;
use crate::store::on;

type Row = (i64, String, i64, String, Option<String>);

fn lock((seq, through, locked_at, locked_by, reason): Row) -> Result<Lock> {
    let damaged = |what: &str| Error::Damaged(format!("the {what} of lock {seq} of the ledger"));
    Ok(Lock {
        seq,
        through: through.parse().map_err(|_| damaged("day"))?,
        locked_at: Instant::from_micros(locked_at),
        locked_by: KeyId::parse(&locked_by).ok_or_else(|| damaged("key"))?,
        reason,
    })
}

impl<Mode> Tx<Mode> {
    pub async fn ledger_locks(&mut self) -> Result<Locks> {
        const SQL: &str = "select seq, through, locked_at, locked_by, reason from ledger_lock order by seq";
        let rows: Vec<Row> = on!(self, conn => sqlx::query_as(SQL).fetch_all(conn).await?);
        Ok(Locks::new(rows.into_iter().map(lock).collect::<Result<_>>()?))
    }
}

impl Tx<Write> {
    /// The locks; and neither is one added nor an entry posted by anybody else until this transaction ends.
    pub async fn ledger_locks_to_change(&mut self) -> Result<Locks> {
        if let Engine::Postgres(tx) = &mut self.0 {
            sqlx::query("lock table ledger_lock in share row exclusive mode").execute(&mut **tx).await?;
        }
        self.ledger_locks().await
    }

    /// Puts a lock in the place of the last one. `Taken` if somebody else did at the same time.
    pub async fn add_ledger_lock(&mut self, lock: &Lock) -> Result<()> {
        const SQL: &str =
            "insert into ledger_lock (seq, through, locked_at, locked_by, reason) values ($1, $2, $3, $4, $5)";
        on!(self, conn => sqlx::query(SQL)
            .bind(lock.seq)
            .bind(lock.through.to_string())
            .bind(lock.locked_at.micros())
            .bind(lock.locked_by.as_str())
            .bind(&lock.reason)
            .execute(conn)
            .await?
            .rows_affected());
        Ok(())
    }
}
