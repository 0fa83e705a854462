//! What has been defined so far: ids are unique, and a name that is used must be one of them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::domain::book::parse::value::Value;

/// Everything of one kind, by id. An item with a mistake keeps its id, so that using it is not a second mistake.
pub struct Named<T> {
    kind: &'static str,
    unknown_code: &'static str,
    items: BTreeMap<String, Item<T>>,
    /// Whether every file of this kind could be read: if not, what looks unknown may well be defined there.
    pub complete: bool,
}

struct Item<T> {
    value: Option<T>,
    /// `meters/api.toml:3`
    defined_at: String,
}

impl<T> Named<T> {
    pub fn new(kind: &'static str, unknown_code: &'static str) -> Self {
        Self { kind, unknown_code, items: BTreeMap::new(), complete: true }
    }

    /// Defines the id that stands at `id`; `None`, and noted, if it is no id.
    pub fn define(&mut self, id: Option<Value<'_>>, value: Option<T>) {
        let Some(place) = id else { return };
        let Some(id) = place.clone().id() else { return };
        match self.items.entry(id.to_owned()) {
            Entry::Vacant(free) => {
                free.insert(Item { value, defined_at: place.place() });
            }
            Entry::Occupied(taken) => {
                let message = format!("{} `{id}` is already defined at {}", self.kind, taken.get().defined_at);
                place.wrong::<()>("duplicate_id", message, "give one of the two another id");
            }
        }
    }

    /// Reads a name that must be defined. An item that is `None` has a mistake that is already noted.
    pub fn known<'a>(&self, name: Value<'a>) -> Option<(&'a str, Option<&T>)> {
        let text = name.clone().text()?;
        if let Some(item) = self.items.get(text) {
            return Some((text, item.value.as_ref()));
        }
        if self.complete { self.unknown(&name, text) } else { None }
    }

    /// Something that is defined, and has no mistake.
    pub fn get(&self, id: &str) -> Option<&T> {
        self.items.get(id)?.value.as_ref()
    }

    /// The same as [`known`](Self::known) for the key of a pair.
    pub fn known_key(&self, pair: &Value<'_>) -> Option<String> {
        let text = pair.key;
        if self.items.contains_key(text) {
            return Some(text.to_owned());
        }
        if self.complete { self.unknown(pair, text) } else { None }
    }

    pub fn unknown<U>(&self, name: &Value<'_>, text: &str) -> Option<U> {
        name.unknown_name(self.unknown_code, format!("there is no {} `{text}`", self.kind), text, self.ids())
    }

    pub fn ids(&self) -> impl Iterator<Item = &str> + Clone {
        self.items.keys().map(String::as_str)
    }

    /// Everything, if nothing has a mistake.
    pub fn into_values(self) -> Option<BTreeMap<String, T>> {
        self.items.into_iter().map(|(id, item)| Some((id, item.value?))).collect()
    }
}
