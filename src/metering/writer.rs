//! The one writer of the log. For everything that waits at one moment: find duplicates, append one batch, fold it,
//! answer. So one fsync serves many requests, and the order of the log decides which of two duplicates came first.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::PoisonError;

use hashbrown::DefaultHashBuilder;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::clock;
use crate::domain::book::version::BookVersion;
use crate::domain::book::version::files_to_json;
use crate::domain::event::Event;
use crate::domain::event::Fault;
use crate::domain::event::says_the_same;
use crate::domain::measure::delta::Delta;
use crate::domain::measure::delta::Key;
use crate::domain::measure::delta::TooLarge;
use crate::domain::measure::digest::KeyDigest;
use crate::domain::measure::item::Place;
use crate::domain::measure::tally;
use crate::domain::measure::tally::Added;
use crate::domain::time::Instant;
use crate::metering::Error;
use crate::metering::Receipt;
use crate::metering::Shared;
use crate::metering::aside::aside;
use crate::metering::coverage::Coverage;
use crate::metering::ingest::Faulty;
use crate::metering::ingest::Prepared;
use crate::metering::ingest::PreparedEvent;
use crate::metering::log::DamagedBatch;
use crate::metering::log::Draft;
use crate::metering::log::Sealer;
use crate::metering::retract::RETRACTED;
use crate::metering::retract::Retraction;
use crate::metering::seen::SeenKey;
use crate::store;
use crate::store::Db;
use crate::store::batches::Batch;
use crate::store::books::PublishedBook;

/// Bodies that one group commit takes at most, and text after which it takes no further one.
const GROUP_MAX: usize = 128;
const GROUP_BYTES_MAX: usize = 16 << 20;
/// Bodies that are a group without waiting for more.
const GATHERED_MIN: usize = 32;
/// Events of a group that are worked on between the turns of others: about a millisecond.
const EVENTS_INLINE_MAX: usize = 2_048;

/// Events that are worth a second thread to be added to the seen index and to the fold at the same time.
const SIDE_BY_SIDE_EVENTS_MIN: u64 = 5_000;

pub(in crate::metering) enum Command {
    Append { prepared: Prepared, reply: Reply<Outcome> },
    Publish { publication: Publication, reply: Reply<()> },
}

pub(in crate::metering) struct Publication {
    pub version: Box<BookVersion>,
    pub by: String,
    pub note: String,
    pub now: Instant,
}

type Reply<T> = oneshot::Sender<Result<T, Error>>;
type Body = (Prepared, Reply<Outcome>);

/// What became of a body.
pub(in crate::metering) enum Outcome {
    Taken(Receipt),
    /// It was measured with meters that are out of date by now.
    OutOfDate(Box<Prepared>),
    /// Some of its events cannot be taken.
    Refused(Box<Prepared>, Vec<Faulty>),
}

pub(in crate::metering) struct Writer {
    db: Db,
    shared: Arc<Shared>,
    last_seq: i64,
    sealer: Sealer,
    /// Empty, with the room that the last group needed.
    spare: Group,
}

/// What a group will change, if its commit succeeds.
#[derive(Default)]
struct Group {
    draft: Draft,
    new: HashMap<SeenKey, New, DefaultHashBuilder>,
    deltas: Vec<(KeyDigest, Key, Delta)>,
    answers: Vec<(Reply<Outcome>, Receipt)>,
    quarantined: Vec<Prepared>,
    taken_back: Vec<Retraction>,
}

/// An event of the group itself, for the rare duplicate within it.
#[derive(Clone, Copy)]
struct New {
    content: u32,
    /// Where its line is in the draft; empty for the mark of an event that was taken back.
    line: (usize, usize),
}

impl Writer {
    pub(in crate::metering) fn new(db: Db, shared: Arc<Shared>, last_seq: i64) -> std::io::Result<Self> {
        Ok(Self { db, shared, last_seq, sealer: Sealer::new()?, spare: Group::default() })
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
        let current = shared.versions();
        let mut group = std::mem::take(&mut self.spare);
        group.new.reserve(events);
        for (prepared, reply) in bodies {
            if !Arc::ptr_eq(&prepared.versions, &current) {
                let _ = reply.send(Ok(Outcome::OutOfDate(Box::new(prepared))));
                continue;
            }
            match self.join(&mut group, prepared).await {
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
                tracing::error!("events could not be stored: {error}");
                for (reply, _) in answers {
                    let _ = reply.send(Err(store::Error::Unavailable(error.to_string()).into()));
                }
            }
        }
    }

    /// Adds the events of a body that are new to the group. Whatever can go wrong with a body is found before the
    /// group is touched.
    async fn join(&self, group: &mut Group, mut prepared: Prepared) -> Result<Outcome, Error> {
        if let Some(id) = &prepared.released {
            // Whoever else was earlier has had it: this body is not to count too.
            let has_gone = group.quarantined.iter().any(|earlier| earlier.released.as_ref() == Some(id));
            if has_gone || !self.db.read_log().await?.is_quarantined(id).await? {
                return Err(store::Error::Missing.into());
            }
        }
        let known = self.known(group, &prepared)?;
        let retractions = match self.retractions(group, &prepared, &known).await {
            Err(Error::Invalid(faulty)) => return Ok(Outcome::Refused(Box::new(prepared), faulty)),
            retractions => retractions?,
        };
        let conflicts = self.conflicts(group, &prepared, &known).await?;
        let seq = self.last_seq.saturating_add(1);
        let mut receipt = Receipt { conflicts, warned: std::mem::take(&mut prepared.warned), ..Receipt::default() };
        let mut keys = std::mem::take(&mut prepared.keys);
        let mut totals = std::mem::take(&mut prepared.totals);
        let some_wait = keys.iter().any(|(digest, _)| digest.is_none());
        let mut repeated = Vec::new();
        let mut added_from = 0;
        for (position, (event, known)) in prepared.events.iter().zip(known).enumerate() {
            let added = prepared.added.get(added_from..event.added_end).unwrap_or_default();
            added_from = event.added_end;
            // Again, since the body itself may hold an event twice.
            let first = group.new.get(&event.key).map(|new| new.content);
            if known.is_some() || first.is_some() {
                receipt.duplicates = receipt.duplicates.saturating_add(1);
                take_back(&mut totals, added)?;
                if known.is_none() && first != Some(event.content) {
                    repeated.push(position);
                }
                continue;
            }
            let retraction = retractions.get(&position);
            if retraction
                .is_some_and(|retraction| retraction.retraction.is_none() || group.new.contains_key(&retraction.mark))
            {
                receipt.duplicates = receipt.duplicates.saturating_add(1);
                take_back(&mut totals, added)?;
                continue;
            }
            receipt.accepted = receipt.accepted.saturating_add(1);
            let line = retraction.map_or_else(|| prepared.line(event), |retraction| &retraction.line);
            let index = u32::try_from(group.draft.event_count()).map_err(|_| TooLarge)?;
            if some_wait {
                tally::place(&mut keys, added, self.shared.fold.secret(), Place { seq, index });
            }
            group.push(event.key, event.content, line, event.time);
            if let Some(retraction) = retraction {
                group.new.insert(retraction.mark, New { content: 0, line: (0, 0) });
                group.taken_back.extend(retraction.retraction.clone());
                let secret = self.shared.fold.secret();
                let digested = |(key, delta): &(Key, Delta)| (KeyDigest::of(secret, key), key.clone(), *delta);
                group.deltas.extend(retraction.deltas.iter().map(digested));
            }
        }
        group.deltas.extend(tally::rows(keys, totals));
        // Their first ones are in the group: nothing can go wrong with reading them.
        for event in repeated.into_iter().filter_map(|position| prepared.events.get(position)) {
            if !self.same(group, event, prepared.line(event)).await? {
                receipt.conflicts.push(event.index);
            }
        }
        receipt.conflicts.sort_unstable();
        if !prepared.quarantined.is_empty() || prepared.released.is_some() {
            group.quarantined.push(prepared);
        }
        Ok(Outcome::Taken(receipt))
    }

    /// For each event of a body the content with which it is known already, in the log or earlier in the group.
    fn known(&self, group: &Group, prepared: &Prepared) -> Result<Vec<Option<u32>>, Error> {
        let recent = self.shared.seen.recent();
        let since = recent.since(&prepared.runs);
        let mut known = Vec::with_capacity(prepared.events.len());
        for event in &prepared.events {
            let seen = match event.known {
                Some(seen) => Some(seen),
                None => since.get(event.key)?,
            };
            let content = seen.map(|seen| seen.content);
            known.push(content.or_else(|| group.new.get(&event.key).map(|new| new.content)));
        }
        Ok(known)
    }

    /// Indexes of events that are known and said something else before.
    async fn conflicts(&self, group: &Group, prepared: &Prepared, known: &[Option<u32>]) -> Result<Vec<usize>, Error> {
        let mut conflicts = Vec::new();
        for (event, known) in prepared.events.iter().zip(known) {
            let is_other = known.is_some_and(|content| content != event.content);
            if is_other && !self.same(group, event, prepared.line(event)).await? {
                conflicts.push(event.index);
            }
        }
        Ok(conflicts)
    }

    /// The retractions of a body that are new, by their position, with what they take back.
    async fn retractions(
        &self,
        group: &Group,
        prepared: &Prepared,
        known: &[Option<u32>],
    ) -> Result<HashMap<usize, Resolved>, Error> {
        let mut resolved = HashMap::new();
        let mut faulty = Vec::new();
        for (position, (event, known)) in prepared.events.iter().zip(known).enumerate() {
            let Some(retracted) = event.retracts.as_deref().filter(|_| known.is_none()) else { continue };
            let mark = retracted.mark(&self.shared.seen);
            if self.shared.seen.get(mark)?.is_some() {
                // Taken back by another event already: nothing is left to do, and the log need not say it twice.
                resolved.insert(position, Resolved { mark, line: String::new(), deltas: Vec::new(), retraction: None });
                continue;
            }
            let Some((place, original)) = self.first(group, &retracted.source, &retracted.id).await? else {
                let detail = format!("no event with source {:?} and id {:?} is known", retracted.source, retracted.id);
                let fix = "check both; an event can be taken back once it was acknowledged";
                let fault = Fault::new("/data", "unknown_event", detail, fix);
                faulty.push(Faulty { index: event.index, errors: vec![fault] });
                continue;
            };
            if Event::parse(&original).is_ok_and(|original| original.kind == RETRACTED) {
                let fix = "send the event that was taken back again, with another id";
                let fault = Fault::new("/data", "retraction_of_retraction", "it names a retraction", fix);
                faulty.push(Faulty { index: event.index, errors: vec![fault] });
                continue;
            }
            let retraction = Retraction { place, event: original };
            let counted = |meter: &str, seq, at| self.shared.counted(meter, seq, at);
            let deltas = retraction.deltas(&prepared.versions, counted)?;
            let line = retraction
                .line(prepared.line(event))
                .map_err(|error| DamagedBatch { seq: place.seq, reason: format!("an event in it: {error}") })?;
            resolved.insert(position, Resolved { mark, line, deltas, retraction: Some(retraction) });
        }
        if faulty.is_empty() { Ok(resolved) } else { Err(Error::Invalid(faulty)) }
    }

    /// Whether a duplicate says what the first event with its key said.
    async fn same(&self, group: &Group, event: &PreparedEvent, newer: &str) -> Result<bool, Error> {
        let Ok(parsed) = Event::parse(newer) else { return Ok(true) };
        let first = self.first(group, &parsed.source, &parsed.id).await?;
        Ok(first.is_none_or(|(_, first)| event.retracts.is_some() || says_the_same(&first, newer)))
    }

    /// The text of the event with this key, and its place: in the group, or in the log.
    async fn first(&self, group: &Group, source: &str, id: &str) -> Result<Option<(Place, String)>, Error> {
        let key = self.shared.seen.key(source, id);
        if let Some(New { line: (start, end), .. }) = group.new.get(&key) {
            let line = group.draft.lines().get(*start..*end).unwrap_or_default();
            let before = group.draft.lines().get(..*start).unwrap_or_default();
            let index = u32::try_from(memchr::memchr_iter(b'\n', before).count()).map_err(|_| TooLarge)?;
            let place = Place { seq: self.last_seq.saturating_add(1), index };
            return Ok(Some((place, String::from_utf8_lossy(line).into_owned())));
        }
        let stored = self.shared.stored(&self.db, source, id).await?;
        Ok(stored.map(|(_, place, line)| (place, line)))
    }

    async fn commit(&mut self, mut group: Group) -> Result<(), Error> {
        if group.draft.is_empty() && group.quarantined.is_empty() {
            return Ok(());
        }
        let now = clock::now();
        let seq = self.last_seq.saturating_add(1);
        let full = |error| store::Error::Unavailable(format!("the batch cannot be compressed: {error}"));
        let batch = match group.draft.is_empty() {
            true => None,
            false => Some(self.sealer.seal(&group.draft, seq, now).map_err(full)?),
        };
        match &batch {
            Some(batch) if group.quarantined.is_empty() => self.db.append_batch(batch).await?,
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
        self.spare = Group { draft: group.draft.emptied(), new: group.new, deltas: group.deltas, ..Group::default() };
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

/// Takes the additions of an event that is not counted out of what its body adds.
fn take_back(totals: &mut [Delta], added: &[Added]) -> Result<(), TooLarge> {
    for added in added {
        if let Some(total) = totals.get_mut(added.key as usize) {
            *total = total.merge(added.delta.opposite()?)?;
        }
    }
    Ok(())
}

/// A retraction of a body, ready to join the group.
struct Resolved {
    mark: SeenKey,
    line: String,
    deltas: Vec<(Key, Delta)>,
    /// None if the event had been taken back before.
    retraction: Option<Retraction>,
}

impl Group {
    fn push(&mut self, key: SeenKey, content: u32, line: &str, time: Instant) {
        let start = self.draft.lines().len();
        self.draft.push(line.as_bytes(), time);
        self.new.insert(key, New { content, line: (start, start.saturating_add(line.len())) });
    }
}
