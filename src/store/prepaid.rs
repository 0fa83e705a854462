//! Prepaid credit: grants, and what is taken of them. Only appended to; the database lets nobody take more than is left.

use std::collections::HashMap;

use sqlx::QueryBuilder;

use crate::domain::credit::Source;
use crate::domain::credit::prepaid::Movement;
use crate::domain::credit::prepaid::MovementKind;
use crate::domain::credit::prepaid::Prepaid;
use crate::domain::credit::prepaid::TopUp;
use crate::domain::ids::GrantId;
use crate::domain::ids::InvoiceId;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::time::Instant;
use crate::store::Error;
use crate::store::Result;
use crate::store::Tx;
use crate::store::Write;
use crate::store::insert::insert_rows;
use crate::store::on;

/// Both engines take this many values in one statement.
const IDS_A_STATEMENT: usize = 10_000;

/// Which grants.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// The one with this id.
    Id(&'a str),
    /// A page, newest first, of one consumer or of all, from the first one before this id.
    Page { consumer: Option<&'a str>, before: Option<&'a str>, limit: i64 },
    /// Those of which something is left, of one consumer or of all.
    Left(Option<&'a str>),
    /// Those of which something is left though they expired by then.
    Expired(Instant),
}

type GrantRow = (String, String, String, i64, String, i64, i64, Option<i64>, String, String, String, i64, String);
type MovementRow = (String, String, i64, Option<String>, Option<String>, i64, String, i64, Option<String>);

impl<Mode> Tx<Mode> {
    /// Grants, newest first, with what was taken of them.
    pub async fn prepaid(&mut self, wanted: Wanted<'_>) -> Result<Vec<Prepaid>> {
        const SQL: &str = "
            select id, consumer, currency, amount, source, priority, effective_at, expires_at, reference, reason,
                   effective_on, recorded_at, recorded_by
            from credit_grant
            where (cast($1 as text) is null or id = $1)
            and (cast($2 as text) is null or consumer = $2)
            and (cast($3 as text) is null or id < $3)
            order by id desc limit $4";
        const LEFT: &str = "
            select id, consumer, currency, amount, source, priority, effective_at, expires_at, reference, reason,
                   effective_on, recorded_at, recorded_by
            from credit_grant
            where (cast($1 as text) is null or consumer = $1)
            and (cast($2 as bigint) is null or expires_at <= $2)
            and amount > coalesce((
                select cast(sum(amount) as bigint) from credit_movement where grant_id = credit_grant.id), 0)
            order by id desc";
        let rows: Vec<GrantRow> = match wanted {
            Wanted::Id(id) => on!(self, conn => sqlx::query_as(SQL)
                .bind(id).bind(None::<&str>).bind(None::<&str>).bind(1_i64).fetch_all(conn).await?),
            Wanted::Page { consumer, before, limit } => on!(self, conn => sqlx::query_as(SQL)
                .bind(None::<&str>).bind(consumer).bind(before).bind(limit).fetch_all(conn).await?),
            Wanted::Left(consumer) => on!(self, conn => sqlx::query_as(LEFT)
                .bind(consumer).bind(None::<i64>).fetch_all(conn).await?),
            Wanted::Expired(by) => on!(self, conn => sqlx::query_as(LEFT)
                .bind(None::<&str>).bind(by.micros()).fetch_all(conn).await?),
        };
        let mut movements = self.movements(&rows).await?;
        rows.into_iter()
            .map(|row| {
                let of_grant = movements.remove(&row.0).unwrap_or_default();
                prepaid(row, of_grant)
            })
            .collect()
    }

    async fn movements(&mut self, grants: &[GrantRow]) -> Result<HashMap<String, Vec<MovementRow>>> {
        let mut movements: HashMap<String, Vec<MovementRow>> = HashMap::new();
        for chunk in grants.chunks(IDS_A_STATEMENT) {
            let rows: Vec<MovementRow> = on!(self, conn => {
                let mut query = QueryBuilder::new(
                    "select grant_id, kind, amount, invoice, reason, at, effective_on, recorded_at, recorded_by
                     from credit_movement where grant_id in (",
                );
                query.push_values(chunk, |mut row, grant| {
                    row.push_bind(&grant.0);
                });
                query.push(") order by grant_id, seq").build_query_as().fetch_all(conn).await?
            });
            rows.into_iter().for_each(|row| movements.entry(row.0.clone()).or_default().push(row));
        }
        Ok(movements)
    }
}

impl<Mode> Tx<Mode> {
    /// When consumers want to buy credit again, by their ids; of one or of all.
    pub async fn top_ups(&mut self, consumer: Option<&str>) -> Result<Vec<TopUp>> {
        const SQL: &str = "
            select consumer, currency, below, amount, updated_at from top_up
            where (cast($1 as text) is null or consumer = $1) order by consumer";
        let rows: Vec<(String, String, i64, i64, i64)> =
            on!(self, conn => sqlx::query_as(SQL).bind(consumer).fetch_all(conn).await?);
        let top_up = |(consumer, currency, below, amount, updated_at): (String, String, i64, i64, i64)| {
            let damaged = || Error::Damaged(format!("the currency of the top-up of {consumer}"));
            let currency = Currency::from_code(&currency).ok_or_else(damaged)?;
            let (below, amount) = (Money::from_minor(below, currency), Money::from_minor(amount, currency));
            Ok(TopUp { consumer, below, amount, updated_at: Instant::from_micros(updated_at) })
        };
        rows.into_iter().map(top_up).collect()
    }
}

impl Tx<Write> {
    pub async fn put_top_up(&mut self, top_up: &TopUp) -> Result<()> {
        const SQL: &str = "
            insert into top_up (consumer, currency, below, amount, updated_at) values ($1, $2, $3, $4, $5)
            on conflict (consumer) do update set
                currency = excluded.currency, below = excluded.below, amount = excluded.amount,
                updated_at = excluded.updated_at";
        on!(self, conn => sqlx::query(SQL)
            .bind(&top_up.consumer)
            .bind(top_up.below.currency().code())
            .bind(top_up.below.minor())
            .bind(top_up.amount.minor())
            .bind(top_up.updated_at.micros())
            .execute(conn).await?.rows_affected());
        Ok(())
    }

    /// False if there was none.
    pub async fn delete_top_up(&mut self, consumer: &str) -> Result<bool> {
        const SQL: &str = "delete from top_up where consumer = $1";
        Ok(on!(self, conn => sqlx::query(SQL).bind(consumer).execute(conn).await?.rows_affected()) == 1)
    }

    pub async fn record_grant(&mut self, prepaid: &Prepaid) -> Result<()> {
        const SQL: &str = "
            insert into credit_grant
                (id, consumer, currency, amount, source, priority, effective_at, expires_at, reference, reason,
                 effective_on, recorded_at, recorded_by)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
        on!(self, conn => sqlx::query(SQL)
            .bind(prepaid.id.as_str())
            .bind(&prepaid.consumer)
            .bind(prepaid.amount.currency().code())
            .bind(prepaid.amount.minor())
            .bind(prepaid.source.as_str())
            .bind(prepaid.priority)
            .bind(prepaid.effective_at.micros())
            .bind(prepaid.expires_at.map(Instant::micros))
            .bind(&prepaid.reference)
            .bind(&prepaid.reason)
            .bind(prepaid.effective_on.to_string())
            .bind(prepaid.recorded_at.micros())
            .bind(&prepaid.recorded_by)
            .execute(conn).await?.rows_affected());
        Ok(())
    }

    /// Takes something of grants, each as the next movement of its grant: the number says after how many.
    pub async fn record_credit_movements(&mut self, movements: &[(GrantId, i64, Movement)]) -> Result<()> {
        insert_rows!(
            self,
            "insert into credit_movement
                     (grant_id, seq, kind, amount, invoice, reason, at, effective_on, recorded_at, recorded_by) ",
            movements.iter().map(Ok),
            |mut row, (grant, seq, movement)| {
                row.push_bind(grant.as_str())
                    .push_bind(*seq)
                    .push_bind(movement.kind.as_str())
                    .push_bind(movement.amount.minor())
                    .push_bind(movement.invoice.as_ref().map(InvoiceId::as_str))
                    .push_bind(&movement.reason)
                    .push_bind(movement.at.micros())
                    .push_bind(movement.effective_on.to_string())
                    .push_bind(movement.recorded_at.micros())
                    .push_bind(&movement.recorded_by);
            }
        );
        Ok(())
    }
}

fn prepaid(row: GrantRow, movements: Vec<MovementRow>) -> Result<Prepaid> {
    let (
        id,
        consumer,
        currency,
        amount,
        source,
        priority,
        effective_at,
        expires_at,
        reference,
        reason,
        effective_on,
        recorded_at,
        recorded_by,
    ) = row;
    let damaged = |what: &str| Error::Damaged(format!("the {what} of prepaid credit {id}"));
    let currency = Currency::from_code(&currency).ok_or_else(|| damaged("currency"))?;
    let movement = |row: MovementRow| {
        let (_, kind, amount, invoice, reason, at, effective_on, recorded_at, recorded_by) = row;
        let invoice = invoice.map(|id| InvoiceId::parse(&id).ok_or_else(|| damaged("invoice"))).transpose()?;
        Ok(Movement {
            kind: MovementKind::parse(&kind).ok_or_else(|| damaged("movement"))?,
            amount: Money::from_minor(amount, currency),
            invoice,
            reason,
            at: Instant::from_micros(at),
            effective_on: effective_on.parse().map_err(|_| damaged("date"))?,
            recorded_at: Instant::from_micros(recorded_at),
            recorded_by,
        })
    };
    Ok(Prepaid {
        movements: movements.into_iter().map(movement).collect::<Result<_>>()?,
        amount: Money::from_minor(amount, currency),
        source: Source::parse(&source).ok_or_else(|| damaged("source"))?,
        effective_on: effective_on.parse().map_err(|_| damaged("date"))?,
        consumer,
        priority,
        effective_at: Instant::from_micros(effective_at),
        expires_at: expires_at.map(Instant::from_micros),
        reference,
        reason,
        recorded_at: Instant::from_micros(recorded_at),
        recorded_by,
        id: GrantId::parse(&id).ok_or_else(|| damaged("id"))?,
    })
}
