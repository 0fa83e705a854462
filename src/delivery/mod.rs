//! Webhooks out: what endpoints ask for, from the log to their servers.
//!
//! Promise: every event that an endpoint asks for reaches it at least once, or is listed as given up after three days of trying,
//! also when this process is killed; and its first acknowledgement is an event of its own, that counts once (`tallystick.delivery.acknowledged`).
//!
//! How: each active endpoint has a [`worker`], which follows the log from where it was and sends what passes the endpoint's
//! filters. What is acknowledged at once leaves no row: the endpoint keeps how far it is. What is not is written down, and
//! tried again ([`retries`]). All of this is written by one [`recorder`], for all at once: acknowledgements into the log
//! first, then how far each endpoint is, so that a crash repeats a delivery and never forgets one. A worker whose endpoint
//! fails again and again rests, and tries one event at a time; nobody else waits for it.

pub mod client;
pub mod endpoints;
mod feed;
mod notice;
mod recorder;
mod retries;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::delivery::client::Attempt;
use crate::delivery::client::Client;
use crate::delivery::endpoints::Endpoints;
use crate::delivery::feed::Feed;
use crate::delivery::recorder::Note;
use crate::delivery::recorder::Recorder;
use crate::delivery::retries::Again;
use crate::delivery::worker::Worker;
use crate::domain::ids::DeliveryId;
use crate::domain::ids::EndpointId;
use crate::domain::time::Instant;
use crate::metering::Metering;
use crate::random;
use crate::store;
use crate::store::Db;
use crate::store::endpoints::Endpoint;

/// How long after something failed it is tried again: the store, or the log.
const PAUSE: Duration = Duration::from_secs(1);
/// Secrets end, whether or not anybody changes an endpoint.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Notes that wait for the recorder. Workers wait when there are more.
const NOTES_MAX: usize = 4_096;

/// What all workers share.
struct Office {
    db: Db,
    metering: Arc<Metering>,
    client: Client,
    feed: Feed,
    notes: mpsc::Sender<Note>,
    /// Told when an endpoint is to be looked at again.
    changed: Notify,
}

/// Delivers for as long as it lives, or until it is closed.
pub struct Delivery {
    pub endpoints: Endpoints,
    office: Arc<Office>,
    stop: watch::Sender<bool>,
    tasks: tokio::sync::Mutex<Vec<JoinHandle<()>>>,
}

/// A worker that is under way.
struct Working {
    /// Of the endpoint, when it began.
    changed_at: Instant,
    stop: watch::Sender<bool>,
    again: mpsc::Sender<Again>,
    /// Whether it has a handful of deliveries of which it is not written down yet what came of them.
    is_busy: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Working {
    /// Hands it deliveries that are due, unless it has some.
    fn hand(&self, deliveries: Vec<store::endpoints::Delivery>) {
        if !self.is_busy.swap(true, Ordering::AcqRel)
            && self.again.try_send(Again { deliveries, flag: self.is_busy.clone() }).is_err()
        {
            self.is_busy.store(false, Ordering::Release);
        }
    }
}

impl Delivery {
    /// Begins to deliver for all active endpoints.
    pub fn start(db: Db, metering: Arc<Metering>, client: Client, endpoints: Endpoints) -> Self {
        let (notes, waiting) = mpsc::channel(NOTES_MAX);
        let feed = Feed::new(db.clone(), metering.clone());
        let office = Arc::new(Office { db, metering, client, feed, notes, changed: Notify::new() });
        let (stop, stopped) = watch::channel(false);
        let tasks = vec![
            tokio::spawn(Recorder::new(office.clone()).run(waiting)),
            tokio::spawn(supervise(office.clone(), endpoints.clone(), stopped)),
        ];
        Self { endpoints, office, stop, tasks: tokio::sync::Mutex::new(tasks) }
    }

    /// Has endpoints looked at again, after one was made or changed.
    pub fn look_again(&self) {
        self.office.changed.notify_one();
    }

    /// Sends an endpoint an event that says that it is a test, at once and once.
    pub async fn test(&self, endpoint: &Endpoint, now: Instant) -> Result<Attempt, endpoints::Error> {
        let target = self.endpoints.ready(endpoint).await?;
        let id = DeliveryId::new(now, random::bytes());
        let data = json!({ "endpoint": endpoint.id });
        let event = notice::event("tallystick.endpoint.tested", id.as_str(), &endpoint.consumer, now, &data);
        Ok(target.post(&self.office, id.as_str(), &event).await)
    }

    /// Stops, after what is under way has ended and was written down.
    pub async fn close(&self) {
        // Nobody listens any more if it has stopped by itself.
        let _ = self.stop.send(true);
        let mut tasks = self.tasks.lock().await;
        // The recorder is told to end by the supervisor, when there is nothing left to note.
        for task in tasks.drain(..) {
            let _ = task.await;
        }
    }
}

/// Keeps a worker for each active endpoint.
async fn supervise(office: Arc<Office>, endpoints: Endpoints, mut stopped: watch::Receiver<bool>) {
    let mut working: HashMap<EndpointId, Working> = HashMap::new();
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut again = tokio::time::interval(retries::LOOK_EVERY);
    again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            _ = look.tick() => {}
            () = office.changed.notified() => {}
            _ = again.tick() => {
                if let Err(error) = retries::send_out(&office, &working).await {
                    tracing::error!("deliveries that are due could not be read: {error}");
                }
                continue;
            }
        }
        if let Err(error) = renew(&office, &endpoints, &mut working).await {
            tracing::error!("endpoints could not be read: {error}");
            tokio::time::sleep(PAUSE).await;
            office.changed.notify_one();
        }
    }
    for worker in working.values() {
        let _ = worker.stop.send(true);
    }
    for (_, worker) in working {
        let _ = worker.task.await;
    }
    let _ = office.notes.send(Note::End).await;
}

/// Lets workers of endpoints that are gone or changed finish, and begins those that are missing.
async fn renew(
    office: &Arc<Office>,
    endpoints: &Endpoints,
    working: &mut HashMap<EndpointId, Working>,
) -> store::Result<()> {
    let active = endpoints.active().await?;
    let mut finishing = HashMap::new();
    working.retain(|id, worker| {
        let stays = active.iter().any(|target| target.id == *id && target.changed_at == worker.changed_at);
        if !stays {
            let _ = worker.stop.send(true);
            finishing.insert(id.clone(), std::mem::replace(&mut worker.task, tokio::spawn(async {})));
        }
        stays && !worker.task.is_finished()
    });
    for target in active {
        if working.contains_key(&target.id) {
            continue;
        }
        let (stop, stopped) = watch::channel(false);
        let (again, due) = mpsc::channel(retries::WAITING_MAX);
        let (id, changed_at) = (target.id.clone(), target.changed_at);
        let (before, office) = (finishing.remove(&id), office.clone());
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            Worker::new(office, target, due, stopped).run().await;
        });
        working.insert(id, Working { changed_at, stop, again, is_busy: Arc::default(), task });
    }
    Ok(())
}
