//! Undoes the compression of a body while it comes in, so that a small body never becomes a large one before anybody
//! looks.

use std::io;
use std::io::Write;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::CONTENT_ENCODING;
use flate2::write::MultiGzDecoder;
use thiserror::Error;
use zstd::zstd_safe::DCtx;
use zstd::zstd_safe::DParameter;
use zstd::zstd_safe::InBuffer;
use zstd::zstd_safe::OutBuffer;
use zstd::zstd_safe::get_error_name;

use crate::http::memory::Exhausted;
use crate::http::memory::Memory;
use crate::http::memory::Reserved;
use crate::http::memory::SMALL_BYTES_MAX;
use crate::http::problem::Problem;

/// What zstd may look back at: 8 MiB, which is what RFC 9659 allows a sender, and what every level below 20 keeps to.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// What zstd writes at once.
const ZSTD_STEP_BYTES: usize = 32 << 10;
/// About what gzip keeps while it works: 32 KiB to look back at, as much to write to, and tables.
const GZIP_STATE_BYTES: usize = 96 << 10;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

/// Why a body is not taken any further.
#[derive(Debug, Error)]
pub enum Stopped {
    #[error("the text is too long")]
    TooLong,
    #[error("there is no memory left")]
    Exhausted,
    #[error("{0}")]
    Broken(String),
}

/// Text as it comes out, with the memory that it takes.
#[derive(Debug)]
pub struct Text {
    bytes: Vec<u8>,
    bytes_max: usize,
    /// As it was announced, or as long as it may be.
    bytes_expected: usize,
    /// What the decoder keeps beside the text.
    state_bytes: usize,
    reserved: Reserved,
}

/// Takes a body piece by piece.
pub enum Decoder {
    Identity(Text),
    Gzip(Box<MultiGzDecoder<Text>>),
    Zstd(Box<Unzstd>),
}

pub struct Unzstd {
    context: DCtx<'static>,
    step: Vec<u8>,
    is_between_frames: bool,
    text: Text,
}

impl Encoding {
    pub fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let Some(encoding) = headers.get(CONTENT_ENCODING) else { return Ok(Self::Identity) };
        let encoding = encoding.to_str().unwrap_or("?").trim();
        for (name, known) in
            [("", Self::Identity), ("identity", Self::Identity), ("gzip", Self::Gzip), ("zstd", Self::Zstd)]
        {
            if encoding.eq_ignore_ascii_case(name) {
                return Ok(known);
            }
        }
        let detail = format!("`{encoding}` is not a content encoding that is understood");
        Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", detail)
            .fix("send gzip, zstd or no encoding"))
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

impl Text {
    pub fn new(bytes_max: usize, memory: Arc<Memory>) -> Self {
        Self {
            bytes: Vec::new(),
            bytes_max,
            bytes_expected: bytes_max,
            state_bytes: 0,
            reserved: Reserved::new(memory),
        }
    }

    /// Makes room for a text whose length is known, as far as it is worth it: whoever announces much and sends little
    /// takes little.
    pub fn expect(&mut self, bytes: usize) -> Result<(), Stopped> {
        self.bytes_expected = bytes;
        self.make_room(bytes.min(SMALL_BYTES_MAX))
    }

    fn push(&mut self, piece: &[u8]) -> Result<(), Stopped> {
        let needed = self.bytes.len().checked_add(piece.len()).filter(|needed| *needed <= self.bytes_max);
        let needed = needed.ok_or(Stopped::TooLong)?;
        if needed > self.bytes.capacity() {
            // Doubled, so that a long text is not copied for each of its pieces.
            let doubled = self.bytes.capacity().saturating_mul(2).min(self.bytes_expected);
            self.make_room(needed.max(doubled))?;
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    fn make_room(&mut self, capacity: usize) -> Result<(), Stopped> {
        self.reserve(capacity)?;
        let more = capacity.saturating_sub(self.bytes.len());
        self.bytes.try_reserve_exact(more).map_err(|_| Stopped::Exhausted)
    }

    fn keep_state(&mut self, bytes: usize) -> Result<(), Stopped> {
        self.state_bytes = bytes;
        self.reserve(self.bytes.capacity())
    }

    fn reserve(&mut self, capacity: usize) -> Result<(), Stopped> {
        let bytes = capacity.saturating_add(self.state_bytes);
        self.reserved.grow_to(bytes, capacity).map_err(|Exhausted| Stopped::Exhausted)
    }
}

/// For the decoder of gzip, which hands the error through.
impl Write for Text {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.push(piece).map_err(io::Error::other)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Decoder {
    pub fn new(encoding: Encoding, mut text: Text) -> Result<Self, Stopped> {
        Ok(match encoding {
            Encoding::Identity => Self::Identity(text),
            Encoding::Gzip => {
                text.keep_state(GZIP_STATE_BYTES)?;
                Self::Gzip(Box::new(MultiGzDecoder::new(text)))
            }
            Encoding::Zstd => Self::Zstd(Box::new(Unzstd::new(text)?)),
        })
    }

    pub fn push(&mut self, piece: &[u8]) -> Result<(), Stopped> {
        match self {
            Self::Identity(text) => text.push(piece),
            Self::Gzip(decoder) => decoder.write_all(piece).map_err(stopped),
            Self::Zstd(decoder) => decoder.push(piece),
        }
    }

    /// The whole text, once the whole body is there, and the memory that it holds.
    pub fn finish(self) -> Result<(Vec<u8>, Reserved), Stopped> {
        let text = match self {
            Self::Identity(text) => text,
            Self::Gzip(decoder) => decoder.finish().map_err(stopped)?,
            Self::Zstd(decoder) => decoder.finish()?,
        };
        Ok((text.bytes, text.reserved))
    }
}

/// What a decoder says: our own reason to stop, which went through it, or its own.
fn stopped(error: io::Error) -> Stopped {
    error.downcast::<Stopped>().unwrap_or_else(|error| Stopped::Broken(error.to_string()))
}

impl Unzstd {
    fn new(text: Text) -> Result<Self, Stopped> {
        let broken = |code| Stopped::Broken(get_error_name(code).to_owned());
        let mut context = DCtx::try_create().ok_or(Stopped::Exhausted)?;
        context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX)).map_err(broken)?;
        let mut decoder = Self { context, step: Vec::with_capacity(ZSTD_STEP_BYTES), is_between_frames: true, text };
        decoder.count_state()?;
        Ok(decoder)
    }

    /// The first piece of a frame says how far zstd will look back, and so how much it keeps.
    fn count_state(&mut self) -> Result<(), Stopped> {
        self.text.keep_state(self.context.sizeof().saturating_add(self.step.capacity()))
    }

    fn push(&mut self, piece: &[u8]) -> Result<(), Stopped> {
        let mut input = InBuffer::around(piece);
        loop {
            self.step.clear();
            let mut output = OutBuffer::around(&mut self.step);
            let decoded = self.context.decompress_stream(&mut output, &mut input);
            // Zero at the end of a frame; another one may follow.
            let missing = decoded.map_err(|code| Stopped::Broken(get_error_name(code).to_owned()))?;
            self.is_between_frames = missing == 0;
            self.text.push(&self.step)?;
            self.count_state()?;
            let is_all_read = input.pos() == piece.len();
            if is_all_read && (self.is_between_frames || self.step.len() < self.step.capacity()) {
                return Ok(());
            }
        }
    }

    fn finish(self) -> Result<Text, Stopped> {
        match self.is_between_frames {
            true => Ok(self.text),
            false => Err(Stopped::Broken("its last frame is not complete".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    const MIB: usize = 1 << 20;

    fn gzipped(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).expect("memory");
        encoder.finish().expect("memory")
    }

    fn zstd_of(text: &[u8]) -> Vec<u8> {
        zstd::encode_all(text, 1).expect("memory")
    }

    /// Decodes a body that comes in pieces of this many bytes.
    fn decoded(
        encoding: Encoding,
        body: &[u8],
        piece: usize,
        bytes_max: usize,
        memory: &Arc<Memory>,
    ) -> Result<Vec<u8>, Stopped> {
        let mut decoder = Decoder::new(encoding, Text::new(bytes_max, memory.clone()))?;
        for piece in body.chunks(piece) {
            decoder.push(piece)?;
        }
        decoder.finish().map(|(text, _)| text)
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit_and_gives_its_memory_back() {
        let memory = Arc::new(Memory::new(64 * MIB));
        let zeros = |bytes| io::repeat(0).take(bytes);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        io::copy(&mut zeros(100 << 20), &mut gzip).expect("memory");
        let bombs = [
            (Encoding::Gzip, gzip.finish().expect("memory")),
            (Encoding::Zstd, zstd::encode_all(zeros(1 << 30), 1).expect("memory")),
        ];
        for (encoding, bomb) in bombs {
            assert!(bomb.len() < 200_000, "{encoding:?}: {}", bomb.len());
            let stopped = decoded(encoding, &bomb, bomb.len(), 10 * MIB, &memory).expect_err("is too long");
            assert!(matches!(stopped, Stopped::TooLong), "{encoding:?}: {stopped}");
            let stopped = decoded(encoding, &bomb, bomb.len(), usize::MAX, &memory).expect_err("is too much");
            assert!(matches!(stopped, Stopped::Exhausted), "{encoding:?}: {stopped}");
            assert_eq!(memory.in_use(), 0);
        }
    }

    #[test]
    fn who_looks_back_far_is_counted_or_refused() {
        let memory = Arc::new(Memory::new(64 * MIB));
        let windowed = |log| {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("memory");
            encoder.window_log(log).expect("a window");
            encoder.write_all(&[7; 1000]).expect("memory");
            encoder.finish().expect("memory")
        };
        let far = decoded(Encoding::Zstd, &windowed(27), 1000, MIB, &memory).expect_err("128 MiB");
        assert!(matches!(&far, Stopped::Broken(why) if why.contains("memory")), "{far}");
        let body = windowed(23);
        let mut decoder = Decoder::new(Encoding::Zstd, Text::new(MIB, memory.clone())).expect("there is room");
        decoder.push(&body[..body.len() - 1]).expect("is decoded");
        assert!(memory.in_use() > 8 * MIB, "{}", memory.in_use());
        let small = Arc::new(Memory::new(4 * MIB));
        let stopped = decoded(Encoding::Zstd, &body, 1000, MIB, &small).expect_err("8 MiB");
        assert!(matches!(stopped, Stopped::Exhausted), "{stopped}");
    }

    #[test]
    fn a_text_that_was_announced_takes_what_it_needs() {
        let memory = Arc::new(Memory::new(MIB));
        let mut text = Text::new(MIB, memory.clone());
        text.expect(213).expect("there is room");
        text.push(&[b'x'; 213]).expect("fits");
        assert_eq!(memory.in_use(), 213);
        let mut text = Text::new(10 * MIB, memory.clone());
        text.expect(10 * MIB).expect("announcing is free");
        assert_eq!(memory.in_use(), 213 + SMALL_BYTES_MAX);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Law: whatever is compressed, in however many frames, and however it is cut into pieces, comes out as it
        /// was; and cut off before its end, it never does.
        #[test]
        fn what_was_compressed_comes_out(
            texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..70_000), 1..4),
            piece in 1_usize..100_000,
            cut in any::<prop::sample::Index>(),
        ) {
            let memory = Arc::new(Memory::new(64 * MIB));
            let whole = texts.concat();
            for (encoding, compress) in
                [(Encoding::Gzip, gzipped as fn(&[u8]) -> Vec<u8>), (Encoding::Zstd, zstd_of)]
            {
                let frames: Vec<Vec<u8>> = texts.iter().map(|text| compress(text)).collect();
                let body = frames.concat();
                prop_assert_eq!(&decoded(encoding, &body, piece, MIB, &memory).expect("is decoded"), &whole);
                let cut = cut.index(body.len());
                let is_between_frames = (0..=frames.len()).any(|count| frames[..count].concat().len() == cut);
                let half = decoded(encoding, &body[..cut], piece, MIB, &memory);
                prop_assert_eq!(half.is_ok(), is_between_frames && (cut > 0 || encoding == Encoding::Zstd));
            }
            prop_assert_eq!(memory.in_use(), 0);
        }
    }
}
