//! Closings: what was rated together, in which order, and from which usage.
//!
//! Whatever a rating depends on and that may change afterwards is kept here, so that it can be repeated.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use sqlx::QueryBuilder;

use crate::domain::consumer::Consumer;
use crate::domain::document::Occasion;
use crate::domain::ids::SubscriptionId;
use crate::domain::period::Period;
use crate::domain::time::Instant;
use crate::store::Error;
use crate::store::Result;
use crate::store::Tx;
use crate::store::Write;
use crate::store::insert::insert_rows;
use crate::store::on;

/// One closing: everything that fell due at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    /// 1, 2, 3: the order in which program budgets were spent.
    pub seq: i64,
    /// Where the periods end that were closed, and where the fees begin that were charged by openings.
    pub due_at: Instant,
    /// The last batch of the log in the usage that was rated.
    pub usage_seq: i64,
    /// The newest replay of history in it.
    pub replayed: i64,
    pub closed_at: Instant,
}

/// A period that was rated in a closing, also if it came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedPeriod {
    pub subscription: SubscriptionId,
    pub occasion: Occasion,
    pub period: Period,
    pub book_version: String,
    /// Whose fees in advance it charged for the period after.
    pub next_book_version: Option<String>,
    /// Up to when.
    pub next_period_to: Option<Instant>,
    /// As it was.
    pub consumer: Consumer,
}

/// What a program granted to subscriptions of one plan that fell due together, in the minor unit of its currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    pub program: String,
    pub plan: String,
    pub due_at: Instant,
    pub amount: i64,
}

type Row = (String, String, i64, i64, String, Option<String>, Option<i64>, String);

fn closed_period(row: Row) -> Result<ClosedPeriod> {
    let (subscription, occasion, from, to, book_version, next_book_version, next_period_to, consumer) = row;
    let damaged = |what: &str| Error::Damaged(format!("the {what} of a closed period of {subscription}"));
    let period = Period::new(Instant::from_micros(from), Instant::from_micros(to));
    Ok(ClosedPeriod {
        occasion: Occasion::parse(&occasion).ok_or_else(|| damaged("occasion"))?,
        period: period.map_err(|_| damaged("end"))?,
        book_version,
        next_book_version,
        next_period_to: next_period_to.map(Instant::from_micros),
        consumer: serde_json::from_str(&consumer).map_err(|_| damaged("consumer"))?,
        subscription: SubscriptionId::parse(&subscription).ok_or_else(|| damaged("id"))?,
    })
}

impl<Mode> Tx<Mode> {
    /// Every closing, in order.
    pub async fn closings(&mut self) -> Result<Vec<Closing>> {
        const SQL: &str = "select seq, due_at, usage_seq, replayed, closed_at from closing order by seq";
        let rows: Vec<(i64, i64, i64, i64, i64)> = on!(self, conn => sqlx::query_as(SQL).fetch_all(conn).await?);
        let closing = |(seq, due_at, usage_seq, replayed, closed_at)| Closing {
            seq,
            due_at: Instant::from_micros(due_at),
            usage_seq,
            replayed,
            closed_at: Instant::from_micros(closed_at),
        };
        Ok(rows.into_iter().map(closing).collect())
    }

    /// The number of the last closing; 0 before the first.
    pub async fn last_closing(&mut self) -> Result<i64> {
        const SQL: &str = "select cast(coalesce(max(seq), 0) as bigint) from closing";
        let (seq,): (i64,) = on!(self, conn => sqlx::query_as(SQL).fetch_one(conn).await?);
        Ok(seq)
    }

    /// What was rated in a closing, by subscription.
    pub async fn closed_periods(&mut self, closing: i64) -> Result<Vec<ClosedPeriod>> {
        const SQL: &str = "
            select subscription, occasion, period_from, period_to, book_version, next_book_version,
                   next_period_to, consumer_as_of
            from closed_period where closing = $1 order by subscription, period_from, occasion";
        let rows: Vec<Row> = on!(self, conn => sqlx::query_as(SQL).bind(closing).fetch_all(conn).await?);
        rows.into_iter().map(closed_period).collect()
    }

    /// The closed periods of a subscription in the order of time, each with its closing.
    pub async fn closed_periods_of(&mut self, subscription: &SubscriptionId) -> Result<Vec<(i64, ClosedPeriod)>> {
        const SQL: &str = "
            select closing, subscription, occasion, period_from, period_to, book_version, next_book_version,
                   next_period_to, consumer_as_of
            from closed_period where subscription = $1 and occasion = 'closing' order by period_from";
        type WithClosing = (i64, String, String, i64, i64, String, Option<String>, Option<i64>, String);
        let rows: Vec<WithClosing> =
            on!(self, conn => sqlx::query_as(SQL).bind(subscription.as_str()).fetch_all(conn).await?);
        let closed = |(closing, id, occasion, from, to, version, next_version, next_to, consumer): WithClosing| {
            Ok((closing, closed_period((id, occasion, from, to, version, next_version, next_to, consumer))?))
        };
        rows.into_iter().map(closed).collect()
    }

    /// Subscriptions, of one consumer or of all, of whose first period that is not closed an opening settled the fees in
    /// advance.
    pub async fn opened(&mut self, consumer: Option<&str>) -> Result<BTreeSet<SubscriptionId>> {
        // `cross join`: a look-up for each subscription, never a scan of all that was ever closed.
        const SQL: &str = "
            select subscription.id from subscription cross join closed_period
            where closed_period.subscription = subscription.id
                and closed_period.period_from = subscription.closed_through and closed_period.occasion = 'opening'";
        let rows: Vec<(String,)> = on!(self, conn => {
            let mut query = QueryBuilder::new(SQL);
            if let Some(consumer) = consumer {
                query.push(" and subscription.consumer = ").push_bind(consumer);
            }
            query.build_query_as().fetch_all(conn).await?
        });
        Ok(rows.into_iter().filter_map(|(id,)| SubscriptionId::parse(&id)).collect())
    }

    /// What each program has granted so far, in the minor unit of its currency.
    pub async fn granted_by_program(&mut self) -> Result<BTreeMap<String, i64>> {
        const SQL: &str = "
            select program, cast(coalesce(sum(amount), 0) as bigint)
            from document_line where program is not null group by program";
        let rows: Vec<(String, i64)> = on!(self, conn => sqlx::query_as(SQL).fetch_all(conn).await?);
        Ok(rows.into_iter().collect())
    }

    /// The same of what was due by some time, by when it was due and by plan.
    pub async fn granted_until(&mut self, due_by: Instant) -> Result<Vec<Granted>> {
        const SQL: &str = "
            select document_line.program, subscription.plan, closing.due_at,
                   cast(coalesce(sum(document_line.amount), 0) as bigint)
            from document_line
            join document on document.id = document_line.document
            join subscription on subscription.id = document.subscription
            join closing on closing.seq = document.closing
            where document_line.program is not null and closing.due_at <= $1
            group by document_line.program, subscription.plan, closing.due_at
            order by document_line.program, subscription.plan, closing.due_at";
        let rows: Vec<(String, String, i64, i64)> =
            on!(self, conn => sqlx::query_as(SQL).bind(due_by.micros()).fetch_all(conn).await?);
        let granted = |(program, plan, due_at, amount)| {
            let due_at = Instant::from_micros(due_at);
            Granted { program, plan, due_at, amount }
        };
        Ok(rows.into_iter().map(granted).collect())
    }
}

impl Tx<Write> {
    /// Records a closing and what was rated in it. `Taken` if somebody else closed in the meantime.
    pub async fn record_closing(&mut self, closing: &Closing, periods: &[ClosedPeriod]) -> Result<()> {
        const SQL: &str =
            "insert into closing (seq, due_at, usage_seq, replayed, closed_at) values ($1, $2, $3, $4, $5)";
        on!(self, conn => sqlx::query(SQL)
            .bind(closing.seq)
            .bind(closing.due_at.micros())
            .bind(closing.usage_seq)
            .bind(closing.replayed)
            .bind(closing.closed_at.micros())
            .execute(conn)
            .await?
            .rows_affected());
        let rows = periods.iter().map(|period| {
            let consumer = serde_json::to_string(&period.consumer)
                .map_err(|error| Error::Refused(format!("consumer {}: {error}", period.consumer.id)))?;
            Ok((period, consumer))
        });
        insert_rows!(
            self,
            "insert into closed_period
                     (subscription, period_from, occasion, period_to, closing, book_version, next_book_version,
                      next_period_to, consumer_as_of) ",
            rows,
            |mut row, (closed, consumer)| {
                row.push_bind(closed.subscription.as_str())
                    .push_bind(closed.period.from().micros())
                    .push_bind(closed.occasion.as_str())
                    .push_bind(closed.period.to().micros())
                    .push_bind(closing.seq)
                    .push_bind(&closed.book_version)
                    .push_bind(&closed.next_book_version)
                    .push_bind(closed.next_period_to.map(Instant::micros))
                    .push_bind(consumer);
            }
        );
        Ok(())
    }
}
