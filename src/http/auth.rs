//! Who is calling: an API key as a bearer token, or a browser's session. Only hashes are ever compared or kept.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::header::COOKIE;
use axum::http::header::HOST;
use axum::http::header::ORIGIN;
use axum::http::request::Parts;
use sha2::Digest;
use sha2::Sha256;

use crate::clock;
use crate::domain::hex::hex;
use crate::domain::ids::KeyId;
use crate::domain::time::Instant;
use crate::http::App;
use crate::http::keyring::KeyHash;
use crate::http::problem::Problem;
use crate::store;
use crate::store::Db;
use crate::store::keys::ApiKey;

pub use crate::store::keys::Role;

/// The cookie that holds a session's secret.
pub const SESSION_COOKIE: &str = "tallystick_session";

/// The holder of a key that is valid now.
#[derive(Clone, Debug)]
pub struct Caller {
    pub key: KeyId,
    pub role: Role,
}

/// A key that was just made: the only moment at which its secret exists here.
pub struct NewKey {
    pub key: ApiKey,
    pub secret: String,
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        if let Some(secret) = bearer(&parts.headers) {
            return Self::with_key(app, secret).await;
        }
        let Some(secret) = session(&parts.headers) else { return Err(unauthorized()) };
        if !parts.method.is_safe() && !is_same_origin(&parts.headers) {
            return Err(from_elsewhere());
        }
        let key = app.db.read().await?.key_of_session(&hash(secret), clock::now()).await?;
        key.map(Self::from).ok_or_else(unauthorized)
    }
}

impl From<ApiKey> for Caller {
    fn from(ApiKey { id, role, .. }: ApiKey) -> Self {
        Self { key: id, role }
    }
}

impl Caller {
    /// The holder of a key: out of memory if it is in use already, since every event comes with one.
    async fn with_key(app: &App, secret: &str) -> Result<Self, Problem> {
        let digest: KeyHash = Sha256::digest(secret.as_bytes()).into();
        let asked = match app.keyring.caller(&digest) {
            Ok(caller) => return Ok(caller),
            Err(asked) => asked,
        };
        let key = app.db.read().await?.key_by_hash(&hex(&digest)).await?;
        let caller = Self::from(key.ok_or_else(unauthorized)?);
        app.keyring.keep(digest, &caller, asked);
        Ok(caller)
    }

    /// Lets operators and the given roles pass.
    pub fn require(&self, roles: &[Role]) -> Result<(), Problem> {
        if self.role == Role::Operator || roles.contains(&self.role) {
            return Ok(());
        }
        let detail = format!("a key with the role {} may not do this", self.role.name());
        let allowed: Vec<&str> = std::iter::once(Role::Operator.name()).chain(roles.iter().map(Role::name)).collect();
        let fix = format!("use a key with the role {}", allowed.join(" or "));
        Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail).fix(fix))
    }

    /// Lets operators, the given roles and this consumer itself pass.
    pub fn require_consumer(&self, consumer: &str, roles: &[Role]) -> Result<(), Problem> {
        match self.consumer() {
            Some(own) if own == consumer => Ok(()),
            // Says nothing about whether the other one exists.
            Some(own) => Err(Problem::new(StatusCode::FORBIDDEN, "not_yours", "this key sees one consumer only")
                .fix(format!("ask for {own}"))),
            None => self.require(roles),
        }
    }

    /// Whose rows a list may show: those asked for, everybody's (`None`), or for a consumer its own.
    pub fn sees<'a>(&'a self, asked: Option<&'a str>, roles: &[Role]) -> Result<Option<&'a str>, Problem> {
        match asked.or(self.consumer()) {
            Some(consumer) => self.require_consumer(consumer, roles).map(|()| Some(consumer)),
            None => self.require(roles).map(|()| None),
        }
    }

    /// Whose key it is, for the role consumer.
    pub fn consumer(&self) -> Option<&str> {
        self.role.consumer()
    }
}

/// Makes a key. `secret` is given where the operator chose one; otherwise it is drawn.
pub async fn create_key(db: &Db, role: Role, name: &str, secret: Option<&str>, now: Instant) -> store::Result<NewKey> {
    let secret = match secret {
        Some(secret) => secret.to_owned(),
        None => format!("ts_{}_{}", role.name(), hex(&crate::random::bytes::<24>())),
    };
    let id = KeyId::new(now, crate::random::bytes());
    let key = ApiKey { id, name: name.to_owned(), role, created_at: now, revoked_at: None };
    let mut tx = db.write().await?;
    tx.add_key(&key, &hash(&secret)).await?;
    tx.commit().await?;
    Ok(NewKey { key, secret })
}

/// SHA-256 in hex. Secrets are random and long, so nothing slower is needed.
pub fn hash(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(secret.trim())
}

/// The secret of the session that a browser's cookie names.
pub fn session(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).into_iter().filter_map(|cookies| cookies.to_str().ok());
    let pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.into_iter().find(|(name, _)| *name == SESSION_COOKIE).map(|(_, secret)| secret)
}

/// Whether a browser sends this from one of our own pages. Other programs do not say where they come from, and
/// nobody can make a browser leave it out.
pub fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    match (headers.get(ORIGIN), text(HOST)) {
        (None, _) => true,
        (Some(origin), Some(host)) => {
            let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
            origin.is_some_and(|(_, from)| from.eq_ignore_ascii_case(host))
        }
        (Some(_), None) => false,
    }
}

/// Another site's page tries to act with somebody's session.
pub fn from_elsewhere() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "from_elsewhere", "this comes from a page of another site")
        .fix("use the pages of this server, or send a key")
}

fn unauthorized() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "there is no valid key with this call")
        .fix("send `Authorization: Bearer KEY`; an operator makes keys with `tallystick key create`")
}
