//! Drives the seen index with any sequence of steps, beside a map of the same events: whatever is closed, lost or
//! damaged, it says what the map says, or that it cannot.

#![no_main]

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use tallystick::metering::seen::Seen;
use tallystick::metering::seen::SeenAt;
use tallystick::metering::seen::SeenKey;

/// Tables of 56 entries, and filters that are folded soon.
const BYTES: usize = 8 << 10;

/// The keys of each batch.
type Log = BTreeMap<i64, Vec<(SeenKey, u32)>>;

fuzz_target!(|input: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder");
    let mut log = Log::new();
    let mut seen = open(folder.path(), &log);
    let mut next_key = 0;
    for step in input.chunks(4) {
        let [what, a, b, c] = [0, 1, 2, 3].map(|index| step.get(index).copied().unwrap_or(0));
        match what % 8 {
            0..=2 => {
                for count in [a, b, c] {
                    let entries: Vec<_> =
                        (next_key..next_key + u64::from(count % 64)).map(|key| (wide(key), 5)).collect();
                    next_key += entries.len() as u64;
                    let seq = log.len() as i64 + 1;
                    seen.insert(seq, entries.iter().copied());
                    log.insert(seq, entries);
                }
                continue;
            }
            3 => {
                seen.seal();
                continue;
            }
            4 => seen.close(),
            5 => {}
            6 => {
                seen.close();
                damage(folder.path(), a, u16::from_le_bytes([b, c]));
                drop(seen);
                seen = open(folder.path(), &log);
                // A page is found damaged when it is read, and its batches are missing from the next start on.
                for key in 0..next_key {
                    if let Ok(found) = seen.get(wide(key)) {
                        assert!(found.is_some(), "key {key}");
                    }
                }
            }
            _ => {
                seen.close();
                if let Some(file) = pick(folder.path(), a) {
                    std::fs::remove_file(file).expect("deletes");
                }
            }
        }
        drop(seen);
        seen = open(folder.path(), &log);
        check(&seen, &log);
    }
    check(&seen, &log);
});

fn open(folder: &Path, log: &Log) -> Seen {
    let (seen, missing) = Seen::open(folder, BYTES, log.len() as i64).expect("opens");
    for seq in missing.into_iter().flatten() {
        seen.insert(seq, log[&seq].iter().copied());
    }
    seen
}

fn check(seen: &Seen, log: &Log) {
    let mut count = 0;
    for (seq, entries) in log {
        let keys: Vec<SeenKey> = entries.iter().map(|(key, _)| *key).collect();
        let runs = seen.runs();
        let found = runs.find(&keys).expect("is whole");
        let recent = seen.recent();
        let since = recent.since(&runs);
        for (found, (key, content)) in found.into_iter().zip(entries) {
            let at = found.or_else(|| since.get(*key).expect("is whole"));
            assert_eq!(at, Some(SeenAt { seq: *seq, content: *content }));
            count += 1;
        }
    }
    assert_eq!(seen.len(), count);
    assert!((1 << 40..(1 << 40) + 200).all(|key| seen.get(wide(key)).expect("is whole").is_none()));
}

fn damage(folder: &Path, file: u8, place: u16) {
    let Some(file) = pick(folder, file) else { return };
    let mut bytes = std::fs::read(&file).expect("reads");
    let place = usize::from(place) % bytes.len();
    bytes[place] ^= 1;
    std::fs::write(file, bytes).expect("writes");
}

fn pick(folder: &Path, which: u8) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder).expect("lists").map(|file| file.expect("a file").path());
    let mut runs: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|it| it == "run")).collect();
    runs.sort();
    (!runs.is_empty()).then(|| runs.swap_remove(usize::from(which) % runs.len()))
}

fn wide(number: u64) -> SeenKey {
    let mixed =
        |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    u128::from(mixed(number)) << 64 | u128::from(mixed(!number))
}
