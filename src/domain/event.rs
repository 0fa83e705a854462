//! An event as it is read: a CloudEvent 1.0 whose `data` stays JSON text until a meter asks for a field.
//!
//! Source of the rules: CloudEvents 1.0.2, sections 3.1 and 3.2, and its JSON event format.

use std::borrow::Cow;

use serde::Deserialize;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::domain::time::Instant;
use crate::domain::walk::Walk;

/// `id`, `source`, `type` and `subject` may not be longer, in bytes: they are keys.
const NAME_BYTES_MAX: usize = 512;
/// Members of `data` for which there is room at once: few events have more.
const MEMBERS_ROOM: usize = 16;

/// A CloudEvent, borrowing from the text it was read from.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    pub source: Cow<'a, str>,
    pub id: Cow<'a, str>,
    pub kind: Cow<'a, str>,
    pub subject: Option<Cow<'a, str>>,
    pub time: Option<Instant>,
    /// JSON, as it stands in the text.
    pub data: Option<&'a str>,
    /// The members of `data`, each key with its JSON: as one walk over the event found them. None if `data` is no
    /// object, or was read closely.
    pub members: Option<Vec<(&'a str, &'a str)>>,
}

/// What is wrong with one place of an event, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// JSON pointer into the event; empty for the event as a whole.
    pub at: String,
    pub code: &'static str,
    pub detail: String,
    pub fix: String,
}

/// The attributes as they stand in the text, each still JSON.
#[derive(Deserialize)]
struct Attributes<'a> {
    #[serde(borrow)]
    specversion: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    source: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    subject: Option<&'a RawValue>,
    #[serde(borrow)]
    time: Option<&'a RawValue>,
    #[serde(borrow)]
    sampledrate: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// What one walk over an event finds: attributes without their quotes, and the members of `data` if it is an object.
#[derive(Debug, Default)]
pub struct Raw<'a> {
    pub id: Option<&'a str>,
    pub source: Option<&'a str>,
    pub kind: Option<&'a str>,
    pub subject: Option<&'a str>,
    pub time: Option<&'a str>,
    pub data: Option<&'a str>,
    pub members: Option<Vec<(&'a str, &'a str)>>,
}

impl<'a> Event<'a> {
    /// Reads a structured-mode event. Every fault is returned, not the first one only.
    pub fn parse(text: &'a str) -> Result<Self, Vec<Fault>> {
        match Raw::walk(text).and_then(Raw::event) {
            Some(event) => Ok(event),
            None => Self::parse_closely(text),
        }
    }

    /// The same for an event of any kind.
    pub fn parse_closely(text: &'a str) -> Result<Self, Vec<Fault>> {
        let attributes: Attributes<'a> = match serde_json::from_str(text) {
            Ok(attributes) => attributes,
            Err(error) => return Err(vec![not_an_event(text, &error)]),
        };
        let mut faults = Vec::new();
        check_version(attributes.specversion, &mut faults);
        let id = required("id", attributes.id, &mut faults);
        let source = required("source", attributes.source, &mut faults);
        let kind = required("type", attributes.kind, &mut faults);
        let subject = attributes.subject.and_then(|raw| name("subject", raw, &mut faults));
        let time = attributes.time.and_then(|raw| instant(raw, &mut faults));
        check_sampling(attributes.sampledrate, &mut faults);
        match (id, source, kind) {
            (Some(id), Some(source), Some(kind)) if faults.is_empty() => {
                let data = attributes.data.map(RawValue::get);
                Ok(Self { source, id, kind, subject, time, data, members: None })
            }
            _ => Err(faults),
        }
    }
}

impl<'a> Raw<'a> {
    /// Walks over an event of the common kind. `None` says only that it has to be looked at closely.
    pub fn walk(text: &'a str) -> Option<Self> {
        let (mut raw, mut version) = (Self::default(), None);
        let mut walk = Walk::new(text);
        walk.object(|key, walk| {
            let slot = match key {
                "id" => &mut raw.id,
                "source" => &mut raw.source,
                "type" => &mut raw.kind,
                "subject" => &mut raw.subject,
                "time" => &mut raw.time,
                "specversion" => &mut version,
                "data" if raw.data.is_none() => return raw.walk_data(walk),
                // Comes twice, or has rules of its own.
                "data" | "sampledrate" => return None,
                _ => return walk.value().map(|_| ()),
            };
            let text = walk.plain_string()?;
            slot.replace(text).is_none().then_some(())
        })?;
        (walk.ends() && version == Some("1.0")).then_some(raw)
    }

    fn walk_data(&mut self, walk: &mut Walk<'a>) -> Option<()> {
        self.data = Some(walk.over(|walk| {
            if walk.peek()? != b'{' {
                return walk.value().map(|_| ());
            }
            let members = self.members.insert(Vec::with_capacity(MEMBERS_ROOM));
            walk.object(|key, walk| {
                members.push((key, walk.value()?));
                Some(())
            })
        })?);
        Some(())
    }

    /// The event, if its attributes are as they should be.
    pub fn event(self) -> Option<Event<'a>> {
        let time = match self.time {
            Some(time) => Some(Instant::parse(time)?),
            None => None,
        };
        let (source, id, kind) = (self.source?, self.id?, self.kind?);
        let are_names = is_name(source) && is_name(id) && is_name(kind) && self.subject.is_none_or(is_name);
        are_names.then_some(())?;
        Some(Event {
            source: Cow::Borrowed(source),
            id: Cow::Borrowed(id),
            kind: Cow::Borrowed(kind),
            subject: self.subject.map(Cow::Borrowed),
            time,
            // Null is how JSON says that there is none.
            data: self.data.filter(|data| *data != "null"),
            members: self.members,
        })
    }
}

impl Fault {
    pub fn new(at: &str, code: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { at: at.to_owned(), code, detail: detail.into(), fix: fix.into() }
    }
}

/// Whether two texts say the same event: the same JSON values, whatever their order and spacing.
/// A `time` that `newer` leaves out is not a difference, since the first one was given the time of receipt.
pub fn says_the_same(first: &str, newer: &str) -> bool {
    type Json = serde_json::Map<String, serde_json::Value>;
    let (Ok(mut first), Ok(newer)) = (serde_json::from_str::<Json>(first), serde_json::from_str::<Json>(newer)) else {
        return false;
    };
    if !newer.contains_key("time") {
        first.remove("time");
    }
    first == newer
}

fn not_an_event(text: &str, error: &serde_json::Error) -> Fault {
    if error.is_data() {
        let fix = "send one JSON object for each event, each attribute once";
        return Fault::new("", "not_an_event", format!("not a CloudEvent: {error}"), fix);
    }
    let around: String = text.chars().skip(error.column().saturating_sub(20)).take(40).collect();
    let detail = format!("not JSON: {error}, near `{around}`");
    Fault::new("", "invalid_json", detail, "mend the JSON; an event takes one line of NDJSON")
}

fn check_version(raw: Option<&RawValue>, faults: &mut Vec<Fault>) {
    match raw.map(RawValue::get) {
        Some("\"1.0\"") => {}
        Some(other) => {
            let detail = format!("specversion is {other}");
            faults.push(Fault::new("/specversion", "unsupported_specversion", detail, "set it to \"1.0\""));
        }
        None => faults.push(missing("specversion", "add \"specversion\": \"1.0\"")),
    }
}

/// Of a sampled event (CloudEvents' Sampling extension) others were left out, and what is left out cannot be counted.
fn check_sampling(raw: Option<&RawValue>, faults: &mut Vec<Fault>) {
    if let Some(rate) = raw.map(RawValue::get).filter(|rate| !matches!(*rate, "1" | "\"1\"" | "null")) {
        let detail = format!("sampledrate is {rate}: the event stands for others that were not sent");
        faults.push(Fault::new("/sampledrate", "sampled_event", detail, "send every event that is to be billed"));
    }
}

fn required<'a>(attribute: &'static str, raw: Option<&'a RawValue>, faults: &mut Vec<Fault>) -> Option<Cow<'a, str>> {
    match raw {
        Some(raw) => name(attribute, raw, faults),
        None => {
            faults.push(missing(attribute, &format!("add \"{attribute}\" with a text that is not empty")));
            None
        }
    }
}

fn missing(attribute: &str, fix: &str) -> Fault {
    Fault::new(&format!("/{attribute}"), "missing_attribute", format!("{attribute} is missing"), fix)
}

fn name<'a>(attribute: &str, raw: &'a RawValue, faults: &mut Vec<Fault>) -> Option<Cow<'a, str>> {
    let at = format!("/{attribute}");
    let Some(text) = text_of(raw.get()) else {
        let detail = format!("{attribute} is {}, not a text", kind_of(raw.get()));
        faults.push(Fault::new(&at, "wrong_type", detail, "write it as a JSON string, in double quotes"));
        return None;
    };
    if text.is_empty() {
        faults.push(Fault::new(&at, "empty_attribute", format!("{attribute} is empty"), "give it a value"));
        return None;
    }
    if !is_name(&text) {
        let detail = format!("{attribute} is {} bytes long, or has control characters", text.len());
        let fix = format!("use at most {NAME_BYTES_MAX} bytes of printable text");
        faults.push(Fault::new(&at, "unusable_attribute", detail, fix));
        return None;
    }
    Some(text)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= NAME_BYTES_MAX && (is_plain(text.as_bytes()) || !text.contains(char::is_control))
}

/// Whether it is printable ASCII, eight bytes at a time.
fn is_plain(text: &[u8]) -> bool {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (words, rest) = text.as_chunks::<8>();
    let mut odd = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        // The high bit of a byte is set by 0x80 and more, by 0x7f once one is added, and by less than 0x20 once that is
        // taken away; what a byte takes from its neighbour only matters where it is odd itself.
        odd |= (word | word.wrapping_add(LOW) | word.wrapping_sub(LOW.wrapping_mul(0x20))) & HIGH;
    }
    odd == 0 && rest.iter().all(|byte| (0x20..0x7f).contains(byte))
}

fn instant(raw: &RawValue, faults: &mut Vec<Fault>) -> Option<Instant> {
    let time = text_of(raw.get()).and_then(|text| Instant::parse(&text));
    if time.is_none() {
        let detail = format!("time is {}, not an RFC 3339 time", raw.get());
        let fix = "write it like \"2026-11-23T18:30:00Z\", with an offset or Z";
        faults.push(Fault::new("/time", "invalid_time", detail, fix));
    }
    time
}

/// The text of a JSON string; `None` for any other value.
pub fn text_of(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str(json).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

/// What kind of JSON value this is, for messages.
pub fn kind_of(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'"') => "a text",
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b't' | b'f') => "true or false",
        Some(b'n') => "null",
        _ => "a number",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str) -> Vec<(String, &'static str)> {
        Event::parse(text).expect_err("is refused").into_iter().map(|fault| (fault.at, fault.code)).collect()
    }

    #[test]
    fn an_event_borrows_what_it_can_and_unescapes_the_rest() {
        let text = r#"{"specversion":"1.0","id":"a\u0041","source":"/s","type":"t","time":"2013-01-01T10:17:00Z","data":{"x":1.50}}"#;
        let event = Event::parse(text).expect("is an event");
        assert_eq!((&*event.id, &*event.source, event.data), ("aA", "/s", Some(r#"{"x":1.50}"#)));
        assert!(matches!(event.source, Cow::Borrowed(_)));
    }

    #[test]
    fn every_fault_is_named_at_its_place() {
        assert_eq!(
            codes(r#"{"specversion":"0.3","id":5,"source":"","time":"yesterday"}"#),
            [
                ("/specversion".to_owned(), "unsupported_specversion"),
                ("/id".to_owned(), "wrong_type"),
                ("/source".to_owned(), "empty_attribute"),
                ("/type".to_owned(), "missing_attribute"),
                ("/time".to_owned(), "invalid_time"),
            ]
        );
        assert_eq!(codes(r#"{"id": "#), [(String::new(), "invalid_json")]);
        assert_eq!(codes(r#"{"id":"a","id":"b"}"#), [(String::new(), "not_an_event")]);
        assert_eq!(codes("[1]"), [(String::new(), "not_an_event")]);
    }

    #[test]
    fn a_sampled_event_is_refused_and_one_that_stands_for_itself_is_not() {
        let event =
            |rate: &str| format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t","sampledrate":{rate}}}"#);
        assert_eq!(codes(&event("10")), [("/sampledrate".to_owned(), "sampled_event")]);
        assert!(Event::parse(&event("1")).is_ok());
    }

    proptest::proptest! {
        /// The fast way of reading agrees with the close one wherever it says anything.
        #[test]
        fn reading_agrees_with_looking_closely(
            members in proptest::collection::vec((
                "specversion|id|source|type|subject|time|data|sampledrate|x", "\"1\\.0\"|\"[a-z]{0,3}\"|\"2013-0[1-9]-[0-3][0-9]T1[0-9]:00:0[0-9](\\.[0-9]{1,10})?Z\"|\"a\\\\u0041\"|1|null|\\{\"a\":1\\}",
            ), 0..9),
        ) {
            let whole = r#""specversion":"1.0","id":"1","source":"/s","type":"t""#;
            let members: Vec<String> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
            for text in [format!("{{{}}}", members.join(",")), format!("{{{whole},{}}}", members.join(" , "))] {
                if let Some(fast) = Raw::walk(&text).and_then(Raw::event) {
                    let close = Event::parse_closely(&text).expect("is an event");
                    let fast = Event { members: None, ..fast };
                    proptest::prop_assert_eq!(format!("{fast:?}"), format!("{close:?}"));
                }
            }
        }
    }

    #[test]
    fn order_and_spacing_do_not_make_a_conflict_but_values_do() {
        let first = r#"{"id":"1","data":{"a":1,"b":"x"},"time":"2013-01-01T00:00:00Z"}"#;
        assert!(says_the_same(first, r#"{"data": {"b":"x","a":1}, "id":"1"}"#));
        assert!(!says_the_same(first, r#"{"data": {"b":"x","a":2}, "id":"1"}"#));
        assert!(!says_the_same(first, r#"{"data":{"b":"x","a":1},"id":"1","time":"2013-01-02T00:00:00Z"}"#));
    }
}
