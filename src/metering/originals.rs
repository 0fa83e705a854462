//! What the log says of the events that a body names: those that it takes back, and those that it repeats in other words.
//! Read before the writer's turn, each batch once, whatever a body asks for.

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
    pub text: String,
}

/// What is known of them so far.
#[derive(Debug, Default)]
pub struct Originals {
    /// Those that are taken back; none where they are more than can be at once.
    retracted: HashMap<SeenKey, Option<Stored>>,
    retracted_bytes: usize,
    /// By position in the body, of those that are repeated: whether they said something else.
    differs: HashMap<usize, bool>,
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
    /// Looks up what a body needs of the log and was not looked up before. `known` is the content with which each of its
    /// events is known.
    pub(in crate::metering) async fn look_up(
        self: &Arc<Self>,
        db: &Db,
        prepared: &mut Prepared,
        known: &[Option<u32>],
    ) -> Result<(), Error> {
        let mut originals = std::mem::take(&mut prepared.originals);
        let mut repeated: HashMap<SeenKey, Vec<usize>> = HashMap::new();
        let mut wanted = Vec::new();
        for (position, (event, known)) in prepared.events.iter().zip(known).enumerate() {
            match (&event.retracts, known) {
                (Some(retracted), None) => {
                    let key = self.seen.key(&retracted.source, &retracted.id);
                    // One that came in the meantime, or one of an event that is taken back already, needs nothing.
                    let is_done =
                        self.seen.get(event.key)?.is_some() || self.seen.get(retracted.mark(&self.seen))?.is_some();
                    if !is_done && originals.retracted(key).is_none() {
                        wanted.push(key);
                    }
                }
                (None, Some(content)) if *content != event.content && originals.differs(position).is_none() => {
                    repeated.entry(event.key).or_default().push(position);
                }
                // One that is taken back again in other words takes back nothing.
                _ => {}
            }
        }
        if wanted.is_empty() && repeated.is_empty() {
            prepared.originals = originals;
            return Ok(());
        }
        let retracted: HashSet<SeenKey> = wanted.iter().copied().collect();
        wanted.extend(repeated.keys());
        for (seq, keys) in self.by_batch(wanted)? {
            for (key, stored) in self.events_of(db, seq, keys).await? {
                for position in repeated.get(&key).into_iter().flatten() {
                    let newer = prepared.events.get(*position).map(|event| prepared.line(event)).unwrap_or_default();
                    originals.differs.insert(*position, !says_the_same(&stored.text, newer));
                }
                if retracted.contains(&key) {
                    originals.keep(key, stored);
                }
            }
        }
        prepared.originals = originals;
        Ok(())
    }

    /// An event of the log.
    pub(in crate::metering) async fn stored(self: &Arc<Self>, db: &Db, key: SeenKey) -> Result<Option<Stored>, Error> {
        let Some((seq, keys)) = self.by_batch(vec![key])?.pop_first() else { return Ok(None) };
        Ok(self.events_of(db, seq, keys).await?.pop().map(|(_, stored)| stored))
    }

    /// Which batch to read for which of these keys. Those that are not in the log are left out.
    fn by_batch(&self, keys: Vec<SeenKey>) -> Result<BTreeMap<i64, HashSet<SeenKey>>, Error> {
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
                    found.push((key, Stored { place, received_at: batch.received_at, text: line.to_owned() }));
                }
            }
            Ok(found)
        })
        .await?
    }
}
