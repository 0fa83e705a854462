//! One endpoint: follows the log, sends what passes its filters, some at a time, and rests when nothing arrives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use hyper::body::Bytes;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock;
use crate::delivery::Office;
use crate::delivery::PAUSE;
use crate::delivery::client::Attempt;
use crate::delivery::feed::ReadBatch;
use crate::delivery::notice;
use crate::delivery::notice::OF_DELIVERIES;
use crate::delivery::recorder::Note;
use crate::delivery::retries::Again;
use crate::domain::event::Event;
use crate::domain::ids::DeliveryId;
use crate::domain::ids::EndpointId;
use crate::domain::time::Instant;
use crate::domain::webhook::filter::Filter;
use crate::domain::webhook::retry::Answer;
use crate::domain::webhook::retry::Verdict;
use crate::domain::webhook::retry::WAITS;
use crate::domain::webhook::retry::verdict;
use crate::domain::webhook::sign::Secret;
use crate::domain::webhook::sign::signature;
use crate::random;
use crate::store;
use crate::store::endpoints::Delivery;
use crate::store::endpoints::Which;

/// Deliveries of one endpoint that are under way at once.
const AT_ONCE: usize = 16;
/// Failures one after another after which an endpoint is left to rest.
const FAILURES_MAX: u32 = 5;
const REST_MIN: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(600);

/// An endpoint, ready to be delivered to.
#[derive(Clone)]
pub(in crate::delivery) struct Target {
    pub id: EndpointId,
    pub consumer: String,
    pub uri: Uri,
    pub filters: Vec<Filter>,
    /// Those that sign, the newest first, and when each stops to.
    pub secrets: Vec<(Secret, Option<Instant>)>,
    pub changed_at: Instant,
}

/// One event on its way.
struct Item {
    id: DeliveryId,
    batch: Arc<ReadBatch>,
    place: usize,
    /// What is known of it, if it did not arrive at once.
    earlier: Option<Delivery>,
}

/// How an attempt went, for the worker.
struct Done {
    /// The batch, unless it was tried again.
    seq: Option<i64>,
    is_acknowledged: bool,
}

pub(in crate::delivery) struct Worker {
    office: Arc<Office>,
    target: Arc<Target>,
    again: mpsc::Receiver<Again>,
    stopped: watch::Receiver<bool>,
    /// The newest batch of which everything is on its way.
    read: i64,
    /// How many events of a batch are still on their way.
    open: BTreeMap<i64, usize>,
    /// What was said last of how far it is.
    said: i64,
    under_way: JoinSet<Done>,
    /// Attempts that failed since one was acknowledged.
    failures: u32,
}

impl Target {
    /// Sends one event.
    pub async fn post(&self, office: &Office, id: &str, event: &str) -> Attempt {
        let now = clock::now();
        let at = now.micros().div_euclid(1_000_000);
        let signing = self.secrets.iter().filter(|(_, until)| until.is_none_or(|until| now < until));
        let secrets: Vec<Secret> = signing.map(|(secret, _)| secret.clone()).collect();
        let headers = [
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", at.to_string()),
            ("webhook-signature", signature(&secrets, id, at, event.as_bytes())),
            ("user-agent", concat!("tallystick/", env!("CARGO_PKG_VERSION")).to_owned()),
        ];
        office.client.post(&self.uri, &headers, Bytes::copy_from_slice(event.as_bytes())).await
    }
}

impl Worker {
    pub fn new(
        office: Arc<Office>,
        target: Target,
        again: mpsc::Receiver<Again>,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        Self {
            office,
            target: Arc::new(target),
            again,
            stopped,
            read: 0,
            open: BTreeMap::new(),
            said: 0,
            under_way: JoinSet::new(),
            failures: 0,
        }
    }

    /// Delivers until it is stopped; then what is under way ends first.
    pub async fn run(mut self) {
        while let Err(error) = self.begin().await {
            tracing::error!("endpoint {} could not be read: {error}", self.target.id);
            tokio::time::sleep(PAUSE).await;
        }
        let mut newest = self.office.feed.newest();
        while !*self.stopped.borrow() {
            if *newest.borrow_and_update() > self.read {
                self.follow().await;
                continue;
            }
            tokio::select! {
                _ = self.stopped.changed() => {}
                told = newest.changed() => if told.is_err() { break },
                Some(again) = self.again.recv() => self.try_again(again).await,
                Some(done) = self.under_way.join_next() => self.ended(done.ok()).await,
            }
        }
        while let Some(done) = self.under_way.join_next().await {
            self.ended(done.ok()).await;
        }
    }

    /// Finds out how far the endpoint is, after everything that was said of it is written down.
    async fn begin(&mut self) -> store::Result<()> {
        let (flushed, done) = oneshot::channel();
        if self.office.notes.send(Note::Flush(flushed)).await.is_ok() {
            let _ = done.await;
        }
        let found = self.office.db.read().await?.endpoints(Which::Id(self.target.id.as_str())).await?;
        self.read = found.first().map_or(0, |endpoint| endpoint.through);
        self.said = self.read;
        Ok(())
    }

    /// Takes the next batch, and sends what the endpoint wants of it.
    async fn follow(&mut self) {
        let seq = self.read.saturating_add(1);
        let batch = match self.office.feed.batch(seq).await {
            Ok(batch) => batch,
            Err(error) => {
                tracing::error!("batch {seq} cannot be delivered to {}: {error}", self.target.id);
                tokio::time::sleep(PAUSE).await;
                return;
            }
        };
        let versions = self.office.metering.versions();
        let places = batch.places(&self.target.consumer, &self.target.filters, &versions);
        self.read = seq;
        if places.is_empty() {
            return self.say_how_far().await;
        }
        self.open.insert(seq, places.len());
        for place in places {
            if !self.makes_room().await {
                return;
            }
            let parts = [self.target.id.as_str(), &seq.to_string(), &place.to_string()];
            let id = DeliveryId::derive(batch.received_at, &parts);
            self.send(Item { id, batch: batch.clone(), place, earlier: None });
        }
    }

    /// Waits until one more may be sent; false if it is to stop.
    async fn makes_room(&mut self) -> bool {
        while self.failures < FAILURES_MAX && self.under_way.len() >= AT_ONCE {
            let Some(done) = self.under_way.join_next().await else { break };
            self.ended(done.ok()).await;
        }
        if self.failures < FAILURES_MAX {
            return !*self.stopped.borrow();
        }
        while let Some(done) = self.under_way.join_next().await {
            self.ended(done.ok()).await;
        }
        let doubled = 2_u32.saturating_pow(self.failures.saturating_sub(FAILURES_MAX));
        let rest = REST_MIN.saturating_mul(doubled).min(REST_MAX);
        tokio::select! {
            _ = self.stopped.changed() => false,
            () = tokio::time::sleep(rest) => !*self.stopped.borrow(),
        }
    }

    async fn try_again(&mut self, again: Again) {
        let Again { deliveries, flag } = again;
        for delivery in deliveries {
            let batch = match self.office.feed.batch(delivery.batch).await {
                Ok(batch) => batch,
                Err(error) => {
                    tracing::error!("delivery {} cannot be tried again: {error}", delivery.id);
                    continue;
                }
            };
            if !self.makes_room().await {
                break;
            }
            let place = usize::try_from(delivery.place).unwrap_or(usize::MAX);
            self.send(Item { id: delivery.id.clone(), batch, place, earlier: Some(delivery) });
        }
        // Until then what is due stays so in the books, and would be sent twice.
        while let Some(done) = self.under_way.join_next().await {
            self.ended(done.ok()).await;
        }
        let _ = self.office.notes.send(Note::Written(flag)).await;
    }

    fn send(&mut self, item: Item) {
        let (office, target) = (self.office.clone(), self.target.clone());
        self.under_way.spawn(async move { item.deliver(&office, &target).await });
    }

    async fn ended(&mut self, done: Option<Done>) {
        // One that panicked stays open: the endpoint gets no further, and everything since comes again at the next start.
        let Some(Done { seq, is_acknowledged }) = done else { return };
        self.failures = if is_acknowledged { 0 } else { self.failures.saturating_add(1) };
        let Some(seq) = seq else { return };
        if let Some(open) = self.open.get_mut(&seq) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                self.open.remove(&seq);
            }
        }
        self.say_how_far().await;
    }

    async fn say_how_far(&mut self) {
        let through = self.open.first_key_value().map_or(self.read, |(seq, _)| seq.saturating_sub(1));
        if through > self.said {
            self.said = through;
            let note = Note::Through { endpoint: self.target.id.clone(), seq: through };
            let _ = self.office.notes.send(note).await;
        }
    }
}

impl Item {
    async fn deliver(self, office: &Office, target: &Target) -> Done {
        let seq = self.earlier.is_none().then_some(self.batch.seq);
        let Some(text) = self.batch.event(self.place) else { return Done { seq, is_acknowledged: true } };
        let attempt = target.post(office, self.id.as_str(), text).await;
        let attempts = self.earlier.as_ref().map_or(0, |earlier| earlier.attempts).saturating_add(1);
        let number = u32::try_from(attempts).unwrap_or(u32::MAX);
        let [chance] = random::bytes();
        let verdict = verdict(attempt.answer, number, &WAITS, chance);
        let now = clock::now();
        let happened = |what: &str| self.happened(target, what, text, (attempts, now), &attempt);
        let failed = |next_at| Note::Failed {
            consumer: target.consumer.clone(),
            delivery: Box::new(self.failed(target, text, next_at, (attempts, now), &attempt)),
            event: if next_at.is_none() { happened("failed") } else { None },
        };
        let note = match verdict {
            Verdict::Acknowledged => Note::Acknowledged {
                endpoint: target.id.clone(),
                event: happened("acknowledged"),
                was_waiting: self.earlier.as_ref().map(|earlier| (earlier.batch, earlier.place)),
            },
            Verdict::Again(wait) => {
                let wait = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
                failed(Some(Instant::from_micros(now.micros().saturating_add(wait))))
            }
            Verdict::GivenUp { .. } => failed(None),
        };
        // The recorder lives longer than all who send to it.
        let _ = office.notes.send(note).await;
        if verdict == (Verdict::GivenUp { is_gone: true }) {
            let reason = "it answered 410: it is gone";
            let event = notice::disabled(&target.id, &target.consumer, target.changed_at, now, reason);
            let note = Note::Disabled { endpoint: target.id.clone(), reason: reason.to_owned(), event };
            let _ = office.notes.send(note).await;
        }
        Done { seq, is_acknowledged: verdict == Verdict::Acknowledged }
    }

    /// What is kept of it until it is tried again.
    fn failed(
        &self,
        target: &Target,
        text: &str,
        next_at: Option<Instant>,
        (attempts, now): (i64, Instant),
        attempt: &Attempt,
    ) -> Delivery {
        let kind = Event::parse(text).map(|event| event.kind.into_owned()).unwrap_or_default();
        Delivery {
            endpoint: target.id.clone(),
            batch: self.batch.seq,
            place: i64::try_from(self.place).unwrap_or(i64::MAX),
            id: self.id.clone(),
            event_type: kind,
            attempts,
            next_at,
            first_at: self.earlier.as_ref().map_or(now, |earlier| earlier.first_at),
            last_at: now,
            status: match attempt.answer {
                Answer::Status { code, .. } => Some(i64::from(code)),
                Answer::None => None,
            },
            failure: attempt.failure.clone(),
        }
    }

    /// The event that says what became of it; none of what is said of deliveries itself.
    fn happened(
        &self,
        target: &Target,
        what: &str,
        text: &str,
        (attempts, now): (i64, Instant),
        attempt: &Attempt,
    ) -> Option<String> {
        let delivered = Event::parse(text).ok()?;
        if delivered.kind.starts_with(OF_DELIVERIES) {
            return None;
        }
        let data = json!({
            "event_type": delivered.kind,
            "event_source": delivered.source,
            "event_id": delivered.id,
            "producer": delivered.subject,
            "endpoint": target.id,
            "attempts": attempts,
            "latency_ms": u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX),
        });
        Some(notice::event(&format!("{OF_DELIVERIES}{what}"), self.id.as_str(), &target.consumer, now, &data))
    }
}
