//! Payees: what is on file of a consumer before it is paid. One without a row has nothing on file.

use std::collections::BTreeMap;

use sqlx::QueryBuilder;

use crate::domain::payee::Payee;
use crate::domain::time::Instant;
use crate::store::Error;
use crate::store::Result;
use crate::store::Tx;
use crate::store::Write;
use crate::store::on;

/// Both engines take this many values in one statement.
const IDS_A_STATEMENT: usize = 10_000;

type Row = (String, Option<String>, bool, bool, bool);

fn payee(row: Row) -> Result<(String, Payee)> {
    let (consumer, method, verified, tax_form, sanctioned) = row;
    let method = method.map(|json| serde_json::from_str(&json)).transpose();
    let method = method.map_err(|_| Error::Damaged(format!("the payout method of consumer {consumer}")))?;
    Ok((consumer, Payee { method, verified, tax_form, sanctioned }))
}

impl<Mode> Tx<Mode> {
    /// What is on file of these consumers. Those of whom nothing is are left out.
    pub async fn payees(&mut self, consumers: &[&str]) -> Result<BTreeMap<String, Payee>> {
        let mut payees = BTreeMap::new();
        for chunk in consumers.chunks(IDS_A_STATEMENT) {
            let rows: Vec<Row> = on!(self, conn => {
                let mut query = QueryBuilder::new(
                    "select consumer, method, verified, tax_form, sanctioned from payee where consumer in (",
                );
                query.push_values(chunk, |mut row, id| {
                    row.push_bind(*id);
                });
                query.push(")").build_query_as().fetch_all(conn).await?
            });
            for row in rows {
                payees.extend([payee(row)?]);
            }
        }
        Ok(payees)
    }
}

impl Tx<Write> {
    /// Keeps what is on file of a consumer, which must be known.
    pub async fn put_payee(&mut self, consumer: &str, payee: &Payee, at: Instant) -> Result<()> {
        const SQL: &str = "
            insert into payee (consumer, method, verified, tax_form, sanctioned, updated_at)
            values ($1, $2, $3, $4, $5, $6)
            on conflict (consumer) do update set
                method = excluded.method, verified = excluded.verified, tax_form = excluded.tax_form,
                sanctioned = excluded.sanctioned, updated_at = excluded.updated_at";
        let method = payee.method.as_ref().map(serde_json::to_string).transpose();
        let method = method.map_err(|error| Error::Refused(format!("the payout method of {consumer}: {error}")))?;
        on!(self, conn => sqlx::query(SQL)
            .bind(consumer)
            .bind(method)
            .bind(payee.verified)
            .bind(payee.tax_form)
            .bind(payee.sanctioned)
            .bind(at.micros())
            .execute(conn)
            .await?
            .rows_affected());
        Ok(())
    }
}
