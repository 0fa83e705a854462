//! Taking an event back: an event of our own, which keeps what it takes back, so that folding it again needs no look-up.
//!
//! In the log the retraction's `data` also has `batch`, `index` and `event`: where the original stands, and what it says. What it
//! adds to usage is the opposite of what the original added, by those meters that counted the original.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::event::Event;
use crate::domain::event::Fault;
use crate::domain::measure::delta::Delta;
use crate::domain::measure::delta::Key;
use crate::domain::measure::item::Place;
use crate::domain::time::Instant;
use crate::metering::Error;
use crate::metering::log::DamagedBatch;
use crate::metering::seen::Seen;
use crate::metering::seen::SeenKey;
use crate::metering::versions::Versions;

/// The type of an event that takes another one back.
pub const RETRACTED: &str = "tallystick.event.retracted";

/// Which event is taken back.
#[derive(Clone, Debug, Deserialize)]
pub struct Retracted {
    pub source: String,
    pub id: String,
}

/// A retraction with the event that it takes back.
#[derive(Clone, Debug)]
pub struct Retraction {
    /// Where the log holds the original.
    pub place: Place,
    /// The original's JSON.
    pub event: Arc<str>,
}

/// A JSON object, member by member as it stands.
type Members<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// What `data` of a retraction has, as the log keeps it; whatever else was sent is beside it.
#[derive(Deserialize)]
struct Kept<'a> {
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    batch: i64,
    /// Within the batch, from 0.
    index: u32,
    #[serde(borrow)]
    event: &'a RawValue,
}

impl Retracted {
    /// What the data of a retraction names.
    pub fn of(event: &Event<'_>) -> Result<Self, Fault> {
        serde_json::from_str(event.data.unwrap_or("null")).map_err(|error| {
            let detail = format!("data does not name the event that is taken back: {error}");
            Fault::new("/data", "invalid_retraction", detail, "send {\"source\": …, \"id\": …} of that event as data")
        })
    }

    /// The key under which the seen index knows that an event was taken back. No event has it: an id has no line breaks.
    pub fn mark(&self, seen: &Seen) -> SeenKey {
        seen.key(RETRACTED, &format!("{}\n{}", self.source, self.id))
    }
}

impl Retraction {
    /// Reads what the log keeps of a retraction.
    pub fn kept(event: &Event<'_>, seq: i64) -> Result<(Retracted, Self), Error> {
        let kept: Kept<'_> = serde_json::from_str(event.data.unwrap_or("null"))
            .map_err(|error| DamagedBatch { seq, reason: format!("a retraction in it: {error}") })?;
        let retracted = Retracted { source: kept.source.into_owned(), id: kept.id.into_owned() };
        let place = Place { seq: kept.batch, index: kept.index };
        Ok((retracted, Self { place, event: kept.event.get().into() }))
    }

    /// The line that the log keeps of a retraction: as it was `sent`, and in its data what it takes back.
    pub fn line(&self, sent: &str) -> Result<String, serde_json::Error> {
        let (batch, index) = (self.place.seq.to_string(), self.place.index.to_string());
        let mut event: Members<'_> = serde_json::from_str(sent)?;
        let mut data: Members<'_> = serde_json::from_str(event.get("data").map_or("null", |data| data.get()))?;
        data.insert("batch".into(), serde_json::from_str(&batch)?);
        data.insert("index".into(), serde_json::from_str(&index)?);
        data.insert("event".into(), serde_json::from_str(&self.event)?);
        let data = serde_json::to_string(&data)?;
        event.insert("data".into(), serde_json::from_str(&data)?);
        serde_json::to_string(&event)
    }

    /// What the original added to usage, taken back. `counted` says which meters had counted it.
    pub fn deltas(
        &self,
        versions: &Versions,
        counted: impl Fn(&str, i64, Instant) -> bool,
    ) -> Result<Vec<(Key, Delta)>, Error> {
        let unreadable = |faults: Vec<Fault>| DamagedBatch {
            seq: self.place.seq,
            reason: faults.first().map(|fault| format!("an event in it: {}", fault.detail)).unwrap_or_default(),
        };
        let event = Event::parse(&self.event).map_err(unreadable)?;
        let at = event.time.unwrap_or(Instant::BEGINNING);
        let added = versions.contributions(&event, at, self.place, |meter| counted(meter, self.place.seq, at));
        let mut deltas = Vec::with_capacity(added.len());
        for contribution in added {
            deltas.push((contribution.key, contribution.delta.opposite()?));
        }
        Ok(deltas)
    }
}
