//! What a lookup and an insert in the seen index cost as its history grows: `cargo bench --bench seen`.
//!
//! `SEEN_MILLIONS` entries (50) are inserted with a budget of `SEEN_MEBIBYTES` (128), the way the writer does it. The
//! index is made in `SEEN_FOLDER`, or in the system's folder for temporary files.

#![expect(clippy::expect_used, reason = "a measurement that cannot be made has nothing to say")]

use std::fs;
use std::path::Path;
use std::time::Instant;

use tallystick::metering::seen::Seen;
use tallystick::metering::seen::SeenKey;

/// Events of a body.
const BATCH: u64 = 10_000;
const ROUNDS: u32 = 5;

#[derive(Default)]
struct Spent {
    find: u64,
    since: u64,
    insert: u64,
}

fn main() {
    let entries = number("SEEN_MILLIONS", 50) * 1_000_000;
    let bytes = number("SEEN_MEBIBYTES", 128) << 20;
    let parent = std::env::var("SEEN_FOLDER").map_or_else(|_| std::env::temp_dir(), Into::into);
    let folder = tempfile::tempdir_in(parent).expect("a folder");
    let (seen, _) = Seen::open(folder.path(), usize::try_from(bytes).expect("a budget"), 0).expect("opens");
    println!(
        "{} M entries in {} MiB; nanoseconds of CPU an event, of new events in bodies of {BATCH}",
        entries / 1_000_000,
        bytes >> 20
    );
    println!(
        "{:>6} {:>6} {:>6} {:>6} {:>5} {:>10} {:>12}",
        "M", "find", "since", "insert", "runs", "memory MiB", "events/s all"
    );
    let batches = entries / BATCH;
    let step = (batches / 10).max(1);
    let began = Instant::now();
    for start in (0..batches).step_by(usize::try_from(step).expect("a step")) {
        let (from, mut spent) = (Instant::now(), Spent::default());
        let end = (start + step).min(batches);
        (start..end).for_each(|batch| ingest(&seen, batch, &mut spent));
        let events = (end - start) * BATCH;
        let rate = events * 1_000 / u64::try_from(from.elapsed().as_millis()).expect("a time").max(1);
        println!(
            "{:>6} {:>6} {:>6} {:>6} {:>5} {:>10} {:>12}",
            end * BATCH / 1_000_000,
            each(spent.find, events),
            each(spent.since, events),
            each(spent.insert, events),
            seen.runs().count(),
            seen.memory() >> 20,
            rate
        );
    }
    println!("all: {:.1?}; insert waited {} times", began.elapsed(), seen.waits());
    settle(&seen);
    println!("merged after {:.1?}; background {} ns of CPU an entry", began.elapsed(), background_nanos() / entries);
    look_up(&seen, entries);
    seen.close();
    drop(seen);
    println!("on disk: {:.2} bytes an entry", disk_bytes(folder.path()) as f64 / entries as f64);
    let from = Instant::now();
    let last = i64::try_from(batches).expect("a number");
    let (seen, missing) = Seen::open(folder.path(), usize::try_from(bytes).expect("a budget"), last).expect("opens");
    println!("opened in {:.1?}; {} ranges missing, {} entries", from.elapsed(), missing.len(), seen.len());
}

/// A body of new events, the way it goes: a request looks in what is sealed, the writer in the rest, and inserts.
fn ingest(seen: &Seen, batch: u64, spent: &mut Spent) {
    let keys: Vec<SeenKey> = (batch * BATCH..(batch + 1) * BATCH).map(key).collect();
    let from = cpu_nanos();
    let runs = seen.runs();
    let found = runs.find(&keys).expect("finds");
    assert!(found.iter().all(Option::is_none), "all are new");
    let found = cpu_nanos();
    {
        let recent = seen.recent();
        let since = recent.since(&runs);
        for key in &keys {
            assert!(since.get(*key).expect("finds").is_none(), "all are new");
        }
    }
    let looked = cpu_nanos();
    seen.insert(i64::try_from(batch).expect("a number") + 1, keys.iter().map(|key| (*key, 7)));
    spent.find += found - from;
    spent.since += looked - found;
    spent.insert += cpu_nanos() - looked;
}

/// The best of several rounds: other programs only make it slower.
fn look_up(seen: &Seen, entries: u64) {
    let runs = seen.runs();
    let stride = entries / (100 * BATCH);
    for (what, first) in [("new events", entries), ("duplicates", 0)] {
        let (mut best, before) = (u64::MAX, page_reads());
        for _ in 0..ROUNDS {
            let mut spent = 0;
            for batch in 0..100 {
                let numbers = (0..BATCH).map(|number| first + (batch * BATCH + number) * stride);
                let keys: Vec<SeenKey> = numbers.map(key).collect();
                let from = cpu_nanos();
                assert_eq!(runs.find(&keys).expect("finds").len(), keys.len());
                spent += cpu_nanos() - from;
            }
            best = best.min(spent);
        }
        let reads = (page_reads() - before) as f64 / (u64::from(ROUNDS) * 100 * BATCH) as f64;
        println!("{what}: {} ns each in {} runs, {reads:.4} pages read", each(best, 100 * BATCH), runs.count());
    }
}

/// Waits until nothing is merged any more.
fn settle(seen: &Seen) {
    let (mut before, mut quiet) = (0, 0);
    while quiet < 10 {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let now = background_nanos();
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
    }
    assert!(!seen.is_empty());
}

/// A key like those that are made of events: uniform.
fn key(number: u64) -> SeenKey {
    let mixed = |mut word: u64| {
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    };
    let seed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    u128::from(mixed(seed)) << 64 | u128::from(mixed(!seed))
}

fn each(nanos: u64, events: u64) -> u64 {
    nanos / events
}

/// CPU time of this thread: what other programs do is not counted.
fn cpu_nanos() -> u64 {
    nanos(&fs::read_to_string("/proc/thread-self/schedstat").expect("reads")).expect("a number")
}

fn nanos(schedstat: &str) -> Option<u64> {
    schedstat.split(' ').next()?.parse().ok()
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// CPU time of the index's own thread.
fn background_nanos() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").expect("lists").map(|task| task.expect("a task").path());
    let ours = tasks.filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "seen"));
    ours.filter_map(|task| nanos(&fs::read_to_string(task.join("schedstat")).ok()?)).sum()
}

/// Calls of the kernel to read, so far.
fn page_reads() -> u64 {
    let text = fs::read_to_string("/proc/self/io").expect("reads");
    text.lines().find_map(|line| line.strip_prefix("syscr: ")?.parse().ok()).expect("a count")
}

fn disk_bytes(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).expect("lists");
    files.map(|file| file.expect("a file").metadata().expect("a file").len()).sum()
}
