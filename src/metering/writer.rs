//! The one writer of the log. For everything that waits at one moment: find duplicates, append one batch, fold it,
//! answer. So one fsync serves many requests, and the order of the log decides which of two duplicates came first.
//!
//! While one group is made durable the next one is gathered. A body whose fate depends on the one under way (it repeats an
//! event of it, or takes one back) waits until that has landed. If it fails, so does what was gathered behind it: nobody
//! knows then where the log ends.

use std::sync::Arc;
use std::sync::PoisonError;

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::domain::book::version::BookVersion;
use crate::domain::book::version::files_to_json;
use crate::domain::time::Instant;
use crate::metering::Error;
use crate::metering::Shared;
use crate::metering::archive;
use crate::metering::aside::aside;
use crate::metering::coverage::Coverage;
use crate::metering::flight::Flight;
use crate::metering::flight::Landed;
use crate::metering::group::BODIES_MAX;
use crate::metering::group::Group;
use crate::metering::group::Outcome;
use crate::metering::group::Reply;
use crate::metering::ingest::Prepared;
use crate::metering::log::Sealer;
use crate::metering::recover;
use crate::store;
use crate::store::Db;
use crate::store::batches::Appender;
use crate::store::books::PublishedBook;

/// Bodies that are a group without waiting for more.
const GATHERED_MIN: usize = 16;
/// Events that are worked on between the turns of others: about a millisecond.
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

pub(in crate::metering) struct Writer {
    db: Db,
    shared: Arc<Shared>,
    /// The newest batch that is durable and counted.
    last_seq: i64,
    /// Whether a commit was not answered: its batch may be in the log or not.
    is_unsure: bool,
    sealer: Sealer,
    /// Where it is not with the flight.
    appender: Option<Appender>,
    flight: Option<Flight>,
    /// What is gathered for the next one.
    group: Group,
    /// Empty, with the room that an earlier group needed.
    spare: Group,
}

impl Writer {
    pub(in crate::metering) fn new(db: Db, shared: Arc<Shared>, last_seq: i64) -> std::io::Result<Self> {
        let sealer = Sealer::new()?;
        let (group, spare) = (Group::default(), Group::default());
        Ok(Self { db, shared, last_seq, is_unsure: false, sealer, appender: None, flight: None, group, spare })
    }

    /// Works until every sender is gone.
    pub(in crate::metering) async fn run(self, commands: mpsc::Receiver<Command>) {
        if let Err(error) = self.serve(commands).await {
            tracing::error!("the log's writer has panicked, and nothing is written any more: {error}");
        }
    }

    async fn serve(mut self, mut commands: mpsc::Receiver<Command>) -> Result<(), Error> {
        let mut waiting = Vec::with_capacity(BODIES_MAX);
        loop {
            match &mut self.flight {
                None if commands.recv_many(&mut waiting, BODIES_MAX).await == 0 => return Ok(()),
                None => gather(&mut commands, &mut waiting).await,
                Some(flight) => {
                    // Not woken by everything that comes meanwhile: that costs more than it saves.
                    flight.land().await;
                    while waiting.len() < BODIES_MAX
                        && let Ok(command) = commands.try_recv()
                    {
                        waiting.push(command);
                    }
                }
            }
            let flying = self.flight.as_ref().map_or(0, |flight| flight.group.events());
            if flying.saturating_add(waiting.iter().map(Command::events).sum()) <= EVENTS_INLINE_MAX {
                self.advance(&mut waiting).await;
                continue;
            }
            let runtime = Handle::current();
            (self, waiting) = aside(move || {
                runtime.block_on(self.advance(&mut waiting));
                (self, waiting)
            })
            .await?;
        }
    }

    /// Takes in what waits, sends it off, and makes known what has landed.
    async fn advance(&mut self, waiting: &mut Vec<Command>) {
        for command in waiting.drain(..) {
            match command {
                Command::Append { prepared, reply } => {
                    if self.group.is_full() {
                        self.settle(true).await;
                    }
                    self.join(prepared, reply).await;
                }
                Command::Publish { publication, reply } => {
                    // Whoever asked may be gone; the version is published all the same.
                    let _ = reply.send(self.publish(publication).await);
                }
            }
        }
        self.settle(true).await;
    }

    /// Adds a body to the group.
    async fn join(&mut self, prepared: Box<Prepared>, reply: Reply<Outcome>) {
        if self.flight.as_ref().is_some_and(|flight| !flight.lets_join(&prepared)) {
            self.settle(false).await;
        }
        let shared = self.shared.clone();
        if self.is_unsure
            && let Err(error) = self.catch_up().await
        {
            tracing::error!("events cannot be stored: {error}");
            return unavailable(reply, &error);
        }
        if !Arc::ptr_eq(&prepared.versions, &shared.versions()) {
            let _ = reply.send(Ok(Outcome::OutOfDate(prepared)));
            return;
        }
        if self.group.is_empty() {
            let before = self.flight.as_ref().and_then(|flight| flight.group.batch());
            self.group = std::mem::take(&mut self.spare);
            self.group.begin(before.unwrap_or(self.last_seq).saturating_add(1));
        }
        if prepared.is_rare() && self.group.replays_wait.is_none() {
            // Under a retraction a replay does not change whether the original is counted.
            self.group.replays_wait = Some(shared.replaying.clone().lock_owned().await);
        }
        match self.group.join(&self.db, &shared, prepared).await {
            Ok(Outcome::Taken(receipt)) => self.group.answers.push((reply, receipt)),
            refused => {
                let _ = reply.send(refused);
            }
        }
        if self.group.is_empty() {
            self.spare = std::mem::take(&mut self.group).emptied();
        }
    }

    /// Sends the group off. Nothing is under way.
    async fn depart(&mut self) {
        if self.group.is_empty() {
            return;
        }
        let appender = self.appender.take().unwrap_or_else(|| self.db.appender());
        let group = std::mem::take(&mut self.group);
        self.flight = Some(Flight::begin(group, &self.db, &mut self.sealer, appender).await);
    }

    /// Waits until the flight has landed, if there is one, and makes known what it has made durable. If the next one
    /// `departs`, it is under way by then.
    async fn settle(&mut self, departs: bool) {
        let landed = match self.flight.take() {
            Some(flight) => Some(flight.landed().await),
            None => None,
        };
        let mut counted = None;
        if let Some((group, Landed { appender, result })) = landed {
            self.appender = Some(appender);
            if let Err(error) = result {
                self.is_unsure = true;
                tracing::error!("events could not be stored: {error}");
                return [group, std::mem::take(&mut self.group)].into_iter().for_each(|group| group.fail(&error));
            }
            counted = Some(group);
        }
        if departs {
            self.depart().await;
        }
        if let Some(group) = counted {
            self.count(group);
        }
    }

    /// Takes a durable group into memory, and answers.
    fn count(&mut self, mut group: Group) {
        let seq = group.seq;
        let counted = match group.batch() {
            Some(_) => self.fold(&mut group),
            None => Ok(()),
        };
        if let Some(replaying) = group.replays_wait.take() {
            replaying.note(seq, std::mem::take(&mut group.taken_back));
        }
        match counted {
            Ok(()) => {
                self.shared.newest.send_replace(self.last_seq);
                for (reply, receipt) in std::mem::take(&mut group.answers) {
                    let _ = reply.send(Ok(Outcome::Taken(receipt)));
                }
                self.spare = group.emptied();
            }
            Err(error) => {
                tracing::error!("events were stored, and could not be counted: {error}");
                group.fail(&error);
            }
        }
    }

    fn fold(&mut self, group: &mut Group) -> Result<(), Error> {
        let (seq, events) = (group.seq, group.draft.event_count());
        self.last_seq = seq;
        let Group { new, deltas, .. } = group;
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
        Ok(folded?)
    }

    /// After a commit that failed: it may have been made although the answer was lost. Then the log holds events that
    /// nobody was told of, and that are to be known when they come again.
    async fn catch_up(&mut self) -> Result<(), Error> {
        if !self.is_unsure {
            return Ok(());
        }
        let replaying = self.shared.replaying.lock().await;
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

    /// Everything before is flushed first, so that a new meter has a clean place in the log to begin at.
    async fn publish(&mut self, publication: Publication) -> Result<(), Error> {
        while self.flight.is_some() || !self.group.is_empty() {
            self.settle(true).await;
        }
        // A batch whose commit was not answered was checked without the new meters.
        self.catch_up().await?;
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
/// A commit costs as much as reading a dozen small bodies. Not until everybody has come: while one group is being made
/// durable, the next one is read.
async fn gather(commands: &mut mpsc::Receiver<Command>, waiting: &mut Vec<Command>) {
    let mut before = 0;
    while before < waiting.len() && waiting.len() < GATHERED_MIN {
        before = waiting.len();
        tokio::task::yield_now().await;
        while waiting.len() < BODIES_MAX
            && let Ok(command) = commands.try_recv()
        {
            waiting.push(command);
        }
    }
}

impl Command {
    fn events(&self) -> usize {
        match self {
            Self::Append { prepared, .. } => prepared.events.len(),
            Self::Publish { .. } => 0,
        }
    }
}

pub(in crate::metering) fn unavailable(reply: Reply<Outcome>, error: &Error) {
    // Whoever asked may be gone.
    let _ = reply.send(Err(store::Error::Unavailable(error.to_string()).into()));
}
