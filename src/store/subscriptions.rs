//! Subscriptions, and how far each is closed.

use crate::domain::ids::SubscriptionId;
use crate::domain::subscription::Subscription;
use crate::domain::time::Instant;
use crate::store::Error;
use crate::store::Result;
use crate::store::Tx;
use crate::store::Write;
use crate::store::on;

type Row = (String, String, String, i64, Option<i64>, i64, i64);

fn subscription((id, consumer, plan, starts_at, ends_at, created_at, closed_through): Row) -> Result<Subscription> {
    Ok(Subscription {
        id: SubscriptionId::parse(&id).ok_or_else(|| Error::Damaged(format!("the id of subscription {id}")))?,
        consumer,
        plan,
        starts_at: Instant::from_micros(starts_at),
        ends_at: ends_at.map(Instant::from_micros),
        created_at: Instant::from_micros(created_at),
        closed_through: Instant::from_micros(closed_through),
    })
}

impl<Mode> Tx<Mode> {
    pub async fn subscription(&mut self, id: &SubscriptionId) -> Result<Option<Subscription>> {
        const SQL: &str = "
            select id, consumer, plan, starts_at, ends_at, created_at, closed_through
            from subscription where id = $1";
        let row: Option<Row> = on!(self, conn => sqlx::query_as(SQL).bind(id.as_str()).fetch_optional(conn).await?);
        row.map(subscription).transpose()
    }

    /// A page of subscriptions by id, of one consumer or of all, from the first one after `after`.
    pub async fn subscriptions(
        &mut self,
        consumer: Option<&str>,
        after: Option<&SubscriptionId>,
        limit: i64,
    ) -> Result<Vec<Subscription>> {
        const SQL: &str = "
            select id, consumer, plan, starts_at, ends_at, created_at, closed_through
            from subscription
            where id > $2 and (cast($1 as text) is null or consumer = $1)
            order by id limit $3";
        let after = after.map(SubscriptionId::as_str).unwrap_or_default();
        let rows: Vec<Row> = on!(self, conn => sqlx::query_as(SQL)
            .bind(consumer).bind(after).bind(limit).fetch_all(conn).await?);
        rows.into_iter().map(subscription).collect()
    }

    /// Every subscription that started by `by` and is not closed to its end.
    pub async fn unfinished_subscriptions(&mut self, by: Instant) -> Result<Vec<Subscription>> {
        const SQL: &str = "
            select id, consumer, plan, starts_at, ends_at, created_at, closed_through
            from subscription
            where closed_through <= $1 and (ends_at is null or ends_at > closed_through)
            order by id";
        let rows: Vec<Row> = on!(self, conn => sqlx::query_as(SQL).bind(by.micros()).fetch_all(conn).await?);
        rows.into_iter().map(subscription).collect()
    }
}

impl Tx<Write> {
    /// Adds a subscription, closed through its start. `Refused` if its consumer is not known.
    pub async fn create_subscription(&mut self, subscription: &Subscription) -> Result<()> {
        const SQL: &str = "
            insert into subscription (id, consumer, plan, starts_at, ends_at, created_at, closed_through)
            values ($1, $2, $3, $4, $5, $6, $7)";
        on!(self, conn => sqlx::query(SQL)
            .bind(subscription.id.as_str())
            .bind(&subscription.consumer)
            .bind(&subscription.plan)
            .bind(subscription.starts_at.micros())
            .bind(subscription.ends_at.map(Instant::micros))
            .bind(subscription.created_at.micros())
            .bind(subscription.closed_through.micros())
            .execute(conn)
            .await?
            .rows_affected());
        Ok(())
    }

    /// Moves a subscription on, if it is still closed through `from`.
    pub async fn advance_closed_through(&mut self, id: &SubscriptionId, from: Instant, to: Instant) -> Result<bool> {
        const SQL: &str = "update subscription set closed_through = $3 where id = $1 and closed_through = $2";
        let moved = on!(self, conn => sqlx::query(SQL)
            .bind(id.as_str()).bind(from.micros()).bind(to.micros()).execute(conn).await?.rows_affected());
        Ok(moved == 1)
    }
}
