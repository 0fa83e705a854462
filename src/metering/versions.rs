//! Published price-book versions, in memory: which one applies when, and the meters of all of them together.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use hashbrown::DefaultHashBuilder;

use crate::domain::book::Tax;
use crate::domain::book::catalog::EventType;
use crate::domain::book::meter::Meter;
use crate::domain::book::version::BookVersion;
use crate::domain::book::version::files_from_json;
use crate::domain::event::Event;
use crate::domain::event::Fault;
use crate::domain::measure::item::Place;
use crate::domain::measure::meters::Contribution;
use crate::domain::measure::meters::Meters;
use crate::domain::time::Instant;
use crate::domain::time::Zone;
use crate::metering::Error;
use crate::metering::validate::Held;
use crate::store::Db;

/// Event types that Tallystick itself sends.
const OWN_TYPES: &str = "tallystick.";

/// Every published version. A meter means the same in all of them, so events are measured by all meters together.
#[derive(Debug, Default)]
pub struct Versions {
    /// In the order in which they take effect.
    versions: Vec<Arc<BookVersion>>,
    meters: Meters,
    /// Each meter by itself.
    alone: BTreeMap<String, Meters>,
    event_types: BTreeMap<String, EventType>,
    /// Asked for every event. Those whose data is held against a schema, as the newest version has it, say how.
    known_types: HashMap<String, Option<Held>, DefaultHashBuilder>,
}

impl Versions {
    pub async fn load(db: &Db) -> Result<Self, Error> {
        let mut versions = Vec::new();
        for published in db.read().await?.book_versions().await? {
            let unreadable = |reason: String| Error::Book(format!("{}: {reason}", published.id));
            let files = files_from_json(&published.files).map_err(|error| unreadable(error.to_string()))?;
            let version = BookVersion::published(files, published.effective_from)
                .map_err(|mistakes| unreadable(mistakes.iter().map(ToString::to_string).collect()))?;
            versions.push(Arc::new(version));
        }
        Ok(Self::new(versions))
    }

    pub fn new(mut versions: Vec<Arc<BookVersion>>) -> Self {
        versions.sort_by_key(|version| version.effective_from);
        let books = || versions.iter().map(|version| &version.book);
        let meters: BTreeMap<&String, &Meter> = books().flat_map(|book| &book.meters).collect();
        let alone =
            meters.iter().map(|(id, meter)| ((*id).clone(), [(*meter).clone()].into_iter().collect())).collect();
        let meters = meters.into_values().cloned().collect();
        let event_types: BTreeMap<String, EventType> = books().flat_map(|book| book.event_types.clone()).collect();
        let known_types = event_types.values().map(|known| (known.id.clone(), Held::of(known))).collect();
        Self { versions, meters, alone, event_types, known_types }
    }

    /// These versions and one more.
    pub fn with(&self, version: BookVersion) -> Self {
        let mut versions = self.versions.clone();
        versions.push(Arc::new(version));
        Self::new(versions)
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Arc<BookVersion>> {
        self.versions.iter()
    }

    /// The version in effect at an instant.
    pub fn at(&self, at: Instant) -> Option<&Arc<BookVersion>> {
        self.versions.iter().rev().find(|version| version.effective_from <= at)
    }

    /// The zone of the book in effect at an instant.
    pub fn zone_at(&self, at: Instant) -> Zone {
        self.at(at).map_or_else(Zone::utc, |version| version.book.zone.clone())
    }

    pub fn by_id(&self, id: &str) -> Option<&Arc<BookVersion>> {
        self.versions.iter().find(|version| version.id == id)
    }

    /// A tax for what is billed under a version: as that has it, else as the last one before it that does, else as the first
    /// after. A consumer may be given a tax that is younger than the period that is closed, or keep one that is gone.
    pub fn tax(&self, id: &str, version: &BookVersion) -> Option<&Tax> {
        let place = self.versions.partition_point(|known| known.effective_from <= version.effective_from);
        let (before, after) = self.versions.split_at(place);
        before.iter().rev().chain(after).find_map(|version| version.book.taxes.get(id))
    }

    /// The meters of all versions.
    pub fn meters(&self) -> &Meters {
        &self.meters
    }

    /// Every meter by its id, in the last version that has it.
    pub fn meters_by_id(&self) -> BTreeMap<&str, &Meter> {
        self.versions.iter().flat_map(|version| &version.book.meters).map(|(id, meter)| (id.as_str(), meter)).collect()
    }

    /// A meter by its id, in whichever version it is.
    pub fn meter(&self, id: &str) -> Option<&Meter> {
        self.versions.iter().rev().find_map(|version| version.book.meters.get(id))
    }

    /// A meter to be asked alone, by its id.
    pub fn alone(&self, id: &str) -> Option<&Meters> {
        self.alone.get(id)
    }

    /// What an event adds to usage by those meters that `counted` it. Each is asked alone: one that is younger than the
    /// event may not be able to measure it, then it adds nothing and keeps no other from it.
    pub fn contributions(
        &self,
        event: &Event<'_>,
        at: Instant,
        place: Place,
        counted: impl Fn(&str) -> bool,
    ) -> Vec<Contribution> {
        let counting = self.alone.iter().filter(|(id, _)| counted(id));
        counting.flat_map(|(_, meter)| meter.contributions(event, at, place).unwrap_or_default()).collect()
    }

    /// The event types of all versions, as the newest describes them.
    pub fn event_types(&self) -> &BTreeMap<String, EventType> {
        &self.event_types
    }

    /// What the data of an event type is held against, if anything. One that is not in the catalog is refused, with the
    /// nearest that is.
    pub(in crate::metering) fn check_type(&self, kind: &str) -> Result<Option<&Held>, Fault> {
        if let Some(held) = self.known_types.get(kind) {
            return Ok(held.as_ref());
        }
        if kind.starts_with(OWN_TYPES) {
            let detail = format!("`{kind}` is one of tallystick's own types");
            return Err(Fault::new("/type", "reserved_event_type", detail, "use a type of your own"));
        }
        let nearest = self.event_types.keys().max_by(|a, b| {
            let likeness = |known: &str| strsim::jaro_winkler(known, kind);
            likeness(a).total_cmp(&likeness(b))
        });
        let fix = match nearest {
            Some(nearest) => format!("did you mean `{nearest}`? Otherwise add it to the catalog and publish"),
            None => "publish a price book whose catalog has it".to_owned(),
        };
        Err(Fault::new("/type", "unknown_event_type", format!("`{kind}` is not in the catalog"), fix))
    }
}
