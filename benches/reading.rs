//! What reading an event costs, step by step, on one core: `cargo bench --bench reading`.
//!
//! Events and meters are those of `tallystick bench ingest`. Every figure is the best of several rounds, in nanoseconds
//! an event.

#![expect(clippy::expect_used, reason = "a measurement that cannot be made has nothing to say")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant as Stopwatch;

use tallystick::cli::bench::events::Stream;
use tallystick::cli::bench::server::BOOK;
use tallystick::domain::book::SourceFile;
use tallystick::domain::book::version::BookVersion;
use tallystick::domain::event::Event;
use tallystick::domain::measure::tally::Tally;
use tallystick::domain::time::Instant;
use tallystick::metering::ingest;
use tallystick::metering::ingest::Format;
use tallystick::metering::ingest::Limits;
use tallystick::metering::ingest::Reading;
use tallystick::metering::log::Draft;
use tallystick::metering::log::Sealer;
use tallystick::metering::seen::Seen;
use tallystick::metering::seen::content_hash;
use tallystick::metering::versions::Versions;

const BODIES: u64 = 16;
const BODY_EVENTS: u64 = 10_000;
const ROUNDS: u32 = 7;

fn main() {
    let mut stream = Stream::new(1);
    let body = |_| {
        let mut body = Vec::new();
        stream.fill(BODY_EVENTS, &mut body);
        String::from_utf8(body).expect("text")
    };
    let bodies: Vec<String> = (0..BODIES).map(body).collect();
    let bytes: usize = bodies.iter().map(String::len).sum();
    println!("{} events of {} bytes each", BODIES * BODY_EVENTS, bytes as u64 / (BODIES * BODY_EVENTS));
    let files = BOOK.map(|(path, text)| SourceFile { path: path.to_owned(), text: text.to_owned() });
    let version = BookVersion::new(files.to_vec(), Instant::BEGINNING).expect("is a book");
    let versions = Arc::new(Versions::new(vec![Arc::new(version)]));
    let folder = tempfile::tempdir().expect("a folder");
    let (seen, _) = Seen::open(folder.path(), 64 << 20, 0).expect("opens");
    let limits = Limits::default();
    let (secret, now) = ([7; 16], tallystick::clock::now());

    measure("check that it is UTF-8", &bodies, |body| {
        body.as_bytes().is_ascii() || std::str::from_utf8(body.as_bytes()).is_ok()
    });
    measure("find its line", &bodies, |body| memchr::memchr_iter(b'\n', body.as_bytes()).count());
    measure("read the event", &bodies, |body| body.lines().filter(|line| Event::parse(line).is_ok()).count());
    measure("read and measure it", &bodies, |body| {
        let mut tally = Tally::new(secret, BODY_EVENTS as usize);
        for line in body.lines() {
            let event = Event::parse(line).expect("an event");
            let at = event.time.expect("a time");
            versions.meters().measure(&event, at, &mut tally).expect("is measured");
        }
        tally.into_parts()
    });
    measure("hash its content", &bodies, |body| body.lines().map(|line| u64::from(content_hash(line))).sum::<u64>());
    measure("hash its key", &bodies, |body| {
        body.lines().map(|line| seen.key("/gateways/a", &line[26..42])).fold(0, |sum, key| sum ^ key)
    });
    measure("all that a request does", &bodies, |body| {
        let reading = Reading { versions: &versions, seen: &seen, secret: &secret, limits: &limits, now };
        ingest::prepare(Format::Ndjson, body.clone().into_bytes(), &reading).map(|(prepared, _)| prepared).ok()
    });
    let mut sealer = Sealer::new().expect("zstd");
    let mut draft = Draft::default();
    let mut compressed = 0;
    measure("seal it", &bodies, |body| {
        draft = std::mem::take(&mut draft).emptied();
        body.lines().for_each(|line| draft.push(line.as_bytes(), now));
        let batch = sealer.seal(&draft, 1, now).expect("is sealed");
        compressed = batch.body.len();
        batch
    });
    println!("{:.2} bytes an event in the log", compressed as f64 / BODY_EVENTS as f64);
}

fn measure<T>(what: &str, bodies: &[String], mut step: impl FnMut(&String) -> T) {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let began = Stopwatch::now();
        for body in bodies {
            black_box(step(black_box(body)));
        }
        best = best.min(began.elapsed());
    }
    println!("{what:<26} {:>6.0}", best.as_nanos() as f64 / (BODIES * BODY_EVENTS) as f64);
}
