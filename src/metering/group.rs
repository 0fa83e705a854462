//! A group of bodies that become one batch: finds what is new in each, what repeats something, and what is taken back.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use hashbrown::DefaultHashBuilder;
use tokio::sync::OwnedMutexGuard;
use tokio::sync::oneshot;

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
use crate::metering::ingest::Faulty;
use crate::metering::ingest::Prepared;
use crate::metering::ingest::PreparedEvent;
use crate::metering::log::DamagedBatch;
use crate::metering::log::Draft;
use crate::metering::originals::TAKEN_BACK_BYTES_MAX;
use crate::metering::replay::Replaying;
use crate::metering::retract::RETRACTED;
use crate::metering::retract::Retracted;
use crate::metering::retract::Retraction;
use crate::metering::seen::SeenKey;
use crate::metering::writer::unavailable;
use crate::store;
use crate::store::Db;

pub(in crate::metering) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// What became of a body.
pub(in crate::metering) enum Outcome {
    Taken(Receipt),
    /// It was measured with meters that are out of date by now.
    OutOfDate(Box<Prepared>),
    /// It names events of the log that were not looked up. With the content with which each of its events is known.
    NeedsLookUp(Box<Prepared>, Vec<Option<u32>>),
    /// Some of its events cannot be taken.
    Refused(Box<Prepared>, Vec<Faulty>),
}

/// Bodies that one group takes at most, and text after which it takes no further one.
pub(in crate::metering) const BODIES_MAX: usize = 128;
const BYTES_MAX: usize = 16 << 20;

/// What a group will change, if its commit succeeds.
#[derive(Default)]
pub(in crate::metering) struct Group {
    /// The number of the batch that it becomes, if it holds an event.
    pub seq: i64,
    pub draft: Draft,
    pub new: HashMap<SeenKey, New, DefaultHashBuilder>,
    pub deltas: Vec<(KeyDigest, Key, Delta)>,
    pub answers: Vec<(Reply<Outcome>, Receipt)>,
    pub quarantined: Vec<Prepared>,
    pub taken_back: Vec<Retraction>,
    /// Keeps a replay from committing, from the first rare body on until the group has landed.
    pub replays_wait: Option<OwnedMutexGuard<Replaying>>,
}

/// An event of the group itself, for the rare duplicate within it.
#[derive(Clone, Copy)]
pub(in crate::metering) struct New {
    pub content: u32,
    /// Within the batch.
    index: u32,
    /// Where its line is in the draft; empty for the mark of an event that was taken back.
    line: (usize, usize),
}

/// A retraction of a body, ready to join the group.
struct Resolved {
    mark: SeenKey,
    /// As the log keeps it. Of retractions of one event only the first has it here: it holds that event, and nearly always
    /// the others are dropped.
    line: Option<String>,
    deltas: Vec<(Key, Delta)>,
    /// None if the event had been taken back before.
    retraction: Option<Retraction>,
}

impl Group {
    /// Begins to be the batch of this number.
    pub fn begin(&mut self, seq: i64) {
        self.seq = seq;
    }

    /// Whether nobody waits for it.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.answers.len() >= BODIES_MAX || self.draft.lines().len() >= BYTES_MAX
    }

    /// The number of its batch, if there is one.
    pub fn batch(&self) -> Option<i64> {
        (!self.draft.is_empty()).then_some(self.seq)
    }

    pub fn events(&self) -> usize {
        self.new.len()
    }

    /// An empty group with the room that this one has.
    pub fn emptied(mut self) -> Self {
        self.new.clear();
        self.deltas.clear();
        Self { draft: self.draft.emptied(), new: self.new, deltas: self.deltas, ..Self::default() }
    }

    /// Tells everybody who waits that nothing of theirs is known to be stored.
    pub fn fail(self, error: &Error) {
        self.answers.into_iter().for_each(|(reply, _)| unavailable(reply, error));
    }

    /// Adds the events of a body that are new to the self. Whatever can go wrong with a body is found before the
    /// group is touched.
    pub async fn join(&mut self, db: &Db, shared: &Arc<Shared>, mut prepared: Box<Prepared>) -> Result<Outcome, Error> {
        if let Some(id) = &prepared.released {
            // Whoever else was earlier has had it: this body is not to count too.
            let has_gone = self.quarantined.iter().any(|earlier| earlier.released.as_ref() == Some(id));
            if has_gone || !db.read_log().await?.is_quarantined(id).await? {
                return Err(store::Error::Missing.into());
            }
        }
        let known = self.known(shared, &prepared)?;
        if shared.needs_look_up(&prepared, &known)? {
            return Ok(Outcome::NeedsLookUp(prepared, known));
        }
        let retractions = match self.retractions(shared, &prepared, &known) {
            Err(Error::Invalid(faulty)) => return Ok(Outcome::Refused(prepared, faulty)),
            retractions => retractions?,
        };
        let conflicts = self.differing(&prepared, &known);
        let seq = self.seq;
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
            let first = self.new.get(&event.key).map(|new| new.content);
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
                .is_some_and(|retraction| retraction.retraction.is_none() || self.new.contains_key(&retraction.mark))
            {
                receipt.duplicates = receipt.duplicates.saturating_add(1);
                take_back(&mut totals, added)?;
                continue;
            }
            receipt.accepted = receipt.accepted.saturating_add(1);
            let retracting = match retraction.and_then(|resolved| Some((resolved, resolved.retraction.as_ref()?))) {
                Some((Resolved { line: None, .. }, retraction)) => Some(line_of(retraction, prepared.line(event))?),
                Some((Resolved { line, .. }, _)) => line.clone(),
                None => None,
            };
            let line = retracting.as_deref().unwrap_or_else(|| prepared.line(event));
            let index = u32::try_from(self.draft.event_count()).map_err(|_| TooLarge)?;
            if some_wait {
                tally::place(&mut keys, added, shared.fold.secret(), Place { seq, index });
            }
            self.push((event.key, event.content), index, line, event.time);
            if let Some(retraction) = retraction {
                self.new.insert(retraction.mark, New { content: 0, index, line: (0, 0) });
                self.taken_back.extend(retraction.retraction.clone());
                let secret = shared.fold.secret();
                let digested = |(key, delta): &(Key, Delta)| (KeyDigest::of(secret, key), key.clone(), *delta);
                self.deltas.extend(retraction.deltas.iter().map(digested));
            }
        }
        self.deltas.extend(tally::rows(keys, totals));
        for event in repeated.into_iter().filter_map(|position| prepared.events.get(position)) {
            let first = self.new.get(&event.key).map(|new| self.line(new));
            if first.is_some_and(|first| event.retracts.is_none() && !says_the_same(&first, prepared.line(event))) {
                receipt.conflicts.push(event.index);
            }
        }
        receipt.conflicts.sort_unstable();
        if !prepared.quarantined.is_empty() || prepared.released.is_some() {
            self.quarantined.push(*prepared);
        }
        Ok(Outcome::Taken(receipt))
    }

    /// For each event of a body the content with which it is known already, in the log or earlier in the self.
    fn known(&self, shared: &Shared, prepared: &Prepared) -> Result<Vec<Option<u32>>, Error> {
        let recent = shared.seen.recent();
        let since = recent.since(&prepared.runs);
        let mut known = Vec::with_capacity(prepared.events.len());
        for event in &prepared.events {
            let seen = match event.known {
                Some(seen) => Some(seen),
                None => since.get(event.key)?,
            };
            let content = seen.map(|seen| seen.content);
            known.push(content.or_else(|| self.new.get(&event.key).map(|new| new.content)));
        }
        Ok(known)
    }

    /// The retractions of a body that are new, by their position, with what they take back.
    fn retractions(
        &self,
        shared: &Shared,
        prepared: &Prepared,
        known: &[Option<u32>],
    ) -> Result<HashMap<usize, Resolved>, Error> {
        let (mut resolved, mut marks) = (HashMap::new(), HashSet::new());
        // An event of the group may be named more than once.
        let mut texts: HashMap<SeenKey, Arc<str>> = HashMap::new();
        let mut faulty = Vec::new();
        for (position, (event, known)) in prepared.events.iter().zip(known).enumerate() {
            let Some(retracted) = event.retracts.as_deref().filter(|_| known.is_none()) else { continue };
            let mark = retracted.mark(&shared.seen);
            if shared.seen.get(mark)?.is_some() {
                // Taken back by another event already: nothing is left to do, and the log need not say it twice.
                resolved.insert(position, Resolved { mark, line: None, deltas: Vec::new(), retraction: None });
                continue;
            }
            let key = shared.seen.key(&retracted.source, &retracted.id);
            let mut in_group = |new: &New| {
                let text = texts.entry(key).or_insert_with(|| self.line(new).into()).clone();
                (Place { seq: self.seq, index: new.index }, text)
            };
            let original = match (prepared.originals.retracted(key), self.new.get(&key)) {
                (Some(Some(stored)), _) => Ok((stored.place, stored.text.clone())),
                (Some(None), _) => {
                    let detail = format!(
                        "the events of this body that are taken back come to more than {TAKEN_BACK_BYTES_MAX} bytes"
                    );
                    Err(Fault::new("/data", "too_much_taken_back", detail, "send fewer of them in one body"))
                }
                (None, Some(new)) => Ok(in_group(new)),
                (None, None) => {
                    let Retracted { source, id } = retracted;
                    let detail = format!("no event with source {source:?} and id {id:?} is known");
                    let fix = "check both; an event can be taken back once it was acknowledged";
                    Err(Fault::new("/data", "unknown_event", detail, fix))
                }
            };
            let original = original.and_then(|(place, event)| {
                if Event::parse(&event).is_ok_and(|event| event.kind == RETRACTED) {
                    let fix = "send the event that was taken back again, with another id";
                    return Err(Fault::new("/data", "retraction_of_retraction", "it names a retraction", fix));
                }
                Ok(Retraction { place, event })
            });
            let retraction = match original {
                Ok(retraction) => retraction,
                Err(fault) => {
                    faulty.push(Faulty { index: event.index, errors: vec![fault] });
                    continue;
                }
            };
            let counted = |meter: &str, seq, at| shared.counted(meter, seq, at);
            let deltas = retraction.deltas(&prepared.versions, counted)?;
            let line = Some(line_of(&retraction, prepared.line(event))?).filter(|_| marks.insert(mark));
            resolved.insert(position, Resolved { mark, line, deltas, retraction: Some(retraction) });
        }
        if faulty.is_empty() { Ok(resolved) } else { Err(Error::Invalid(faulty)) }
    }

    /// Indexes of events that are known, in the log or earlier in the group, and said something else there.
    fn differing(&self, prepared: &Prepared, known: &[Option<u32>]) -> Vec<usize> {
        let differs = |(position, (event, known)): &(usize, (&PreparedEvent, &Option<u32>))| {
            if event.retracts.is_some() || known.is_none_or(|content| content == event.content) {
                return false;
            }
            match self.new.get(&event.key) {
                Some(new) => !says_the_same(&self.line(new), prepared.line(event)),
                None => prepared.originals.differs(*position).unwrap_or(false),
            }
        };
        let known = prepared.events.iter().zip(known).enumerate();
        known.filter(differs).map(|(_, (event, _))| event.index).collect()
    }

    fn push(&mut self, (key, content): (SeenKey, u32), index: u32, line: &str, time: Instant) {
        let start = self.draft.lines().len();
        self.draft.push(line.as_bytes(), time);
        self.new.insert(key, New { content, index, line: (start, start.saturating_add(line.len())) });
    }

    fn line(&self, new: &New) -> String {
        let (start, end) = new.line;
        String::from_utf8_lossy(self.draft.lines().get(start..end).unwrap_or_default()).into_owned()
    }
}

/// The line that the log keeps of a retraction.
fn line_of(retraction: &Retraction, sent: &str) -> Result<String, Error> {
    let damaged = |error| DamagedBatch { seq: retraction.place.seq, reason: format!("an event in it: {error}") };
    Ok(retraction.line(sent).map_err(damaged)?)
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
