//! Sending: one request to somebody else's server, to an address that may be contacted, within bounds of time and size.
//!
//! Addresses are looked at where the connection is made, so that a name that means another address by then helps nobody.
//! Redirects are not followed, and what is answered is not decompressed.

use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;
use std::time::Instant as Stopwatch;

use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::Request;
use hyper::Uri;
use hyper::body::Bytes;
use hyper::header::RETRY_AFTER;
use hyper_rustls::HttpsConnector;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use ipnet::IpNet;
use tower_service::Service;

use crate::domain::webhook::address::refused;
use crate::domain::webhook::retry::Answer;

/// Nobody needs more of an answer to know that it is one.
const ANSWER_BYTES_MAX: usize = 16 << 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections that wait for more to be sent, to one server.
const IDLE_MAX: usize = 16;

type LookUp = Pin<Box<dyn Future<Output = io::Result<std::vec::IntoIter<SocketAddr>>> + Send>>;

/// Finds the addresses of a name.
pub type Resolve = fn(String) -> LookUp;

/// Sends requests. Cheap to clone: connections are shared.
#[derive(Clone)]
pub struct Client {
    client: legacy::Client<HttpsConnector<HttpConnector<Guarded>>, Full<Bytes>>,
    allowed: Arc<[IpNet]>,
    timeout: Duration,
}

/// What came of an attempt.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub answer: Answer,
    /// Until the head of the answer was there.
    pub took: Duration,
    /// What the endpoint's consumer is told if it failed: it says nothing of what is around this server.
    pub failure: String,
}

/// Looks names up, and refuses addresses that may not be contacted.
#[derive(Clone)]
struct Guarded {
    resolve: Resolve,
    allowed: Arc<[IpNet]>,
}

/// The address is one that may not be contacted.
#[derive(Debug, thiserror::Error)]
#[error("its address may not be contacted")]
struct Blocked;

impl Client {
    /// `allowed` networks may be contacted though they are not public.
    pub fn new(allowed: Arc<[IpNet]>, timeout: Duration, resolve: Resolve) -> Self {
        let mut connector = HttpConnector::new_with_resolver(Guarded { resolve, allowed: allowed.clone() });
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector =
            HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().wrap_connector(connector);
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(hyper_util::rt::TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_MAX)
            .build(connector);
        Self { client, allowed, timeout }
    }

    /// Whether a host is an address, written as one, that may not be contacted.
    pub fn is_blocked(&self, host: &str) -> bool {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        host.parse::<IpAddr>().is_ok_and(|address| refused(address, &self.allowed).is_some())
    }

    /// Posts JSON, with headers. Whatever happens is an attempt, and it ends in time.
    pub async fn post(&self, uri: &Uri, headers: &[(&'static str, String)], body: Bytes) -> Attempt {
        let watch = Stopwatch::now();
        let attempt = |answer, took, failure: &str| Attempt { answer, took, failure: failure.to_owned() };
        // The connector does not look up what is an address already.
        if uri.host().is_none_or(|host| self.is_blocked(host)) {
            return attempt(Answer::None, watch.elapsed(), &Blocked.to_string());
        }
        let mut request = Request::post(uri).header("content-type", "application/cloudevents+json");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let Ok(request) = request.body(Full::new(body)) else {
            return attempt(Answer::None, watch.elapsed(), "a header cannot be sent");
        };
        let exchange = async {
            let answer = self.client.request(request).await?;
            let took = watch.elapsed();
            let status = answer.status().as_u16();
            let retry_after =
                answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
            // Read, so that the connection can be used again; an answer that goes on and on costs it.
            let mut body = answer.into_body();
            let mut read = 0_usize;
            while let Some(Ok(frame)) = body.frame().await {
                read = read.saturating_add(frame.data_ref().map_or(0, Bytes::len));
                if read > ANSWER_BYTES_MAX {
                    break;
                }
            }
            Ok::<_, legacy::Error>((Answer::Status { code: status, retry_after }, took))
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(Ok((answer @ Answer::Status { code, .. }, took))) => {
                attempt(answer, took, &format!("it answered {code}"))
            }
            Ok(Ok((Answer::None, took))) => attempt(Answer::None, took, "it did not answer"),
            Ok(Err(error)) => attempt(Answer::None, watch.elapsed(), failure(&error)),
            Err(_) => attempt(Answer::None, watch.elapsed(), "it did not answer in time"),
        }
    }
}

/// What a consumer is told: enough to find the mistake in what is its own.
fn failure(error: &legacy::Error) -> &'static str {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.is::<Blocked>() || error.downcast_ref::<io::Error>().is_some_and(is_blocked) {
            return "its address may not be contacted";
        }
        cause = error.source();
    }
    if error.is_connect() { "no connection could be made" } else { "the connection broke" }
}

fn is_blocked(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Blocked>())
}

/// As the system does it.
pub fn system_resolver(host: String) -> LookUp {
    Box::pin(async move {
        let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
        Ok(found.into_iter())
    })
}

impl Service<Name> for Guarded {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = LookUp;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> LookUp {
        let (look_up, allowed) = ((self.resolve)(name.as_str().to_owned()), self.allowed.clone());
        Box::pin(async move {
            let found = look_up.await?;
            // One bad address is enough: whoever sets such a name up is up to something.
            match found.as_slice().iter().any(|found| refused(found.ip(), &allowed).is_some()) {
                true => Err(io::Error::other(Blocked)),
                false => Ok(found),
            }
        })
    }
}
