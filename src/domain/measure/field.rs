//! Fields of an event: all that some meters ask for, found in one walk over its `data`, without building a tree.

use std::borrow::Cow;
use std::fmt;

use rust_decimal::Decimal;
use serde::Deserializer;
use serde::de::IgnoredAny;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde_json::value::RawValue;

use crate::domain::book::meter::Path;
use crate::domain::event::Event;
use crate::domain::event::text_of;
use crate::domain::measure::nano::Nano;
use crate::domain::walk::Walk;

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// An attribute of the event itself.
    Attribute(&'a str),
    /// A value inside `data`: JSON, never null.
    Data(&'a str),
}

/// Paths, each with a number, and how to find all of them at once.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    paths: Vec<Path>,
    /// Where each path begins.
    roots: Vec<Root>,
    /// Members of `data` that lead to a path.
    members: Vec<Member>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Root {
    Subject,
    Source,
    Type,
    Id,
    /// All of `data`.
    Data,
    /// Something in `data`.
    InData,
    /// No event has it.
    Nowhere,
}

#[derive(Clone, Debug)]
struct Member {
    key: String,
    /// The path that ends here.
    number: Option<usize>,
    members: Vec<Self>,
}

impl Fields {
    /// The number of a path, which it has from now on.
    pub fn number(&mut self, path: &Path) -> usize {
        if let Some(known) = self.paths.iter().position(|known| known == path) {
            return known;
        }
        let number = self.paths.len();
        let (root, rest) = match path.parts() {
            [root, rest @ ..] => (root.as_str(), rest),
            [] => ("", &[][..]),
        };
        self.roots.push(match (root, rest.is_empty()) {
            ("subject", true) => Root::Subject,
            ("source", true) => Root::Source,
            ("type", true) => Root::Type,
            ("id", true) => Root::Id,
            ("data", true) => Root::Data,
            ("data", false) => Root::InData,
            _ => Root::Nowhere,
        });
        self.paths.push(path.clone());
        if root == "data" {
            enter(&mut self.members, rest, number);
        }
        number
    }

    /// What every path leads to in an event, by number; `None` where something on the way is missing, or null at its
    /// end. `found` is cleared first, so that one list serves for many events.
    pub fn find<'a>(&self, event: &'a Event<'a>, found: &mut Vec<Option<Found<'a>>>) {
        found.clear();
        found.resize(self.paths.len(), None);
        let walked = match event.data.filter(|_| !self.members.is_empty()) {
            Some(data) if data.starts_with('{') => find_members(&mut Walk::new(data), &self.members, found).is_some(),
            _ => true,
        };
        for (number, (root, found)) in self.roots.iter().zip(found.iter_mut()).enumerate() {
            *found = match root {
                Root::Subject => event.subject.as_deref().map(Found::Attribute),
                Root::Source => Some(Found::Attribute(&event.source)),
                Root::Type => Some(Found::Attribute(&event.kind)),
                Root::Id => Some(Found::Attribute(&event.id)),
                Root::Data => event.data.filter(|data| *data != "null").map(Found::Data),
                Root::InData if walked => continue,
                Root::InData => self.paths.get(number).and_then(|path| in_data(event, path)),
                Root::Nowhere => None,
            };
        }
    }
}

fn enter(members: &mut Vec<Member>, path: &[String], number: usize) {
    let Some((key, rest)) = path.split_first() else { return };
    let at = members.iter().position(|member| member.key == *key).unwrap_or_else(|| {
        members.push(Member { key: key.clone(), number: None, members: Vec::new() });
        members.len().saturating_sub(1)
    });
    let Some(member) = members.get_mut(at) else { return };
    match rest.is_empty() {
        true => member.number = Some(number),
        false => enter(&mut member.members, rest, number),
    }
}

/// `None` if the object is not of the common kind, so that it has to be read closely.
fn find_members<'a>(walk: &mut Walk<'a>, members: &[Member], found: &mut [Option<Found<'a>>]) -> Option<()> {
    let mut visited: u64 = 0;
    walk.object(|key, walk| {
        let wanted = (0..).zip(members).find(|(_, member)| member.key == key);
        let Some((place, member)) = wanted else { return walk.value().map(|_| ()) };
        let value = walk.value()?;
        // A key that comes twice is rare, and so are more wanted ones than bits; the close way decides which one counts.
        let bit = 1_u64.checked_shl(place)?;
        if visited & bit != 0 {
            return None;
        }
        visited |= bit;
        if let Some(found) = member.number.and_then(|number| found.get_mut(number)) {
            *found = (value != "null").then_some(Found::Data(value));
        }
        match member.members.is_empty() || !value.starts_with('{') {
            true => Some(()),
            false => find_members(&mut Walk::new(value), &member.members, found),
        }
    })
}

/// Follows one path into `data`, whatever its JSON looks like.
fn in_data<'a>(event: &'a Event<'a>, path: &Path) -> Option<Found<'a>> {
    let (_, rest) = path.parts().split_first()?;
    let mut value = event.data?;
    for part in rest {
        value = member(value, part)?;
    }
    (value != "null").then_some(Found::Data(value))
}

/// The value of one key of a JSON object, the last one if there are several; everything else is skipped unread.
fn member<'a>(object: &'a str, key: &str) -> Option<&'a str> {
    struct Last<'k>(&'k str);
    impl<'de> Visitor<'de> for Last<'_> {
        type Value = Option<&'de RawValue>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = None;
            while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                if key == self.0 {
                    found = Some(map.next_value()?);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(found)
        }
    }
    serde_json::Deserializer::from_str(object).deserialize_map(Last(key)).ok().flatten().map(RawValue::get)
}

impl<'a> Found<'a> {
    /// The value as text: a JSON string without its quotes, anything else as it is written.
    pub fn text(self) -> Cow<'a, str> {
        match self {
            Self::Attribute(text) => Cow::Borrowed(text),
            Self::Data(json) => text_of(json).unwrap_or(Cow::Borrowed(json)),
        }
    }

    /// The value as a number. Text that holds a decimal is one too, since that is how exact numbers are often sent.
    pub fn number(self) -> Option<Decimal> {
        let text = self.text();
        Decimal::from_str_exact(&text).or_else(|_| Decimal::from_scientific(&text)).ok()
    }

    /// The same in billionths; `None` also where it is too fine or too large for that.
    pub fn nano(self) -> Option<Nano> {
        let plain = match self {
            Self::Attribute(text) => text,
            Self::Data(json) => json.strip_prefix('"').and_then(|json| json.strip_suffix('"')).unwrap_or(json),
        };
        Nano::parse(plain).or_else(|| Nano::from_decimal(self.number()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, path: &str) -> Option<(String, Option<Decimal>)> {
        let event = Event::parse(text).expect("is an event");
        let mut fields = Fields::default();
        // Others beside it, so that they share members.
        for other in ["data.a", "data.a.b", "data.a.c.d", "subject"] {
            fields.number(&Path::parse(other).expect("a path"));
        }
        let number = fields.number(&Path::parse(path).expect("a path"));
        let mut found = Vec::new();
        fields.find(&event, &mut found);
        found[number].map(|found| (found.text().into_owned(), found.number()))
    }

    #[test]
    fn paths_lead_into_data_and_to_attributes() {
        let text = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":"UA",
            "data":{"a":{"b":"1e3","n":null},"distance":1400.50}}"#;
        let number = |path| find(text, path).and_then(|(_, number)| number);
        assert_eq!(find(text, "subject").map(|(text, _)| text), Some("UA".to_owned()));
        assert_eq!(number("data.distance"), Some(Decimal::new(14005, 1)));
        assert_eq!(number("data.a.b"), Some(Decimal::from(1000)));
        assert_eq!(find(text, "data.a").map(|(text, _)| text), Some(r#"{"b":"1e3","n":null}"#.to_owned()));
        for missing in ["data.a.c", "data.a.n", "data.distance.x", "subject.x", "traceparent"] {
            assert_eq!(find(text, missing), None, "{missing}");
        }
    }

    #[test]
    fn keys_with_escapes_and_keys_that_come_twice_are_found_too() {
        let event = |data: &str| format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{data}}}"#);
        let text = |data, path| find(&event(data), path).map(|(text, _)| text);
        assert_eq!(text(r#"{"\u0061":{"b":"x\ty"}}"#, "data.a.b"), Some("x\ty".to_owned()));
        assert_eq!(text(r#"{"a":1,"a":{"b":2}}"#, "data.a.b"), Some("2".to_owned()));
        assert_eq!(text(r#"{"a":{"b":1},"a":{}}"#, "data.a.b"), None);
        assert_eq!(text(r#"{"a":{"b":1},"a":null}"#, "data.a.b"), None);
        assert_eq!(text(r#"[1,2]"#, "data.a"), None);
        assert_eq!(text(r#"[1,2]"#, "data"), Some("[1,2]".to_owned()));
    }
}
