//! Reads a body of events: splits it, checks each one, measures it, and looks for it among the events that are known.
//! Everything here runs in parallel, before the writer's turn.

use std::collections::HashMap;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::domain::event::Fault;
use crate::domain::ids::QuarantineId;
use crate::domain::measure::delta::Delta;
use crate::domain::measure::delta::Key;
use crate::domain::measure::digest::Secret;
use crate::domain::measure::tally::Added;
use crate::domain::measure::tally::Counting;
use crate::domain::measure::tally::Tally;
use crate::domain::shape::Shapes;
use crate::domain::time::Instant;
use crate::metering::Error;
use crate::metering::originals::Originals;
use crate::metering::retract::RETRACTED;
use crate::metering::retract::Retracted;
use crate::metering::seen::Runs;
use crate::metering::seen::Seen;
use crate::metering::seen::SeenAt;
use crate::metering::seen::SeenKey;
use crate::metering::seen::content_hash;
use crate::metering::validate::Found;
use crate::metering::validate::Warned;
use crate::metering::versions::Versions;

/// How a body is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One CloudEvent.
    Single,
    /// A JSON array of CloudEvents.
    Batch,
    /// One CloudEvent a line; blank lines do not count.
    Ndjson,
}

/// What to do with a body in which some events cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// Store nothing of it.
    Reject,
    /// Store the good ones, and keep the bad ones aside.
    Quarantine,
}

/// What a body may hold.
#[derive(Clone, Debug)]
pub struct Limits {
    pub event_bytes_max: usize,
    /// How far ahead of the clock an event's time may be.
    pub future_micros_max: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { event_bytes_max: 1 << 20, future_micros_max: 3_600_000_000 }
    }
}

/// An event of a body that cannot be taken: its index, and everything that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Faulty {
    pub index: usize,
    pub errors: Vec<Fault>,
}

/// A body that is ready for the writer.
pub struct Prepared {
    /// The versions whose meters measured it.
    pub versions: Arc<Versions>,
    /// The part of the seen index in which its events were looked for.
    pub runs: Arc<Runs>,
    /// The body, and behind it the events that are kept otherwise than they were sent.
    text: String,
    pub events: Vec<PreparedEvent>,
    /// What the events add to usage: rows, what all events together add to them, and each addition in the order of the
    /// events.
    pub keys: Vec<Counting>,
    pub totals: Vec<Delta>,
    pub added: Vec<Added>,
    pub quarantined: Vec<(QuarantineId, String, Faulty)>,
    pub warned: Warned,
    /// What the log says of events that it names.
    pub originals: Originals,
    /// What is taken out of quarantine when this body is taken.
    pub released: Option<QuarantineId>,
}

#[derive(Debug)]
pub struct PreparedEvent {
    /// Its index in the body.
    pub index: usize,
    pub key: SeenKey,
    /// A short hash of what was sent.
    pub content: u32,
    pub time: Instant,
    /// Where the same event is already, if it was found among the older ones.
    pub known: Option<SeenAt>,
    /// Where its JSON is in the body's text.
    line: Range<usize>,
    /// Where its additions end in the body's; they begin where those of the event before it end.
    pub added_end: usize,
    /// The event that this one takes back.
    pub retracts: Option<Box<Retracted>>,
}

impl Prepared {
    /// The JSON of an event, on one line.
    pub fn line(&self, event: &PreparedEvent) -> &str {
        self.text.get(event.line.clone()).unwrap_or_default()
    }

    /// Whether it does more than add events: it takes some back, or something into quarantine or out of it.
    pub fn is_rare(&self) -> bool {
        !self.quarantined.is_empty()
            || self.released.is_some()
            || self.events.iter().any(|event| event.retracts.is_some())
    }

    /// Takes events out that turned out to be invalid, in their order, and gives their texts.
    pub fn set_aside(&mut self, faulty: Vec<Faulty>) -> Vec<(Faulty, String)> {
        let indexes: HashSet<usize> = faulty.iter().map(|faulty| faulty.index).collect();
        let events = std::mem::take(&mut self.events).into_iter();
        let (aside, kept): (Vec<_>, Vec<_>) = events.partition(|event| indexes.contains(&event.index));
        self.events = kept;
        faulty.into_iter().zip(aside).map(|(faulty, event)| (faulty, self.line(&event).to_owned())).collect()
    }
}

/// What a body is read with.
pub struct Reading<'r> {
    pub versions: &'r Arc<Versions>,
    pub seen: &'r Seen,
    /// Of the digests of usage keys.
    pub secret: &'r Secret,
    pub limits: &'r Limits,
    pub now: Instant,
}

/// Checks and measures every event of a body. The second list holds those that cannot be taken, with their text.
pub fn prepare(
    format: Format,
    body: Vec<u8>,
    reading: &Reading<'_>,
) -> Result<(Prepared, Vec<(Faulty, String)>), Error> {
    let runs = reading.seen.runs();
    let mut faulty = Vec::new();
    let (text, lines) = split(format, body);
    let mut reader = Reader::new(reading, lines.len());
    for (index, line) in lines.into_iter().enumerate() {
        let read = line.and_then(|line| reader.read(index, &text, line));
        if let Err((errors, text)) = read {
            faulty.push((Faulty { index, errors }, text));
        }
    }
    Ok((reader.finish(text, runs, Vec::new())?, faulty))
}

/// Reads the events of a body again, since there are other meters now.
pub fn prepare_again(prepared: Prepared, reading: &Reading<'_>) -> Result<(Prepared, Vec<(Faulty, String)>), Error> {
    let runs = reading.seen.runs();
    let mut faulty = Vec::new();
    let mut reader = Reader::new(reading, prepared.events.len());
    for event in prepared.events {
        match reader.read(event.index, &prepared.text, event.line) {
            // What was sent may have been mended, so it keeps the hash that it had.
            Ok(()) => reader.events.iter_mut().next_back().into_iter().for_each(|last| last.content = event.content),
            Err((errors, text)) => faulty.push((Faulty { index: event.index, errors }, text)),
        }
    }
    Ok((reader.finish(prepared.text, runs, prepared.quarantined)?, faulty))
}

/// A line that cannot be taken: why, and its text.
type Refused = (Vec<Fault>, String);

/// The text of a body, and where in it each event stands.
fn split(format: Format, body: Vec<u8>) -> (String, Vec<Result<Range<usize>, Refused>>) {
    let text = match String::from_utf8(body) {
        Ok(text) => text,
        Err(error) => return split_closely(format, error.as_bytes()),
    };
    let lines = match format {
        Format::Single => vec![Ok(place_in(&text, text.trim_ascii()))],
        Format::Ndjson => lines(&text).collect(),
        Format::Batch => match serde_json::from_str::<Vec<&RawValue>>(&text) {
            Ok(events) => events.iter().map(|event| Ok(place_in(&text, event.get()))).collect(),
            Err(error) => {
                let detail = format!("the body is not a JSON array of events: {error}");
                let fix = "send [event, event, …], or application/x-ndjson";
                vec![Err((vec![Fault::new("", "invalid_json", detail, fix)], text.clone()))]
            }
        },
    };
    (text, lines)
}

/// The same for a body that is not UTF-8: of NDJSON only those lines are refused that are not.
fn split_closely(format: Format, body: &[u8]) -> (String, Vec<Result<Range<usize>, Refused>>) {
    let not_utf8 = |bytes: &[u8]| {
        let fault = Fault::new("", "not_utf8", "the text is not UTF-8", "encode the event as UTF-8");
        Err((vec![fault], String::from_utf8_lossy(bytes).into_owned()))
    };
    let mut text = String::with_capacity(body.len());
    if format != Format::Ndjson {
        return (text, vec![not_utf8(body)]);
    }
    let mut places = Vec::new();
    for line in body.split(|byte| *byte == b'\n') {
        match std::str::from_utf8(line) {
            Ok(line) => {
                let offset = text.len();
                places.extend(lines(line).map(|place| place.map(|place| offset + place.start..offset + place.end)));
                text.push_str(line);
            }
            Err(_) => places.push(not_utf8(line)),
        }
    }
    (text, places)
}

/// The lines that are not blank.
fn lines<E>(text: &str) -> impl Iterator<Item = Result<Range<usize>, E>> {
    let mut from = 0;
    let ends = memchr::memchr_iter(b'\n', text.as_bytes()).chain([text.len()]);
    let lines = ends.map(move |end| text.get(std::mem::replace(&mut from, end.saturating_add(1))..end));
    let lines = lines.flatten().map(str::trim_ascii).filter(|line| !line.is_empty());
    lines.map(|line| Ok(place_in(text, line)))
}

/// Where a part of a text is in it.
fn place_in(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr().saturating_sub(text.as_ptr().addr());
    start..start.saturating_add(part.len())
}

/// What has been read of a body so far.
struct Reader<'r> {
    reading: &'r Reading<'r>,
    shapes: Shapes,
    tally: Tally,
    events: Vec<PreparedEvent>,
    /// Events that are kept otherwise than they were sent. They go behind the body's text.
    mended: String,
    found: Found,
}

impl<'r> Reader<'r> {
    fn new(reading: &'r Reading<'r>, events: usize) -> Self {
        let tally = Tally::new(*reading.secret, events);
        let (events, found) = (Vec::with_capacity(events), Found::default());
        Self { reading, shapes: Shapes::default(), tally, events, mended: String::new(), found }
    }

    /// Looks all events up at once, outside of any lock.
    fn finish(
        mut self,
        mut text: String,
        runs: Arc<Runs>,
        quarantined: Vec<(QuarantineId, String, Faulty)>,
    ) -> Result<Prepared, Error> {
        text.push_str(&self.mended);
        let keys: Vec<SeenKey> = self.events.iter().map(|event| event.key).collect();
        for (event, known) in self.events.iter_mut().zip(runs.find(&keys)?) {
            event.known = known;
        }
        let totals = self.tally.totals()?;
        let (keys, added) = self.tally.into_parts();
        let versions = self.reading.versions.clone();
        let (events, warned) = (self.events, self.found.warned);
        Ok(Prepared {
            versions,
            runs,
            text,
            events,
            keys,
            totals,
            added,
            quarantined,
            warned,
            originals: Originals::default(),
            released: None,
        })
    }

    fn read(&mut self, index: usize, body: &str, place: Range<usize>) -> Result<(), Refused> {
        let text = body.get(place.clone()).unwrap_or_default();
        let before = self.tally.added();
        self.read_event(index, body.len(), text, place).map_err(|faults| {
            self.tally.truncate(before);
            (faults, text.to_owned())
        })
    }

    fn read_event(&mut self, index: usize, body_len: usize, text: &str, place: Range<usize>) -> Result<(), Vec<Fault>> {
        let Reading { versions, seen, limits, now, .. } = *self.reading;
        if text.len() > limits.event_bytes_max {
            let detail = format!("the event is {} bytes long", text.len());
            let fix = format!("send at most {} bytes an event; keep large data elsewhere", limits.event_bytes_max);
            return Err(vec![Fault::new("", "event_too_large", detail, fix)]);
        }
        let event = self.shapes.parse(text)?;
        let time = event.time.unwrap_or(now);
        if time.micros() > now.micros().saturating_add(limits.future_micros_max) {
            let detail = format!("time is {time}, too far ahead of the clock here, {now}");
            return Err(vec![Fault::new("/time", "time_in_future", detail, "send the time at which it happened")]);
        }
        let (retracts, held) = match &*event.kind {
            RETRACTED => (Some(Box::new(Retracted::of(&event).map_err(|fault| vec![fault])?)), None),
            kind => {
                let held = versions.check_type(kind).map_err(|fault| vec![fault])?;
                held.map_or(Ok(()), |held| held.enforce(&event, &mut self.found))?;
                let before = self.tally.added();
                versions.meters().measure(&event, time, &mut self.tally)?;
                self.tally.keys_from(before).try_for_each(keepable)?;
                (None, held)
            }
        };
        let line = match mended(text, event.time.is_none().then_some(now))? {
            None => place,
            Some(line) => {
                let start = body_len.saturating_add(self.mended.len());
                self.mended.push_str(&line);
                start..start.saturating_add(line.len())
            }
        };
        if let Some(held) = held {
            held.warn(index, &event, &mut self.found);
        }
        self.events.push(PreparedEvent {
            index,
            key: seen.key(&event.source, &event.id),
            content: content_hash(text),
            time,
            known: None,
            line,
            added_end: self.tally.added(),
            retracts,
        });
        Ok(())
    }
}

/// Usage that no store could keep would stop all usage from being kept.
fn keepable(key: &Key) -> Result<(), Vec<Fault>> {
    key.check().map_err(|error| {
        let detail = format!("meter {} cannot count it: {error}", key.meter);
        let fix = "send short and plain texts in the fields that meters count by; keep long ones elsewhere";
        vec![Fault::new("", "unusable_key", detail, fix)]
    })
}

/// The text as it is kept, where that is not how it was sent: on one line, and with the time of receipt.
fn mended(text: &str, add_time: Option<Instant>) -> Result<Option<String>, Vec<Fault>> {
    if memchr::memchr(b'\n', text.as_bytes()).is_none() && add_time.is_none() {
        return Ok(None);
    }
    // Inside JSON strings a line break is always escaped, so any that is seen is only spacing.
    let line = text.replace(['\n', '\r'], " ");
    let Some(time) = add_time else { return Ok(Some(line)) };
    let has_time = serde_json::from_str::<HashMap<String, &RawValue>>(&line)
        .is_ok_and(|attributes| attributes.contains_key("time"));
    if has_time {
        let fix = "leave time out to have the time of receipt, or give one";
        return Err(vec![Fault::new("/time", "invalid_time", "time is null", fix)]);
    }
    let open = line.trim_end().strip_suffix('}').unwrap_or(&line);
    Ok(Some(format!("{open},\"time\":\"{time}\"}}")))
}
