//! The one writer of the log. For everything that waits at one moment: find duplicates, append one batch, fold it,
//! answer. So one fsync serves many requests, and the order of the log decides which of two duplicates came first.

use std::sync::Arc;
use std::sync::PoisonError;

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::clock;
use crate::domain::book::version::BookVersion;
use crate::domain::book::version::files_to_json;
use crate::domain::time::Instant;
use crate::metering::Error;
use crate::metering::Shared;
use crate::metering::archive;
use crate::metering::aside::aside;
use crate::metering::coverage::Coverage;
use crate::metering::group::Group;
use crate::metering::group::Outcome;
use crate::metering::group::Reply;
use crate::metering::ingest::Prepared;
use crate::metering::log::Sealer;
use crate::metering::recover;
use crate::metering::replay::Replaying;
use crate::store;
use crate::store::Db;
use crate::store::batches::Appender;
use crate::store::batches::Batch;
use crate::store::books::PublishedBook;

/// Bodies that one group commit takes at most, and text after which it takes no further one.
const GROUP_MAX: usize = 128;
const GROUP_BYTES_MAX: usize = 16 << 20;
/// Bodies that are a group without waiting for more.
const GATHERED_MIN: usize = 16;
/// Events of a group that are worked on between the turns of others: about a millisecond.
const EVENTS_INLINE_MAX: usize = 2_048;

/// Events that are worth a second thread to be added to the seen index and to the fold at the same time.
const SIDE_BY_SIDE_EVENTS_MIN: u64 = 5_000;

pub(in crate::metering) enum Command {
    Append { prepared: Box<Prepared>, reply: Reply<Outcome> },
    Publish { publication: Publication, reply: Reply<()> },
}

pub(in crate::metering) struct Publication {
    pub version: Box<BookVersion>,
    pub by: String,
    pub note: String,
    pub now: Instant,
}

type Body = (Box<Prepared>, Reply<Outcome>);

pub(in crate::metering) struct Writer {
    db: Db,
    appender: Appender,
    shared: Arc<Shared>,
    last_seq: i64,
    /// Whether a commit was not answered: its batch may be in the log or not.
    is_unsure: bool,
    sealer: Sealer,
    /// Empty, with the room that the last group needed.
    spare: Group,
}

impl Writer {
    pub(in crate::metering) fn new(db: Db, shared: Arc<Shared>, last_seq: i64) -> std::io::Result<Self> {
        let (appender, sealer) = (db.appender(), Sealer::new()?);
        Ok(Self { db, appender, shared, last_seq, is_unsure: false, sealer, spare: Group::default() })
    }

    /// Works until every sender is gone.
    pub(in crate::metering) async fn run(self, commands: mpsc::Receiver<Command>) {
        if let Err(error) = self.serve(commands).await {
            tracing::error!("the log's writer has panicked, and nothing is written any more: {error}");
        }
    }

    async fn serve(mut self, mut commands: mpsc::Receiver<Command>) -> Result<(), Error> {
        let mut waiting = Vec::with_capacity(GROUP_MAX);
        while commands.recv_many(&mut waiting, GROUP_MAX).await > 0 {
            gather(&mut commands, &mut waiting).await;
            let mut bodies = Vec::with_capacity(waiting.len());
            let mut bytes: usize = 0;
            for command in waiting.drain(..) {
                match command {
                    Command::Append { prepared, reply } => {
                        bytes = bytes.saturating_add(prepared.bytes());
                        bodies.push((prepared, reply));
                        if bytes >= GROUP_BYTES_MAX {
                            bytes = 0;
                            self = self.append(std::mem::take(&mut bodies)).await?;
                        }
                    }
                    Command::Publish { publication, reply } => {
                        self = self.append(std::mem::take(&mut bodies)).await?;
                        // Whoever asked may be gone; the version is published all the same.
                        let _ = reply.send(self.publish(publication).await);
                    }
                }
            }
            self = self.append(bodies).await?;
        }
        Ok(())
    }

    /// Appends what many bodies hold. An error only if that panics: then nothing can be written any more.
    async fn append(mut self, bodies: Vec<Body>) -> Result<Self, Error> {
        let events: usize = bodies.iter().map(|(prepared, _)| prepared.events.len()).sum();
        if events <= EVENTS_INLINE_MAX {
            self.append_group(bodies, events).await;
            return Ok(self);
        }
        let runtime = Handle::current();
        aside(move || {
            runtime.block_on(self.append_group(bodies, events));
            self
        })
        .await
    }

    async fn append_group(&mut self, bodies: Vec<Body>, events: usize) {
        let shared = self.shared.clone();
        // A replay waits: under a retraction it does not change whether the original is counted.
        let replaying = shared.replaying.lock().await;
        if let Err(error) = self.catch_up(&replaying).await {
            tracing::error!("events cannot be stored: {error}");
            return bodies.into_iter().for_each(|(_, reply)| unavailable(reply, &error));
        }
        let current = shared.versions();
        let mut group = std::mem::take(&mut self.spare);
        group.begin(self.last_seq.saturating_add(1), events);
        for (prepared, reply) in bodies {
            if !Arc::ptr_eq(&prepared.versions, &current) {
                let _ = reply.send(Ok(Outcome::OutOfDate(prepared)));
                continue;
            }
            match group.join(&self.db, &shared, prepared).await {
                Ok(Outcome::Taken(receipt)) => group.answers.push((reply, receipt)),
                refused => {
                    let _ = reply.send(refused);
                }
            }
        }
        let answers = std::mem::take(&mut group.answers);
        let retractions = std::mem::take(&mut group.taken_back);
        match self.commit(group).await {
            Ok(()) => {
                replaying.note(self.last_seq, retractions);
                for (reply, receipt) in answers {
                    let _ = reply.send(Ok(Outcome::Taken(receipt)));
                }
            }
            Err(error) => {
                self.is_unsure = true;
                tracing::error!("events could not be stored: {error}");
                answers.into_iter().for_each(|(reply, _)| unavailable(reply, &error));
            }
        }
    }

    /// After a commit that failed: it may have been made although the answer was lost. Then the log holds events that
    /// nobody was told of, and that are to be known when they come again.
    async fn catch_up(&mut self, replaying: &Replaying) -> Result<(), Error> {
        if !self.is_unsure {
            return Ok(());
        }
        let last_seq = self.db.settled_last_seq().await?;
        while self.last_seq < last_seq {
            let seq = self.last_seq.saturating_add(1);
            let batch = archive::batch(&self.db, &mut self.db.read_log().await?, seq).await?;
            // If it cannot be read it is damaged: then nothing more is appended behind it.
            replaying.note(seq, recover::take_in(&batch, &self.shared)?);
            self.last_seq = seq;
        }
        self.is_unsure = false;
        Ok(())
    }

    async fn commit(&mut self, mut group: Group) -> Result<(), Error> {
        if group.draft.is_empty() && group.quarantined.is_empty() {
            return Ok(());
        }
        let now = clock::now();
        let seq = group.seq;
        let full = |error| store::Error::Unavailable(format!("the batch cannot be compressed: {error}"));
        let batch = match group.draft.is_empty() {
            true => None,
            false => Some(self.sealer.seal(&group.draft, seq, now).map_err(full)?),
        };
        match &batch {
            Some(batch) if group.quarantined.is_empty() => self.appender.append(batch).await?,
            batch => self.commit_with_quarantined(batch.as_ref(), &group.quarantined, now).await?,
        }
        if batch.is_none() {
            return Ok(());
        }
        self.last_seq = seq;
        let events = group.draft.event_count();
        let Group { new, deltas, .. } = &mut group;
        let mut index = || self.shared.seen.insert(seq, new.drain().map(|(key, new)| (key, new.content)));
        let (folded, is_indexed) = std::thread::scope(|scope| {
            let is_much = events > SIDE_BY_SIDE_EVENTS_MIN;
            let beside = is_much.then(|| std::thread::Builder::new().spawn_scoped(scope, &mut index));
            let folded = self.shared.fold.add(seq, events, deltas.drain(..));
            (folded, beside.is_some_and(|thread| thread.is_ok()))
        });
        if !is_indexed {
            index();
        }
        // Only now: whatever became of usage, the log holds these events, and they must be known when they come again.
        folded?;
        self.spare = group.emptied();
        Ok(())
    }

    async fn commit_with_quarantined(
        &self,
        batch: Option<&Batch>,
        quarantined: &[Prepared],
        now: Instant,
    ) -> Result<(), Error> {
        let mut tx = self.db.write_log().await?;
        if let Some(batch) = batch {
            tx.append_batch(batch).await?;
        }
        for (id, event, faulty) in quarantined.iter().flat_map(|prepared| &prepared.quarantined) {
            let faults = serde_json::to_string(&faulty.errors).unwrap_or_default();
            tx.quarantine(id, now, event.as_bytes(), &faults).await?;
        }
        for id in quarantined.iter().filter_map(|prepared| prepared.released.as_ref()) {
            tx.release(id).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Everything before is flushed first, so that a new meter has a clean place in the log to begin at.
    async fn publish(&mut self, publication: Publication) -> Result<(), Error> {
        let shared = self.shared.clone();
        // A batch whose commit was not answered was checked without the new meters.
        self.catch_up(&*shared.replaying.lock().await).await?;
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
        if let Err(error) = tx.commit().await {
            // It may have been made although the answer was lost.
            let stored = self.db.read().await?.book_versions().await?;
            if !stored.iter().any(|book| book.id == version.id) {
                return Err(error.into());
            }
        }
        // No replay commits between the reading and what is made of it. Not locked before: a replay holds the books.
        let _replays_wait = self.shared.replaying.lock().await;
        let coverage = Coverage::stored(&self.db).await;
        *self.shared.coverage.write().unwrap_or_else(PoisonError::into_inner) = coverage;
        let versions = Arc::new(self.shared.versions().with(*version));
        *self.shared.versions.write().unwrap_or_else(PoisonError::into_inner) = versions;
        Ok(())
    }
}

/// Takes what comes while others have their turn, for as long as anything comes and it is few: one commit for all of it.
/// A commit costs as much as reading a dozen small bodies. Not until everybody has come: while half of them are being
/// made durable, the other half is read.
async fn gather(commands: &mut mpsc::Receiver<Command>, waiting: &mut Vec<Command>) {
    let mut before = 0;
    while before < waiting.len() && waiting.len() < GATHERED_MIN {
        before = waiting.len();
        tokio::task::yield_now().await;
        while waiting.len() < GROUP_MAX
            && let Ok(command) = commands.try_recv()
        {
            waiting.push(command);
        }
    }
}

fn unavailable(reply: Reply<Outcome>, error: &Error) {
    // Whoever asked may be gone.
    let _ = reply.send(Err(store::Error::Unavailable(error.to_string()).into()));
}
