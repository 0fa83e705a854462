//! Webhook endpoints, and the deliveries that did not arrive at once.

use crate::domain::ids::DeliveryId;
use crate::domain::ids::EndpointId;
use crate::domain::time::Instant;
use crate::store::Error;
use crate::store::Result;
use crate::store::Tx;
use crate::store::Write;
use crate::store::on;

/// Where a consumer wants events delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub id: EndpointId,
    pub consumer: String,
    pub url: String,
    pub description: String,
    /// JSON.
    pub filters: String,
    pub state: EndpointState,
    /// Why it is not active.
    pub reason: Option<String>,
    pub made_at: Instant,
    pub changed_at: Instant,
    /// Through which batch of the log everything was delivered or written down.
    pub through: i64,
    /// The first attempt that failed since one was acknowledged.
    pub failing_since: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointState {
    Active,
    /// Somebody wants nothing delivered for now.
    Paused,
    /// Nothing is delivered any more, since nothing arrived.
    Disabled,
    Removed,
}

/// A secret as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedSecret {
    pub endpoint: EndpointId,
    /// The newest has the highest.
    pub seq: i64,
    /// Which key it is encrypted with.
    pub key_id: String,
    pub sealed: Vec<u8>,
    pub made_at: Instant,
    /// When it stops to sign.
    pub until: Option<Instant>,
}

/// One event that an endpoint did not acknowledge yet, or never will.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub endpoint: EndpointId,
    /// The batch of the log, and the event's place in it.
    pub batch: i64,
    pub place: i64,
    pub id: DeliveryId,
    pub event_type: String,
    pub attempts: i64,
    /// When it is tried again; `None` if it was given up.
    pub next_at: Option<Instant>,
    pub first_at: Instant,
    pub last_at: Instant,
    /// What was answered last, if anything was.
    pub status: Option<i64>,
    /// What the endpoint's consumer is told of the last attempt.
    pub failure: String,
}

/// Which endpoints; removed ones never.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    Id(&'a str),
    Active,
    /// A page, newest first, of one consumer or of all, from the first one before this id.
    Page {
        consumer: Option<&'a str>,
        before: Option<&'a str>,
        limit: i64,
    },
}

impl EndpointState {
    const ALL: [Self; 4] = [Self::Active, Self::Paused, Self::Disabled, Self::Removed];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
            Self::Removed => "removed",
        }
    }
}

type EndpointRow = (String, String, String, String, String, String, Option<String>, i64, i64, i64, Option<i64>);
type SecretRow = (String, i64, String, Vec<u8>, i64, Option<i64>);
type DeliveryRow = (String, i64, i64, String, String, i64, Option<i64>, i64, i64, Option<i64>, String);

impl<Mode> Tx<Mode> {
    pub async fn endpoints(&mut self, which: Which<'_>) -> Result<Vec<Endpoint>> {
        const SQL: &str = "
            select id, consumer, url, description, filters, state, reason, made_at, changed_at, through, failing_since
            from endpoint
            where state <> 'removed'
            and (cast($1 as text) is null or id = $1)
            and (cast($2 as text) is null or state = $2)
            and (cast($3 as text) is null or consumer = $3)
            and (cast($4 as text) is null or id < $4)
            order by id desc limit $5";
        let (id, state, consumer, before, limit) = match which {
            Which::Id(id) => (Some(id), None, None, None, 1_i64),
            Which::Active => (None, Some(EndpointState::Active.as_str()), None, None, i64::MAX),
            Which::Page { consumer, before, limit } => (None, None, consumer, before, limit),
        };
        let rows: Vec<EndpointRow> = on!(self, conn => sqlx::query_as(SQL)
            .bind(id)
            .bind(state)
            .bind(consumer)
            .bind(before)
            .bind(limit)
            .fetch_all(conn)
            .await?);
        rows.into_iter().map(endpoint).collect()
    }

    /// The secrets of active endpoints, or of one, the newest of each first.
    pub async fn endpoint_secrets(&mut self, of: Option<&EndpointId>) -> Result<Vec<SealedSecret>> {
        const SQL: &str = "
            select endpoint, seq, key_id, sealed, endpoint_secret.made_at, until
            from endpoint_secret join endpoint on endpoint.id = endpoint_secret.endpoint
            where (cast($1 as text) is null and state = 'active') or endpoint = $1
            order by endpoint, seq desc";
        let of = of.map(EndpointId::as_str);
        let rows: Vec<SecretRow> = on!(self, conn => sqlx::query_as(SQL).bind(of).fetch_all(conn).await?);
        let secret = |(endpoint, seq, key_id, sealed, made_at, until): SecretRow| {
            let (endpoint, until) = (endpoint_id(&endpoint)?, until.map(Instant::from_micros));
            Ok(SealedSecret { endpoint, seq, key_id, sealed, made_at: Instant::from_micros(made_at), until })
        };
        rows.into_iter().map(secret).collect()
    }

    /// What is to be tried again by then, of active endpoints; of each the first few.
    pub async fn due_deliveries(&mut self, by: Instant, of_each: i64) -> Result<Vec<Delivery>> {
        const SQL: &str = "
            select endpoint, batch, place, id, event_type, attempts, next_at, first_at, last_at, status, failure
            from (select delivery.*, row_number() over (partition by endpoint order by next_at, batch, place) as rank
                  from delivery
                  where next_at <= $1 and endpoint in (select id from endpoint where state = 'active')) as due
            where rank <= $2
            order by next_at, endpoint, batch, place";
        let rows: Vec<DeliveryRow> =
            on!(self, conn => sqlx::query_as(SQL).bind(by.micros()).bind(of_each).fetch_all(conn).await?);
        rows.into_iter().map(delivery).collect()
    }

    /// What an endpoint did not acknowledge, in the order of the log, from the first one after a place in it.
    pub async fn deliveries(&mut self, of: &EndpointId, after: (i64, i64), limit: i64) -> Result<Vec<Delivery>> {
        const SQL: &str = "
            select endpoint, batch, place, id, event_type, attempts, next_at, first_at, last_at, status, failure
            from delivery where endpoint = $1 and (batch, place) > ($2, $3) order by batch, place limit $4";
        let rows: Vec<DeliveryRow> = on!(self, conn => sqlx::query_as(SQL)
            .bind(of.as_str())
            .bind(after.0)
            .bind(after.1)
            .bind(limit)
            .fetch_all(conn)
            .await?);
        rows.into_iter().map(delivery).collect()
    }
}

impl Tx<Write> {
    pub async fn add_endpoint(&mut self, endpoint: &Endpoint) -> Result<()> {
        const SQL: &str = "
            insert into endpoint
                (id, consumer, url, description, filters, state, reason, made_at, changed_at, through, failing_since)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
        on!(self, conn => sqlx::query(SQL)
            .bind(endpoint.id.as_str())
            .bind(&endpoint.consumer)
            .bind(&endpoint.url)
            .bind(&endpoint.description)
            .bind(&endpoint.filters)
            .bind(endpoint.state.as_str())
            .bind(&endpoint.reason)
            .bind(endpoint.made_at.micros())
            .bind(endpoint.changed_at.micros())
            .bind(endpoint.through)
            .bind(endpoint.failing_since.map(Instant::micros))
            .execute(conn)
            .await?
            .rows_affected());
        Ok(())
    }

    pub async fn add_endpoint_secret(&mut self, secret: &SealedSecret) -> Result<()> {
        const SQL: &str = "
            insert into endpoint_secret (endpoint, seq, key_id, sealed, made_at, until)
            values ($1, $2, $3, $4, $5, $6)";
        on!(self, conn => sqlx::query(SQL)
            .bind(secret.endpoint.as_str())
            .bind(secret.seq)
            .bind(&secret.key_id)
            .bind(secret.sealed.as_slice())
            .bind(secret.made_at.micros())
            .bind(secret.until.map(Instant::micros))
            .execute(conn)
            .await?
            .rows_affected());
        Ok(())
    }

    /// Lets the secrets of an endpoint that sign now stop to.
    pub async fn end_endpoint_secrets(&mut self, of: &EndpointId, until: Instant) -> Result<()> {
        const SQL: &str = "
            update endpoint_secret set until = $2 where endpoint = $1 and (until is null or until > $2)";
        on!(self, conn => sqlx::query(SQL)
            .bind(of.as_str()).bind(until.micros()).execute(conn).await?.rows_affected());
        Ok(())
    }

    /// Changes what was asked for, and the state. How far it is stays as it is.
    pub async fn change_endpoint(&mut self, endpoint: &Endpoint) -> Result<()> {
        const SQL: &str = "
            update endpoint
            set url = $2, description = $3, filters = $4, state = $5, reason = $6, changed_at = $7, failing_since = $8
            where id = $1 and state <> 'removed'";
        let changed = on!(self, conn => sqlx::query(SQL)
            .bind(endpoint.id.as_str())
            .bind(&endpoint.url)
            .bind(&endpoint.description)
            .bind(&endpoint.filters)
            .bind(endpoint.state.as_str())
            .bind(&endpoint.reason)
            .bind(endpoint.changed_at.micros())
            .bind(endpoint.failing_since.map(Instant::micros))
            .execute(conn)
            .await?
            .rows_affected());
        if changed == 0 { Err(Error::Missing) } else { Ok(()) }
    }

    /// Notes through which batch an endpoint's deliveries are made or written down, and since when attempts fail.
    pub async fn advance_endpoint(
        &mut self,
        id: &EndpointId,
        through: i64,
        failing_since: Option<Instant>,
    ) -> Result<()> {
        const SQL: &str = "
            update endpoint
            set through = case when through < $2 then $2 else through end, failing_since = $3 where id = $1";
        on!(self, conn => sqlx::query(SQL)
            .bind(id.as_str())
            .bind(through)
            .bind(failing_since.map(Instant::micros))
            .execute(conn)
            .await?
            .rows_affected());
        Ok(())
    }

    /// Keeps a delivery that was not acknowledged, in place of what was known of it.
    pub async fn put_delivery(&mut self, delivery: &Delivery) -> Result<()> {
        const SQL: &str = "
            insert into delivery
                (endpoint, batch, place, id, event_type, attempts, next_at, first_at, last_at, status, failure)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
            on conflict (endpoint, batch, place) do update
            set attempts = excluded.attempts, next_at = excluded.next_at, last_at = excluded.last_at,
                status = excluded.status, failure = excluded.failure";
        on!(self, conn => sqlx::query(SQL)
            .bind(delivery.endpoint.as_str())
            .bind(delivery.batch)
            .bind(delivery.place)
            .bind(delivery.id.as_str())
            .bind(&delivery.event_type)
            .bind(delivery.attempts)
            .bind(delivery.next_at.map(Instant::micros))
            .bind(delivery.first_at.micros())
            .bind(delivery.last_at.micros())
            .bind(delivery.status)
            .bind(&delivery.failure)
            .execute(conn)
            .await?
            .rows_affected());
        Ok(())
    }

    /// Forgets a delivery: it was acknowledged.
    pub async fn remove_delivery(&mut self, of: &EndpointId, batch: i64, place: i64) -> Result<()> {
        const SQL: &str = "delete from delivery where endpoint = $1 and batch = $2 and place = $3";
        on!(self, conn => sqlx::query(SQL)
            .bind(of.as_str()).bind(batch).bind(place).execute(conn).await?.rows_affected());
        Ok(())
    }
}

fn endpoint_id(id: &str) -> Result<EndpointId> {
    EndpointId::parse(id).ok_or_else(|| Error::Damaged(format!("the id of endpoint {id}")))
}

fn endpoint(row: EndpointRow) -> Result<Endpoint> {
    let (id, consumer, url, description, filters, state, reason, made_at, changed_at, through, failing_since) = row;
    let known = EndpointState::ALL.into_iter().find(|known| known.as_str() == state);
    Ok(Endpoint {
        state: known.ok_or_else(|| Error::Damaged(format!("the state of endpoint {id}")))?,
        id: endpoint_id(&id)?,
        consumer,
        url,
        description,
        filters,
        reason,
        made_at: Instant::from_micros(made_at),
        changed_at: Instant::from_micros(changed_at),
        through,
        failing_since: failing_since.map(Instant::from_micros),
    })
}

fn delivery(row: DeliveryRow) -> Result<Delivery> {
    let (endpoint, batch, place, id, event_type, attempts, next_at, first_at, last_at, status, failure) = row;
    Ok(Delivery {
        endpoint: endpoint_id(&endpoint)?,
        batch,
        place,
        id: DeliveryId::parse(&id).ok_or_else(|| Error::Damaged(format!("the id of delivery {id}")))?,
        event_type,
        attempts,
        next_at: next_at.map(Instant::from_micros),
        first_at: Instant::from_micros(first_at),
        last_at: Instant::from_micros(last_at),
        status,
        failure,
    })
}
