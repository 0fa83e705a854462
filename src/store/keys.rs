//! API keys and browser sessions, by the hash of what their bearer holds: the secrets themselves are never kept.

use crate::domain::ids::KeyId;
use crate::domain::time::Instant;
use crate::store::Error;
use crate::store::Result;
use crate::store::Tx;
use crate::store::Write;
use crate::store::on;

/// What a key may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Operator,
    /// Reads everything; closes, and keeps the books.
    Finance,
    /// Sends events.
    Ingest,
    /// Sees one consumer.
    Consumer(String),
}

/// A key, without what it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    pub id: KeyId,
    pub name: String,
    pub role: Role,
    pub created_at: Instant,
    pub revoked_at: Option<Instant>,
}

impl Role {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Finance => "finance",
            Self::Ingest => "ingest",
            Self::Consumer(_) => "consumer",
        }
    }

    pub fn consumer(&self) -> Option<&str> {
        match self {
            Self::Consumer(consumer) => Some(consumer),
            _ => None,
        }
    }
}

type Row = (String, String, String, Option<String>, i64, Option<i64>);

fn api_key((id, name, role, consumer, created_at, revoked_at): Row) -> Result<ApiKey> {
    let role = match (role.as_str(), consumer) {
        ("operator", None) => Role::Operator,
        ("finance", None) => Role::Finance,
        ("ingest", None) => Role::Ingest,
        ("consumer", Some(consumer)) => Role::Consumer(consumer),
        _ => return Err(Error::Damaged(format!("role of key {id}"))),
    };
    let id = KeyId::parse(&id).ok_or_else(|| Error::Damaged(format!("id of key {id}")))?;
    let (created_at, revoked_at) = (Instant::from_micros(created_at), revoked_at.map(Instant::from_micros));
    Ok(ApiKey { id, name, role, created_at, revoked_at })
}

impl<Mode> Tx<Mode> {
    /// The key with this hash, unless it was revoked.
    pub async fn key_by_hash(&mut self, hash: &str) -> Result<Option<ApiKey>> {
        const SQL: &str = "
            select id, name, role, consumer, created_at, revoked_at from api_key
            where hash = $1 and revoked_at is null";
        let row: Option<Row> = on!(self, conn => sqlx::query_as(SQL).bind(hash).fetch_optional(conn).await?);
        row.map(api_key).transpose()
    }

    /// Every key there ever was, oldest first.
    pub async fn keys(&mut self) -> Result<Vec<ApiKey>> {
        const SQL: &str = "select id, name, role, consumer, created_at, revoked_at from api_key order by id";
        let rows: Vec<Row> = on!(self, conn => sqlx::query_as(SQL).fetch_all(conn).await?);
        rows.into_iter().map(api_key).collect()
    }

    /// The key behind a session that has not ended by `now`, unless the key was revoked.
    pub async fn key_of_session(&mut self, hash: &str, now: Instant) -> Result<Option<ApiKey>> {
        const SQL: &str = "
            select api_key.id, name, role, consumer, created_at, revoked_at
            from session join api_key on api_key.id = session.api_key
            where session.hash = $1 and expires_at > $2 and revoked_at is null";
        let row: Option<Row> =
            on!(self, conn => sqlx::query_as(SQL).bind(hash).bind(now.micros()).fetch_optional(conn).await?);
        row.map(api_key).transpose()
    }
}

impl Tx<Write> {
    pub async fn add_key(&mut self, key: &ApiKey, hash: &str) -> Result<()> {
        const SQL: &str = "
            insert into api_key (id, hash, name, role, consumer, created_at) values ($1, $2, $3, $4, $5, $6)";
        on!(self, conn => sqlx::query(SQL)
            .bind(key.id.as_str())
            .bind(hash)
            .bind(&key.name)
            .bind(key.role.name())
            .bind(key.role.consumer())
            .bind(key.created_at.micros())
            .execute(conn)
            .await?
            .rows_affected());
        Ok(())
    }

    /// Revokes a key. `Missing` if there is none that can be.
    pub async fn revoke_key(&mut self, id: &KeyId, at: Instant) -> Result<()> {
        const SQL: &str = "update api_key set revoked_at = $2 where id = $1 and revoked_at is null";
        let revoked = on!(self, conn => sqlx::query(SQL)
            .bind(id.as_str())
            .bind(at.micros())
            .execute(conn)
            .await?
            .rows_affected());
        if revoked == 1 { Ok(()) } else { Err(Error::Missing) }
    }

    /// Opens a session, and forgets those that have ended.
    pub async fn open_session(&mut self, hash: &str, key: &KeyId, now: Instant, until: Instant) -> Result<()> {
        const ENDED: &str = "delete from session where expires_at <= $1";
        const OPEN: &str = "insert into session (hash, api_key, expires_at) values ($1, $2, $3)";
        on!(self, conn => sqlx::query(ENDED).bind(now.micros()).execute(conn).await?.rows_affected());
        on!(self, conn => sqlx::query(OPEN)
            .bind(hash)
            .bind(key.as_str())
            .bind(until.micros())
            .execute(conn)
            .await?
            .rows_affected());
        Ok(())
    }

    pub async fn end_session(&mut self, hash: &str) -> Result<()> {
        const SQL: &str = "delete from session where hash = $1";
        on!(self, conn => sqlx::query(SQL).bind(hash).execute(conn).await?.rows_affected());
        Ok(())
    }
}
