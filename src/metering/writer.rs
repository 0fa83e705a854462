//! The one writer of the log. For everything that waits at one moment: find duplicates, append one batch, fold it,
//! answer. So one fsync serves many requests, and the order of the log decides which of two duplicates came first.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::PoisonError;

use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::clock;
use crate::domain::book::version::BookVersion;
use crate::domain::book::version::files_to_json;
use crate::domain::event::Event;
use crate::domain::event::says_the_same;
use crate::domain::measure::meters::Contribution;
use crate::domain::time::Instant;
use crate::metering::Error;
use crate::metering::Receipt;
use crate::metering::Shared;
use crate::metering::ingest::Prepared;
use crate::metering::ingest::PreparedEvent;
use crate::metering::log;
use crate::metering::log::Draft;
use crate::metering::seen::SeenKey;
use crate::store;
use crate::store::Db;
use crate::store::batches::Batch;
use crate::store::books::PublishedBook;

/// Bodies that one group commit takes at most.
const GROUP_MAX: usize = 128;

pub(in crate::metering) enum Command {
    /// `None` answers a body that was measured with meters that are out of date by now.
    Append {
        prepared: Prepared,
        reply: Reply<Option<Receipt>>,
    },
    Publish {
        publication: Publication,
        reply: Reply<()>,
    },
}

pub(in crate::metering) struct Publication {
    pub version: Box<BookVersion>,
    pub by: String,
    pub note: String,
    pub now: Instant,
}

type Reply<T> = oneshot::Sender<Result<T, Error>>;

pub(in crate::metering) struct Writer {
    db: Db,
    shared: Arc<Shared>,
    last_seq: i64,
}

/// What a group will change, if its commit succeeds.
#[derive(Default)]
struct Group {
    draft: Draft,
    new: HashMap<SeenKey, u32>,
    /// The texts of the group's own events, for the rare duplicate within it.
    texts: HashMap<SeenKey, (usize, usize)>,
    contributions: Vec<Contribution>,
    answers: Vec<(Reply<Option<Receipt>>, Receipt)>,
    quarantined: Vec<Prepared>,
}

impl Writer {
    pub(in crate::metering) fn new(db: Db, shared: Arc<Shared>, last_seq: i64) -> Self {
        Self { db, shared, last_seq }
    }

    /// Works until every sender is gone.
    pub(in crate::metering) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut waiting = Vec::with_capacity(GROUP_MAX);
        while commands.recv_many(&mut waiting, GROUP_MAX).await > 0 {
            let mut bodies = Vec::with_capacity(waiting.len());
            for command in waiting.drain(..) {
                match command {
                    Command::Append { prepared, reply } => bodies.push((prepared, reply)),
                    Command::Publish { publication, reply } => {
                        self.append(std::mem::take(&mut bodies)).await;
                        // Whoever asked may be gone; the version is published all the same.
                        let _ = reply.send(self.publish(publication).await);
                    }
                }
            }
            self.append(bodies).await;
        }
    }

    async fn append(&mut self, bodies: Vec<(Prepared, Reply<Option<Receipt>>)>) {
        let current = self.shared.versions();
        let mut group = Group::default();
        for (prepared, reply) in bodies {
            if !Arc::ptr_eq(&prepared.versions, &current) {
                let _ = reply.send(Ok(None));
                continue;
            }
            match self.join(&mut group, prepared).await {
                Ok(receipt) => group.answers.push((reply, receipt)),
                Err(error) => {
                    let _ = reply.send(Err(error));
                }
            }
        }
        let answers = std::mem::take(&mut group.answers);
        match self.commit(group).await {
            Ok(()) => {
                for (reply, receipt) in answers {
                    let _ = reply.send(Ok(Some(receipt)));
                }
            }
            Err(error) => {
                tracing::error!("events could not be stored: {error}");
                for (reply, _) in answers {
                    let _ = reply.send(Err(store::Error::Unavailable(error.to_string()).into()));
                }
            }
        }
    }

    /// Adds the events of a body that are new to the group.
    async fn join(&self, group: &mut Group, prepared: Prepared) -> Result<Receipt, Error> {
        let mut receipt = Receipt::default();
        let mut fresh = Vec::new();
        for (position, event) in prepared.events.iter().enumerate() {
            let key = self.shared.seen().key(&event.source, &event.id);
            let known = self.shared.seen().get(key)?.map(|seen| seen.content).or_else(|| group.new.get(&key).copied());
            let Some(content) = known else {
                let text = &prepared.text[event.line.clone()];
                let start = group.draft.lines().len();
                group.draft.push(text.as_bytes(), event.time);
                group.texts.insert(key, (start, start.saturating_add(text.len())));
                group.new.insert(key, event.content);
                receipt.accepted = receipt.accepted.saturating_add(1);
                fresh.push(position);
                continue;
            };
            receipt.duplicates = receipt.duplicates.saturating_add(1);
            if content != event.content && !self.same(group, key, event, &prepared.text).await? {
                receipt.conflicts.push(event.index);
            }
        }
        let mut prepared = prepared;
        for position in fresh {
            group.contributions.append(&mut prepared.events[position].contributions);
        }
        if !prepared.quarantined.is_empty() {
            group.quarantined.push(prepared);
        }
        Ok(receipt)
    }

    /// Whether a duplicate says what the first event with its key said.
    async fn same(&self, group: &Group, key: SeenKey, event: &PreparedEvent, text: &str) -> Result<bool, Error> {
        let newer = &text[event.line.clone()];
        let first = match group.texts.get(&key) {
            Some((start, end)) => String::from_utf8_lossy(&group.draft.lines()[*start..*end]).into_owned(),
            None => match self.stored(key, event).await? {
                Some(text) => text,
                None => return Ok(true),
            },
        };
        Ok(says_the_same(&first, newer))
    }

    async fn stored(&self, key: SeenKey, event: &PreparedEvent) -> Result<Option<String>, Error> {
        let Some(seen) = self.shared.seen().get(key)? else { return Ok(None) };
        let Some(batch) = self.db.read_log().await?.batch(seen.seq).await? else { return Ok(None) };
        let is_it = |line: &&str| Event::parse(line).is_ok_and(|it| it.source == event.source && it.id == event.id);
        Ok(log::lines(&batch)?.lines().find(is_it).map(str::to_owned))
    }

    async fn commit(&mut self, group: Group) -> Result<(), Error> {
        if group.draft.is_empty() && group.quarantined.is_empty() {
            return Ok(());
        }
        let now = clock::now();
        let mut tx = self.db.write_log().await?;
        let mut seq = self.last_seq;
        if !group.draft.is_empty() {
            seq = seq.saturating_add(1);
            tx.append_batch(&self.seal(&group, seq, now)?).await?;
        }
        for (id, event, faulty) in group.quarantined.iter().flat_map(|prepared| &prepared.quarantined) {
            let faults = serde_json::to_string(&faulty.errors).unwrap_or_default();
            tx.quarantine(id, now, event.as_bytes(), &faults).await?;
        }
        tx.commit().await?;
        self.last_seq = seq;
        if !group.new.is_empty() {
            self.shared.seen().insert(seq, group.new.into_iter());
        }
        self.shared.fold.add(seq, group.contributions)?;
        Ok(())
    }

    fn seal(&self, group: &Group, seq: i64, now: Instant) -> Result<Batch, Error> {
        let full =
            |error: std::io::Error| store::Error::Unavailable(format!("the batch cannot be compressed: {error}"));
        Ok(group.draft.seal(seq, now).map_err(full)?)
    }

    /// Everything before is flushed first, so that a new meter has a clean place in the log to begin at.
    async fn publish(&mut self, publication: Publication) -> Result<(), Error> {
        self.shared.fold.flush(&self.db).await?;
        let Publication { version, by, note, now } = publication;
        let mut tx = self.db.write().await?;
        tx.publish_book(&PublishedBook {
            id: version.id.clone(),
            hash: version.hash.clone(),
            effective_from: version.effective_from,
            published_at: now,
            published_by: by,
            note,
            files: files_to_json(&version.files),
        })
        .await?;
        for meter in version.book.meters.keys() {
            tx.add_meter(meter, self.last_seq).await?;
        }
        tx.commit().await?;
        let versions = Arc::new(self.shared.versions().with(*version));
        *self.shared.versions.write().unwrap_or_else(PoisonError::into_inner) = versions;
        Ok(())
    }
}
