//! Reads a body of events: splits it, checks each one, and measures it. Everything here runs before the writer's turn.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::domain::event::Event;
use crate::domain::event::Fault;
use crate::domain::ids::QuarantineId;
use crate::domain::measure::meters::Contribution;
use crate::domain::time::Instant;
use crate::metering::seen::content_hash;
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
#[derive(Debug)]
pub struct Prepared {
    /// The versions whose meters measured it.
    pub versions: Arc<Versions>,
    /// The events' JSON, one after the other.
    pub text: String,
    pub events: Vec<PreparedEvent>,
    pub quarantined: Vec<(QuarantineId, String, Faulty)>,
}

#[derive(Debug)]
pub struct PreparedEvent {
    /// Its index in the body.
    pub index: usize,
    pub source: String,
    pub id: String,
    pub time: Instant,
    /// A short hash of what was sent.
    pub content: u32,
    /// Where its JSON is in the body's text.
    pub line: Range<usize>,
    pub contributions: Vec<Contribution>,
}

/// Checks and measures every event of a body. The second list holds those that cannot be taken, with their text.
pub fn prepare(
    format: Format,
    body: &[u8],
    versions: &Arc<Versions>,
    limits: &Limits,
    now: Instant,
) -> (Prepared, Vec<(Faulty, String)>) {
    let mut prepared = Prepared {
        versions: versions.clone(),
        text: String::with_capacity(body.len()),
        events: Vec::new(),
        quarantined: Vec::new(),
    };
    let mut faulty = Vec::new();
    let texts = match split(format, body) {
        Ok(texts) => texts,
        Err(fault) => {
            let whole = String::from_utf8_lossy(body).into_owned();
            return (prepared, vec![(Faulty { index: 0, errors: vec![fault] }, whole)]);
        }
    };
    for (index, text) in texts.into_iter().enumerate() {
        let read = match &text {
            Ok(text) => read_event(&mut prepared, index, text, limits, now),
            Err(_) => Err(vec![not_utf8()]),
        };
        if let Err(errors) = read {
            let text = text.map_or_else(|bytes| String::from_utf8_lossy(bytes).into_owned(), str::to_owned);
            faulty.push((Faulty { index, errors }, text));
        }
    }
    (prepared, faulty)
}

/// The events' texts; those that are not UTF-8 as bytes.
fn split(format: Format, body: &[u8]) -> Result<Vec<Result<&str, &[u8]>>, Fault> {
    let utf8 = |bytes| std::str::from_utf8(bytes).map_err(|_| bytes);
    match format {
        Format::Single => Ok(vec![utf8(body)]),
        Format::Ndjson => {
            let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            Ok(lines.filter(|line| !line.is_empty()).map(utf8).collect())
        }
        Format::Batch => {
            let text = utf8(body).map_err(|_| not_utf8())?;
            let events: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| {
                let detail = format!("the body is not a JSON array of events: {error}");
                Fault::new("", "invalid_json", detail, "send [event, event, …], or application/x-ndjson")
            })?;
            Ok(events.into_iter().map(|event| Ok(event.get())).collect())
        }
    }
}

fn not_utf8() -> Fault {
    Fault::new("", "not_utf8", "the text is not UTF-8", "encode the event as UTF-8")
}

fn read_event(
    prepared: &mut Prepared,
    index: usize,
    text: &str,
    limits: &Limits,
    now: Instant,
) -> Result<(), Vec<Fault>> {
    if text.len() > limits.event_bytes_max {
        let detail = format!("the event is {} bytes long", text.len());
        let fix = format!("send at most {} bytes an event; keep large data elsewhere", limits.event_bytes_max);
        return Err(vec![Fault::new("", "event_too_large", detail, fix)]);
    }
    let event = Event::parse(text)?;
    let time = event.time.unwrap_or(now);
    if time.micros() > now.micros().saturating_add(limits.future_micros_max) {
        let detail = format!("time is {time}, too far ahead of the clock here, {now}");
        return Err(vec![Fault::new("/time", "time_in_future", detail, "send the time at which it happened")]);
    }
    prepared.versions.check_type(&event.kind).map_err(|fault| vec![fault])?;
    let contributions = prepared.versions.meters().measure(&event, time)?;
    let line = kept(text, event.time.is_none().then_some(now))?;
    let start = prepared.text.len();
    prepared.text.push_str(&line);
    prepared.events.push(PreparedEvent {
        index,
        source: event.source.into_owned(),
        id: event.id.into_owned(),
        time,
        content: content_hash(text),
        line: start..prepared.text.len(),
        contributions,
    });
    Ok(())
}

/// The text as it is kept: on one line, and with the time of receipt where it has none.
fn kept(text: &str, add_time: Option<Instant>) -> Result<Cow<'_, str>, Vec<Fault>> {
    // Inside JSON strings a line break is always escaped, so any that is seen is only spacing.
    let line = match text.contains(['\n', '\r']) {
        true => Cow::Owned(text.replace(['\n', '\r'], " ")),
        false => Cow::Borrowed(text),
    };
    let Some(time) = add_time else { return Ok(line) };
    let has_time = serde_json::from_str::<HashMap<Cow<'_, str>, &RawValue>>(&line)
        .is_ok_and(|attributes| attributes.contains_key("time"));
    if has_time {
        let fix = "leave time out to have the time of receipt, or give one";
        return Err(vec![Fault::new("/time", "invalid_time", "time is null", fix)]);
    }
    let open = line.trim_end().strip_suffix('}').unwrap_or(&line);
    Ok(Cow::Owned(format!("{open},\"time\":\"{time}\"}}")))
}
