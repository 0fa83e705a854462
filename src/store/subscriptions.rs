//! Subscriptions, and how far each is closed.

use sqlx::QueryBuilder;

use crate::domain::days::BillingDays;
use crate::domain::days::DayChange;
use crate::domain::ids::SubscriptionId;
use crate::domain::quantity::Quantities;
use crate::domain::quantity::QuantityChange;
use crate::domain::subscription::Change;
use crate::domain::subscription::Ending;
use crate::domain::subscription::Subscription;
use crate::domain::time::Instant;
use crate::store::Error;
use crate::store::Result;
use crate::store::Tx;
use crate::store::Write;
use crate::store::on;

/// Both engines take this many rows of six values in one statement.
const ROWS_A_STATEMENT: usize = 5_000;

type Row =
    (String, String, String, Option<i64>, i64, i64, Option<i64>, i64, i64, i64, i64, Option<i64>, Option<String>, i64);
type ChangeRow = (String, i64, String, i64, i64);
type DayRow = (String, i64, Option<i64>, i64);
type QuantityRow = (String, i64, i64, i64);

/// A subscription that a closing moves on.
#[derive(Clone, Copy, Debug)]
pub struct Advance<'a> {
    /// As it was read.
    pub read: &'a Subscription,
    pub from: Instant,
    pub to: Instant,
    /// Up to when its fees in advance are on documents by now, and under which price book.
    pub charged: Option<(Instant, &'a str)>,
}

fn subscription(row: Row) -> Result<Subscription> {
    let (
        id,
        consumer,
        plan,
        first_day,
        quantity,
        starts_at,
        ends_at,
        end_charges,
        end_credits,
        created_at,
        closed_through,
        advance_through,
        book_version,
        revision,
    ) = row;
    Ok(Subscription {
        days: BillingDays { first: day(&id, first_day)?, changes: Vec::new() },
        quantities: Quantities { first: quantity, changes: Vec::new() },
        id: SubscriptionId::parse(&id).ok_or_else(|| Error::Damaged(format!("the id of subscription {id}")))?,
        consumer,
        plan,
        changes: Vec::new(),
        starts_at: Instant::from_micros(starts_at),
        ends_at: ends_at.map(Instant::from_micros),
        ending: Ending { charges: end_charges != 0, credits: end_credits != 0 },
        created_at: Instant::from_micros(created_at),
        closed_through: Instant::from_micros(closed_through),
        advance_through: advance_through.map(Instant::from_micros),
        book_version,
        revision,
    })
}

fn day(id: &str, day: Option<i64>) -> Result<Option<i8>> {
    let damaged = |_| Error::Damaged(format!("a billing day of subscription {id}"));
    day.map(i8::try_from).transpose().map_err(damaged)
}

/// Among subscriptions that are sorted by id.
fn find<'a>(subscriptions: &'a mut [Subscription], id: &str) -> Option<&'a mut Subscription> {
    let index = subscriptions.binary_search_by(|known| known.id.as_str().cmp(id)).ok()?;
    subscriptions.get_mut(index)
}

impl<Mode> Tx<Mode> {
    pub async fn subscription(&mut self, id: &SubscriptionId) -> Result<Option<Subscription>> {
        const SQL: &str = "
            select id, consumer, plan, anchor_day, quantity, starts_at, ends_at, end_charges, end_credits, created_at,
                   closed_through, advance_through, book_version, revision
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
            select id, consumer, plan, anchor_day, quantity, starts_at, ends_at, end_charges, end_credits, created_at,
                   closed_through, advance_through, book_version, revision
            from subscription where id > ";
        let after = after.map(SubscriptionId::as_str).unwrap_or_default();
        let rows: Vec<Row> = on!(self, conn => {
            let mut query = QueryBuilder::new(SQL);
            query.push_bind(after);
            // Said only where it is asked, so that it is looked up and not compared with every row.
            if let Some(consumer) = consumer {
                query.push(" and consumer = ").push_bind(consumer);
            }
            query.push(" order by id limit ").push_bind(limit).build_query_as().fetch_all(conn).await?
        });
        let mut found = rows.into_iter().map(subscription).collect::<Result<Vec<_>>>()?;
        self.add_changes(&mut found).await?;
        Ok(found)
    }

    /// Every subscription that started by `by` and is not closed to its end.
    pub async fn unfinished_subscriptions(&mut self, by: Instant) -> Result<Vec<Subscription>> {
        const SQL: &str = "
            select id, consumer, plan, anchor_day, quantity, starts_at, ends_at, end_charges, end_credits, created_at,
                   closed_through, advance_through, book_version, revision
            from subscription
            where closed_through <= $1 and (ends_at is null or ends_at > closed_through)
            order by id";
        let rows: Vec<Row> = on!(self, conn => sqlx::query_as(SQL).bind(by.micros()).fetch_all(conn).await?);
        let mut found = rows.into_iter().map(subscription).collect::<Result<Vec<_>>>()?;
        self.add_changes(&mut found).await?;
        Ok(found)
    }

    /// Subscriptions that are closed to their end, and for which something came since: usage of closed times, an adjustment, or
    /// a share.
    pub async fn subscriptions_to_correct(&mut self) -> Result<Vec<Subscription>> {
        const SQL: &str = "
            select id, consumer, plan, anchor_day, quantity, starts_at, ends_at, end_charges, end_credits, created_at,
                   closed_through, advance_through, book_version, revision
            from subscription
            where ends_at = closed_through and (
                id in (select subscription from pending_adjustment)
                or id in (select producer from share where taken_in is null)
                or consumer in (select party from late_usage))
            order by id";
        let rows: Vec<Row> = on!(self, conn => sqlx::query_as(SQL).fetch_all(conn).await?);
        let mut found = rows.into_iter().map(subscription).collect::<Result<Vec<_>>>()?;
        self.add_changes(&mut found).await?;
        Ok(found)
    }

    /// Adds their changes, billing days and quantities to subscriptions that are sorted by id. Few ever change, so those of a range are
    /// read together.
    async fn add_changes(&mut self, subscriptions: &mut [Subscription]) -> Result<()> {
        const CHANGES: &str = "
            select subscription, at, plan, paused, made_at from subscription_change
            where subscription >= $1 and subscription <= $2 order by subscription, at";
        const DAYS: &str = "
            select subscription, at, anchor_day, made_at from subscription_day
            where subscription >= $1 and subscription <= $2 order by subscription, at";
        const QUANTITIES: &str = "
            select subscription, at, quantity, made_at from subscription_quantity
            where subscription >= $1 and subscription <= $2 order by subscription, at";
        let (Some(first), Some(last)) = (subscriptions.first(), subscriptions.last()) else { return Ok(()) };
        let (first, last) = (first.id.as_str(), last.id.as_str());
        let changes: Vec<ChangeRow> =
            on!(self, conn => sqlx::query_as(CHANGES).bind(first).bind(last).fetch_all(conn).await?);
        let days: Vec<DayRow> = on!(self, conn => sqlx::query_as(DAYS).bind(first).bind(last).fetch_all(conn).await?);
        let quantities: Vec<QuantityRow> =
            on!(self, conn => sqlx::query_as(QUANTITIES).bind(first).bind(last).fetch_all(conn).await?);
        for (id, at, plan, paused, made_at) in changes {
            if let Some(known) = find(subscriptions, &id) {
                let (at, made_at) = (Instant::from_micros(at), Instant::from_micros(made_at));
                known.changes.push(Change { at, plan, paused: paused != 0, made_at });
            }
        }
        for (id, at, to, made_at) in days {
            if let Some(known) = find(subscriptions, &id) {
                let (at, made_at) = (Instant::from_micros(at), Instant::from_micros(made_at));
                known.days.changes.push(DayChange { at, day: day(&id, to)?, made_at });
            }
        }
        for (id, at, quantity, made_at) in quantities {
            if let Some(known) = find(subscriptions, &id) {
                let (at, made_at) = (Instant::from_micros(at), Instant::from_micros(made_at));
                known.quantities.changes.push(QuantityChange { at, quantity, made_at });
            }
        }
        Ok(())
    }

    /// How many subscriptions run on a plan at or after an instant, and the ids and consumers of the first of them.
    pub async fn subscriptions_running_on(
        &mut self,
        plan: &str,
        from: Instant,
        limit: i64,
    ) -> Result<(i64, Vec<(String, String)>)> {
        // What it started with until a change, and each change until the one after it.
        macro_rules! running_on {
            ($select:literal, $order:literal) => {
                concat!(
                    "select ",
                    $select,
                    " from subscription
                    where (ends_at is null or ends_at > $2) and (
                        plan = $1 and not exists (
                            select 1 from subscription_change as change
                            where change.subscription = subscription.id and change.at <= $2)
                        or exists (
                            select 1 from subscription_change as change
                            where change.subscription = subscription.id and change.plan = $1 and not exists (
                                select 1 from subscription_change as later
                                where later.subscription = subscription.id
                                    and later.at > change.at and later.at <= $2))) ",
                    $order
                )
            };
        }
        const COUNT: &str = running_on!("cast(count(*) as bigint)", "");
        const FIRST: &str = running_on!("id, consumer", "order by id limit $3");
        let (count,): (i64,) =
            on!(self, conn => sqlx::query_as(COUNT).bind(plan).bind(from.micros()).fetch_one(conn).await?);
        let first: Vec<(String, String)> = on!(self, conn => sqlx::query_as(FIRST)
            .bind(plan).bind(from.micros()).bind(limit).fetch_all(conn).await?);
        Ok((count, first))
    }
}

impl Tx<Write> {
    /// Adds a subscription, closed through its start. `Refused` if its consumer is not known.
    pub async fn create_subscription(&mut self, subscription: &Subscription) -> Result<()> {
        const SQL: &str = "
            insert into subscription
                (id, consumer, plan, anchor_day, starts_at, ends_at, created_at, closed_through, quantity)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        on!(self, conn => sqlx::query(SQL)
            .bind(subscription.id.as_str())
            .bind(&subscription.consumer)
            .bind(&subscription.plan)
            .bind(subscription.days.first.map(i64::from))
            .bind(subscription.starts_at.micros())
            .bind(subscription.ends_at.map(Instant::micros))
            .bind(subscription.created_at.micros())
            .bind(subscription.closed_through.micros())
            .bind(subscription.quantities.first)
            .execute(conn)
            .await?
            .rows_affected());
        Ok(())
    }

    /// Moves subscriptions on to where each was closed, as many as still are as they were read. Gives how many moved.
    pub async fn advance_closed_through(&mut self, closed: &[Advance<'_>]) -> Result<u64> {
        let mut moved: u64 = 0;
        for chunk in closed.chunks(ROWS_A_STATEMENT) {
            let rows = on!(self, conn => {
                let mut query = QueryBuilder::new("with closed (id, revision, begins, ends, through, version) as (");
                query.push_values(chunk, |mut row, advance| {
                    row.push_bind(advance.read.id.as_str())
                        .push_bind(advance.read.revision)
                        .push_bind(advance.from.micros())
                        .push_bind(advance.to.micros())
                        .push_bind(advance.charged.map(|(through, _)| through.micros()))
                        .push_bind(advance.charged.map(|(_, version)| version));
                });
                query.push(
                    ") update subscription
                      set closed_through = closed.ends, advance_through = closed.through, book_version = closed.version
                      from closed
                      where subscription.id = closed.id and subscription.revision = closed.revision
                          and subscription.closed_through = closed.begins",
                );
                query.build().execute(conn).await?.rows_affected()
            });
            moved = moved.saturating_add(rows);
        }
        Ok(moved)
    }

    /// Gives an open subscription other changes, billing days and quantities, and another end; what it had is replaced. `Refused` where
    /// that is closed, and `Taken` if it was closed further or changed since it was read.
    pub async fn reschedule_subscription(&mut self, changed: &Subscription) -> Result<()> {
        const DROP: [&str; 3] = [
            "delete from subscription_change
             where subscription = $1 and at > (select closed_through from subscription where id = $1)",
            "delete from subscription_day
             where subscription = $1 and at > (select closed_through from subscription where id = $1)",
            "delete from subscription_quantity
             where subscription = $1 and at > (select closed_through from subscription where id = $1)",
        ];
        const END: &str = "
            update subscription
            set ends_at = $2, end_charges = $5, end_credits = $6, revision = revision + 1
            where id = $1 and closed_through = $3 and revision = $4";
        const ADD: &str =
            "insert into subscription_change (subscription, at, plan, made_at, paused) values ($1, $2, $3, $4, $5)";
        const ADD_QUANTITY: &str =
            "insert into subscription_quantity (subscription, at, quantity, made_at) values ($1, $2, $3, $4)";
        const ADD_DAY: &str =
            "insert into subscription_day (subscription, at, anchor_day, made_at) values ($1, $2, $3, $4)";
        let id = changed.id.as_str();
        let (ends_at, read) = (changed.ends_at.map(Instant::micros), changed.closed_through.micros());
        let found = on!(self, conn => sqlx::query(END)

            .bind(id)
            .bind(ends_at)
            .bind(read)
            .bind(changed.revision)
            .bind(i64::from(changed.ending.charges))
            .bind(i64::from(changed.ending.credits))
            .execute(conn)
            .await?
            .rows_affected());
        if found == 0 {
            return Err(Error::Taken);
        }
        for sql in DROP {
            on!(self, conn => sqlx::query(sql).bind(id).execute(conn).await?.rows_affected());
        }
        for change in changed.changes.iter().filter(|change| change.at > changed.closed_through) {
            on!(self, conn => sqlx::query(ADD)
                .bind(id)
                .bind(change.at.micros())
                .bind(&change.plan)
                .bind(change.made_at.micros())
                .bind(i64::from(change.paused))
                .execute(conn)
                .await?
                .rows_affected());
        }
        for change in changed.days.changes.iter().filter(|change| change.at > changed.closed_through) {
            on!(self, conn => sqlx::query(ADD_DAY)
                .bind(id)
                .bind(change.at.micros())
                .bind(change.day.map(i64::from))
                .bind(change.made_at.micros())
                .execute(conn)
                .await?
                .rows_affected());
        }
        for change in changed.quantities.changes.iter().filter(|change| change.at > changed.closed_through) {
            on!(self, conn => sqlx::query(ADD_QUANTITY)
                .bind(id)
                .bind(change.at.micros())
                .bind(change.quantity)
                .bind(change.made_at.micros())
                .execute(conn)
                .await?
                .rows_affected());
        }
        Ok(())
    }
}
