//! The example book in `pricing/`: it is right, and however it is damaged, reading it ends well.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use crate::domain::book::SourceFile;
use crate::domain::book::parse;

fn example() -> Vec<SourceFile> {
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("pricing"), "", &mut files);
    files.sort();
    files
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<SourceFile>) {
    for entry in fs::read_dir(folder).expect("a folder of the example") {
        let entry = entry.expect("an entry");
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            collect(&entry.path(), &format!("{path}/"), files);
        } else {
            files.push(SourceFile { path, text: fs::read_to_string(entry.path()).expect("is text") });
        }
    }
}

#[test]
fn the_example_is_right() {
    let book = parse(&example()).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    assert_eq!(book.plans.keys().collect::<Vec<_>>(), ["community", "contributor", "pro"]);
    assert_eq!(book.event_types.len(), 5);
    assert!(book.event_types.values().all(|kind| kind.schema.is_some() && kind.example.is_some()));
}

/// Either a book, or at least one mistake, each at a line that its file has.
fn assert_ends_well(files: &[SourceFile]) {
    let Err(mistakes) = parse(files) else { return };
    assert!(!mistakes.is_empty());
    for mistake in mistakes {
        let file = files.iter().find(|file| file.path == mistake.file);
        let lines = file.map_or(1, |file| file.text.lines().count().max(1));
        assert!((1..=lines).contains(&mistake.line), "{lines} lines: {mistake:?}");
        assert!(mistake.column > 0 && mistake.width > 0 && !mistake.message.is_empty() && mistake.fix.is_some());
    }
}

proptest! {
    /// Bytes that are flipped anywhere, in any file.
    #[test]
    fn flipped_bytes_end_well(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut files = example();
        for (file, at, byte) in flips {
            let file = file.get(&files).path.clone();
            let file = files.iter_mut().find(|known| known.path == file).expect("is there");
            let mut bytes = file.text.clone().into_bytes();
            let at = at.index(bytes.len().max(1));
            bytes[at] = byte;
            file.text = String::from_utf8_lossy(&bytes).into_owned();
        }
        assert_ends_well(&files);
    }

    /// A file that ends in the middle.
    #[test]
    fn torn_files_end_well(file in any::<prop::sample::Index>(), end in any::<prop::sample::Index>()) {
        let mut files = example();
        let at = file.index(files.len());
        let end = files[at].text.floor_char_boundary(end.index(files[at].text.len()));
        files[at].text.truncate(end);
        assert_ends_well(&files);
    }

    /// Lines that are gone, doubled or moved: still TOML most of the time, so this goes deeper than bytes do.
    #[test]
    fn shuffled_lines_end_well(file in any::<prop::sample::Index>(), from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(), remove in any::<bool>()) {
        let mut files = example();
        let at = file.index(files.len());
        let mut lines: Vec<String> = files[at].text.lines().map(str::to_owned).collect();
        let from = from.index(lines.len());
        let line = if remove { lines.remove(from) } else { lines[from].clone() };
        let to = to.index(lines.len() + 1);
        lines.insert(to, line);
        files[at].text = lines.join("\n");
        assert_ends_well(&files);
    }

    /// A word of one place in another: numbers where names belong, names where tables belong.
    #[test]
    fn swapped_words_end_well(file in any::<prop::sample::Index>(), from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>()) {
        let mut files = example();
        let at = file.index(files.len());
        let mut words: Vec<String> = files[at].text.split(' ').map(str::to_owned).collect();
        let (from, to) = (from.index(words.len()), to.index(words.len()));
        words.swap(from, to);
        files[at].text = words.join(" ");
        assert_ends_well(&files);
    }
}
