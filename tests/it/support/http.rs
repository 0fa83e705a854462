//! HTTP as a client of the platform speaks it: with a key, and with whatever body the test wants to send.

use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::Request;

/// Who talks, and to which server.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    url: String,
    key: Option<String>,
}

/// What a server answered.
pub struct Reply {
    pub status: u16,
    pub content_type: String,
    /// `Content-Disposition`: what a file would be called.
    pub disposition: String,
    /// The header `Tallystick-Ledger-Head`, if there is one.
    pub ledger_head: Option<String>,
    pub body: Vec<u8>,
}

impl Client {
    pub fn new(url: &str, key: Option<&str>) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(Duration::from_secs(120)));
        Self { agent: config.build().new_agent(), url: url.to_owned(), key: key.map(str::to_owned) }
    }

    pub fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    pub fn put(&self, path: &str, body: &Value) -> Reply {
        self.send("PUT", path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    /// Posts a body of events as NDJSON.
    pub fn events(&self, ndjson: &str) -> Reply {
        self.send("POST", "/v1/events", &[("content-type", "application/x-ndjson")], ndjson.as_bytes())
    }

    #[track_caller]
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.try_send(method, path, headers, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// As [`Client::send`], but a server that goes away is an error and not a failed test.
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Reply, ureq::Error> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = if body.is_empty() {
            self.agent.run(request.body(()).expect("a request that can be sent"))?
        } else {
            self.agent.run(request.body(body).expect("a request that can be sent"))?
        };
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (content_type, ledger_head) = (header("content-type"), header("tallystick-ledger-head"));
        let disposition = header("content-disposition").unwrap_or_default();
        Ok(Reply {
            status: response.status().as_u16(),
            content_type: content_type.unwrap_or_default(),
            disposition,
            ledger_head,
            body: response.body_mut().with_config().limit(1 << 30).read_to_vec()?,
        })
    }
}

impl Reply {
    /// The JSON of an answer that says yes.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert!((200..300).contains(&self.status), "{}: {}", self.status, self.text());
        self.json()
    }

    /// The problem of an answer that says no, with this status.
    #[track_caller]
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert!(self.content_type.starts_with("application/problem+json"), "{}: {}", self.content_type, self.text());
        self.json()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{}, not JSON ({error}): {}", self.status, self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
