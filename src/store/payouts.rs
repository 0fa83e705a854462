//! Payouts: money that leaves, what it was made of, each attempt to send it, and the files that banks were given.

use std::collections::BTreeMap;
use std::collections::HashMap;

use sqlx::QueryBuilder;

use crate::domain::ids::PayId;
use crate::domain::ids::PayoutId;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::payee::Method;
use crate::domain::payout::Attempt;
use crate::domain::payout::AttemptState;
use crate::domain::payout::Part;
use crate::domain::payout::Payout;
use crate::domain::payout::Signed;
use crate::domain::payout::State;
use crate::domain::time::Instant;
use crate::store::Error;
use crate::store::Result;
use crate::store::Tx;
use crate::store::Write;
use crate::store::insert::insert_rows;
use crate::store::on;

/// Both engines take this many values in one statement.
const IDS_A_STATEMENT: usize = 10_000;

/// Which payouts, in the order in which they were proposed.
#[derive(Clone, Copy, Debug)]
pub enum Sought<'a> {
    Id(&'a PayId),
    /// Those that ever took something of a payout statement.
    OfStatement(&'a PayoutId),
    /// A page, from the first one after this id.
    Page {
        after: Option<&'a str>,
        limit: i64,
    },
    /// A page, newest first, of one consumer or of all, in one state or in any, from the first one before this id.
    Newest {
        consumer: Option<&'a str>,
        state: Option<State>,
        before: Option<&'a str>,
        limit: i64,
    },
    /// Approved, by SEPA, and in no bank file.
    ForBank,
}

/// Parts of payout statements that are available to a consumer and in no payout, and what they come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Available {
    pub consumer: String,
    pub total: Money,
    pub parts: Vec<Part>,
}

/// A message to the bank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BankFile {
    pub id: String,
    pub made_at: Instant,
    pub body: String,
}

type Row = (
    String,
    String,
    String,
    i64,
    String,
    String,
    String,
    i64,
    String,
    Option<i64>,
    Option<String>,
    Option<i64>,
    Option<String>,
);
type AttemptRow = (
    String,
    i64,
    String,
    String,
    Option<String>,
    Option<String>,
    i64,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<String>,
    Option<String>,
);

impl<Mode> Tx<Mode> {
    pub async fn payouts_of_money(&mut self, sought: Sought<'_>) -> Result<Vec<Payout>> {
        const WITH_ID: &str = "
            select id, consumer, currency, amount, method, book_version, state, created_at, created_by,
                   approved_at, approved_by, ended_at, ended_by
            from payout where id = $1";
        const OF_STATEMENT: &str = "
            select id, consumer, currency, amount, method, book_version, state, created_at, created_by,
                   approved_at, approved_by, ended_at, ended_by
            from payout where id in (select payout from payout_part where document = $1) order by id";
        const PAGE: &str = "
            select id, consumer, currency, amount, method, book_version, state, created_at, created_by,
                   approved_at, approved_by, ended_at, ended_by
            from payout where cast($1 as text) is null or id > $1 order by id limit $2";
        const NEWEST: &str = "
            select id, consumer, currency, amount, method, book_version, state, created_at, created_by,
                   approved_at, approved_by, ended_at, ended_by
            from payout
            where (cast($1 as text) is null or consumer = $1)
            and (cast($2 as text) is null or state = $2)
            and (cast($3 as text) is null or id < $3)
            order by id desc limit $4";
        const FOR_BANK: &str = "
            select id, consumer, currency, amount, method, book_version, state, created_at, created_by,
                   approved_at, approved_by, ended_at, ended_by
            from payout
            where id in (select payout from payout_attempt where state = 'ready' and file is null)
            order by id";
        let rows: Vec<Row> = match sought {
            Sought::Id(id) => on!(self, conn => sqlx::query_as(WITH_ID).bind(id.as_str()).fetch_all(conn).await?),
            Sought::OfStatement(id) => {
                on!(self, conn => sqlx::query_as(OF_STATEMENT).bind(id.as_str()).fetch_all(conn).await?)
            }
            Sought::Page { after, limit } => {
                on!(self, conn => sqlx::query_as(PAGE).bind(after).bind(limit).fetch_all(conn).await?)
            }
            Sought::Newest { consumer, state, before, limit } => on!(self, conn => sqlx::query_as(NEWEST)
                .bind(consumer).bind(state.map(State::as_str)).bind(before).bind(limit).fetch_all(conn).await?),
            Sought::ForBank => on!(self, conn => sqlx::query_as(FOR_BANK).fetch_all(conn).await?),
        };
        let mut payouts = rows.into_iter().map(payout).collect::<Result<Vec<_>>>()?;
        let mut parts = self.parts_of(&payouts).await?;
        let mut attempts = self.attempts_of(&payouts).await?;
        for payout in &mut payouts {
            payout.parts = parts.remove(payout.id.as_str()).unwrap_or_default();
            payout.attempts = attempts.remove(payout.id.as_str()).unwrap_or_default();
        }
        if matches!(sought, Sought::ForBank) {
            payouts.retain(|payout| matches!(payout.destination, Method::Sepa(_)));
        }
        Ok(payouts)
    }

    async fn parts_of(&mut self, payouts: &[Payout]) -> Result<HashMap<String, Vec<Part>>> {
        let currencies: HashMap<&str, Currency> =
            payouts.iter().map(|payout| (payout.id.as_str(), payout.amount.currency())).collect();
        let mut parts: HashMap<String, Vec<Part>> = HashMap::with_capacity(payouts.len());
        for chunk in payouts.chunks(IDS_A_STATEMENT) {
            let rows: Vec<(String, String, String, i64)> = on!(self, conn => {
                let mut query =
                    QueryBuilder::new("select payout, document, program, amount from payout_part where payout in (");
                query.push_values(chunk, |mut row, payout| {
                    row.push_bind(payout.id.as_str());
                });
                query.push(") order by payout, document, program").build_query_as().fetch_all(conn).await?
            });
            for (payout, document, program, amount) in rows {
                let statement = PayoutId::parse(&document).ok_or_else(|| damaged(&payout, "parts"))?;
                let currency = *currencies.get(&*payout).ok_or_else(|| damaged(&payout, "parts"))?;
                let part = Part { statement, program, amount: Money::from_minor(amount, currency) };
                parts.entry(payout).or_default().push(part);
            }
        }
        Ok(parts)
    }

    async fn attempts_of(&mut self, payouts: &[Payout]) -> Result<HashMap<String, Vec<Attempt>>> {
        let mut attempts: HashMap<String, Vec<Attempt>> = HashMap::with_capacity(payouts.len());
        for chunk in payouts.chunks(IDS_A_STATEMENT) {
            let rows: Vec<AttemptRow> = on!(self, conn => {
                let mut query = QueryBuilder::new(
                    "select payout, n, method, state, reference, reason, at, sent_at, ended_at,
                            returned_at, return_reason, file
                     from payout_attempt where payout in (",
                );
                query.push_values(chunk, |mut row, payout| {
                    row.push_bind(payout.id.as_str());
                });
                query.push(") order by payout, n").build_query_as().fetch_all(conn).await?
            });
            for row in rows {
                let (
                    payout,
                    n,
                    method,
                    state,
                    reference,
                    reason,
                    at,
                    sent_at,
                    ended_at,
                    returned_at,
                    return_reason,
                    file,
                ) = row;
                let attempt = Attempt {
                    n,
                    method: method_of(&payout, &method)?,
                    state: AttemptState::parse(&state).ok_or_else(|| damaged(&payout, "state of an attempt"))?,
                    reference,
                    reason,
                    at: Instant::from_micros(at),
                    sent_at: sent_at.map(Instant::from_micros),
                    ended_at: ended_at.map(Instant::from_micros),
                    returned_at: returned_at.map(Instant::from_micros),
                    return_reason,
                    file,
                };
                attempts.entry(payout).or_default().push(attempt);
            }
        }
        Ok(attempts)
    }

    /// What is available, has paid for no invoice and is in no payout: of one consumer, or of all; by consumer and currency.
    pub async fn available(&mut self, consumer: Option<&str>) -> Result<Vec<Available>> {
        const SQL: &str = "
            select document.consumer, document.currency, payout_hold.document, payout_hold.program,
                   payout_hold.amount - coalesce(used.amount, 0)
            from payout_hold join document on document.id = payout_hold.document
            left join (
                select document, program, cast(sum(amount) as bigint) as amount from netting group by document, program
            ) as used on used.document = payout_hold.document and used.program = payout_hold.program
            where payout_hold.passed_at is not null and payout_hold.amount <> coalesce(used.amount, 0)
            and (cast($1 as text) is null or document.consumer = $1)
            and not exists (
                select 1 from payout_part
                where payout_part.document = payout_hold.document and payout_part.program = payout_hold.program
                and payout_part.released_at is null)
            order by document.consumer, document.currency, payout_hold.document, payout_hold.program";
        type Row = (String, String, String, String, i64);
        let rows: Vec<Row> = on!(self, conn => sqlx::query_as(SQL).bind(consumer).fetch_all(conn).await?);
        let mut found: Vec<Available> = Vec::new();
        for (consumer, code, document, program, amount) in rows {
            let damaged = |what: &str| Error::Damaged(format!("the {what} of document {document}"));
            let currency = Currency::from_code(&code).ok_or_else(|| damaged("currency"))?;
            let statement = PayoutId::parse(&document).ok_or_else(|| damaged("id"))?;
            let amount = Money::from_minor(amount, currency);
            let part = Part { statement, program, amount };
            match found.last_mut().filter(|last| last.consumer == consumer && last.total.currency() == currency) {
                Some(last) => {
                    last.total = last.total.checked_add(amount).map_err(|_| damaged("amount"))?;
                    last.parts.push(part);
                }
                None => found.push(Available { consumer, total: amount, parts: vec![part] }),
            }
        }
        Ok(found)
    }

    /// When the last payout was proposed that was not cancelled and did not fail, by consumer and currency.
    pub async fn last_payouts(&mut self, consumer: Option<&str>) -> Result<BTreeMap<(String, String), Instant>> {
        const SQL: &str = "
            select consumer, currency, max(created_at) from payout
            where state not in ('failed', 'cancelled') and (cast($1 as text) is null or consumer = $1)
            group by consumer, currency";
        let rows: Vec<(String, String, i64)> =
            on!(self, conn => sqlx::query_as(SQL).bind(consumer).fetch_all(conn).await?);
        Ok(rows.into_iter().map(|(consumer, code, at)| ((consumer, code), Instant::from_micros(at))).collect())
    }

    /// A file that a bank was given; without an id, the last one.
    pub async fn bank_file(&mut self, id: Option<&str>) -> Result<Option<BankFile>> {
        const SQL: &str = "
            select id, made_at, body from payout_file
            where cast($1 as text) is null or id = $1 order by made_at desc, id desc limit 1";
        let row: Option<(String, i64, String)> =
            on!(self, conn => sqlx::query_as(SQL).bind(id).fetch_optional(conn).await?);
        Ok(row.map(|(id, made_at, body)| BankFile { id, made_at: Instant::from_micros(made_at), body }))
    }
}

impl Tx<Write> {
    /// Records payouts that are proposed, with their parts. `Taken` if another payout took one of them.
    pub async fn propose_payouts(&mut self, payouts: &[Payout]) -> Result<()> {
        let parts = payouts.iter().flat_map(|payout| payout.parts.iter().map(move |part| Ok((&payout.id, part))));
        insert_rows!(
            self,
            "insert into payout_part (payout, document, program, amount) ",
            parts,
            |mut row, (id, part)| {
                row.push_bind(id.as_str())
                    .push_bind(part.statement.as_str())
                    .push_bind(&part.program)
                    .push_bind(part.amount.minor());
            }
        );
        let rows = payouts.iter().map(|payout| Ok((payout, method_json(&payout.id, &payout.destination)?)));
        insert_rows!(
            self,
            "insert into payout
                     (id, consumer, currency, amount, method, book_version, state, created_at, created_by) ",
            rows,
            |mut row, (payout, method)| {
                row.push_bind(payout.id.as_str())
                    .push_bind(&payout.consumer)
                    .push_bind(payout.amount.currency().code())
                    .push_bind(payout.amount.minor())
                    .push_bind(method)
                    .push_bind(&payout.book_version)
                    .push_bind(payout.state.as_str())
                    .push_bind(payout.proposed.at.micros())
                    .push_bind(&payout.proposed.by);
            }
        );
        Ok(())
    }

    /// Moves a payout and its attempts from what was read to what follows. False if somebody else moved it meanwhile.
    pub async fn move_payout(&mut self, read: &Payout, after: &Payout) -> Result<bool> {
        const MOVE: &str = "
            update payout set state = $3, approved_at = $4, approved_by = $5, ended_at = $6, ended_by = $7
            where id = $1 and state = $2";
        const STEP: &str = "
            update payout_attempt set state = $3, reference = $4, reason = $5, sent_at = $6, ended_at = $7,
                                      returned_at = $8, return_reason = $9
            where payout = $1 and n = $2";
        const BEGIN: &str = "
            insert into payout_attempt (payout, n, method, state, at) values ($1, $2, $3, $4, $5)";
        let id = after.id.as_str();
        let signed = |signed: &Option<Signed>| {
            (signed.as_ref().map(|signed| signed.at.micros()), signed.as_ref().map(|signed| signed.by.clone()))
        };
        let ((approved_at, approved_by), (ended_at, ended_by)) = (signed(&after.approved), signed(&after.ended));
        let moved = on!(self, conn => sqlx::query(MOVE)
            .bind(id)
            .bind(read.state.as_str())
            .bind(after.state.as_str())
            .bind(approved_at)
            .bind(approved_by)
            .bind(ended_at)
            .bind(ended_by)
            .execute(conn)
            .await?
            .rows_affected());
        if moved != 1 {
            return Ok(false);
        }
        for (number, attempt) in after.attempts.iter().enumerate() {
            match read.attempts.get(number) {
                Some(before) if before == attempt => {}
                Some(_) => {
                    on!(self, conn => sqlx::query(STEP)
                        .bind(id)
                        .bind(attempt.n)
                        .bind(attempt.state.as_str())
                        .bind(&attempt.reference)
                        .bind(&attempt.reason)
                        .bind(attempt.sent_at.map(Instant::micros))
                        .bind(attempt.ended_at.map(Instant::micros))
                        .bind(attempt.returned_at.map(Instant::micros))
                        .bind(&attempt.return_reason)
                        .execute(conn)
                        .await?
                        .rows_affected());
                }
                None => {
                    let method = method_json(&after.id, &attempt.method)?;
                    on!(self, conn => sqlx::query(BEGIN)
                        .bind(id)
                        .bind(attempt.n)
                        .bind(method)
                        .bind(attempt.state.as_str())
                        .bind(attempt.at.micros())
                        .execute(conn)
                        .await?
                        .rows_affected());
                }
            }
        }
        Ok(true)
    }

    /// Keeps a bank file, and notes it with the attempts that stand in it: the last of each of these payouts. False if one of
    /// them has moved on, or stands in another file.
    pub async fn give_to_bank(&mut self, file: &BankFile, payouts: &[Payout]) -> Result<bool> {
        const FILE: &str = "insert into payout_file (id, made_at, body) values ($1, $2, $3)";
        const NOTE: &str = "
            update payout_attempt set file = $2 where payout = $1 and state = 'ready' and file is null";
        on!(self, conn => sqlx::query(FILE)
            .bind(&file.id).bind(file.made_at.micros()).bind(&file.body).execute(conn).await?.rows_affected());
        for payout in payouts {
            let noted = on!(self, conn => sqlx::query(NOTE)
                .bind(payout.id.as_str()).bind(&file.id).execute(conn).await?.rows_affected());
            if noted != 1 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn damaged(payout: &str, what: &str) -> Error {
    Error::Damaged(format!("the {what} of payout {payout}"))
}

fn method_of(payout: &str, json: &str) -> Result<Method> {
    serde_json::from_str(json).map_err(|_| damaged(payout, "destination"))
}

fn method_json(payout: &PayId, method: &Method) -> Result<String> {
    serde_json::to_string(method)
        .map_err(|error| Error::Refused(format!("the destination of payout {payout}: {error}")))
}

fn payout(row: Row) -> Result<Payout> {
    let (
        id,
        consumer,
        currency,
        amount,
        method,
        book_version,
        state,
        created_at,
        created_by,
        approved_at,
        approved_by,
        ended_at,
        ended_by,
    ) = row;
    let currency = Currency::from_code(&currency).ok_or_else(|| damaged(&id, "currency"))?;
    let signed = |at: Option<i64>, by| at.zip(by).map(|(at, by)| Signed { at: Instant::from_micros(at), by });
    Ok(Payout {
        consumer,
        amount: Money::from_minor(amount, currency),
        state: State::parse(&state).ok_or_else(|| damaged(&id, "state"))?,
        destination: method_of(&id, &method)?,
        parts: Vec::new(),
        attempts: Vec::new(),
        proposed: Signed { at: Instant::from_micros(created_at), by: created_by },
        approved: signed(approved_at, approved_by),
        ended: signed(ended_at, ended_by),
        book_version,
        id: PayId::parse(&id).ok_or_else(|| damaged(&id, "id"))?,
    })
}
