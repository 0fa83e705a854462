//! What the log says of the events that a body names: those that it takes back, and those that it repeats in other words.
//! Never read in the writer's turn: a body that needs it comes again when it was read, each batch once.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use crate::domain::event::says_the_same;
use crate::domain::measure::item::Place;
use crate::domain::shape::Shapes;
use crate::domain::time::Instant;
use crate::metering::Error;
use crate::metering::Shared;
use crate::metering::archive;
use crate::metering::aside::aside;
use crate::metering::ingest::Prepared;
use crate::metering::log;
use crate::metering::seen::SeenKey;
use crate::store::Db;

/// Text of events that one body can take back: the log keeps each of them again.
pub const TAKEN_BACK_BYTES_MAX: usize = 16 << 20;

/// An event as the log holds it.
#[derive(Clone, Debug)]
pub struct Stored {
    pub place: Place,
    pub received_at: Instant,
    /// Its JSON.
    pub text: Arc<str>,
}

/// What is known of them so far.
#[derive(Debug, Default)]
pub struct Originals {
    /// Those that are taken back; none where they are more than can be at once.
    retracted: HashMap<SeenKey, Option<Stored>>,
    retracted_bytes: usize,
    /// By position in the body, of those that are repeated: whether they said something else.
    differs: HashMap<usize, bool>,
    /// Everything that was looked up, also what was not where it should be.
    looked_up: HashSet<SeenKey>,
}

/// What a body needs of the log and was not looked up yet.
#[derive(Default)]
struct Wanted {
    retracted: HashSet<SeenKey>,
    /// With their positions in the body.
    repeated: HashMap<SeenKey, Vec<usize>>,
}

impl Originals {
    /// The event that is taken back: none if the log does not hold it, and if it does, none if it is too much.
    pub fn retracted(&self, key: SeenKey) -> Option<Option<&Stored>> {
        self.retracted.get(&key).map(Option::as_ref)
    }

    /// Whether the event at a position of the body says something else than it did in the log; none if it is not there.
    pub fn differs(&self, position: usize) -> Option<bool> {
        self.differs.get(&position).copied()
    }

    fn keep(&mut self, key: SeenKey, stored: Stored) {
        self.retracted_bytes = self.retracted_bytes.saturating_add(stored.text.len());
        let is_kept = self.retracted_bytes <= TAKEN_BACK_BYTES_MAX;
        self.retracted.insert(key, is_kept.then_some(stored));
    }
}

impl Shared {
    /// Whether a body needs something of the log that was not looked up. `known` is the content with which each of its
    /// events is known.
    pub(in crate::metering) fn needs_look_up(&self, prepared: &Prepared, known: &[Option<u32>]) -> Result<bool, Error> {
        let wanted = self.wanted(prepared, known)?;
        Ok(!wanted.retracted.is_empty() || !wanted.repeated.is_empty())
    }

    /// Looks that up.
    pub(in crate::metering) async fn look_up(
        self: &Arc<Self>,
        db: &Db,
        prepared: &mut Prepared,
        known: &[Option<u32>],
    ) -> Result<(), Error> {
        let Wanted { retracted, repeated } = self.wanted(prepared, known)?;
        let keys: HashSet<SeenKey> = retracted.iter().chain(repeated.keys()).copied().collect();
        prepared.originals.looked_up.extend(&keys);
        for (seq, keys) in self.by_batch(keys)? {
            for (key, stored) in self.events_of(db, seq, keys).await? {
                for position in repeated.get(&key).into_iter().flatten() {
                    let newer = prepared.events.get(*position).map(|event| prepared.line(event)).unwrap_or_default();
                    let differs = !says_the_same(&stored.text, newer);
                    prepared.originals.differs.insert(*position, differs);
                }
                if retracted.contains(&key) {
                    prepared.originals.keep(key, stored);
                }
            }
        }
        Ok(())
    }

    fn wanted(&self, prepared: &Prepared, known: &[Option<u32>]) -> Result<Wanted, Error> {
        let mut wanted = Wanted::default();
        for (position, (event, known)) in prepared.events.iter().zip(known).enumerate() {
            let key = match (&event.retracts, known) {
                (Some(retracted), None) => self.seen.key(&retracted.source, &retracted.id),
                (None, Some(content)) if *content != event.content => event.key,
                // One that is taken back again in other words takes back nothing.
                _ => continue,
            };
            // What the log does not hold may be in the group that is being made.
            if prepared.originals.looked_up.contains(&key) || self.seen.get(key)?.is_none() {
                continue;
            }
            match &event.retracts {
                None => wanted.repeated.entry(key).or_default().push(position),
                // One of an event that is taken back already needs nothing.
                Some(retracted) if self.seen.get(retracted.mark(&self.seen))?.is_none() => {
                    wanted.retracted.insert(key);
                }
                Some(_) => {}
            }
        }
        Ok(wanted)
    }

    /// An event of the log.
    pub(in crate::metering) async fn stored(self: &Arc<Self>, db: &Db, key: SeenKey) -> Result<Option<Stored>, Error> {
        let Some((seq, keys)) = self.by_batch([key])?.pop_first() else { return Ok(None) };
        Ok(self.events_of(db, seq, keys).await?.pop().map(|(_, stored)| stored))
    }

    /// Which batch to read for which of these keys. Those that are not in the log are left out.
    fn by_batch(&self, keys: impl IntoIterator<Item = SeenKey>) -> Result<BTreeMap<i64, HashSet<SeenKey>>, Error> {
        let mut by_batch: BTreeMap<i64, HashSet<SeenKey>> = BTreeMap::new();
        for key in keys {
            if let Some(seen) = self.seen.get(key)? {
                by_batch.entry(seen.seq).or_default().insert(key);
            }
        }
        Ok(by_batch)
    }

    async fn events_of(
        self: &Arc<Self>,
        db: &Db,
        seq: i64,
        keys: HashSet<SeenKey>,
    ) -> Result<Vec<(SeenKey, Stored)>, Error> {
        let batch = archive::batch(db, &mut db.read_log().await?, seq).await?;
        let shared = self.clone();
        aside(move || {
            let (mut shapes, mut found) = (Shapes::default(), Vec::with_capacity(keys.len()));
            for (index, line) in (0..).zip(log::lines(&batch)?.lines()) {
                let Ok(event) = shapes.parse(line) else { continue };
                let key = shared.seen.key(&event.source, &event.id);
                if keys.contains(&key) {
                    let place = Place { seq, index };
                    found.push((key, Stored { place, received_at: batch.received_at, text: line.into() }));
                }
            }
            Ok(found)
        })
        .await?
    }
}
