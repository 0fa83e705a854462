//! What was taken back after it had left: what consumers owe for it, and what they paid back.
//!
//! Whoever writes here waits for the journal first ([`Tx::hold_journal`]), so that what is owed does not change
//! under the entry that says so.

use std::collections::BTreeMap;

use jiff::civil::Date;

use crate::domain::ids::PayoutId;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::time::Instant;
use crate::store::Error;
use crate::store::Result;
use crate::store::Tx;
use crate::store::Write;
use crate::store::on;

/// What a consumer paid back out of what became available.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaid {
    /// The key of the entry that made it available.
    pub cause: String,
    pub consumer: String,
    pub amount: Money,
    pub effective_on: Date,
    pub at: Instant,
}

impl<Mode> Tx<Mode> {
    /// What was owed for what statements took back, by statement and program.
    pub async fn clawbacks(&mut self) -> Result<BTreeMap<(String, String), i64>> {
        const SQL: &str = "select document, program, amount from clawback order by document, program";
        let rows: Vec<(String, String, i64)> = on!(self, conn => sqlx::query_as(SQL).fetch_all(conn).await?);
        Ok(rows.into_iter().map(|(document, program, amount)| ((document, program), amount)).collect())
    }

    /// What is owed now, by consumer and currency. Those who owe nothing are left out.
    pub async fn owed_back(&mut self) -> Result<BTreeMap<(String, &'static str), Money>> {
        const SQL: &str = "
            select consumer, currency, cast(sum(amount) as bigint)
            from (
                select document.consumer, document.currency, clawback.amount
                from clawback join document on document.id = clawback.document
                union all
                select consumer, currency, -amount from clawback_repaid) as moved
            group by consumer, currency
            having sum(amount) > 0";
        let rows: Vec<(String, String, i64)> = on!(self, conn => sqlx::query_as(SQL).fetch_all(conn).await?);
        let owed = |(consumer, code, amount): (String, String, i64)| {
            let currency = Currency::from_code(&code);
            let currency =
                currency.ok_or_else(|| Error::Damaged(format!("the currency of a clawback of {consumer}")))?;
            Ok(((consumer, currency.code()), Money::from_minor(amount, currency)))
        };
        rows.into_iter().map(owed).collect()
    }

    /// Everything that was paid back.
    pub async fn repaid(&mut self) -> Result<Vec<Repaid>> {
        const SQL: &str = "
            select cause, consumer, currency, amount, effective_on, at from clawback_repaid order by cause";
        type Row = (String, String, String, i64, String, i64);
        let rows: Vec<Row> = on!(self, conn => sqlx::query_as(SQL).fetch_all(conn).await?);
        let repaid = |(cause, consumer, currency, amount, effective_on, at): Row| {
            let damaged = |what: &str| Error::Damaged(format!("the {what} of what was paid back by {cause}"));
            let currency = Currency::from_code(&currency).ok_or_else(|| damaged("currency"))?;
            Ok(Repaid {
                consumer,
                amount: Money::from_minor(amount, currency),
                effective_on: effective_on.parse().map_err(|_| damaged("date"))?,
                at: Instant::from_micros(at),
                cause,
            })
        };
        rows.into_iter().map(repaid).collect()
    }
}

impl Tx<Write> {
    /// Notes that of what a statement takes back under a program, whose hold has passed, so much is owed.
    pub async fn record_clawback(&mut self, statement: &PayoutId, program: &str, owed: Money) -> Result<()> {
        const SQL: &str = "insert into clawback (document, program, amount) values ($1, $2, $3)";
        on!(self, conn => sqlx::query(SQL)
            .bind(statement.as_str()).bind(program).bind(owed.minor()).execute(conn).await?.rows_affected());
        Ok(())
    }

    /// Notes what was paid back, which is not more than is owed.
    pub async fn record_repaid(&mut self, repaid: &Repaid) -> Result<()> {
        const SQL: &str = "
            insert into clawback_repaid (cause, consumer, currency, amount, effective_on, at)
            values ($1, $2, $3, $4, $5, $6)";
        on!(self, conn => sqlx::query(SQL)
            .bind(&repaid.cause)
            .bind(&repaid.consumer)
            .bind(repaid.amount.currency().code())
            .bind(repaid.amount.minor())
            .bind(repaid.effective_on.to_string())
            .bind(repaid.at.micros())
            .execute(conn)
            .await?
            .rows_affected());
        Ok(())
    }
}
