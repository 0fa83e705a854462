//! What came too late for a closing: usage that was added to closed periods, and periods that wait to be rated again.

use sqlx::QueryBuilder;

use crate::domain::ids::SubscriptionId;
use crate::domain::measure::delta::Key;
use crate::domain::money::Currency;
use crate::domain::period::Period;
use crate::domain::rating::line::Line;
use crate::domain::time::Instant;
use crate::store::Error;
use crate::store::Quantity;
use crate::store::Result;
use crate::store::Tx;
use crate::store::Write;
use crate::store::documents::line;
use crate::store::insert::insert_rows;
use crate::store::on;

/// Both engines take this many rows of four values in one statement.
const ROWS_A_STATEMENT: usize = 5_000;

/// A bucket of a closed time to which something was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateUsage {
    pub party: String,
    pub bucket: Instant,
    pub meter: String,
}

impl<Mode> Tx<Mode> {
    /// What was added late to the usage of these parties, and the newest note there is of anybody's.
    pub async fn late_usage(&mut self, parties: &[&str]) -> Result<(Vec<LateUsage>, i64)> {
        const NEWEST: &str = "select cast(coalesce(max(noted), 0) as bigint) from late_usage";
        let (newest,): (i64,) = on!(self, conn => sqlx::query_as(NEWEST).fetch_one(conn).await?);
        let mut found = Vec::new();
        if newest == 0 {
            return Ok((found, newest));
        }
        for chunk in parties.chunks(ROWS_A_STATEMENT) {
            let rows: Vec<(String, i64, String)> = on!(self, conn => {
                let mut query = QueryBuilder::new("select party, bucket, meter from late_usage where party in (");
                query.push_values(chunk, |mut row, party| {
                    row.push_bind(*party);
                });
                query.push(") order by party, bucket, meter").build_query_as().fetch_all(conn).await?
            });
            let late = |(party, bucket, meter)| LateUsage { party, bucket: Instant::from_micros(bucket), meter };
            found.extend(rows.into_iter().map(late));
        }
        Ok((found, newest))
    }

    /// Closed periods that wait to be rated again: the subscription, and where the period begins.
    pub async fn pending_adjustments(&mut self) -> Result<Vec<(SubscriptionId, Instant)>> {
        const SQL: &str = "select subscription, period_from from pending_adjustment order by subscription, period_from";
        let rows: Vec<(String, i64)> = on!(self, conn => sqlx::query_as(SQL).fetch_all(conn).await?);
        let pending = |(id, from): (String, i64)| {
            let known = SubscriptionId::parse(&id);
            Ok((known.ok_or_else(|| Error::Damaged(format!("the id {id}")))?, Instant::from_micros(from)))
        };
        rows.into_iter().map(pending).collect()
    }

    /// What documents say of the usage of a subscription in a period: charges, what the plan adds to them, and rewards, with
    /// their adjustments.
    pub async fn said_of(&mut self, subscription: &SubscriptionId, period: Period) -> Result<Vec<Line>> {
        const SQL: &str = "
            select document.currency, document_line.document, component, document_line.kind, description, dimensions,
                   document_line.period_from, document_line.period_to, quantity, amount, program, explanation
            from document join document_line on document_line.document = document.id
            where document.subscription = $1 and document_line.kind <> 'fee'
                and document_line.period_from >= $2 and document_line.period_to <= $3
            order by document.closing, document_line.document, line";
        type Row = (String, String, String, String, String, String, i64, i64, Quantity, i64, Option<String>, String);
        let rows: Vec<Row> = on!(self, conn => sqlx::query_as(SQL)
            .bind(subscription.as_str())
            .bind(period.from().micros())
            .bind(period.to().micros())
            .fetch_all(conn)
            .await?);
        let said = |(
            currency,
            id,
            component,
            kind,
            description,
            dimensions,
            from,
            to,
            quantity,
            amount,
            program,
            why,
        ): Row| {
            let known =
                Currency::from_code(&currency).ok_or_else(|| Error::Damaged(format!("the currency of {id}")))?;
            line((id, component, kind, description, dimensions, from, to, quantity, amount, program, why), known)
        };
        rows.into_iter().map(said).collect()
    }
}

impl Tx<Write> {
    /// Says that periods which end by `through` are about to be closed: what is added to them from now on is noted.
    pub async fn announce_closing(&mut self, through: Instant) -> Result<()> {
        const SQL: &str = "update partition set closing_through = $1 where id = 0 and closing_through < $1";
        on!(self, conn => sqlx::query(SQL).bind(through.micros()).execute(conn).await?.rows_affected());
        Ok(())
    }

    /// Notes what of this is added to times that are closed, or about to be.
    pub async fn note_late(&mut self, added: &[&Key]) -> Result<()> {
        // Nothing changes, but whoever announces a closing comes before it or after it.
        const THROUGH: &str =
            "update partition set closing_through = closing_through where id = 0 returning closing_through";
        const NEXT: &str = "select cast(coalesce(max(noted), 0) + 1 as bigint) from late_usage";
        let (through,): (i64,) = on!(self, conn => sqlx::query_as(THROUGH).fetch_one(conn).await?);
        let late = added.iter().filter(|key| key.bucket.micros() < through);
        let mut late: Vec<(&str, i64, &str)> =
            late.map(|key| (&*key.party, key.bucket.micros(), &*key.meter)).collect();
        late.sort_unstable();
        late.dedup();
        if late.is_empty() {
            return Ok(());
        }
        let (noted,): (i64,) = on!(self, conn => sqlx::query_as(NEXT).fetch_one(conn).await?);
        insert_rows!(
            self,
            "insert into late_usage (party, bucket, meter, noted) ",
            late.iter().map(Ok),
            |mut row, (party, bucket, meter)| {
                row.push_bind(*party).push_bind(*bucket).push_bind(*meter).push_bind(noted);
            },
            " on conflict (party, bucket, meter) do update set noted = excluded.noted"
        );
        Ok(())
    }

    /// Forgets what was added late to the usage of parties up to a note: it is taken into account.
    pub async fn drop_late(&mut self, parties: &[&str], noted: i64) -> Result<()> {
        for chunk in parties.chunks(ROWS_A_STATEMENT) {
            on!(self, conn => {
                let mut query = QueryBuilder::new("delete from late_usage where noted <= ");
                query.push_bind(noted).push(" and party in (");
                query.push_values(chunk, |mut row, party| {
                    row.push_bind(*party);
                });
                query.push(")").build().execute(conn).await?;
            });
        }
        Ok(())
    }

    /// Has a closed period rated again with the next document of its subscription.
    pub async fn await_adjustment(&mut self, subscription: &SubscriptionId, from: Instant) -> Result<()> {
        const SQL: &str =
            "insert into pending_adjustment (subscription, period_from) values ($1, $2) on conflict do nothing";
        on!(self, conn => sqlx::query(SQL)
            .bind(subscription.as_str()).bind(from.micros()).execute(conn).await?.rows_affected());
        Ok(())
    }

    /// A period was rated again.
    pub async fn drop_adjustment(&mut self, subscription: &SubscriptionId, from: Instant) -> Result<()> {
        const SQL: &str = "delete from pending_adjustment where subscription = $1 and period_from = $2";
        on!(self, conn => sqlx::query(SQL)
            .bind(subscription.as_str()).bind(from.micros()).execute(conn).await?.rows_affected());
        Ok(())
    }
}
