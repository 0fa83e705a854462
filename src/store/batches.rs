//! The event log: batches of events.

use sqlx::Postgres;
use sqlx::Sqlite;
use sqlx::pool::PoolConnection;

use crate::domain::period::Period;
use crate::domain::time::Instant;
use crate::store::Db;
use crate::store::Engine;
use crate::store::Log;
use crate::store::Result;
use crate::store::Tx;
use crate::store::Write;
use crate::store::engine::Pools;
use crate::store::on;

/// One group commit of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub seq: i64,
    pub received_at: Instant,
    pub event_count: i64,
    pub first_time: Instant,
    pub last_time: Instant,
    /// zstd of NDJSON
    pub body: Vec<u8>,
    /// CRC-32 of the body
    pub checksum: i64,
}

/// What is known of a batch without reading it, wherever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub seq: i64,
    pub event_count: i64,
    pub first_time: Instant,
    pub last_time: Instant,
}

type Row = (i64, i64, i64, i64, i64, Vec<u8>, i64);

fn batch((seq, received_at, event_count, first_time, last_time, body, checksum): Row) -> Batch {
    Batch {
        seq,
        received_at: Instant::from_micros(received_at),
        event_count,
        first_time: Instant::from_micros(first_time),
        last_time: Instant::from_micros(last_time),
        body,
        checksum,
    }
}

impl<Mode> Tx<Mode, Log> {
    /// The sequence number of the newest batch, archived or not; 0 while the log is empty.
    pub async fn last_seq(&mut self) -> Result<i64> {
        const SQL: &str = "
            select cast(coalesce(max(seq), 0) as bigint)
            from (select max(seq) as seq from event_batch union all select max(seq) from archived_batch) as newest";
        let (seq,): (i64,) = on!(self, conn => sqlx::query_as(SQL).fetch_one(conn).await?);
        Ok(seq)
    }

    /// What tells this log from every other.
    pub async fn log_identity(&mut self) -> Result<String> {
        const SQL: &str = "select id from log_identity";
        let (id,): (String,) = on!(self, conn => sqlx::query_as(SQL).fetch_one(conn).await?);
        Ok(id)
    }

    /// How many events and bytes the log holds, those in its archive too.
    pub async fn log_size(&mut self) -> Result<(i64, i64)> {
        const SQL: &str = "
            select cast(coalesce(sum(event_count), 0) as bigint), cast(coalesce(sum(bytes), 0) as bigint)
            from (select event_count, cast(length(body) as bigint) as bytes from event_batch
                  union all select event_count, bytes from archived_batch) as sizes";
        Ok(on!(self, conn => sqlx::query_as(SQL).fetch_one(conn).await?))
    }

    /// What a batch that is not archived holds.
    pub async fn batch(&mut self, seq: i64) -> Result<Option<Batch>> {
        const SQL: &str = "
            select seq, received_at, event_count, first_time, last_time, body, checksum
            from event_batch where seq = $1";
        let row: Option<Row> = on!(self, conn => sqlx::query_as(SQL).bind(seq).fetch_optional(conn).await?);
        Ok(row.map(batch))
    }

    /// The batches of a range whose events may have happened in a period, archived or not, in the order of the log.
    pub async fn batches_between(&mut self, first_seq: i64, last_seq: i64, period: Period) -> Result<Vec<Head>> {
        const SQL: &str = "
            select seq, event_count, first_time, last_time from event_batch
            where seq between $1 and $2 and last_time >= $3 and first_time < $4
            union all
            select seq, event_count, first_time, last_time from archived_batch
            where seq between $1 and $2 and last_time >= $3 and first_time < $4
            order by seq";
        let rows: Vec<(i64, i64, i64, i64)> = on!(self, conn => sqlx::query_as(SQL)
            .bind(first_seq)
            .bind(last_seq)
            .bind(period.from().micros())
            .bind(period.to().micros())
            .fetch_all(conn)
            .await?);
        let head = |(seq, event_count, first_time, last_time)| Head {
            seq,
            event_count,
            first_time: Instant::from_micros(first_time),
            last_time: Instant::from_micros(last_time),
        };
        Ok(rows.into_iter().map(head).collect())
    }

    /// The next batch in the order of the log.
    pub async fn batch_after(&mut self, seq: i64) -> Result<Option<Batch>> {
        const SQL: &str = "
            select seq, received_at, event_count, first_time, last_time, body, checksum
            from event_batch where seq > $1 order by seq limit 1";
        let row: Option<Row> = on!(self, conn => sqlx::query_as(SQL).bind(seq).fetch_optional(conn).await?);
        Ok(row.map(batch))
    }
}

const APPEND: &str = "
    insert into event_batch (seq, partition, received_at, event_count, first_time, last_time, body, checksum)
    values ($1, 0, $2, $3, $4, $5, $6, $7)";

/// Appends `$batch` on `$conn`.
macro_rules! append {
    ($batch:expr, $conn:expr) => {
        sqlx::query(APPEND)
            .bind($batch.seq)
            .bind($batch.received_at.micros())
            .bind($batch.event_count)
            .bind($batch.first_time.micros())
            .bind($batch.last_time.micros())
            .bind($batch.body.as_slice())
            .bind($batch.checksum)
            .execute($conn)
            .await
            .map(|_| ())
    };
}

/// Appends batches that nothing else belongs to, on a connection that it keeps: a statement alone is its own transaction,
/// and taking a connection from a pool and giving it back costs more round trips than the statement. Single events wait
/// for each of them.
pub struct Appender {
    log: Pools,
    kept: Option<Kept>,
}

enum Kept {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

impl Appender {
    /// Appends a batch. `Taken` if its number is: then it is in the log already, or somebody else has written there. After
    /// any other error it may be in the log or not: see [`Db::settled_last_seq`].
    pub async fn append(&mut self, batch: &Batch) -> Result<()> {
        let mut connection = match (self.kept.take(), &self.log) {
            (Some(kept), _) => kept,
            (None, Pools::Sqlite { writer, .. }) => Kept::Sqlite(writer.acquire().await?),
            (None, Pools::Postgres(pool)) => Kept::Postgres(pool.acquire().await?),
        };
        match &mut connection {
            Kept::Sqlite(connection) => append!(batch, &mut **connection)?,
            Kept::Postgres(connection) => append!(batch, &mut **connection)?,
        }
        // One on which something failed goes back to its pool, which looks whether it can still be used.
        self.kept = Some(connection);
        Ok(())
    }
}

impl Db {
    pub fn appender(&self) -> Appender {
        Appender { log: self.log.clone(), kept: None }
    }

    /// The sequence number of the newest batch, when nothing is being appended any more: a connection that was lost, or a
    /// process that was killed, may leave a commit behind that is still under way.
    pub async fn settled_last_seq(&self) -> Result<i64> {
        let mut tx = self.write_log().await?;
        if let Engine::Postgres(tx) = &mut tx.0 {
            sqlx::raw_sql("lock table event_batch in share row exclusive mode").execute(&mut **tx).await?;
        }
        tx.last_seq().await
    }
}

impl Tx<Write, Log> {
    /// Appends a batch. `Taken` if its number is: then somebody else has written to this log.
    pub async fn append_batch(&mut self, batch: &Batch) -> Result<()> {
        on!(self, conn => append!(batch, conn)?);
        Ok(())
    }
}
