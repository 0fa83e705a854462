//! Reads bodies while they come in, within limits: bytes over the wire, bytes once decompressed, events, and memory
//! for all bodies together.
//!
//! Nobody waits for memory: a body that gets none is refused with `busy` before it is read further. Only bodies of up
//! to 64 KiB get the last eighth, so that large ones sent by halves do not keep single events out.

use std::error::Error;
use std::sync::Arc;

use axum::body::Body;
use axum::body::HttpBody;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use http_body_util::BodyExt;
use thiserror::Error;

use crate::http::decode::Decoder;
use crate::http::decode::Encoding;
use crate::http::decode::Stopped;
use crate::http::decode::Text;
use crate::http::memory::Memory;
use crate::http::memory::Reserved;
use crate::http::problem::Problem;
use crate::metering::ingest::Format;

/// Compressed bytes that are worked on before others get their turn.
const PIECE_BYTES: usize = 16 << 10;

/// What bodies of events may be.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Over the wire.
    pub body_bytes_max: usize,
    /// Once decompressed.
    pub decoded_bytes_max: usize,
    /// Events a body.
    pub events_max: usize,
    /// Of all bodies that are under way.
    pub memory_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 32 << 20,
            decoded_bytes_max: 128 << 20,
            events_max: 100_000,
            memory_bytes_max: 256 << 20,
        }
    }
}

/// Takes bodies in.
pub struct Intake {
    limits: Limits,
    memory: Arc<Memory>,
}

/// A body that is there.
pub struct Received {
    /// Decompressed.
    pub text: Vec<u8>,
    pub wire_bytes: usize,
    /// To be kept for as long as the text is worked on.
    pub reserved: Reserved,
}

/// No byte of a body came for too long.
#[derive(Debug, Error)]
#[error("nothing of the body came for {seconds} s")]
pub struct Stalled {
    pub seconds: u64,
}

impl Intake {
    pub fn new(limits: Limits) -> Self {
        let memory = Arc::new(Memory::new(limits.memory_bytes_max));
        // A body that could never get its memory is too large, and not to be sent again.
        let decoded_bytes_max = limits.decoded_bytes_max.min(memory.large_bytes_max());
        Self { limits: Limits { decoded_bytes_max, ..limits }, memory }
    }

    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// A body of events.
    pub async fn events(&self, headers: &HeaderMap, body: Body) -> Result<Received, Problem> {
        let encoding = Encoding::of(headers)?;
        self.read(encoding, body, self.limits.body_bytes_max, self.limits.decoded_bytes_max).await
    }

    /// Any other body, which is not compressed.
    pub async fn plain(&self, body: Body, bytes_max: usize) -> Result<Received, Problem> {
        self.read(Encoding::Identity, body, bytes_max, bytes_max).await
    }

    async fn read(
        &self,
        encoding: Encoding,
        mut body: Body,
        wire_bytes_max: usize,
        text_bytes_max: usize,
    ) -> Result<Received, Problem> {
        let stopped = |stopped| refused(encoding, stopped, text_bytes_max);
        let mut text = Text::new(text_bytes_max, self.memory.clone());
        // What was announced is refused before it is read.
        if let Some(announced) = body.size_hint().exact() {
            let announced = usize::try_from(announced).unwrap_or(usize::MAX);
            if announced > wire_bytes_max {
                return Err(too_long(announced, wire_bytes_max));
            }
            if encoding == Encoding::Identity {
                if announced > text_bytes_max {
                    return Err(too_long(announced, text_bytes_max));
                }
                if !self.memory.has_room_for(announced) {
                    return Err(busy());
                }
                text.expect(announced).map_err(stopped)?;
            }
        }
        let mut decoder = Decoder::new(encoding, text).map_err(stopped)?;
        let mut wire_bytes: usize = 0;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|error| unreadable(&error))?.into_data() else { continue };
            wire_bytes = wire_bytes.saturating_add(data.len());
            if wire_bytes > wire_bytes_max {
                return Err(too_long(wire_bytes, wire_bytes_max));
            }
            if encoding == Encoding::Identity {
                decoder.push(&data).map_err(stopped)?;
                continue;
            }
            for (number, piece) in data.chunks(PIECE_BYTES).enumerate() {
                if number > 0 {
                    tokio::task::yield_now().await;
                }
                decoder.push(piece).map_err(stopped)?;
            }
        }
        let (text, reserved) = decoder.finish().map_err(stopped)?;
        Ok(Received { text, wire_bytes, reserved })
    }

    /// Refuses a body of more events than one may hold.
    pub fn check_count(&self, format: Format, text: &[u8]) -> Result<(), Problem> {
        let events_max = self.limits.events_max;
        if events_at_most(format, text) <= events_max {
            return Ok(());
        }
        match events_in(format, text) {
            count if count > events_max => {
                let detail = format!("the body holds {count} events, and this server takes {events_max} a body");
                Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_events", detail)
                    .fix("send the events in smaller bodies, or have the operator raise --max-batch"))
            }
            _ => Ok(()),
        }
    }
}

/// Cheap, and never less than there are.
fn events_at_most(format: Format, text: &[u8]) -> usize {
    let count = |byte: u8| memchr::memchr_iter(byte, text).count().saturating_add(1);
    match format {
        Format::Single => 1,
        Format::Ndjson => count(b'\n'),
        Format::Batch => count(b','),
    }
}

/// How many events a body holds; of one that is not JSON, some number.
fn events_in(format: Format, text: &[u8]) -> usize {
    match format {
        Format::Single => 1,
        Format::Ndjson => text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count(),
        Format::Batch => elements(text),
    }
}

/// Elements of the array that a text is.
fn elements(text: &[u8]) -> usize {
    let (mut depth, mut commas) = (0_usize, 0_usize);
    let (mut is_text, mut is_escaped) = (false, false);
    for byte in text {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            _ if is_text => {}
            b'[' | b'{' => depth = depth.saturating_add(1),
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 1 => commas = commas.saturating_add(1),
            _ => {}
        }
    }
    commas.saturating_add(1)
}

fn refused(encoding: Encoding, stopped: Stopped, bytes_max: usize) -> Problem {
    match stopped {
        Stopped::TooLong => {
            let detail = match encoding {
                Encoding::Identity => format!("the body is longer than {bytes_max} bytes"),
                _ => format!("the body is longer than {bytes_max} bytes once decompressed"),
            };
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail).fix("send it in smaller bodies")
        }
        Stopped::Exhausted => busy(),
        Stopped::Broken(why) => {
            let encoding = encoding.name();
            let detail = format!("the body is not {encoding} that can be read: {why}");
            Problem::new(StatusCode::BAD_REQUEST, "broken_encoding", detail)
                .fix("compress the whole body, with a window of at most 8 MiB, and send all of it")
        }
    }
}

fn too_long(bytes: usize, bytes_max: usize) -> Problem {
    let detail = format!("the body is longer than {bytes_max} bytes: {bytes} are there or announced");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail).fix("send it in smaller bodies")
}

fn busy() -> Problem {
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "busy", "the memory for bodies is taken by others that are under way")
        .fix("send this body again after the time that Retry-After says")
}

/// Why a body did not come to its end.
fn unreadable(error: &axum::Error) -> Problem {
    if let Some(Stalled { seconds }) = error.source().and_then(|source| source.downcast_ref()) {
        let detail = format!("nothing of the body came for {seconds} s; nothing of it was stored");
        return Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", detail)
            .fix("send the body again, on a new connection");
    }
    let detail = format!("the body breaks off, and nothing of it was stored: {error}");
    Problem::new(StatusCode::BAD_REQUEST, "body_cut_off", detail).fix("send the whole body again")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_that_could_never_get_its_memory_is_too_large_and_not_busy() {
        let intake = Intake::new(Limits { memory_bytes_max: 1 << 20, ..Limits::default() });
        assert_eq!(intake.limits.decoded_bytes_max, 896 << 10);
    }

    proptest! {
        /// Law: the elements of an array are as many as its reader finds, and the cheap count is never below.
        #[test]
        fn elements_are_counted_as_they_are_read(
            texts in prop::collection::vec(r#"[\\\[\]{},"a ]{0,8}"#, 1..6),
            depth in 0..3,
        ) {
            let mut array: Vec<Value> = texts.iter().map(|text| json!({ "a,": [text, text], "b": 1 })).collect();
            for _ in 0..depth {
                array = vec![json!(array), json!(null)];
            }
            for text in [json!(array).to_string(), serde_json::to_string_pretty(&array).expect("JSON")] {
                prop_assert_eq!(events_in(Format::Batch, text.as_bytes()), array.len());
                prop_assert!(events_at_most(Format::Batch, text.as_bytes()) >= array.len());
            }
        }
    }

    #[test]
    fn blank_lines_are_no_events() {
        let text = b"{}\n\n {} \r\n\r\n{}";
        assert_eq!((events_in(Format::Ndjson, text), events_at_most(Format::Ndjson, text)), (3, 5));
    }
}
