//! Fields of an event: where a meter looks for a value, found among the members of `data` without building a tree.

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

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// An attribute of the event itself.
    Attribute(&'a str),
    /// A value inside `data`: JSON, never null.
    Data(&'a str),
}

/// Where a meter looks for something: a path, ready to be followed.
#[derive(Clone, Debug)]
pub struct Field {
    root: Root,
    /// Within `data`; empty for all of it.
    rest: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Root {
    Subject,
    Source,
    Type,
    Id,
    Data,
    /// No event has it.
    Nowhere,
}

impl Field {
    pub fn of(path: &Path) -> Self {
        let (root, rest) = match path.parts() {
            [root, rest @ ..] => (root.as_str(), rest),
            [] => ("", &[][..]),
        };
        let root = match (root, rest.is_empty()) {
            ("subject", true) => Root::Subject,
            ("source", true) => Root::Source,
            ("type", true) => Root::Type,
            ("id", true) => Root::Id,
            ("data", _) => Root::Data,
            _ => Root::Nowhere,
        };
        Self { root, rest: rest.to_vec() }
    }

    /// What it leads to in an event; `None` where something on the way is missing, or null at its end.
    pub fn find<'a>(&self, event: &'a Event<'_>) -> Option<Found<'a>> {
        match self.root {
            Root::Subject => event.subject.as_deref().map(Found::Attribute),
            Root::Source => Some(Found::Attribute(&event.source)),
            Root::Type => Some(Found::Attribute(&event.kind)),
            Root::Id => Some(Found::Attribute(&event.id)),
            Root::Data => self.in_data(event).filter(|value| *value != "null").map(Found::Data),
            Root::Nowhere => None,
        }
    }

    fn in_data<'a>(&self, event: &'a Event<'_>) -> Option<&'a str> {
        match (self.rest.split_first(), &event.members) {
            (None, _) => event.data,
            (Some((key, rest)), Some(members)) => {
                // Of a key that comes twice the last one counts, as everywhere in JSON.
                let (_, value) = members.iter().rev().find(|(known, _)| known == key)?;
                follow(value, rest)
            }
            (Some(_), None) => follow(event.data?, &self.rest),
        }
    }
}

fn follow<'a>(value: &'a str, path: &[String]) -> Option<&'a str> {
    path.iter().try_fold(value, |value, key| member(value, key))
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
        let closely = Event { members: None, ..event.clone() };
        let field = Field::of(&Path::parse(path).expect("a path"));
        assert_eq!(field.find(&event), field.find(&closely), "{path}");
        field.find(&event).map(|found| (found.text().into_owned(), found.number()))
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
