//! What came of deliveries, written down for all endpoints at once: acknowledgements as events into the log first, and then, in
//! one transaction of the books, what is to be tried again and how far each endpoint is.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::time::Instant as Stopwatch;

use crate::clock;
use crate::delivery::Office;
use crate::delivery::PAUSE;
use crate::delivery::notice;
use crate::domain::ids::EndpointId;
use crate::domain::time::Instant;
use crate::metering;
use crate::metering::ingest::Format;
use crate::metering::ingest::Invalid;
use crate::store;
use crate::store::endpoints::Delivery;
use crate::store::endpoints::EndpointState;
use crate::store::endpoints::Which;

/// Notes that are taken together.
const NOTES_AT_ONCE: usize = 1_024;
/// How long it is not written down how far endpoints are, if nothing else is to be: so much is delivered again after a crash.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// Failing for so long, an endpoint is left alone: longer than a delivery is tried again, so never for one event alone.
const DISABLED_AFTER_MICROS: i64 = 5 * 86_400 * 1_000_000;

/// What a worker has to say.
pub(in crate::delivery) enum Note {
    /// An endpoint acknowledged an event. If it had not at once, its delivery is forgotten.
    Acknowledged { endpoint: EndpointId, event: Option<String>, was_waiting: Option<(i64, i64)> },
    /// It did not. The event says so if it was given up.
    Failed { consumer: String, delivery: Box<Delivery>, event: Option<String> },
    /// Everything of an endpoint through this batch was said.
    Through { endpoint: EndpointId, seq: i64 },
    /// An endpoint is to be left alone.
    Disabled { endpoint: EndpointId, reason: String, event: String },
    /// What is said before this of deliveries that were due is written down: let the flag fall.
    Written(Arc<AtomicBool>),
    /// Everything that was said before is written down: answer.
    Flush(oneshot::Sender<()>),
    /// Nothing follows.
    End,
}

pub(in crate::delivery) struct Recorder {
    office: Arc<Office>,
    /// How far endpoints are of which something is to be written down; 0 if that is not news.
    moved: HashMap<EndpointId, i64>,
    /// Since when attempts fail, of endpoints to which they do.
    failing: HashMap<EndpointId, Instant>,
    kept_at: Stopwatch,
}

/// What is to be written of some notes.
#[derive(Default)]
struct Page {
    events: String,
    failed: Vec<Delivery>,
    arrived: Vec<(EndpointId, i64, i64)>,
    disabled: Vec<(EndpointId, String)>,
    written: Vec<Arc<AtomicBool>>,
    flushed: Vec<oneshot::Sender<()>>,
    is_end: bool,
}

impl Recorder {
    pub fn new(office: Arc<Office>) -> Self {
        Self { office, moved: HashMap::new(), failing: HashMap::new(), kept_at: Stopwatch::now() }
    }

    /// Writes until it is told that nothing follows.
    pub async fn run(mut self, mut notes: mpsc::Receiver<Note>) {
        while let Err(error) = self.begin().await {
            tracing::error!("endpoints could not be read: {error}");
            tokio::time::sleep(PAUSE).await;
        }
        let mut waiting = Vec::with_capacity(NOTES_AT_ONCE);
        loop {
            // Woken to write how far endpoints are, also if nobody says anything.
            let _ = tokio::time::timeout(KEEP_EVERY, notes.recv_many(&mut waiting, NOTES_AT_ONCE)).await;
            let page = self.read(waiting.drain(..));
            self.append(&page.events).await;
            let is_due = self.kept_at.elapsed() >= KEEP_EVERY || !page.flushed.is_empty() || page.is_end;
            let has_rows = !(page.failed.is_empty() && page.arrived.is_empty() && page.disabled.is_empty());
            if has_rows || (is_due && !self.moved.is_empty()) {
                self.keep(&page).await;
            }
            page.written.iter().for_each(|flag| flag.store(false, Ordering::Release));
            for flushed in page.flushed {
                // Whoever asked may be gone.
                let _ = flushed.send(());
            }
            if !page.disabled.is_empty() {
                self.office.changed.notify_one();
            }
            if page.is_end {
                return;
            }
        }
    }

    /// Since when attempts fail is known from before.
    async fn begin(&mut self) -> store::Result<()> {
        let active = self.office.db.read().await?.endpoints(Which::Active).await?;
        self.failing = active.into_iter().filter_map(|endpoint| Some((endpoint.id, endpoint.failing_since?))).collect();
        Ok(())
    }

    fn read(&mut self, notes: impl Iterator<Item = Note>) -> Page {
        let mut page = Page::default();
        for note in notes {
            match note {
                Note::Acknowledged { endpoint, event, was_waiting } => {
                    event.into_iter().for_each(|event| page.say(&event));
                    page.arrived.extend(was_waiting.map(|(batch, place)| (endpoint.clone(), batch, place)));
                    if self.failing.remove(&endpoint).is_some() {
                        self.moved.entry(endpoint).or_default();
                    }
                }
                Note::Failed { consumer, delivery, event } => {
                    event.into_iter().for_each(|event| page.say(&event));
                    let (endpoint, at) = (delivery.endpoint.clone(), delivery.last_at);
                    let since = *self.failing.entry(endpoint.clone()).or_insert(at);
                    if at.micros().saturating_sub(since.micros()) >= DISABLED_AFTER_MICROS {
                        let reason = "nothing was acknowledged for five days";
                        page.say(&notice::disabled(&endpoint, &consumer, since, at, reason));
                        page.disabled.push((endpoint.clone(), reason.to_owned()));
                        // When it is active again, it has five days again.
                        self.failing.remove(&endpoint);
                    }
                    self.moved.entry(endpoint).or_default();
                    page.failed.push(*delivery);
                }
                Note::Through { endpoint, seq } => {
                    self.moved.insert(endpoint, seq);
                }
                Note::Disabled { endpoint, reason, event } => {
                    page.say(&event);
                    self.failing.remove(&endpoint);
                    page.disabled.push((endpoint, reason));
                }
                Note::Written(flag) => page.written.push(flag),
                Note::Flush(flushed) => page.flushed.push(flushed),
                Note::End => page.is_end = true,
            }
        }
        page
    }

    /// Puts events into the log; waits for as long as that takes, and everybody with it: an acknowledgement counts.
    async fn append(&self, events: &str) {
        while !events.is_empty() {
            let body = events.as_bytes().to_vec();
            match self.office.metering.ingest(Format::Ndjson, body, Invalid::Quarantine, clock::now()).await {
                Ok(_) => return,
                Err(metering::Error::Busy) => tokio::time::sleep(PAUSE / 100).await,
                Err(error) => {
                    tracing::error!("acknowledgements could not be stored, and are tried again: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn keep(&mut self, page: &Page) {
        while let Err(error) = self.write(page).await {
            tracing::error!("deliveries could not be written down, which is tried again: {error}");
            tokio::time::sleep(PAUSE).await;
        }
        self.moved.clear();
        self.kept_at = Stopwatch::now();
    }

    async fn write(&self, page: &Page) -> store::Result<()> {
        let mut tx = self.office.db.write().await?;
        for delivery in &page.failed {
            tx.put_delivery(delivery).await?;
        }
        for (endpoint, batch, place) in &page.arrived {
            tx.remove_delivery(endpoint, *batch, *place).await?;
        }
        for (endpoint, seq) in &self.moved {
            tx.advance_endpoint(endpoint, *seq, self.failing.get(endpoint).copied()).await?;
        }
        for (id, reason) in &page.disabled {
            if let Some(mut endpoint) = tx.endpoints(Which::Id(id.as_str())).await?.pop() {
                endpoint.state = EndpointState::Disabled;
                endpoint.reason = Some(reason.clone());
                endpoint.changed_at = clock::now();
                tx.change_endpoint(&endpoint).await?;
            }
        }
        tx.commit().await
    }
}

impl Page {
    fn say(&mut self, event: &str) {
        self.events.push_str(event);
        self.events.push('\n');
    }
}
