//! Rewards that paid for invoices: what of which statement was used, and for what. Only appended to.
//!
//! Whoever writes here waits for the journal first ([`Tx::hold_journal`]), so that nobody else uses or pays out the same.

use std::collections::HashMap;

use crate::domain::document::Number;
use crate::domain::ids::InvoiceId;
use crate::domain::ids::PayoutId;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::payout::Part;
use crate::domain::payout::standing::Netted;
use crate::store::Error;
use crate::store::Result;
use crate::store::Tx;
use crate::store::Write;
use crate::store::insert::insert_rows;
use crate::store::on;

impl<Mode> Tx<Mode> {
    /// What of a statement paid for invoices, in the order in which it did.
    pub async fn netted_of(&mut self, statement: &PayoutId) -> Result<Vec<Netted>> {
        const SQL: &str = "
            select netting.program, netting.amount, invoice.currency, invoice.prefix, invoice.ordinal,
                   settlement.effective_on
            from netting
            join settlement on settlement.invoice = netting.invoice and settlement.seq = netting.seq
            join document as invoice on invoice.id = netting.invoice
            where netting.document = $1
            order by settlement.recorded_at, invoice.prefix, invoice.ordinal, netting.program";
        type Row = (String, i64, String, String, i64, String);
        let rows: Vec<Row> = on!(self, conn => sqlx::query_as(SQL).bind(statement.as_str()).fetch_all(conn).await?);
        let netted = |(program, amount, code, prefix, ordinal, on): Row| {
            let damaged = |what: &str| Error::Damaged(format!("the {what} of what was netted of {statement}"));
            let currency = Currency::from_code(&code).ok_or_else(|| damaged("currency"))?;
            Ok(Netted {
                program,
                amount: Money::from_minor(amount, currency),
                invoice: Number { prefix, ordinal },
                on: on.parse().map_err(|_| damaged("date"))?,
            })
        };
        rows.into_iter().map(netted).collect()
    }

    /// What of rewards was used by each settlement of an invoice, in the minor unit of its currency.
    pub async fn netted(&mut self) -> Result<HashMap<(String, i64), i64>> {
        const SQL: &str = "select invoice, seq, cast(sum(amount) as bigint) from netting group by invoice, seq";
        let rows: Vec<(String, i64, i64)> = on!(self, conn => sqlx::query_as(SQL).fetch_all(conn).await?);
        Ok(rows.into_iter().map(|(invoice, seq, amount)| ((invoice, seq), amount)).collect())
    }
}

impl Tx<Write> {
    /// Notes what a settlement uses, which is added to its invoice next. Refused if it is not available.
    pub async fn record_netting(&mut self, netted: &[(InvoiceId, i64, Vec<Part>)]) -> Result<()> {
        let rows =
            netted.iter().flat_map(|(invoice, seq, parts)| parts.iter().map(move |part| Ok((invoice, seq, part))));
        insert_rows!(self, "insert into netting (invoice, seq, document, program, amount) ", rows, |mut row,
                                                                                                    (
            invoice,
            seq,
            part,
        )| {
            row.push_bind(invoice.as_str())
                .push_bind(*seq)
                .push_bind(part.statement.as_str())
                .push_bind(&part.program)
                .push_bind(part.amount.minor());
        });
        Ok(())
    }
}
