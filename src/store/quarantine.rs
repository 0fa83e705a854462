//! Events that were refused, and wait to be mended and sent again.

use crate::domain::ids::QuarantineId;
use crate::domain::time::Instant;
use crate::store::Error;
use crate::store::Log;
use crate::store::Result;
use crate::store::Tx;
use crate::store::Write;
use crate::store::on;

/// A page of events ends when it has this many bytes, since one of them may be as long as a body.
const PAGE_BYTES_MAX: i64 = 8 << 20;

/// An event in quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    pub id: QuarantineId,
    pub received_at: Instant,
    /// As it came; where that was not UTF-8, with a sign in place of what cannot be read.
    pub event: String,
    /// JSON: what is wrong with it.
    pub faults: String,
}

type Row = (String, i64, Vec<u8>, String);

fn quarantined((id, received_at, event, faults): Row) -> Result<Quarantined> {
    let event = String::from_utf8_lossy(&event).into_owned();
    let id = QuarantineId::parse(&id).ok_or_else(|| Error::Damaged(format!("`{id}` is in quarantine")))?;
    Ok(Quarantined { id, received_at: Instant::from_micros(received_at), event, faults })
}

impl<Mode> Tx<Mode, Log> {
    /// How many events wait in quarantine.
    pub async fn quarantine_size(&mut self) -> Result<i64> {
        const SQL: &str = "select count(*) from quarantine";
        let (count,): (i64,) = on!(self, conn => sqlx::query_as(SQL).fetch_one(conn).await?);
        Ok(count)
    }

    pub async fn quarantined(&mut self, id: &QuarantineId) -> Result<Option<Quarantined>> {
        const SQL: &str = "select id, received_at, event, faults from quarantine where id = $1";
        let row: Option<Row> = on!(self, conn => sqlx::query_as(SQL).bind(id.as_str()).fetch_optional(conn).await?);
        row.map(quarantined).transpose()
    }

    /// Whether an event is in quarantine, without reading it.
    pub async fn is_quarantined(&mut self, id: &QuarantineId) -> Result<bool> {
        const SQL: &str = "select count(*) from quarantine where id = $1";
        let (count,): (i64,) = on!(self, conn => sqlx::query_as(SQL).bind(id.as_str()).fetch_one(conn).await?);
        Ok(count > 0)
    }

    /// The events after an id, oldest first: at most `limit`, and fewer where they are long. Says whether more follow.
    pub async fn quarantined_after(&mut self, after: &str, limit: i64) -> Result<(Vec<Quarantined>, bool)> {
        const SIZES: &str = "
            select cast(length(event) as bigint) from quarantine where id > $1 order by id limit $2";
        const ROWS: &str = "
            select id, received_at, event, faults from quarantine where id > $1 order by id limit $2";
        let one_more = limit.saturating_add(1);
        let sizes: Vec<(i64,)> =
            on!(self, conn => sqlx::query_as(SIZES).bind(after).bind(one_more).fetch_all(conn).await?);
        let (mut fitting, mut bytes): (i64, i64) = (0, 0);
        for (size,) in &sizes {
            bytes = bytes.saturating_add(*size);
            if fitting == limit || (fitting > 0 && bytes > PAGE_BYTES_MAX) {
                break;
            }
            fitting = fitting.saturating_add(1);
        }
        let rows: Vec<Row> = on!(self, conn => sqlx::query_as(ROWS).bind(after).bind(fitting).fetch_all(conn).await?);
        let more = i64::try_from(sizes.len()).is_ok_and(|count| count > fitting);
        Ok((rows.into_iter().map(quarantined).collect::<Result<_>>()?, more))
    }
}

impl Tx<Write, Log> {
    /// Keeps an event that was refused, with what is wrong with it as JSON.
    pub async fn quarantine(&mut self, id: &QuarantineId, at: Instant, event: &[u8], faults: &str) -> Result<()> {
        const SQL: &str = "insert into quarantine (id, received_at, event, faults) values ($1, $2, $3, $4)";
        on!(self, conn => sqlx::query(SQL)
            .bind(id.as_str())
            .bind(at.micros())
            .bind(event)
            .bind(faults)
            .execute(conn)
            .await?
            .rows_affected());
        Ok(())
    }

    /// Says what is wrong with an event by now, if it is still there.
    pub async fn put_quarantine_faults(&mut self, id: &QuarantineId, faults: &str) -> Result<()> {
        const SQL: &str = "update quarantine set faults = $2 where id = $1";
        on!(self, conn => sqlx::query(SQL).bind(id.as_str()).bind(faults).execute(conn).await?.rows_affected());
        Ok(())
    }

    /// Takes an event out of quarantine.
    pub async fn release(&mut self, id: &QuarantineId) -> Result<()> {
        const SQL: &str = "delete from quarantine where id = $1";
        on!(self, conn => sqlx::query(SQL).bind(id.as_str()).execute(conn).await?.rows_affected());
        Ok(())
    }
}
