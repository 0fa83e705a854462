//! Shapes: whoever sends many events writes them all alike. An event that looks like one before is read by comparing
//! it, and only the values that differ are walked over.
//!
//! What is compared was walked over once, and every value is walked over again; so whatever a shape reads is JSON, and
//! says what a walk over all of it would say.

use crate::domain::event::Event;
use crate::domain::event::Fault;
use crate::domain::event::Raw;
use crate::domain::walk::Walk;

/// Shapes that are tried for each event: more would cost more than they give.
const KNOWN_MAX: usize = 4;

/// Reads one event after the other.
#[derive(Debug, Default)]
pub struct Shapes {
    /// The one that fitted last comes first.
    known: Vec<Shape>,
    /// Events that no shape fitted.
    misses: u32,
}

#[derive(Debug)]
struct Shape {
    pieces: Vec<Piece>,
    /// What follows the last value.
    end: Literal,
}

#[derive(Debug)]
struct Piece {
    before: Literal,
    slot: Slot,
}

/// Text that is the same in every event of a shape.
#[derive(Debug, Default)]
struct Literal {
    text: String,
    /// Where in it `data` begins or ends, if it does and is an object.
    data_from: Option<usize>,
    data_to: Option<usize>,
}

/// What the value behind a literal is.
#[derive(Clone, Debug)]
enum Slot {
    Id,
    Source,
    Type,
    Subject,
    Time,
    /// All of `data`, if it is no object.
    Data,
    /// A member of `data`, and where in the literal its key is.
    Member(std::ops::Range<usize>),
}

impl Shapes {
    /// Reads an event, as [`Event::parse`] does.
    pub fn parse<'a>(&mut self, text: &'a str) -> Result<Event<'a>, Vec<Fault>> {
        let raw = match self.fitting(text) {
            Some(raw) => Some(raw),
            None => {
                let raw = Raw::walk(text);
                self.misses = self.misses.saturating_add(1);
                // Learned seldom, so that a sender who writes every event in another way pays for little. The first
                // event may be the only one.
                if self.misses > 1 && self.misses.is_power_of_two() {
                    self.known.truncate(KNOWN_MAX.saturating_sub(1));
                    self.known.splice(..0, raw.as_ref().and_then(|raw| Shape::of(text, raw)));
                }
                raw
            }
        };
        match raw.and_then(Raw::event) {
            Some(event) => Ok(event),
            None => Event::parse_closely(text),
        }
    }

    fn fitting<'a>(&mut self, text: &'a str) -> Option<Raw<'a>> {
        let (place, raw) = (0..).zip(&self.known).find_map(|(place, shape)| Some((place, shape.read(text)?)))?;
        if place > 0 {
            self.known.swap(0, place);
        }
        Some(raw)
    }
}

impl Shape {
    fn of(text: &str, raw: &Raw<'_>) -> Option<Self> {
        let place_of = |part: &str| part.as_ptr().addr().checked_sub(text.as_ptr().addr());
        let mut values = Vec::new();
        // A string's place is behind its quote.
        for (slot, value) in [
            (Slot::Id, raw.id),
            (Slot::Source, raw.source),
            (Slot::Type, raw.kind),
            (Slot::Subject, raw.subject),
            (Slot::Time, raw.time),
        ] {
            let Some(value) = value else { continue };
            let from = place_of(value)?.checked_sub(1)?;
            values.push((from, from.checked_add(value.len())?.checked_add(2)?, slot));
        }
        let mut data = None;
        match (raw.data, &raw.members) {
            (Some(text), Some(members)) => {
                let from = place_of(text)?;
                data = Some((from, from.checked_add(text.len())?));
                for (key, value) in members {
                    let (key_from, from) = (place_of(key)?, place_of(value)?);
                    let key = key_from..key_from.checked_add(key.len())?;
                    values.push((from, from.checked_add(value.len())?, Slot::Member(key)));
                }
            }
            (Some(text), None) => {
                let from = place_of(text)?;
                values.push((from, from.checked_add(text.len())?, Slot::Data));
            }
            (None, _) => {}
        }
        values.sort_unstable_by_key(|(from, ..)| *from);
        let mut pieces = Vec::with_capacity(values.len());
        let mut at = 0;
        for (from, to, slot) in values {
            let slot = match slot {
                Slot::Member(key) => Slot::Member(key.start.checked_sub(at)?..key.end.checked_sub(at)?),
                slot => slot,
            };
            pieces.push(Piece { before: Literal::of(text, at, from, data)?, slot });
            at = to;
        }
        Some(Self { pieces, end: Literal::of(text, at, text.len(), data)? })
    }

    /// What an event says, if it has this shape.
    fn read<'a>(&self, text: &'a str) -> Option<Raw<'a>> {
        let mut raw = Raw::default();
        let mut walk = Walk::new(text);
        let mut data_from = None;
        for Piece { before, slot } in &self.pieces {
            let from = walk.at();
            walk.literal(&before.text)?;
            before.find_data(text, from, &mut data_from, &mut raw)?;
            match slot {
                Slot::Id => raw.id = Some(walk.plain_string()?),
                Slot::Source => raw.source = Some(walk.plain_string()?),
                Slot::Type => raw.kind = Some(walk.plain_string()?),
                Slot::Subject => raw.subject = Some(walk.plain_string()?),
                Slot::Time => raw.time = Some(walk.plain_string()?),
                // An object has members, which another shape knows.
                Slot::Data if walk.peek()? == b'{' => return None,
                Slot::Data => raw.data = Some(walk.value()?),
                Slot::Member(key) => {
                    let key = text.get(from.checked_add(key.start)?..from.checked_add(key.end)?)?;
                    let members = raw.members.get_or_insert_with(|| Vec::with_capacity(self.pieces.len()));
                    members.push((key, walk.value()?));
                }
            }
        }
        let from = walk.at();
        walk.literal(&self.end.text)?;
        self.end.find_data(text, from, &mut data_from, &mut raw)?;
        (walk.at() == text.len()).then_some(raw)
    }
}

impl Literal {
    /// The text between two places, and what of `data` begins or ends there.
    fn of(text: &str, from: usize, to: usize, data: Option<(usize, usize)>) -> Option<Self> {
        let within = |place: usize| place.checked_sub(from).filter(|_| place <= to);
        // At the end of a literal a value begins, and data that is an object is none.
        let data_from =
            data.and_then(|(data_from, _)| within(data_from)).filter(|place| from.checked_add(*place) != Some(to));
        Some(Self {
            text: text.get(from..to)?.to_owned(),
            data_from,
            data_to: data.and_then(|(_, data_to)| within(data_to)),
        })
    }

    /// Takes `data` once its end is met; the literal begins at `from`.
    fn find_data<'a>(
        &self,
        text: &'a str,
        from: usize,
        data_from: &mut Option<usize>,
        raw: &mut Raw<'a>,
    ) -> Option<()> {
        if let Some(place) = self.data_from {
            *data_from = Some(from.checked_add(place)?);
        }
        if let Some(place) = self.data_to {
            raw.data = text.get((*data_from)?..from.checked_add(place)?);
            // An object without members is one all the same.
            raw.members.get_or_insert_default();
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An event of one of a few shapes, some of them broken.
    fn event() -> impl Strategy<Value = String> {
        let value = "[0-9]{1,3}|\"[a-zé\\\\\"]{0,3}\"|\"[a-z]{1,9}\"|null|\\{\"a\":[0-9]\\}|\\[\\]|tru|-";
        let name = "[a-z/é]{1,9}|";
        let data = prop_oneof![
            value.prop_map(|value| value.to_string()),
            (value, value).prop_map(|(a, b)| format!("{{\"a\":{a},\"b\" : {b}}}")),
            (value, value).prop_map(|(a, b)| format!("{{\"a\":{a},\"a\":{b} }}")),
            Just("{}".to_owned()),
        ];
        let time = "\"2013-01-0[1-9]T1[0-9]:00:00Z\"|\"2013\"";
        (0..4, "[0-9a-f]{1,8}", name, name, time, data, "[ x]{0,1}").prop_map(
            |(shape, id, source, subject, time, data, end)| match shape {
                0 => format!(r#"{{"specversion":"1.0","id":"{id}","source":"{source}","type":"t","data":{data}}}{end}"#),
                1 => format!(r#"{{"data":{data},"specversion":"1.0","type":"{subject}","id":"{id}","source":"{source}"}}"#),
                2 => format!(
                    r#"{{"specversion":"1.0","id":"{id}","source":"s","type":"t","subject":"{subject}","time":{time},"data":{data},"x":{data}}}"#
                ),
                _ => format!(r#"{{"specversion":"1.0", "id": "{id}", "source":"s","type":"t"{end}}}"#),
            },
        )
    }

    proptest! {
        /// Law: whatever was read before, an event says what it says when it is read alone.
        #[test]
        fn shapes_change_nothing(events in prop::collection::vec(event(), 1..40)) {
            let mut shapes = Shapes::default();
            for text in &events {
                let (shaped, alone) = (shapes.parse(text), Event::parse(text));
                prop_assert_eq!(format!("{shaped:?}"), format!("{alone:?}"), "{}", text);
            }
        }
    }

    #[test]
    fn events_that_look_alike_share_a_shape() {
        let event = |id: u32| {
            format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t","data":{{"a":{id},"b":"x"}}}}"#)
        };
        let mut shapes = Shapes::default();
        for id in 0..100 {
            let text = event(id);
            let event = shapes.parse(&text).expect("is an event");
            assert_eq!(event.data.map(str::len), Some(14 + id.to_string().len()));
            assert_eq!(event.members.map(|members| members.len()), Some(2));
        }
        assert_eq!((shapes.known.len(), shapes.misses), (1, 2));
    }
}
