//! The law of the index, against a naive model: for any history, crash or damage, it says what a map would say, or
//! that it cannot.

use std::collections::BTreeMap;
use std::collections::HashMap;

use proptest::prelude::*;
use proptest::sample::Index as Choice;

use super::*;

/// Tables of 56 entries, and filters that have to be folded soon.
const LITTLE: usize = 8 << 10;
/// Tables of 56 entries, and filters that are not folded.
const ENOUGH: usize = 15 << 10;

/// What the log holds: the keys of each batch.
type Log = BTreeMap<i64, Vec<(SeenKey, u32)>>;

#[derive(Clone, Debug)]
enum Step {
    /// Batches with new keys, as many as given.
    Insert(Vec<u8>),
    Seal,
    Settle,
    Close,
    /// Let go in the middle of its work.
    Crash,
    /// Crash, after which files are as they were before the last merges too: their end was not durable.
    CrashKeepingAll,
    Truncate(Choice, Choice),
    Flip(Choice, Choice, u8),
    Delete(Choice),
    LoseTheSecret,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => prop::collection::vec(0_u8..60, 1..12).prop_map(Step::Insert),
        1 => Just(Step::Seal),
        1 => Just(Step::Settle),
        1 => Just(Step::Close),
        1 => Just(Step::Crash),
        1 => Just(Step::CrashKeepingAll),
        1 => any::<(Choice, Choice)>().prop_map(|(file, place)| Step::Truncate(file, place)),
        1 => (any::<Choice>(), any::<Choice>(), 0_u8..8).prop_map(|(file, place, bit)| Step::Flip(file, place, bit)),
        1 => any::<Choice>().prop_map(Step::Delete),
        1 => Just(Step::LoseTheSecret),
    ];
    prop::collection::vec(step, 1..25)
}

/// Keys that are uniform, like real ones; some share their upper half, which real ones hardly ever do.
fn key(number: u64) -> SeenKey {
    let mixed =
        |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let high = if number.is_multiple_of(16) { 7 } else { mixed(number) };
    u128::from(high) << 64 | u128::from(mixed(number ^ 0x5555))
}

fn content(number: u64) -> u32 {
    (key(number) >> 40) as u32 & 0xff_ffff
}

fn open(folder: &Path, bytes: usize, log: &Log) -> Seen {
    let last = log.keys().next_back().copied().unwrap_or(0);
    let (seen, missing) = Seen::open(folder, bytes, last).expect("opens");
    for seq in missing.into_iter().flatten() {
        seen.insert(seq, log[&seq].iter().copied());
    }
    seen
}

fn settle(seen: &Seen) {
    let busy = |_: &mut Stop| {
        let runs = seen.runs();
        runs.tables().next().is_some() || merge::due(&runs, seen.index.sizes.table_entries, u32::MAX, &[]).is_some()
    };
    let limit = std::time::Duration::from_secs(20);
    let (_stop, timeout) = seen.index.changed().wait_timeout_while(seen.index.stop(), limit, busy).expect("waits");
    assert!(!timeout.timed_out(), "the thread does its work");
}

/// Every key is found where it stands, by every way of asking; others are not found.
fn check(seen: &Seen, log: &Log, snapshot: &Runs) -> Result<(), Error> {
    let expected: HashMap<SeenKey, SeenAt> = log
        .iter()
        .flat_map(|(seq, entries)| entries.iter().map(|(key, content)| (*key, SeenAt { seq: *seq, content: *content })))
        .collect();
    let strangers = (1_000_000..1_000_400).map(key);
    let keys: Vec<SeenKey> = expected.keys().copied().chain(strangers).collect();
    for than in [snapshot, &*seen.runs()] {
        let found = than.find(&keys)?;
        let recent = seen.recent();
        let since = recent.since(than);
        for (key, found) in keys.iter().zip(found) {
            let either = match found {
                None => since.get(*key)?,
                some => some,
            };
            assert_eq!(either.as_ref(), expected.get(key), "in a snapshot, or since");
        }
    }
    for key in keys {
        assert_eq!(seen.get(key)?.as_ref(), expected.get(&key), "everywhere");
    }
    assert_eq!(seen.len(), expected.len() as u64);
    Ok(())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("lists");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "run"));
    files.sort();
    files
}

/// Copies the run files; the copies are put back where a file is missing now.
fn keep(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    // A file may be merged away while this looks.
    files(folder).into_iter().filter_map(|path| Some((path.clone(), std::fs::read(path).ok()?))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// For any sequence of batches, rotations, merges, closings, crashes and damage, the index that is opened again,
    /// and given what it misses, holds each event of the log and no other.
    #[test]
    fn it_says_what_a_map_would_say(steps in steps(), bytes in prop::sample::select(vec![LITTLE, ENOUGH])) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut log = Log::new();
        let (mut next_seq, mut next_key) = (1, 0);
        let mut seen = open(folder.path(), bytes, &log);
        let mut snapshot = seen.runs();
        let mut kept = Vec::new();
        for step in steps {
            let reopens = !matches!(step, Step::Insert(_) | Step::Seal | Step::Settle);
            match step {
                Step::Insert(counts) => {
                    snapshot = seen.runs();
                    for count in counts {
                        let numbers = next_key..next_key + u64::from(count);
                        next_key = numbers.end;
                        let entries: Vec<_> = numbers.map(|number| (key(number), content(number))).collect();
                        seen.insert(next_seq, entries.iter().copied());
                        log.insert(next_seq, entries);
                        next_seq += 1;
                    }
                    kept.extend(keep(folder.path()));
                }
                Step::Seal => seen.seal(),
                Step::Settle => settle(&seen),
                Step::Close => seen.close(),
                Step::Crash => {}
                Step::CrashKeepingAll => {
                    drop(seen);
                    for (path, bytes) in kept.drain(..) {
                        std::fs::write(path.with_extension("tmp"), &bytes[..bytes.len() / 2]).expect("writes");
                        if !path.exists() {
                            std::fs::write(path, bytes).expect("writes");
                        }
                    }
                    seen = open(folder.path(), bytes, &log);
                }
                Step::Truncate(file, place) => {
                    seen.close();
                    if let Some(file) = pick(folder.path(), &file) {
                        let file = std::fs::File::options().write(true).open(file).expect("opens");
                        let length = file.metadata().expect("a file").len() as usize;
                        file.set_len(place.index(length) as u64).expect("cuts");
                    }
                }
                Step::Flip(file, place, bit) => {
                    seen.close();
                    if let Some(file) = pick(folder.path(), &file) {
                        flip(&file, &place, bit);
                        drop(seen);
                        seen = open(folder.path(), bytes, &log);
                        // The lookup that meets the page says so, and the next start mends it.
                        let _ = check(&seen, &log, &seen.runs());
                    }
                }
                Step::Delete(file) => {
                    seen.close();
                    if let Some(file) = pick(folder.path(), &file) {
                        std::fs::remove_file(file).expect("deletes");
                    }
                }
                Step::LoseTheSecret => {
                    seen.close();
                    std::fs::write(folder.path().join("secret"), "lost").expect("writes");
                    kept.clear();
                }
            }
            if reopens {
                drop(seen);
                seen = open(folder.path(), bytes, &log);
                snapshot = seen.runs();
            }
            check(&seen, &log, &snapshot).expect("is whole");
            let left = files(folder.path()).len();
            prop_assert!(left < 60, "merging keeps runs few: {}", left);
        }
    }

    /// Whatever bit of a run's file is flipped: opening or lookups say so, and none gives a wrong answer.
    #[test]
    fn a_flipped_bit_is_found(place in any::<Choice>(), bit in 0_u8..8) {
        let folder = tempfile::tempdir().expect("a folder");
        let entries: Vec<_> = (0..700).map(|number| (key(number), content(number))).collect();
        let log = Log::from([(1, entries)]);
        open(folder.path(), ENOUGH, &log).close();
        let [file] = files(folder.path()).try_into().expect("one run");
        flip(&file, &place, bit);
        let (seen, missing) = Seen::open(folder.path(), ENOUGH, 1).expect("opens");
        if missing.is_empty() {
            let mut failed = 0;
            for (key, content) in &log[&1] {
                match seen.get(*key) {
                    Ok(at) => prop_assert_eq!(at, Some(SeenAt { seq: 1, content: *content })),
                    Err(_) => failed += 1,
                }
            }
            prop_assert!(failed > 0, "some page is damaged");
            prop_assert!(!file.exists(), "the file is put aside");
            drop(seen);
            let (_, missing) = Seen::open(folder.path(), ENOUGH, 1).expect("opens");
            prop_assert_eq!(missing, vec![1..=1]);
        }
        check(&open(folder.path(), ENOUGH, &log), &log, &Runs::default()).expect("is rebuilt");
    }

    /// A filter passes every key that it was given, however far it is folded.
    #[test]
    fn a_folded_filter_forgets_no_key(numbers in prop::collection::vec(any::<u64>(), 1..3_000), step in 0..=filter::STEP_MAX) {
        let folder = tempfile::tempdir().expect("a folder");
        let seqs = Seqs { first: 1, last: 1 };
        let mut table = Memtable::new(1, 10);
        table.insert(1, numbers.iter().map(|number| (key(*number), 0)));
        let mut writer = write::RunWriter::create(folder.path(), seqs, table.len() as u64).expect("creates");
        table.sorted().into_iter().try_for_each(|entry| writer.push(entry)).expect("writes");
        let (_, file, footer) = writer.finish([0; 16], seqs).expect("finishes");
        let folding = filter::Folding { blocks: footer.blocks, step };
        let folded = filter::Filter::read(&file, 0, folding, footer.filter_crc).expect("reads").expect("is whole");
        let keys: Vec<SeenKey> = numbers.iter().map(|number| key(*number)).collect();
        let mut passed = Vec::new();
        folded.pass(&keys, &mut passed);
        prop_assert_eq!(passed, (0..keys.len() as u32).collect::<Vec<_>>());
    }
}

fn pick(folder: &Path, choice: &Choice) -> Option<PathBuf> {
    let files = files(folder);
    (!files.is_empty()).then(|| files[choice.index(files.len())].clone())
}

fn flip(file: &Path, place: &Choice, bit: u8) {
    let mut bytes = std::fs::read(file).expect("reads");
    let place = place.index(bytes.len());
    bytes[place] ^= 1 << bit;
    std::fs::write(file, bytes).expect("writes");
}

fn fill(seen: &Seen, seqs: RangeInclusive<i64>) {
    for seq in seqs {
        let numbers = seq as u64 * 10..seq as u64 * 10 + 10;
        seen.insert(seq, numbers.map(|number| (key(number), content(number))));
    }
}

#[test]
fn what_is_not_sealed_is_missing_after_a_crash_and_nothing_after_closing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (seen, missing) = Seen::open(folder.path(), ENOUGH, 0).expect("opens");
    assert_eq!(missing, []);
    fill(&seen, 1..=7);
    settle(&seen);
    drop(seen);
    // 56 entries fill a table: five batches of ten.
    let (seen, missing) = Seen::open(folder.path(), ENOUGH, 7).expect("opens");
    assert_eq!(missing, [6..=7]);
    fill(&seen, 6..=7);
    seen.close();
    let (_, missing) = Seen::open(folder.path(), ENOUGH, 7).expect("opens");
    assert_eq!(missing, []);
}

#[test]
fn a_gap_in_the_middle_is_told_and_closed_and_the_first_event_with_a_key_stands() {
    let folder = tempfile::tempdir().expect("a folder");
    let (seen, _) = Seen::open(folder.path(), ENOUGH, 0).expect("opens");
    for seqs in [1..=3, 4..=6, 7..=9] {
        fill(&seen, seqs);
        seen.seal();
    }
    settle(&seen);
    drop(seen);
    std::fs::remove_file(&files(folder.path())[1]).expect("deletes");
    let (seen, missing) = Seen::open(folder.path(), ENOUGH, 12).expect("opens");
    assert_eq!(missing, [4..=6, 10..=12]);
    // The log may hold an event twice: it stands where it came first, whenever that is read.
    let twice = key(85);
    assert_eq!(seen.get(twice).expect("reads").map(|at| at.seq), Some(8));
    seen.insert(4, [(twice, 1)].into_iter());
    fill(&seen, 5..=6);
    assert_eq!(seen.get(twice).expect("reads"), Some(SeenAt { seq: 4, content: 1 }));
    fill(&seen, 10..=12);
    fill(&seen, 13..=13);
    settle(&seen);
    assert_eq!(seen.get(twice).expect("reads").map(|at| at.seq), Some(4));
    seen.close();
    drop(seen);
    let (seen, missing) = Seen::open(folder.path(), ENOUGH, 13).expect("opens");
    assert_eq!(missing, []);
    settle(&seen);
    assert_eq!(seen.get(twice).expect("reads").map(|at| at.seq), Some(4), "merged");
    assert_eq!(seen.runs().count(), 1);
    assert_eq!(seen.len(), 3 * 30 + 30 + 10 - 10);
}

#[test]
fn batches_without_events_and_batches_that_are_known_change_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (seen, _) = Seen::open(folder.path(), ENOUGH, 0).expect("opens");
    seen.insert(1, std::iter::empty());
    seen.insert(2, std::iter::empty());
    seen.seal();
    fill(&seen, 2..=4);
    fill(&seen, 3..=4);
    assert_eq!(seen.len(), 20);
    seen.close();
    drop(seen);
    let (seen, missing) = Seen::open(folder.path(), ENOUGH, 4).expect("opens");
    assert_eq!((missing, seen.len()), (vec![], 20));
    assert_eq!(seen.get(key(20)).expect("reads"), None, "batch 2 was known to be empty");
}

#[test]
fn runs_of_batches_that_the_log_lost_are_of_no_use() {
    let folder = tempfile::tempdir().expect("a folder");
    let (seen, _) = Seen::open(folder.path(), ENOUGH, 0).expect("opens");
    fill(&seen, 1..=3);
    seen.seal();
    fill(&seen, 4..=6);
    seen.close();
    drop(seen);
    let (seen, missing) = Seen::open(folder.path(), ENOUGH, 5).expect("opens");
    assert_eq!(missing, [4..=5]);
    assert_eq!(seen.get(key(60)).expect("reads"), None);
}

#[test]
fn keys_that_share_their_upper_half_may_fill_pages() {
    let folder = tempfile::tempdir().expect("a folder");
    let entries = (0..2_000_u32).map(|number| (u128::from(number % 5) << 64 | u128::from(number) << 17, number));
    let log = Log::from([(1, entries.collect())]);
    let seen = open(folder.path(), ENOUGH, &log);
    seen.seal();
    settle(&seen);
    check(&seen, &log, &Runs::default()).expect("is whole");
}

#[test]
fn memory_stays_within_its_budget_while_the_history_grows() {
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = 1 << 20;
    let (seen, _) = Seen::open(folder.path(), bytes, 0).expect("opens");
    let mut next = 0;
    for seq in 1..=2_000 {
        seen.insert(seq, (next..next + 1_000).map(|number| (key(number), content(number))));
        next += 1_000;
        assert!(seen.memory() <= bytes, "{} at batch {seq}", seen.memory());
    }
    settle(&seen);
    assert!(seen.runs().count() <= 15, "{}", seen.runs().count());
    let keys: Vec<SeenKey> = (0..next).step_by(97).map(key).collect();
    assert!(seen.runs().find(&keys).expect("reads").iter().flatten().count() > keys.len() - 100);
    seen.close();
    drop(seen);
    let (seen, missing) = Seen::open(folder.path(), bytes, 2_000).expect("opens");
    assert_eq!(missing, []);
    assert!(seen.memory() <= bytes, "{} after opening", seen.memory());
}

#[test]
fn a_full_disk_holds_inserting_up_and_not_for_ever() {
    let parent = tempfile::tempdir().expect("a folder");
    let (folder, elsewhere) = (parent.path().join("seen"), parent.path().join("elsewhere"));
    let (seen, _) = Seen::open(&folder, ENOUGH, 0).expect("opens");
    fill(&seen, 1..=5);
    std::fs::rename(&folder, &elsewhere).expect("renames");
    std::thread::scope(|scope| {
        let filling = scope.spawn(|| fill(&seen, 6..=30));
        while seen.waits() == 0 {
            std::thread::yield_now();
        }
        assert!(!filling.is_finished());
        assert_eq!(seen.get(key(50)).expect("reads").map(|at| at.seq), Some(5), "lookups go on");
        std::fs::rename(&elsewhere, &folder).expect("renames");
    });
    settle(&seen);
    assert_eq!(seen.len(), 300);
    assert_eq!(seen.get(key(109)).expect("reads").map(|at| at.seq), Some(10));
}

#[test]
fn lookups_and_inserts_go_on_while_runs_are_written_and_merged() {
    let folder = tempfile::tempdir().expect("a folder");
    let (seen, _) = Seen::open(folder.path(), ENOUGH, 0).expect("opens");
    std::thread::scope(|scope| {
        let filling = scope.spawn(|| fill(&seen, 1..=3_000));
        let mut known = 0;
        while !filling.is_finished() {
            let than = seen.runs();
            let keys: Vec<SeenKey> = (10..known).map(key).collect();
            let found = than.find(&keys).expect("reads");
            let recent = seen.recent();
            let since = recent.since(&than);
            for (key, found) in keys.iter().zip(found) {
                assert!(found.is_some() || since.get(*key).expect("reads").is_some(), "what was inserted is found");
            }
            drop(recent);
            known = (seen.len() + 10).saturating_sub(10);
        }
    });
    settle(&seen);
    assert_eq!(seen.len(), 30_000);
}

#[test]
fn places_are_packed_into_eight_bytes() {
    for at in [SeenAt { seq: 1, content: 0xff_ffff }, SeenAt { seq: (1 << 40) - 1, content: 0 }] {
        assert_eq!(entry::unpack(entry::pack(at)), at);
    }
    assert_eq!(entry::unpack(entry::pack(SeenAt { seq: i64::MAX, content: 5 })).content, 5);
    assert!(content_hash("a") < 1 << 24);
}
