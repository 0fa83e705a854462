//! Somebody else's server: takes what is posted to it, remembers all of it, and answers as it is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::routing::any;
use serde_json::Value;
use tokio::runtime::Runtime;

/// Something that was posted.
#[derive(Clone, Debug)]
pub struct Received {
    /// Names in small letters.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

/// The status that is answered, and after how long.
type Answer = (u16, Duration);

#[derive(Clone, Default)]
struct Shared {
    received: Arc<Mutex<Vec<Received>>>,
    answer: Arc<Mutex<Option<Answer>>>,
}

pub struct Receiver {
    pub url: String,
    shared: Shared,
    /// Ends the server with the test.
    _runtime: Runtime,
}

impl Received {
    pub fn event(&self) -> Value {
        serde_json::from_str(&self.body).expect("is an event")
    }

    /// The id of the event.
    pub fn id(&self) -> String {
        self.event()["id"].as_str().expect("has an id").to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("{name} is among {:?}", self.headers))
    }
}

impl Receiver {
    /// Acknowledges everything.
    pub fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("starts");
        let shared = Shared::default();
        let router = Router::new().fallback(any(take)).with_state(shared.clone());
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("has an address"));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { url, shared, _runtime: runtime }
    }

    /// From now on answers this, after so long.
    pub fn answer(&self, status: u16, after: Duration) {
        *self.shared.answer.lock().expect("is not poisoned") = Some((status, after));
    }

    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().expect("is not poisoned").clone()
    }

    /// Waits until what was received is so, and gives it.
    #[track_caller]
    pub fn wait(&self, until: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        let since = Instant::now();
        loop {
            let received = self.received();
            if until(&received) {
                return received;
            }
            assert!(since.elapsed() < Duration::from_secs(60), "{} came, and not what was waited for", received.len());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

async fn take(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let headers =
        headers.iter().map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let received = Received { headers: headers.collect(), body: String::from_utf8_lossy(&body).into_owned() };
    shared.received.lock().expect("is not poisoned").push(received);
    let answer = *shared.answer.lock().expect("is not poisoned");
    let (status, after) = answer.unwrap_or((204, Duration::ZERO));
    tokio::time::sleep(after).await;
    StatusCode::from_u16(status).expect("a status")
}
