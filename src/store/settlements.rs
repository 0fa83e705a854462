//! What settles invoices: settlements, payments, credit notes, and the credit of consumers.
//!
//! All of it is only appended to. The database counts the settlements of an invoice and refuses more than it comes to
//! (`0018_settlement`), so of two that settle it at once one is told [`Error::Taken`] or [`Error::Refused`].

use std::collections::HashMap;

use jiff::civil::Date;
use sqlx::QueryBuilder;

use crate::domain::document::Number;
use crate::domain::document::credit_note;
use crate::domain::document::credit_note::CreditNote;
use crate::domain::document::credit_note::Credited;
use crate::domain::document::dunning::Overdue;
use crate::domain::document::invoice::Taxed;
use crate::domain::document::settlement::Means;
use crate::domain::document::settlement::Payment;
use crate::domain::document::settlement::Settlement;
use crate::domain::ids::CreditNoteId;
use crate::domain::ids::InvoiceId;
use crate::domain::ids::PaymentId;
use crate::domain::ledger::account::Account;
use crate::domain::ledger::account::Chart;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::time::Instant;
use crate::store::Error;
use crate::store::Quantity;
use crate::store::Result;
use crate::store::Tx;
use crate::store::Write;
use crate::store::insert::insert_rows;
use crate::store::on;

/// Both engines take this many values in one statement.
const IDS_A_STATEMENT: usize = 10_000;

/// Which payments or credit notes.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// The one with this id.
    Id(&'a str),
    /// A page, newest first, of one consumer or of all, from the first one before this id.
    Page { consumer: Option<&'a str>, before: Option<&'a str>, limit: i64 },
    /// The credit notes of an invoice, oldest first; no payments.
    Invoice(&'a str),
}

type SettlementRow = (String, String, i64, Option<String>, Option<String>, String, i64, Option<String>);
type PaymentRow = (String, String, String, i64, String, String, String, i64, String, Option<i64>);
/// Of a credit note: tax, jurisdiction, rate and amount.
type TaxRow = (String, String, String, Quantity, i64);
type NoteRow = (String, i64, String, String, String, i64, i64, i64, i64, i64, i64, String, String, i64, String);

impl<Mode> Tx<Mode> {
    /// What is settled of each of these invoices, whose currencies are given, in order.
    pub async fn settlements(&mut self, invoices: &[(&str, Currency)]) -> Result<HashMap<String, Vec<Settlement>>> {
        let mut settlements: HashMap<String, Vec<Settlement>> = HashMap::new();
        for chunk in invoices.chunks(IDS_A_STATEMENT) {
            let currencies: HashMap<&str, Currency> = chunk.iter().copied().collect();
            let rows: Vec<SettlementRow> = on!(self, conn => {
                let mut query = QueryBuilder::new(
                    "select invoice, means, amount, source, reason, effective_on, recorded_at, recorded_by
                     from settlement where invoice in (",
                );
                query.push_values(chunk, |mut row, (invoice, _)| {
                    row.push_bind(*invoice);
                });
                query.push(") order by invoice, seq").build_query_as().fetch_all(conn).await?
            });
            for (invoice, means, amount, source, reason, effective_on, recorded_at, recorded_by) in rows {
                let damaged = |what| damaged("settlement of invoice", &invoice, what);
                let currency = *currencies.get(&*invoice).ok_or_else(|| damaged("invoice"))?;
                let settlement = Settlement {
                    means: Means::parse(&means).ok_or_else(|| damaged("means"))?,
                    amount: Money::from_minor(amount, currency),
                    source,
                    reason,
                    effective_on: effective_on.parse().map_err(|_| damaged("date"))?,
                    recorded_at: Instant::from_micros(recorded_at),
                    recorded_by,
                };
                settlements.entry(invoice).or_default().push(settlement);
            }
        }
        Ok(settlements)
    }

    /// What is owed of a consumer's invoices that are not settled, by the date on which they were due.
    pub async fn owed(&mut self, consumer: &str) -> Result<Vec<(InvoiceId, Money)>> {
        const SQL: &str = "
            select invoice, currency, amount
            from outstanding join document on document.id = outstanding.invoice
            where outstanding.consumer = $1
            order by outstanding.due_on, outstanding.ordinal, invoice";
        let rows: Vec<(String, String, i64)> =
            on!(self, conn => sqlx::query_as(SQL).bind(consumer).fetch_all(conn).await?);
        let owed = |(id, currency, owed): (String, String, i64)| {
            let damaged = |what| damaged("invoice", &id, what);
            let currency = Currency::from_code(&currency).ok_or_else(|| damaged("currency"))?;
            Ok((InvoiceId::parse(&id).ok_or_else(|| damaged("id"))?, Money::from_minor(owed, currency)))
        };
        rows.into_iter().map(owed).collect()
    }

    /// What is outstanding on a day of invoices that were due before it, of one consumer or of all: what was due first comes
    /// first, from the first one after `after`.
    pub async fn overdue(
        &mut self,
        on: Date,
        consumer: Option<&str>,
        after: Option<&(Date, InvoiceId)>,
        limit: i64,
    ) -> Result<Vec<Overdue>> {
        const SQL: &str = "
            select invoice, number, outstanding.consumer, currency, amount, outstanding.due_on
            from outstanding join document on document.id = outstanding.invoice
            where outstanding.due_on < $1
            and (cast($2 as text) is null or outstanding.consumer = $2)
            and (cast($3 as text) is null or outstanding.due_on > $3 or outstanding.due_on = $3 and invoice > $4)
            order by outstanding.due_on, invoice limit $5";
        let (date, id) = after.map(|(date, id)| (date.to_string(), id.to_string())).unzip();
        let rows: Vec<(String, String, String, String, i64, String)> = on!(self, conn => sqlx::query_as(SQL)
            .bind(on.to_string()).bind(consumer).bind(date).bind(id).bind(limit).fetch_all(conn).await?);
        let overdue = |(id, number, consumer, currency, owed, due_on): (String, _, _, String, _, String)| {
            let damaged = |what| damaged("invoice", &id, what);
            let currency = Currency::from_code(&currency).ok_or_else(|| damaged("currency"))?;
            Ok(Overdue {
                invoice: InvoiceId::parse(&id).ok_or_else(|| damaged("id"))?,
                number,
                consumer,
                outstanding: Money::from_minor(owed, currency),
                due_on: date_of(&due_on).ok_or_else(|| damaged("due date"))?,
            })
        };
        rows.into_iter().map(overdue).collect()
    }

    /// Invoices of which something else is kept as outstanding than what their settlements leave: the number, what is kept, and
    /// what is left, in the minor unit.
    pub async fn wrong_outstanding(&mut self) -> Result<Vec<(String, i64, i64)>> {
        const SQL: &str = "
            select number, coalesce(amount, 0), owed from (
                select id, number, consumer, due_on, total - coalesce((
                    select cast(sum(amount) as bigint) from settlement where invoice = document.id), 0) as owed
                from document where kind = 'invoice' and total > 0) as standing
            left join outstanding on outstanding.invoice = standing.id
            where coalesce(amount, 0) <> owed
            or amount is not null
            and (outstanding.consumer <> standing.consumer or outstanding.due_on is distinct from standing.due_on)
            order by number";
        Ok(on!(self, conn => sqlx::query_as(SQL).fetch_all(conn).await?))
    }

    /// Payments, newest first.
    pub async fn payments(&mut self, wanted: Wanted<'_>) -> Result<Vec<Payment>> {
        const SQL: &str = "
            select id, consumer, currency, amount, method, reference, received_on, recorded_at, recorded_by, stripe_fee
            from payment
            where (cast($1 as text) is null or id = $1)
            and (cast($2 as text) is null or consumer = $2)
            and (cast($3 as text) is null or id < $3)
            order by id desc limit $4";
        let (id, consumer, before, limit) = match wanted {
            Wanted::Id(id) => (Some(id), None, None, 1),
            Wanted::Page { consumer, before, limit } => (None, consumer, before, limit),
            Wanted::Invoice(_) => return Ok(Vec::new()),
        };
        let rows: Vec<PaymentRow> = on!(self, conn => sqlx::query_as(SQL)
            .bind(id).bind(consumer).bind(before).bind(limit).fetch_all(conn).await?);
        rows.into_iter().map(payment).collect()
    }

    /// What of each payment settles which invoices, by the payment's id. Those that settle nothing are left out.
    pub async fn settled_by(&mut self, payments: &[Payment]) -> Result<HashMap<String, Vec<(InvoiceId, Money)>>> {
        let mut settled: HashMap<String, Vec<(InvoiceId, Money)>> = HashMap::new();
        for chunk in payments.chunks(IDS_A_STATEMENT) {
            let currencies: HashMap<&str, Currency> =
                chunk.iter().map(|payment| (payment.id.as_str(), payment.amount.currency())).collect();
            let rows: Vec<(String, String, i64)> = on!(self, conn => {
                let mut query = QueryBuilder::new("select source, invoice, amount from settlement where source in (");
                query.push_values(chunk, |mut row, payment| {
                    row.push_bind(payment.id.as_str());
                });
                query.push(") order by source, invoice").build_query_as().fetch_all(conn).await?
            });
            for (payment, invoice, amount) in rows {
                let damaged = |what| damaged("payment", &payment, what);
                let currency = *currencies.get(&*payment).ok_or_else(|| damaged("id"))?;
                let invoice = InvoiceId::parse(&invoice).ok_or_else(|| damaged("invoice"))?;
                settled.entry(payment).or_default().push((invoice, Money::from_minor(amount, currency)));
            }
        }
        Ok(settled)
    }

    /// Credit notes, newest first, or those of an invoice as they were made.
    pub async fn credit_notes(&mut self, wanted: Wanted<'_>) -> Result<Vec<CreditNote>> {
        const SQL: &str = "
            select id, ordinal, invoice, consumer, currency, net, tax, total, settled, credited, refunded, reason,
                   effective_on, recorded_at, recorded_by
            from credit_note
            where (cast($1 as text) is null or id = $1)
            and (cast($2 as text) is null or consumer = $2)
            and (cast($3 as text) is null or id < $3)
            and (cast($4 as text) is null or invoice = $4)
            order by id desc limit $5";
        let (id, consumer, before, invoice, limit) = match wanted {
            Wanted::Id(id) => (Some(id), None, None, None, 1),
            Wanted::Page { consumer, before, limit } => (None, consumer, before, None, limit),
            Wanted::Invoice(invoice) => (None, None, None, Some(invoice), i64::MAX),
        };
        let rows: Vec<NoteRow> = on!(self, conn => sqlx::query_as(SQL)
            .bind(id).bind(consumer).bind(before).bind(invoice).bind(limit).fetch_all(conn).await?);
        let (mut lines, mut taxes) = (self.credited_lines(&rows).await?, self.credited_taxes(&rows).await?);
        let parts = |row: NoteRow| {
            let (lines, taxes) = (lines.remove(&row.0).unwrap_or_default(), taxes.remove(&row.0).unwrap_or_default());
            note(row, lines, taxes)
        };
        let mut notes = rows.into_iter().map(parts).collect::<Result<Vec<_>>>()?;
        if invoice.is_some() {
            notes.sort_by_key(|note| note.number.ordinal);
        }
        Ok(notes)
    }

    async fn credited_lines(&mut self, notes: &[NoteRow]) -> Result<HashMap<String, Vec<(i64, i64)>>> {
        let mut lines: HashMap<String, Vec<(i64, i64)>> = HashMap::new();
        for chunk in notes.chunks(IDS_A_STATEMENT) {
            let rows: Vec<(String, i64, i64)> = on!(self, conn => {
                let mut query = QueryBuilder::new("select note, line, amount from credit_note_line where note in (");
                query.push_values(chunk, |mut row, note| {
                    row.push_bind(&note.0);
                });
                query.push(") order by note, line").build_query_as().fetch_all(conn).await?
            });
            rows.into_iter().for_each(|(note, line, amount)| lines.entry(note).or_default().push((line, amount)));
        }
        Ok(lines)
    }

    async fn credited_taxes(&mut self, notes: &[NoteRow]) -> Result<HashMap<String, Vec<TaxRow>>> {
        let mut taxes: HashMap<String, Vec<TaxRow>> = HashMap::new();
        for chunk in notes.chunks(IDS_A_STATEMENT) {
            let rows: Vec<TaxRow> = on!(self, conn => {
                let mut query = QueryBuilder::new(
                    "select note, tax, jurisdiction, rate, amount from credit_note_tax where note in (",
                );
                query.push_values(chunk, |mut row, note| {
                    row.push_bind(&note.0);
                });
                query.push(") order by note, tax").build_query_as().fetch_all(conn).await?
            });
            rows.into_iter().for_each(|row| taxes.entry(row.0.clone()).or_default().push(row));
        }
        Ok(taxes)
    }

    /// The credit of everybody who has some, or of one consumer: what was paid too much or credited, and is not used.
    pub async fn customer_credit(&mut self, consumer: Option<&str>) -> Result<Vec<(String, Money)>> {
        const SQL: &str = "
            select account.id, account_balance.credit - account_balance.debit
            from account join account_balance on account_balance.account = account.id
            where account.code = $1 and (cast($2 as text) is null or account.party = $2)
            order by account.id";
        let code = Chart::CustomerCredit.code();
        let rows: Vec<(String, i64)> =
            on!(self, conn => sqlx::query_as(SQL).bind(code).bind(consumer).fetch_all(conn).await?);
        let mut credit = Vec::new();
        for (id, minor) in rows {
            let account = Account::parse(&id).map_err(|error| Error::Damaged(format!("account {id}: {error}")))?;
            if let Some(party) = account.party().filter(|_| minor > 0) {
                let amount = Money::from_minor(minor, account.currency());
                credit.push((party.to_owned(), amount));
            }
        }
        Ok(credit)
    }
}

impl Tx<Write> {
    /// Adds settlements to invoices, of each the next one: the sequence number says after how many.
    pub async fn record_settlements(&mut self, settled: &[(InvoiceId, i64, Settlement)]) -> Result<()> {
        insert_rows!(
            self,
            "insert into settlement
                     (invoice, seq, means, amount, source, reason, effective_on, recorded_at, recorded_by) ",
            settled.iter().map(Ok),
            |mut row, (invoice, seq, settlement)| {
                row.push_bind(invoice.as_str())
                    .push_bind(*seq)
                    .push_bind(settlement.means.as_str())
                    .push_bind(settlement.amount.minor())
                    .push_bind(&settlement.source)
                    .push_bind(&settlement.reason)
                    .push_bind(settlement.effective_on.to_string())
                    .push_bind(settlement.recorded_at.micros())
                    .push_bind(&settlement.recorded_by);
            }
        );
        Ok(())
    }

    pub async fn record_payment(&mut self, payment: &Payment) -> Result<()> {
        const SQL: &str = "
            insert into payment
                (id, consumer, currency, amount, method, reference, received_on, recorded_at, recorded_by, stripe_fee)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
        on!(self, conn => sqlx::query(SQL)
            .bind(payment.id.as_str())
            .bind(&payment.consumer)
            .bind(payment.amount.currency().code())
            .bind(payment.amount.minor())
            .bind(&payment.method)
            .bind(&payment.reference)
            .bind(payment.received_on.to_string())
            .bind(payment.recorded_at.micros())
            .bind(&payment.recorded_by)
            .bind(payment.stripe_fee.map(Money::minor))
            .execute(conn).await?.rows_affected());
        Ok(())
    }

    /// The number that the next credit note gets. Two that ask at once get the same: the later is [`Error::Taken`].
    pub async fn next_credit_note_number(&mut self) -> Result<Number> {
        const SQL: &str = "select coalesce(max(ordinal), 0) from credit_note";
        let (last,): (i64,) = on!(self, conn => sqlx::query_as(SQL).fetch_one(conn).await?);
        Ok(Number { prefix: credit_note::PREFIX.to_owned(), ordinal: last + 1 })
    }

    pub async fn record_credit_note(&mut self, note: &CreditNote) -> Result<()> {
        const SQL: &str = "
            insert into credit_note
                (id, ordinal, invoice, consumer, currency, net, tax, total, settled, credited, refunded, reason,
                 effective_on, recorded_at, recorded_by)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";
        let id = note.id.as_str();
        insert_rows!(
            self,
            "insert into credit_note_line (note, line, amount) ",
            note.lines.iter().map(Ok),
            |mut row, credited| {
                row.push_bind(id).push_bind(credited.line).push_bind(credited.amount.minor());
            }
        );
        insert_rows!(
            self,
            "insert into credit_note_tax (note, tax, jurisdiction, rate, amount) ",
            note.taxes.iter().map(Ok),
            |mut row, taxed| {
                row.push_bind(id)
                    .push_bind(&taxed.tax)
                    .push_bind(&taxed.jurisdiction)
                    .push_bind(Quantity(taxed.rate))
                    .push_bind(taxed.amount.minor());
            }
        );
        on!(self, conn => sqlx::query(SQL)
            .bind(id)
            .bind(note.number.ordinal)
            .bind(note.invoice.as_str())
            .bind(&note.consumer)
            .bind(note.total.currency().code())
            .bind(note.net.minor())
            .bind(note.tax.minor())
            .bind(note.total.minor())
            .bind(note.settled.minor())
            .bind(note.credited.minor())
            .bind(note.refunded.minor())
            .bind(&note.reason)
            .bind(note.effective_on.to_string())
            .bind(note.recorded_at.micros())
            .bind(&note.recorded_by)
            .execute(conn).await?.rows_affected());
        Ok(())
    }
}

fn payment(row: PaymentRow) -> Result<Payment> {
    let (id, consumer, currency, amount, method, reference, received_on, recorded_at, recorded_by, fee) = row;
    let damaged = |what| damaged("payment", &id, what);
    let currency = Currency::from_code(&currency).ok_or_else(|| damaged("currency"))?;
    Ok(Payment {
        id: PaymentId::parse(&id).ok_or_else(|| damaged("id"))?,
        consumer,
        amount: Money::from_minor(amount, currency),
        method,
        reference,
        received_on: date_of(&received_on).ok_or_else(|| damaged("date"))?,
        recorded_at: Instant::from_micros(recorded_at),
        recorded_by,
        stripe_fee: fee.map(|minor| Money::from_minor(minor, currency)),
    })
}

fn note(row: NoteRow, lines: Vec<(i64, i64)>, taxes: Vec<TaxRow>) -> Result<CreditNote> {
    let (
        id,
        ordinal,
        invoice,
        consumer,
        currency,
        net,
        tax,
        total,
        settled,
        credited,
        refunded,
        reason,
        effective_on,
        recorded_at,
        recorded_by,
    ) = row;
    let damaged = |what| damaged("credit note", &id, what);
    let currency = Currency::from_code(&currency).ok_or_else(|| damaged("currency"))?;
    let money = |minor| Money::from_minor(minor, currency);
    let taxed =
        |(_, tax, jurisdiction, rate, amount): TaxRow| Taxed { tax, jurisdiction, rate: rate.0, amount: money(amount) };
    Ok(CreditNote {
        id: CreditNoteId::parse(&id).ok_or_else(|| damaged("id"))?,
        number: Number { prefix: credit_note::PREFIX.to_owned(), ordinal },
        invoice: InvoiceId::parse(&invoice).ok_or_else(|| damaged("invoice"))?,
        consumer,
        lines: lines.into_iter().map(|(line, amount)| Credited { line, amount: money(amount) }).collect(),
        net: money(net),
        taxes: taxes.into_iter().map(taxed).collect(),
        tax: money(tax),
        total: money(total),
        settled: money(settled),
        credited: money(credited),
        refunded: money(refunded),
        reason,
        effective_on: date_of(&effective_on).ok_or_else(|| damaged("date"))?,
        recorded_at: Instant::from_micros(recorded_at),
        recorded_by,
    })
}

fn date_of(text: &str) -> Option<Date> {
    text.parse().ok()
}

fn damaged(what: &str, id: &str, part: &str) -> Error {
    Error::Damaged(format!("the {part} of {what} {id}"))
}
