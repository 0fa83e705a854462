//! What Stripe is asked and answers, the events that it tells of as they came, and payouts from connected accounts to banks.
//!
//! A call is written down before Stripe is asked, under the idempotency key that it is asked with, and is answered once.

use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::time::Instant;
use crate::store::Error;
use crate::store::Result;
use crate::store::Tx;
use crate::store::Write;
use crate::store::on;

/// What Stripe is asked to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To a connected account.
    Transfer,
    /// Of a transfer.
    Reversal,
    /// A customer, of whom it collects.
    Customer,
    /// The draft of an invoice.
    Invoice,
    /// What is outstanding, on the draft.
    Item,
    /// The draft, made final.
    Finalize,
}

/// Something that Stripe is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The idempotency key.
    pub id: String,
    pub kind: Kind,
    /// The id of what it is for.
    pub subject: String,
    pub amount: Option<Money>,
    /// Stripe's id of what it is done to.
    pub target: Option<String>,
    pub asked_at: Instant,
    /// How often there was no answer, and why the last time.
    pub tries: i64,
    pub last_error: Option<String>,
    pub answer: Answer,
}

/// What Stripe said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing that is known.
    None,
    /// The id of what it made.
    Done(String),
    Refused(String),
}

/// Which calls, in the order in which they were asked.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    Id(&'a str),
    /// Everything for one payout, invoice or consumer.
    For(&'a str),
    Unanswered,
    /// The drafts of invoices that are not final, of which nothing was refused.
    NotFinal,
    All,
}

/// Something that Stripe told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub id: String,
    pub kind: String,
    /// The connected account that it is of.
    pub account: Option<String>,
    pub created_at: Instant,
    pub received_at: Instant,
    pub body: String,
    /// When it was understood, and what came of it.
    pub understood: Option<(Instant, String)>,
}

/// A payout from a connected account to a bank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BankPayout {
    pub id: String,
    pub account: String,
    pub amount: Money,
    /// Stripe's word.
    pub state: String,
    pub reason: Option<String>,
    pub at: Instant,
}

type CallRow = (
    String,
    String,
    String,
    Option<String>,
    Option<i64>,
    Option<String>,
    i64,
    i64,
    Option<String>,
    String,
    Option<String>,
    Option<String>,
);
type EventRow = (String, String, Option<String>, i64, i64, String, Option<i64>, Option<String>);

impl Kind {
    pub const ALL: [Self; 6] =
        [Self::Transfer, Self::Reversal, Self::Customer, Self::Invoice, Self::Item, Self::Finalize];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transfer => "transfer",
            Self::Reversal => "reversal",
            Self::Customer => "customer",
            Self::Invoice => "invoice",
            Self::Item => "invoice_item",
            Self::Finalize => "finalize",
        }
    }
}

impl Call {
    /// One that is about to be asked for.
    pub fn new(id: String, kind: Kind, subject: &str, asked_at: Instant) -> Self {
        let (amount, target, last_error) = (None, None, None);
        Self {
            id,
            kind,
            subject: subject.to_owned(),
            amount,
            target,
            asked_at,
            tries: 0,
            last_error,
            answer: Answer::None,
        }
    }
}

impl<Mode> Tx<Mode> {
    pub async fn stripe_calls(&mut self, asked: Asked<'_>) -> Result<Vec<Call>> {
        const SQL: &str = "
            select id, kind, subject, currency, amount, target, asked_at, tries, last_error, state, object, reason
            from stripe_call
            where (cast($1 as text) is null or id = $1)
            and (cast($2 as text) is null or subject = $2)
            and (cast($3 as text) is null or state = $3)
            order by asked_at, id";
        const NOT_FINAL: &str = "
            select id, kind, subject, currency, amount, target, asked_at, tries, last_error, state, object, reason
            from stripe_call as draft
            where kind = 'invoice' and state = 'done' and not exists (
                select 1 from stripe_call as later
                where later.subject = draft.subject
                and (later.kind = 'finalize' or later.kind = 'invoice_item' and later.state = 'refused'))
            order by asked_at, id";
        let (id, subject, state) = match asked {
            Asked::Id(id) => (Some(id), None, None),
            Asked::For(subject) => (None, Some(subject), None),
            Asked::Unanswered => (None, None, Some("asked")),
            Asked::NotFinal | Asked::All => (None, None, None),
        };
        if matches!(asked, Asked::NotFinal) {
            let rows: Vec<CallRow> = on!(self, conn => sqlx::query_as(NOT_FINAL).fetch_all(conn).await?);
            return rows.into_iter().map(call).collect();
        }
        let rows: Vec<CallRow> =
            on!(self, conn => sqlx::query_as(SQL).bind(id).bind(subject).bind(state).fetch_all(conn).await?);
        rows.into_iter().map(call).collect()
    }

    /// Events that nobody has understood yet, as they came.
    pub async fn stripe_events_to_understand(&mut self, limit: i64) -> Result<Vec<Event>> {
        const SQL: &str = "
            select id, kind, account, created_at, received_at, body, understood_at, outcome
            from stripe_event where understood_at is null order by received_at, id limit $1";
        let rows: Vec<EventRow> = on!(self, conn => sqlx::query_as(SQL).bind(limit).fetch_all(conn).await?);
        Ok(rows.into_iter().map(event).collect())
    }

    pub async fn stripe_event(&mut self, id: &str) -> Result<Option<Event>> {
        const SQL: &str = "
            select id, kind, account, created_at, received_at, body, understood_at, outcome
            from stripe_event where id = $1";
        let row: Option<EventRow> = on!(self, conn => sqlx::query_as(SQL).bind(id).fetch_optional(conn).await?);
        Ok(row.map(event))
    }

    /// Who a consumer is at Stripe.
    pub async fn stripe_customer(&mut self, consumer: &str) -> Result<Option<String>> {
        const SQL: &str = "select customer from stripe_customer where consumer = $1";
        let row: Option<(String,)> = on!(self, conn => sqlx::query_as(SQL).bind(consumer).fetch_optional(conn).await?);
        Ok(row.map(|(customer,)| customer))
    }

    /// What is known of payouts from connected accounts to banks, by account.
    pub async fn stripe_bank_payouts(&mut self) -> Result<Vec<BankPayout>> {
        const SQL: &str = "
            select id, account, currency, amount, state, reason, at from stripe_bank_payout order by account, at, id";
        type Row = (String, String, String, i64, String, Option<String>, i64);
        let rows: Vec<Row> = on!(self, conn => sqlx::query_as(SQL).fetch_all(conn).await?);
        let payout = |(id, account, currency, amount, state, reason, at): Row| {
            let currency = Currency::from_code(&currency)
                .ok_or_else(|| Error::Damaged(format!("the currency of Stripe's payout {id}")))?;
            let (amount, at) = (Money::from_minor(amount, currency), Instant::from_micros(at));
            Ok(BankPayout { id, account, amount, state, reason, at })
        };
        rows.into_iter().map(payout).collect()
    }
}

impl Tx<Write> {
    /// Writes down what Stripe is about to be asked. `Taken` if the same is asked under another key, and not answered.
    pub async fn ask_stripe(&mut self, call: &Call) -> Result<()> {
        const SQL: &str = "
            insert into stripe_call (id, kind, subject, currency, amount, target, asked_at, tries, state)
            values ($1, $2, $3, $4, $5, $6, $7, 0, 'asked')";
        on!(self, conn => sqlx::query(SQL)
            .bind(&call.id)
            .bind(call.kind.as_str())
            .bind(&call.subject)
            .bind(call.amount.map(|amount| amount.currency().code()))
            .bind(call.amount.map(Money::minor))
            .bind(&call.target)
            .bind(call.asked_at.micros())
            .execute(conn).await?.rows_affected());
        Ok(())
    }

    /// Notes that there was no answer. An answer that came meanwhile stays.
    pub async fn stripe_did_not_answer(&mut self, id: &str, why: &str) -> Result<()> {
        const SQL: &str = "update stripe_call set tries = tries + 1, last_error = $2 where id = $1 and state = 'asked'";
        on!(self, conn => sqlx::query(SQL).bind(id).bind(why).execute(conn).await?.rows_affected());
        Ok(())
    }

    /// Keeps what Stripe answered. False if that is known already.
    pub async fn stripe_answered(&mut self, id: &str, answer: &Answer) -> Result<bool> {
        const SQL: &str = "
            update stripe_call set state = $2, object = $3, reason = $4 where id = $1 and state = 'asked'";
        let (state, object, reason) = match answer {
            Answer::None => return Ok(false),
            Answer::Done(object) => ("done", Some(object), None),
            Answer::Refused(reason) => ("refused", None, Some(reason)),
        };
        let changed = on!(self, conn => sqlx::query(SQL)
            .bind(id).bind(state).bind(object).bind(reason).execute(conn).await?.rows_affected());
        Ok(changed == 1)
    }

    /// Keeps an event as it came. False if it came before.
    pub async fn keep_stripe_event(&mut self, event: &Event) -> Result<bool> {
        const SQL: &str = "
            insert into stripe_event (id, kind, account, created_at, received_at, body)
            values ($1, $2, $3, $4, $5, $6) on conflict do nothing";
        let kept = on!(self, conn => sqlx::query(SQL)
            .bind(&event.id)
            .bind(&event.kind)
            .bind(&event.account)
            .bind(event.created_at.micros())
            .bind(event.received_at.micros())
            .bind(&event.body)
            .execute(conn).await?.rows_affected());
        Ok(kept == 1)
    }

    /// Notes what came of an event. False if somebody else understood it meanwhile.
    pub async fn understood_stripe_event(&mut self, id: &str, at: Instant, outcome: &str) -> Result<bool> {
        const SQL: &str = "
            update stripe_event set understood_at = $2, outcome = $3 where id = $1 and understood_at is null";
        let changed = on!(self, conn => sqlx::query(SQL)
            .bind(id).bind(at.micros()).bind(outcome).execute(conn).await?.rows_affected());
        Ok(changed == 1)
    }

    /// Keeps who a consumer is at Stripe.
    pub async fn put_stripe_customer(&mut self, consumer: &str, customer: &str) -> Result<()> {
        const SQL: &str = "
            insert into stripe_customer (consumer, customer) values ($1, $2)
            on conflict (consumer) do update set customer = excluded.customer";
        on!(self, conn => sqlx::query(SQL).bind(consumer).bind(customer).execute(conn).await?.rows_affected());
        Ok(())
    }

    /// Keeps how far a payout to a bank is.
    pub async fn put_stripe_bank_payout(&mut self, payout: &BankPayout) -> Result<()> {
        const SQL: &str = "
            insert into stripe_bank_payout (id, account, currency, amount, state, reason, at)
            values ($1, $2, $3, $4, $5, $6, $7)
            on conflict (id) do update set state = excluded.state, reason = excluded.reason, at = excluded.at";
        on!(self, conn => sqlx::query(SQL)
            .bind(&payout.id)
            .bind(&payout.account)
            .bind(payout.amount.currency().code())
            .bind(payout.amount.minor())
            .bind(&payout.state)
            .bind(&payout.reason)
            .bind(payout.at.micros())
            .execute(conn).await?.rows_affected());
        Ok(())
    }
}

fn call(row: CallRow) -> Result<Call> {
    let (id, kind, subject, currency, amount, target, asked_at, tries, last_error, state, object, reason) = row;
    let damaged = |what: &str| Error::Damaged(format!("the {what} of the call {id} of Stripe"));
    let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind).ok_or_else(|| damaged("kind"))?;
    let amount = match currency.zip(amount) {
        None => None,
        Some((code, minor)) => {
            let currency = Currency::from_code(&code).ok_or_else(|| damaged("currency"))?;
            Some(Money::from_minor(minor, currency))
        }
    };
    let answer = match (&*state, object, reason) {
        ("asked", None, None) => Answer::None,
        ("done", Some(object), None) => Answer::Done(object),
        ("refused", None, Some(reason)) => Answer::Refused(reason),
        _ => return Err(damaged("answer")),
    };
    let asked_at = Instant::from_micros(asked_at);
    Ok(Call { id, kind, subject, amount, target, asked_at, tries, last_error, answer })
}

fn event(row: EventRow) -> Event {
    let (id, kind, account, created_at, received_at, body, understood_at, outcome) = row;
    Event {
        id,
        kind,
        account,
        created_at: Instant::from_micros(created_at),
        received_at: Instant::from_micros(received_at),
        body,
        understood: understood_at.map(Instant::from_micros).zip(outcome),
    }
}
