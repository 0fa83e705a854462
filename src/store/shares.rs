//! What producers get of what others were charged, and who shared in what when it was charged.

use std::collections::BTreeSet;

use sqlx::QueryBuilder;

use crate::domain::document::share::Share;
use crate::domain::document::share::Sharer;
use crate::domain::ids::SubscriptionId;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::period::Period;
use crate::domain::time::Instant;
use crate::store::Error;
use crate::store::Quantity;
use crate::store::Result;
use crate::store::Tx;
use crate::store::Write;
use crate::store::insert::insert_rows;
use crate::store::on;

type Row = (String, i64, i64, String, String, String, String, Quantity, String, i64, i64);
type SharerRow = (String, i64, String, String, String, String, String, String, String, Quantity);

/// Which shares are wanted.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// Earned in this closing.
    Earned(i64),
    /// On no payout statement yet.
    Waiting,
    /// Of the charges of this subscription's period that begins then.
    Of(&'a SubscriptionId, Instant),
    /// On the payout statement that this closing made for this subscription.
    Taken(i64, &'a SubscriptionId),
}

fn share(row: Row) -> Result<Share> {
    let (charged, from, to, charge, producer, component, program, rate, currency, base, amount) = row;
    let damaged = |what: &str| Error::Damaged(format!("the {what} of a share of what {charged} was charged"));
    let currency = Currency::from_code(&currency).ok_or_else(|| damaged("currency"))?;
    Ok(Share {
        period: Period::new(Instant::from_micros(from), Instant::from_micros(to)).map_err(|_| damaged("period"))?,
        to: SubscriptionId::parse(&producer).ok_or_else(|| damaged("producer"))?,
        base: Money::from_minor(base, currency),
        amount: Money::from_minor(amount, currency),
        charged: SubscriptionId::parse(&charged).ok_or_else(|| damaged("subscription"))?,
        rate: rate.0,
        charge,
        component,
        program,
    })
}

fn sharer(row: SharerRow) -> Result<Sharer> {
    let (book_version, until, plan, charge, dimension, producer, id, component, program, rate) = row;
    let subscription = SubscriptionId::parse(&id).ok_or_else(|| Error::Damaged(format!("the id of sharer {id}")))?;
    let (until, rate) = (Instant::from_micros(until), rate.0);
    Ok(Sharer { book_version, until, plan, charge, dimension, producer, subscription, component, program, rate })
}

impl<Mode> Tx<Mode> {
    /// In the order of closings, and in one of what was charged.
    pub async fn shares(&mut self, which: Which<'_>) -> Result<Vec<Share>> {
        let rows: Vec<Row> = on!(self, conn => {
            let mut query = QueryBuilder::new(
                "select charged, period_from, period_to, charge, producer, component, program, rate, currency, base,
                        amount
                 from share where ",
            );
            match which {
                Which::Earned(closing) => query.push("closing = ").push_bind(closing),
                Which::Waiting => query.push("taken_in is null"),
                Which::Of(charged, from) => {
                    query.push("charged = ").push_bind(charged.as_str());
                    query.push(" and period_from = ").push_bind(from.micros())
                }
                Which::Taken(closing, producer) => {
                    query.push("taken_in = ").push_bind(closing);
                    query.push(" and producer = ").push_bind(producer.as_str())
                }
            };
            query.push(" order by closing, charged, period_from, charge, producer, component");
            query.build_query_as().fetch_all(conn).await?
        });
        rows.into_iter().map(share).collect()
    }

    /// Who shared in what, as a closing knew it.
    pub async fn sharers(&mut self, closing: i64) -> Result<Vec<Sharer>> {
        const SQL: &str = "
            select book_version, until, plan, charge, dimension, producer, subscription, component, program, rate
            from sharer where closing = $1
            order by book_version, until, plan, charge, dimension, producer";
        let rows: Vec<SharerRow> = on!(self, conn => sqlx::query_as(SQL).bind(closing).fetch_all(conn).await?);
        rows.into_iter().map(sharer).collect()
    }
}

impl Tx<Write> {
    /// Keeps who shared in what a closing charged.
    pub async fn record_sharers(&mut self, closing: i64, sharers: &[&Sharer]) -> Result<()> {
        insert_rows!(
            self,
            "insert into sharer (closing, book_version, until, plan, charge, dimension, producer, subscription,
                                         component, program, rate) ",
            sharers.iter().map(Ok),
            |mut row, sharer| {
                row.push_bind(closing)
                    .push_bind(&sharer.book_version)
                    .push_bind(sharer.until.micros())
                    .push_bind(&sharer.plan)
                    .push_bind(&sharer.charge)
                    .push_bind(&sharer.dimension)
                    .push_bind(&sharer.producer)
                    .push_bind(sharer.subscription.as_str())
                    .push_bind(&sharer.component)
                    .push_bind(&sharer.program)
                    .push_bind(Quantity(sharer.rate));
            }
        );
        Ok(())
    }

    /// Keeps what was earned in a closing. What is of subscriptions that got a statement in it, `paid`, is on that.
    pub async fn record_shares(
        &mut self,
        closing: i64,
        earned: &[Share],
        paid: &BTreeSet<&SubscriptionId>,
    ) -> Result<()> {
        insert_rows!(
            self,
            "insert into share (closing, charged, period_from, period_to, charge, producer, component, program,
                                        rate, currency, base, amount, taken_in) ",
            earned.iter().map(Ok),
            |mut row, share| {
                row.push_bind(closing)
                    .push_bind(share.charged.as_str())
                    .push_bind(share.period.from().micros())
                    .push_bind(share.period.to().micros())
                    .push_bind(&share.charge)
                    .push_bind(share.to.as_str())
                    .push_bind(&share.component)
                    .push_bind(&share.program)
                    .push_bind(Quantity(share.rate))
                    .push_bind(share.amount.currency().code())
                    .push_bind(share.base.minor())
                    .push_bind(share.amount.minor())
                    .push_bind(paid.contains(&share.to).then_some(closing));
            }
        );
        Ok(())
    }

    /// Says that what waited for a subscription is on the statement that a closing made for it.
    pub async fn take_shares(&mut self, closing: i64, producer: &SubscriptionId) -> Result<()> {
        const SQL: &str = "update share set taken_in = $1 where producer = $2 and taken_in is null";
        on!(self, conn => sqlx::query(SQL)
            .bind(closing).bind(producer.as_str()).execute(conn).await?.rows_affected());
        Ok(())
    }
}
