//! Price books of tests: the one for flights, as it is or with a change that matters to the test.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use tempfile::TempDir;

/// A copy of the book for flights, in a folder of its own.
pub struct Book(TempDir);

/// The book for flights. Not to be changed; see [`Book`].
pub fn flights() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/books/flights")
}

/// Every file of a book: its path within it, and its text.
pub fn files(book: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![book.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the book") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(book).expect("within the book").display().to_string();
                files.insert(name, std::fs::read_to_string(&path).expect("a text"));
            }
        }
    }
    files
}

impl Book {
    pub fn flights() -> Self {
        let copy = Self(tempfile::tempdir().expect("a temporary folder"));
        copy_folder(&flights(), copy.path());
        copy
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Changes a text that stands in the file once.
    #[track_caller]
    pub fn with(self, file: &str, text: &str, instead: &str) -> Self {
        let path = self.path().join(file);
        let content = std::fs::read_to_string(&path).expect("a file of the book");
        assert_eq!(content.matches(text).count(), 1, "`{text}` stands once in {file}");
        std::fs::write(&path, content.replace(text, instead)).expect("a file that can be written");
        self
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder of the book") {
        let path = entry.expect("an entry").path();
        let copy = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_folder(&path, &copy);
        } else {
            std::fs::copy(&path, &copy).expect("a file that can be copied");
        }
    }
}

/// The book for flights with a meter more, `late_again`, which counts what `late_60` counts, and is what the plan asks.
pub fn younger() -> Book {
    const FIRST: &str = "# What is counted of every flight. The carrier is the event's subject.\n";
    const YOUNGER: &str = r#"
[[meter]]
id = "late_again"
event_type = "flight.completed"
aggregation = "count"
party = "subject"
where = [{ field = "data.dep_delay", ge = "60" }]
"#;
    Book::flights().with("meters/flights.toml", FIRST, &format!("{FIRST}{YOUNGER}")).with(
        "plans/airline.toml",
        "meter = \"late_60\"",
        "meter = \"late_again\"",
    )
}
