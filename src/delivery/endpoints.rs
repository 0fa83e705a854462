//! What consumers ask for: endpoints are made, changed, tried and removed here, and their secrets renewed.

use std::sync::Arc;

use hyper::Uri;
use serde_json::Value;
use url::Url;

use crate::delivery::client::Client;
use crate::delivery::worker::Target;
use crate::domain::event::Fault;
use crate::domain::ids::EndpointId;
use crate::domain::time::Instant;
use crate::domain::webhook::filter;
use crate::domain::webhook::filter::Filter;
use crate::domain::webhook::sign::Secret;
use crate::domain::webhook::vault::Sealed;
use crate::domain::webhook::vault::Vault;
use crate::random;
use crate::store;
use crate::store::Db;
use crate::store::Tx;
use crate::store::Write;
use crate::store::endpoints::Endpoint;
use crate::store::endpoints::EndpointState;
use crate::store::endpoints::SealedSecret;
use crate::store::endpoints::Which;

/// Longer ones are nobody's.
const URL_BYTES_MAX: usize = 2_048;
const DESCRIPTION_BYTES_MAX: usize = 500;
/// Endpoints of one consumer: each of them follows the log.
const OF_CONSUMER_MAX: i64 = 20;
/// How long the secrets before sign on when there is a new one.
const OVERLAP_MICROS: i64 = 86_400 * 1_000_000;

/// Makes and changes endpoints. Cheap to clone.
#[derive(Clone)]
pub struct Endpoints {
    db: Db,
    /// None on a server without a key: then there are no secrets.
    vault: Option<Arc<Vault>>,
    client: Client,
    /// Whether URLs without TLS are taken: on a server that may reach networks of its own.
    takes_http: bool,
}

/// What can be said of an endpoint. What is `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub url: Option<String>,
    pub description: Option<String>,
    /// JSON, in the dialects of CloudEvents subscriptions.
    pub filters: Option<Value>,
    /// Pauses it, or lets a paused or disabled one go on.
    pub is_active: Option<bool>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was asked cannot be.
    #[error("the endpoint cannot be so")]
    Faulty(Vec<Fault>),
    #[error("there is no such endpoint")]
    Missing,
    #[error("there is no such consumer")]
    NoConsumer,
    #[error("there is no key to encrypt secrets with")]
    NoKey,
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Endpoints {
    pub fn new(db: Db, vault: Option<Vault>, client: Client, takes_http: bool) -> Self {
        Self { db, vault: vault.map(Arc::new), client, takes_http }
    }

    /// Makes an endpoint, which gets what is in the log after `newest`, and the secret that its deliveries are signed with.
    pub async fn add(
        &self,
        consumer: &str,
        asked: Asked,
        newest: i64,
        now: Instant,
    ) -> Result<(Endpoint, Secret), Error> {
        let mut endpoint = Endpoint {
            id: EndpointId::new(now, random::bytes()),
            consumer: consumer.to_owned(),
            url: String::new(),
            description: String::new(),
            filters: "[]".to_owned(),
            state: EndpointState::Active,
            reason: None,
            made_at: now,
            changed_at: now,
            through: newest,
            failing_since: None,
        };
        let asked = Asked { url: Some(asked.url.unwrap_or_default()), ..asked };
        self.apply(&mut endpoint, asked, now)?;
        let mut tx = self.db.write().await?;
        if tx.consumer(consumer).await?.is_none() {
            return Err(Error::NoConsumer);
        }
        let theirs = Which::Page { consumer: Some(consumer), before: None, limit: OF_CONSUMER_MAX };
        if i64::try_from(tx.endpoints(theirs).await?.len()).unwrap_or(i64::MAX) >= OF_CONSUMER_MAX {
            let detail = format!("a consumer has at most {OF_CONSUMER_MAX} endpoints");
            let fix = "remove one, or let one endpoint ask for more with `any`";
            return Err(Error::Faulty(vec![Fault::new("/consumer", "too_many_endpoints", detail, fix)]));
        }
        tx.add_endpoint(&endpoint).await?;
        let secret = self.add_secret(&mut tx, &endpoint.id, 1, now).await?;
        tx.commit().await?;
        Ok((endpoint, secret))
    }

    pub async fn change(&self, id: &str, asked: Asked, now: Instant) -> Result<Endpoint, Error> {
        let mut tx = self.db.write().await?;
        let mut endpoint = tx.endpoints(Which::Id(id)).await?.pop().ok_or(Error::Missing)?;
        self.apply(&mut endpoint, asked, now)?;
        tx.change_endpoint(&endpoint).await?;
        tx.commit().await?;
        Ok(endpoint)
    }

    pub async fn remove(&self, id: &str, by: &str, now: Instant) -> Result<(), Error> {
        let mut tx = self.db.write().await?;
        let mut endpoint = tx.endpoints(Which::Id(id)).await?.pop().ok_or(Error::Missing)?;
        endpoint.state = EndpointState::Removed;
        endpoint.reason = Some(format!("removed by {by}"));
        endpoint.changed_at = now;
        tx.change_endpoint(&endpoint).await?;
        Ok(tx.commit().await?)
    }

    /// Gives an endpoint another secret. Those before sign too for a day more, so that a receiver can change over.
    pub async fn renew_secret(&self, id: &str, now: Instant) -> Result<Secret, Error> {
        let mut tx = self.db.write().await?;
        let mut endpoint = tx.endpoints(Which::Id(id)).await?.pop().ok_or(Error::Missing)?;
        let seq = tx.endpoint_secrets(Some(&endpoint.id)).await?.first().map_or(0, |newest| newest.seq);
        let until = Instant::from_micros(now.micros().saturating_add(OVERLAP_MICROS));
        tx.end_endpoint_secrets(&endpoint.id, until).await?;
        let secret = self.add_secret(&mut tx, &endpoint.id, seq.saturating_add(1), now).await?;
        endpoint.changed_at = now;
        tx.change_endpoint(&endpoint).await?;
        tx.commit().await?;
        Ok(secret)
    }

    /// Everything that is delivered to.
    pub(in crate::delivery) async fn active(&self) -> store::Result<Vec<Target>> {
        let mut tx = self.db.read().await?;
        let endpoints = tx.endpoints(Which::Active).await?;
        let secrets = tx.endpoint_secrets(None).await?;
        drop(tx);
        let target = |endpoint: Endpoint| match self.target(&endpoint, &secrets) {
            Some(target) => Some(target),
            None => {
                tracing::error!(
                    "nothing is delivered to endpoint {}: its secret is encrypted with a key that this server does not \
                     have, or its row was changed",
                    endpoint.id
                );
                None
            }
        };
        Ok(endpoints.into_iter().filter_map(target).collect())
    }

    /// An endpoint that can be delivered to, whatever its state.
    pub(in crate::delivery) async fn ready(&self, endpoint: &Endpoint) -> Result<Target, Error> {
        let secrets = self.db.read().await?.endpoint_secrets(Some(&endpoint.id)).await?;
        self.target(endpoint, &secrets).ok_or(Error::NoKey)
    }

    fn target(&self, endpoint: &Endpoint, secrets: &[SealedSecret]) -> Option<Target> {
        let filters = serde_json::from_str(&endpoint.filters).ok()?;
        let theirs = secrets.iter().filter(|secret| secret.endpoint == endpoint.id);
        let opened = theirs.map(|secret| {
            let sealed = Sealed { key_id: secret.key_id.clone(), bytes: secret.sealed.clone() };
            Some((self.vault.as_ref()?.open(&sealed, endpoint.id.as_str())?, secret.until))
        });
        let secrets = opened.collect::<Option<Vec<_>>>().filter(|secrets| !secrets.is_empty())?;
        Some(Target {
            id: endpoint.id.clone(),
            consumer: endpoint.consumer.clone(),
            uri: endpoint.url.parse().ok()?,
            filters: filter::parse(&filters, "").ok()?,
            secrets,
            changed_at: endpoint.changed_at,
        })
    }

    async fn add_secret(
        &self,
        tx: &mut Tx<Write>,
        endpoint: &EndpointId,
        seq: i64,
        now: Instant,
    ) -> Result<Secret, Error> {
        let secret = Secret::new(random::bytes());
        let sealed = self.vault.as_ref().and_then(|vault| vault.seal(&secret, endpoint.as_str(), random::bytes()));
        let sealed = sealed.ok_or(Error::NoKey)?;
        tx.add_endpoint_secret(&SealedSecret {
            endpoint: endpoint.clone(),
            seq,
            key_id: sealed.key_id,
            sealed: sealed.bytes,
            made_at: now,
            until: None,
        })
        .await?;
        Ok(secret)
    }

    /// Puts what was asked for into an endpoint, or says everything that cannot be.
    fn apply(&self, endpoint: &mut Endpoint, asked: Asked, now: Instant) -> Result<(), Error> {
        let mut faults = Vec::new();
        if let Some(url) = asked.url {
            match self.url(&url) {
                Ok(url) => endpoint.url = url,
                Err(fault) => faults.push(fault),
            }
        }
        if let Some(description) = asked.description {
            if description.len() > DESCRIPTION_BYTES_MAX {
                let detail = format!("it is longer than {DESCRIPTION_BYTES_MAX} bytes");
                faults.push(Fault::new("/description", "too_long", detail, "say it shorter"));
            }
            endpoint.description = description;
        }
        if let Some(filters) = asked.filters {
            match filter::parse(&filters, "/filters") {
                Ok(filters) => endpoint.filters = filters.iter().map(Filter::to_json).collect::<Value>().to_string(),
                Err(found) => faults.extend(found),
            }
        }
        match asked.is_active {
            Some(true) => {
                (endpoint.state, endpoint.reason, endpoint.failing_since) = (EndpointState::Active, None, None)
            }
            Some(false) if endpoint.state == EndpointState::Active => {
                (endpoint.state, endpoint.reason) = (EndpointState::Paused, Some("paused".to_owned()));
            }
            Some(false) | None => {}
        }
        endpoint.changed_at = now;
        if faults.is_empty() { Ok(()) } else { Err(Error::Faulty(faults)) }
    }

    /// A URL as it is kept: hosts in every disguise are told apart by the rules of browsers (WHATWG).
    fn url(&self, text: &str) -> Result<String, Fault> {
        let fault = |code, detail: &str, fix: &str| Fault::new("/url", code, detail, fix);
        let invalid = |detail: &str| fault("invalid_url", detail, "write it as https://example.com/path");
        let url = Url::parse(text).map_err(|error| invalid(&format!("it is no URL: {error}")))?;
        match url.scheme() {
            "https" => {}
            "http" if self.takes_http => {}
            "http" => return Err(fault("url_without_tls", "what is sent could be read on its way", "use https")),
            _ => return Err(invalid("it is not reached by HTTP")),
        }
        if text.len() > URL_BYTES_MAX {
            return Err(invalid(&format!("it is longer than {URL_BYTES_MAX} bytes")));
        }
        if !url.username().is_empty() || url.password().is_some() {
            let fix = "leave them out; deliveries are signed, and the receiver can tell by that";
            return Err(fault("url_with_password", "it holds a name or a password, which would be seen", fix));
        }
        if url.fragment().is_some() {
            return Err(invalid("what is behind # is never sent"));
        }
        let Some(host) = url.host_str() else { return Err(invalid("it names no host")) };
        if self.client.is_blocked(host) {
            let fix =
                "name a host that is reached from everywhere; an operator can allow a network with --webhook-allow";
            return Err(fault("blocked_target", "its address may not be contacted", fix));
        }
        let uri: Uri = url.as_str().parse().map_err(|_| invalid("it cannot be sent to"))?;
        Ok(uri.to_string())
    }
}
