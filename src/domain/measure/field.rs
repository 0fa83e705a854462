//! Fields of an event: found by path, without building a tree of its `data`.

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

/// What a path leads to.
#[derive(Clone, Debug)]
pub enum Found<'a> {
    /// An attribute of the event itself.
    Attribute(&'a str),
    /// A value inside `data`.
    Data(&'a RawValue),
}

impl<'a> Found<'a> {
    /// The value as text: a JSON string without its quotes, anything else as it is written.
    pub fn text(&self) -> Cow<'a, str> {
        match self {
            Self::Attribute(text) => Cow::Borrowed(text),
            Self::Data(raw) => text_of(raw).unwrap_or(Cow::Borrowed(raw.get())),
        }
    }

    /// The value as a number. Text that holds a decimal is one too, since that is how exact numbers are often sent.
    pub fn number(&self) -> Option<Decimal> {
        let text = self.text();
        Decimal::from_str_exact(&text).or_else(|_| Decimal::from_scientific(&text)).ok()
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Self::Data(raw) if raw.get() == "null")
    }
}

/// Follows a path; `None` where something on the way is missing, or null at its end.
pub fn find<'a>(event: &'a Event<'a>, path: &Path) -> Option<Found<'a>> {
    let (root, rest) = path.parts().split_first()?;
    let attribute = match root.as_str() {
        "data" => {
            let mut raw = event.data?;
            for part in rest {
                raw = member(raw, part)?;
            }
            let found = Found::Data(raw);
            return (!found.is_null()).then_some(found);
        }
        "subject" => event.subject.as_deref()?,
        "source" => &event.source,
        "type" => &event.kind,
        "id" => &event.id,
        _ => return None,
    };
    rest.is_empty().then_some(Found::Attribute(attribute))
}

/// The value of one key of a JSON object; everything else is skipped unread.
fn member<'a>(object: &'a RawValue, key: &str) -> Option<&'a RawValue> {
    struct Member<'k>(&'k str);
    impl<'de> Visitor<'de> for Member<'_> {
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
    serde_json::Deserializer::from_str(object.get()).deserialize_map(Member(key)).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_into_data_and_to_attributes() {
        let text = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":"UA",
            "data":{"a":{"b":"1e3","n":null},"distance":1400.50}}"#;
        let event = Event::parse(text).expect("is an event");
        let find = |path: &str| find(&event, &Path::parse(path).expect("a path"));
        assert_eq!(find("subject").map(|found| found.text().into_owned()), Some("UA".to_owned()));
        assert_eq!(find("data.distance").and_then(|found| found.number()), Some(Decimal::new(14005, 1)));
        assert_eq!(find("data.a.b").and_then(|found| found.number()), Some(Decimal::from(1000)));
        for missing in ["data.a.c", "data.a.n", "data.distance.x", "subject.x", "traceparent"] {
            assert!(find(missing).is_none(), "{missing}");
        }
    }
}
