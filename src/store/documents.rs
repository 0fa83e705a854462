//! Reading documents: invoices and payout statements, with their lines. They are written by [`crate::store::recording`].

use std::collections::HashMap;

use jiff::civil::Date;
use sqlx::QueryBuilder;

use crate::domain::document::Number;
use crate::domain::document::Occasion;
use crate::domain::document::invoice::Invoice;
use crate::domain::document::invoice::Taxed;
use crate::domain::document::invoice::Totals;
use crate::domain::document::payout::Hold;
use crate::domain::document::payout::Payout;
use crate::domain::document::payout::PayoutState;
use crate::domain::document::settlement::InvoiceState;
use crate::domain::document::settlement::outstanding;
use crate::domain::ids::InvoiceId;
use crate::domain::ids::PayoutId;
use crate::domain::ids::SubscriptionId;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::period::Period;
use crate::domain::rating::line::Line;
use crate::domain::rating::line::LineKind;
use crate::domain::time::Instant;
use crate::store::Error;
use crate::store::Quantity;
use crate::store::Result;
use crate::store::Tx;
use crate::store::closings::Closing;
use crate::store::on;

/// Both engines take this many values in one statement.
const IDS_A_STATEMENT: usize = 10_000;

/// Which documents.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// The one with this id.
    Id(&'a str),
    /// A page, newest period first, of one consumer or of all, from the first one before this id.
    Page { consumer: Option<&'a str>, before: Option<&'a str>, limit: i64 },
    /// Those that a closing made.
    Closing(i64),
    /// A consumer's that are dated in a period: by the end of what they close, or by when an opening was due.
    Dated { consumer: &'a str, period: Period },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Kind {
    Invoice,
    Payout,
}

/// A document without its parts.
struct Head {
    id: String,
    number: Number,
    consumer: String,
    subscription: SubscriptionId,
    occasion: Occasion,
    period: Period,
    currency: Currency,
    net: Money,
    tax: Money,
    total: Money,
    book_version: String,
    issued_at: Instant,
    due_on: Option<Date>,
}

type HeadRow =
    (String, String, i64, String, String, String, i64, i64, String, i64, i64, i64, String, i64, Option<String>);
pub(in crate::store) type LineRow =
    (String, String, String, String, String, i64, i64, Quantity, i64, Option<String>, String);

impl<Mode> Tx<Mode> {
    pub async fn invoices(&mut self, wanted: Wanted<'_>) -> Result<Vec<Invoice>> {
        let heads = self.heads(Kind::Invoice, wanted).await?;
        let mut lines = self.lines(&heads).await?;
        let mut taxes = self.taxes(&heads).await?;
        let settled = heads.iter().map(|head| (head.id.as_str(), head.currency));
        let mut settlements = self.settlements(&settled.collect::<Vec<_>>()).await?;
        let invoice = |head: Head| {
            let lines = lines.remove(&head.id).unwrap_or_default();
            let taxes = taxes.remove(&head.id).unwrap_or_default();
            let settlements = settlements.remove(&head.id).unwrap_or_default();
            let too_large = |_| damaged(&head.id, "settlements");
            Ok(Invoice {
                state: InvoiceState::of(head.total, &settlements).map_err(too_large)?,
                outstanding: outstanding(head.total, &settlements).map_err(too_large)?,
                settlements,
                due_on: head.due_on,
                id: InvoiceId::parse(&head.id).ok_or_else(|| damaged(&head.id, "id"))?,
                number: head.number,
                consumer: head.consumer,
                subscription: head.subscription,
                occasion: head.occasion,
                period: head.period,
                totals: Totals { lines, net: head.net, taxes, tax: head.tax, total: head.total },
                book_version: head.book_version,
                issued_at: head.issued_at,
            })
        };
        heads.into_iter().map(invoice).collect()
    }

    pub async fn payouts(&mut self, wanted: Wanted<'_>) -> Result<Vec<Payout>> {
        let heads = self.heads(Kind::Payout, wanted).await?;
        let mut lines = self.lines(&heads).await?;
        let mut holds = self.holds(&heads).await?;
        let payout = |head: Head| {
            let holds = holds.remove(&head.id).unwrap_or_default();
            Ok(Payout {
                id: PayoutId::parse(&head.id).ok_or_else(|| damaged(&head.id, "id"))?,
                number: head.number,
                consumer: head.consumer,
                subscription: head.subscription,
                period: head.period,
                state: PayoutState::of(&holds),
                lines: lines.remove(&head.id).unwrap_or_default(),
                holds,
                total: head.total,
                book_version: head.book_version,
                issued_at: head.issued_at,
            })
        };
        heads.into_iter().map(payout).collect()
    }

    /// How many lines all documents have.
    pub async fn count_lines(&mut self) -> Result<i64> {
        const SQL: &str = "select cast(count(*) as bigint) from document_line";
        let (count,): (i64,) = on!(self, conn => sqlx::query_as(SQL).fetch_one(conn).await?);
        Ok(count)
    }

    /// The closing that made a document.
    pub async fn closing_of(&mut self, document: &str) -> Result<Option<Closing>> {
        const SQL: &str = "
            select closing.seq, closing.due_at, closing.usage_seq, closing.replayed, closing.closed_at
            from document join closing on closing.seq = document.closing where document.id = $1";
        let row: Option<(i64, i64, i64, i64, i64)> =
            on!(self, conn => sqlx::query_as(SQL).bind(document).fetch_optional(conn).await?);
        Ok(row.map(|(seq, due_at, usage_seq, replayed, closed_at)| Closing {
            seq,
            due_at: Instant::from_micros(due_at),
            usage_seq,
            replayed,
            closed_at: Instant::from_micros(closed_at),
        }))
    }

    async fn heads(&mut self, kind: Kind, wanted: Wanted<'_>) -> Result<Vec<Head>> {
        const WITH_ID: &str = "
            select id, prefix, ordinal, consumer, subscription, occasion, period_from, period_to,
                   currency, net, tax, total, book_version, issued_at, due_on
            from document where kind = $1 and id = $2";
        const PAGE: &str = "
            select id, prefix, ordinal, consumer, subscription, occasion, period_from, period_to,
                   currency, net, tax, total, book_version, issued_at, due_on
            from document
            where kind = $1
            and (cast($2 as text) is null or consumer = $2)
            and (cast($3 as text) is null or id < $3)
            order by id desc limit $4";
        const OF_CLOSING: &str = "
            select id, prefix, ordinal, consumer, subscription, occasion, period_from, period_to,
                   currency, net, tax, total, book_version, issued_at, due_on
            from document where kind = $1 and closing = $2 order by ordinal";
        const DATED: &str = "
            select id, prefix, ordinal, consumer, subscription, occasion, period_from, period_to,
                   currency, net, tax, total, book_version, issued_at, due_on
            from document
            where kind = $1 and consumer = $2
            and (occasion = 'closing' and period_to > $3 and period_to <= $4
                 or occasion = 'opening' and closing in (
                     select seq from closing where due_at >= $3 and due_at < $4))
            order by issued_at, ordinal";
        let kind = kind.as_str();
        let rows: Vec<HeadRow> = match wanted {
            Wanted::Id(id) => {
                on!(self, conn => sqlx::query_as(WITH_ID).bind(kind).bind(id).fetch_all(conn).await?)
            }
            Wanted::Page { consumer, before, limit } => on!(self, conn => sqlx::query_as(PAGE)
                .bind(kind).bind(consumer).bind(before).bind(limit).fetch_all(conn).await?),
            Wanted::Closing(seq) => {
                on!(self, conn => sqlx::query_as(OF_CLOSING).bind(kind).bind(seq).fetch_all(conn).await?)
            }
            Wanted::Dated { consumer, period } => on!(self, conn => sqlx::query_as(DATED)
                .bind(kind).bind(consumer).bind(period.from().micros()).bind(period.to().micros())
                .fetch_all(conn).await?),
        };
        rows.into_iter().map(head).collect()
    }

    async fn lines(&mut self, heads: &[Head]) -> Result<HashMap<String, Vec<Line>>> {
        let mut lines: HashMap<String, Vec<Line>> = HashMap::with_capacity(heads.len());
        let currencies = currencies(heads);
        for chunk in heads.chunks(IDS_A_STATEMENT) {
            let rows: Vec<LineRow> = on!(self, conn => {
                let mut query = QueryBuilder::new(
                    "select document, component, kind, description, dimensions, period_from, period_to,
                            quantity, amount, program, explanation
                     from document_line where document in (",
                );
                query.push_values(chunk, |mut row, head| {
                    row.push_bind(&head.id);
                });
                query.push(") order by document, line").build_query_as().fetch_all(conn).await?
            });
            for row in rows {
                let document = row.0.clone();
                let currency = *currencies.get(&*document).ok_or_else(|| damaged(&document, "id"))?;
                let line = line(row, currency)?;
                lines.entry(document).or_default().push(line);
            }
        }
        Ok(lines)
    }

    async fn taxes(&mut self, heads: &[Head]) -> Result<HashMap<String, Vec<Taxed>>> {
        let mut taxes: HashMap<String, Vec<Taxed>> = HashMap::new();
        let currencies = currencies(heads);
        for chunk in heads.chunks(IDS_A_STATEMENT) {
            let rows: Vec<(String, String, String, Quantity, i64)> = on!(self, conn => {
                let mut query = QueryBuilder::new(
                    "select document, tax, jurisdiction, rate, amount from document_tax where document in (",
                );
                query.push_values(chunk, |mut row, head| {
                    row.push_bind(&head.id);
                });
                query.push(") order by document, tax").build_query_as().fetch_all(conn).await?
            });
            for (document, tax, jurisdiction, rate, amount) in rows {
                let currency = *currencies.get(&*document).ok_or_else(|| damaged(&document, "id"))?;
                let amount = Money::from_minor(amount, currency);
                taxes.entry(document).or_default().push(Taxed { tax, jurisdiction, rate: rate.0, amount });
            }
        }
        Ok(taxes)
    }

    async fn holds(&mut self, heads: &[Head]) -> Result<HashMap<String, Vec<Hold>>> {
        let mut holds: HashMap<String, Vec<Hold>> = HashMap::with_capacity(heads.len());
        let currencies = currencies(heads);
        for chunk in heads.chunks(IDS_A_STATEMENT) {
            let rows: Vec<(String, String, i64, i64, Option<i64>)> = on!(self, conn => {
                let mut query = QueryBuilder::new(
                    "select document, program, amount, held_until, passed_at from payout_hold where document in (",
                );
                query.push_values(chunk, |mut row, head| {
                    row.push_bind(&head.id);
                });
                query.push(") order by document, program").build_query_as().fetch_all(conn).await?
            });
            for (document, program, amount, held_until, passed_at) in rows {
                let currency = *currencies.get(&*document).ok_or_else(|| damaged(&document, "id"))?;
                holds.entry(document).or_default().push(Hold {
                    program,
                    amount: Money::from_minor(amount, currency),
                    held_until: Instant::from_micros(held_until),
                    passed_at: passed_at.map(Instant::from_micros),
                });
            }
        }
        Ok(holds)
    }
}

impl Kind {
    pub(in crate::store) const fn as_str(self) -> &'static str {
        match self {
            Self::Invoice => "invoice",
            Self::Payout => "payout",
        }
    }
}

fn damaged(document: &str, what: &str) -> Error {
    Error::Damaged(format!("the {what} of document {document}"))
}

fn currencies(heads: &[Head]) -> HashMap<&str, Currency> {
    heads.iter().map(|head| (head.id.as_str(), head.currency)).collect()
}

fn head(row: HeadRow) -> Result<Head> {
    let (
        id,
        prefix,
        ordinal,
        consumer,
        subscription,
        occasion,
        from,
        to,
        currency,
        net,
        tax,
        total,
        book_version,
        issued_at,
        due_on,
    ) = row;
    let currency = Currency::from_code(&currency).ok_or_else(|| damaged(&id, "currency"))?;
    let money = |minor| Money::from_minor(minor, currency);
    let period = Period::new(Instant::from_micros(from), Instant::from_micros(to));
    Ok(Head {
        number: Number { prefix, ordinal },
        consumer,
        subscription: SubscriptionId::parse(&subscription).ok_or_else(|| damaged(&id, "subscription"))?,
        occasion: Occasion::parse(&occasion).ok_or_else(|| damaged(&id, "occasion"))?,
        period: period.map_err(|_| damaged(&id, "period"))?,
        currency,
        net: money(net),
        tax: money(tax),
        total: money(total),
        book_version,
        issued_at: Instant::from_micros(issued_at),
        due_on: due_on.map(|text| text.parse()).transpose().map_err(|_| damaged(&id, "due date"))?,
        id,
    })
}

pub(in crate::store) fn line(row: LineRow, currency: Currency) -> Result<Line> {
    let (document, component, kind, description, dimensions, from, to, quantity, amount, program, explanation) = row;
    Ok(Line {
        component,
        kind: line_kind(&kind).ok_or_else(|| damaged(&document, "kind of a line"))?,
        description,
        dimensions: serde_json::from_str(&dimensions).map_err(|_| damaged(&document, "dimensions of a line"))?,
        from: Instant::from_micros(from),
        to: Instant::from_micros(to),
        quantity: quantity.0,
        amount: Money::from_minor(amount, currency),
        program,
        explanation: serde_json::from_str(&explanation).map_err(|_| damaged(&document, "explanation of a line"))?,
    })
}

pub(in crate::store) const fn line_kind_text(kind: LineKind) -> &'static str {
    match kind {
        LineKind::Fee => "fee",
        LineKind::Charge => "charge",
        LineKind::Minimum => "minimum",
        LineKind::Reward => "reward",
    }
}

fn line_kind(text: &str) -> Option<LineKind> {
    use LineKind::Charge;
    use LineKind::Fee;
    use LineKind::Minimum;
    use LineKind::Reward;
    [Fee, Charge, Minimum, Reward].into_iter().find(|kind| line_kind_text(*kind) == text)
}
