//! Consumers, as the platform last described them.

use std::collections::BTreeMap;

use sqlx::QueryBuilder;

use crate::domain::consumer::Consumer;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::time::Instant;
use crate::store::Error;
use crate::store::Result;
use crate::store::Tx;
use crate::store::Write;
use crate::store::on;

/// Both engines take this many values in one statement.
const IDS_A_STATEMENT: usize = 10_000;

type Row = (String, String, Option<String>, String, Option<String>, String, Option<i64>, String, i64, i64);

fn consumer(row: Row) -> Result<Consumer> {
    let (id, name, email, currency, tax, tags, spend_cap, alerts, created_at, updated_at) = row;
    let damaged = |what: &str| Error::Damaged(format!("the {what} of consumer {id}"));
    let currency = Currency::from_code(&currency).ok_or_else(|| damaged("currency"))?;
    Ok(Consumer {
        currency,
        spend_cap: spend_cap.map(|minor| Money::from_minor(minor, currency)),
        alerts: serde_json::from_str(&alerts).map_err(|_| damaged("alerts"))?,
        tags: serde_json::from_str(&tags).map_err(|_| damaged("tags"))?,
        id,
        name,
        email,
        tax,
        created_at: Instant::from_micros(created_at),
        updated_at: Instant::from_micros(updated_at),
    })
}

impl<Mode> Tx<Mode> {
    pub async fn consumer(&mut self, id: &str) -> Result<Option<Consumer>> {
        const SQL: &str = "
            select id, name, email, currency, tax, tags, spend_cap, alerts, created_at, updated_at
            from consumer where id = $1";
        let row: Option<Row> = on!(self, conn => sqlx::query_as(SQL).bind(id).fetch_optional(conn).await?);
        row.map(consumer).transpose()
    }

    /// A page of consumers by id, from the first one after `after`.
    pub async fn consumers(&mut self, after: Option<&str>, limit: i64) -> Result<Vec<Consumer>> {
        const SQL: &str = "
            select id, name, email, currency, tax, tags, spend_cap, alerts, created_at, updated_at
            from consumer where id > $1 order by id limit $2";
        let after = after.unwrap_or_default();
        let rows: Vec<Row> = on!(self, conn => sqlx::query_as(SQL).bind(after).bind(limit).fetch_all(conn).await?);
        rows.into_iter().map(consumer).collect()
    }

    /// The consumers with these ids, by id. Ids that are not known are left out.
    pub async fn consumers_named(&mut self, ids: &[&str]) -> Result<BTreeMap<String, Consumer>> {
        let mut named = BTreeMap::new();
        for chunk in ids.chunks(IDS_A_STATEMENT) {
            let rows: Vec<Row> = on!(self, conn => {
                let mut query = QueryBuilder::new(
                    "select id, name, email, currency, tax, tags, spend_cap, alerts, created_at, updated_at
                     from consumer where id in (",
                );
                query.push_values(chunk, |mut row, id| {
                    row.push_bind(*id);
                });
                query.push(")").build_query_as().fetch_all(conn).await?
            });
            for row in rows {
                let consumer = consumer(row)?;
                named.insert(consumer.id.clone(), consumer);
            }
        }
        Ok(named)
    }
}

impl Tx<Write> {
    /// Describes a consumer, new or known. One that is known keeps the time of its creation, and its currency while
    /// it has subscriptions: another one is `Refused`.
    pub async fn put_consumer(&mut self, consumer: &Consumer) -> Result<()> {
        const SQL: &str = "
            insert into consumer (id, name, email, currency, tax, tags, spend_cap, alerts, created_at, updated_at)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
            on conflict (id) do update set
                name = excluded.name, email = excluded.email, currency = excluded.currency, tax = excluded.tax,
                tags = excluded.tags, spend_cap = excluded.spend_cap, alerts = excluded.alerts,
                updated_at = excluded.updated_at";
        let tags = serde_json::Value::from_iter(consumer.tags.clone()).to_string();
        let alerts = serde_json::Value::from_iter(consumer.alerts.iter().map(ToString::to_string)).to_string();
        on!(self, conn => sqlx::query(SQL)
            .bind(&consumer.id)
            .bind(&consumer.name)
            .bind(&consumer.email)
            .bind(consumer.currency.code())
            .bind(&consumer.tax)
            .bind(tags)
            .bind(consumer.spend_cap.map(Money::minor))
            .bind(alerts)
            .bind(consumer.created_at.micros())
            .bind(consumer.updated_at.micros())
            .execute(conn)
            .await?
            .rows_affected());
        Ok(())
    }
}
