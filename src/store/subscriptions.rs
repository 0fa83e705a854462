//! Subscriptions, and how far each is closed.

use crate::domain::ids::SubscriptionId;
use crate::domain::subscription::Change;
use crate::domain::subscription::Subscription;
use crate::domain::time::Instant;
use crate::store::Error;
use crate::store::Result;
use crate::store::Tx;
use crate::store::Write;
use crate::store::on;

type Row = (String, String, String, i64, Option<i64>, i64, i64, Option<i64>, Option<String>, i64);
type ChangeRow = (String, i64, String, i64);

fn subscription(row: Row) -> Result<Subscription> {
    let (id, consumer, plan, starts_at, ends_at, created_at, closed_through, advance_through, book_version, revision) =
        row;
    Ok(Subscription {
        id: SubscriptionId::parse(&id).ok_or_else(|| Error::Damaged(format!("the id of subscription {id}")))?,
        consumer,
        plan,
        changes: Vec::new(),
        starts_at: Instant::from_micros(starts_at),
        ends_at: ends_at.map(Instant::from_micros),
        created_at: Instant::from_micros(created_at),
        closed_through: Instant::from_micros(closed_through),
        advance_through: advance_through.map(Instant::from_micros),
        book_version,
        revision,
    })
}

impl<Mode> Tx<Mode> {
    pub async fn subscription(&mut self, id: &SubscriptionId) -> Result<Option<Subscription>> {
        const SQL: &str = "
            select id, consumer, plan, starts_at, ends_at, created_at, closed_through, advance_through,
                   book_version, revision
            from subscription where id = $1";
        let row: Option<Row> = on!(self, conn => sqlx::query_as(SQL).bind(id.as_str()).fetch_optional(conn).await?);
        let mut found: Vec<Subscription> = row.map(subscription).transpose()?.into_iter().collect();
        self.add_changes(&mut found).await?;
        Ok(found.pop())
    }

    /// A page of subscriptions by id, of one consumer or of all, from the first one after `after`.
    pub async fn subscriptions(
        &mut self,
        consumer: Option<&str>,
        after: Option<&SubscriptionId>,
        limit: i64,
    ) -> Result<Vec<Subscription>> {
        const SQL: &str = "
            select id, consumer, plan, starts_at, ends_at, created_at, closed_through, advance_through,
                   book_version, revision
            from subscription
            where id > $2 and (cast($1 as text) is null or consumer = $1)
            order by id limit $3";
        let after = after.map(SubscriptionId::as_str).unwrap_or_default();
        let rows: Vec<Row> = on!(self, conn => sqlx::query_as(SQL)
            .bind(consumer).bind(after).bind(limit).fetch_all(conn).await?);
        let mut found = rows.into_iter().map(subscription).collect::<Result<Vec<_>>>()?;
        self.add_changes(&mut found).await?;
        Ok(found)
    }

    /// Every subscription that started by `by` and is not closed to its end.
    pub async fn unfinished_subscriptions(&mut self, by: Instant) -> Result<Vec<Subscription>> {
        const SQL: &str = "
            select id, consumer, plan, starts_at, ends_at, created_at, closed_through, advance_through,
                   book_version, revision
            from subscription
            where closed_through <= $1 and (ends_at is null or ends_at > closed_through)
            order by id";
        let rows: Vec<Row> = on!(self, conn => sqlx::query_as(SQL).bind(by.micros()).fetch_all(conn).await?);
        let mut found = rows.into_iter().map(subscription).collect::<Result<Vec<_>>>()?;
        self.add_changes(&mut found).await?;
        Ok(found)
    }

    /// Adds their changes to subscriptions that are sorted by id. Few ever change, so those of a range are read together.
    async fn add_changes(&mut self, subscriptions: &mut [Subscription]) -> Result<()> {
        const SQL: &str = "
            select subscription, at, plan, made_at from subscription_change
            where subscription >= $1 and subscription <= $2 order by subscription, at";
        let (Some(first), Some(last)) = (subscriptions.first(), subscriptions.last()) else { return Ok(()) };
        let rows: Vec<ChangeRow> = on!(self, conn => sqlx::query_as(SQL)
            .bind(first.id.as_str()).bind(last.id.as_str()).fetch_all(conn).await?);
        for (id, at, plan, made_at) in rows {
            if let Ok(index) = subscriptions.binary_search_by(|known| known.id.as_str().cmp(&id))
                && let Some(known) = subscriptions.get_mut(index)
            {
                let (at, made_at) = (Instant::from_micros(at), Instant::from_micros(made_at));
                known.changes.push(Change { at, plan, made_at });
            }
        }
        Ok(())
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

    /// Moves a subscription on to `to`, if it still is as it was read. `advance` says up to when its fees in advance are on
    /// documents by now, and under which price book.
    pub async fn advance_closed_through(
        &mut self,
        read: &Subscription,
        (from, to): (Instant, Instant),
        advance: Option<(Instant, &str)>,
    ) -> Result<bool> {
        const SQL: &str = "
            update subscription set closed_through = $4, advance_through = $5, book_version = $6
            where id = $1 and revision = $2 and closed_through = $3";
        let moved = on!(self, conn => sqlx::query(SQL)
            .bind(read.id.as_str())
            .bind(read.revision)
            .bind(from.micros())
            .bind(to.micros())
            .bind(advance.map(|(through, _)| through.micros()))
            .bind(advance.map(|(_, version)| version))
            .execute(conn)
            .await?
            .rows_affected());
        Ok(moved == 1)
    }

    /// Gives an open subscription other changes and another end; what it had is replaced. `Refused` where that is closed.
    pub async fn reschedule_subscription(&mut self, changed: &Subscription) -> Result<()> {
        const DROP: &str = "
            delete from subscription_change
            where subscription = $1 and at > (select closed_through from subscription where id = $1)";
        const END: &str = "update subscription set ends_at = $2, revision = revision + 1 where id = $1";
        const ADD: &str = "insert into subscription_change (subscription, at, plan, made_at) values ($1, $2, $3, $4)";
        let id = changed.id.as_str();
        on!(self, conn => sqlx::query(DROP).bind(id).execute(conn).await?.rows_affected());
        let ends_at = changed.ends_at.map(Instant::micros);
        on!(self, conn => sqlx::query(END).bind(id).bind(ends_at).execute(conn).await?.rows_affected());
        for change in changed.changes.iter().filter(|change| change.at > changed.closed_through) {
            on!(self, conn => sqlx::query(ADD)
                .bind(id)
                .bind(change.at.micros())
                .bind(&change.plan)
                .bind(change.made_at.micros())
                .execute(conn)
                .await?
                .rows_affected());
        }
        Ok(())
    }
}
