//! History that was folded into a meter which was published after it.

use crate::domain::period::Period;
use crate::domain::time::Instant;
use crate::store::Error;
use crate::store::Result;
use crate::store::Tx;
use crate::store::Write;
use crate::store::on;

/// Events of some batches that happened in a period, and that a meter counts though it is younger than they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// 1, 2, 3: in the order in which they were folded.
    pub id: i64,
    pub meter: String,
    pub first_seq: i64,
    pub last_seq: i64,
    pub period: Period,
}

impl<Mode> Tx<Mode> {
    /// What was replayed, in its order, up to and including one id.
    pub async fn replayed(&mut self, until_id: i64) -> Result<Vec<Replayed>> {
        const SQL: &str = "
            select id, meter, first_seq, last_seq, from_time, to_time from replayed where id <= $1 order by id";
        let rows: Vec<(i64, String, i64, i64, i64, i64)> =
            on!(self, conn => sqlx::query_as(SQL).bind(until_id).fetch_all(conn).await?);
        let replayed = |(id, meter, first_seq, last_seq, from, to)| {
            let period = Period::new(Instant::from_micros(from), Instant::from_micros(to))
                .map_err(|error| Error::Damaged(format!("what was replayed of {meter}: {error}")))?;
            Ok(Replayed { id, meter, first_seq, last_seq, period })
        };
        rows.into_iter().map(replayed).collect()
    }

    /// The id of what was replayed last; 0 if nothing was.
    pub async fn last_replayed(&mut self) -> Result<i64> {
        const SQL: &str = "select cast(coalesce(max(id), 0) as bigint) from replayed";
        let (id,): (i64,) = on!(self, conn => sqlx::query_as(SQL).fetch_one(conn).await?);
        Ok(id)
    }
}

impl Tx<Write> {
    /// Records what was replayed. `Taken` if its id is.
    pub async fn record_replayed(&mut self, replayed: &Replayed) -> Result<()> {
        const SQL: &str = "
            insert into replayed (id, meter, first_seq, last_seq, from_time, to_time) values ($1, $2, $3, $4, $5, $6)";
        on!(self, conn => sqlx::query(SQL)
            .bind(replayed.id)
            .bind(&replayed.meter)
            .bind(replayed.first_seq)
            .bind(replayed.last_seq)
            .bind(replayed.period.from().micros())
            .bind(replayed.period.to().micros())
            .execute(conn)
            .await?
            .rows_affected());
        Ok(())
    }
}
