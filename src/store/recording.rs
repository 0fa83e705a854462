//! Recording documents: numbers without gaps, lines before their document, and holds that pass.
//!
//! A document's parts go in before it; it is let in only when they add up (`0005_documents`). Numbers are taken in
//! the transaction that records the documents: taking one makes every other transaction that wants one wait, so take
//! them late.

use jiff::civil::Date;

use crate::domain::document::Number;
use crate::domain::document::Occasion;
use crate::domain::document::invoice::Invoice;
use crate::domain::document::payout::Hold;
use crate::domain::document::payout::Payout;
use crate::domain::ids::PayoutId;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::period::Period;
use crate::domain::rating::line::Line;
use crate::domain::time::Instant;
use crate::store::Error;
use crate::store::Quantity;
use crate::store::Result;
use crate::store::Tx;
use crate::store::Write;
use crate::store::documents::Kind;
use crate::store::documents::line_kind_text;
use crate::store::insert::insert_rows;
use crate::store::on;

/// A hold that has not passed, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub payout: PayoutId,
    pub consumer: String,
    pub plan: String,
    pub book_version: String,
    pub hold: Hold,
}

/// What goes into the table of documents.
struct Row<'a> {
    id: &'a str,
    number: &'a Number,
    consumer: &'a str,
    subscription: &'a str,
    occasion: Occasion,
    period: Period,
    net: Money,
    tax: Money,
    total: Money,
    book_version: &'a str,
    issued_at: Instant,
    due_on: Option<Date>,
}

impl<Mode> Tx<Mode> {
    /// Every hold that ends by `by` and has not passed yet, oldest first.
    pub async fn holds_ending_by(&mut self, by: Instant) -> Result<Vec<Held>> {
        const SQL: &str = "
            select document.id, document.consumer,
                   coalesce((
                       select plan from subscription_change
                       where subscription = document.subscription and at <= document.period_from
                       order by at desc limit 1), subscription.plan) as plan,
                   document.book_version, document.currency,
                   payout_hold.program, payout_hold.amount, payout_hold.held_until
            from payout_hold
            join document on document.id = payout_hold.document
            join subscription on subscription.id = document.subscription
            where payout_hold.passed_at is null and payout_hold.held_until <= $1
            order by payout_hold.held_until, payout_hold.document, payout_hold.program";
        type Row = (String, String, String, String, String, String, i64, i64);
        let rows: Vec<Row> = on!(self, conn => sqlx::query_as(SQL).bind(by.micros()).fetch_all(conn).await?);
        let held = |(id, consumer, plan, book_version, currency, program, amount, held_until): Row| {
            let damaged = |what: &str| Error::Damaged(format!("the {what} of document {id}"));
            let currency = Currency::from_code(&currency).ok_or_else(|| damaged("currency"))?;
            let amount = Money::from_minor(amount, currency);
            let hold = Hold { program, amount, held_until: Instant::from_micros(held_until), passed_at: None };
            let payout = PayoutId::parse(&id).ok_or_else(|| damaged("id"))?;
            Ok(Held { payout, consumer, plan, book_version, hold })
        };
        rows.into_iter().map(held).collect()
    }
}

impl Tx<Write> {
    /// The number that the next invoice of a series gets. Until this transaction ends, nobody else is told one.
    pub async fn next_invoice_number(&mut self, prefix: &str) -> Result<Number> {
        self.next_number(Kind::Invoice, prefix).await
    }

    /// The number that the next payout statement of a series gets.
    pub async fn next_payout_number(&mut self, prefix: &str) -> Result<Number> {
        self.next_number(Kind::Payout, prefix).await
    }

    async fn next_number(&mut self, kind: Kind, prefix: &str) -> Result<Number> {
        const BEGIN: &str = "insert into number_series (kind, prefix, last) values ($1, $2, 0) on conflict do nothing";
        // Nothing changes, but the row is locked.
        const TAKE: &str = "update number_series set last = last where kind = $1 and prefix = $2 returning last";
        let kind = kind.as_str();
        on!(self, conn => sqlx::query(BEGIN).bind(kind).bind(prefix).execute(conn).await?.rows_affected());
        let (last,): (i64,) = on!(self, conn => sqlx::query_as(TAKE).bind(kind).bind(prefix).fetch_one(conn).await?);
        Ok(Number { prefix: prefix.to_owned(), ordinal: last + 1 })
    }

    /// Records invoices that a closing made, in the order of their numbers.
    pub async fn record_invoices(&mut self, closing: i64, invoices: &[Invoice]) -> Result<()> {
        self.record_lines(invoices.iter().map(|invoice| (invoice.id.as_str(), invoice.totals.lines.as_slice())))
            .await?;
        self.record_taxes(invoices).await?;
        self.record_documents(Kind::Invoice, closing, invoices.iter().map(invoice_row)).await
    }

    /// Records payout statements that a closing made, in the order of their numbers.
    pub async fn record_payouts(&mut self, closing: i64, payouts: &[Payout]) -> Result<()> {
        self.record_lines(payouts.iter().map(|payout| (payout.id.as_str(), payout.lines.as_slice()))).await?;
        self.record_holds(payouts).await?;
        self.record_documents(Kind::Payout, closing, payouts.iter().map(payout_row)).await
    }

    async fn record_lines<'a>(&mut self, documents: impl Iterator<Item = (&'a str, &'a [Line])> + Send) -> Result<()> {
        let numbered = documents
            .flat_map(|(document, lines)| (1_i64..).zip(lines).map(move |(number, line)| (document, number, line)));
        let rows = numbered.map(|(document, number, line)| {
            let dimensions = serde_json::Value::from_iter(line.dimensions.clone()).to_string();
            let explanation = serde_json::to_string(&line.explanation)
                .map_err(|error| Error::Refused(format!("line {number} of {document}: {error}")))?;
            Ok((document, number, line, dimensions, explanation))
        });
        insert_rows!(
            self,
            "insert into document_line
                     (document, line, component, kind, description, dimensions, period_from, period_to,
                      quantity, amount, program, explanation) ",
            rows,
            |mut row, (document, number, line, dimensions, explanation)| {
                row.push_bind(document)
                    .push_bind(number)
                    .push_bind(&line.component)
                    .push_bind(line_kind_text(line.kind))
                    .push_bind(&line.description)
                    .push_bind(dimensions)
                    .push_bind(line.from.micros())
                    .push_bind(line.to.micros())
                    .push_bind(Quantity(line.quantity))
                    .push_bind(line.amount.minor())
                    .push_bind(&line.program)
                    .push_bind(explanation);
            }
        );
        Ok(())
    }

    async fn record_taxes<'a>(&mut self, invoices: &'a [Invoice]) -> Result<()> {
        let taxes = |invoice: &'a Invoice| invoice.totals.taxes.iter().map(|taxed| Ok((invoice.id.as_str(), taxed)));
        let rows = invoices.iter().flat_map(taxes);
        insert_rows!(self, "insert into document_tax (document, tax, jurisdiction, rate, amount) ", rows, |mut row,
                                                                                                           (
            document,
            taxed,
        )| {
            row.push_bind(document)
                .push_bind(&taxed.tax)
                .push_bind(&taxed.jurisdiction)
                .push_bind(Quantity(taxed.rate))
                .push_bind(taxed.amount.minor());
        });
        Ok(())
    }

    async fn record_holds(&mut self, payouts: &[Payout]) -> Result<()> {
        let rows = payouts.iter().flat_map(|payout| payout.holds.iter().map(|hold| Ok((payout.id.as_str(), hold))));
        insert_rows!(
            self,
            "insert into payout_hold (document, program, amount, held_until, passed_at) ",
            rows,
            |mut row, (document, hold)| {
                row.push_bind(document)
                    .push_bind(&hold.program)
                    .push_bind(hold.amount.minor())
                    .push_bind(hold.held_until.micros())
                    .push_bind(hold.passed_at.map(Instant::micros));
            }
        );
        Ok(())
    }

    async fn record_documents<'a>(
        &mut self,
        kind: Kind,
        closing: i64,
        rows: impl Iterator<Item = Row<'a>> + Send,
    ) -> Result<()> {
        insert_rows!(
            self,
            "insert into document
                     (id, kind, prefix, ordinal, number, consumer, subscription, occasion, period_from, period_to,
                      currency, net, tax, total, closing, book_version, issued_at, due_on) ",
            rows.map(Ok),
            |mut values, row| {
                values
                    .push_bind(row.id)
                    .push_bind(kind.as_str())
                    .push_bind(&row.number.prefix)
                    .push_bind(row.number.ordinal)
                    .push_bind(row.number.to_string())
                    .push_bind(row.consumer)
                    .push_bind(row.subscription)
                    .push_bind(row.occasion.as_str())
                    .push_bind(row.period.from().micros())
                    .push_bind(row.period.to().micros())
                    .push_bind(row.total.currency().code())
                    .push_bind(row.net.minor())
                    .push_bind(row.tax.minor())
                    .push_bind(row.total.minor())
                    .push_bind(closing)
                    .push_bind(row.book_version)
                    .push_bind(row.issued_at.micros())
                    .push_bind(row.due_on.map(|date| date.to_string()));
            }
        );
        Ok(())
    }

    /// Lets a hold pass. False if it has passed already.
    pub async fn pass_hold(&mut self, payout: &PayoutId, program: &str, at: Instant) -> Result<bool> {
        const SQL: &str = "
            update payout_hold set passed_at = $3 where document = $1 and program = $2 and passed_at is null";
        let passed = on!(self, conn => sqlx::query(SQL)
            .bind(payout.as_str()).bind(program).bind(at.micros()).execute(conn).await?.rows_affected());
        Ok(passed == 1)
    }
}

fn invoice_row(invoice: &Invoice) -> Row<'_> {
    Row {
        id: invoice.id.as_str(),
        number: &invoice.number,
        consumer: &invoice.consumer,
        subscription: invoice.subscription.as_str(),
        occasion: invoice.occasion,
        period: invoice.period,
        net: invoice.totals.net,
        tax: invoice.totals.tax,
        total: invoice.totals.total,
        book_version: &invoice.book_version,
        issued_at: invoice.issued_at,
        due_on: invoice.due_on,
    }
}

fn payout_row(payout: &Payout) -> Row<'_> {
    Row {
        id: payout.id.as_str(),
        number: &payout.number,
        consumer: &payout.consumer,
        subscription: payout.subscription.as_str(),
        occasion: Occasion::Closing,
        period: payout.period,
        net: payout.total,
        tax: Money::zero(payout.total.currency()),
        total: payout.total,
        book_version: &payout.book_version,
        issued_at: payout.issued_at,
        due_on: None,
    }
}
