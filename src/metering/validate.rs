//! Holds the data of events against the schema of their type, where the catalog asks for it: `enforce` refuses what
//! breaks it, `warn` takes it and says so.
//!
//! Only on the way in: what is in the log was taken, and is read back without another look, whatever the catalog says
//! by then.

use std::collections::BTreeMap;

use crate::domain::book::catalog::EventType;
use crate::domain::book::catalog::Validation;
use crate::domain::book::schema::Schema;
use crate::domain::event::Event;
use crate::domain::event::Fault;
use crate::metering::ingest::Faulty;

/// Violations that are named for one event.
const NAMED_OF_EVENT_MAX: usize = 10;
/// Violations that are named in full for one body, and after which each event that is refused has only its first.
const NAMED_OF_BODY_MAX: usize = 1_000;
/// Events of one body that a warning names.
const WARNED_NAMED_MAX: usize = 100;

/// What data of an event type is held against.
#[derive(Debug)]
pub(in crate::metering) struct Held {
    schema: Schema,
    is_enforced: bool,
}

/// Events that are taken although their data breaks the schema of their type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Warned {
    /// How many, by type.
    pub counts: BTreeMap<String, usize>,
    /// The first of them, with what is wrong.
    pub named: Vec<Faulty>,
}

/// What was found in one body.
#[derive(Default)]
pub(in crate::metering) struct Found {
    pub warned: Warned,
    /// Violations for which events were refused.
    refused_for: usize,
}

impl Held {
    /// Nothing if the type does not ask for it.
    pub fn of(event_type: &EventType) -> Option<Self> {
        let is_enforced = match event_type.validation {
            Validation::Off => return None,
            Validation::Warn => false,
            Validation::Enforce => true,
        };
        let schema = event_type.schema.clone()?;
        if !schema.is_usable() {
            let id = &event_type.id;
            tracing::error!(
                "the published schema of {id} cannot be used any more: publish one that can, until then its data passes"
            );
        }
        Some(Self { schema, is_enforced })
    }

    /// Refuses data that breaks an enforced schema.
    pub fn enforce(&self, event: &Event<'_>, found: &mut Found) -> Result<(), Vec<Fault>> {
        if !self.is_enforced {
            return Ok(());
        }
        let most = if found.refused_for < NAMED_OF_BODY_MAX { NAMED_OF_EVENT_MAX } else { 1 };
        self.schema.hold(event.data, most).inspect_err(|faults| {
            found.refused_for = found.refused_for.saturating_add(faults.len());
        })
    }

    /// Notes an event that is taken although it breaks the schema.
    pub fn warn(&self, index: usize, event: &Event<'_>, found: &mut Found) {
        if self.is_enforced {
            return;
        }
        let Warned { counts, named } = &mut found.warned;
        let most = if named.len() < WARNED_NAMED_MAX { NAMED_OF_EVENT_MAX } else { 0 };
        let Err(errors) = self.schema.hold(event.data, most) else { return };
        let count = counts.entry(event.kind.as_ref().to_owned()).or_default();
        *count = count.saturating_add(1);
        if most > 0 {
            named.push(Faulty { index, errors });
        }
    }
}
